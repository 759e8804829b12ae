"""The last layer of a causal model, computed only at the positions that are read.

Of the other positions only the keys and values are wanted. So the layer runs twice: over all positions until its attention
hands its keys and values to the cache, and then over those that are read, whose queries meet all of them.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

_PAST = ("past_key_values", "layer_past")
_PER_POSITION = ("position_ids", "position_embeddings")


class LastLayer:
    """The last layer of a body, whose layers are its longest list of modules.

    Whether this gives the states of the whole pass must be tried on each model (`FrozenLM` does).

    Raises:
        LookupError: the body has no list of layers, or the last one is given no past.
    """

    def __init__(self, body: nn.Module) -> None:
        lists = [part for part in body.modules() if isinstance(part, nn.ModuleList) and len(part)]
        if not lists:
            raise LookupError("no list of layers")
        self._layer = max(lists, key=len)[-1]
        self._signature = inspect.signature(self._layer.forward)
        self._past = next((name for name in _PAST if name in self._signature.parameters), "")
        if not self._past:
            raise LookupError("its layers are given no past")

    @contextmanager
    def only(self, read: Tensor) -> Iterator[None]:
        """Within it the layer's output (B, T, d) is zero but at the positions `read`, (B, R), -1 for none."""
        whole = self._layer.forward
        vars(self._layer)["forward"] = lambda *args, **given: self._forward(whole, read, args, given)
        try:
            yield
        finally:
            del vars(self._layer)["forward"]

    def _forward(self, whole: Callable[..., Any], read: Tensor, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        bound = self._signature.bind(*args, **given).arguments
        named = {**bound.pop("kwargs", {}), **bound}
        states: Tensor = named.pop(next(iter(bound)))
        try:
            return whole(states, **named | {self._past: _Until(named.get(self._past))})
        except _Read as done:
            keys, values = done.keys, done.values
        batch = torch.arange(len(states), device=states.device)[:, None].expand_as(read)
        at = read.clamp(min=0)

        def there(each: Any) -> Any:
            if isinstance(each, tuple):
                return tuple(map(there, each))
            return each.expand(len(states), *each.shape[1:])[batch, at] if isinstance(each, Tensor) else each

        mask = named.get("attention_mask")
        if mask is None:
            before = keys.shape[-2] - states.shape[1]
            mask = (torch.arange(keys.shape[-2], device=states.device) <= (before + at)[..., None])[:, None]
            mask = states.new_zeros(mask.shape).masked_fill_(~mask, torch.finfo(states.dtype).min)
        else:
            mask = mask.expand(len(states), *mask.shape[1:])[batch, :, at].transpose(1, 2)
        changed = {name: there(named[name]) for name in _PER_POSITION if name in named}
        changed |= {self._past: _Given(keys, values), "attention_mask": mask}
        some = whole(states[batch, at], **named | changed)
        is_read = read >= 0
        return states.new_zeros(states.shape).index_put((batch[is_read], read[is_read]), some[is_read])


class _Read(Exception):
    """All keys and values of the layer are there."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values


class _Until(DynamicCache):
    """Ends the layer's pass once it has made its keys and values."""

    def __init__(self, past: Any) -> None:
        super().__init__()
        self._before = past

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **given: Any) -> Any:
        if self._before is not None:
            key_states, value_states = self._before.update(key_states, value_states, layer_idx, *args, **given)
        raise _Read(key_states, value_states)


class _Given(DynamicCache):
    """Answers with keys and values that are there already."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._pair = keys, values

    def update(self, *args: Any, **given: Any) -> tuple[Tensor, Tensor]:
        return self._pair
