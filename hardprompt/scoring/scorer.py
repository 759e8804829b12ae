"""The scorer: loss and accuracy of prompts on the examples of a task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.lm.chat import answer_ends
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.memory import RecomputedParts
from hardprompt.objective import label_correct, label_cross_entropy
from hardprompt.scoring.answers import label_ids
from hardprompt.scoring.passes import ForwardPasses
from hardprompt.scoring.rows import Row, RowBuilder
from hardprompt.scoring.targets import Judge, TargetJudge

Key = TypeVar("Key", tuple[int, ...], str)
"""A prompt as token ids or as text."""

MAX_CACHED_SCORES = 1_000_000
"""Maximal number of pairs of a prompt and an example whose scores one scorer stores."""


@dataclass(frozen=True)
class Scores:
    """Scores of P prompts on N examples.

    Attributes:
        loss: nats per example, (P, N): -log p(label) over the label words, or -log p(target, end) for generation.
        correct: whether the answer is correct, (P, N); of several models, the share of those whose answer is.
        label_logits: logits of the C label words, (P, N, C), or None for generation.
    """

    loss: Tensor
    correct: Tensor
    label_logits: Tensor | None

    @property
    def accuracy(self) -> Tensor:
        """Fraction of the examples that each prompt answers correctly, (P,)."""
        return self.correct.float().mean(-1)

    @property
    def mean_loss(self) -> Tensor:
        """Mean loss of each prompt over the examples, in nats per example, (P,)."""
        return self.loss.mean(-1)

    def of(self, prompt: int) -> "Scores":
        """The scores of one prompt, (1, N)."""
        only = slice(prompt, prompt + 1)
        return Scores(self.loss[only], self.correct[only], None if self.label_logits is None else self.label_logits[only])

    @staticmethod
    def concatenated(parts: "Sequence[Scores]") -> "Scores":
        """The scores of all prompts of several parts, in order."""
        logits = [part.label_logits for part in parts if part.label_logits is not None]
        return Scores(
            torch.cat([part.loss for part in parts]),
            torch.cat([part.correct for part in parts]),
            torch.cat(logits) if logits else None,
        )


@dataclass
class TokenCount:
    """Logical LM tokens: prompt and example tokens of every pair of a prompt and an example, whether computed or cached."""

    forward: int = 0
    backward: int = 0


class Scorer:
    """Scores prompts on fixed examples of a task.

    Args:
        lm: the frozen model.
        task: the task, whose template, label words and match are used.
        examples: the examples to score on.
        counter: counts the LM tokens.
        prompt_nll: filled with the NLL of hard prompts (nats per token) by token ids, where the same passes give it: for
            prompts at the very start of the template.

    Raises:
        TaskError: a label word is not a single token of the model, two label words are the same token, an input contains one
            of the model's special tokens, or the template is for the other kind of model (`Task.template_for`).

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> scores = Scorer(lm, task, task.dev).score_ids([lm.encode("write the plural"), ()])
        >>> scores.loss.shape == (2, len(task.dev))
        True
        >>> bool(scores.accuracy[0] > scores.accuracy[1])
        True
    """

    def __init__(
        self,
        lm: FrozenLM,
        task: Task,
        examples: Sequence[Example],
        counter: TokenCount | None = None,
        prompt_nll: dict[tuple[int, ...], Tensor] | None = None,
    ) -> None:
        self.lm = lm
        self.task = task
        self.examples = tuple(examples)
        self.counter = counter or TokenCount()
        self._rows = RowBuilder(lm, task, self.examples)
        self.template = self._rows.template
        self._passes = ForwardPasses(lm, self._rows, prompt_nll)
        self._judge: Judge | None = None if task.label_words else TargetJudge(lm, task, self.examples, self._passes)
        self._scored: dict[Any, tuple[int, Scores]] = {}  # by token ids or text
        if task.label_words:
            self.label_ids = label_ids(lm, task)
            self.labels = torch.tensor([task.labels.index(e.answer) for e in self.examples], device=lm.device)

    def score_ids(self, prompts: Sequence[Sequence[int]], indices: Sequence[int] | None = None) -> Scores:
        """Score hard prompts, inserted as token ids, without gradient.

        Repeated prompts are scored once, and scores on all examples are stored.

        Args:
            prompts: token ids of P prompts.
            indices: which examples to score on; by default all.

        Returns:
            Scores of shape (P, N).

        Raises:
            ContextExceeded: a prompt with an example is longer than the model's context.
        """
        return self._score_each(
            [tuple(int(i) for i in ids) for ids in prompts],
            indices,
            lambda ids, p, chosen: [self._rows.build(p, n, list(ids)) for n in chosen],
        )

    def score_texts(self, texts: Sequence[str], indices: Sequence[int] | None = None) -> Scores:
        """Score prompts as texts, without gradient: each filled template is tokenized as a whole.

        Args, returns and errors are those of `score_ids`, with texts in place of token ids.
        """
        return self._score_each(list(texts), indices, self._rows.build_text)

    def score_embeds(self, embeds: Tensor, indices: Sequence[int] | None = None) -> Scores:
        """Score one prompt given as embeddings (L, d); differentiable if `embeds` requires a gradient.

        With a gradient, answers that would have to be decoded (`match="number"`) do not count as correct.
        """
        chosen = self._indices(indices)
        rows = [self._rows.build(0, n, [0] * embeds.shape[0]) for n in chosen]
        with_gradient = embeds.requires_grad and torch.is_grad_enabled()
        tokens = self._rows.count_tokens(rows, decode=not with_gradient)
        self.counter.forward += tokens
        if not with_gradient:
            return self._score(rows, 1, chosen, embeds.detach())
        self.counter.backward += tokens

        def score_part(soft: Tensor, part: list[int]) -> Tensor:
            return self._columns([rows[i] for i in part], soft, decode=False)

        columns = RecomputedParts.apply(embeds, score_part, lambda: self._passes.split(rows), self.lm.memory)
        return self._as_scores(columns, (1, len(chosen)))

    def score_text(self, text: str) -> Scores:
        """Score a prompt as text, without gradient: the filled template is tokenized as a whole. Scores have shape (1, N)."""
        return self.score_texts([text])

    @torch.no_grad()
    def score_with_logits(self, prompt: Sequence[int] | Tensor) -> tuple[Scores, Tensor]:
        """Scores of one hard or soft prompt on a classification task, and the next-token logits (N, V) of the same passes."""
        soft = prompt.detach() if isinstance(prompt, Tensor) else None
        ids = [0] * len(prompt) if soft is not None else [int(i) for i in prompt]
        rows = [self._rows.build(0, n, ids) for n in range(len(self.examples))]
        self.counter.forward += self._rows.count_tokens(rows)
        columns = self.lm.memory.run(lambda: self._columns(rows, soft, with_logits=True))
        width = 2 + len(self.label_ids)
        return self._as_scores(columns[:, :width].contiguous(), (1, len(rows))), columns[:, width:].contiguous()

    def survives(self, ids: Sequence[int], text: str) -> bool:
        """Whether the text of a prompt, tokenized within the filled template, gives the same token ids on every example."""
        inserted = (self._rows.build(0, n, list(ids)).ids for n in range(len(self.examples)))
        return all(row.ids == other for row, other in zip(self._rows.build_text(text), inserted, strict=True))

    def next_token_logits(self, prompt: Sequence[int] | Tensor, indices: Sequence[int] | None = None) -> Tensor:
        """Logits (N, V) of the answer's first token, under a hard prompt (ids) or a soft one (embeddings (L, d))."""
        chosen = self._indices(indices)
        return torch.cat(self.answer_logits(prompt, [[] for _ in chosen], chosen))

    @torch.no_grad()
    def answer_logits(
        self, prompt: Sequence[int] | Tensor, answers: Sequence[Sequence[int]], indices: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Logits at every token of given answers and at the token after them.

        Args:
            prompt: a hard prompt (ids) or a soft one (embeddings (L, d)).
            answers: for each example, the T token ids of an answer; empty for a masked model, which predicts its mask only.
            indices: which examples; by default all.

        Returns:
            One tensor (T + 1, V) per example.
        """
        soft = prompt if isinstance(prompt, Tensor) else None
        ids = [0] * len(prompt) if soft is not None else [int(i) for i in prompt]
        rows = []
        for n, answer in zip(self._indices(indices), answers, strict=True):
            row = replace(self._rows.build(0, n, ids), answer=[int(i) for i in answer], predictions=len(answer) + 1)
            rows.append(self._rows.checked(row))
        return self.lm.memory.run(lambda: self._answer_logits(rows, soft))

    @torch.no_grad()
    def prompt_surprisals(self, ids: Sequence[int], indices: Sequence[int] | None = None) -> Tensor:
        """Surprisal of each token of a hard prompt in its place, in nats.

        For a causal model it is -log p(x_t | start, before_n, x_<t), where the start tokens and `before_n` are all that stands
        before the prompt in the row of example n. For a masked model it is -log p(x_t | all other tokens of the row), with each
        token of the prompt masked in turn; the mask in the place of the answer stays.

        The passes are not counted as LM tokens. Equal rows are read once.

        Args:
            ids: the L token ids of the prompt.
            indices: which examples; by default all.

        Returns:
            Nats, (N, L). The first token is NaN where nothing stands before it, and all are NaN for an encoder-decoder model,
            which assigns no probability to the text of its encoder.

        Raises:
            ContextExceeded: the prompt with an example is longer than the model's context.

        Example:
            >>> from hardprompt import load_lm, load_task
            >>> lm, task = load_lm("microworld"), load_task("plural")
            >>> scorer = Scorer(lm, task, task.test[:3])
            >>> scorer.prompt_surprisals(lm.encode("write the plural")).shape
            torch.Size([3, 3])
        """
        prompt = [int(i) for i in ids]
        rows = [self._rows.build(0, n, prompt) for n in self._indices(indices)]
        nats = torch.full((len(rows), len(prompt)), torch.nan, device=self.lm.device)
        if self.lm.kind == "encoder-decoder":
            return nats
        alike: dict[tuple[int, ...], list[int]] = {}
        for n, row in enumerate(rows):
            context = row.ids if self.lm.masked else row.ids[: row.soft_start + len(prompt)]
            alike.setdefault(tuple(context), []).append(n)
        reads = [(same, read) for same in alike.values() for read in self._prompt_reads(rows[same[0]], len(prompt))]

        def attempt() -> Tensor:
            for i, logits in self._logits([read for _, read in reads], None):
                same, read = reads[i]
                first = read.predict_from + (not self.lm.masked) - read.soft_start
                span = slice(first, first + read.predictions)
                targets = torch.tensor(prompt[span], device=self.lm.device)
                nats[same, span] = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
            return nats

        return self.lm.memory.run(attempt)

    @property
    def contexts(self) -> tuple[tuple[int, ...], ...]:
        """All that stands before the prompt in the row of each example, as token ids."""
        return self._rows.prefixes

    def check_context(self, prompt_length: int) -> None:
        """Raise ContextExceeded if an example with a prompt of this many tokens is longer than the model's context."""
        for example in range(len(self.examples)):
            self._rows.build(0, example, [0] * prompt_length)

    def tokens_left(self, prompt_length: int) -> int:
        """How many tokens fit after the longest example with a prompt of this many tokens."""
        rows = (self._rows.build(0, example, [0] * prompt_length) for example in range(len(self.examples)))
        return self.lm.max_length - max(row.predict_from + 1 for row in rows)

    @property
    def end_ids(self) -> Tensor:
        """Token ids that end an answer."""
        return answer_ends(self.lm, self.task)

    def tokens(self, prompt_length: int) -> int:
        """Logical LM tokens of one prompt of this many tokens on all examples."""
        rows = [self._rows.build(0, example, [0] * prompt_length) for example in range(len(self.examples))]
        return self._rows.count_tokens(rows)

    def _prompt_reads(self, row: Row, length: int) -> list[Row]:
        """The rows whose states predict the tokens of the prompt in a row: one, or one per token for a masked model."""
        start, end = row.soft_start, row.soft_start + length
        if self.lm.mask_id is not None:
            return [
                replace(row, ids=[*row.ids[:at], self.lm.mask_id, *row.ids[at + 1 :]], predict_from=at, predictions=1)
                for at in range(start, end)
            ]
        first = max(start, 1)  # nothing predicts the first token of a row
        if first >= end:
            return []
        shared = min(row.prefix_length, first - 1)
        read = row.ids[: end - 1]  # the last token is only predicted
        return [replace(row, ids=read, answer=[], predict_from=first - 1, predictions=end - first, prefix_length=shared)]

    def _score_each(
        self,
        requested: Sequence[Key],
        indices: Sequence[int] | None,
        build: Callable[[Key, int, Sequence[int]], list[Row]],
    ) -> Scores:
        """Score prompts, (P, N); `build` gives the rows of a prompt with its number on the chosen examples."""
        chosen = self._indices(indices)
        if len(self._scored) * len(self.examples) > MAX_CACHED_SCORES:
            self._scored.clear()
        known: dict[Any, tuple[int, Scores]] = self._scored if indices is None else {}
        new = [prompt for prompt in dict.fromkeys(requested) if prompt not in known]
        if new:
            rows = [build(prompt, p, chosen) for p, prompt in enumerate(new)]
            scores = self._score([row for each in rows for row in each], len(new), chosen)
            known |= {prompt: (self._rows.count_tokens(rows[p]), scores.of(p)) for p, prompt in enumerate(new)}
        self.counter.forward += sum(known[prompt][0] for prompt in requested)
        return Scores.concatenated([known[prompt][1] for prompt in requested])

    def _indices(self, indices: Sequence[int] | None) -> Sequence[int]:
        return range(len(self.examples)) if indices is None else [int(i) for i in indices]

    @torch.no_grad()
    def _score(self, rows: list[Row], prompts: int, chosen: Sequence[int], soft: Tensor | None = None) -> Scores:
        return self._as_scores(self.lm.memory.run(lambda: self._columns(rows, soft)), (prompts, len(chosen)))

    def _as_scores(self, columns: Tensor, shape: tuple[int, int]) -> Scores:
        loss, correct = columns[:, 0].view(shape), columns[:, 1].view(shape) > 0
        return Scores(loss, correct, columns[:, 2:].view(*shape, -1) if columns.shape[1] > 2 else None)

    def _columns(self, rows: Sequence[Row], soft: Tensor | None, with_logits: bool = False, decode: bool = True) -> Tensor:
        """Loss, correctness and label logits of each row, (B, 2 + C), with `with_logits` also all logits, (B, 2 + C + V)."""
        order: list[int] = []
        parts: list[Tensor] = []
        for done in self._passes.run(rows, soft):
            some = [rows[i] for i in done.rows]
            if self._judge is None:
                predicting = done.hidden[torch.arange(len(some)), done.predict_from]
                logits = self.lm.output_logits(predicting, self.label_ids).float()
                labels = self.labels[[row.example for row in some]]
                loss, correct = label_cross_entropy(logits, labels), label_correct(logits, labels)
                all_logits = [self.lm.output_logits(predicting).float()] if with_logits else []
                parts.append(torch.cat([loss[:, None], correct[:, None], logits, *all_logits], -1))
            else:
                loss, correct = self._judge.loss_and_correct(done, some, soft, decode)
                parts.append(torch.stack([loss, correct], -1))
            order += done.rows
        return torch.cat(parts)[torch.tensor(order, device=self.lm.device).argsort()]

    def _answer_logits(self, rows: Sequence[Row], soft: Tensor | None) -> list[Tensor]:
        found = dict(self._logits(rows, soft))
        return [found[i] for i in range(len(rows))]

    def _logits(self, rows: Sequence[Row], soft: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """The index of each row with the logits (R, V) at its R predicting positions, in the order of the passes."""
        for done in self._passes.run(rows, soft):
            counts = [rows[i].predictions for i in done.rows]
            row_of = [b for b, count in enumerate(counts) for _ in range(count)]
            at = [first + t for first, count in zip(done.predict_from, counts, strict=True) for t in range(count)]
            yield from zip(done.rows, self.lm.output_logits(done.hidden[row_of, at]).split(counts), strict=True)
