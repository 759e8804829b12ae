"""Policies for stable-baselines3: a small network, or RLPrompt's network, which ends in a frozen LM's output layer.

RLPrompt (Deng et al. 2022): last hidden state of the LM -> Linear(d, h) -> ReLU -> Linear(h, d) -> the LM's output layer. For
distilGPT-2, d = 768 and h = 2048; for other models h / d is the same. Only the two linear layers are trained and saved.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor, nn

from hardprompt.lm import FrozenLM

WIDTH = 8 / 3
"""The default of h / d: 2048 / 768."""

TINY = 1e-4
"""RLPrompt's initialization: Xavier with this gain for weights, minus this value for biases, so that Q is nearly 0 at first."""

BLOCK = 2**18
"""The number of logits that are handled at once, 1 MB in float32, which fits into the cache of a processor."""

MAX_STATES = 2**12
"""The likely actions are kept for about this many states, which need 9 MB for a width of 576."""


class FrozenHead:
    """A frozen LM's output layer over the actions: states (..., d) to logits (..., A).

    It is not a module, so its weights are neither trained nor part of a policy's state.

    Args:
        lm: the policy LM.
        columns: token ids of the actions, (A,).
        fluent: the number of actions that are kept at each step; None keeps all.
        ends: whether the last action ends a prompt. It is then one of those that are kept at each step.
        end_bias: a constant that is added to the logit of the last action.
    """

    def __init__(
        self, lm: FrozenLM, columns: Tensor, fluent: int | None = None, ends: bool = False, end_bias: float = 0.0
    ) -> None:
        output = lm.model.get_output_embeddings()
        bias = getattr(output, "bias", None)
        self.fluent, self._ends = fluent, ends
        self._likely: dict[bytes, Tensor] = {}
        self._weight: Tensor = output.weight.detach()[columns].float()
        self._bias: Tensor | None = None if bias is None else bias.detach()[columns].float()
        if end_bias:
            self._bias = torch.zeros(len(columns), device=self._weight.device) if self._bias is None else self._bias
            self._bias[-1] += end_bias

    @property
    def size(self) -> int:
        """The number of actions."""
        return len(self._weight)

    def __call__(self, states: Tensor) -> Tensor:
        """The LM's logits after hidden states, (..., A)."""
        self._move_to(states.device)
        return nn.functional.linear(states, self._weight, self._bias)

    def kept(self, outputs: Tensor, states: Tensor) -> tuple[Tensor, Tensor] | None:
        """The LM's logits after the network's `outputs` (B, d) of the `fluent` actions, (B, K), and their indices (B, K).

        These are the actions that the LM finds most probable after `states` (B, d), and the end action if there is one. None if
        all actions are kept.
        """
        if self.fluent is None or self.fluent >= self.size:
            return None
        kept = self._likely_after(states, self.fluent)
        values = torch.einsum("bkd,bd->bk", self._weight[kept], outputs)
        return values if self._bias is None else values + self._bias[kept], kept

    def _likely_after(self, states: Tensor, count: int) -> Tensor:
        """The kept actions after each state, (B, count). Those of a state that was seen before are not computed again.

        So the update of a policy sees the same actions for a state as the rollout, whatever the rounding.
        """
        keys = [row.tobytes() for row in states.detach().cpu().numpy()]
        if len(self._likely) > MAX_STATES:
            self._likely.clear()
        if new := [place for place, key in enumerate(keys) if key not in self._likely]:
            logits = self(states[new])
            if self._ends:
                logits[:, -1] = torch.inf
            found = logits.topk(count, -1).indices
            self._likely |= {keys[place]: actions for place, actions in zip(new, found, strict=True)}
        return torch.stack([self._likely[key] for key in keys])

    def _move_to(self, device: torch.device) -> None:
        if self._weight.device != device:
            self._weight = self._weight.to(device)
            self._bias = None if self._bias is None else self._bias.to(device)


class HeadNet(nn.Module):
    """RLPrompt's network: hidden states (B, d) to one value per action (B, A), on the scale of the LM's logits.

    Args:
        width: d.
        head: the frozen output layer.
        hidden: h; by default 8/3 of d.
        bias: a constant that is added to all values; RLPrompt uses -10 for style transfer.
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
        """Values (B, A); -inf for all but the fluent actions."""
        if (found := self.kept(states)) is None:
            return self.head(self.mlp(states)) + self.bias
        values, kept = found
        return _all_actions(values, kept, self.head.size)

    def kept(self, states: Tensor) -> tuple[Tensor, Tensor] | None:
        """The values of the fluent actions (B, K) and their indices (B, K); None if all actions are kept."""
        found = self.head.kept(self.mlp(states), states)
        return None if found is None else (found[0] + self.bias, found[1])


class SoftQPolicy(BasePolicy):
    """A Q network and a target network. pi(a | s) is the softmax of Q(s, .) over the top k; deterministic actions are argmax Q.

    Args:
        observation_space, action_space, lr_schedule: as in stable-baselines3.
        head: the frozen output layer of RLPrompt's network; None for a network with one hidden layer.
        hidden: width of the hidden layer; by default 8/3 of d with a head, else 64.
        bias: see `HeadNet`.
        top_k: the number of actions that can be sampled, those with the highest Q; None for all.
        end_bias: without a head, a constant that is added to the initial value of the last action.
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
        end_bias: float = 0.0,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.top_k = top_k
        self.q_net = self._net(head, hidden, bias, end_bias)
        self.q_net_target = self._net(head, hidden, bias, end_bias).requires_grad_(False)
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.optimizer = torch.optim.Adam(self.q_net.parameters(), lr=lr_schedule(1))

    def _net(self, head: FrozenHead | None, hidden: int | None, bias: float, end_bias: float) -> nn.Module:
        assert isinstance(self.action_space, spaces.Discrete) and self.observation_space.shape is not None
        width, actions = self.observation_space.shape[0], int(self.action_space.n)
        if head is not None:
            return HeadNet(width, head, hidden, bias)
        last = nn.Linear(hidden or 64, actions)
        nn.init.xavier_uniform_(last.weight, gain=TINY)
        nn.init.constant_(last.bias, bias)
        last.bias.data[-1] += end_bias
        return nn.Sequential(nn.Linear(width, hidden or 64), nn.Tanh(), last)

    def get_distribution(self, obs: Tensor) -> CategoricalDistribution:
        """The distribution of actions: the softmax of Q over the top k actions."""
        values = self.q_net(obs)
        if self.top_k is not None and self.top_k < values.shape[-1]:
            highest = values.topk(self.top_k, -1)
            values = _all_actions(highest.values, highest.indices, values.shape[-1])
        return CategoricalDistribution(values.shape[-1]).proba_distribution(values)

    def forward(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """Actions (B,)."""
        return self._predict(obs, deterministic)

    def _predict(self, observation: Tensor, deterministic: bool = False) -> Tensor:
        return self.get_distribution(observation).get_actions(deterministic)


class TokenActorCriticPolicy(ActorCriticPolicy):
    """The actor and critic of stable-baselines3, with a faster update for tens of thousands of actions.

    The log-probabilities and the entropy are those of `torch.distributions.Categorical`, up to rounding.
    """

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, 1), log-probabilities of the actions (B,) and entropies (B,)."""
        actor, critic = self.mlp_extractor(self.extract_features(obs))
        return self.value_net(critic), *self._log_prob_and_entropy(actor, actions.long().flatten())

    def _log_prob_and_entropy(self, actor: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return log_prob_and_entropy(self.action_net(actor), actions)


class HeadActorCriticPolicy(TokenActorCriticPolicy):
    """RLPrompt's network as the actor of PPO or A2C, with a network of one hidden layer as the critic.

    Args:
        head: the frozen output layer, given in `policy_kwargs`.
        hidden: width of the actor's hidden layer; by default 8/3 of d.

    Example:
        >>> import gymnasium, hardprompt.policies
        >>> from stable_baselines3 import A2C
        >>> env = gymnasium.make("hardprompt/Prompt-v0", task="plural", prompt_length=2, observation="state")
        >>> A2C(HeadActorCriticPolicy, env, n_steps=2, policy_kwargs={"head": env.unwrapped.head}).learn(4).num_timesteps
        4
    """

    def __init__(self, *args: Any, head: FrozenHead, hidden: int | None = None, **kwargs: Any) -> None:
        self._head, self._hidden = head, hidden
        super().__init__(*args, **{"net_arch": {"pi": [], "vf": [64]}, **kwargs})

    def _build(self, lr_schedule: Any) -> None:
        self.action_dist = _WithoutNet(self._head.size)
        super()._build(lr_schedule)
        self.action_net = HeadNet(self.features_dim, self._head, self._hidden).to(self.device)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _log_prob_and_entropy(self, actor: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """As for all actions; an action that is not among the fluent ones has the log-probability -inf."""
        if (found := self.action_net.kept(actor)) is None:
            return super()._log_prob_and_entropy(actor, actions)
        values, kept = found
        is_action = kept == actions[:, None]
        log_probs, entropies = log_prob_and_entropy(values, is_action.int().argmax(-1))
        return log_probs.where(is_action.any(-1), -torch.inf), entropies


class _WithoutNet(CategoricalDistribution):
    """A distribution whose policy brings its own network, so that no layer over all actions is created and initialized."""

    def proba_distribution_net(self, latent_dim: int) -> nn.Module:
        return nn.Identity()


def log_prob_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """log p(a) and the entropy -sum_a p(a) log p(a) of p = softmax(logits), in nats.

    Args:
        logits: (B, A), finite.
        actions: indices (B,).

    Returns:
        Two tensors (B,).
    """
    return _LogProbAndEntropy.apply(logits, actions)


class _LogProbAndEntropy(torch.autograd.Function):
    """Both values and their gradients, in blocks of rows that stay in the processor's cache."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        normalizers = logits.logsumexp(-1)
        log_probs = logits.gather(-1, actions[:, None])[:, 0] - normalizers
        entropies = torch.empty_like(log_probs)
        for rows in _blocks(logits):
            log_p = logits[rows] - normalizers[rows, None]
            entropies[rows] = -torch.linalg.vecdot(log_p.exp(), log_p)
        ctx.save_for_backward(logits, actions, normalizers, entropies)
        return log_probs, entropies

    @staticmethod
    def backward(ctx: Any, by_log_prob: Tensor, by_entropy: Tensor) -> tuple[Tensor, None]:
        """d log p(a) / d logit_j = [j = a] - p_j, and d H / d logit_j = -p_j (log p_j + H)."""
        logits, actions, normalizers, entropies = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for rows in _blocks(logits):
            log_p = logits[rows] - normalizers[rows, None]
            constant = by_log_prob[rows] + by_entropy[rows] * entropies[rows]
            slope = torch.addcmul(constant[:, None], log_p, by_entropy[rows, None])
            gradient[rows] = log_p.exp_().mul_(slope).neg_()
        gradient.scatter_add_(-1, actions[:, None], by_log_prob[:, None])
        return gradient, None


def _blocks(logits: Tensor) -> list[slice]:
    count = max(1, BLOCK // logits.shape[-1])
    return [slice(start, start + count) for start in range(0, len(logits), count)]


def _all_actions(values: Tensor, kept: Tensor, count: int) -> Tensor:
    """The values (..., K) of the kept actions (..., K) among all, (..., count); -inf for the others."""
    return values.new_full((*values.shape[:-1], count), -np.inf).scatter(-1, kept, values)
