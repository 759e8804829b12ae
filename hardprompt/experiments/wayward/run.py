"""Wayward prompts, measured: how well one solves its task, what it projects to, and what that text says; and many of them."""

import json
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import NonNegativeFloat, PositiveInt
from safetensors.torch import save_file

from hardprompt.data.catalogue import all_tasks, load_task
from hardprompt.data.datasets import DataTask
from hardprompt.data.task import Task
from hardprompt.errors import StudyError
from hardprompt.experiments.wayward.targets import wayward_targets
from hardprompt.lm import FrozenLM, allowed_vocabulary, load_lm
from hardprompt.metrics.faithfulness import faithfulness
from hardprompt.metrics.interpretation import TaskJudge, is_flagged
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.optimizers.base import Config, Problem
from hardprompt.optimizers.wayward import WaywardConfig, chosen, target_prompt, train_toward
from hardprompt.projection import nearest_entries
from hardprompt.prompt import SoftPrompt
from hardprompt.records.atomic import replacing
from hardprompt.records.request import Seed
from hardprompt.scoring import Scorer

OWN = "own definition"
READER = "microworld-reader"


@dataclass(frozen=True, eq=False)
class Wayward:
    """What was found.

    Attributes:
        prompt: the wayward prompt, chosen on dev.
        unconstrained: the best on dev of the same length, of those that nothing drew to the target.
        described: what `hardprompt wayward --json` says.
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
    config: WaywardConfig | None = None,
    seed: int = 0,
) -> Wayward:
    """Train a soft prompt for a task that projects to a text of one's choice, over a grid of gamma, and say what it is.

    Every choice is made on dev: the checkpoint of highest accuracy among those with a token F1 of at least 0.98, and the best
    unconstrained prompt among those of gamma 0, started at the target and at sampled tokens.

    Args:
        task: what is to be solved.
        lm: the frozen model.
        target: what the prompt is to project to; its tokens are the prompt's length.
        judge: says what the text says; by default of the task itself, and where it is an embedded one of all of these.
        reader: for that judge, a held-out model.
        config: the schedule.
        seed: of batches and sampled tokens.

    Returns:
        With `described`: `task`, `lm`, `target`, `gamma`, `seed`, `projection` (text), `token_f1`, `test_accuracy`,
        `unconstrained_test_accuracy`, `deployed_test_accuracy` (of the projection's text; fractions), `relative_accuracy_drop`
        ((unconstrained - own) / unconstrained), `distance` (1/L sum |p_i - E[t_i]|^2), `margin` (by how many embedding units
        the closest token is closer than the second, least of all positions), `faithfulness`, `says` (what the text says, with
        the outcome), `reading`: "faithful" where the text says the task, else "misleading", also where it says nothing, since
        whoever trusts it is misled; `flagged` (`hardprompt.metrics.is_flagged`); `grid`, a line per gamma, of its last step.

    Raises:
        RequestError: a target that is empty or does not tokenize to itself.
        ContextExceeded: an example with a prompt of the target's length is longer than the model's context.
    """
    config = config or WaywardConfig()
    goal = target_prompt(lm, task.template_for(lm.masked), target)
    length = len(goal.ids)

    def problem() -> Problem:
        return Problem(task, lm, prompt_length=length, vocabulary="all", seed=seed)

    by_gamma = {gamma: train_toward(problem(), goal, gamma, config) for gamma in dict.fromkeys(config.gammas)}
    free = by_gamma.get(0.0) or train_toward(problem(), goal, 0.0, config)
    free = free + train_toward(problem(), goal, 0.0, config, init="vocabulary")
    unconstrained = max(free, key=lambda each: (each.dev_accuracy, -each.dev_loss))
    best = chosen([each for checkpoints in by_gamma.values() for each in checkpoints])
    prompt, every = SoftPrompt(best.embeds), allowed_vocabulary(lm, "all")
    test = Scorer(lm, problem().task, task.test)
    own, its = (_accuracy(test, each.embeds) for each in (best, unconstrained))
    text = lm.decode(best.projection)
    judge = judge or default_judge(task, lm, reader)
    saying = judge.interpret(text)
    outcome = saying.verdict(task.name)
    deployed = float(test.score_text(text).correct.float().mean())
    described = {
        "task": task.name,
        "lm": lm.name,
        "target": goal.text,
        "gamma": best.gamma,
        "seed": seed,
        "projection": text,
        "token_f1": best.token_f1,
        "test_accuracy": own,
        "unconstrained_test_accuracy": its,
        "relative_accuracy_drop": (its - own) / its if its else None,
        "deployed_test_accuracy": deployed,
        "distance": best.distance,
        "margin": margin(best.embeds, lm.vocab_embeds[every], config.projection),
        "faithfulness": faithfulness(ScoredPrompt(prompt, test, allowed=every, projection=config.projection)),
        "says": saying.as_json(task.name),
        "reading": "faithful" if outcome == "faithful" else "misleading",
        "flagged": is_flagged(outcome, own - deployed),
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


class WaywardPairs(Config):
    """Tasks x kinds of target x models, one wayward prompt each.

    Attributes:
        tasks: embedded tasks.
        kinds: keys of `wayward_targets`, or "own definition" for the task's first reference prompt.
        lms: models.
        gammas, steps, batch_size, learning_rate, evaluate_every: of the training, `WaywardConfig`.
        seed: of every prompt.
    """

    tasks: tuple[str, ...]
    kinds: tuple[str, ...]
    lms: tuple[str, ...] = ("microworld",)
    gammas: tuple[NonNegativeFloat, ...] = WaywardConfig().gammas
    steps: PositiveInt = WaywardConfig().steps
    batch_size: PositiveInt = WaywardConfig().batch_size
    learning_rate: NonNegativeFloat | None = None
    evaluate_every: PositiveInt = WaywardConfig().evaluate_every
    seed: Seed = 0


def wayward_pairs(asked: WaywardPairs, folder: Path) -> None:
    """Train what is not yet there: a line per prompt in `wayward.jsonl`, its vectors in `soft/`.

    A line is what `wayward` describes, with the `kind` of its target. Not every task takes its definitions from the same other
    task. Another request in the same folder is refused.

    Raises:
        RequestError: a target that a model does not tokenize to itself, or a task that cannot be used.
        StudyError: the folder holds prompts of another request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _keep_request(asked, folder)
    file = folder / "wayward.jsonl"
    done = set()
    if file.is_file():
        whole = [text for text in file.read_text(encoding="utf-8").splitlines(keepends=True) if text.endswith("\n")]
        with replacing(file) as aside:
            aside.write_text("".join(whole), encoding="utf-8")
        done = {(row["lm"], row["task"], row["kind"]) for row in map(json.loads, whole)}
    config = WaywardConfig(**asked.model_dump(include=set(WaywardConfig.model_fields)))
    every = [load_task(name) for name, loader in all_tasks().items() if not isinstance(loader, DataTask)]
    every = [task for task in every if task.embedded]
    reader = load_lm(READER)
    for name in asked.lms:
        lm = load_lm(name)
        judge = TaskJudge(lm, every, reader)
        for kind, (number, task_name) in product(asked.kinds, enumerate(asked.tasks)):
            if (lm.name, task_name, kind) in done:
                continue
            task = load_task(task_name)
            others = every[5 * number :] + every[: 5 * number]
            text = task.reference_prompts[0] if kind == OWN else wayward_targets(task, others)[kind]
            found = wayward(task, lm, text, judge=judge, config=config, seed=asked.seed)
            vectors = folder / "soft" / f"{lm.name},{task_name},{kind}.safetensors".replace("/", "--").replace(" ", "-")
            vectors.parent.mkdir(exist_ok=True)
            with replacing(vectors) as aside:
                save_file({"embeds": found.prompt.embeds.contiguous()}, aside)
            with file.open("a", encoding="utf-8") as lines:
                line = found.described | {"kind": kind, "file": vectors.relative_to(folder).as_posix()}
                lines.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
                lines.flush()
                os.fsync(lines.fileno())


def _keep_request(asked: WaywardPairs, folder: Path) -> None:
    file, said = folder / "wayward.yaml", asked.model_dump(mode="json")
    if file.is_file():
        known = yaml.safe_load(file.read_text(encoding="utf-8"))
        if other := [name for name in said if known.get(name) != said[name]]:
            raise StudyError(
                f"{folder} holds wayward prompts of another request (other {', '.join(other)}); choose another --out"
            )
    with replacing(file) as aside:
        aside.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")


def default_judge(task: Task, lm: FrozenLM, reader: FrozenLM | None = None) -> TaskJudge:
    """A judge of a task and, where that is an embedded one, of all of these; they are what its text may say instead."""
    return TaskJudge(lm, candidates(task), reader)


def candidates(task: Task) -> list[Task]:
    """The tasks that a text for this one is read against: itself first, then all embedded ones where it is one of them.

    Example:
        >>> [each.name for each in candidates(load_task("plural"))][:2]
        ['plural', 'first-letter']
    """
    if not task.embedded:
        return [task]
    others = (load_task(name) for name, loader in all_tasks().items() if not isinstance(loader, DataTask) and name != task.name)
    return [task, *(each for each in others if each.embedded)]


def margin(embeds: torch.Tensor, vocab: torch.Tensor, measure: str) -> float:
    """By how much the closest row is closer than the second one, least of all positions, in the unit of the measure.

    >>> margin(torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [1.0], [4.0]]), "euclidean")
    1.0
    """
    values, _ = nearest_entries(embeds, vocab, measure, 2)
    return float((values[:, 0] - values[:, 1]).abs().min())


def _accuracy(scorer: Scorer, embeds: torch.Tensor) -> float:
    return float(scorer.score_embeds(embeds).correct.float().mean())
