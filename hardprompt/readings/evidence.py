"""The evidence for a text as a reading of a prompt, on inputs that no search has seen.

With the answers P under the prompt and q under the text, the divergence is

    KL(P || q) = E_x E_{y ~ P(. | x)} sum_t KL(P(. | x, y_<t) || q(. | x, y_<t))    nats per answer,

for classification over the label words. Its size depends on the task and on how sure the answers are, so it does not tell alone
whether a text is a reading. The score compares it with texts that do not know the prompt: with D, texts that the model writes
itself, and the empty text,

    score = 1 - KL(P || q) / min(KL(P || empty), the tenth percentile over d in D of KL(P || d)).

It is 1 for a text with the same answers, and at most 0 for one that is no better than one of ten unrelated texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hardprompt.optimizers.proposals import Proposals, shortest_length
from hardprompt.prompt import HardPrompt
from hardprompt.readings.problem import ReadingProblem
from hardprompt.stats.bootstrap import bootstrap_mean
from hardprompt.stats.estimate import Estimate

Verdict = Literal["faithful", "partly faithful", "misleading", "says nothing"]

UNRELATED = 32
"""Number of texts that the model writes without knowledge of the prompt."""

PERCENTILE = 0.1
"""Percentile of their divergences that a reading is compared with."""

FAITHFUL, AGREES = 0.75, 0.75
"""A text is faithful if its score and its agreement are at least these values, which were chosen on tune tasks
(runs/readings.md)."""

PARTLY = 0.4
"""A text is partly faithful if its score and its agreement are at least this. On tune tasks, 2 % of the descriptions of other
tasks reach it (runs/readings.md)."""

STRENGTH = 0.5
"""Any other text is misleading if it changes the answers at least this share as much as the prompt does."""

LITTLE = 0.1
"""A prompt has little to read if KL(P || empty) is below this, in nats per answer: the answers are those without a prompt."""


@dataclass(frozen=True)
class Evidence:
    """How close the answers under a text are to those under the prompt.

    Attributes:
        kl: KL(P || q) in nats per answer, with its bootstrap interval over inputs.
        score: the score of this module's formula, at most 1.
        agreement: share of the inputs with the same prediction: the same label word, or for generation the same most probable
            first token of the answer.
        strength: KL(q || empty) / KL(P || empty) on the answers under the prompt: how much the text changes the answers, where
            1 is as much as the prompt.
        verdict: "faithful" if score and agreement are at least 0.75, and "partly faithful" if both are at least 0.4; otherwise
            "misleading" if the strength is at least 0.5, and "says nothing" if it is not.
    """

    kl: Estimate
    score: float
    agreement: float
    strength: float

    @property
    def verdict(self) -> Verdict:
        """The verdict on the text as a reading of the prompt."""
        return verdict_on(self.score, self.agreement, self.strength)


def verdict_on(score: float, agreement: float, strength: float) -> Verdict:
    """The verdict on a text with these values of `Evidence`.

    >>> verdict_on(0.8, 0.9, 1.0), verdict_on(0.8, 0.5, 1.0), verdict_on(0.8, 0.1, 1.0), verdict_on(0.2, 0.9, 0.1)
    ('faithful', 'partly faithful', 'misleading', 'says nothing')
    """
    if score >= FAITHFUL and agreement >= AGREES:
        return "faithful"
    if score >= PARTLY and agreement >= PARTLY:
        return "partly faithful"
    return "misleading" if strength >= STRENGTH else "says nothing"


class Examiner:
    """Measures texts against a prompt on held-out inputs.

    Args:
        problem: the problem on the held-out inputs. Its generator draws the unrelated texts.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> prompt = HardPrompt.from_text(lm, "give the plural")
        >>> examiner = Examiner(ReadingProblem(prompt, task, lm, [example.input for example in task.dev[:8]]))
        >>> examiner.examine(HardPrompt.from_text(lm, "write the plural")).verdict
        'faithful'
        >>> examiner.examine(HardPrompt.from_text(lm, "what kind of thing is this")).verdict
        'misleading'
        >>> examiner.examine(HardPrompt.from_text(lm, "the")).verdict
        'says nothing'
    """

    def __init__(self, problem: ReadingProblem) -> None:
        self.problem = problem
        self._scorer = problem.imitation
        self._prompt = torch.cat(self._scorer.targets)
        lengths = torch.tensor([len(answer) for answer in self._scorer.targets])
        self._first = lengths.cumsum(0) - lengths  # where each answer begins

    def examine(self, text: HardPrompt) -> Evidence:
        """The evidence for a text."""
        log_q = self._log_probs(text.ids)
        kl = self._per_input(_kl(self._prompt, log_q))
        return Evidence(
            kl=bootstrap_mean(kl.tolist()),
            score=1 - float(kl.mean()) / self.reference,
            agreement=self._agreement(log_q),
            strength=float(self._per_input(_kl(log_q, self._empty)).mean()) / max(self.empty, 1e-9),
        )

    @cached_property
    def empty(self) -> float:
        """KL(P || empty text), in nats per answer."""
        return float(self._per_input(_kl(self._prompt, self._empty)).mean())

    @cached_property
    def unrelated(self) -> list[float]:
        """KL(P || d) of each unrelated text, in nats per answer, in increasing order."""
        proposals, shortest = Proposals(self.problem, likely=64), shortest_length(self.problem)
        generator = self.problem.generator
        lengths = torch.randint(shortest, self.problem.prompt_length + 1, (UNRELATED,), generator=generator).tolist()
        places = [n % len(proposals.places) if proposals.places and n % 2 else None for n in range(UNRELATED)]
        texts = proposals.continued([proposals.context([], place) for place in places], lengths)
        return sorted(float(self._per_input(_kl(self._prompt, self._log_probs(ids))).mean()) for ids in texts)

    @cached_property
    def reference(self) -> float:
        """The divergence that the score compares with, in nats per answer; at least 1e-9."""
        return max(1e-9, min(self.empty, float(np.quantile(self.unrelated, PERCENTILE))))

    @property
    def little_to_read(self) -> str | None:
        """Why there is little to read in the prompt; None if there is more."""
        if self.empty >= LITTLE:
            return None
        return f"the answers differ by only {self.empty:.2f} nats from those without a prompt; at least {LITTLE:g} are needed"

    @cached_property
    def _empty(self) -> Tensor:
        return self._log_probs(())

    def _log_probs(self, ids: Sequence[int]) -> Tensor:
        return torch.cat(self._scorer.log_probs(ids))

    def _per_input(self, values: Tensor) -> Tensor:
        """Sums of values at compared tokens (R,) for each answer, and their mean for each input, (N,)."""
        sums = torch.stack([part.sum() for part in values.split([len(each) for each in self._scorer.targets])])
        return sums.view(len(self.problem.inputs), -1).mean(1)

    def _agreement(self, log_q: Tensor) -> float:
        same = self._prompt.argmax(-1) == log_q.argmax(-1)
        return float(same[self._first].float().mean())


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities (R, V), nats, (R,)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
