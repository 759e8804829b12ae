"""Where soft prompts lie: distances within groups of vectors, neighbourhoods, and whether tasks lie alike around every word.

The measures of Bakalova (2024), "Are soft prompts actually not interpretable?", whose tables count each vector as its own
neighbour; here a vector is no neighbour of itself unless `self_pairs` asks for the published variant. Pure functions: vectors
are (N, d), one row per position of a prompt, and labels are numbers from 0, one per vector. Everything is computed in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hardprompt.errors import UnknownName

DISTANCES = ("cosine", "euclidean")
EPSILONS = (0.7, 0.5)
"""Cosine distances within which vectors are neighbours: that of the published text, and that of its code."""

_CHUNK = 8192  # rows compared at once
_DRAWS = 2000


def distances(one: Float[Tensor, "N d"], other: Float[Tensor, "M d"], measure: str = "cosine") -> Float[Tensor, "N M"]:
    """1 - <x, y> / (|x| |y|), from 0 to 2, or |x - y| in embedding units.

    Raises:
        UnknownName: a measure that is neither "cosine" nor "euclidean".

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
    """Whether two vectors have one label.

    >>> same(torch.tensor([0, 1, 0]))[0].tolist()
    [True, False, True]
    """
    return labels[:, None] == labels


def pair_groups(task: Int[Tensor, "N"], word: Int[Tensor, "N"], position: Int[Tensor, "N"]) -> dict[str, Bool[Tensor, "N N"]]:
    """Pairs of vectors by what they have in common.

    `same word`, `same task`, `same position` and `all` are the published groups, in which two positions of one prompt share
    both word and task; `word only` and `task only` leave those out, `neither` shares no word and no task, and
    `same prompt` is what is left out.

    Args:
        task, word, position: labels of every vector.
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
    """Mean distance of the pairs of a group; None where there is none.

    Args:
        between: distances of N vectors to each other.
        is_pair: which pairs count.
        self_pairs: as published, count each vector with itself, at distance 0, where the group has it.

    >>> between = torch.tensor([[0.0, 3.0], [3.0, 0.0]])
    >>> mean_distance(between, between >= 0), mean_distance(between, between >= 0, self_pairs=True)
    (3.0, 1.5)
    """
    counted = between[is_pair if self_pairs else is_pair & ~_itself(is_pair)]
    return float(counted.mean()) if counted.numel() else None


def mean_distance_by(between: Float[Tensor, "N N"], labels: Int[Tensor, "N"], self_pairs: bool = False) -> list[float | None]:
    """Mean distance within each label, from 0 to the largest: tables 1 and 2 of the study, by initial word and by task.

    >>> mean_distance_by(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [5.0, 5.0, 0.0]]), torch.tensor([0, 0, 1]))
    [1.0, None]
    """
    inside = same(labels)
    counts = range(int(labels.max()) + 1)
    return [mean_distance(between, inside & (labels == label), self_pairs) for label in counts]


def mean_to_group(between: Float[Tensor, "N N"], is_pair: Bool[Tensor, "N N"]) -> Float[Tensor, "N"]:
    """Mean distance of each vector to the others of its group; NaN where there is none.

    >>> mean_to_group(torch.tensor([[0.0, 3.0], [3.0, 0.0]]), torch.tensor([[True, True], [False, True]])).tolist()
    [3.0, nan]
    """
    counted = is_pair & ~_itself(is_pair)
    return torch.where(counted, between, 0.0).sum(-1) / counted.sum(-1)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What lies around N vectors.

    Attributes:
        within: how many rows lie within each epsilon, (E, N).
        distances: of the closest rows, closest first, (N, k).
        rows: their numbers, (N, k), the first of equal ones first.
    """

    within: Tensor
    distances: Tensor
    rows: Tensor


def surroundings(
    vectors: Float[Tensor, "N d"],
    rows: Float[Tensor, "M d"],
    epsilons: Sequence[float] = EPSILONS,
    count: int = 5,
    own: Int[Tensor, "N"] | None = None,
    measure: str = "cosine",
) -> Surroundings:
    """Neighbours of vectors among rows, which are walked in chunks, so that large vocabularies fit.

    Args:
        vectors: whose neighbours.
        rows: which may be neighbours.
        epsilons: a row at a smaller distance is a neighbour.
        count: closest rows that are named; M where that is less.
        own: which row each vector itself is, where it is one of them; that one is no neighbour.
        measure: "cosine" or "euclidean".

    Example:
        >>> found = surroundings(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), epsilons=(0.5,), count=1)
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
    return Surroundings(within, closest, places)


def neighbours_in(
    between: Float[Tensor, "N N"], is_pair: Bool[Tensor, "N N"], epsilon: float, self_pairs: bool = False
) -> Int[Tensor, "N"]:
    """How many vectors of a group lie within epsilon of each.

    >>> neighbours_in(torch.tensor([[0.0, 0.6], [0.6, 0.0]]), torch.ones(2, 2).bool(), 0.7, self_pairs=True).tolist()
    [2, 2]
    """
    counted = is_pair if self_pairs else is_pair & ~_itself(is_pair)
    return ((between < epsilon) & counted).sum(-1)


def task_distances(embeds: Float[Tensor, "T W L d"], measure: str = "cosine") -> Float[Tensor, "W S"]:
    """For each initial word the distances between its prompts for every two tasks, (W, T (T - 1) / 2).

    The distance of two prompts is the mean over positions of that of their vectors at one position.

    Args:
        embeds: a prompt for each of T tasks and W words.
        measure: "cosine" or "euclidean".

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
    """For each initial word the distances between every two of its vectors, of any task and position, (W, TL (TL - 1) / 2)."""
    tasks, words, length, width = embeds.shape
    one, other = torch.triu_indices(tasks * length, tasks * length, 1)
    by_word = embeds.transpose(0, 1).reshape(words, tasks * length, width)
    return torch.stack([distances(each, each, measure)[one, other] for each in by_word])


def correlations(sequences: Float[Tensor, "W S"], weights: Float[Tensor, "S"] | None = None) -> Float[Tensor, "W W"]:
    """Pearson correlation of every two sequences; NaN where one is constant.

    Args:
        sequences: one per row.
        weights: of the S places; by default all alike.

    >>> correlations(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])).round(decimals=6)[0].tolist()
    [1.0, 1.0, -1.0]
    """
    sequences = sequences.double()
    weights = torch.ones_like(sequences[0]) if weights is None else weights.double()
    share = weights / weights.sum()
    centred = sequences - (sequences * share).sum(-1, keepdim=True)
    centred = torch.where(centred.abs() < 1e-12 * sequences.abs().amax(-1, keepdim=True), 0.0, centred)
    spread = (centred.square() * share).sum(-1).sqrt()
    return (centred * share) @ centred.T / (spread[:, None] * spread)


def mean_correlation(found: Float[Tensor, "W W"], weights: Float[Tensor, "W"] | None = None) -> float:
    """Mean over pairs of different sequences; pairs without a correlation are left out, and NaN where none has one.

    >>> mean_correlation(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    0.5
    """
    weights = torch.ones(len(found), dtype=torch.double) if weights is None else weights.double()
    pair = (weights[:, None] * weights).masked_fill(_itself(found) | found.isnan(), 0)
    return float((found.nan_to_num().double() * pair).sum() / pair.sum())


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % bootstrap interval; all three NaN where there is nothing to estimate."""

    mean: float
    low: float
    high: float


def crossed_interval(grid: Float[Tensor, "T W"], seed: int = 0, draws: int = _DRAWS) -> Interval:
    """The mean of a value per task and word, with an interval over tasks and words: both are drawn anew, with replacement.

    A cell that is NaN is left out.

    >>> crossed_interval(torch.full((3, 2), 0.5))
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    there = ~grid.isnan()
    values, tasks, words = grid.nan_to_num().double().numpy(), *grid.shape
    of_tasks, of_words = _multiplicities(tasks, words, seed, draws)
    weight = np.einsum("bt,bw,tw->b", of_tasks, of_words, there.double().numpy())
    total = np.einsum("bt,bw,tw->b", of_tasks, of_words, values)
    return _interval(float(grid[there].double().mean()), total[weight > 0] / weight[weight > 0])


def correlation_interval(sequences: Float[Tensor, "W S"], tasks: int, seed: int = 0, draws: int = _DRAWS) -> Interval:
    """Mean correlation between words of their distances between tasks, with an interval over tasks and words.

    Args:
        sequences: what `task_distances` gives.
        tasks: how many tasks there are.
        seed, draws: of the bootstrap; a draw with fewer than three different tasks or two words says nothing and is left out.
    """
    one, other = torch.triu_indices(tasks, tasks, 1)
    of_tasks, of_words = (torch.from_numpy(each) for each in _multiplicities(tasks, len(sequences), seed, draws))
    drawn = [
        mean_correlation(correlations(sequences, chosen[one] * chosen[other]), words)
        for chosen, words in zip(of_tasks, of_words, strict=True)
        if (chosen > 0).sum() > 2 and (words > 0).sum() > 1
    ]
    return _interval(mean_correlation(correlations(sequences)), np.array(drawn))


def per_prompt(values: Float[Tensor, "N"], task: Int[Tensor, "N"], word: Int[Tensor, "N"]) -> Float[Tensor, "T W"]:
    """Mean over the vectors of each prompt, by task and word; NaN where there is no prompt, or a value is NaN.

    >>> per_prompt(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])).tolist()
    [[2.0, 5.0]]
    """
    shape = int(task.max()) + 1, int(word.max()) + 1
    place = task * shape[1] + word
    total = torch.zeros(shape[0] * shape[1], dtype=torch.double, device=values.device).index_add(0, place, values.double())
    return (total / torch.bincount(place, minlength=len(total))).reshape(shape)


def _itself(pairs: Tensor) -> Tensor:
    return torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


def _multiplicities(tasks: int, words: int, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each task and each word is drawn, (draws, T) and (draws, W)."""
    generator = np.random.default_rng(seed)
    counts = [generator.multinomial(size, np.full(size, 1 / size), draws) for size in (tasks, words)]
    return counts[0].astype(float), counts[1].astype(float)


def _interval(mean: float, drawn: np.ndarray) -> Interval:
    drawn = drawn[~np.isnan(drawn)]
    low, high = (float(each) for each in np.quantile(drawn, (0.025, 0.975))) if len(drawn) else (float("nan"),) * 2
    return Interval(mean, low, high)
