"""What both environments share: the actions, what the policy sees, and the prompts that actions spell.

Unfinished prompts are rows of actions (P, t). Action i < A is the i-th token of the action set; A, where there is one, ends the
prompt, and what stands after it counts for nothing.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces

from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.optimizers.base import Problem
from hardprompt.prompt import HardPrompt

from .actions import action_ids, same_vocabulary
from .networks import FrozenHead
from .observers import LightObserver, Observer, StateObserver

Observation = Literal["light", "state"]


class PromptSpace:
    """Prompts of at most `problem.prompt_length` tokens that a policy writes for a problem.

    Args:
        problem: the task, the task LM, which tokens are allowed, and how many.
        policy_lm: the model that writes; by default the task LM. Where its vocabulary is another one, a prompt crosses as text.
        observation: "light" (the position and the embedding of the last token) or "state" (the policy LM's last hidden state).
        fluent: with "light", only so many actions, the most probable first tokens; with "state", only so many at each step, the
            most probable next ones.
        label_words: whether label words may be chosen.
        end: whether there is an action that ends the prompt; otherwise its length is fixed.
        inputs: whether the policy LM reads an input of the task before the prompt, which then is for that input alone
            (RLPrompt's input-conditioned prompts).

    Raises:
        RequestError: an empty action set, a policy LM that predicts no next token, "light" with inputs, or an end where the
            policy LM has no token for it.

    Attributes:
        actions: token ids of the policy LM, (A,).
        size: number of actions, the end included.
        head: the policy LM's output layer over the actions, or None with "light".
        length: most tokens of a prompt.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        policy_lm: FrozenLM | None = None,
        observation: Observation = "light",
        fluent: int | None = None,
        label_words: bool = True,
        end: bool = False,
        inputs: bool = False,
    ) -> None:
        self.problem = problem
        self.lm = lm = policy_lm or problem.lm
        self.length = problem.prompt_length
        self.end = end
        self.inputs = inputs
        _check(lm, observation, fluent, end, inputs)
        static = fluent if observation == "light" else None
        self.actions = action_ids(problem, lm, fluent=static, label_words=label_words)
        self.size = len(self.actions) + end
        self.head: FrozenHead | None = None
        self.observe: Observer = LightObserver(lm, self.actions, self.length)
        if observation == "state":
            columns = torch.cat([self.actions, torch.tensor([lm.eos_id], device=lm.device)]) if end else self.actions
            self.head = FrozenHead(lm, columns, fluent)
            self.observe = StateObserver(lm, self.actions, self.length, problem.counter)
        self._observation, self._fluent = observation, fluent
        self._same = same_vocabulary(lm, problem.lm)

    @property
    def observation_space(self) -> spaces.Box:
        """Of one prompt."""
        return self.observe.space

    @property
    def action_space(self) -> spaces.Discrete:
        """Rows of the action set, and the end where there is one."""
        return spaces.Discrete(self.size)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a policy was trained for: it is of no use on another task, vocabulary or observation."""
        spelled = " ".join(self.lm.tokenizer.convert_ids_to_tokens(self.actions.tolist()))
        return {
            "task": f"{self.problem.task.name} {self.problem.task.digest[:12]}",
            "vocabulary": f"{self.size} actions of {self.lm.name} {sha256(spelled.encode()).hexdigest()[:12]}",
            "observation": f"{self._observation}, {self.length} tokens{', after inputs' if self.inputs else ''}"
            + (f", fluent {self._fluent}" if self.head is not None and self._fluent else ""),
        }

    def finished(self, rows: np.ndarray) -> np.ndarray:
        """Which prompts are at their end, (P,)."""
        return (rows == len(self.actions)).any(1) | (rows.shape[1] >= self.length)

    def tokens(self, rows: np.ndarray) -> list[list[int]]:
        """The policy LM's tokens of each prompt, up to its end."""
        ids = self.actions.tolist()
        return [[ids[i] for i in row[: _until(row, len(ids))]] for row in rows.tolist()]

    def prompts(self, rows: np.ndarray) -> list[list[int]]:
        """The prompts as the task LM reads them: the same ids, or, across vocabularies, what it makes of their text."""
        tokens = self.tokens(rows)
        return tokens if self._same else [self._crossed(ids) for ids in tokens]

    def crossing_loss(self, rows: np.ndarray) -> float:
        """The share of prompts that the policy LM does not read back as it wrote them, from the task LM's tokens' text."""
        if self._same:
            return 0.0
        back = [HardPrompt.from_text(self.lm, self.problem.lm.decode(self._crossed(ids))).ids for ids in self.tokens(rows)]
        return float(np.mean([list(ids) != wrote for ids, wrote in zip(back, self.tokens(rows), strict=True)]))

    def text(self, rows: np.ndarray) -> list[str]:
        """The texts of the prompts."""
        return [self.lm.decode(ids) for ids in self.tokens(rows)]

    def sources(self, examples: Sequence[int]) -> list[list[int]]:
        """The inputs of train examples as the policy LM reads them before the prompt, their ends where they are too long."""
        room = self.lm.max_text_length - self.length
        return [ids[-room:] for ids in self.lm.encode_many([self.problem.task.train[i].input for i in examples])]

    def _crossed(self, ids: list[int]) -> list[int]:
        return list(HardPrompt.from_text(self.problem.lm, self.lm.decode(ids)).ids)


def _until(row: list[int], end: int) -> int:
    return row.index(end) if end in row else len(row)


def _check(lm: FrozenLM, observation: Observation, fluent: int | None, end: bool, inputs: bool) -> None:
    reads = observation == "state" or fluent is not None
    if reads and lm.masked:
        raise RequestError(f"the policy LM {lm.name} is a masked model, whose head predicts no next token; name a causal one")
    if inputs and observation == "light":
        raise RequestError("prompts for single inputs need a policy that reads them; use the observation 'state'")
    if end and observation == "state" and lm.eos_id is None:
        raise RequestError(f"{lm.name} has no end-of-sequence token to end a prompt with; use a fixed length or 'light'")
