"""How much memory scoring may take beside the weights, what a forward pass takes, and what to do when there is less.

A pass is cut into parts that fit. A part that does not fit after all (another program took the memory) halves the budget, for
good, and is cut again.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hardprompt.errors import LMError

BUDGET = "2GB"
"""By default: the same everywhere, since how a pass is cut decides the last bits of its result."""

LEAST = 256 << 20
"""Bytes: with less not even one example of GPT-2's size keeps to the budget (`runs/log.md`)."""

OVERHEAD = 32 << 20
"""Bytes that the libraries of matrix products take for themselves, measured on a CPU."""

KEPT_SHARE = 0.5
"""Of the budget, what keys and values that are kept from call to call may take; passes take the rest."""

_logger = logging.getLogger(__name__)

T = TypeVar("T")
RowsOf = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class Footprint:
    """Bytes that a pass takes at its peak, by what it reads.

    Measured on GPT-2, Llama, OPT, NeoX, RoBERTa and BERT models (`runs/log.md`): a token takes 12 times the hidden width and 5
    times the widest layer in numbers, once without a gradient, and once for every layer with one; keys and values that
    are continued are copied for every row, one layer at a time, and a position whose logits are read twice the vocabulary, four
    times with a gradient.
    """

    token: int
    past_token: int
    logits: int
    layers: int

    @classmethod
    def of(cls, model: Any) -> "Footprint":
        """That of a Hugging Face model, whose layers are its longest list of modules."""
        layers = max((part for part in model.modules() if isinstance(part, nn.ModuleList)), key=len, default=nn.ModuleList())
        width, embeddings = model.get_input_embeddings().weight.shape[1], model.get_output_embeddings().weight
        widest = max((max(weight.shape) for weight in layers.parameters() if weight.dim() == 2), default=4 * width)
        size = embeddings.element_size()
        logits = 2 * embeddings.shape[0] * max(size, 4)
        return cls((12 * width + 5 * widest) * size, 4 * width * size, logits, len(layers))

    def of_pass(self, tokens: int, past_tokens: int = 0, reads: int = 0, gradient: bool = False) -> int:
        """Bytes of a pass over so many padded tokens that continue so many, with logits at `reads` positions."""
        times = self.layers + 1 if gradient else 1
        return times * (tokens * self.token + past_tokens * self.past_token) + (2 if gradient else 1) * reads * self.logits


@dataclass
class Memory:
    """The budget of one model, in bytes, and the keys and values that it keeps; whatever scores with the model shares it."""

    budget: int
    _kept: OrderedDict[Hashable, tuple[int, Any]] = field(default_factory=OrderedDict, repr=False)

    @property
    def kept_room(self) -> int:
        """Bytes for what is kept."""
        return int(KEPT_SHARE * self.budget)

    @property
    def pass_room(self) -> int:
        """Bytes for a pass."""
        return max(1, self.budget - self.kept_room - OVERHEAD)

    def rows(self, size: int) -> int:
        """How many rows of `size` bytes fit into a pass; at least one."""
        return max(1, self.pass_room // size)

    def keep(self, key: Hashable, size: int, make: Callable[[], T]) -> T:
        """What was made for this key, of `size` bytes; the least recently used goes where there is no room."""
        if key not in self._kept:
            self._kept[key] = (size, make())
        self._kept.move_to_end(key)
        self._evict()
        return self._kept[key][1]

    def within(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns; where it runs out of memory, the budget is halved and it is made again.

        Raises:
            LMError: the budget is too small to be halved again.
        """
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if self.budget // 2 < LEAST:  # beyond the handler, whose traceback holds the tensors of the attempt
                raise LMError("one prompt on one example does not fit into memory; take a smaller model or shorter inputs")
            self.budget //= 2
            _logger.warning("out of memory: the memory budget for scoring is now %d MB", self.budget >> 20)
            self._evict()

    def _evict(self) -> None:
        while len(self._kept) > 1 and sum(size for size, _ in self._kept.values()) > self.kept_room:
            self._kept.popitem(last=False)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on CUDA or the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def memory_bytes(text: str) -> int:
    """Bytes of a text such as "4GB", "512 MB" or "2GiB"; GB and GiB are both 1024^3.

    Raises:
        ValueError: it is no such text, or less than `LEAST`.

    >>> memory_bytes("1.5GB")
    1610612736
    """
    units = {"MB": 20, "MIB": 20, "GB": 30, "GIB": 30}
    written = text.strip().upper()
    unit = next((unit for unit in sorted(units, key=len, reverse=True) if written.endswith(unit)), None)
    try:
        number = float(written.removesuffix(unit or " "))
    except ValueError:
        number = math.nan
    size = number * (1 << units[unit]) if unit else math.nan
    if not LEAST <= size < 1 << 50:
        raise ValueError("give a size of at least 256MB, such as 512MB or 4GB")
    return int(size)


class InParts(torch.autograd.Function):
    """Rows computed from a soft prompt part by part, and their gradient in the memory of one part.

    `rows(soft, part)` gives the rows of the indices in `part`, (len(part), k); `cut()` gives parts that fit for now. A single
    part keeps its graph; of several, each is computed again in the backward pass, where their gradients are summed.
    """

    @staticmethod
    def forward(ctx: Any, soft: Tensor, rows: RowsOf, cut: Callable[[], list[list[int]]], memory: Memory) -> Tensor:
        def attempt() -> Tensor:
            parts = cut()
            if len(parts) > 1:
                found = torch.cat([rows(soft, part) for part in parts])
            else:
                leaf = soft.detach().requires_grad_()
                with torch.enable_grad():
                    graph = rows(leaf, parts[0])
                ctx.held, found = (parts[0], leaf, graph), graph.detach()
            order = torch.tensor([i for part in parts for i in part], device=found.device)
            return torch.empty_like(found).index_copy_(0, order, found)

        ctx.held = None
        ctx.soft, ctx.rows, ctx.cut, ctx.memory = soft.detach(), rows, cut, memory
        return memory.within(attempt)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        def attempt() -> Tensor:
            held, ctx.held = ctx.held, None
            if held:
                part, leaf, graph = held
                return torch.autograd.grad(graph, leaf, gradient[part])[0]
            total = torch.zeros_like(ctx.soft)
            for part in ctx.cut():
                leaf = ctx.soft.clone().requires_grad_()
                with torch.enable_grad():
                    graph = ctx.rows(leaf, part)
                total += torch.autograd.grad(graph, leaf, gradient[part])[0]
            return total

        return ctx.memory.within(attempt), None, None, None
