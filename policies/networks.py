"""The policies, as stable-baselines3 knows them: light ones, and RLPrompt's, whose output layer is a frozen LM's.

RLPrompt (Deng et al. 2022): last hidden state of the LM -> Linear(d, h) -> ReLU -> Linear(h, d) -> the LM's output layer. On
distilGPT-2 d is 768 and h 2048; h follows d. Only the two linear layers are trained and saved.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor, nn

from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM

WIDTH = 8 / 3
"""h / d: 2048 / 768."""

TINY = 1e-4
"""RLPrompt's start: Xavier with this gain, and minus this as the bias of the last layer, so that Q is nearly 0 everywhere."""


class FrozenHead:
    """A frozen LM's output layer over the actions: states (..., d) to logits (..., A).

    It is no module: it has no parameters, is never trained, and a copy that was saved has no weights. `bind` gives them back.

    Args:
        lm: the policy LM.
        columns: token ids of the actions, (A,).
        fluent: how many actions are left at each step, those most probable to the LM itself; None for all.
    """

    def __init__(self, lm: FrozenLM, columns: Tensor, fluent: int | None = None) -> None:
        output = lm.model.get_output_embeddings()
        bias = getattr(output, "bias", None)
        self.fluent = fluent
        self._weight: Tensor | None = output.weight.detach()[columns].float()
        self._bias: Tensor | None = None if bias is None else bias.detach()[columns].float()

    def __call__(self, states: Tensor) -> Tensor:
        """Logits of states as the LM has them, (..., A)."""
        if self._weight is None:
            raise RequestError("the frozen LM is not in a checkpoint: load it with the environment it was trained in, env=...")
        weight, bias = self._weight.to(states), None if self._bias is None else self._bias.to(states)
        return nn.functional.linear(states, weight, bias)

    def bind(self, other: "FrozenHead") -> None:
        """Take the weights of another one."""
        self._weight, self._bias = other._weight, other._bias

    def masked(self, logits: Tensor, states: Tensor) -> Tensor:
        """The logits of the `fluent` actions that the LM itself finds most probable after `states`; -inf elsewhere."""
        if self.fluent is None or self.fluent >= logits.shape[-1]:
            return logits
        return _only(logits, self(states).topk(self.fluent, -1).indices)

    def __getstate__(self) -> dict[str, Any]:
        return {"fluent": self.fluent, "_weight": None, "_bias": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenHead":
        return self


class HeadNet(nn.Module):
    """RLPrompt's network: states (B, d) to one value per action (B, A), in the units of the LM's logits.

    Args:
        width: d.
        head: the frozen output layer.
        hidden: h; by default 8/3 of d.
        bias: added to all values, as RLPrompt does for style transfer (-10).
    """

    def __init__(self, width: int, head: FrozenHead, hidden: int | None = None, bias: float = 0.0) -> None:
        super().__init__()
        hidden = hidden or round(width * WIDTH)
        layers = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, gain=TINY)
            nn.init.constant_(layer.bias, -TINY)
        self.mlp = nn.Sequential(layers[0], nn.ReLU(), layers[1])
        self.head, self.bias = head, bias

    def forward(self, states: Tensor) -> Tensor:
        """Values (B, A); -inf for actions that are masked out."""
        return self.head.masked(self.head(self.mlp(states)) + self.bias, states)


class SoftQPolicy(BasePolicy):
    """Q and a slow copy of it: pi(a | s) is the softmax of Q(s, .) over its top k, and the best of Q when deterministic.

    Args:
        observation_space, action_space, lr_schedule: as stable-baselines3 gives them.
        head: with it RLPrompt's network, without it a network of one hidden layer.
        hidden: the hidden layer's width; by default 8/3 of d with a head, else 64.
        bias: see `HeadNet`.
        top_k: how many actions may be sampled; None for all.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Any,
        head: FrozenHead | None = None,
        hidden: int | None = None,
        bias: float = 0.0,
        top_k: int | None = 256,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.top_k = top_k
        self.q_net = self._net(head, hidden, bias)
        self.q_net_target = self._net(head, hidden, bias).requires_grad_(False)
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.optimizer = torch.optim.Adam(self.q_net.parameters(), lr=lr_schedule(1))

    def _net(self, head: FrozenHead | None, hidden: int | None, bias: float) -> nn.Module:
        assert isinstance(self.action_space, spaces.Discrete) and self.observation_space.shape is not None
        width, actions = self.observation_space.shape[0], int(self.action_space.n)
        if head is not None:
            return HeadNet(width, head, hidden, bias)
        last = nn.Linear(hidden or 64, actions)
        nn.init.xavier_uniform_(last.weight, gain=TINY)
        nn.init.constant_(last.bias, bias)
        return nn.Sequential(nn.Linear(width, hidden or 64), nn.Tanh(), last)

    def get_distribution(self, obs: Tensor) -> CategoricalDistribution:
        """What is sampled from: the softmax of Q over its top k."""
        values = self.q_net(obs)
        if self.top_k is not None and self.top_k < values.shape[-1]:
            values = _only(values, values.topk(self.top_k, -1).indices)
        return CategoricalDistribution(values.shape[-1]).proba_distribution(values)

    def forward(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """Actions (B,)."""
        return self._predict(obs, deterministic)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:
        return self.get_distribution(observation).get_actions(deterministic)


class HeadActorCriticPolicy(ActorCriticPolicy):
    """RLPrompt's network as the actor of PPO or A2C, and a network of one hidden layer as the critic.

    Args:
        head: the frozen output layer; by keyword, in `policy_kwargs`.
        hidden: width of the actor's hidden layer; by default 8/3 of d.

    Example:
        >>> from stable_baselines3 import A2C     # doctest: +SKIP
        >>> A2C(HeadActorCriticPolicy, env, policy_kwargs={"head": space.head})     # doctest: +SKIP
    """

    def __init__(self, *args: Any, head: FrozenHead, hidden: int | None = None, **kwargs: Any) -> None:
        self._head, self._hidden = head, hidden
        super().__init__(*args, **{"net_arch": {"pi": [], "vf": [64]}, **kwargs})

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = HeadNet(self.features_dim, self._head, self._hidden).to(self.device)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


def _only(values: Tensor, kept: Tensor) -> Tensor:
    return torch.full_like(values, -np.inf).scatter(-1, kept, values.gather(-1, kept))
