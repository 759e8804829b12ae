"""The gymnasium environment in which an episode is one prompt."""

from typing import Any

import gymnasium
import numpy as np

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import Task
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.optimizers.base import Problem

from .reward import UserReward, check_reward, loaded_reward, prompt_reward
from .space import Observation, PromptSpace


class PromptEnv(gymnasium.Env[np.ndarray, np.int64]):
    """The agent writes a prompt, one token in each step, and is rewarded at the end.

    ## Description
    A frozen language model, the task LM, solves a task with the prompt that the agent writes.

    ## Action Space
    `Discrete(A)`: an index into the action set (`hardprompt.policies.actions`), not a token id, so that no mask is needed. With
    `end=True` there is one more action, which ends the prompt.

    ## Observation Space
    "light": `Box(-1, 1, (L + d,))`, the position one-hot (all zeros when the prompt is full), then the unit-length embedding of
    the last token (zeros at the start). "state": `Box((d,))`, the last hidden state of the policy LM after the prompt so far.
    With `inputs=True` the policy LM reads an input of the task before the prompt.

    ## Starting State
    The empty prompt. With `inputs=True` also a random train example, whose index is `info["example"]`.

    ## Reward
    0 before the last step. In the last step `reward.prompt_reward` of the prompt on all train examples, or with `inputs=True`
    on the train example of the episode: by default minus the objective, in nats.

    ## Episode End
    Terminated after `prompt_length` tokens or by the end action; never truncated.

    ## Information
    In the last step: `prompt_ids` (of the task LM), `prompt_text`, `roundtrip_ok` (whether the tokens of the text are those
    that the policy LM wrote), `prompt_nll` (nats per token), `task_reward` (without the perplexity and the length term),
    `length_cost` (with a length weight), and `accuracy` (a fraction).

    ## Arguments
    task, lm, policy_lm: names or objects; the policy LM is by default the task LM. prompt_length, weight, length_weight,
    vocabulary: as in `Problem`. reward: as in `reward.prompt_reward`. observation, fluent, label_words, end, inputs: as in
    `space.PromptSpace`.

    ## References
    Deng et al. 2022, RLPrompt.

    ## Version History
    v0: first version. A policy LM, other action sets and rewards, the end action, inputs and the length weight were added
    later; all are off by default.

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
        length_weight: float = 0.0,
        vocabulary: str = "words",
        reward: str | UserReward = "objective",
        policy_lm: str | FrozenLM | None = None,
        observation: Observation = "light",
        fluent: int | None = None,
        label_words: bool = True,
        end: bool = False,
        inputs: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.problem = Problem(
            load_task(task) if isinstance(task, str) else task,
            load_lm(lm) if isinstance(lm, str) else lm,
            weight=weight,
            length_weight=length_weight,
            prompt_length=prompt_length,
            vocabulary=vocabulary,
        )
        check_reward(self.problem, reward)
        self.space = PromptSpace(
            self.problem,
            policy_lm=load_lm(policy_lm) if isinstance(policy_lm, str) else policy_lm,
            observation=observation,
            fluent=fluent,
            label_words=label_words,
            end=end,
            inputs=inputs,
        )
        self.head = self.space.head
        self.fingerprint = self.space.fingerprint
        self.render_mode = render_mode
        self.action_space = self.space.action_space
        self.observation_space = self.space.observation_space
        self._reward = loaded_reward(reward)
        self._example: int | None = None
        self._rows = np.zeros((1, 0), dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode with the empty prompt."""
        super().reset(seed=seed)
        self._rows = np.zeros((1, 0), dtype=np.int64)
        if not self.space.inputs:
            return self._observe(), {}
        self._example = int(self.np_random.integers(len(self.problem.task.train)))
        return self._observe(), {"example": self._example}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Append one token to the prompt, or end it."""
        self._rows = np.concatenate([self._rows, [[int(action)]]], axis=1)
        if not self.space.finished(self._rows)[0]:
            return self._observe(), 0.0, False, False, {}
        ids = self.space.prompts(self._rows)[0]
        reward = prompt_reward(self.problem, [ids], self._reward, None if self._example is None else [self._example])
        info: dict[str, Any] = {
            "prompt_ids": ids,
            "prompt_text": self.problem.lm.decode(ids),
            "roundtrip_ok": self.space.crossing_loss(self._rows) == 0,
        }
        info |= {name: float(values[0]) for name, values in reward.parts.items()}
        return self._observe(), float(reward.value[0]), True, False, info

    def render(self) -> str:
        """The prompt so far."""
        return self.space.text(self._rows)[0]

    def _observe(self) -> np.ndarray:
        return self.space.observe(self._rows, None if self._example is None else self.space.sources([self._example]))[0]
