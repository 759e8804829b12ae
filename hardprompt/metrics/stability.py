"""How much the text read off a soft prompt depends on the method: measure of closeness, next nearest tokens, small noise.

A word that changes with the method depends more on the method than on the prompt. Learn Prompting shows a prompt that one
method reads as *good* and another as *white*.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.projection import SIMILARITY_MEASURES, nearest, nearest_entries

NOISE = (0.1, 0.3)
"""Standard deviations of the added noise, in units of that of the coordinates of the vocabulary."""

DRAWS = 8
"""Number of noisy copies per level."""

NEIGHBOURS = 5
"""Number of nearest tokens that are compared."""


def readings(
    embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], seed: int = 0, noise: Sequence[float] = NOISE, draws: int = DRAWS
) -> dict[str, list[list[int]]]:
    """Row numbers of the closest tokens by method: each measure, the k-th nearest by cosine, and noise at each level.

    Args:
        embeds: the vectors of the prompt.
        vocab: embeddings of the allowed tokens.
        seed: the seed of the noise.
        noise: standard deviations of the noise, in units of that of all coordinates of `vocab`; noisy copies are
            read by cosine.
        draws: the number of noisy copies per level.

    Returns:
        By method ("cosine", "euclidean", "dot", "2nd nearest" ..., "noise 0.1" ...) one reading (L,), or `draws` of them.

    Example:
        >>> vocab = torch.eye(2)
        >>> readings(torch.tensor([[1.0, 0.1]]), vocab, noise=())["2nd nearest"]
        [[1]]
    """
    embeds, vocab = embeds.float(), vocab.float()
    found: dict[str, list[list[int]]] = {measure: [nearest(embeds, vocab, measure).tolist()] for measure in SIMILARITY_MEASURES}
    _, rows = nearest_entries(embeds, vocab, "cosine", NEIGHBOURS)
    for k, name in enumerate(("2nd", "3rd", "4th", "5th")[: rows.shape[1] - 1], 1):
        found[f"{name} nearest"] = [rows[:, k].tolist()]
    generator = torch.Generator().manual_seed(seed)
    for level in noise:
        added = torch.randn(draws, *embeds.shape, generator=generator).to(embeds.device) * (level * float(vocab.std()))
        found[f"noise {level:g}"] = [nearest(embeds + each, vocab, "cosine").tolist() for each in added]
    return found


def changed(found: Mapping[str, Sequence[Sequence[int]]], reference: Sequence[int]) -> dict[str, list[float]]:
    """For each method, the share of its readings in which a position has another token than the reference, (L,).

    >>> changed({"dot": [[7, 8]], "noise 0.1": [[7, 9], [7, 8]]}, [7, 9])
    {'dot': [0.0, 1.0], 'noise 0.1': [0.0, 0.5]}
    """
    return {
        method: [sum(each[i] != token for each in several) / len(several) for i, token in enumerate(reference)]
        for method, several in found.items()
    }


def stability(
    embeds: Float[Tensor, "L d"], vocab: Float[Tensor, "A d"], measure: str = "cosine", seed: int = 0
) -> dict[str, Any]:
    """How often each token of the text changes with the method, and at which positions a small change is enough.

    Args:
        embeds: the vectors of the prompt.
        vocab: embeddings of the allowed tokens.
        measure: the measure of the reading that the others are compared with.
        seed: the seed of the noise.

    Returns:
        `changed` (by method the share per position, (L,)), `mean_changed` (by method, over positions), and `marked`, the
        positions from 1 at which another measure, or noise of a tenth of the vocabulary's spread in any draw, gives another
        token.

    Example:
        >>> vocab = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> stability(vocab, vocab)["marked"]
        []
    """
    found = readings(embeds, vocab, seed)
    shares = changed(found, found[measure][0])
    small = [method for method in shares if method in SIMILARITY_MEASURES or method == f"noise {NOISE[0]:g}"]
    return {
        "changed": shares,
        "mean_changed": {method: sum(share) / len(share) for method, share in shares.items()},
        "marked": [i + 1 for i in range(len(embeds)) if any(shares[method][i] for method in small)],
    }
