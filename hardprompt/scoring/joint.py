"""Scoring a prompt on several models, so that one prompt is found for all of them.

With the losses L_m(p) of a prompt p under the models m = 1..M, its task loss is

    1/M sum_m L_m(p)   ("mean")    or    max_m L_m(p)   ("worst").

The token ids of a hard prompt are those of the first model. A model with the same vocabulary reads them as they are. Any other
model reads the text of the prompt: the filled template is tokenized as a whole, as it is deployed, so that its loss is always
that of a text which it can be given.

Gradients with respect to tokens need one vocabulary. A token v then has the vector

    E(v) = (E_1(v), c_2 E_2(v), ..., c_M E_M(v)),    c_m = std(E_1) / std(E_m),

the embeddings of all models side by side. The gradient with respect to E(v) has the gradients of all models, and its
first-order predictions (HotFlip) are the sums of those of the models. The factors c_m give each model the same weight in a
projection.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.errors import RequestError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.vocabulary import same_vocabulary
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring.scorer import Scorer, Scores, TokenCount

Over = Literal["mean", "worst"]
"""How the losses of several models become one."""

SCORES_ONLY = "random, random-likely, race, beam, front or rl"
"""Optimizers that need no gradients, for messages."""


def combined(parts: Sequence[Scores], over: Over = "mean") -> Scores:
    """The scores of prompts over several models.

    For "mean", losses and correctness are means over the models. For "worst", each prompt has the losses of the model with the
    highest mean loss on these examples, and the answers of the model with the lowest accuracy.

    Args:
        parts: the scores of the same P prompts and N examples under each model.
        over: "mean" or "worst".

    Returns:
        The scores, (P, N), without label logits.

    Example:
        >>> one, other = (Scores(torch.tensor([[loss]]), torch.tensor([[loss < 1]]), None) for loss in (0.5, 1.5))
        >>> combined([one, other]).loss.item(), combined([one, other]).accuracy.item()
        (1.0, 0.5)
        >>> combined([one, other], "worst").loss.item(), combined([one, other], "worst").accuracy.item()
        (1.5, 0.0)
    """
    loss, correct = torch.stack([part.loss for part in parts]), torch.stack([part.correct.float() for part in parts])
    if over == "mean":
        return Scores(loss.mean(0), correct.mean(0), None)
    prompts = torch.arange(loss.shape[1], device=loss.device)
    return Scores(loss[loss.mean(-1).argmax(0), prompts], correct[correct.mean(-1).argmin(0), prompts], None)


class JointEmbeddings:
    """The token embeddings of several models with one vocabulary, side by side, as this module describes.

    Args:
        lms: the models; with a single one, its own embeddings.
    """

    def __init__(self, lms: Sequence[FrozenLM]) -> None:
        self.lms = tuple(lms)
        self.widths = [lm.vocab_embeds.shape[1] for lm in self.lms]

    @cached_property
    def one_vocabulary(self) -> bool:
        """Whether all models have the vocabulary of the first."""
        return all(same_vocabulary(self.lms[0], lm) for lm in self.lms)

    @property
    def one_width(self) -> bool:
        """Whether the embeddings of all models have the same width."""
        return len(set(self.widths)) == 1

    def check_tokens(self) -> None:
        """Raise a RequestError if there is no gradient with respect to tokens, since the vocabularies differ."""
        if not self.one_vocabulary:
            raise RequestError(
                f"gradients over tokens need models with one vocabulary, and {_names(self.lms)} have different ones; "
                f"use an optimizer that needs only scores: {SCORES_ONLY}"
            )

    def check_vectors(self) -> None:
        """Raise a RequestError if no vectors fit all models, since the widths of their embeddings differ."""
        if not self.one_width:
            widths = ", ".join(map(str, self.widths))
            raise RequestError(
                f"a soft prompt for several models needs embeddings of one width, and those of {_names(self.lms)} are {widths} "
                f"wide; use an optimizer of hard prompts: {SCORES_ONLY}, or with one vocabulary also pez, gcg, autoprompt, "
                "gbda or epo"
            )

    @cached_property
    def _factors(self) -> list[float]:
        spreads = [float(lm.vocab_embeds.float().std()) for lm in self.lms]
        return [spreads[0] / spread for spread in spreads]

    def of(self, ids: Tensor) -> Tensor:
        """The vectors of tokens, (..., D), D the sum of the widths.

        Raises:
            RequestError: the vocabularies of the models differ.
        """
        if len(self.lms) == 1:
            return self.lms[0].vocab_embeds[ids].float()
        self.check_tokens()
        return torch.cat([c * lm.vocab_embeds[ids].float() for c, lm in zip(self._factors, self.lms, strict=True)], -1)

    def parts(self, embeds: Tensor) -> list[Tensor]:
        """What each model reads: its part of vectors (L, D), or the same vectors (L, d) if all embeddings are d wide.

        Raises:
            RequestError: the vectors are those of one of several models whose widths differ.
        """
        if embeds.shape[-1] != sum(self.widths):
            self.check_vectors()
            return [embeds] * len(self.lms)
        return [part / c for c, part in zip(self._factors, embeds.split(self.widths, -1), strict=True)]


class JointScorer(Scorer):
    """Scores prompts on several models; the scores are those of `combined`.

    What is not a score, such as `contexts` and `labels`, is that of the first model. The LM tokens of all models count.

    Args:
        embeddings: the models with their embeddings; the first one's token ids are those of hard prompts.
        task: the task.
        examples: the examples to score on.
        over: how the losses become one.
        counter: counts the LM tokens.
        prompt_nll: as for `Scorer`, for the first model.

    Raises:
        TaskError: as for `Scorer`, for any of the models.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lms, task = [load_lm("microworld"), load_lm("microworld-reader")], load_task("review-sentiment")
        >>> joint = JointScorer(JointEmbeddings(lms), task, task.dev)
        >>> ids = lms[0].encode("good or bad")
        >>> one, other = (Scorer(lm, task, task.dev).score_texts(["good or bad"]).mean_loss for lm in lms)
        >>> joint.score_ids([ids]).mean_loss.allclose((one + other) / 2, atol=1e-3)
        True
    """

    def __init__(
        self,
        embeddings: JointEmbeddings,
        task: Task,
        examples: Sequence[Example],
        over: Over = "mean",
        counter: TokenCount | None = None,
        prompt_nll: dict[tuple[int, ...], Tensor] | None = None,
    ) -> None:
        first, *others = embeddings.lms
        super().__init__(first, task, examples, counter, prompt_nll)
        self.embeddings = embeddings
        self.over = over
        self._others = [(Scorer(lm, task, examples, self.counter), same_vocabulary(first, lm)) for lm in others]

    def score_ids(self, prompts: Sequence[Sequence[int]], indices: Sequence[int] | None = None) -> Scores:
        """As `Scorer` describes it; the token ids are those of the first model."""
        return combined(self.ids_under_each(prompts, indices), self.over)

    def score_embeds(self, embeds: Tensor, indices: Sequence[int] | None = None) -> Scores:
        """As `Scorer` describes it, for vectors of `JointEmbeddings`, or for vectors that all models read.

        Raises:
            RequestError: the vectors do not fit all models.
        """
        return combined(self.embeds_under_each(embeds, indices), self.over)

    def ids_under_each(self, prompts: Sequence[Sequence[int]], indices: Sequence[int] | None = None) -> list[Scores]:
        """The scores of hard prompts under each model, by token ids of the first."""
        found = [super().score_ids(prompts, indices)]
        for scorer, reads_ids in self._others:
            if reads_ids:
                found.append(scorer.score_ids(prompts, indices))
            else:
                texts = [HardPrompt.from_ids(self.lm, ids, self.template).text for ids in prompts]
                found.append(scorer.score_texts(texts, indices))
        return found

    def embeds_under_each(self, embeds: Tensor, indices: Sequence[int] | None = None) -> list[Scores]:
        """The scores of vectors under each model."""
        own, *parts = self.embeddings.parts(embeds)
        others = [scorer for scorer, _ in self._others]
        return [
            super().score_embeds(own, indices),
            *(scorer.score_embeds(part, indices) for scorer, part in zip(others, parts, strict=True)),
        ]

    def prompt_under_each(self, prompt: HardPrompt | SoftPrompt) -> list[Scores]:
        """The scores of a prompt under each model, (1, N)."""
        if isinstance(prompt, SoftPrompt):
            return self.embeds_under_each(prompt.embeds)
        return self.ids_under_each([prompt.ids])

    def text_under_each(self, text: str) -> list[Scores]:
        """The scores of a text under each model, (1, N)."""
        return [self.score_texts([text]), *(scorer.score_texts([text]) for scorer, _ in self._others)]

    def check_context(self, prompt_length: int) -> None:
        """As `Scorer` describes it, for every model; the text of a prompt may be longer for another vocabulary."""
        super().check_context(prompt_length)
        for scorer, _ in self._others:
            scorer.check_context(prompt_length)


def _names(lms: Sequence[FrozenLM]) -> str:
    return " and ".join(lm.name for lm in lms)
