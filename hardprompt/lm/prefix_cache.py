"""The keys and values of prefixes that a model has read, so that many sequences can continue them.

A forward pass of transformers appends to the cache that it is given. The cache here never changes, and expands the prefixes to
the rows of a pass one layer at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hardprompt.errors import LMError


@dataclass(frozen=True)
class PrefixCache:
    """B sequences that continue P prefixes.

    Attributes:
        layers: keys and values (P, heads, T, d_head) of every layer, right-padded.
        rows: the prefix of each sequence, (B,).
        lengths: how many tokens of its prefix each sequence continues, (B,), T at most.
        states: features (P, T, d) of the prefixes, from which their own tokens are predicted.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    rows: Tensor
    lengths: Tensor
    states: Tensor | None = None

    def take(self, rows: Sequence[int], lengths: Sequence[int]) -> "PrefixCache":
        """The sequences `rows`, which may repeat, cut to their first `lengths` tokens."""
        longest, device = max(lengths), self.rows.device
        cut = tuple((keys[:, :, :longest], values[:, :, :longest]) for keys, values in self.layers)
        return PrefixCache(cut, self.rows[torch.tensor(rows, device=device)], torch.tensor(lengths, device=device))

    def forward_arguments(self, width: int, cache_argument: str) -> dict[str, Any]:
        """Arguments of a forward pass over `width` more tokens of each sequence, differentiable if the keys and values are."""
        longest = self.layers[0][0].shape[2]
        arguments: dict[str, Any] = {cache_argument: self._cache()}
        if bool((self.lengths < longest).any()):
            columns = torch.arange(longest + width, device=self.rows.device)
            arguments["attention_mask"] = ((columns < self.lengths[:, None]) | (columns >= longest)).long()
            arguments["position_ids"] = self.lengths[:, None] + columns[:width]
        return arguments

    @property
    def bytes_per_token(self) -> int:
        """Size of the keys and values of one token of one prefix."""
        prefixes, _, tokens, _ = self.layers[0][0].shape
        return sum(each.nbytes for layer in self.layers for each in layer) // (prefixes * tokens)

    def _cache(self) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [_Layer(keys, values, self.rows) for keys, values in self.layers]
        return cache


class _Layer(DynamicLayer):
    """Keys and values of one layer. New ones are appended for one pass and not stored."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.rows = keys, values, rows
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.keys.index_select(0, self.rows), self.values.index_select(0, self.rows)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def prefix_cache_of(cache: DynamicCache, states: Tensor) -> PrefixCache:
    """The prefixes that a model has read into a cache.

    Args:
        cache: the cache after the pass.
        states: features (P, T, d) of the prefixes.

    Raises:
        LMError: the cache does not hold the keys and values of all tokens in all of its layers.
    """
    if not cache.layers or any(type(layer) is not DynamicLayer or not layer.is_initialized for layer in cache.layers):
        raise LMError("the model does not keep the keys and values of all tokens")
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    if any(len(each.shape) != 4 or each.shape[-2] != states.shape[1] for layer in layers for each in layer):
        raise LMError("the model does not keep the keys and values of all tokens")
    rows = torch.arange(len(states), device=states.device)
    return PrefixCache(layers, rows, torch.full_like(rows, states.shape[1]), states)
