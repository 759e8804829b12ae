"""The losses of soft Q-learning, as in RLPrompt (Deng et al. 2022) and Guo et al. (2021).

V(s) = logsumexp_a Q(s, a), A(s, a) = Q(s, a) - V(s), V' is the value of the target network, and V'_{T+1} = 0:

- v1: (Q_t - (r_t + V'_{t+1}))^2, the soft Bellman equation;
- v2: (A_t - (r_t + V'_{t+1} - V'_t))^2, the path consistency of one step;
- v3: (sum_{s>=t} A_s - (sum_{s>=t} r_s - V'_t))^2, the path consistency up to the end;
- v2_v3: the mean of v2 and v3, the published default.

A loss is summed over the steps of an episode and averaged over episodes. The temperature is 1; the scale of the reward has the
same effect.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LossName = Literal["v1", "v2", "v3", "v2_v3"]


def soft_q_loss(
    values: Float[Tensor, "B T A"],
    target_values: Float[Tensor, "B T A"],
    actions: Int[Tensor, "B T"],
    rewards: Float[Tensor, "B T"],
    is_step: Bool[Tensor, "B T"] | None = None,
    which: LossName = "v2_v3",
) -> Float[Tensor, ""]:
    """The loss of B episodes of at most T steps.

    Args:
        values: Q of every action at every step, (B, T, A). Only this argument has a gradient.
        target_values: the same from the target network, (B, T, A).
        actions: the chosen actions, (B, T).
        rewards: the reward of each step, (B, T).
        is_step: whether a step is part of its episode or padding after it, (B, T); by default all are.
        which: the loss.

    Example:
        >>> values = torch.zeros(1, 1, 2, requires_grad=True)   # V = log 2
        >>> loss = soft_q_loss(values, values, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1), which="v1")
        >>> loss.item()
        1.0
    """
    is_step = torch.ones_like(actions, dtype=torch.bool) if is_step is None else is_step
    chosen = values.gather(-1, actions[..., None])[..., 0].where(is_step, 0.0)  # -inf where an action cannot be taken
    advantage = (chosen - values.logsumexp(-1)) * is_step
    slow = target_values.detach().logsumexp(-1) * is_step
    rewards = rewards * is_step
    slow_next = torch.nn.functional.pad(slow[:, 1:], (0, 1))
    errors = {
        "v1": lambda: chosen - (rewards + slow_next),
        "v2": lambda: advantage - (rewards + slow_next - slow),
        "v3": lambda: _to_the_end(advantage) - (_to_the_end(rewards) - slow),
    }
    names = which.split("_")
    losses = [(errors[name]() * is_step).square().sum(-1).mean() for name in names]
    return torch.stack(losses).mean()


def _to_the_end(values: Tensor) -> Tensor:
    """sum_{s>=t} of values (B, T)."""
    return values.flip(-1).cumsum(-1).flip(-1)
