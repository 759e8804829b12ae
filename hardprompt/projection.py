"""Projection of free vectors to the vocabulary: the nearest entries by cosine, Euclidean distance or dot product.

PEZ projects by cosine (Wen et al. 2023); Khashabi et al. (2022) project by Euclidean distance and write of dot products. The
three measures can give different tokens.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import UnknownName

SimilarityMeasure = Literal["cosine", "euclidean", "dot"]
SIMILARITY_MEASURES: tuple[SimilarityMeasure, ...] = get_args(SimilarityMeasure)
_CHUNK = 65536  # vocabulary rows that are compared at once


def similarity(
    embeds: Float[Tensor, "L d"],
    vocab: Float[Tensor, "A d"],
    measure: str = "cosine",
    norms: Float[Tensor, "A"] | None = None,
) -> Float[Tensor, "L A"]:
    """The similarity of each vector and each vocabulary row: cosine, negative Euclidean distance, or dot product.

    Args:
        embeds: the vectors, (L, d).
        vocab: the vocabulary, (A, d).
        measure: "cosine", "euclidean" or "dot".
        norms: `row_norms` of the vocabulary, (A,), which cosine needs; by default they are computed.

    Returns:
        Similarities, (L, A). A larger value is a nearer row.

    Raises:
        UnknownName: there is no measure of this name.

    Example:
        >>> similarity(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]]), "euclidean").tolist()
        [[-5.0, -2.0]]
    """
    if measure == "cosine":
        norms = row_norms(vocab) if norms is None else norms
        return torch.nn.functional.normalize(embeds, dim=-1) @ vocab.T / norms
    if measure == "euclidean":
        return -torch.cdist(embeds, vocab)
    if measure == "dot":
        return embeds @ vocab.T
    raise UnknownName("projection measure", measure, SIMILARITY_MEASURES)


def row_norms(vocab: Float[Tensor, "A d"]) -> Float[Tensor, "A"]:
    """Euclidean norms of the rows, (A,), at least 1e-12."""
    return vocab.norm(dim=-1).clamp(min=1e-12)


def nearest(
    embeds: Float[Tensor, "L d"],
    vocab: Float[Tensor, "A d"],
    measure: str = "cosine",
    norms: Float[Tensor, "A"] | None = None,
) -> Int[Tensor, "L"]:
    """The nearest vocabulary row of each vector, the first on ties: Proj_E(P) of PEZ (Wen et al. 2023, Algorithm 1).

    Args:
        embeds: the vectors, (L, d).
        vocab: the vocabulary, (A, d). It is processed in chunks, so that a large vocabulary fits into memory.
        measure: "cosine", "euclidean" or "dot".
        norms: `row_norms` of the vocabulary, (A,), which cosine needs; by default they are computed.

    Returns:
        Row numbers, (L,).

    Example:
        >>> nearest(torch.tensor([[3.0, 0.1]]), torch.tensor([[0.0, 1.0], [0.5, 0.0]])).tolist()
        [1]
    """
    best_value = embeds.new_full((embeds.shape[0],), -torch.inf)
    best_row = torch.zeros(embeds.shape[0], dtype=torch.long, device=embeds.device)
    for start in range(0, vocab.shape[0], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        value, row = similarity(embeds, vocab[chunk], measure, None if norms is None else norms[chunk]).max(-1)
        best_row = torch.where(value > best_value, row + start, best_row)
        best_value = torch.maximum(value, best_value)
    return best_row


def nearest_entries(
    embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "V d"], measure: str = "cosine", count: int = 5
) -> tuple[Float[Tensor, "L k"], Int[Tensor, "L k"]]:
    """The `count` nearest vocabulary rows of each vector, nearest first, in order of their numbers on ties.

    Args:
        embeds: the vectors, (L, d).
        vocab: the vocabulary, (V, d). It is processed in chunks, in float32.
        measure: "cosine", "euclidean" or "dot".
        count: number of rows for each vector.

    Returns:
        Values (cosine, Euclidean distance in embedding units, or dot product), (L, k), and row numbers, (L, k). k is `count`,
        or V if that is less.

    Raises:
        UnknownName: there is no measure of this name.

    Example:
        >>> values, rows = nearest_entries(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, 0.0]]), "euclidean")
        >>> values.tolist(), rows.tolist()
        ([[2.0, 5.0]], [[1, 0]])
    """
    embeds = embeds.float()
    closest = embeds.new_empty(embeds.shape[0], 0)
    rows = torch.zeros(embeds.shape[0], 0, dtype=torch.long, device=embeds.device)
    for start in range(0, vocab.shape[0], _CHUNK):
        values = similarity(embeds, vocab[start : start + _CHUNK].float(), measure)
        values, order = values.sort(dim=-1, descending=True, stable=True)
        closest = torch.cat([closest, values[:, :count]], -1)
        rows = torch.cat([rows, order[:, :count] + start], -1)
        closest, order = closest.sort(dim=-1, descending=True, stable=True)
        closest, rows = closest[:, :count], rows.gather(-1, order)[:, :count]
    if measure != "euclidean":
        return closest, rows
    exact, order = (embeds[:, None] - vocab[rows].float()).norm(dim=-1).sort(dim=-1, stable=True)  # cdist rounds near zero
    return exact, rows.gather(-1, order)
