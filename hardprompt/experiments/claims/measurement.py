"""Estimates from the lines of a record: the mean of a key, or its difference between two groups of lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import mean

Line = Mapping[str, Any]
Filter = dict[str, Any]

SAME = ("task", "split", "seed", "word")
"""Keys whose values are equal in two lines that are compared."""

RESAMPLES = 10_000


class Measure(BaseModel):
    """A quantity that is computed from the lines of a record: exactly one of a mean, a difference and a finding.

    Attributes:
        mean: a key, with dots into objects; for a list, the mean over its items.
        difference: a key whose value in the lines `minus` is subtracted from its value in the lines `of`, for every pair of
            lines with the same task, split, seed and initial word.
        finding: name of a finding of a geometry study, which already has an interval.
        of, minus: values by key that select lines; a list selects the lines with one of its values.
        minus_key: key of the lines `minus`, if it is not the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: str | None = None
    difference: str | None = None
    finding: str | None = None
    of: Annotated[Filter, Field(default_factory=dict)]
    minus: Filter | None = None
    minus_key: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Measure":
        if sum(each is not None for each in (self.mean, self.difference, self.finding)) != 1:
            raise ValueError("a measure needs exactly one of mean, difference and finding")
        if (self.difference is None) != (self.minus is None):
            raise ValueError("difference and minus belong together; give both or neither")
        return self

    def __str__(self) -> str:
        """The measure in words."""
        if self.finding is not None:
            return f"finding {self.finding!r}"
        if self.mean is not None:
            return f"{self.mean} of {_words(self.of)}"
        other = f" {self.minus_key}" if self.minus_key else ""
        return f"{self.difference} of {_words(self.of)}, minus{other} of {_words(self.minus or {})}"

    def values(self, lines: Sequence[Line]) -> dict[str, list[float]]:
        """Values by task, one per split, seed and initial word.

        >>> line = {"task": "plural", "seed": 0, "optimizer": "pez", "test_accuracy": 0.75}
        >>> Measure(mean="test_accuracy", of={"optimizer": "pez"}).values([line, line | {"optimizer": "rl"}])
        {'plural': [0.75]}
        """
        key = self.mean or self.difference or ""
        found = _means(lines, key, self.of)
        if self.minus is not None:
            others = _means(lines, self.minus_key or key, self.minus)
            found = {unit: found[unit] - others[unit] for unit in found if unit in others}
        by_task: dict[str, list[float]] = {}
        for unit, value in found.items():
            by_task.setdefault(unit[0], []).append(value)
        return by_task

    def estimate(self, lines: Sequence[Line]) -> Estimate | None:
        """The mean over tasks with its interval, in which tasks and their values are redrawn; None if no line matches."""
        if self.finding is not None:
            found = next((line for line in lines if line["name"] == self.finding and line["value"] is not None), None)
            if found is None:
                return None
            low, high = (found["value"] if found[end] is None else found[end] for end in ("low", "high"))
            return Estimate(found["value"], low, high, found["tasks"], found["n"])
        by_task = self.values(lines)
        return estimate(by_task) if by_task else None


def estimate(by_task: Mapping[str, Sequence[float]]) -> Estimate:
    """The mean over tasks of the means of their values, with a 95 % interval in which tasks and their values are redrawn.

    >>> estimate({"plural": [1.0, 0.5], "category": [0.25]}).value
    0.5
    """
    scores = np.full((len(by_task), max(map(len, by_task.values()))), np.nan)
    for row, values in zip(scores, by_task.values(), strict=True):
        row[: len(values)] = values
    return bootstrap(mean, scores, tasks_too=True, draws=RESAMPLES)


def value_at(line: Line, key: str) -> float | None:
    """The value at a key with dots, for a list the mean over its items; None if there is no value.

    >>> value_at({"tokens": [{"marked": True}, {"marked": False}]}, "tokens.marked")
    0.5
    """
    first, _, rest = key.partition(".")
    found = line.get(first)
    if isinstance(found, list) and rest:
        inner = [value for item in found if (value := value_at(item, rest)) is not None]
        return float(np.mean(inner)) if inner else None
    if rest:
        return value_at(found, rest) if isinstance(found, Mapping) else None
    return None if found is None else float(found)


def _means(lines: Iterable[Line], key: str, wanted: Filter) -> dict[tuple[Any, ...], float]:
    """Mean of the matching lines, by their values of `SAME`."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for line in lines:
        if _fits(line, wanted) and (value := value_at(line, key)) is not None:
            found.setdefault(tuple(line.get(name) for name in SAME), []).append(value)
    return {unit: float(np.mean(values)) for unit, values in found.items()}


def _fits(line: Line, wanted: Filter) -> bool:
    return all(
        line.get(name) in value if isinstance(value, list) else line.get(name) == value for name, value in wanted.items()
    )


def _words(wanted: Filter) -> str:
    parts = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in wanted.items()]
    return ", ".join(parts) or "all"
