"""Soft Q-learning's losses as pure functions: what RLPrompt (Deng et al. 2022) trains with, after Guo et al. 2021.

With V(s) = logsumexp_a Q(s, a) and A(s, a) = Q(s, a) - V(s), a primed value of a slow copy, and V'_{T+1} = 0:

- v1: (Q_t - (r_t + V'_{t+1}))^2, the soft Bellman equation;
- v2: (A_t - (r_t + V'_{t+1} - V'_t))^2, the same for one step of the path consistency;
- v3: (sum_{s>=t} A_s - (sum_{s>=t} r_s - V'_t))^2, the path consistency to the end;
- v2_v3: the mean of v2 and v3, the published default.

Summed over the steps of an episode, mean over episodes. There is no temperature: the scale of the reward stands for it.
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
        values: Q of every action at every step; the only argument with a gradient.
        target_values: the same of the slow copy.
        actions: what was chosen.
        rewards: after each step; of a prompt only the last one is not 0.
        is_step: which steps are part of their episode; by default all. Those of an episode come first.
        which: the loss.
    """
    is_step = torch.ones_like(actions, dtype=torch.bool) if is_step is None else is_step
    chosen = values.gather(-1, actions[..., None])[..., 0]
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
