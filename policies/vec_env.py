"""Many prompts at once: a stable-baselines3 `VecEnv` that scores all finished prompts in one call.

SB3's own vector environments step their members one by one, so a language model's reward would run unbatched.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from hardprompt.optimizers.base import Problem

from .env import Observer
from .reward import RewardFunction


class PromptVecEnv(VecEnv):
    """`num_envs` prompts of one length, emitted in step and rewarded together.

    Args:
        problem: gives the allowed tokens, the prompt's length and the embeddings that are observed.
        reward: from finished prompts (P, L) to their rewards.
        num_envs: P.
    """

    def __init__(self, problem: Problem, reward: RewardFunction, num_envs: int) -> None:
        self.render_mode = None
        self._problem = problem
        self._reward = reward
        self._observer = Observer(problem)
        self._rows = np.zeros((num_envs, 0), dtype=np.int64)
        self._actions = np.zeros(num_envs, dtype=np.int64)
        super().__init__(num_envs, self._observer.space, spaces.Discrete(len(problem.allowed)))

    def reset(self) -> np.ndarray:
        """Start all prompts anew."""
        self._rows = np.zeros((self.num_envs, 0), dtype=np.int64)
        return self._observer(self._rows)

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the tokens that `step_wait` appends."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Append a token to every prompt; when they are full, reward them and start anew."""
        self._rows = np.concatenate([self._rows, self._actions[:, None]], axis=1)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if self._rows.shape[1] < self._problem.prompt_length:
            return self._observer(self._rows), np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool), infos
        ids = self._problem.allowed[torch.from_numpy(self._rows).to(self._problem.allowed.device)]
        reward = self._reward(ids)
        last = self._observer(self._rows)
        for i, info in enumerate(infos):
            info["terminal_observation"] = last[i]
            info["TimeLimit.truncated"] = False
            info["prompt_ids"] = ids[i].tolist()
            info |= {name: float(values[i]) for name, values in reward.parts.items()}
        return self.reset(), reward.value.astype(np.float32), np.ones(self.num_envs, bool), infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same attribute for every prompt: there is one environment."""
        return [getattr(self, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the one environment."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the one environment."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No single environment is wrapped."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
