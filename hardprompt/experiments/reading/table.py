"""Tables of the benchmark: how each reader reads each kind of prompt, and how scores rank true and other texts."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median
from typing import Any, get_args

from hardprompt.metrics.token_f1 import token_f1
from hardprompt.readings.evidence import Verdict, verdict_on
from hardprompt.readings.read import GIVEN

Line = Mapping[str, Any]

DO_THE_TASK = ("trained", "planted", "noisy", "distilled", "wayward")
"""Kinds of prompts that do the task whose descriptions are given."""

AS_ACCURATE = 0.05
"""A text is as accurate as its prompt if its test accuracy is at most this much lower."""

SAME_TEXT = 0.5
"""A text repeats another if the F1 of their words is above this."""


def readers_table(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A row per kind of prompts and reader, over the best text of the reader for each prompt.

    Args:
        lines: lines of `readings.jsonl`.

    Returns:
        Rows with `kind`, `reader`, `n` (prompts), the shares `little_to_read`, `faithful`, `partly_faithful`, `misleading`,
        `says_nothing`, `as_accurate` (of all prompts; a prompt with little to read has no text), `repeats` (share of texts that
        repeat the text that the prompt was made from), and the medians of the texts: `kl` (nats per answer), `score`,
        `accuracy_difference` (text minus prompt) and `log_perplexity` (nats per token). A median is None if there is no text.
    """
    rows = []
    for kind in dict.fromkeys(line["kind"] for line in lines):
        of_kind = [line for line in lines if line["kind"] == kind]
        for reader in _readers(lines):
            best = [(line, best_of(line, reader)) for line in of_kind]
            texts = [(line, text) for line, text in best if text is not None]
            verdicts = [verdict_on(*(text[key] for key in ("score", "agreement", "strength"))) for _, text in texts]
            rows.append(
                {
                    "kind": kind,
                    "reader": reader,
                    "n": len(of_kind),
                    "little_to_read": mean(line["verdict"] == "little to read" for line in of_kind),
                    **{name.replace(" ", "_"): verdicts.count(name) / len(of_kind) for name in get_args(Verdict)},
                    "as_accurate": sum(_difference(*each) >= -AS_ACCURATE for each in texts) / len(of_kind),
                    "repeats": sum(_repeats(*each) for each in texts) / len(of_kind),
                    "kl": _median(text["kl"] for _, text in texts),
                    "score": _median(text["score"] for _, text in texts),
                    "accuracy_difference": _median(_difference(*each) for each in texts),
                    "log_perplexity": _median(
                        text["log_perplexity"] for _, text in texts if text["log_perplexity"] is not None
                    ),
                }
            )
    return rows


def best_of(line: Line, reader: str) -> Line | None:
    """The best text of a reader for a prompt, or None; "any" stands for all readers that search."""
    for text in line["readings"]:
        found_by = set(text["found_by"]) - {GIVEN}
        if reader in found_by or (reader == "any" and found_by):
            return dict(text)
    return None


def scores_of_given(lines: Iterable[Line]) -> tuple[list[float], list[float]]:
    """Scores of the texts that describe the prompt's task, and of descriptions of other tasks.

    Only prompts that do their task count: those of the kinds in `DO_THE_TASK` with something to read.
    """
    true: list[float] = []
    other: list[float] = []
    for line in lines:
        for text in line["readings"] if line["kind"] in DO_THE_TASK else ():
            if GIVEN in text["found_by"]:
                (true if text["text"] in line["texts"] else other).append(text["score"])
    return true, other


def area_under_curve(high: Sequence[float], low: Sequence[float]) -> float | None:
    """The share of pairs in which the value that should be high is higher; half of the equal pairs. None without a pair.

    >>> area_under_curve([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    if not high or not low:
        return None
    return mean((one > other) + 0.5 * (one == other) for one in high for other in low)


def _readers(lines: Sequence[Line]) -> list[str]:
    names = (name for line in lines for text in line["readings"] for name in text["found_by"])
    return [*sorted(set(names) - {GIVEN}), "any"]


def _repeats(line: Line, text: Line) -> bool:
    return bool(line["text"]) and token_f1(text["text"], line["text"]) > SAME_TEXT


def _difference(line: Line, text: Line) -> float:
    return float(text["deployed_accuracy"] - line["accuracy"])


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None
