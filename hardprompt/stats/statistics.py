"""Statistics over tasks and repetitions: what a mean is worth, and whether one optimizer is better than another.

Scores are matrices (tasks, units): a row per task, and in it one value per unit, that is per data split and seed. Larger is
better. Pure functions; whatever is drawn is drawn from a seed, and nothing global is touched.

Two questions are kept apart. *On these tasks*: would other seeds say the same? Only the units are redrawn, task by task. *On
tasks like these* (`tasks_too`): would other tasks say the same? The tasks are redrawn as well, and intervals are wider.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

Scores = Float[np.ndarray, "*draws tasks units"]
PerDraw = float | Float[np.ndarray, "*draws"]
Statistic = Callable[..., PerDraw]

RESAMPLES = 2000
AT_ONCE = 100
"""Draws of which a statistic is taken at once: one that compares all pairs of units would fill the memory with more."""

EXACT = 14
"""Up to so many pairs a permutation test goes through all 2^n signs."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its percentile bootstrap interval, and what it rests on.

    >>> print(Estimate(0.5, 0.4, 0.625, tasks=10, units=3))
    0.500 (0.400 to 0.625), 10 tasks x 3 runs
    """

    value: float
    low: float
    high: float
    tasks: int
    units: int

    def __str__(self) -> str:
        """The value never stands without its interval and n."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}), {counted(self.tasks, self.units)}"


def counted(tasks: int, units: int) -> str:
    """What a value rests on, in words.

    >>> counted(10, 1)
    '10 tasks x 1 run'
    """
    return f"{tasks} task{'s' * (tasks != 1)} x {units} run{'s' * (units != 1)}"


def mean(scores: Scores) -> PerDraw:
    """Mean over tasks and units, every task with the same weight."""
    return np.mean(scores, axis=(-2, -1))


def interquartile_mean(scores: Scores) -> PerDraw:
    """Mean of the middle half of all values, tasks and units pooled (Agarwal et al. 2021, arXiv:2108.13264).

    The lowest and the highest quarter, rounded down to whole values, are left out: of fewer than four values none are.

    >>> float(interquartile_mean(np.array([[0.0, 1.0, 2.0, 100.0]])))
    1.5
    """
    pooled = np.sort(np.reshape(scores, (*scores.shape[:-2], -1)), axis=-1)
    cut = pooled.shape[-1] // 4
    return np.mean(pooled[..., cut : pooled.shape[-1] - cut], axis=-1)


def probability_of_improvement(scores: Scores, baseline: Float[np.ndarray, "*draws tasks others"]) -> PerDraw:
    """How probable it is that a run beats one of the baseline on a task drawn at random (Agarwal et al. 2021).

    P(X > Y) = 1/M sum_m 1/(N K) sum_ik [x_mi > y_mk] + 1/2 [x_mi = y_mk]: per task the Mann-Whitney U over N K, averaged over
    the M tasks.

    >>> float(probability_of_improvement(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]])))
    0.625
    """
    better = np.sign(scores[..., :, None] - baseline[..., None, :])
    return np.mean((better + 1) / 2, axis=(-3, -2, -1))


def bootstrap(
    statistic: Statistic,
    *scores: Scores,
    tasks_too: bool = False,
    level: float = 0.95,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic of one or several matrices, with its percentile bootstrap interval.

    Units are redrawn with replacement within each task (stratified), in each matrix apart; for pairs give their difference as
    one matrix.

    Args:
        statistic: of matrices (*draws, tasks, units); gives one value per draw.
        scores: matrices of the same tasks (tasks, units).
        tasks_too: redraw the tasks first, the same for all matrices.
        level: of the interval.
        draws: how many.
        seed: of the draws.

    Returns:
        The estimate; `units` are those of the smallest matrix.

    Example:
        >>> scores = np.array([[0.5, 0.5], [1.0, 1.0]])
        >>> print(bootstrap(mean, scores))
        0.750 (0.750 to 0.750), 2 tasks x 2 runs
        >>> print(bootstrap(mean, scores, tasks_too=True))
        0.750 (0.500 to 1.000), 2 tasks x 2 runs
    """
    generator = np.random.default_rng(seed)
    tasks = len(scores[0])
    rows = generator.integers(tasks, size=(draws, tasks)) if tasks_too else np.arange(tasks)[None]
    drawn = []
    for matrix in scores:
        units = generator.integers(matrix.shape[1], size=(draws, *matrix.shape))
        drawn.append(matrix[rows[:, :, None], units])
    parts = range(0, draws, AT_ONCE)
    found = np.concatenate([np.atleast_1d(statistic(*(each[i : i + AT_ONCE] for each in drawn))) for i in parts])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(statistic(*scores)), float(low), float(high), tasks, min(matrix.shape[1] for matrix in scores))


def bootstrap_mean(values: Sequence[float] | np.ndarray, seed: int = 0, level: float = 0.95) -> dict[str, float]:
    """Mean and percentile bootstrap interval of values over independent units, for example seeds.

    >>> bootstrap_mean([0.5, 0.5])
    {'mean': 0.5, 'low': 0.5, 'high': 0.5, 'n': 2}
    """
    data = np.asarray(values, dtype=float)
    distinct, counts = np.unique(data, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(data), counts / len(data), RESAMPLES)  # as many of each value
    means = drawn @ distinct / len(data)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(data.mean()), "low": float(low), "high": float(high), "n": len(data)}


def bootstrap_band(
    curves: Float[np.ndarray, "tasks units places"],
    *,
    tasks_too: bool = False,
    level: float = 0.95,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, "3 places"]:
    """Mean over tasks and units of a curve at every place, with its percentile bootstrap interval there: mean, low, high.

    What is redrawn are whole curves, as in `bootstrap`; a place where any of them has no value has none.

    >>> bootstrap_band(np.array([[[0.0, 1.0], [0.0, 1.0]]])).tolist()
    [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    tasks, units, _ = curves.shape
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(units, np.full(units, 1 / units), size=(draws, tasks)) / units  # how often each unit
    if tasks_too:
        rows = generator.integers(tasks, size=(draws, tasks))
        within, drawn = drawn, np.zeros_like(drawn)
        np.add.at(drawn, (np.arange(draws)[:, None], rows), within)
    means = drawn.reshape(draws, -1) @ curves.reshape(tasks * units, -1) / tasks
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([curves.mean((0, 1)), low, high])


def permutation_test(
    scores: Float[np.ndarray, "tasks units"],
    baseline: Float[np.ndarray, "tasks units"],
    *,
    tasks_too: bool = False,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """p-value of the paired permutation test that the two do equally well in the mean, on both sides.

    If it made no difference which of the two a value came from, the sign of each difference would be a coin's. p is the share
    of the sign patterns whose mean difference is at least as far from 0 as the observed one: of all 2^n up to `EXACT` pairs,
    beyond that (k + 1) / (draws + 1) of drawn ones (Phipson and Smyth 2010). It cannot be less than 2^(1 - n).

    Args:
        scores, baseline: pairs at the same place: the same task, split and seed.
        tasks_too: flip whole tasks instead of pairs, which asks about tasks like these; needs six for p < 0.05.
        draws, seed: of the drawn patterns.

    Example:
        >>> permutation_test(np.array([[3.0, 2.0, 2.0]]), np.array([[1.0, 1.0, 1.0]]))
        0.25
    """
    differences = scores - baseline
    differences = differences.mean(1) if tasks_too else differences.ravel()
    n = len(differences)
    if n <= EXACT:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng(seed).integers(2, size=(draws, n), dtype=np.int8)
    least = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()  # what is equal but for rounding is as far
    extreme = int((np.abs(signs @ differences) >= least).sum())
    return extreme / 2**n if n <= EXACT else (extreme + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method: of all wrong claims at 0.05, any is made in 5 % at most.

    The i-th smallest of m becomes max_{j <= i} (m - j + 1) p_(j), at most 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in adjusted]


@dataclass(frozen=True)
class Comparison:
    """Two optimizers on the same tasks, splits and seeds.

    Attributes:
        first, second: their names, the better in the mean first.
        difference: of the means, paired.
        improvement: the probability that a run of the first beats one of the second.
        p_value: of the paired permutation test.
        p_corrected: the same after Holm, among all pairs that were compared together.
    """

    first: str
    second: str
    difference: Estimate
    improvement: Estimate
    p_value: float
    p_corrected: float

    @property
    def shown(self) -> bool:
        """Whether the first is shown to beat the second: its interval is above 0, and p after correction below 0.05."""
        return self.difference.low > 0 and self.p_corrected < 0.05

    def __str__(self) -> str:
        verdict = f"{self.first} beats {self.second}" if self.shown else f"{self.first} over {self.second}, not shown"
        return f"{verdict}: {self.difference}, p = {self.p_corrected:.2g} after Holm"


def comparisons(
    scores: Mapping[str, Float[np.ndarray, "tasks units"]], *, tasks_too: bool = False, seed: int = 0
) -> list[Comparison]:
    """Every pair of optimizers compared, their p-values corrected together.

    Args:
        scores: by name; the same tasks and units at the same places.
        tasks_too: ask about tasks like these, in the intervals and in the test.
        seed: of all that is drawn.

    Example:
        >>> found = comparisons({"pez": np.full((6, 1), 0.9), "random": np.full((6, 1), 0.4)}, tasks_too=True)
        >>> print(found[0])
        pez beats random: 0.500 (0.500 to 0.500), 6 tasks x 1 run, p = 0.031 after Holm
    """
    return compare_pairs([(a, scores[a], b, scores[b]) for a, b in combinations(scores, 2)], tasks_too=tasks_too, seed=seed)


Pair = tuple[str, Float[np.ndarray, "tasks units"], str, Float[np.ndarray, "tasks units"]]


def compare_pairs(pairs: Sequence[Pair], *, tasks_too: bool = False, seed: int = 0) -> list[Comparison]:
    """The same of given pairs (name, scores, name, scores), each on tasks and units of its own."""
    ordered = [(a, x, b, y) if x.mean() >= y.mean() else (b, y, a, x) for a, x, b, y in pairs]
    p_values = [permutation_test(x, y, tasks_too=tasks_too, seed=seed) for _, x, _, y in ordered]
    return [
        Comparison(
            a,
            b,
            bootstrap(mean, x - y, tasks_too=tasks_too, seed=seed),
            bootstrap(probability_of_improvement, x, y, tasks_too=tasks_too, seed=seed),
            p,
            corrected,
        )
        for (a, x, b, y), p, corrected in zip(ordered, p_values, holm(p_values), strict=True)
    ]


def score_at(
    spent: Float[np.ndarray, "steps"], best: Float[np.ndarray, "steps"], at: Float[np.ndarray, "places"]
) -> Float[np.ndarray, "places"]:
    """The step function of a search: the score of the best so far once this much was spent, NaN before there is any.

    Args:
        spent: logical LM tokens at each improvement, ascending.
        best: the score from there on.
        at: where to read it.

    >>> score_at(np.array([10.0, 30.0]), np.array([0.2, 0.7]), np.array([5.0, 10.0, 29.0, 90.0])).tolist()
    [nan, 0.2, 0.2, 0.7]
    """
    return np.concatenate([[np.nan], best])[np.searchsorted(spent, at, side="right")]


def spearman(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank; NaN where one is constant.

    >>> round(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 9.0, 4.0])), 3)
    0.5
    """
    ranks = [_ranks(x), _ranks(y)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[where]
