"""Sequences that grow token by token behind the keys and values of their earlier tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from hardprompt.lm.frozen import FrozenLM


class GrowingSequences:
    """A batch of B sequences of different lengths, to each of which a token is appended at a time.

    New tokens are behind the padding of the batch, which is masked, and have the positions that follow those of their sequence.

    Args:
        lm: a model with `shares_prefixes`.
        embeds: input embeddings of the sequences, (B, T, d), padded on the right.
        lengths: the number of tokens of each sequence.

    Attributes:
        features: the features at the last token of each sequence, (B, d), from which the next token is predicted.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> ids = torch.tensor([lm.encode("give the plural")[:3]])
        >>> grown = GrowingSequences(lm, lm.embed(ids[:, :2]), [2])
        >>> grown.append([int(ids[0, 2])])
        >>> torch.allclose(grown.features, lm.hidden(lm.embed(ids))[:, -1], atol=1e-4)
        True
    """

    def __init__(self, lm: FrozenLM, embeds: Tensor, lengths: Sequence[int]) -> None:
        self._lm, self._cache = lm, DynamicCache()
        self._lengths = torch.tensor(lengths, device=lm.device)
        self._width, self._appended = embeds.shape[1], 0
        every = torch.arange(len(lengths), device=lm.device)
        self.features = lm.grown(embeds, self._cache)[every, self._lengths - 1]

    def keep(self, places: Sequence[int]) -> None:
        """Keep the sequences at these places of the batch, which must be increasing, and drop the others."""
        if len(places) < len(self._lengths):
            kept = torch.tensor(places, device=self._lm.device)
            self._cache.batch_select_indices(kept)
            self._lengths, self.features = self._lengths[kept], self.features[kept]

    def append(self, tokens: Sequence[int]) -> None:
        """Append a token to each sequence of the batch."""
        columns = torch.arange(self._width + self._appended + 1, device=self._lm.device)
        arguments = {
            "attention_mask": ((columns < self._lengths[:, None]) | (columns >= self._width)).long(),
            "position_ids": (self._lengths + self._appended)[:, None],
        }
        last = torch.tensor(tokens, device=self._lm.device)[:, None]
        self.features = self._lm.grown(self._lm.embed(last), self._cache, **arguments)[:, -1]
        self._appended += 1
