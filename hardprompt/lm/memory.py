"""The memory budget: how much memory scoring may use besides the weights, and how much a forward pass uses.

A pass is split into parts that fit the budget. If a part runs out of memory nevertheless (because another program took it), the
budget is halved permanently and the pass is split again.
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
"""The default budget. It is the same on every machine, because the last bits of a result depend on how a pass is split."""

MIN_BUDGET = 256 << 20
"""Smallest budget, in bytes. Below this, even one example exceeds the budget with a model of GPT-2's size (`runs/log.md`)."""

OVERHEAD = 32 << 20
"""Bytes that the libraries for matrix products allocate in addition, measured on a CPU."""

CACHE_SHARE = 0.5
"""Share of the budget for keys and values that are kept between calls; passes use the rest."""

_logger = logging.getLogger(__name__)

T = TypeVar("T")
RowsOf = Callable[[Tensor, list[int]], Tensor]


@dataclass(frozen=True)
class MemoryFootprint:
    """Peak memory of a forward pass, in bytes.

    Measured on GPT-2, Llama, OPT, NeoX, RoBERTa and BERT models (`runs/log.md`). A token takes 12 times the hidden width plus 5
    times the widest layer, once without a gradient, and once per layer with a gradient. The keys and values of a prefix are
    copied for every row, one layer at a time. A position with logits takes twice the vocabulary size, or four times with a
    gradient.

    Attributes:
        token: bytes of a token in one layer.
        prefix_token: bytes of a token of a prefix.
        logits: bytes of the logits at one position.
        layers: number of layers.
    """

    token: int
    prefix_token: int
    logits: int
    layers: int

    @classmethod
    def of(cls, model: Any, output: Tensor) -> "MemoryFootprint":
        """The footprint of a Hugging Face model with output embeddings (V, d)."""
        layers, width = layers_of(model), model.get_input_embeddings().weight.shape[1]
        widest = max((max(weight.shape[-2:]) for weight in layers.parameters() if weight.dim() >= 2), default=4 * width)
        size = output.element_size()
        logits = 2 * output.shape[0] * max(size, 4)
        return cls((12 * width + 5 * widest) * size, 4 * width * size, logits, len(layers))

    def of_pass(self, tokens: int, prefix_tokens: int = 0, reads: int = 0, gradient: bool = False) -> int:
        """Bytes of a pass over padded tokens that continue the padded tokens of prefixes, with logits at `reads` positions."""
        times = self.layers + 1 if gradient else 1
        return times * (tokens * self.token + prefix_tokens * self.prefix_token) + (2 if gradient else 1) * reads * self.logits


@dataclass
class Memory:
    """The budget of one model, in bytes, and its cache of keys and values, shared by everything that scores with the model."""

    budget: int
    _cache: OrderedDict[Hashable, tuple[int, Any]] = field(default_factory=OrderedDict, repr=False)

    @property
    def cache_bytes(self) -> int:
        """Bytes for the cache."""
        return int(CACHE_SHARE * self.budget)

    @property
    def pass_bytes(self) -> int:
        """Bytes for a pass."""
        return max(1, self.budget - self.cache_bytes - OVERHEAD)

    def rows(self, size: int) -> int:
        """How many rows of `size` bytes fit into a pass; at least one."""
        return max(1, self.pass_bytes // size)

    def cached(self, key: Hashable, size: int, make: Callable[[], T]) -> T:
        """The cached value of a key, which is computed if it is missing.

        The least recently used values are removed when the cache is full.

        Args:
            key: identifies the value.
            size: bytes of the value.
            make: computes the value.
        """
        if key not in self._cache:
            self._cache[key] = (size, make())
        self._cache.move_to_end(key)
        self._evict()
        return self._cache[key][1]

    def run(self, attempt: Callable[[], T]) -> T:
        """Call `attempt`; if it runs out of memory, halve the budget and call it again.

        Raises:
            LMError: it runs out of memory with the smallest budget.
        """
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if self.budget // 2 < MIN_BUDGET:  # outside the handler, whose traceback keeps the tensors of the attempt alive
                raise LMError("one prompt on one example does not fit into memory; use a smaller model or shorter inputs")
            self.budget //= 2
            _logger.warning("out of memory: the memory budget for scoring is now %d MB", self.budget >> 20)
            self._evict()

    def _evict(self) -> None:
        while len(self._cache) > 1 and sum(size for size, _ in self._cache.values()) > self.cache_bytes:
            self._cache.popitem(last=False)


def layers_of(model: Any) -> nn.ModuleList:
    """The layers of a Hugging Face model: of its lists of modules, the one with the most weights."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    lists = [part for part in (decoder or model).modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=lambda each: sum(weight.numel() for weight in each.parameters()), default=nn.ModuleList())


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on CUDA, on MPS, or on the CPU."""
    said = ("can't allocate memory", "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in said)


def memory_bytes(text: str) -> int:
    """Bytes of a size such as "4GB", "512 MB" or "2GiB"; GB and GiB are both 1024^3 bytes.

    Raises:
        ValueError: the text is not a size, or the size is less than `MIN_BUDGET`.

    Example:
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
    if not MIN_BUDGET <= size < 1 << 50:
        raise ValueError("give a size of at least 256MB, such as 512MB or 4GB")
    return int(size)


class RecomputedParts(torch.autograd.Function):
    """Rows that are computed from a soft prompt in parts, with their gradient in the memory of one part.

    `rows(soft, part)` computes the rows of the indices in `part`, (len(part), k), and `split()` returns parts that fit into
    the memory that is free at the moment. A single part keeps its graph. If there are several parts, each is computed again in
    the backward pass, and their gradients are summed (gradient checkpointing).
    """

    @staticmethod
    def forward(ctx: Any, soft: Tensor, rows: RowsOf, split: Callable[[], list[list[int]]], memory: Memory) -> Tensor:
        def attempt() -> Tensor:
            parts = split()
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
        ctx.soft, ctx.rows, ctx.split, ctx.memory = soft.detach(), rows, split, memory
        return memory.run(attempt)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        def attempt() -> Tensor:
            held, ctx.held = ctx.held, None
            if held:
                part, leaf, graph = held
                return torch.autograd.grad(graph, leaf, gradient[part])[0]
            total = torch.zeros_like(ctx.soft)
            for part in ctx.split():
                leaf = ctx.soft.clone().requires_grad_()
                with torch.enable_grad():
                    graph = ctx.rows(leaf, part)
                total += torch.autograd.grad(graph, leaf, gradient[part])[0]
            return total

        return ctx.memory.run(attempt), None, None, None
