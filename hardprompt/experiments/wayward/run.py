"""The experiment on wayward prompts: the accuracy of a prompt, its projection, and the task that the projection describes."""

from dataclasses import dataclass
from typing import Any

import torch

from hardprompt.data.catalogue import all_tasks, load_task
from hardprompt.data.datasets import DataTask
from hardprompt.data.task import Task
from hardprompt.experiments.wayward.grid import Checkpoint, WaywardGrid, best_checkpoint, train_checkpoints
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.chat import template_of
from hardprompt.metrics.faithfulness import faithfulness
from hardprompt.metrics.interpretation import TaskJudge, is_flagged
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.optimizers.base import Problem
from hardprompt.optimizers.wayward import target_prompt
from hardprompt.projection import nearest_entries
from hardprompt.prompt import SoftPrompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.truncation import fit_to_context


@dataclass(frozen=True, eq=False)
class Wayward:
    """The result of the experiment.

    Attributes:
        prompt: the wayward prompt, chosen on dev.
        unconstrained: the best prompt on dev of the same length that was trained with gamma 0.
        described: the measurements, as `hardprompt wayward --json` prints them.
    """

    prompt: SoftPrompt
    unconstrained: SoftPrompt
    described: dict[str, Any]


def wayward(
    task: Task,
    lm: FrozenLM,
    target: str,
    *,
    judge: TaskJudge | None = None,
    reader: FrozenLM | None = None,
    config: WaywardGrid | None = None,
    seed: int = 0,
) -> Wayward:
    """Train soft prompts that solve a task and project to a given text, over a grid of gamma, and measure the best of them.

    Every choice is made on dev. The wayward prompt is the checkpoint of highest accuracy among those with a token F1 of at
    least 0.98. The unconstrained prompt is the best one of gamma 0, initialized at the target or at random tokens.

    Args:
        task: the task.
        lm: the frozen model.
        target: the text that the prompt projects to. The prompt has the same number of tokens.
        judge: decides which task a text describes. By default it knows the task and, if that is an embedded one, all other
            embedded tasks.
        reader: a held-out model for the default judge.
        config: the grid and the options of the training.
        seed: seed of the batches and of the random tokens.

    Returns:
        The prompts and their description, a dictionary with these keys: `task`, `lm`, `target`, `gamma`, `seed`; `projection`
        (text); `token_f1`; `test_accuracy`, `unconstrained_test_accuracy` and `deployed_test_accuracy` (of the projection's
        text), fractions; `relative_accuracy_drop`, (unconstrained - own) / unconstrained; `distance`, 1/L sum |p_i - E[t_i]|^2;
        `margin`, the smallest difference over the positions between the distances of the second nearest and the nearest token,
        in embedding units; `faithfulness`; `says`, the judgement of the text; `reading`, "faithful" if the text describes the
        task and otherwise "misleading"; `flagged` (`hardprompt.metrics.is_flagged`); and `grid`, the last checkpoint for each
        gamma.

    Raises:
        RequestError: the target is empty or its tokens do not decode to it.
        ContextExceeded: an example with a prompt of the target's length is longer than the model's context.
    """
    config = config or WaywardGrid()
    goal = target_prompt(lm, template_of(lm, task), target)

    def train(gamma: float, init: str = "target") -> list[Checkpoint]:
        problem = Problem(task, lm, prompt_length=len(goal.ids), vocabulary="all", seed=seed)
        return train_checkpoints(problem, goal, gamma, config, init)

    by_gamma = {gamma: train(gamma) for gamma in dict.fromkeys(config.gammas)}
    without_penalty = (by_gamma.get(0.0) or train(0.0)) + train(0.0, init="vocabulary")
    unconstrained = max(without_penalty, key=lambda each: (each.dev_accuracy, -each.dev_loss))
    best = best_checkpoint([each for checkpoints in by_gamma.values() for each in checkpoints])
    prompt, vocabulary = SoftPrompt(best.embeds), allowed_vocabulary(lm, "all")
    fitted = fit_to_context(task, lm, len(goal.ids))
    test = Scorer(lm, fitted, fitted.test)
    accuracy, unconstrained_accuracy = (_accuracy(test, each.embeds) for each in (best, unconstrained))
    text = lm.decode(best.projection)
    judge = judge or default_judge(task, lm, reader)
    judgement = judge.interpret(text)
    outcome = judgement.verdict(task.name)
    deployed = float(test.score_text(text).accuracy)
    described = {
        "task": task.name,
        "lm": lm.name,
        "target": goal.text,
        "gamma": best.gamma,
        "seed": seed,
        "projection": text,
        "token_f1": best.token_f1,
        "test_accuracy": accuracy,
        "unconstrained_test_accuracy": unconstrained_accuracy,
        "relative_accuracy_drop": (unconstrained_accuracy - accuracy) / unconstrained_accuracy
        if unconstrained_accuracy
        else None,
        "deployed_test_accuracy": deployed,
        "distance": best.distance,
        "margin": margin(best.embeds, lm.vocab_embeds[vocabulary], config.projection),
        "faithfulness": faithfulness(ScoredPrompt(prompt, test, allowed=vocabulary, projection=config.projection)),
        "says": judgement.as_json(task.name),
        "reading": "faithful" if outcome == "faithful" else "misleading",
        "flagged": is_flagged(outcome, accuracy - deployed),
        "grid": [
            {
                "gamma": gamma,
                "dev_accuracy": last.dev_accuracy,
                "test_accuracy": _accuracy(test, last.embeds),
                "token_f1": last.token_f1,
                "distance": last.distance,
            }
            for gamma, last in ((gamma, checkpoints[-1]) for gamma, checkpoints in by_gamma.items())
        ],
    }
    return Wayward(prompt, SoftPrompt(unconstrained.embeds), described)


def default_judge(task: Task, lm: FrozenLM, reader: FrozenLM | None = None) -> TaskJudge:
    """A judge that knows the candidates of a task."""
    return TaskJudge(lm, candidates(task), reader)


def candidates(task: Task) -> list[Task]:
    """The tasks that a text may describe: the task itself first, then, if it is an embedded one, all other embedded tasks.

    Example:
        >>> [each.name for each in candidates(load_task("plural"))][:2]
        ['plural', 'first-letter']
    """
    if not task.embedded:
        return [task]
    return [task, *(each for each in embedded_tasks() if each.name != task.name)]


def embedded_tasks() -> list[Task]:
    """All embedded tasks, in the order of the catalogue.

    Example:
        >>> len(embedded_tasks())
        32
    """
    loaded = (load_task(name) for name, loader in all_tasks().items() if not isinstance(loader, DataTask))
    return [task for task in loaded if task.embedded]


def margin(embeds: torch.Tensor, vocab: torch.Tensor, measure: str) -> float:
    """The smallest difference over the positions between the nearest and the second nearest row, in the unit of the measure.

    Example:
        >>> margin(torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [1.0], [4.0]]), "euclidean")
        1.0
    """
    values, _ = nearest_entries(embeds, vocab, measure, 2)
    return float((values[:, 0] - values[:, 1]).abs().min())


def _accuracy(scorer: Scorer, embeds: torch.Tensor) -> float:
    return float(scorer.score_embeds(embeds).accuracy)
