"""A value with its interval, and the one rule by which an interval decides a question."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Verdict = Literal["holds", "fails", "undecided"]

LEAST_VALUES = 3
"""An interval over fewer values than this decides nothing."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its percentile bootstrap interval, and the number of values that it is computed from.

    Attributes:
        value: the value of the statistic, in the unit of the scores; NaN where there is nothing to estimate.
        low, high: ends of the interval, in the same unit.
        tasks: number of tasks.
        n: number of values over all tasks.

    Example:
        >>> print(Estimate(0.5, 0.4, 0.625, tasks=10, n=30))
        0.500 (0.400 to 0.625), n = 30 in 10 tasks
    """

    value: float
    low: float
    high: float
    tasks: int
    n: int

    @classmethod
    def from_draws(cls, value: float, draws: np.ndarray, tasks: int, n: int, level: float = 0.95) -> "Estimate":
        """The estimate whose interval holds the middle `level` of the bootstrap draws; draws that are NaN are left out.

        >>> Estimate.from_draws(0.5, np.array([0.0, 0.5, 1.0]), tasks=1, n=2, level=1.0)
        Estimate(value=0.5, low=0.0, high=1.0, tasks=1, n=2)
        """
        known = draws[~np.isnan(draws)]
        low, high = np.quantile(known, interval_ends(level)) if len(known) else (math.nan, math.nan)
        return cls(float(value), float(low), float(high), tasks, n)

    @property
    def half_width(self) -> float:
        """Half the width of the interval: about the smallest distance from a bound that these values could have shown."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        plural = "s" * (self.tasks != 1)
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}), n = {self.n} in {self.tasks} task{plural}"

    def as_json(self) -> dict[str, Any]:
        """All fields and the half-width; None instead of NaN.

        >>> Estimate(0.5, 0.25, 0.75, tasks=4, n=8).as_json()
        {'value': 0.5, 'low': 0.25, 'high': 0.75, 'tasks': 4, 'n': 8, 'half_width': 0.25}
        """
        fields = vars(self) | {"half_width": self.half_width}
        return {key: value if math.isfinite(value) else None for key, value in fields.items()}

    def as_mean(self) -> dict[str, float]:
        """The form in which `frontier.json` and the trade-off figures hold a mean.

        >>> Estimate(0.5, 0.25, 0.75, tasks=1, n=8).as_mean()
        {'mean': 0.5, 'low': 0.25, 'high': 0.75, 'n': 8}
        """
        return {"mean": self.value, "low": self.low, "high": self.high, "n": self.n}


def interval_ends(level: float) -> tuple[float, float]:
    """The two quantiles between which the middle `level` of a distribution is located.

    >>> interval_ends(0.5)
    (0.25, 0.75)
    """
    return (1 - level) / 2, (1 + level) / 2


def verdict(found: Estimate, *, above: float | None = None, below: float | None = None) -> Verdict:
    """Whether an estimate shows that the true value is above, or below, a bound.

    The statement holds where the whole interval is strictly beyond the bound, fails where the whole interval is on the other
    side or touches the bound from there, and is undecided otherwise, and always with fewer than `LEAST_VALUES` values.

    Args:
        found: the estimate.
        above, below: the bound; exactly one of the two.

    Example:
        >>> verdict(Estimate(0.5, 0.25, 0.75, 4, 8), above=0.0), verdict(Estimate(0.5, 0.25, 0.75, 4, 8), below=0.6)
        ('holds', 'undecided')
    """
    if (above is None) == (below is None):
        raise ValueError("a verdict needs exactly one bound; give either above or below")
    if found.n < LEAST_VALUES:
        return "undecided"
    if above is not None:
        return "holds" if found.low > above else "fails" if found.high <= above else "undecided"
    assert below is not None
    return "holds" if found.high < below else "fails" if found.low >= below else "undecided"
