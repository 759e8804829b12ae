"""What a model keeps of beginnings that it has read, so that many sequences go on from them.

A forward pass writes what it reads into the cache it is given; here it gets one that never changes, and expands the beginnings
to its rows one layer at a time.
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
    """B sequences that begin with the first tokens of H beginnings.

    Attributes:
        layers: keys and values (H, heads, T, d_head) of every layer, right-padded.
        rows: which beginning each sequence has, (B,).
        lengths: how many tokens of it each sequence continues, (B,), T at most.
        states: last hidden states (H, T, d) of the beginnings, from which their own tokens are predicted.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    rows: Tensor
    lengths: Tensor
    states: Tensor | None = None

    def take(self, rows: Sequence[int], lengths: Sequence[int]) -> "PrefixCache":
        """The sequences `rows`, repeats included, cut to their first tokens."""
        longest, device = max(lengths), self.rows.device
        cut = tuple((keys[:, :, :longest], values[:, :, :longest]) for keys, values in self.layers)
        return PrefixCache(cut, self.rows[torch.tensor(rows, device=device)], torch.tensor(lengths, device=device))

    def arguments(self, width: int) -> dict[str, Any]:
        """What a forward pass over `width` more tokens of each sequence takes; differentiable where the keys and values are."""
        longest = self.layers[0][0].shape[2]
        given: dict[str, Any] = {"past_key_values": self._cache()}
        if bool((self.lengths < longest).any()):
            columns = torch.arange(longest + width, device=self.rows.device)
            given["attention_mask"] = ((columns < self.lengths[:, None]) | (columns >= longest)).long()
            given["position_ids"] = self.lengths[:, None] + columns[:width]
        return given

    @property
    def bytes_per_token(self) -> int:
        """What the keys and values of one token of one beginning take."""
        beginnings, _, tokens, _ = self.layers[0][0].shape
        return sum(each.nbytes for layer in self.layers for each in layer) // (beginnings * tokens)

    def _cache(self) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [_Layer(keys, values, self.rows) for keys, values in self.layers]
        return cache


class _Layer(DynamicLayer):
    """Keys and values of one layer, to which what a pass reads is joined for that pass only."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.rows = keys, values, rows
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = self.keys.index_select(0, self.rows), self.values.index_select(0, self.rows)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def prefix_cache_of(output: Any) -> PrefixCache:
    """The past in a model's output; LMError where that is no cache of all keys and values but a window, a state, or nothing."""
    cache: Any = getattr(output, "past_key_values", None)
    if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
        raise LMError(f"{type(output).__name__} has no plain cache of keys and values")
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    states = output.last_hidden_state
    rows = torch.arange(len(states), device=states.device)
    return PrefixCache(layers, rows, torch.full_like(rows, states.shape[1]), states)
