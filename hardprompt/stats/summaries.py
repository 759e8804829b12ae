"""Statistics of a matrix of scores, each computed for many bootstrap draws at once, and the best score of a search so far."""

import numpy as np
from jaxtyping import Float

ScoreMatrix = Float[np.ndarray, "*draws tasks units"]
"""A row per task, and in it one score per unit, that is per data split and seed; NaN where a task has fewer units."""

PerDraw = float | Float[np.ndarray, "*draws"]


def mean(scores: ScoreMatrix) -> PerDraw:
    """Mean over tasks of the mean over their units: every task has the same weight. NaN values are left out.

    >>> float(mean(np.array([[1.0, 0.0], [0.25, np.nan]])))
    0.375
    """
    if np.isnan(scores).any():
        return np.nanmean(scores, axis=-1).mean(-1)
    return np.mean(scores, axis=(-2, -1))


def interquartile_mean(scores: ScoreMatrix) -> PerDraw:
    """Mean of the middle half of all values, tasks and units pooled (Agarwal et al. 2021, arXiv:2108.13264).

    The lowest and the highest quarter are left out, each rounded down to a whole number of values.

    >>> float(interquartile_mean(np.array([[0.0, 1.0, 2.0, 100.0]])))
    1.5
    """
    from scipy.stats import trim_mean  # takes half a second to import

    return trim_mean(np.reshape(scores, (*scores.shape[:-2], -1)), 0.25, axis=-1)


def score_at(
    spent: Float[np.ndarray, "steps"], best: Float[np.ndarray, "steps"], at: Float[np.ndarray, "places"]
) -> Float[np.ndarray, "places"]:
    """Score of the best prompt so far as a step function of what a search has spent; NaN before the first prompt.

    Args:
        spent: logical LM tokens at each improvement, ascending.
        best: score from that improvement on.
        at: numbers of LM tokens at which the function is read.

    Example:
        >>> score_at(np.array([10.0, 30.0]), np.array([0.2, 0.7]), np.array([5.0, 10.0, 29.0, 90.0])).tolist()
        [nan, 0.2, 0.2, 0.7]
    """
    return np.concatenate([[np.nan], best])[np.searchsorted(spent, at, side="right")]
