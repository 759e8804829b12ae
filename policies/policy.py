"""A policy whose actions are words: its logits are inner products with the LM's own vocabulary embeddings.

As in RLPrompt, where the policy speaks through the LM's output layer, what is learnt of one word carries over to words that the
model holds for similar; each word's own bias is learnt beside it.
"""

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn


class VocabularyHead(nn.Module):
    """Logits (B, A) = normalize(E) W h + b for states h (B, h), with frozen embeddings E (A, d), centred."""

    def __init__(self, width: int, vocab: Tensor) -> None:
        super().__init__()
        self.direction = nn.Linear(width, vocab.shape[1], bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab.shape[0]))
        self.register_buffer("vocab", nn.functional.normalize(vocab - vocab.mean(0), dim=-1))
        nn.init.orthogonal_(self.direction.weight, gain=0.01)

    def forward(self, state: Tensor) -> Tensor:
        """The logits of the next token."""
        return self.direction(state) @ self.vocab.T + self.bias


class VocabularyPolicy(ActorCriticPolicy):
    """SB3's actor-critic with a `VocabularyHead`; `vocab` (A, d) are the embeddings of the allowed tokens."""

    def __init__(self, *args: Any, vocab: Tensor, **kwargs: Any) -> None:
        self._vocab = vocab
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = VocabularyHead(self.mlp_extractor.latent_dim_pi, self._vocab)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)
