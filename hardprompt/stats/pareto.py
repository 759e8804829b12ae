"""Pareto fronts of points in a plane, and the area that they dominate."""

from collections.abc import Sequence


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

    Args:
        gains: fractions, larger is better.
        costs: smaller is better; points beyond `worst_cost` cover nothing.
        worst_cost: cost of the reference point, in the unit of the costs.

    Example:
        >>> hypervolume([1.0, 0.5], [6.0, 2.0], worst_cost=8.0)
        0.5
    """
    area, right = 0.0, worst_cost
    for i in reversed(non_dominated(gains, costs)):
        if costs[i] < right:
            area += gains[i] * (right - max(costs[i], 0.0))
            right = max(costs[i], 0.0)
    return area / worst_cost
