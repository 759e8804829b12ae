"""The nearest vocabulary entry of free vectors, under the three measures in use.

PEZ projects by cosine, Khashabi et al. decode by Euclidean distance and write about dot products: another measure, another
reading. Pure functions over (L, d) prompts and (A, d) vocabularies.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import UnknownName

Measure = Literal["cosine", "euclidean", "dot"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
_CHUNK = 65536  # vocabulary rows compared at once


def closeness(
    embeds: Float[Tensor, "L d"],
    vocab: Float[Tensor, "A d"],
    measure: str = "cosine",
    norms: Float[Tensor, "A"] | None = None,
) -> Float[Tensor, "L A"]:
    """How close each vector is to each vocabulary row, larger is closer: cosine, minus Euclidean distance, or dot product.

    Args:
        embeds, vocab: the vectors and the rows.
        measure: "cosine", "euclidean" or "dot".
        norms: `row_norms` of the vocabulary, if they are there already; cosine needs them.

    Raises:
        UnknownName: no such measure.
    """
    if measure == "cosine":
        norms = row_norms(vocab) if norms is None else norms
        return torch.nn.functional.normalize(embeds, dim=-1) @ vocab.T / norms
    if measure == "euclidean":
        return -torch.cdist(embeds, vocab)
    if measure == "dot":
        return embeds @ vocab.T
    raise UnknownName("projection measure", measure, MEASURES)


def row_norms(vocab: Float[Tensor, "A d"]) -> Float[Tensor, "A"]:
    """Lengths of the rows, never quite zero."""
    return vocab.norm(dim=-1).clamp(min=1e-12)


def nearest(
    embeds: Float[Tensor, "L d"],
    vocab: Float[Tensor, "A d"],
    measure: str = "cosine",
    norms: Float[Tensor, "A"] | None = None,
) -> Int[Tensor, "L"]:
    """Proj_E(P) of PEZ (Wen et al. 2023, Algorithm 1) as row numbers: the closest vocabulary row of each vector, first on ties.

    The vocabulary is walked in chunks, so that large ones fit; `norms` are its `row_norms`, if they are there already.

    Example:
        >>> nearest(torch.tensor([[3.0, 0.1]]), torch.tensor([[0.0, 1.0], [0.5, 0.0]])).tolist()
        [1]
    """
    best_value = embeds.new_full((embeds.shape[0],), -torch.inf)
    best_row = torch.zeros(embeds.shape[0], dtype=torch.long, device=embeds.device)
    for start in range(0, vocab.shape[0], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        value, row = closeness(embeds, vocab[chunk], measure, None if norms is None else norms[chunk]).max(-1)
        best_row = torch.where(value > best_value, row + start, best_row)
        best_value = torch.maximum(value, best_value)
    return best_row


def nearest_entries(
    embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "V d"], measure: str = "cosine", count: int = 5
) -> tuple[Float[Tensor, "L k"], Int[Tensor, "L k"]]:
    """The `count` closest vocabulary rows of each vector, closest first, the first of equal ones.

    The vocabulary is walked in chunks, so that large ones fit, and each chunk is compared in float32.

    Returns:
        Their values (cosine similarity, Euclidean distance in embedding units, or dot product), (L, k), and their row numbers,
        (L, k); k is `count`, or V where that is less.

    Raises:
        UnknownName: no such measure.

    Example:
        >>> values, rows = nearest_entries(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]]), "euclidean")
        >>> values.tolist(), rows.tolist()
        ([[2.0, 5.0]], [[1, 0]])
    """
    embeds = embeds.float()
    closest = embeds.new_empty(embeds.shape[0], 0)
    rows = torch.zeros(embeds.shape[0], 0, dtype=torch.long, device=embeds.device)
    for start in range(0, vocab.shape[0], _CHUNK):
        values = closeness(embeds, vocab[start : start + _CHUNK].float(), measure)
        values, order = values.sort(dim=-1, descending=True, stable=True)
        closest = torch.cat([closest, values[:, :count]], -1)
        rows = torch.cat([rows, order[:, :count] + start], -1)
        closest, order = closest.sort(dim=-1, descending=True, stable=True)
        closest, rows = closest[:, :count], rows.gather(-1, order)[:, :count]
    if measure != "euclidean":
        return closest, rows
    exact, order = (embeds[:, None] - vocab[rows].float()).norm(dim=-1).sort(dim=-1, stable=True)  # cdist rounds near zero
    return exact, rows.gather(-1, order)
