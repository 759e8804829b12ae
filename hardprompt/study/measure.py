"""Measuring a prompt, wherever it comes from, and the record of a run that found one."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardprompt.data.task import SPLITS
from hardprompt.errors import RequestError, RunError
from hardprompt.lm import FrozenLM
from hardprompt.metrics import COPYING, SCRUTABILITY, Metric, ScoredPrompt, faithfulness, token_map
from hardprompt.metrics.base import values
from hardprompt.metrics.scored_prompt import Reading
from hardprompt.metrics.scrutability import readability
from hardprompt.optimizers import Problem, PromptResult
from hardprompt.optimizers.archive import FrontMember
from hardprompt.optimizers.candidate import Candidate
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.records.schema import RunRecord
from hardprompt.scoring import Scorer, Scores
from hardprompt.scoring.joint import JointScorer
from hardprompt.stats.pareto import hypervolume, non_dominated

OBJECTIVE = "task loss (nats per example) + weight x prompt NLL (nats per token)"
LENGTH_COST = " {sign} length weight x tokens"
"""The further term with a length weight."""
LEARNT_FROM = {
    "gap": "RLPrompt's gap reward (points) - weight x prompt NLL",
    "linear-gap": "the linear gap reward (points) - weight x prompt NLL",
    "product": "the product of task score and fluency score",
    "hypervolume": "the expected hypervolume of task score and fluency score",
}
"""Built-in rewards other than minus the objective, with their unit; other names are reward functions of users."""

EMITTED_PROMPTS, EMITTED_PAIRS = 20, 1200
"""At most this many of the returned prompts are scored, and at most this many pairs of a prompt and a test example, evenly
spread."""

FRONT_STEPS = 50
"""At most this many steps of `front_curve` are recorded."""

READINGS = ("log_perplexity", "nats_per_character", "max_surprisal")
"""The metrics recorded for each reader of a text."""


def measure(
    problem: Problem, result: PromptResult, readers: Sequence[FrozenLM] = (), metrics: Sequence[Metric] = ()
) -> dict[str, Any]:
    """The record of a finished run: measurements of its best prompt, of the prompts that it returned, and the cost.

    Args:
        problem: the problem that was solved.
        result: the result of the optimizer.
        readers: models that the prompt was not optimized for; each reads the text in its own tokenization.
        metrics: metrics to compute in addition to the built-in ones.
    """
    share = _shares(problem)
    first = result.front[0].candidate if result.front else result.best
    test = Scorer(problem.lm, problem.task, problem.task.test)
    projection = str(result.config.get("projection", "cosine"))

    def scored(candidate: Candidate, like: ScoredPrompt | None = None) -> ScoredPrompt:
        return ScoredPrompt(candidate.prompt, test, allowed=problem.allowed, projection=projection, readers=readers, like=like)

    best = scored(first)
    found = measure_prompt(best, metrics) | share(best)
    run = {
        "optimizer": result.optimizer,
        "task": found["task"],
        "lm": joint_name(problem.lms),
        "split": found["split"],
        "seed": result.seed,
        "weight": 0.0 if result.front else result.weight,
        "objective": _objective(result.config.get("reward", "objective"), problem),
        "length_weight": problem.length_weight,
    }
    cost = {
        "dev_objective": first.dev_task_loss + first.length_cost if result.front else first.dev_objective,
        "curve": improvements(result.candidates),
        "front_curve": front_growth(result.candidates, math.log(len(problem.lm.vocab_embeds))),
        "emitted": _final_prompts(best, result),
        "lm_tokens_forward": result.lm_tokens_forward,
        "lm_tokens_backward": result.lm_tokens_backward,
        "prompts_visited": len(result.candidates),
        "seconds": round(result.seconds, 3),
        "config": result.config,
    }
    rest = [scored(each.candidate, best) for each in result.front[1:]]
    others = [measure_prompt(each, metrics) | share(each) for each in rest]
    whole = _front([found, *others], result.front)
    point = {**found, **run, **cost, **whole, "status": "ok"}
    return RunRecord.model_validate(finite(point)).as_json()


def _front(measured: Sequence[dict[str, Any]], front: Sequence[FrontMember]) -> dict[str, Any]:
    """The keys of a front in the record of its run: the place of its first member, and how the others differ from it."""
    if not front:
        return {}
    first, *others = [
        values
        | {
            "weight": each.weight,
            "dev_objective": each.candidate.dev_task_loss
            + each.candidate.length_cost
            + each.weight * each.candidate.prompt_nll,
            "member": number,
            "weight_range": each.weight_range and [end if math.isfinite(end) else None for end in each.weight_range],
        }
        for number, (values, each) in enumerate(zip(measured, front, strict=True), 1)
    ]
    differing = [{key: value for key, value in other.items() if value != first[key]} for other in others]
    return {"member": first["member"], "weight_range": first["weight_range"], "front": differing}


def improvements(candidates: Sequence[Candidate]) -> list[dict[str, float]]:
    """The best prompt so far by the objective on dev: a step for each better prompt, with the LM tokens spent until then."""
    steps: dict[int, dict[str, float]] = {}
    best = math.inf
    for candidate in candidates:
        if candidate.dev_objective < best:
            best = candidate.dev_objective
            steps[candidate.lm_tokens] = {
                "lm_tokens": candidate.lm_tokens,
                "dev_objective": candidate.dev_objective,
                "dev_accuracy": candidate.dev_accuracy,
            }
    return list(steps.values())


def front_growth(candidates: Sequence[Candidate], worst_nll: float) -> list[dict[str, float]]:
    """The hypervolume on dev of all prompts so far, of their accuracy as optimized and their NLL: a step for each increase.

    The first step is the first prompt with an NLL. Of more than `FRONT_STEPS` steps, evenly spread ones are kept, including the
    first and the last.

    Args:
        candidates: the prompts that were scored on dev, in order; those without an NLL, such as soft prompts, do not count.
        worst_nll: the reference of the hypervolume, in nats per token: the logarithm of the vocabulary size.
    """
    steps: dict[int, dict[str, float]] = {}
    members: list[Candidate] = []
    covered = -1.0
    for candidate in candidates:
        if math.isnan(candidate.prompt_nll):
            continue
        known = [*members, candidate]
        gains, costs = [c.dev_accuracy for c in known], [c.prompt_nll for c in known]
        members = [known[i] for i in non_dominated(gains, costs)]
        if (volume := hypervolume(gains, costs, worst_nll)) > covered:
            covered = volume
            steps[candidate.lm_tokens] = {"lm_tokens": candidate.lm_tokens, "hypervolume": volume}
    kept = list(steps.values())
    return [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, min(len(kept), FRONT_STEPS)).round().astype(int))]


def _objective(reward: str, problem: Problem) -> str:
    """The objective as text, and the reward if the optimizer learned from another one."""
    length_weight = problem.length_weight
    text = OBJECTIVE + (LENGTH_COST.format(sign="+") if length_weight else "") + _over(problem)
    if reward == "objective":
        return text
    learnt_from = LEARNT_FROM.get(reward, f"{reward} - weight x prompt NLL")
    return f"{text}; learnt from {learnt_from}{LENGTH_COST.format(sign='-') if length_weight else ''}"


def joint_name(lms: Sequence[FrozenLM]) -> str:
    """The name of a model in the record, or those of several, separated by commas."""
    return ",".join(lm.name for lm in lms)


def _over(problem: Problem) -> str:
    """What the record adds to the objective of several models."""
    if len(problem.lms) == 1:
        return ""
    return f"; task loss: {problem.over} over {', '.join(lm.name for lm in problem.lms)}"


def _shares(problem: Problem) -> Callable[[ScoredPrompt], dict[str, Any]]:
    """A function that measures a prompt under each of several models, and returns nothing for a single one."""
    if len(problem.lms) == 1:
        return lambda scored: {}
    joint = {split: JointScorer(problem.embeddings, problem.task, problem.task.examples(split)) for split in SPLITS}

    def share(scored: ScoredPrompt) -> dict[str, Any]:
        of_split = {split: scorer.prompt_under_each(scored.prompt) for split, scorer in joint.items()}
        of_text = joint["test"].text_under_each(scored.hard.text)
        return {
            "by_lm": {
                lm.name: {
                    **{f"{split}_accuracy": _accuracy(scores[m]) for split, scores in of_split.items()},
                    **{f"{split}_loss": float(scores[m].mean_loss) for split, scores in of_split.items()},
                    "deployed_test_accuracy": _accuracy(of_text[m]),
                    "deployed_test_loss": float(of_text[m].mean_loss),
                }
                for m, lm in enumerate(problem.lms)
            }
        }

    return share


def measure_prompt(scored: ScoredPrompt, metrics: Sequence[Metric] = ()) -> dict[str, Any]:
    """All measurements of a prompt, wherever it comes from: the metric keys of a record.

    Args:
        scored: the prompt with its scores; its readers read the text.
        metrics: metrics to compute in addition to the built-in ones.

    Raises:
        RequestError: two readers have the same name.
        ContextExceeded: an example with this prompt is longer than the model's context.
        RunError: a metric returned something else than a number, None or a flat dict of these.
    """
    check_unique_names(scored.readers)
    task, hard = scored.task, scored.hard
    groups: dict[str, dict[str, Any]] = {
        "scrutability": values(SCRUTABILITY, scored),
        "copying": values(COPYING, scored),
        "faithfulness": faithfulness(scored),
        "metrics": {},
    }
    for each in metrics:
        groups.setdefault(each.group, {})[each.name] = each(scored)
    if scored.lm.kind == "encoder-decoder":
        groups["scrutability"]["reason"] = "an encoder-decoder model assigns no probability to the text of a prompt"
    readable = groups["scrutability"]
    readings = {name: _reading(each, hard.text, readable["nats_per_character"]) for name, each in scored.readings.items()}
    first, read = next(iter(readings.items()), (None, dict.fromkeys(READINGS)))
    train, dev, test = (scored.scores(split) for split in SPLITS)
    text_on_dev, text_on_test = (scored.text_scores(split) for split in ("dev", "test"))
    return {
        "task": task.name,
        "lm": scored.lm.name,
        "split": task.split,
        "prompt_ids": list(hard.ids),
        "prompt_text": hard.text,
        "prompt_tokens": len(hard.ids),
        "roundtrip_ok": scored.roundtrip_ok,
        "train_accuracy": _accuracy(train),
        "train_loss": float(train.mean_loss),
        "dev_accuracy": _accuracy(dev),
        "dev_loss": float(dev.mean_loss),
        "test_accuracy": _accuracy(test),
        "test_correct": "".join("01"[right] for right in test.correct[0].tolist()),
        "test_loss": float(test.mean_loss),
        "deployed_dev_accuracy": _accuracy(text_on_dev),
        "deployed_test_accuracy": _accuracy(text_on_test),
        "deployed_test_loss": float(text_on_test.mean_loss),
        "log_perplexity": readable["log_perplexity"],
        "log_perplexity_in_place": readable["log_perplexity_in_place"],
        "reader": first,
        "reader_log_perplexity": read["log_perplexity"],
        "reader_nats_per_character": read["nats_per_character"],
        "readers": readings,
        "overlap": task.overlap,
        "rows_skipped": dict(task.rows_skipped),
        "inputs_cut": {part: task.inputs_cut.get(part, 0) for part in SPLITS},
        "scrutability": readable,
        "tokens": token_map(scored),
    } | {group: found for group, found in groups.items() if group != "scrutability"}


def check_unique_names(readers: Sequence[FrozenLM]) -> Sequence[FrozenLM]:
    """The readers themselves.

    Raises:
        RequestError: two readers have the same name, and the record can hold only one of them.
    """
    names = [reader.name for reader in readers]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"two of the readers are called {name!r} in the record; leave one out, or rename its folder")
    return readers


def finite(point: dict[str, Any]) -> dict[str, Any]:
    """The record itself.

    Raises:
        RunError: it holds a number that is not finite, which JSON cannot represent.
    """
    for key, value in point.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise RunError(f"{key} holds a number that is not finite: {value}") from error
    return point


def _final_prompts(scored: ScoredPrompt, result: PromptResult) -> dict[str, Any]:
    """Scores of the prompts that the optimizer returned, its last iterates, in contrast to the best that it visited."""
    test, prompts = scored.test, result.final_prompts
    kept = _spread(prompts, EMITTED_PROMPTS)
    final = scored if _equal(prompts[-1], scored.prompt) else ScoredPrompt(prompts[-1], test)
    hard = [prompt for prompt in kept if isinstance(prompt, HardPrompt)]
    correct = _interleaved(test, hard) if len(hard) > 1 else [final.scores("test").correct[0]]
    described: dict[str, Any] = {
        "count": len(prompts),
        "prompts_scored": len(kept),
        "examples_scored": min(map(len, correct)),
        "mean_test_accuracy": sum(float(each.float().mean()) for each in correct) / len(correct),
        "final_test_accuracy": _accuracy(final.scores("test")),
    }
    if not final.is_soft:
        described |= {
            "distinct": len({prompt.text for prompt in prompts if isinstance(prompt, HardPrompt)}),
            "final_prompt_ids": list(final.hard.ids),
            "final_prompt_text": final.hard.text,
            "final_log_perplexity": readability(final.surprisal, final.hard.text)["log_perplexity"],
        }
    return described


def _equal(prompt: HardPrompt | SoftPrompt, other: HardPrompt | SoftPrompt) -> bool:
    if isinstance(prompt, SoftPrompt) and isinstance(other, SoftPrompt):
        return torch.equal(prompt.embeds, other.embeds)
    return prompt == other


def _reading(reading: Reading, text: str, own: float | None) -> dict[str, Any]:
    """The record of a text for a reader; only the number of tokens if the text exceeds the reader's context.

    The gap is the reader's nats per character minus those of the task's model, `own`: how much better the text suits the model
    that it was optimized for.
    """
    measures = {} if reading.surprisal is None else readability(reading.surprisal, text)
    read = measures.get("nats_per_character")
    gap = None if read is None or own is None else read - own
    return {name: measures.get(name) for name in READINGS} | {"gap_nats_per_character": gap, "tokens": reading.tokens}


def _interleaved(test: Scorer, prompts: Sequence[HardPrompt]) -> list[Tensor]:
    """Which answers of each hard prompt are correct on its share of the test examples.

    The shares of consecutive prompts differ. All of them together cover the examples if there are enough prompts.
    """
    stride = math.ceil(len(test.examples) * len(prompts) / EMITTED_PAIRS)
    if stride == 1:
        return list(test.score_ids([prompt.ids for prompt in prompts]).correct)
    correct: dict[int, Tensor] = {}
    for first in range(min(stride, len(prompts))):
        numbers, examples = range(first, len(prompts), stride), range(first, len(test.examples), stride)
        correct |= zip(numbers, test.score_ids([prompts[n].ids for n in numbers], examples).correct, strict=True)
    return [correct[n] for n in range(len(prompts))]


def _accuracy(scores: Scores) -> float:
    return float(scores.accuracy)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, always with the last one."""
    stride = max(1, math.ceil(len(items) / count))
    return list(items[::-1][::stride])[::-1]
