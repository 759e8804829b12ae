"""The search that the RL optimizers share: a stable-baselines3 algorithm, the learning curve, and the stopping rules."""

import math
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

from .networks import TokenActorCriticPolicy
from .options import SearchConfig
from .reward import Reward, loaded_reward, normalized, prompt_reward
from .space import Observation, PromptSpace
from .vec_env import PromptVecEnv

MAX_STEPS = 10**12
"""Steps of a search that is ended by its budget."""

DEFAULT_EPISODES = 4096
"""Number of prompts without a budget."""

FINAL_SHARE = 0.1
"""The share of all prompts, the last ones, that a search returns as its final prompts."""


FEW_ROLLOUTS = 15
"""A search with fewer rollouts than this is short (`runs/log.md` says how the number was set)."""

SCORED_IN_SHORT_SEARCH = 4
"""Number of prompts of each rollout that a short search scores on dev by default. A longer search scores one."""


def search(
    problem: Problem,
    config: SearchConfig,
    make: Callable[[PromptVecEnv], BaseAlgorithm],
    observation: Observation,
    shape: Callable[[np.ndarray], np.ndarray] = lambda rewards: rewards,
    callbacks: Callable[["SearchCallback"], list[BaseCallback]] = lambda monitor: [],
    sampled: int | None = None,
) -> FinalPrompts:
    """Train an algorithm on a problem, and score the best prompts of each rollout on dev.

    Args:
        problem: the problem.
        config: the options.
        make: creates the algorithm for an environment.
        observation: what the policy observes.
        shape: a function of the rewards of a rollout, applied after the z-score.
        callbacks: creates further callbacks.
        sampled: as in `PromptSpace`.

    Returns:
        The last tenth of the prompts that were written, and at the end the greedy prompt.
    """
    space = prompt_space(problem, config, observation, sampled)
    with _isolated_randomness(problem.lm.device):
        monitor = SearchCallback(problem, config, space, shape)
        model = make(PromptVecEnv(space, monitor.reward, config.rollout))
        if config.log:
            where = Path(config.log) / f"{problem.task.name}-{problem.task.split}-w{problem.weight:g}-{problem.seed}"
            model.set_logger(configure(str(where), ["csv", *["tensorboard"] * (find_spec("tensorboard") is not None)]))
        steps = monitor.limit * space.length if monitor.limit and not space.end else MAX_STEPS
        model.learn(steps, callback=[monitor, *callbacks(monitor)], log_interval=1)
        if config.log:
            model.logger.close()
        final = greedy(model, space)
    problem.score_on_dev([final])
    last = max(1, round(FINAL_SHARE * len(monitor.prompts)))
    return [*monitor.prompts[-last:], final]


def prompt_space(problem: Problem, config: SearchConfig, observation: Observation, sampled: int | None = None) -> PromptSpace:
    """The prompts that the policy can write; a RequestError if there are none."""
    if problem.length_weight:
        problem.resolved_options["end"] = True
    policy_lm = load_lm(config.policy_lm, device=str(problem.lm.device)) if config.policy_lm else None
    return PromptSpace(
        problem,
        policy_lm=policy_lm,
        observation=observation,
        fluent=config.fluent,
        label_words=config.label_words,
        sampled=sampled,
        end=config.end,
    )


def greedy(model: BaseAlgorithm, space: PromptSpace) -> list[int]:
    """The prompt of a policy that takes its best action at every step, as token ids of the task LM."""
    rows = np.zeros((1, 0), dtype=np.int64)
    while rows.shape[1] == 0 or not space.finished(rows)[0]:
        action, _ = model.predict(space.observe(rows), deterministic=True)
        rows = np.concatenate([rows, action[:, None]], axis=1)
    return space.prompts(rows)[0]


class SearchCallback(BaseCallback):
    """Computes rewards, scores the best prompts of each rollout on dev, records the learning curve and stops the search.

    The values of the learning curve, for each rollout: `reward` and `reward_std` (mean and standard deviation before any
    normalization), `train_accuracy`, `prompt_nll` (nats per token), `nll_share` (`Reward.nll_share`), `entropy` (of the policy,
    nats per token), `kl_to_lm` (KL divergence of the policy from the task LM, in nats per token: mean prompt NLL minus entropy,
    which is unbiased if the policy writes tokens of the task LM), `prompt_tokens` (mean length, with a length
    weight), `distinct_tokens`, `repeated` (share of prompts that repeat a single token), `crossing_loss`
    (`PromptSpace.crossing_loss`) and `best` (lowest objective on dev so far).

    Args:
        problem, config: the problem and the options.
        space: the prompts that can be written.
        shape: a function of the rewards of a rollout, applied after the z-score.

    Attributes:
        prompts: all prompts so far.
        limit: the number of prompts after which the search ends; None if only the budget ends it.
    """

    def __init__(
        self, problem: Problem, config: SearchConfig, space: PromptSpace, shape: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        super().__init__()
        self.prompts: list[list[int]] = []
        self.limit = config.episodes or (DEFAULT_EPISODES if problem.lm_tokens is None else None)
        self._problem, self._config, self._space, self._shape = problem, config, space, shape
        self._scored = config.scored
        self._reward = loaded_reward(config.reward)
        self._begun = problem.spent
        self._pending: tuple[list[list[int]], Reward] | None = None
        self._rollouts_without_gain = 0
        self._deadline = time.monotonic() + config.timeout if config.timeout else None

    @property
    def done(self) -> float:
        """The finished share of the search, by prompts or by the budget."""
        return self._problem.share_done(len(self.prompts) / self.limit if self.limit else 0.0)

    def reward(self, prompts: list[list[int]]) -> Reward:
        """The rewards that the algorithm learns from: with z-scores and shaping, as configured."""
        chosen = self._problem.batch(self._config.examples) if self._config.examples else None
        raw = prompt_reward(self._problem, prompts, self._reward, chosen)
        self.prompts.extend(prompts)
        highest = np.argsort(-raw.value, kind="stable")
        known = self._problem.best
        self._problem.score_on_dev([prompts[highest[0]]])
        if self._scored is None:
            self._scored = SCORED_IN_SHORT_SEARCH if self._expected_rollouts < FEW_ROLLOUTS else 1
            self._problem.resolved_options["scored"] = self._scored
        if more := highest[1 : self._scored].tolist():
            self._problem.score_on_dev([prompts[i] for i in more])
        self._rollouts_without_gain = 0 if self._problem.best is not known else self._rollouts_without_gain + 1
        self._pending = prompts, raw
        learned = normalized(raw.value) if self._config.zscore else raw.value
        return Reward(self._shape(learned).astype(np.float32), raw.parts)

    @property
    def _expected_rollouts(self) -> float:
        """The number of rollouts of the search, as known in the first of them: by the prompts, or by what this one has cost.

        The cost includes the score of its best prompt on dev.
        """
        by_prompts = self.limit / self._config.rollout if self.limit else math.inf
        budget = self._problem.lm_tokens
        return min(by_prompts, budget / max(1, self._problem.spent - self._begun) if budget else math.inf)

    def _on_step(self) -> bool:
        if self._pending is not None:
            values = self._values(*self._pending)
            self._pending = None
            self._problem.note(len(self.prompts) / self.limit if self.limit else 0.0, **values)
            for name, value in values.items():
                self.logger.record(f"prompt/{name}", value)
            self.logger.record("prompt/lm_tokens", self._problem.spent)
        no_gain = self._config.patience is not None and self._rollouts_without_gain >= self._config.patience
        late = self._deadline is not None and bool(self.prompts) and time.monotonic() >= self._deadline
        enough = self._space.end and self.limit is not None and len(self.prompts) >= self.limit
        return not (self._problem.exhausted or no_gain or late or enough)

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
            "prompt_tokens": float(np.mean([len(prompt) for prompt in prompts])) if self._problem.length_weight else np.nan,
            "distinct_tokens": float(len({token for prompt in prompts for token in prompt})),
            "repeated": float(np.mean([len(prompt) > 1 and len(set(prompt)) == 1 for prompt in prompts])),
            "crossing_loss": self._space.crossing_loss(rows),
            "best": self._problem.best.dev_objective,
        }
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def _entropy(self, rows: np.ndarray, observed: np.ndarray) -> float:
        """Mean entropy of the policy over the steps of a rollout, in nats per token."""
        ended = self._space.ended(rows).T[: len(observed)]
        is_step = np.concatenate([np.ones((1, len(rows)), dtype=bool), ~ended[:-1]])
        policy = self.model.policy
        with torch.no_grad():
            seen = torch.from_numpy(observed[is_step]).to(policy.device)
            if isinstance(policy, TokenActorCriticPolicy):
                return float(policy.evaluate_actions(seen, torch.zeros(len(seen)))[2].mean())
            return float(policy.get_distribution(seen).entropy().mean())


def _mean(values: np.ndarray) -> float:
    known: Sequence[float] = values[np.isfinite(values)]
    return float(np.mean(known)) if len(known) else np.nan


@contextmanager
def _isolated_randomness(device: torch.device) -> Iterator[None]:
    """Restore the global random generators of Python, NumPy and torch, which stable-baselines3 seeds."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
