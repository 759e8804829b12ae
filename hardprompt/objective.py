"""The differentiable objective, and the same thing as a reward: pure functions, parts kept.

One objective drives every optimizer: `task loss (nats per example) + weight x prompt NLL (nats per token)`. Gradient
optimizers differentiate it, the RL policy is rewarded with its negative. Other conventions map onto it:

- PEZ mixes `(1 - lambda) L_task + lambda L_fluency` (Wen et al. 2023): the same minimum at weight = lambda / (1 - lambda).
- RLPrompt's piecewise gap reward (Deng et al. 2022, eq. 4) is `gap_reward`; with z-score per batch of prompts `zscore`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """The objective of P prompts, with its parts.

    Attributes:
        task_loss: nats per example, mean over the examples, (P,).
        prompt_nll: nats per token, (P,); NaN where no token is scored (an empty prompt).
        accuracy: fraction of right answers, (P,).
        weight: nats of task loss that one nat per token of prompt NLL costs.
    """

    task_loss: Tensor
    prompt_nll: Tensor
    accuracy: Tensor
    weight: float

    @property
    def total(self) -> Tensor:
        """What is minimized, (P,)."""
        return combine(self.task_loss, self.prompt_nll, self.weight)


def combine(task_loss: Float[Tensor, "*P"], prompt_nll: Float[Tensor, "*P"], weight: float) -> Float[Tensor, "*P"]:
    """task_loss + weight x prompt_nll; a prompt without a scored token (NaN) has no fluency cost.

    >>> combine(torch.tensor(1.0), torch.tensor(4.0), 0.25).item()
    2.0
    """
    return task_loss if weight == 0 else task_loss + weight * prompt_nll.nan_to_num(0.0)


def label_cross_entropy(label_logits: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Float[Tensor, "*P N"]:
    """-log softmax(label_logits)[label] over the label words only, in nats per example.

    Args:
        label_logits: logits of the C label words at the answer's place.
        labels: index of the right one per example.
    """
    log_probs = label_logits.float().log_softmax(-1)
    index = labels.expand(label_logits.shape[:-1])[..., None]
    return -log_probs.gather(-1, index).squeeze(-1)


def label_margin(values: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Float[Tensor, "*P N"]:
    """values[label] - max of the others: positive when right, 0 for a tie."""
    is_label = torch.nn.functional.one_hot(labels, values.shape[-1]).bool().expand(values.shape)
    own = values.masked_fill(~is_label, -torch.inf).amax(-1)
    return own - values.masked_fill(is_label, -torch.inf).amax(-1)


def label_correct(label_logits: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Bool[Tensor, "*P N"]:
    """Whether the label's word is strictly the most probable; a tie is not correct."""
    return label_margin(label_logits, labels) > 0


def gap_reward(
    label_logits: Float[Tensor, "P N C"],
    labels: Int[Tensor, "N"],
    incorrect_coeff: float = 180.0,
    correct_coeff: float = 200.0,
) -> Float[Tensor, "P"]:
    """RLPrompt's classification reward (Deng et al. 2022, eq. 4), mean over the examples.

    With p the softmax over the label words and Gap = p(label) - max of the others, the reward of one example is
    `correct_coeff * Gap` when Gap > 0 and `incorrect_coeff * Gap` otherwise. A tie is a gap of 0.

    Returns:
        Points per prompt, (P,).
    """
    gap = label_margin(label_logits.float().softmax(-1), labels)
    return torch.where(gap > 0, correct_coeff * gap, incorrect_coeff * gap).mean(-1)


def zscore(rewards: Float[Tensor, "P"], eps: float = 1e-4) -> Float[Tensor, "P"]:
    """(r - mean) / (population standard deviation + eps) over the prompts of one batch.

    >>> zscore(torch.tensor([1.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    return (rewards - rewards.mean()) / (rewards.std(correction=0) + eps)
