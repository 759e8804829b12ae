"""What does a text say? Which tasks it makes a model do, whether a person could read it, and what follows for a prompt.

A text says task t if a model, the judge, is right on t under it far more often than without it, and if it reads like an
instruction to a held-out reader: what is gibberish to that says nothing to a person, whatever the judge obeys. A prompt that
solves t and is read as a text is *faithful* if the text says t, *misleading* if it says others and not t, and *says nothing* if
it says none. How often that is right, and how other decisions do: runs/interpret.md.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, TaskError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.scoring import Scorer

Outcome = Literal["faithful", "misleading", "says nothing"]

LEAST_GAIN = 0.5
"""Share of what no prompt leaves wrong that a text must put right to count as doing a task; from tune tasks (runs/says.py)."""

LEAST_DROP = 0.05
"""Accuracy that a reading must lack, against the vectors it was read off, before it is blamed."""

INPUTS = 16
"""Inputs per task that a judge is asked about."""


@dataclass(frozen=True)
class Interpretation:
    """What a text says.

    Attributes:
        lifts: by task, (accuracy under the text - accuracy without) / (1 - accuracy without); at most 1.
        nats: what the reader needs for it, per token; None without a reader, or for an empty text.
        limit: nats per token up to which a text reads like an instruction; None without a reader.
        tasks: what it says, the strongest first.
    """

    lifts: Mapping[str, float]
    nats: float | None
    limit: float | None
    tasks: tuple[str, ...]

    def outcome(self, solved: str) -> Outcome:
        """For a prompt that solves this task."""
        if not self.tasks:
            return "says nothing"
        return "faithful" if solved in self.tasks else "misleading"

    def as_json(self, solved: str) -> dict[str, Any]:
        """With the outcome; of the lifts, the task's own and those of the tasks that are said."""
        shown = dict.fromkeys((solved, *self.tasks))
        return {
            "outcome": self.outcome(solved),
            "tasks": list(self.tasks),
            "lifts": {name: self.lifts[name] for name in shown if name in self.lifts},
            "reader_nats_per_token": self.nats,
            "readable_up_to": self.limit,
        }


class TaskJudge:
    """Says which of several tasks a text asks for.

    Args:
        lm: the model that performs them.
        tasks: the candidates, each with its own inputs and template; those that the model cannot be asked are left out.
        reader: a held-out model that decides whether a text can be read; without one every text can.
        inputs: how many test inputs of each task are used.

    Raises:
        RequestError: none of the tasks fits the model, or too few instructions are known to tell what the reader can read.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> judge = TaskJudge(load_lm("microworld"), [load_task(name) for name in ("plural", "category")])
        >>> judge.says("what kind of thing is this").tasks
        ('category',)
    """

    def __init__(self, lm: FrozenLM, tasks: Sequence[Task], reader: FrozenLM | None = None, inputs: int = INPUTS) -> None:
        self.reader = reader
        self._known: dict[str, Interpretation] = {}
        self.scorers: dict[str, Scorer] = {}
        for task in tasks:
            try:
                self.scorers[task.name] = Scorer(lm, task, task.test[:inputs])
            except TaskError:
                continue
        if not self.scorers:
            raise RequestError(f"{lm.name} can be asked none of the tasks {', '.join(task.name for task in tasks)}")
        self._without = {name: _accuracy(scorer, "") for name, scorer in self.scorers.items()}
        known = [text for task in tasks for text in task.reference_prompts]
        self.limit = None if reader is None else readable_limit(reader, known)

    def says(self, text: str) -> Interpretation:
        """What a text says; a text that is asked for twice is read once."""
        if text not in self._known:
            self._known[text] = self._says(text)
        return self._known[text]

    def _says(self, text: str) -> Interpretation:
        lifts = {name: relative_gain(_accuracy(scorer, text), self._without[name]) for name, scorer in self.scorers.items()}
        nats = _nats(self.reader, text) if self.reader is not None and text.strip() else None
        readable = bool(text.strip()) and (self.limit is None or (nats is not None and nats <= self.limit))
        return Interpretation(lifts, nats, self.limit, said(lifts) if readable else ())


def is_flagged(outcome: Outcome, drop: float) -> bool:
    """Whether a reading is to be mistrusted: it does not say what the prompt solves, and it does less than the prompt.

    Either alone raises false alarms: a true text may be obeyed only in part, and a hard prompt says nothing and does it all.

    Args:
        outcome: of the text.
        drop: accuracy of the prompt minus that of the text, a fraction.

    Example:
        >>> is_flagged("misleading", 0.9), is_flagged("faithful", 0.4), is_flagged("says nothing", 0.0)
        (True, False, False)
    """
    return outcome != "faithful" and drop > LEAST_DROP


def relative_gain(accuracy: float, without: float) -> float:
    """The share of what is wrong without a prompt that is right with it; below 0 where a prompt does harm.

    >>> relative_gain(0.75, 0.5)
    0.5
    """
    return 0.0 if without >= 1 else (accuracy - without) / (1 - without)


def said(lifts: Mapping[str, float], least: float = LEAST_GAIN) -> tuple[str, ...]:
    """Tasks that are done at least so well, the best first.

    >>> said({"plural": 0.1, "category": 0.5, "place": 0.9})
    ('place', 'category')
    """
    return tuple(sorted((name for name in lifts if lifts[name] >= least), key=lambda name: -lifts[name]))


def readable_limit(reader: FrozenLM, instructions: Sequence[str], seed: int = 0) -> float:
    """Nats per token that best divide instructions from the same with their words shuffled, under this reader.

    The highest mean of the two shares that are on their right side; in the middle between two texts, the lowest on ties.

    Raises:
        RequestError: fewer than two instructions that have another order.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = [text for text in instructions if len(set(text.split())) > 1]
    if len(whole) < 2:
        raise RequestError("a reader is calibrated on the tasks' reference prompts; give at least two of several words")
    mixed = [_shuffled(text, generator) for text in whole]
    return dividing_line([_nats(reader, text) for text in whole], [_nats(reader, text) for text in mixed])


def dividing_line(low: Sequence[float], high: Sequence[float]) -> float:
    """Where to cut between values that should be low and values that should be high.

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
