"""One prompt as an episode: the gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from hardprompt.catalogue import load_task
from hardprompt.lm.frozen import FrozenLM, load_lm
from hardprompt.optimizers.base import Problem
from hardprompt.task import Task

from .reward import RewardName, prompt_reward


class PromptEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Emit a prompt of fixed length, one token a step, and be rewarded for it at the end.

    ## Description
    A frozen language model is asked to solve a task under the prompt that the agent writes.

    ## Action Space
    `Discrete(A)`: a row of the allowed vocabulary, not a token id, so that no mask is needed.

    ## Observation Space
    `Box(-1, 1, (L + d,))`: the position one-hot (all zeros when the prompt is full), then the unit-length embedding of the
    last token (zeros at the start).

    ## Starting State
    The empty prompt.

    ## Reward
    0 before the last step, then minus the objective in nats, or the gap reward in points (`reward="gap"`), on all train
    examples.

    ## Episode End
    Terminated after `prompt_length` tokens; never truncated.

    ## Information
    At the end: `prompt_ids`, `prompt_text`, `accuracy` (fraction), `prompt_nll` (nats per token).

    ## Arguments
    task, lm: names or loaded objects. prompt_length, weight, vocabulary: as for every optimizer. reward: "objective" or "gap".

    ## References
    Deng et al. 2022, RLPrompt.

    ## Version History
    v0: first version.

    Example:
        >>> import gymnasium, hardprompt.policies
        >>> env = gymnasium.make("hardprompt/Prompt-v0", task="plural", prompt_length=3)
        >>> observation, info = env.reset(seed=0)
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (the attribute that gymnasium reads)

    def __init__(
        self,
        task: str | Task = "plural",
        lm: str | FrozenLM = "microworld",
        prompt_length: int = 5,
        weight: float = 0.0,
        vocabulary: str = "words",
        reward: RewardName = "objective",
        render_mode: str | None = None,
    ) -> None:
        self.problem = Problem(
            load_task(task) if isinstance(task, str) else task,
            load_lm(lm) if isinstance(lm, str) else lm,
            weight=weight,
            prompt_length=prompt_length,
            vocabulary=vocabulary,
        )
        self.reward_name = reward
        self.render_mode = render_mode
        self.observer = Observer(self.problem)
        self.action_space = spaces.Discrete(len(self.problem.allowed))
        self.observation_space = self.observer.space
        self._rows: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start with the empty prompt."""
        super().reset(seed=seed)
        self._rows = []
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Append one token; the reward comes with the last one."""
        self._rows.append(int(action))
        if len(self._rows) < self.problem.prompt_length:
            return self._observe(), 0.0, False, False, {}
        ids = self._ids()
        reward = prompt_reward(self.problem, ids[None], self.reward_name)
        info: dict[str, Any] = {"prompt_ids": ids.tolist(), "prompt_text": self.problem.lm.decode(ids.tolist())}
        info |= {name: float(values[0]) for name, values in reward.parts.items()}
        return self._observe(), float(reward.value[0]), True, False, info

    def render(self) -> str:
        """The prompt so far."""
        return self.problem.lm.decode(self._ids().tolist())

    def _ids(self) -> Tensor:
        return self.problem.allowed[torch.tensor(self._rows, dtype=torch.long, device=self.problem.allowed.device)]

    def _observe(self) -> np.ndarray:
        return self.observer(np.array([self._rows], dtype=np.int64))[0]


class Observer:
    """What the light policy sees of unfinished prompts: where it is, and what it said last."""

    def __init__(self, problem: Problem) -> None:
        vocab = problem.lm.vocab_embeds[problem.allowed].float()
        self._last = torch.nn.functional.normalize(vocab, dim=-1).cpu().numpy()
        self._length = problem.prompt_length
        self.space = spaces.Box(-1.0, 1.0, (self._length + vocab.shape[1],), np.float32)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Observations (P, L + d) of prompts given as vocabulary rows (P, t)."""
        prompts, position = rows.shape
        seen = np.zeros((prompts, *self.space.shape), dtype=np.float32)
        if position < self._length:
            seen[:, position] = 1.0
        if position:
            seen[:, self._length :] = np.clip(self._last[rows[:, -1]], -1.0, 1.0)
        return seen
