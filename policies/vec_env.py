"""The environment for many prompts: a `VecEnv` of stable-baselines3 that scores all finished prompts in one call.

The vector environments of stable-baselines3 step their members one by one, so that rewards would not be computed in batches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from .reward import Reward
from .space import PromptSpace


class PromptVecEnv(VecEnv):
    """`num_envs` prompts that begin together and are rewarded together.

    A prompt that ends before the others waits for them. Its further steps have `waiting` in their info, and its reward is that
    of the step in which the last prompt ends.

    Args:
        space: the prompts that can be written.
        reward: the rewards as a function of the finished prompts (token ids of the task LM).
        num_envs: the number P of prompts.
        draw: for prompts for single inputs, a function of P that returns the indices of the train examples of the next prompts.

    Attributes:
        finished: the last P finished prompts as actions, (P, L).
        observed: their observations, (T, P, d).
    """

    def __init__(
        self,
        space: PromptSpace,
        reward: Callable[[list[list[int]]], Reward],
        num_envs: int,
        draw: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.render_mode = None
        self.space = space
        self.head = space.head
        self.fingerprint = space.fingerprint
        self.finished = np.zeros((num_envs, 0), dtype=np.int64)
        self.observed = np.zeros((0, num_envs, *space.observation_space.shape), dtype=np.float32)
        self.inputs: Sequence[int] = ()
        self._reward, self._draw = reward, draw
        self._rows = np.zeros((num_envs, 0), dtype=np.int64)
        self._actions = np.zeros(num_envs, dtype=np.int64)
        self._seen: list[np.ndarray] = []
        self._sources: list[list[int]] | None = None
        super().__init__(num_envs, space.observation_space, space.action_space)

    def reset(self) -> np.ndarray:
        """Start new prompts."""
        self._rows = np.zeros((self.num_envs, 0), dtype=np.int64)
        if self._draw is not None:
            self.inputs = self._draw(self.num_envs)
            self._sources = self.space.sources(self.inputs)
        self._seen = [self.space.observe(self._rows, self._sources)]
        return self._seen[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Append a token to every prompt. If all are finished, return their rewards and start new prompts."""
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if self._rows.shape[1]:
            for place in np.flatnonzero(self.space.finished(self._rows)):
                infos[place]["waiting"] = True
        self._rows = np.concatenate([self._rows, self._actions[:, None]], axis=1)
        if not self.space.finished(self._rows).all():
            self._seen.append(self.space.observe(self._rows, self._sources))
            return self._seen[-1], np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool), infos
        self.finished, self.observed = self._rows, np.stack(self._seen)
        prompts = self.space.prompts(self._rows)
        reward = self._reward(prompts)
        last = self.space.observe(self._rows, self._sources)
        for i, info in enumerate(infos):
            info["terminal_observation"] = last[i]
            info["TimeLimit.truncated"] = False
            info["prompt_ids"] = prompts[i]
            info |= {name: float(values[i]) for name, values in reward.parts.items()}
        return self.reset(), reward.value.astype(np.float32), np.ones(self.num_envs, bool), infos

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of this environment, repeated for every prompt."""
        return [getattr(self, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of this environment."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of this environment once, and repeat its result for every prompt."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """False for every prompt, since there are no single environments."""
        return [False] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
