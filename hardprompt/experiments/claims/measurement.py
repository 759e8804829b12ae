"""A figure with its interval from the lines of a record: the mean of a key, or its difference between two kinds of lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Line = Mapping[str, Any]
Filter = dict[str, Any]

SAME = ("task", "split", "seed", "word")
"""What lines that are compared have in common."""

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over tasks, its 95 % interval, and the numbers of tasks and of values that it rests on."""

    value: float
    low: float
    high: float
    tasks: int
    n: int


class Measure(BaseModel):
    """What is measured on the lines of a record.

    Attributes:
        mean: a key, with dots into objects; over a list the mean of what each of its items has.
        difference: instead, a key whose value in the lines `minus` is subtracted from that in the lines `of`, pair by pair of
            the same task, split, seed and initial word.
        finding: instead, a finding of a geometry study, by its name; it comes with its interval.
        of, minus: values that the lines have at some keys, or lists of which they have one.
        minus_key: the key of the lines `minus`, where it is another one.
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
            raise ValueError("a measure has one of mean, difference and finding")
        if (self.difference is None) != (self.minus is None):
            raise ValueError("a difference has what is subtracted, minus")
        return self

    def __str__(self) -> str:
        """In words."""
        if self.finding is not None:
            return f"finding {self.finding!r}"
        if self.mean is not None:
            return f"{self.mean} of {_words(self.of)}"
        other = f" {self.minus_key}" if self.minus_key else ""
        return f"{self.difference} of {_words(self.of)}, minus{other} of {_words(self.minus or {})}"

    def values(self, lines: Sequence[Line]) -> dict[str, list[float]]:
        """By task a value per split, seed and initial word.

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
        """The mean over tasks; None where no lines fit.

        The interval is the percentile bootstrap's: tasks are redrawn and, within each, its values.
        """
        if self.finding is not None:
            found = next((line for line in lines if line["name"] == self.finding and line["value"] is not None), None)
            if found is None:
                return None
            low, high = (found["value"] if found[end] is None else found[end] for end in ("low", "high"))
            return Estimate(found["value"], low, high, found["tasks"], found["n"])
        by_task = self.values(lines)
        return estimate(by_task) if by_task else None


def estimate(by_task: Mapping[str, Sequence[float]], seed: int = 0) -> Estimate:
    """The mean over tasks of the means of their values, with its interval over tasks and values.

    >>> estimate({"plural": [1.0, 0.5], "category": [0.25]}).value
    0.5
    """
    groups = [np.asarray(values, dtype=float) for values in by_task.values()]
    generator = np.random.default_rng(seed)
    places = len(groups), RESAMPLES  # a task that is drawn at two places is redrawn at each
    redrawn = np.stack([values[generator.integers(len(values), size=(*places, len(values)))].mean(-1) for values in groups])
    chosen = generator.integers(len(groups), size=(1, *places))
    low, high = np.quantile(np.take_along_axis(redrawn, chosen, axis=0).mean((0, 1)), [0.025, 0.975])
    value = float(np.mean([values.mean() for values in groups]))
    return Estimate(value, float(low), float(high), len(groups), sum(len(values) for values in groups))


def value_at(line: Line, key: str) -> float | None:
    """The value at a key with dots; of a list the mean over its items; None where there is none.

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
    """By what pairs have in common, the mean of the lines that fit."""
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
    said = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in wanted.items()]
    return ", ".join(said) or "all"
