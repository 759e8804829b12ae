"""The optimizer `rl`: PPO of stable-baselines3 for a policy that writes the prompt token by token.

A rollout is a batch of prompts, one episode each, that are scored in one call. By default the reward is minus the objective,
z-scored within the rollout as in RLPrompt. The best prompts of each rollout are scored on dev.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat, PositiveInt

from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer

from .options import SearchConfig
from .reward import check_reward

if TYPE_CHECKING:
    from .search import SearchCallback
    from .vec_env import PromptVecEnv


MANY_TOKENS = 10_000
"""If more tokens than this are allowed, the policy writes only likely ones by default."""

LIKELY = 50
"""The default of `fluent` then (`runs/log.md` has the runs behind it)."""


class PpoConfig(SearchConfig):
    """Options of PPO."""

    observation: Literal["light", "state"] | None = None
    """What the policy observes: the position and the last token ("light"), or the last hidden state of the policy LM ("state").
    With "state" the policy is RLPrompt's network. The default is "light" for up to 10,000 allowed tokens. For more tokens it is
    "state", and `fluent` is then 50 by default, because a search is too short to try them all. "light" remains the default if
    the task LM cannot predict the next token, if `policy_lm` is given, or if a prompt can end early (`end`, or a length weight)
    and the model has no token for it."""

    learning_rate: NonNegativeFloat = 0.01
    """Learning rate of Adam, constant over the run."""

    epochs: PositiveInt = 4
    """Gradient steps on each rollout."""

    entropy: NonNegativeFloat = 0.1
    """Weight of the entropy bonus at the start, annealed linearly to zero at the end of the run. Without the bonus the policy
    converges to a few words within a quarter of the budget."""

    clip_range: NonNegativeFloat = 0.2
    """Range to which PPO clips the probability ratio (Schulman et al. 2017, epsilon)."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer. By default 64, and with observation="state" 8/3 of the width of the policy LM."""


@optimizer("rl", config=PpoConfig, check=lambda problem, config: check_reward(problem, config.reward))
def rl(problem: Problem, config: PpoConfig) -> FinalPrompts:
    """A policy that writes the prompt token by token, trained with PPO."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from .networks import HeadActorCriticPolicy, TokenActorCriticPolicy
    from .search import search

    config = _resolved(problem, config)
    length = problem.prompt_length

    def make(env: "PromptVecEnv") -> PPO:
        light = {"net_arch": {"pi": [config.hidden or 64], "vf": [config.hidden or 64]}}
        kwargs: dict[str, Any] = light if env.head is None else {"head": env.head, "hidden": config.hidden}
        model = PPO(
            TokenActorCriticPolicy if env.head is None else HeadActorCriticPolicy,
            env,
            learning_rate=config.learning_rate,
            n_steps=length,
            batch_size=config.rollout * length,
            n_epochs=config.epochs,
            gamma=1.0,
            gae_lambda=1.0,
            ent_coef=config.entropy,
            clip_range=config.clip_range,
            policy_kwargs=kwargs,
            seed=problem.seed,
            device="cpu",
        )
        if env.head is None:
            model.policy.action_net.bias.data[-1] += env.space.end_bias
        return model

    class Anneal(BaseCallback):
        """Anneals the entropy bonus over the run."""

        def __init__(self, monitor: "SearchCallback") -> None:
            super().__init__()
            self._search = monitor

        def _on_rollout_start(self) -> None:
            self.model.ent_coef = config.entropy * (1 - self._search.done)

        def _on_step(self) -> bool:
            return True

    assert config.observation is not None
    return search(problem, config, make, config.observation, callbacks=lambda monitor: [Anneal(monitor)])


def _resolved(problem: Problem, config: PpoConfig) -> PpoConfig:
    """The options with what the policy observes and may write."""
    if config.observation is not None:
        return config
    writes = problem.lm.kind == "causal" and config.policy_lm is None
    ends = not (config.end or problem.length_weight) or problem.lm.eos_id is not None
    many = len(problem.allowed) > MANY_TOKENS and writes and ends
    chosen = {"observation": "state", "fluent": config.fluent or LIKELY} if many else {"observation": "light"}
    problem.resolved_options |= chosen
    return config.model_copy(update=chosen)
