"""Actions, observations and prompts, as both environments use them.

Unfinished prompts are rows of actions (P, t). Action i < A is the i-th token of the action set. Action A, if there is one, ends
the prompt; actions after it have no effect. With a length weight, a prompt that is shorter than allowed does not end: there,
action A writes the first token of the action set, so that every row is a prompt.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from gymnasium import spaces

from hardprompt.data.task import Template
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.lm.vocabulary import same_vocabulary
from hardprompt.optimizers.base import Problem
from hardprompt.optimizers.proposals import shortest_length
from hardprompt.prompt import AFTER_INPUT, HardPrompt

from .actions import action_ids
from .networks import FrozenHead
from .observers import LightObserver, Observer, StateObserver

Observation = Literal["light", "state"]


class PromptSpace:
    """The prompts of at most `problem.prompt_length` tokens that a policy can write for a problem.

    Args:
        problem: the problem.
        policy_lm: the model that writes; by default the task LM. If their vocabularies differ, a prompt is converted as text.
        observation: "light" (the position and the embedding of the last token) or "state" (the last hidden state of the policy
            LM).
        fluent: the number of actions, those that the policy LM finds most probable: as the first token with "light", at each
            step with "state"; None for all. With "state", the end action is one of them.
        label_words: whether label words can be chosen.
        sampled: the number of actions, those with the highest values, that the policy samples from at each step; None for all.
        end: whether there is an action that ends the prompt. Otherwise the length is fixed. With a length weight there always
            is.
        inputs: whether the policy LM reads an input of the task before the prompt, which is then for this input alone
            (RLPrompt's input-conditioned prompts).

    Raises:
        RequestError: the action set is empty; a masked policy LM has to predict the next token; "light" with inputs; or an end
            action and a policy LM without an end-of-sequence token.

    Attributes:
        actions: token ids of the policy LM, (A,).
        size: number of actions, including the end action.
        head: the output layer of the policy LM over the actions; None with "light".
        length: the maximal length of a prompt, in tokens.
        shortest: the length from which on the end action ends a prompt: 0, or with a length weight `shortest_length`.
        end_bias: with a length weight log(K / L) for K tokens that can be chosen at a step, which a policy adds to the initial
            logit of the end action. A policy that is uniform otherwise ends a prompt at each step with probability 1 / (L + 1);
            without it, it would hardly ever do so.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        policy_lm: FrozenLM | None = None,
        observation: Observation = "light",
        fluent: int | None = None,
        label_words: bool = True,
        sampled: int | None = None,
        end: bool = False,
        inputs: bool = False,
    ) -> None:
        self.problem = problem
        self.lm = lm = policy_lm or problem.lm
        self.length = problem.prompt_length
        self.shortest = shortest_length(problem) if problem.length_weight else 0
        self.end = end = end or problem.length_weight > 0
        self.inputs = inputs
        _check(lm, observation, fluent, end, inputs)
        static = fluent if observation == "light" else None
        self.actions = action_ids(problem, lm, fluent=static, label_words=label_words)
        self.size = len(self.actions) + end
        chosen_from = min(self.size, sampled or self.size, (fluent or self.size) if observation == "state" else self.size)
        self.end_bias = math.log(max(chosen_from - 1, 1) / self.length) if problem.length_weight else 0.0
        self.head: FrozenHead | None = None
        self.observe: Observer = LightObserver(lm, self.actions, self.length)
        if observation == "state":
            columns = torch.cat([self.actions, torch.tensor([lm.eos_id], device=lm.device)]) if end else self.actions
            self.head = FrozenHead(lm, columns, fluent, end, self.end_bias)
            self.observe = StateObserver(lm, self.actions, self.length, problem.counter)
        self._observation, self._fluent = observation, fluent
        self._same = same_vocabulary(lm, problem.lm)

    @property
    def observation_space(self) -> spaces.Box:
        """The space of the observation of one prompt."""
        return self.observe.space

    @property
    def action_space(self) -> spaces.Discrete:
        """Indices into the action set, and the end action if there is one."""
        return spaces.Discrete(self.size)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """The task, the vocabulary and the observation of a policy, which can be used only with these."""
        tokens = " ".join(self.lm.tokenizer.convert_ids_to_tokens(self.actions.tolist()))
        return {
            "task": f"{self.problem.task.name} {self.problem.task.digest[:12]}",
            "vocabulary": f"{self.size} actions of {self.lm.name} {sha256(tokens.encode()).hexdigest()[:12]}",
            "observation": f"{self._observation}, {self.length} tokens{', after inputs' if self.inputs else ''}"
            + (f", fluent {self._fluent}" if self.head is not None and self._fluent else ""),
        }

    def finished(self, rows: np.ndarray) -> np.ndarray:
        """Whether each prompt is finished, (P,)."""
        return self.ended(rows).any(1) | (rows.shape[1] >= self.length)

    def ended(self, rows: np.ndarray) -> np.ndarray:
        """Whether each prompt has been ended by the end action at each step or before it, (P, t)."""
        ends = rows == len(self.actions)
        ends[:, : self.shortest] = False
        return np.logical_or.accumulate(ends, axis=1)

    def tokens(self, rows: np.ndarray) -> list[list[int]]:
        """The tokens of the policy LM of each prompt, up to the end action."""
        ids = self.actions.tolist()
        lengths = (~self.ended(rows)).sum(1).tolist()
        return [[ids[i % len(ids)] for i in row[:length]] for row, length in zip(rows.tolist(), lengths, strict=True)]

    def prompts(self, rows: np.ndarray) -> list[list[int]]:
        """The prompts as token ids of the task LM: the same ids, or, with another vocabulary, the tokens of their text."""
        tokens = self.tokens(rows)
        return tokens if self._same else [self._converted(ids) for ids in tokens]

    def crossing_loss(self, rows: np.ndarray) -> float:
        """The share of prompts that are not the same for the policy LM after conversion to tokens of the task LM and back."""
        if self._same:
            return 0.0
        template, decode = self._template, self.problem.lm.decode
        wrote = self.tokens(rows)
        back = [HardPrompt.from_text(self.lm, decode(self._converted(ids)), template).ids for ids in wrote]
        return float(np.mean([list(read) != ids for read, ids in zip(back, wrote, strict=True)]))

    def text(self, rows: np.ndarray) -> list[str]:
        """The texts of the prompts."""
        return [self.lm.decode(ids) for ids in self.tokens(rows)]

    def sources(self, examples: Sequence[int]) -> list[list[int]]:
        """The inputs of train examples as tokens of the policy LM. Of an input that is too long, its end is used."""
        room = self.lm.max_text_length - self.length
        return [ids[-room:] for ids in self.lm.encode_many([self.problem.task.train[i].input for i in examples])]

    @property
    def _template(self) -> Template:
        """The template that decides whether a blank stands before the first word; in a chat, one does, as in the vocabulary."""
        return AFTER_INPUT if self.problem.template.chat else self.problem.template

    def _converted(self, ids: list[int]) -> list[int]:
        return list(HardPrompt.from_text(self.problem.lm, self.lm.decode(ids), self._template).ids)


def _check(lm: FrozenLM, observation: Observation, fluent: int | None, end: bool, inputs: bool) -> None:
    reads = observation == "state" or fluent is not None
    if reads and lm.kind != "causal":
        raise RequestError(f"the policy LM {lm.name} predicts no next token of a prompt ({lm.kind} model); use a causal one")
    if inputs and observation == "light":
        raise RequestError("prompts for single inputs need a policy that reads the input; use the observation 'state'")
    if end and observation == "state" and lm.eos_id is None:
        raise RequestError(
            f"{lm.name} has no end-of-sequence token to end a prompt with; use a fixed length (length weight 0) or 'light'"
        )
