"""Measuring what a run found: one line of the record."""

import math
from collections.abc import Sequence
from typing import Any

from hardprompt.lm import FrozenLM
from hardprompt.metrics import FAITHFULNESS, NOT_FOR_HARD, faithfulness, projection_ids, scrutability
from hardprompt.optimizers import Problem, PromptResult
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores
from hardprompt.task import SPLITS

OBJECTIVE = "task loss (nats per example) + weight x prompt NLL (nats per token)"
LEARNT_FROM_GAP = "; learnt from RLPrompt's gap reward (points) - weight x prompt NLL"
EMITTED_PROMPTS, EMITTED_EXAMPLES = 20, 200
"""What is emitted at the end is scored with at most this many prompts on this many test examples, both evenly spread."""


def measure(problem: Problem, result: PromptResult, reader: FrozenLM | None = None) -> dict[str, Any]:
    """The point of a run: scores of its best prompt on all splits, of its text, of what it emits at its end, and the cost.

    `reader` is a model that was not optimized against; it reads the text, tokenized afresh.
    """
    lm, best = problem.lm, result.best
    train, dev, test = (Scorer(lm, problem.task, problem.task.examples(s)) for s in ("train", "dev", "test"))
    if isinstance(best.prompt, SoftPrompt):
        hard = _projected(problem, result, best.prompt)
        gaps: dict[str, Any] = faithfulness(test, best.prompt, problem.allowed, _measure(result))
    else:
        hard = best.prompt
        gaps = dict.fromkeys(FAITHFULNESS) | {"reason": NOT_FOR_HARD}
    own = _score(test, best.prompt)
    survives = test.survives(hard.ids, hard.text)
    deployed = own if survives and hard is best.prompt else test.score_text(hard.text)
    readable = scrutability(lm, hard.ids, hard.text)
    read = _read(reader, hard.text)
    return {
        "optimizer": result.optimizer,
        "task": problem.task.name,
        "lm": lm.name,
        "split": problem.task.split,
        "seed": result.seed,
        "weight": result.weight,
        "objective": OBJECTIVE + (LEARNT_FROM_GAP if result.config.get("reward") == "gap" else ""),
        "prompt_ids": list(hard.ids),
        "prompt_text": hard.text,
        "roundtrip_ok": survives,
        "train_accuracy": _accuracy(_score(train, best.prompt)),
        "dev_accuracy": best.dev_accuracy,
        "test_accuracy": _accuracy(own),
        "test_loss": float(own.loss.mean()),
        "deployed_dev_accuracy": _accuracy(dev.score_text(hard.text)),
        "deployed_test_accuracy": _accuracy(deployed),
        "deployed_test_loss": float(deployed.loss.mean()),
        "log_perplexity": readable["log_perplexity"],
        "reader": reader.name if reader else None,
        "reader_log_perplexity": read.get("log_perplexity"),
        "reader_nats_per_character": read.get("nats_per_character"),
        "inputs_cut": {part: problem.task.inputs_cut.get(part, 0) for part in SPLITS},
        "dev_objective": best.dev_objective,
        "scrutability": readable,
        "faithfulness": gaps,
        "emitted": _emitted(test, result, own),
        "lm_tokens_forward": result.lm_tokens_forward,
        "lm_tokens_backward": result.lm_tokens_backward,
        "prompts_visited": len(result.visits),
        "seconds": round(result.seconds, 3),
        "config": result.config,
        "status": "ok",
    }


def _emitted(test: Scorer, result: PromptResult, best: Scores) -> dict[str, Any]:
    """What the optimizer emits at its end, beside the best it happened to visit, whose scores on test are known."""
    prompts = result.emitted
    kept = _spread(prompts, EMITTED_PROMPTS)
    some = Scorer(test.lm, test.task, _spread(test.examples, EMITTED_EXAMPLES))
    accuracies = [_accuracy(_score(some, prompt)) for prompt in kept]
    final = prompts[-1]
    described: dict[str, Any] = {
        "count": len(prompts),
        "prompts_scored": len(kept),
        "examples_scored": len(some.examples),
        "mean_test_accuracy": sum(accuracies) / len(accuracies),
        "final_test_accuracy": _accuracy(best if final == result.best.prompt else _score(test, final)),
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


def _read(reader: FrozenLM | None, text: str) -> dict[str, Any]:
    """What a reader says of a text; nothing where there is none, or where the text is longer than its context."""
    ids = reader.encode(text) if reader else []
    return scrutability(reader, ids, text) if reader and len(ids) < reader.max_length else {}


def _projected(problem: Problem, result: PromptResult, soft: SoftPrompt) -> HardPrompt:
    ids = projection_ids(soft, problem.lm.vocab_embeds, problem.allowed, _measure(result))
    return HardPrompt.from_ids(problem.lm, ids)


def _measure(result: PromptResult) -> str:
    return str(result.config.get("projection", "cosine"))


def _score(scorer: Scorer, prompt: HardPrompt | SoftPrompt) -> Scores:
    return scorer.score_embeds(prompt.embeds) if isinstance(prompt, SoftPrompt) else scorer.score_ids([prompt.ids])


def _accuracy(scores: Scores) -> float:
    return float(scores.correct.float().mean())


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, the last one always among them."""
    stride = max(1, math.ceil(len(items) / count))
    return list(items[::-1][::stride])[::-1]
