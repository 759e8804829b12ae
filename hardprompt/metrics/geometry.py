"""Geometry of soft prompts: distances within groups of vectors, neighbours, and correlations of distances between tasks.

These are the measures of Bakalova (2024), "Are soft prompts actually not interpretable?". The published tables count each
vector as its own neighbour; here that variant is computed only with `self_pairs`. Pure functions: vectors are (N, d), one row
per position of a prompt, and labels are numbers from 0, one per vector. Everything is computed in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hardprompt.errors import UnknownName
from hardprompt.stats.bootstrap import RESAMPLES, bootstrap, resample, times_drawn
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import PerDraw

DISTANCES = ("cosine", "euclidean")
EPSILONS = (0.7, 0.5)
"""Cosine distances below which two vectors are neighbours: that of the published text, and that of its code."""

_CHUNK = 8192  # rows that are compared at once
_DRAWS_AT_ONCE = 100


def distances(one: Float[Tensor, "N d"], other: Float[Tensor, "M d"], measure: str = "cosine") -> Float[Tensor, "N M"]:
    """Distances of all pairs of rows: 1 - <x, y> / (|x| |y|), from 0 to 2, or |x - y| in embedding units.

    Args:
        one, other: rows of vectors.
        measure: "cosine" or "euclidean".

    Raises:
        UnknownName: the measure is neither "cosine" nor "euclidean".

    Example:
        >>> distances(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]]), "euclidean").tolist()
        [[5.0, 2.0]]
    """
    one, other = one.double(), other.double()
    if measure == "cosine":
        unit = [rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) for rows in (one, other)]
        return (1 - unit[0] @ unit[1].T).clamp(min=0)
    if measure == "euclidean":
        return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
    raise UnknownName("distance", measure, DISTANCES)


def same(labels: Int[Tensor, "N"]) -> Bool[Tensor, "N N"]:
    """Whether two vectors have the same label, for all pairs.

    >>> same(torch.tensor([0, 1, 0]))[0].tolist()
    [True, False, True]
    """
    return labels[:, None] == labels


def pair_groups(task: Int[Tensor, "N"], word: Int[Tensor, "N"], position: Int[Tensor, "N"]) -> dict[str, Bool[Tensor, "N N"]]:
    """Groups of pairs of vectors by what the two vectors have in common.

    Args:
        task, word, position: labels of every vector.

    Returns:
        The published groups `same word`, `same task`, `same position` and `all`, in which two positions of one prompt share
        both word and task; and the groups `word only`, `task only` and `neither`, in which no pair shares both, with
        `same prompt` for the pairs that do.
    """
    of_task, of_word = same(task), same(word)
    return {
        "same word": of_word,
        "same task": of_task,
        "same position": same(position),
        "all": torch.ones_like(of_task),
        "same prompt": of_word & of_task,
        "word only": of_word & ~of_task,
        "task only": of_task & ~of_word,
        "neither": ~of_task & ~of_word,
    }


def mean_distance(between: Float[Tensor, "N N"], is_pair: Bool[Tensor, "N N"], self_pairs: bool = False) -> float | None:
    """Mean distance of the pairs of a group; None for a group without pairs.

    Args:
        between: distances of N vectors to each other.
        is_pair: pairs that are in the group.
        self_pairs: also count each vector with itself, at distance 0, as the published tables do.

    Example:
        >>> between = torch.tensor([[0.0, 3.0], [3.0, 0.0]])
        >>> mean_distance(between, between >= 0), mean_distance(between, between >= 0, self_pairs=True)
        (3.0, 1.5)
    """
    counted = between[is_pair if self_pairs else is_pair & ~_itself(is_pair)]
    return float(counted.mean()) if counted.numel() else None


def mean_distance_by(between: Float[Tensor, "N N"], labels: Int[Tensor, "N"], self_pairs: bool = False) -> list[float | None]:
    """Mean distance within each label, from 0 to the largest label: tables 1 and 2 of the study, by initial word and by task.

    >>> mean_distance_by(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [5.0, 5.0, 0.0]]), torch.tensor([0, 0, 1]))
    [1.0, None]
    """
    inside = same(labels)
    counts = range(int(labels.max()) + 1)
    return [mean_distance(between, inside & (labels == label), self_pairs) for label in counts]


def mean_to_group(between: Float[Tensor, "N N"], is_pair: Bool[Tensor, "N N"]) -> Float[Tensor, "N"]:
    """Mean distance of each vector to the other vectors of its group; NaN where there is no other.

    >>> mean_to_group(torch.tensor([[0.0, 3.0], [3.0, 0.0]]), torch.tensor([[True, True], [False, True]])).tolist()
    [3.0, nan]
    """
    counted = is_pair & ~_itself(is_pair)
    return torch.where(counted, between, 0.0).sum(-1) / counted.sum(-1)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Rows of a matrix that are close to each of N vectors.

    Attributes:
        within: number of rows closer than each epsilon, (E, N).
        distances: distances of the k closest rows, ascending, (N, k).
        rows: indices of these rows, (N, k); of equally close rows the first comes first.
    """

    within: Tensor
    distances: Tensor
    rows: Tensor


def neighbours(
    vectors: Float[Tensor, "N d"],
    rows: Float[Tensor, "M d"],
    epsilons: Sequence[float] = EPSILONS,
    count: int = 5,
    own: Int[Tensor, "N"] | None = None,
    measure: str = "cosine",
) -> Neighbours:
    """Neighbours of each vector among rows. The rows are compared in chunks, so that large vocabularies fit in memory.

    Args:
        vectors: vectors whose neighbours are counted.
        rows: candidates.
        epsilons: a row at a smaller distance is a neighbour.
        count: number of closest rows that are returned; M if there are fewer rows.
        own: index of each vector among the rows, if it is one of them; that row does not count.
        measure: "cosine" or "euclidean".

    Example:
        >>> found = neighbours(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), epsilons=(0.5,), count=1)
        >>> found.within.tolist(), found.rows.tolist()
        ([[2, 1]], [[0], [1]])
    """
    within = torch.zeros(len(epsilons), len(vectors), dtype=torch.long, device=vectors.device)
    closest = torch.empty(len(vectors), 0, dtype=torch.double, device=vectors.device)
    places = torch.empty(len(vectors), 0, dtype=torch.long, device=vectors.device)
    for start in range(0, len(rows), _CHUNK):
        chunk = distances(vectors, rows[start : start + _CHUNK], measure)
        numbers = torch.arange(start, start + chunk.shape[1], device=vectors.device)
        if own is not None:
            chunk = chunk.masked_fill(own[:, None] == numbers, torch.inf)
        within += torch.stack([(chunk < epsilon).sum(-1) for epsilon in epsilons])
        closest, places = torch.cat([closest, chunk], -1), torch.cat([places, numbers.expand(chunk.shape)], -1)
        closest, order = closest.sort(dim=-1, stable=True)
        closest, places = closest[:, :count], places.gather(-1, order)[:, :count]
    return Neighbours(within, closest, places)


def neighbour_counts(
    between: Float[Tensor, "N N"], is_pair: Bool[Tensor, "N N"], epsilon: float, self_pairs: bool = False
) -> Int[Tensor, "N"]:
    """Number of vectors of a group that are closer than epsilon to each vector.

    >>> neighbour_counts(torch.tensor([[0.0, 0.6], [0.6, 0.0]]), torch.ones(2, 2).bool(), 0.7, self_pairs=True).tolist()
    [2, 2]
    """
    counted = is_pair if self_pairs else is_pair & ~_itself(is_pair)
    return ((between < epsilon) & counted).sum(-1)


def task_distances(embeds: Float[Tensor, "T W L d"], measure: str = "cosine") -> Float[Tensor, "W S"]:
    """For each initial word, the distances between its prompts for every two tasks, (W, T (T - 1) / 2).

    The distance of two prompts is the mean over positions of the distances of their vectors at the same position.

    Args:
        embeds: a prompt for each of T tasks and W words.
        measure: "cosine" or "euclidean".

    Example:
        >>> prompts = torch.tensor([0.0, 1.0, 3.0]).reshape(3, 1, 1, 1)
        >>> task_distances(prompts, "euclidean").tolist()
        [[1.0, 3.0, 2.0]]
    """
    tasks, words, length, _ = embeds.shape
    one, other = torch.triu_indices(tasks, tasks, 1)
    found = torch.zeros(words, len(one), dtype=torch.double, device=embeds.device)
    for word in range(words):
        for position in range(length):
            found[word] += distances(embeds[:, word, position], embeds[:, word, position], measure)[one, other] / length
    return found


def vector_distances(embeds: Float[Tensor, "T W L d"], measure: str = "cosine") -> Float[Tensor, "W S"]:
    """For each initial word, the distances between every two of its vectors, of any task and position, (W, TL (TL - 1) / 2)."""
    tasks, words, length, width = embeds.shape
    one, other = torch.triu_indices(tasks * length, tasks * length, 1)
    by_word = embeds.transpose(0, 1).reshape(words, tasks * length, width)
    return torch.stack([distances(each, each, measure)[one, other] for each in by_word])


def correlations(
    sequences: Float[Tensor, "W S"], weights: Float[Tensor, "*draws S"] | None = None
) -> Float[Tensor, "*draws W W"]:
    """Pearson correlation of every two sequences; NaN where one of them is constant.

    Args:
        sequences: W sequences, one per row.
        weights: the weights of the S places, for one or several draws at once; by default all are equal.

    Example:
        >>> correlations(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])).round(decimals=6)[0].tolist()
        [1.0, 1.0, -1.0]
    """
    sequences = sequences.double()
    weights = torch.ones_like(sequences[0]) if weights is None else weights.double()
    share = (weights / weights.sum(-1, keepdim=True))[..., None, :]
    centred = sequences - (sequences * share).sum(-1, keepdim=True)
    centred = torch.where(centred.abs() < 1e-12 * sequences.abs().amax(-1, keepdim=True), 0.0, centred)
    spread = (centred.square() * share).sum(-1).sqrt()
    return (centred * share) @ centred.mT / (spread[..., :, None] * spread[..., None, :])


def mean_correlation(
    found: Float[Tensor, "*draws W W"], weights: Float[Tensor, "*draws W"] | None = None
) -> Float[Tensor, "*draws"]:
    """Mean over pairs of different sequences. Pairs without a correlation are left out; NaN where no pair has one.

    Args:
        found: the result of `correlations`.
        weights: the weights of the sequences; by default all are equal.

    Example:
        >>> mean_correlation(torch.tensor([[1.0, 0.5], [0.5, 1.0]])).item()
        0.5
    """
    weights = torch.ones(found.shape[-1], dtype=torch.double) if weights is None else weights.double()
    pair = (weights[..., :, None] * weights[..., None, :]).masked_fill(_itself(found) | found.isnan(), 0)
    return (found.nan_to_num().double() * pair).sum((-2, -1)) / pair.sum((-2, -1))


def crossed_interval(grid: Float[Tensor, "T W"], seed: int = 0) -> Estimate:
    """Mean of a value per task and word, with a 95 % bootstrap interval in which both tasks and words are redrawn.

    Cells that are NaN are left out; if all cells are NaN, the estimate is NaN.

    >>> crossed_interval(torch.full((3, 2), 0.5))
    Estimate(value=0.5, low=0.5, high=0.5, tasks=3, n=6)
    """
    return bootstrap(_cell_mean, grid.double().numpy(), crossed=True, seed=seed)


def correlation_interval(sequences: Float[Tensor, "W S"], tasks: int, seed: int = 0) -> Estimate:
    """Mean correlation between words of the distances between tasks, with a 95 % bootstrap interval over tasks and words.

    Resamples with fewer than three different tasks or two different words have no correlation and are left out.

    Args:
        sequences: the result of `task_distances`.
        tasks: the number of tasks.
        seed: the seed of the bootstrap.

    Returns:
        The estimate; `n` is the number of prompts.
    """
    words = len(sequences)
    one, other = torch.triu_indices(tasks, tasks, 1)
    rows, columns = resample([words] * tasks, RESAMPLES, np.random.default_rng(seed), crossed=True)
    of_tasks = torch.from_numpy(times_drawn(rows[:, :, 0], tasks))
    of_words = torch.from_numpy(times_drawn(columns[:, 0], words))
    drawn = [
        mean_correlation(correlations(sequences, times[:, one] * times[:, other]), weights)
        for times, weights in zip(of_tasks.split(_DRAWS_AT_ONCE), of_words.split(_DRAWS_AT_ONCE), strict=True)
    ]
    value = float(mean_correlation(correlations(sequences)))
    return Estimate.from_draws(value, torch.cat(drawn).numpy(), tasks, tasks * words)


def per_prompt(values: Float[Tensor, "N"], task: Int[Tensor, "N"], word: Int[Tensor, "N"]) -> Float[Tensor, "T W"]:
    """Mean over the vectors of each prompt, by task and word; NaN where there is no prompt or a value is NaN.

    >>> per_prompt(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])).tolist()
    [[2.0, 5.0]]
    """
    shape = int(task.max()) + 1, int(word.max()) + 1
    place = task * shape[1] + word
    total = torch.zeros(shape[0] * shape[1], dtype=torch.double, device=values.device).index_add(0, place, values.double())
    return (total / torch.bincount(place, minlength=len(total))).reshape(shape)


def _itself(pairs: Tensor) -> Tensor:
    return torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)


def _cell_mean(grid: Float[np.ndarray, "*draws T W"]) -> PerDraw:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN where a resample has no cell with a value
        return np.nansum(grid, axis=(-2, -1)) / (~np.isnan(grid)).sum(axis=(-2, -1))
