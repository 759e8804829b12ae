"""Observations of unfinished prompts: the position and the last token, or the hidden state of a frozen LM."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from hardprompt.lm import FrozenLM
from hardprompt.scoring import TokenCount

from .actions import opening


class Observer(Protocol):
    """Observations (P, d) of unfinished prompts."""

    space: spaces.Box

    def __call__(self, rows: np.ndarray, sources: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """The observations of prompts.

        Args:
            rows: the prompts as actions, (P, t).
            sources: tokens that are read before each prompt; None for none.
        """
        ...


class LightObserver:
    """Observes the position and the last token.

    An observation (L + d,) is the one-hot position (zeros when the prompt is full) and the embedding of the last token, scaled
    to unit length (zeros at the start and after the end action).
    """

    def __init__(self, lm: FrozenLM, actions: Tensor, length: int) -> None:
        embeds = torch.nn.functional.normalize(lm.vocab_embeds[actions].float(), dim=-1)
        self._embeds = np.concatenate([embeds.cpu().numpy().clip(-1.0, 1.0), np.zeros((1, embeds.shape[1]), np.float32)])
        self._length = length
        self.space = spaces.Box(-1.0, 1.0, (length + embeds.shape[1],), np.float32)

    def __call__(self, rows: np.ndarray, sources: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """The observations (P, L + d). Sources are ignored."""
        prompts, position = rows.shape
        seen = np.zeros((prompts, *self.space.shape), dtype=np.float32)
        if position < self._length:
            seen[:, position] = 1.0
        if position:
            seen[:, self._length :] = self._embeds[rows[:, -1]]
        return seen


class StateObserver:
    """Observes the last hidden state (d,) of the frozen policy LM after the start (or a source) and the prompt so far.

    The model is not part of the policy, so it is neither saved with the policy nor set to training mode. Keys and values are
    cached, and used if each prompt has grown by one token since the last call. The tokens that it reads are counted.
    """

    def __init__(self, lm: FrozenLM, actions: Tensor, length: int, counter: TokenCount) -> None:
        self._lm = lm
        self._ids = torch.cat([actions, actions[:1]])  # the token read for the end action has no effect
        self._length = length
        self._counter = counter
        self._cache: DynamicCache | None = None
        self._seen = np.zeros((0, 0), dtype=np.int64)
        width = lm.output_layer.weight.shape[1]
        bound = float(np.finfo(np.float32).max)
        self.space = spaces.Box(-bound, bound, (width,), np.float32)

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, sources: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """The observations (P, d)."""
        ids = self._ids[torch.from_numpy(rows).to(self._ids.device)]
        return (self._padded(ids, sources) if sources is not None else self._grown(rows, ids)).float().cpu().numpy()

    def _grown(self, rows: np.ndarray, ids: Tensor) -> Tensor:
        fresh = ids[:, -1:]
        if self._cache is None or rows.shape[1] == 0 or not np.array_equal(rows[:, :-1], self._seen):
            start = torch.tensor(opening(self._lm), device=ids.device).expand(len(ids), -1)
            fresh = torch.cat([start, ids], 1)
            self._cache = DynamicCache() if self._lm.shares_prefixes else None
        self._counter.forward += fresh.shape[0] * fresh.shape[1]
        self._seen = rows
        embeds = self._lm.embed(fresh)
        return (self._lm.hidden(embeds) if self._cache is None else self._lm.grown(embeds, self._cache))[:, -1]

    def _padded(self, ids: Tensor, sources: Sequence[Sequence[int]]) -> Tensor:
        starts = [torch.tensor([*self._lm.prefix_ids, *source], dtype=torch.long, device=ids.device) for source in sources]
        read = [torch.cat([start, row]) for start, row in zip(starts, ids, strict=True)]
        lengths = [len(row) for row in read]
        self._counter.forward += sum(lengths)
        hidden = self._lm.hidden(self._lm.embed(pad_sequence(read, batch_first=True)), lengths=lengths)
        return hidden[torch.arange(len(read), device=ids.device), torch.tensor(lengths, device=ids.device) - 1]
