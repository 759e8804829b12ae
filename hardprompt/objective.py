"""The objective of all optimizers, and rewards, as pure functions.

The objective is `task loss (nats per example) + weight x prompt NLL (nats per token) + length weight x tokens`. Gradient
optimizers differentiate it; the reward of RL optimizers is its negative. Other conventions can be converted to it:

- PEZ minimizes `(1 - lambda) L_task + lambda L_fluency` (Wen et al. 2023), with the same minimum at weight = lambda / (1 -
  lambda).
- RLPrompt's piecewise gap reward (Deng et al. 2022, eq. 4) is `gap_reward`, and its normalization `zscore`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """The objective of P prompts and its parts.

    Attributes:
        task_loss: mean over the examples, in nats per example, (P,).
        prompt_nll: nats per token, (P,); NaN for a prompt without a scored token, such as the empty prompt.
        accuracy: fraction of correct answers, (P,).
        weight: weight of the prompt NLL: nats of task loss for each nat per token.
        length_cost: length weight x tokens of the prompt, in nats, (P,).
    """

    task_loss: Tensor
    prompt_nll: Tensor
    accuracy: Tensor
    weight: float
    length_cost: Tensor | float = 0.0

    @property
    def total(self) -> Tensor:
        """The value that is minimized, in nats, (P,)."""
        return self.at(self.weight)

    def at(self, weight: float) -> Tensor:
        """The value that is minimized at another weight of the prompt NLL, in nats, (P,).

        Example:
            >>> loss, nll, accuracy = torch.tensor([[1.0], [4.0], [0.5]])
            >>> Objective(loss, nll, accuracy, weight=0.0, length_cost=0.5).at(0.25).item()
            2.5
        """
        return combine(self.task_loss, self.prompt_nll, weight) + self.length_cost


def combine(task_loss: Float[Tensor, "*P"], prompt_nll: Float[Tensor, "*P"], weight: float) -> Float[Tensor, "*P"]:
    """task_loss + weight x prompt_nll. A prompt NLL of NaN, of a prompt without a scored token, counts as 0.

    Example:
        >>> combine(torch.tensor(1.0), torch.tensor(4.0), 0.25).item()
        2.0
    """
    return task_loss if weight == 0 else task_loss + weight * prompt_nll.nan_to_num(0.0)


def label_cross_entropy(label_logits: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Float[Tensor, "*P N"]:
    """-log softmax(label_logits)[label] over the label words only, in nats per example.

    Args:
        label_logits: logits of the C label words at the position of the answer, (..., N, C).
        labels: index of the correct label word of each example, (N,).

    Returns:
        The loss of each example, (..., N).

    Example:
        >>> label_cross_entropy(torch.zeros(1, 2), torch.tensor([0])).item()   # log 2
        0.6931471824645996
    """
    log_probs = label_logits.float().log_softmax(-1)
    index = labels.expand(label_logits.shape[:-1])[..., None]
    return -log_probs.gather(-1, index).squeeze(-1)


def label_margin(values: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Float[Tensor, "*P N"]:
    """values[label] - max of the others, (..., N): positive if the label has the largest value, 0 for a tie.

    Example:
        >>> label_margin(torch.tensor([[0.25, 0.75]]), torch.tensor([1])).tolist()
        [0.5]
    """
    is_label = torch.nn.functional.one_hot(labels, values.shape[-1]).bool().expand(values.shape)
    own = values.masked_fill(~is_label, -torch.inf).amax(-1)
    return own - values.masked_fill(is_label, -torch.inf).amax(-1)


def label_correct(label_logits: Float[Tensor, "*P N C"], labels: Int[Tensor, "N"]) -> Bool[Tensor, "*P N"]:
    """Whether the label word is strictly the most probable one, (..., N). A tie is not correct.

    Example:
        >>> label_correct(torch.tensor([[1.0, 2.0], [2.0, 2.0]]), torch.tensor([1, 1])).tolist()
        [True, False]
    """
    return label_margin(label_logits, labels) > 0


def gap_reward(
    label_logits: Float[Tensor, "P N C"],
    labels: Int[Tensor, "N"],
    incorrect_coeff: float = 180.0,
    correct_coeff: float = 200.0,
) -> Float[Tensor, "P"]:
    """RLPrompt's reward for classification (Deng et al. 2022, eq. 4), mean over the examples.

    With p the softmax over the label words and Gap = p(label) - max of the others, the reward of one example is
    `correct_coeff * Gap` if Gap > 0 and `incorrect_coeff * Gap` otherwise.

    Args:
        label_logits: logits of the C label words, (P, N, C).
        labels: index of the correct label word of each example, (N,).
        incorrect_coeff, correct_coeff: points per unit of gap.

    Returns:
        Points per prompt, (P,).

    Example:
        >>> gap_reward(torch.tensor([[[0.0, 0.0]]]), torch.tensor([0])).tolist()
        [0.0]
    """
    gap = label_margin(label_logits.float().softmax(-1), labels)
    return torch.where(gap > 0, correct_coeff * gap, incorrect_coeff * gap).mean(-1)


def zscore(rewards: Float[Tensor, "P"], eps: float = 1e-4) -> Float[Tensor, "P"]:
    """(r - mean) / (population standard deviation + eps) over the prompts of one batch, (P,).

    Example:
        >>> zscore(torch.tensor([1.0, 1.0])).tolist()
        [0.0, 0.0]
    """
    return (rewards - rewards.mean()) / (rewards.std(correction=0) + eps)
