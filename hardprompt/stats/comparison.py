"""Comparisons of optimizers on the same tasks: difference, probability of improvement, permutation test, Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.estimate import Estimate, verdict
from hardprompt.stats.summaries import PerDraw, ScoreMatrix, mean

EXACT = 14
"""Largest number of pairs for which the permutation test goes through all 2^n patterns of signs."""

SIGNIFICANCE = 0.05

Pair = tuple[str, Float[np.ndarray, "tasks units"], str, Float[np.ndarray, "tasks units"]]
"""Name and scores of one optimizer, and of another."""


def probability_of_improvement(scores: ScoreMatrix, baseline: Float[np.ndarray, "*draws tasks others"]) -> PerDraw:
    """Probability that a run beats a run of the baseline on a task drawn at random (Agarwal et al. 2021, arXiv:2108.13264).

    P(X > Y) = 1/M sum_m 1/(N K) sum_ik [x_mi > y_mk] + 1/2 [x_mi = y_mk]: the Mann-Whitney U of each task over N K, averaged
    over the M tasks.

    >>> float(probability_of_improvement(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0]])))
    0.625
    """
    better = np.sign(scores[..., :, None] - baseline[..., None, :])
    return np.mean((better + 1) / 2, axis=(-3, -2, -1))


def permutation_test(
    scores: Float[np.ndarray, "tasks units"],
    baseline: Float[np.ndarray, "tasks units"],
    *,
    tasks_too: bool = False,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the paired permutation test of equal means.

    If both did equally well, each difference would be positive or negative with equal probability. p is the share of the
    patterns of signs whose mean difference is at least as far from 0 as the observed one. Up to `EXACT` pairs it is computed
    from all 2^n patterns and is at least 2^(1 - n); beyond, from drawn patterns as (k + 1) / (draws + 1) (Phipson and Smyth
    2010).

    Args:
        scores, baseline: matrices whose entries are paired: the same task, split and seed.
        tasks_too: flip the signs of whole tasks, which tests the difference on tasks like these; p < 0.05 needs six tasks.
        draws: number of drawn patterns.
        seed: the seed of the drawn patterns.

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
    least = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()  # sums that differ only by rounding are equally far
    extreme = int((np.abs(signs @ differences) >= least).sum())
    return extreme / 2**n if n <= EXACT else (extreme + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method, which bounds the probability of any false rejection.

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
        first, second: their names, the one with the larger mean first.
        difference: the paired difference of the means.
        improvement: probability that a run of the first beats a run of the second.
        p_value: the p-value of the paired permutation test.
        p_corrected: the same after Holm's correction over all pairs that are compared together.
    """

    first: str
    second: str
    difference: Estimate
    improvement: Estimate
    p_value: float
    p_corrected: float

    @property
    def shown(self) -> bool:
        """Whether the first is shown to beat the second: the interval of the difference is above 0, and p_corrected < 0.05."""
        return verdict(self.difference, above=0.0) == "holds" and self.p_corrected < SIGNIFICANCE

    def __str__(self) -> str:
        outcome = f"{self.first} beats {self.second}" if self.shown else f"{self.first} over {self.second}, not shown"
        return f"{outcome}: {self.difference}, p = {self.p_corrected:.2g} after Holm"


def comparisons(pairs: Sequence[Pair], *, tasks_too: bool = False, seed: int = 0) -> list[Comparison]:
    """Comparisons of pairs of optimizers, with p-values that are corrected together.

    Args:
        pairs: (name, scores, name, scores). The two matrices of a pair have the same tasks and units.
        tasks_too: compare on tasks like these, in the intervals and in the test.
        seed: the seed of the random numbers.

    Example:
        >>> found = comparisons([("random", np.full((6, 1), 0.4), "pez", np.full((6, 1), 0.9))], tasks_too=True)
        >>> print(found[0])
        pez beats random: 0.500 (0.500 to 0.500), n = 6 in 6 tasks, p = 0.031 after Holm
    """
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
