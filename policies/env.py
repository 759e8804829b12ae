"""One prompt as an episode: the gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import Task
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.optimizers.base import Problem

from .reward import UserReward, check_reward, prompt_reward
from .space import Observation, PromptSpace


class PromptEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Emit a prompt, one token a step, and be rewarded for it at the end.

    ## Description
    A frozen language model, the task LM, is asked to solve a task under the prompt that the agent writes.

    ## Action Space
    `Discrete(A)`: a row of the action set (`hardprompt.policies.actions`), not a token id, so that no mask is needed. With
    `end=True` there is one action more, which ends the prompt.

    ## Observation Space
    "light": `Box(-1, 1, (L + d,))`, the position one-hot (all zeros when the prompt is full), then the unit-length embedding of
    the last token (zeros at the start). "state": `Box((d,))`, the last hidden state of the policy LM after the prompt so far;
    with `inputs=True`, after an input of the task and the prompt so far.

    ## Starting State
    The empty prompt; with `inputs=True` that, and a train example drawn at random (`info["example"]`).

    ## Reward
    0 before the last step. Then, on all train examples (with `inputs=True`: on that one), minus the objective in nats, the gap
    reward in points (`reward="gap"`), or what a function of one's own says (`path.py:name`); weight x prompt NLL is subtracted.

    ## Episode End
    Terminated after `prompt_length` tokens or with the end; never truncated.

    ## Information
    At the end: `prompt_ids` (of the task LM), `prompt_text`, `roundtrip_ok` (whether the policy LM reads the prompt back as it
    wrote it), `prompt_nll` (nats per token), `task_reward` (without the perplexity term), and `accuracy` (fraction).

    ## Arguments
    task, lm, policy_lm: names or loaded objects; the policy LM is by default the task LM. prompt_length, weight, vocabulary: as
    for every optimizer. reward: as above. observation, fluent, label_words, end, inputs: see `space.PromptSpace`.

    ## References
    Deng et al. 2022, RLPrompt.

    ## Version History
    v0: first version; a policy LM, more action sets and rewards, an end and inputs, all of them off by default, came later.

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
        self._reward = reward
        self._example: int | None = None
        self._rows = np.zeros((1, 0), dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start with the empty prompt."""
        super().reset(seed=seed)
        self._rows = np.zeros((1, 0), dtype=np.int64)
        if not self.space.inputs:
            return self._observe(), {}
        self._example = int(self.np_random.integers(len(self.problem.task.train)))
        return self._observe(), {"example": self._example}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Append one token, or end the prompt; the reward comes with its end."""
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
