"""The optimizer `rl`: SB3's PPO on a small policy that emits the prompt token by token.

One rollout is a batch of prompts, each one episode, rewarded together. The reward is minus the shared objective, normalized
within its batch as RLPrompt does; the best prompt of each rollout is shown to the problem, which scores it on dev.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.objective import zscore
from hardprompt.optimizers.base import Config, Emitted, Problem, optimizer

from .reward import Reward, RewardName, prompt_reward

if TYPE_CHECKING:
    from stable_baselines3 import PPO

    from .env import Observer

_ENDLESS = 10**12  # steps; the budget ends the run
EMITTED_SHARE = 0.1
"""The last share of all rollouts stands for what the policy emits at its end."""


class PpoConfig(Config):
    """Options of the RL optimizer.

    Attributes:
        episodes: prompts that are emitted and scored in all; by default as many as the budget allows, or 4096 without one.
            Rounded up to whole rollouts.
        rollout: prompts per rollout, scored in one call.
        examples: train examples drawn per rollout, the same for all its prompts.
        reward: "objective" (nats) or "gap" (RLPrompt's, points; classification only).
        entropy: weight of the entropy bonus at the start, annealed linearly to zero at the end of the run. Without it the
            policy settles on a handful of words within a quarter of the budget.
        hidden: width of the policy's and the value function's one hidden layer.
    """

    episodes: PositiveInt | None = None
    rollout: Annotated[int, Field(ge=2)] = 64
    examples: PositiveInt = 4
    reward: RewardName = "objective"
    learning_rate: NonNegativeFloat = 0.01
    epochs: PositiveInt = 4
    entropy: NonNegativeFloat = 0.1
    clip_range: NonNegativeFloat = 0.2
    hidden: PositiveInt = 64


def _fits(problem: Problem, config: PpoConfig) -> None:
    if config.reward == "gap" and problem.task.kind != "classification":
        raise RequestError(f"rl.reward 'gap' needs label words, and task {problem.task.name} generates; use 'objective'")


@optimizer("rl", config=PpoConfig, check=_fits)
def rl(problem: Problem, config: PpoConfig) -> Emitted:
    """An RL policy (PPO) that emits the prompt token by token and is rewarded at its end."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from .env import Observer
    from .vec_env import PromptVecEnv

    emitted: list[list[int]] = []
    wanted = config.episodes or (4096 if problem.lm_tokens is None else None)

    def done() -> float:
        return len(emitted) / wanted if wanted else 0.0

    def reward(ids: Tensor) -> Reward:
        raw = prompt_reward(problem, ids, config.reward, problem.batch(config.examples))
        emitted.extend(ids.tolist())
        best = int(raw.value.argmax())
        problem.visit(ids[best : best + 1])
        problem.note(
            done(),
            reward=float(raw.value.mean()),
            train_accuracy=float(raw.parts["accuracy"].mean()),
            prompt_nll=float(raw.parts["prompt_nll"].mean()),
            distinct_tokens=float(len(set(ids.flatten().tolist()))),
        )
        return Reward(zscore(torch.from_numpy(raw.value)).numpy(), raw.parts)

    class Schedule(BaseCallback):
        """Anneals the entropy bonus over the run, and ends it when the budget is spent."""

        def _on_rollout_start(self) -> None:
            self.model.ent_coef = config.entropy * (1 - problem.share_done(done()))

        def _on_step(self) -> bool:
            return not problem.exhausted

    length = problem.prompt_length
    with _isolated_randomness():
        env = PromptVecEnv(problem, reward, config.rollout)
        model = PPO(
            "MlpPolicy",
            env,
            learning_rate=config.learning_rate,
            n_steps=length,
            batch_size=config.rollout * length,
            n_epochs=config.epochs,
            gamma=1.0,
            gae_lambda=1.0,
            ent_coef=config.entropy,
            clip_range=config.clip_range,
            policy_kwargs={"net_arch": {"pi": [config.hidden], "vf": [config.hidden]}},
            seed=problem.seed,
            device="cpu",
        )
        model.learn(wanted * length if wanted else _ENDLESS, callback=Schedule())
        final = _greedy(model, Observer(problem), problem)
    problem.visit([final])
    last = max(1, round(EMITTED_SHARE * len(emitted)))
    return [*emitted[-last:], final]


def _greedy(model: "PPO", observer: "Observer", problem: Problem) -> list[int]:
    """The prompt that the policy emits when it takes its most probable token at every step."""
    rows = np.zeros((1, 0), dtype=np.int64)
    for _ in range(problem.prompt_length):
        action, _ = model.predict(observer(rows), deterministic=True)
        rows = np.concatenate([rows, action[:, None]], axis=1)
    return problem.allowed[torch.from_numpy(rows[0]).to(problem.allowed.device)].tolist()


@contextmanager
def _isolated_randomness() -> Iterator[None]:
    """SB3 seeds the global generators of Python, NumPy and torch; give them back as they were."""
    import random

    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
