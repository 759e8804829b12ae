"""Which tasks does a text ask for? The tasks that it makes a model do, and whether a person could read it.

A text asks for task t if a model, the judge, is right on t under the text far more often than without it, and if the text reads
like an instruction to a held-out reader: a person cannot understand a text that the reader finds improbable, even if the judge
follows it. For a prompt that solves t, a text read off it is *faithful* if it asks for t, *misleading* if it asks for other
tasks only, and *says nothing* if it asks for none.

A text is flagged only if it is not faithful and scores lower than the prompt (`is_flagged`). A faithful reading may score
lower; a hard prompt may work without naming its task. So one condition alone is not enough. runs/interpret.md compares this
rule with others.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, TaskError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.scoring import Scorer
from hardprompt.scoring.truncation import fit_to_context

Verdict = Literal["faithful", "misleading", "says nothing"]

LEAST_GAIN = 0.5
"""A text asks for a task if it corrects at least this share of the errors without a prompt.

The value was chosen on the tune tasks (runs/says.py)."""

LEAST_DROP = 0.05
"""A text is flagged only if its accuracy is more than this below that of the prompt."""

INPUTS = 16
"""Test inputs per task on which a judge scores a text."""


@dataclass(frozen=True)
class Interpretation:
    """The tasks that a text asks for.

    Attributes:
        lifts: the relative gain of each task, (accuracy with the text - accuracy without) / (1 - accuracy without); at most 1.
        nats: mean surprisal of the text under the reader, nats per token; None without a reader, or for an empty text.
        limit: nats per token up to which a text reads like an instruction; None without a reader.
        tasks: the tasks that the text asks for, the highest lift first.
    """

    lifts: Mapping[str, float]
    nats: float | None
    limit: float | None
    tasks: tuple[str, ...]

    def verdict(self, solved: str) -> Verdict:
        """The verdict on the text of a prompt that solves this task: "faithful", "misleading" or "says nothing"."""
        if not self.tasks:
            return "says nothing"
        return "faithful" if solved in self.tasks else "misleading"

    def as_json(self, solved: str) -> dict[str, Any]:
        """As JSON, with the verdict; the lifts are those of the solved task and of the tasks that the text asks for."""
        shown = dict.fromkeys((solved, *self.tasks))
        return {
            "outcome": self.verdict(solved),
            "tasks": list(self.tasks),
            "lifts": {name: self.lifts[name] for name in shown if name in self.lifts},
            "reader_nats_per_token": self.nats if self.nats is not None and math.isfinite(self.nats) else None,
            "readable_up_to": self.limit,
        }


class TaskJudge:
    """Finds out which of several tasks a text asks for.

    Args:
        lm: the model that performs them.
        tasks: the candidate tasks, each with its own inputs and template; tasks that do not fit the model are left out.
        reader: a held-out model that decides whether a text is readable; without a reader every text is readable.
        inputs: number of test inputs of each task that are used.

    Raises:
        RequestError: none of the tasks fits the model, or they have too few reference prompts to calibrate the reader.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> judge = TaskJudge(load_lm("microworld"), [load_task(name) for name in ("plural", "category")])
        >>> judge.interpret("what kind of thing is this").tasks
        ('category',)
    """

    def __init__(self, lm: FrozenLM, tasks: Sequence[Task], reader: FrozenLM | None = None, inputs: int = INPUTS) -> None:
        self.reader = reader
        self._known: dict[str, Interpretation] = {}
        self.scorers: dict[str, Scorer] = {}
        for task in tasks:
            try:
                fitted = fit_to_context(task, lm, 0)
                self.scorers[task.name] = Scorer(lm, fitted, fitted.test[:inputs])
            except TaskError:
                continue
        if not self.scorers:
            raise RequestError(f"none of the tasks {', '.join(task.name for task in tasks)} fits the model {lm.name}")
        self._without = {name: _accuracy(scorer, "") for name, scorer in self.scorers.items()}
        known = [text for task in tasks for text in task.reference_prompts]
        self.limit = None if reader is None else readable_limit(reader, known)

    def interpret(self, text: str) -> Interpretation:
        """The tasks that a text asks for; each text is scored only once."""
        if text not in self._known:
            self._known[text] = self._interpret(text)
        return self._known[text]

    def _interpret(self, text: str) -> Interpretation:
        lifts = {name: relative_gain(_accuracy(scorer, text), self._without[name]) for name, scorer in self.scorers.items()}
        nats = _nats(self.reader, text) if self.reader is not None and text.strip() else None
        readable = bool(text.strip()) and (self.limit is None or (nats is not None and nats <= self.limit))
        return Interpretation(lifts, nats, self.limit, requested_tasks(lifts) if readable else ())


def is_flagged(verdict: Verdict, drop: float) -> bool:
    """Whether the text of a prompt should not be trusted: it does not ask for the task, and it scores lower than the prompt.

    A faithful reading may score lower; a hard prompt may work without naming its task. So both conditions are needed.

    Args:
        verdict: the verdict on the text (`Interpretation.verdict`).
        drop: the accuracy of the prompt minus that of the text, a fraction.

    Example:
        >>> is_flagged("misleading", 0.9), is_flagged("faithful", 0.4), is_flagged("says nothing", 0.0)
        (True, False, False)
    """
    return verdict != "faithful" and drop > LEAST_DROP


def relative_gain(accuracy: float, without: float) -> float:
    """The share of the errors without a prompt that the prompt corrects; below 0 if the prompt adds errors.

    >>> relative_gain(0.75, 0.5)
    0.5
    """
    return 0.0 if without >= 1 else (accuracy - without) / (1 - without)


def requested_tasks(lifts: Mapping[str, float], least: float = LEAST_GAIN) -> tuple[str, ...]:
    """The tasks whose lift is at least `least`, the highest first.

    >>> requested_tasks({"plural": 0.1, "category": 0.5, "place": 0.9})
    ('place', 'category')
    """
    return tuple(sorted((name for name in lifts if lifts[name] >= least), key=lambda name: -lifts[name]))


def readable_limit(reader: FrozenLM, instructions: Sequence[str], seed: int = 0) -> float:
    """The nats per token that best separate instructions from the same instructions with shuffled words, under this reader.

    It maximizes the mean of the two shares on the right side; it is midway between two texts, and the lowest of equal ones.

    Raises:
        RequestError: fewer than two instructions have several different words.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = [text for text in instructions if len(set(text.split())) > 1]
    if len(whole) < 2:
        raise RequestError(
            "the reader is calibrated on the tasks' reference prompts; give at least two prompts with several different words"
        )
    mixed = [_shuffled(text, generator) for text in whole]
    return dividing_line([_nats(reader, text) for text in whole], [_nats(reader, text) for text in mixed])


def dividing_line(low: Sequence[float], high: Sequence[float]) -> float:
    """The threshold that best separates values that should be low from values that should be high.

    >>> dividing_line([1.0, 2.0, 6.0], [5.0, 7.0])
    3.5
    """
    values = sorted({*low, *high})
    cuts = [(a + b) / 2 for a, b in itertools.pairwise(values)] or values
    return max(cuts, key=lambda cut: sum(v <= cut for v in low) / len(low) + sum(v > cut for v in high) / len(high))


def _shuffled(text: str, generator: torch.Generator) -> str:
    words = text.split()
    while True:
        order = [words[i] for i in torch.randperm(len(words), generator=generator).tolist()]
        if order != words:
            return " ".join(order)


def _nats(reader: FrozenLM, text: str) -> float:
    ids = reader.encode(text.strip())
    if len(ids) + len(reader.prefix_ids) < 2:
        raise RequestError(f"{reader.name} has no beginning-of-sequence token, so it cannot read the one token {text!r}")
    return log_perplexity(reader, ids) if len(ids) <= reader.max_text_length else float("inf")


def _accuracy(scorer: Scorer, text: str) -> float:
    return float(scorer.score_text(text).accuracy)
