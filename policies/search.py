"""From a stable-baselines3 algorithm to an optimizer: rollouts of prompts, what is noted of them, and when it ends."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from hardprompt.lm import load_lm
from hardprompt.optimizers.base import FinalPrompts, Problem

from .options import SearchConfig
from .reward import Reward, normalized, prompt_reward
from .space import Observation, PromptSpace
from .vec_env import PromptVecEnv

ENDLESS = 10**12  # steps; the budget ends the run
UNLIMITED = 4096  # prompts, where there is neither a budget nor a number of them
EMITTED_SHARE = 0.1
"""The last share of all rollouts stands for what the policy emits at its end."""


def search(
    problem: Problem,
    config: SearchConfig,
    make: Callable[[PromptVecEnv], BaseAlgorithm],
    observation: Observation,
    shape: Callable[[np.ndarray], np.ndarray] = lambda rewards: rewards,
    callbacks: Callable[["Watch"], list[BaseCallback]] = lambda watch: [],
) -> FinalPrompts:
    """Let an algorithm write prompts for a problem until its end, and show the best of each rollout to dev.

    Args:
        problem: what is to be solved.
        config: how many prompts, how they are rewarded, when to stop.
        make: the algorithm on an environment.
        observation: what the policy sees.
        shape: applied to the rewards of a rollout after their z-score.
        callbacks: further ones.

    Returns:
        The last tenth of what was emitted, then what the policy emits when it takes its best action at every step.
    """
    space = prompt_space(problem, config, observation)
    with _isolated_randomness():
        watch = Watch(problem, config, space, shape)
        model = make(PromptVecEnv(space, watch.reward, config.rollout))
        if config.log:
            where = Path(config.log) / f"{problem.task.name}-{problem.task.split}-w{problem.weight:g}-{problem.seed}"
            model.set_logger(configure(str(where), ["csv", *["tensorboard"] * (find_spec("tensorboard") is not None)]))
        steps = watch.wanted * space.length if watch.wanted and not space.end else ENDLESS
        model.learn(steps, callback=[watch, *callbacks(watch)], log_interval=1)
        if config.log:
            model.logger.close()
        final = greedy(model, space)
    problem.score_on_dev([final])
    last = max(1, round(EMITTED_SHARE * len(watch.emitted)))
    return [*watch.emitted[-last:], final]


def prompt_space(problem: Problem, config: SearchConfig, observation: Observation) -> PromptSpace:
    """The prompts that may be written; RequestError where there are none."""
    writer = load_lm(config.policy_lm, device=str(problem.lm.device)) if config.policy_lm else None
    return PromptSpace(
        problem,
        policy_lm=writer,
        observation=observation,
        fluent=config.fluent,
        label_words=config.label_words,
        end=config.end,
    )


def greedy(model: BaseAlgorithm, space: PromptSpace) -> list[int]:
    """The prompt that a policy emits when it takes its best action at every step, as token ids of the task LM."""
    rows = np.zeros((1, 0), dtype=np.int64)
    while rows.shape[1] == 0 or not space.finished(rows)[0]:
        action, _ = model.predict(space.observe(rows), deterministic=True)
        rows = np.concatenate([rows, action[:, None]], axis=1)
    return space.prompts(rows)[0]


class Watch(BaseCallback):
    """Rewards rollouts, shows the best prompt of each to dev, notes the learning curve, and says when to stop.

    Noted per rollout: `reward` and `reward_std` (raw), `train_accuracy`, `prompt_nll` (nats per token), `nll_share` (of the
    reward's variance, `Reward.nll_share`), `entropy` (of the policy, nats per token), `kl_to_lm` (of the policy to the task LM,
    nats per token: mean prompt NLL minus entropy, without bias where the policy writes the task LM's tokens),
    `distinct_tokens`, `repeated` (share of prompts that are one token again and again), `crossing_loss` (share of prompts that
    do not survive the way between two vocabularies), `best` (lowest objective on dev so far).

    Attributes:
        emitted: all prompts so far.
        wanted: how many there are to be, or None if the budget says.
    """

    def __init__(
        self, problem: Problem, config: SearchConfig, space: PromptSpace, shape: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        super().__init__()
        self.emitted: list[list[int]] = []
        self.wanted = config.episodes or (UNLIMITED if problem.lm_tokens is None else None)
        self._problem, self._config, self._space, self._shape = problem, config, space, shape
        self._fresh: tuple[list[list[int]], Reward] | None = None
        self._stale = 0
        self._deadline = time.monotonic() + config.timeout if config.timeout else None

    @property
    def done(self) -> float:
        """The finished share of the run, by prompts or by the budget."""
        return self._problem.share_done(len(self.emitted) / self.wanted if self.wanted else 0.0)

    def reward(self, prompts: list[list[int]]) -> Reward:
        """The rewards that the algorithm learns from: as a rule their z-score within the rollout, and shaped."""
        chosen = self._problem.batch(self._config.examples) if self._config.examples else None
        raw = prompt_reward(self._problem, prompts, self._config.reward, chosen)
        self.emitted.extend(prompts)
        best = int(raw.value.argmax())
        known = self._problem.best
        self._problem.score_on_dev([prompts[best]])
        self._stale = 0 if self._problem.best is not known else self._stale + 1
        self._fresh = prompts, raw
        learnt = normalized(raw.value) if self._config.zscore else raw.value
        return Reward(self._shape(learnt).astype(np.float32), raw.parts)

    def _on_step(self) -> bool:
        if self._fresh is not None:
            values = self._values(*self._fresh)
            self._fresh = None
            self._problem.note(len(self.emitted) / self.wanted if self.wanted else 0.0, **values)
            for name, value in values.items():
                self.logger.record(f"prompt/{name}", value)
            self.logger.record("prompt/lm_tokens", self._problem.spent)
        tired = self._config.patience is not None and self._stale >= self._config.patience
        late = self._deadline is not None and bool(self.emitted) and time.monotonic() >= self._deadline
        enough = self._space.end and self.wanted is not None and len(self.emitted) >= self.wanted
        return not (self._problem.exhausted or tired or late or enough)

    def _values(self, prompts: list[list[int]], raw: Reward) -> dict[str, float]:
        assert self._problem.best is not None
        env: Any = self.training_env
        rows, entropy = env.finished, self._entropy(env.finished, env.observed)
        nll = raw.parts["prompt_nll"]
        values = {
            "reward": float(raw.value.mean()),
            "reward_std": float(raw.value.std()),
            "train_accuracy": float(raw.parts["accuracy"].mean()) if "accuracy" in raw.parts else np.nan,
            "prompt_nll": _mean(nll),
            "nll_share": raw.nll_share,
            "entropy": entropy,
            "kl_to_lm": _mean(nll) - entropy,
            "distinct_tokens": float(len({token for prompt in prompts for token in prompt})),
            "repeated": float(np.mean([len(set(prompt)) == 1 for prompt in prompts])) if self._space.length > 1 else 0.0,
            "crossing_loss": self._space.crossing_loss(rows),
            "best": self._problem.best.dev_objective,
        }
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def _entropy(self, rows: np.ndarray, observed: np.ndarray) -> float:
        """Mean over the steps that were taken."""
        ended = np.cumsum(rows == len(self._space.actions), axis=1).T[: len(observed)] > 0
        is_step = np.concatenate([np.ones((1, len(rows)), dtype=bool), ~ended[:-1]])
        policy = self.model.policy
        with torch.no_grad():
            seen = torch.from_numpy(observed[is_step]).to(policy.device)
            return float(policy.get_distribution(seen).entropy().mean())


def _mean(values: np.ndarray) -> float:
    known: Sequence[float] = values[np.isfinite(values)]
    return float(np.mean(known)) if len(known) else np.nan


@contextmanager
def _isolated_randomness() -> Iterator[None]:
    """SB3 seeds the global generators of Python, NumPy and torch; give them back as they were."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
