"""The optimizer `rl`: SB3's PPO on a policy that emits the prompt token by token.

One rollout is a batch of prompts, each one episode, rewarded together. The reward is minus the shared objective, normalized
within its batch as RLPrompt does; the best prompt of each rollout is shown to the problem, which scores it on dev.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat, PositiveInt

from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer

from .options import SearchConfig
from .reward import check_reward

if TYPE_CHECKING:
    from .search import Watch
    from .vec_env import PromptVecEnv


class PpoConfig(SearchConfig):
    """Options of the RL optimizer, beside those of every search here.

    Attributes:
        observation: "light" (the position and the last token, without an LM) or "state" (the policy LM's last hidden state; the
            policy is then RLPrompt's network).
        entropy: weight of the entropy bonus at the start, annealed linearly to zero at the end of the run. Without it the
            policy settles on a handful of words within a quarter of the budget.
        hidden: width of the one hidden layer; by default 64, with "state" 8/3 of the LM's.
    """

    observation: Literal["light", "state"] = "light"
    learning_rate: NonNegativeFloat = 0.01
    epochs: PositiveInt = 4
    entropy: NonNegativeFloat = 0.1
    clip_range: NonNegativeFloat = 0.2
    hidden: PositiveInt | None = None


@optimizer("rl", config=PpoConfig, check=lambda problem, config: check_reward(problem, config.reward))
def rl(problem: Problem, config: PpoConfig) -> FinalPrompts:
    """An RL policy (PPO) that emits the prompt token by token and is rewarded at its end."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from .networks import HeadActorCriticPolicy
    from .search import search

    length = problem.prompt_length

    def make(env: "PromptVecEnv") -> PPO:
        light = {"net_arch": {"pi": [config.hidden or 64], "vf": [config.hidden or 64]}}
        kwargs: dict[str, Any] = light if env.head is None else {"head": env.head, "hidden": config.hidden}
        return PPO(
            "MlpPolicy" if env.head is None else HeadActorCriticPolicy,
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

    class Anneal(BaseCallback):
        """Anneals the entropy bonus over the run."""

        def __init__(self, watch: "Watch") -> None:
            super().__init__()
            self._watch = watch

        def _on_rollout_start(self) -> None:
            self.model.ent_coef = config.entropy * (1 - self._watch.done)

        def _on_step(self) -> bool:
            return True

    return search(problem, config, make, config.observation, callbacks=lambda watch: [Anneal(watch)])
