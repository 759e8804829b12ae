"""Percentile bootstrap intervals. All of them use `resample`, which draws with replacement from a seed.

Three designs answer three questions:

    on these tasks         would other seeds give the same? Units are redrawn within each task.
    on tasks like these    would other tasks give the same (`tasks_too`)? Tasks are redrawn, and units within each redrawn task:
                           a task that is drawn twice has its units redrawn each time. Intervals are wider.
    tasks x words          tasks and columns are both redrawn (`crossed`), where the columns mean the same in every task.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from hardprompt.stats.estimate import Estimate, interval_ends
from hardprompt.stats.summaries import PerDraw, ScoreMatrix

Statistic = Callable[..., PerDraw]

RESAMPLES = 2000

CELLS_AT_ONCE = 1_000_000
"""Largest number of compared values for which a statistic is computed at once; it bounds the memory."""


def resample(
    sizes: Int[np.ndarray, "tasks"] | Sequence[int],
    draws: int,
    generator: np.random.Generator,
    *,
    tasks_too: bool = False,
    crossed: bool = False,
    rows: Int[np.ndarray, "_ tasks 1"] | None = None,
) -> tuple[Int[np.ndarray, "_ tasks 1"], Int[np.ndarray, "draws _ units"]]:
    """Indices of redrawn tasks and units: `scores[rows, columns]` has the shape (draws, tasks, units).

    Args:
        sizes: number of units of each task. Shorter tasks are padded at the end, and padding stays padding.
        draws: number of resamples.
        generator: the generator of the random numbers.
        tasks_too: redraw the tasks as well.
        crossed: redraw the tasks, and the units once for all tasks.
        rows: tasks that are already redrawn, to draw the units of another matrix of the same tasks.

    Returns:
        Rows (draws, tasks, 1), or (1, tasks, 1) where the tasks are not redrawn; columns (draws, tasks, units), or (draws, 1,
        units) in the crossed design.
    """
    sizes = np.asarray(sizes)
    tasks, units = len(sizes), int(sizes.max())
    if rows is None:
        redrawn = tasks_too or crossed
        rows = generator.integers(tasks, size=(draws, tasks, 1)) if redrawn else np.arange(tasks)[None, :, None]
    if crossed or sizes.min() == units:
        return rows, generator.integers(units, size=(draws, 1 if crossed else tasks, units))
    columns = generator.integers(sizes[rows], size=(draws, tasks, units))
    place = np.arange(units)
    return rows, np.where(place < sizes[rows], columns, place)


def times_drawn(indices: Int[np.ndarray, "draws k"], size: int) -> Float[np.ndarray, "draws size"]:
    """How often each of `size` indices occurs in each draw.

    >>> times_drawn(np.array([[0, 2, 2], [1, 0, 1]]), 3).tolist()
    [[1.0, 0.0, 2.0], [1.0, 2.0, 0.0]]
    """
    draws = len(indices)
    numbers = indices + size * np.arange(draws)[:, None]
    return np.bincount(numbers.ravel(), minlength=draws * size).reshape(draws, size).astype(float)


def bootstrap(
    statistic: Statistic,
    *scores: ScoreMatrix,
    tasks_too: bool = False,
    crossed: bool = False,
    level: float = 0.95,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic of one or several matrices of the same tasks, with its percentile bootstrap interval.

    Units are redrawn separately in each matrix. For paired scores give their difference as one matrix.

    Args:
        statistic: a function of the same number of matrices (*draws, tasks, units) that returns one value per draw.
        scores: matrices (tasks, units). A task with fewer units than the others has NaN at the end of its row; in the crossed
            design NaN may be anywhere.
        tasks_too: redraw the tasks as well, the same ones in all matrices.
        crossed: redraw the tasks and the columns, each column for all tasks at once.
        level: the level of the interval.
        draws: number of resamples.
        seed: the seed of the random numbers.

    Returns:
        The estimate; `n` is the number of values in the smallest matrix.

    Example:
        >>> from hardprompt.stats.summaries import mean
        >>> scores = np.array([[0.5, 0.5], [1.0, 1.0]])
        >>> print(bootstrap(mean, scores))
        0.750 (0.750 to 0.750), n = 4 in 2 tasks
        >>> print(bootstrap(mean, scores, tasks_too=True))
        0.750 (0.500 to 1.000), n = 4 in 2 tasks
    """
    generator = np.random.default_rng(seed)
    counts = [(~np.isnan(matrix)).sum(1) for matrix in scores]
    rows, drawn = None, []
    for matrix, sizes in zip(scores, counts, strict=True):
        sizes = np.full(len(matrix), matrix.shape[1]) if crossed else sizes
        rows, columns = resample(sizes, draws, generator, tasks_too=tasks_too, crossed=crossed, rows=rows)
        drawn.append(matrix[rows, columns])
    at_once = max(1, CELLS_AT_ONCE // (len(scores[0]) * int(np.prod([matrix.shape[1] for matrix in scores]))))
    found = [statistic(*(each[i : i + at_once] for each in drawn)) for i in range(0, draws, at_once)]
    n = min(int(sizes.sum()) for sizes in counts)
    return Estimate.from_draws(float(statistic(*scores)), np.concatenate(found), len(scores[0]), n, level)


def bootstrap_mean(
    values: Sequence[float] | Float[np.ndarray, "n"], *, level: float = 0.95, draws: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of one sample of independent values, such as seeds or test examples, with its interval.

    The interval is that of `bootstrap(mean, [values])`. Equal values are drawn together, their numbers from a multinomial
    distribution, so that the right and wrong answers to thousands of examples take no longer than a few seeds.

    >>> bootstrap_mean([0.5, 0.5])
    Estimate(value=0.5, low=0.5, high=0.5, tasks=1, n=2)
    """
    data = np.asarray(values, dtype=float)
    distinct, counts = np.unique(data, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(data), counts / len(data), draws)
    return Estimate.from_draws(data.mean(), drawn @ distinct / len(data), 1, len(data), level)


def bootstrap_band(
    curves: Float[np.ndarray, "tasks units places"],
    *,
    tasks_too: bool = False,
    level: float = 0.95,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, "3 places"]:
    """Mean over tasks and units of a curve at every place, with its pointwise interval: rows mean, low, high.

    Whole curves are redrawn, as in `bootstrap`. A place where any curve is NaN is NaN.

    >>> bootstrap_band(np.array([[[0.0, 1.0], [0.0, 1.0]]])).tolist()
    [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    tasks, units, places = curves.shape
    rows, columns = resample([units] * tasks, draws, np.random.default_rng(seed), tasks_too=tasks_too)
    weights = times_drawn((rows * units + columns).reshape(draws, -1), tasks * units)
    means = weights @ curves.reshape(-1, places) / (tasks * units)
    return np.stack([curves.mean((0, 1)), *np.quantile(means, interval_ends(level), axis=0)])
