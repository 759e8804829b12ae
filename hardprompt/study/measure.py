"""Measuring a prompt: what any prompt can be asked, and the line of the record for one that a run found."""

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.task import SPLITS
from hardprompt.errors import RequestError, RunError
from hardprompt.lm import FrozenLM
from hardprompt.metrics import FAITHFULNESS, NOT_FOR_HARD, faithfulness, projection_ids, scrutability, token_map
from hardprompt.optimizers import Problem, PromptResult
from hardprompt.optimizers.base import Visit
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores

OBJECTIVE = "task loss (nats per example) + weight x prompt NLL (nats per token)"
LEARNT_FROM = {"gap": "RLPrompt's gap reward (points)", "linear-gap": "the linear gap reward (points)"}
"""Rewards that are not minus the objective, and their unit; others are functions of one's own."""

EMITTED_PROMPTS, EMITTED_EXAMPLES = 20, 200
"""What is emitted at the end is scored with at most this many prompts on this many test examples, both evenly spread."""


READINGS = ("log_perplexity", "nats_per_character", "max_surprisal")
"""The measures of a text that depend on the model that reads it."""


def measure(problem: Problem, result: PromptResult, readers: Sequence[FrozenLM] = ()) -> dict[str, Any]:
    """The point of a run: scores of its best prompt on all splits, of its text, of what it emits at its end, and the cost.

    `readers` are models that were not optimized against; each reads the text, tokenized afresh.
    """
    best = result.best
    test = Scorer(problem.lm, problem.task, problem.task.test)
    found = measure_prompt(best.prompt, test, problem.allowed, str(result.config.get("projection", "cosine")), readers)
    run = {
        "optimizer": result.optimizer,
        "task": found["task"],
        "lm": found["lm"],
        "split": found["split"],
        "seed": result.seed,
        "weight": result.weight,
        "objective": OBJECTIVE + _learnt_from(result.config.get("reward", "objective")),
    }
    return (
        run
        | found
        | {
            "dev_objective": best.dev_objective,
            "curve": improvements(result.visits),
            "emitted": _final_prompts(test, result),
            "lm_tokens_forward": result.lm_tokens_forward,
            "lm_tokens_backward": result.lm_tokens_backward,
            "prompts_visited": len(result.visits),
            "seconds": round(result.seconds, 3),
            "config": result.config,
            "status": "ok",
        }
    )


def improvements(visits: Sequence[Visit]) -> list[dict[str, float]]:
    """The best prompt so far by the objective on dev: a step wherever a better one was visited, with what was spent by then."""
    steps: dict[int, dict[str, float]] = {}
    best = math.inf
    for visit in visits:
        if visit.dev_objective < best:
            best = visit.dev_objective
            steps[visit.lm_tokens] = {
                "lm_tokens": visit.lm_tokens,
                "dev_objective": visit.dev_objective,
                "dev_accuracy": visit.dev_accuracy,
            }
    return list(steps.values())


def _learnt_from(reward: str) -> str:
    """What the record adds to the objective where an optimizer learnt from another reward."""
    return "" if reward == "objective" else f"; learnt from {LEARNT_FROM.get(reward, reward)} - weight x prompt NLL"


def measure_prompt(
    prompt: HardPrompt | SoftPrompt,
    test: Scorer,
    allowed: Tensor | None = None,
    projection: str = "cosine",
    readers: Sequence[FrozenLM] = (),
) -> dict[str, Any]:
    """What is measured of a prompt, wherever it comes from: the metric keys of a point.

    Args:
        prompt: ids with their text, or vectors, of which the text is that of their projection.
        test: scores the task's test examples; its model and task are those that are measured on.
        allowed: token ids that a soft prompt may project to, (A,); by default all.
        projection: the measure of a soft prompt's projection.
        readers: models that were not optimized against; each reads the text, tokenized afresh.

    Raises:
        RequestError: two readers have one name.
        ContextExceeded: an example with this prompt is longer than the model's context.
    """
    lm, task = test.lm, test.task
    train, dev = Scorer(lm, task, task.train), Scorer(lm, task, task.dev)
    if isinstance(prompt, SoftPrompt):
        vocabulary = torch.arange(lm.vocab_embeds.shape[0], device=lm.device) if allowed is None else allowed
        hard = HardPrompt.from_ids(lm, projection_ids(prompt, lm.vocab_embeds, vocabulary, projection))
        gaps: dict[str, Any] = faithfulness(test, prompt, vocabulary, projection)
        tokens = token_map(hard, dev, prompt.embeds, lm.vocab_embeds[vocabulary], projection)
    else:
        hard = prompt
        gaps = dict.fromkeys(FAITHFULNESS) | {"reason": NOT_FOR_HARD}
        tokens = token_map(hard, dev)
    survives = test.survives(hard.ids, hard.text)
    on_train, on_dev, own = (_score(scorer, prompt) for scorer in (train, dev, test))
    deployed = own if survives and hard is prompt else test.score_text(hard.text)
    same_on_dev = hard is prompt and dev.survives(hard.ids, hard.text)
    deployed_on_dev = on_dev if same_on_dev else dev.score_text(hard.text)
    readable = scrutability(lm, hard.ids, hard.text)
    own_nats = readable["nats_per_character"]
    readings = {reader.name: _reading(reader, hard.text, own_nats) for reader in check_unique_names(readers)}
    first, read = next(iter(readings.items()), (None, dict.fromkeys(READINGS)))
    return {
        "task": task.name,
        "lm": lm.name,
        "split": task.split,
        "prompt_ids": list(hard.ids),
        "prompt_text": hard.text,
        "roundtrip_ok": survives,
        "train_accuracy": _accuracy(on_train),
        "train_loss": float(on_train.mean_loss),
        "dev_accuracy": _accuracy(on_dev),
        "dev_loss": float(on_dev.mean_loss),
        "test_accuracy": _accuracy(own),
        "test_correct": "".join("01"[right] for right in own.correct[0].tolist()),
        "test_loss": float(own.mean_loss),
        "deployed_dev_accuracy": _accuracy(deployed_on_dev),
        "deployed_test_accuracy": _accuracy(deployed),
        "deployed_test_loss": float(deployed.mean_loss),
        "log_perplexity": readable["log_perplexity"],
        "reader": first,
        "reader_log_perplexity": read["log_perplexity"],
        "reader_nats_per_character": read["nats_per_character"],
        "readers": readings,
        "inputs_cut": {part: task.inputs_cut.get(part, 0) for part in SPLITS},
        "scrutability": readable,
        "tokens": tokens,
        "faithfulness": gaps,
    }


def check_unique_names(readers: Sequence[FrozenLM]) -> Sequence[FrozenLM]:
    """The readers themselves; RequestError where two have one name, of which the record could keep only one."""
    names = [reader.name for reader in readers]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"two of the readers are called {name!r} in the record; leave one out, or rename its folder")
    return readers


def finite(point: dict[str, Any]) -> dict[str, Any]:
    """The point itself; RunError where it holds a number that is none, which JSON cannot say."""
    for key, value in point.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise RunError(f"{key} holds a number that is not finite: {value}") from error
    return point


def _final_prompts(test: Scorer, result: PromptResult) -> dict[str, Any]:
    """What the optimizer emits at its end, beside the best it happened to visit."""
    prompts = result.final_prompts
    kept = _spread(prompts, EMITTED_PROMPTS)
    some = Scorer(test.lm, test.task, _spread(test.examples, EMITTED_EXAMPLES))
    accuracies = [_accuracy(_score(some, prompt)) for prompt in kept]
    final = prompts[-1]
    described: dict[str, Any] = {
        "count": len(prompts),
        "prompts_scored": len(kept),
        "examples_scored": len(some.examples),
        "mean_test_accuracy": sum(accuracies) / len(accuracies),
        "final_test_accuracy": _accuracy(_score(test, final)),
    }
    if isinstance(final, HardPrompt):
        texts = [prompt.text for prompt in prompts if isinstance(prompt, HardPrompt)]
        described |= {
            "distinct": len(set(texts)),
            "final_prompt_ids": list(final.ids),
            "final_prompt_text": final.text,
            "final_log_perplexity": scrutability(test.lm, final.ids, final.text)["log_perplexity"],
        }
    return described


def _reading(reader: FrozenLM, text: str, own: float | None) -> dict[str, Any]:
    """What a reader says of a text, and how many tokens it is to it; None where it is longer than the reader's context.

    The gap is its nats per character minus the task LM's `own`: how much better the text pleases the model it was made for.
    """
    ids = reader.encode(text)
    measures = scrutability(reader, ids, text) if len(ids) <= reader.max_text_length else {}
    read = measures.get("nats_per_character")
    gap = None if read is None or own is None else read - own
    return {name: measures.get(name) for name in READINGS} | {"gap_nats_per_character": gap, "tokens": len(ids)}


def _score(scorer: Scorer, prompt: HardPrompt | SoftPrompt) -> Scores:
    return scorer.score_embeds(prompt.embeds) if isinstance(prompt, SoftPrompt) else scorer.score_ids([prompt.ids])


def _accuracy(scores: Scores) -> float:
    return float(scores.accuracy)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, the last one always among them."""
    stride = max(1, math.ceil(len(items) / count))
    return list(items[::-1][::stride])[::-1]
