"""The last layer of a causal model, computed only at the positions whose states are needed.

At all other positions only the keys and values are needed. So the layer runs twice: first over all positions, until its
attention stores its keys and values in the cache; then over the needed positions, whose queries attend to all of them.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hardprompt.lm.memory import layers_of

_CACHE_ARGUMENTS = ("past_key_values", "layer_past", "cache")
_POSITION_ARGUMENTS = ("position_ids", "position_embeddings")


class LastLayer:
    """The last layer of a model.

    Whether this gives the states of the whole pass depends on the model; it is tested when a model is loaded.

    Args:
        model: a Hugging Face model.

    Raises:
        LookupError: the model has no list of layers, or the last layer takes no cache.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = layers_of(model)
        if not layers:
            raise LookupError("the model has no list of layers")
        self._layer = layers[-1]
        self._signature = inspect.signature(self._layer.forward)
        self._cache_argument = next((name for name in _CACHE_ARGUMENTS if name in self._signature.parameters), "")
        if not self._cache_argument:
            raise LookupError("the layers of the model take no cache")

    @contextmanager
    def only(self, positions: Tensor) -> Iterator[None]:
        """Within this context the layer's output (B, T, d) is zero except at `positions`, (B, R); -1 is ignored."""
        forward = self._layer.forward
        vars(self._layer)["forward"] = lambda *args, **kwargs: self._forward(forward, positions, args, kwargs)
        try:
            yield
        finally:
            del vars(self._layer)["forward"]

    def _forward(self, forward: Callable[..., Any], positions: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = self._signature.bind(*args, **kwargs).arguments
        named = {**bound.pop("kwargs", {}), **bound}
        states: Tensor = named.pop(next(iter(bound)))
        try:
            return forward(states, **named | {self._cache_argument: _InterruptingCache(named.get(self._cache_argument))})
        except _KeysAndValues as ready:
            keys, values = ready.keys, ready.values
        batch = torch.arange(len(states), device=states.device)[:, None].expand_as(positions)
        at = positions.clamp(min=0)

        def selected(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(selected, value))
            return value.expand(len(states), *value.shape[1:])[batch, at] if isinstance(value, Tensor) else value

        mask = named.get("attention_mask")
        if mask is None:
            before = keys.shape[-2] - states.shape[1]
            mask = (torch.arange(keys.shape[-2], device=states.device) <= (before + at)[..., None])[:, None]
            mask = states.new_zeros(mask.shape).masked_fill_(~mask, torch.finfo(states.dtype).min)
        else:
            mask = mask.expand(len(states), *mask.shape[1:])[batch, :, at].transpose(1, 2)
        changed = {name: selected(named[name]) for name in _POSITION_ARGUMENTS if name in named}
        changed |= {self._cache_argument: _FixedCache(keys, values), "attention_mask": mask}
        some = forward(states[batch, at], **named | changed)
        is_needed = positions >= 0
        return states.new_zeros(states.shape).index_put((batch[is_needed], positions[is_needed]), some[is_needed])


class _KeysAndValues(Exception):
    """Carries all keys and values of the layer out of its forward pass."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values


class _InterruptingCache(DynamicCache):
    """Ends the pass of the layer once its keys and values are computed."""

    def __init__(self, past: Any) -> None:
        super().__init__()
        self._past = past

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if self._past is not None:
            key_states, value_states = self._past.update(key_states, value_states, layer_idx, *args, **kwargs)
        raise _KeysAndValues(key_states, value_states)


class _FixedCache(DynamicCache):
    """Returns the given keys and values, whatever is added."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._pair = keys, values

    def update(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self._pair
