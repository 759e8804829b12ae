"""Pareto fronts of points in a plane, and measures of fronts, also of those whose members were chosen on other data.

A member that was chosen on dev may be dominated by another one on test. `hypervolume` ignores such members, as if a user knew
the test values. `pessimistic_hypervolume` and `noisy_r2` let the user choose on dev, and measure the choice on test.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hardprompt.stats.summaries import score_at

R2_WEIGHTS = tuple(tenths / 10 for tenths in range(11))
"""Weights of the cost in `noisy_r2`: 0, 0.1, ..., 1."""

ATTAINMENT_LEVELS = (0.25, 0.5, 0.75)
"""Shares of fronts in `attainment`."""


def non_dominated(gains: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Indices of the points that no other point beats on one axis without losing on the other, by ascending cost.

    Of equal points only the first is returned.

    >>> non_dominated([0.9, 0.5, 0.9, 0.4], [5.0, 2.0, 6.0, 3.0])
    [1, 0]
    """
    order = sorted(range(len(gains)), key=lambda i: (costs[i], -gains[i], i))
    front: list[int] = []
    for i in order:
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front


def hypervolume(gains: Sequence[float], costs: Sequence[float], worst_cost: float) -> float:
    """Share of the rectangle [0, 1] x [0, worst_cost] that the points dominate, with reference point (0, worst_cost).

    If the points were chosen on other data, those that are dominated on these cost nothing. The value is then optimistic
    (Feurer et al. 2022, arXiv:2212.04183).

    Args:
        gains: fractions, larger is better.
        costs: smaller is better; points beyond `worst_cost` cover nothing.
        worst_cost: cost of the reference point, in the unit of the costs.

    Example:
        >>> hypervolume([1.0, 0.5], [6.0, 2.0], worst_cost=8.0)
        0.5
    """
    return _area(gains, costs, worst_cost, non_dominated(gains, costs)) / worst_cost


def pessimistic_hypervolume(gains: Sequence[float], costs: Sequence[float], worst_cost: float) -> float:
    """Share of the rectangle [0, 1] x [0, worst_cost] below the gain of the member that was chosen at each cost.

    The members are those of a front that was chosen on other data, where the gain rises with the cost. So a user who accepts
    costs up to c takes the member with the highest cost up to c, and gets its gain g on these data, even if a cheaper member is
    better on them:

        1 / worst_cost * sum_i g_i (min(c_(i+1), worst_cost) - min(c_i, worst_cost)), members in ascending order of the cost,
        where c_(i+1) is worst_cost after the last member

    It is at most `hypervolume` of the same members, and equal to it if no member is dominated on these data. Feurer et al.
    (2022, arXiv:2212.04183) measure the gap between an optimistic and a pessimistic front, which both follow from dominance on
    test; here the pessimistic value follows from the choice on dev.

    Args:
        gains, costs, worst_cost: as for `hypervolume`; of members with equal costs the last one counts.

    Example:
        The second member is worse than the first one on these data: 0.5 x 2 / 8 + 0.25 x 4 / 8.

        >>> pessimistic_hypervolume([0.5, 0.25], [2.0, 4.0], worst_cost=8.0)
        0.25
        >>> hypervolume([0.5, 0.25], [2.0, 4.0], worst_cost=8.0)
        0.375
    """
    return _area(gains, costs, worst_cost, sorted(range(len(gains)), key=lambda i: costs[i])) / worst_cost


def _area(gains: Sequence[float], costs: Sequence[float], worst_cost: float, members: Sequence[int]) -> float:
    """Area below the gains of members in ascending order of the cost, each from its cost to that of the next one."""
    area, right = 0.0, worst_cost
    for i in reversed(members):
        if costs[i] < right:
            area += gains[i] * (right - max(costs[i], 0.0))
            right = max(costs[i], 0.0)
    return area


def noisy_r2(
    chosen_by: Sequence[float],
    gains: Sequence[float],
    costs: Sequence[float],
    worst_cost: float,
    weights: Sequence[float] = R2_WEIGHTS,
) -> float:
    """Mean loss of users who weigh gain and cost differently, choose on dev and get the values on test; smaller is better.

    This is the unary R2 indicator (Hansen and Jaszkiewicz 1998) with weighted sums as utility functions, in which the point is
    chosen by one gain and has another one:

        R2 = mean over w of l_w(gain_i(w), cost_i(w)), where i(w) = argmin_i l_w(chosen_by_i, cost_i)
        and l_w(a, c) = (1 - w) (1 - a) + w c / worst_cost

    Of points with equal loss the cheapest is chosen. A weighted sum never chooses a member of a front that is inside the convex
    hull of the others and the reference point; `hypervolume` counts it.

    Args:
        chosen_by: gains by which a point is chosen, such as accuracies on dev.
        gains: gains of the same points that are measured, such as accuracies on test.
        costs: costs of the points; beyond `worst_cost` they count in full.
        worst_cost: cost that is as bad as a gain of 0.
        weights: weights w of the cost, from 0 to 1.

    Returns:
        The mean loss; 1 without points, which is the loss of the reference point (0, worst_cost) for every weight.

    Example:
        Up to w = 0.5 the loss on dev is smaller for the second point, whose gain falls from 1 on dev to 0.5 on test.

        >>> noisy_r2([0.25, 1.0], [0.25, 0.5], costs=[2.0, 6.0], worst_cost=8.0, weights=[0.0, 0.5, 1.0])
        0.4583333333333333
    """
    if not len(gains):
        return 1.0

    def loss(weight: float, gain: float, cost: float) -> float:
        return (1 - weight) * (1 - gain) + weight * cost / worst_cost

    total = 0.0
    for weight in weights:
        at = [(loss(weight, chosen_by[i], costs[i]), costs[i], -chosen_by[i], i) for i in range(len(gains))]
        *_, chosen = min(at)
        total += loss(weight, gains[chosen], costs[chosen])
    return total / len(weights)


def attainment(
    fronts: Sequence[tuple[Sequence[float], Sequence[float]]], levels: Sequence[float] = ATTAINMENT_LEVELS
) -> tuple[Float[np.ndarray, "places"], Float[np.ndarray, "levels places"]]:
    """The gain that a share of the fronts attains at each cost: level sets of the empirical attainment function.

    A front attains (g, c) if one of its points has a gain of at least g and a cost of at most c. The empirical attainment
    function is the share of the fronts that attain a point (Grunert da Fonseca, Fonseca and Hall 2001). Here a level is given,
    and the value at each cost is the largest gain that at least this share of the fronts attains, or 0 if there is none.

    Args:
        fronts: gains and costs of the points of each front, such as one front per seed. Gains are not negative.
        levels: shares in (0, 1].

    Returns:
        The costs at which a gain changes, ascending, and the gains from each of them on, one row per level.

    Example:
        >>> places, gains = attainment([([0.5, 1.0], [2.0, 4.0]), ([0.75], [3.0])], levels=[0.5, 1.0])
        >>> places.tolist(), gains.tolist()
        ([2.0, 3.0, 4.0], [[0.5, 0.75, 1.0], [0.0, 0.5, 0.75]])
    """
    places = np.unique([cost for _, costs in fronts for cost in costs])
    attained = []
    for gains, costs in fronts:
        order = np.argsort(costs, kind="stable")
        best = np.maximum.accumulate(np.asarray(gains, dtype=float)[order])
        attained.append(np.nan_to_num(score_at(np.asarray(costs, dtype=float)[order], best, places)))
    descending = np.sort(np.reshape(attained, (len(fronts), len(places))), axis=0)[::-1]
    needed = [math.ceil(level * len(fronts) - 1e-9) for level in levels]  # 0.07 x 100 exceeds 7 by rounding
    surfaces = descending[[count - 1 for count in needed]] if len(fronts) else np.zeros((len(levels), 0))
    changes = (np.diff(surfaces, axis=1, prepend=0.0) > 0).any(axis=0)
    return places[changes], surfaces[:, changes]
