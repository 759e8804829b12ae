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


def closeness(embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], measure: str = "cosine") -> Float[Tensor, "L A"]:
    """How close each vector is to each vocabulary row, larger is closer: cosine, minus Euclidean distance, or dot product.

    Raises:
        UnknownName: no such measure.
    """
    if measure == "cosine":
        return torch.nn.functional.normalize(embeds, dim=-1) @ torch.nn.functional.normalize(vocab, dim=-1).T
    if measure == "euclidean":
        return -torch.cdist(embeds, vocab)
    if measure == "dot":
        return embeds @ vocab.T
    raise UnknownName("projection measure", measure, MEASURES)


def nearest(embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], measure: str = "cosine") -> Int[Tensor, "L"]:
    """Proj_E(P) of PEZ (Wen et al. 2023, Algorithm 1) as row numbers: the closest vocabulary row of each vector, first on ties.

    The vocabulary is walked in chunks, so that large ones fit.

    Example:
        >>> nearest(torch.tensor([[3.0, 0.1]]), torch.tensor([[0.0, 1.0], [0.5, 0.0]])).tolist()
        [1]
    """
    best_value = embeds.new_full((embeds.shape[0],), -torch.inf)
    best_row = torch.zeros(embeds.shape[0], dtype=torch.long, device=embeds.device)
    for start in range(0, vocab.shape[0], _CHUNK):
        value, row = closeness(embeds, vocab[start : start + _CHUNK], measure).max(-1)
        best_row = torch.where(value > best_value, row + start, best_row)
        best_value = torch.maximum(value, best_value)
    return best_row
