"""Scoring prompts on examples: the only place where the frozen LM meets a task.

Rows of the batch are (prompt, example) pairs. A row is bos + before + prompt + after (+ target), right-padded, or, of a masked
model, [CLS] + before + prompt + after + [SEP] with the mask token in what is before or after; logits are computed only at the
positions that are read, and for label words only in those columns. Hard prompts are spliced in as ids, soft ones as
embeddings; a text is filled into the template and tokenized afresh, as it would be deployed.

What rows have in common at their beginning, the head, is read once, and the passes run over the tails. Where the template
puts the prompt first, the head is everything up to the prompt's end, one per prompt. Elsewhere it is what stands before the
prompt, one per example: it depends on no prompt, and its keys and values are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.data.task import Example, Task
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.memory import InParts
from hardprompt.lm.perplexity import own_nll
from hardprompt.objective import label_correct, label_cross_entropy
from hardprompt.scoring.answers import answer_tokens, label_ids
from hardprompt.scoring.packing import PASS_TOKENS, packed

if TYPE_CHECKING:
    from hardprompt.lm.prefix_cache import PrefixCache

TOKENS_PER_PASS = 8192
"""Padded tokens in one forward pass without gradient, those of the heads that its rows continue included: more are no faster,
and fewer go where the memory (`FrozenLM.memory`) does not hold as many."""

KEPT_SCORES = 1_000_000
"""Pairs of a prompt and an example whose scores one scorer remembers."""

HEADS_SHARE = 0.4
"""Of a pass's memory, what heads may take that are read in the same call and not kept."""

MOST_BLANKS = 8
"""Tokens of blanks before an answer: a model that decodes nothing else is not waited for."""


@dataclass(frozen=True)
class Scores:
    """P prompts on N examples.

    Attributes:
        loss: nats per example, (P, N): -log p(label) over the label words, or -log p(target, end) for generation.
        correct: whether the answer is right, (P, N).
        label_logits: (P, N, C), or None for generation.
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
        """Those of one prompt, (1, N)."""
        only = slice(prompt, prompt + 1)
        return Scores(self.loss[only], self.correct[only], None if self.label_logits is None else self.label_logits[only])

    @staticmethod
    def joined(parts: "Sequence[Scores]") -> "Scores":
        """The prompts of several, one after another."""
        logits = [part.label_logits for part in parts if part.label_logits is not None]
        return Scores(
            torch.cat([part.loss for part in parts]),
            torch.cat([part.correct for part in parts]),
            torch.cat(logits) if logits else None,
        )


@dataclass
class TokenCount:
    """Logical LM tokens: prompt plus example tokens of every (prompt, example) pair asked for, cached or not."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True)
class _Row:
    """One sequence: known ids, where free embeddings go, and the answer's tokens that are fed."""

    ids: list[int]
    soft_at: int  # position of the first soft vector; its placeholder ids are 0
    answer: list[int]
    prompt: int
    example: int
    read: int  # position whose state predicts the answer's first token: the last of the ids, or that of the mask
    reads: int  # positions whose states predict the answer, from that one on
    head: int = 0  # tokens at the beginning that other rows may share

    @property
    def length(self) -> int:
        return len(self.ids) + len(self.answer)


@dataclass(frozen=True)
class _Heads:
    """Heads that were read together, and the place of each owner's among them: of a prompt, or of an example."""

    past: "PrefixCache"
    place: dict[int, int]


class Scorer:
    """Scores prompts on fixed examples of a task.

    Args:
        lm: the frozen model.
        task: template, label words and match.
        examples: what to score on.
        counter: where LM tokens are counted.
        prompt_nll: where the NLL of hard prompts (nats per token) goes, by ids, that comes out of the same passes: of prompts
            that stand at the very start of the template.

    Raises:
        TaskError: a label word that is no single token of the model, two label words with the same token, an input that
            holds one of the model's special tokens, or a template for the other kind of model (`Task.template_for`).

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> scores = Scorer(lm, task, task.dev).score_ids([lm.encode("write the plural"), ()])
        >>> scores.loss.shape == (2, len(task.dev))
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
        self._verdict = lru_cache(maxsize=100_000)(self._judge)
        self.template = task.template_for(lm.masked)
        self._mask_first = self.template.text.find("{mask}") < self.template.text.find("{prompt}")
        self._refuse_special()
        around = [self.template.around(example.input) for example in self.examples]
        self._before = lm.encode_many([before for before, _ in around])
        self._after = lm.encode_after([after for _, after in around])
        self._after_nothing = lm.encode_many([after for _, after in around])
        self._prompt_first = all(ids == self._before[0] for ids in self._before)
        self._begun = tuple((*lm.opening, *ids) for ids in self._before)
        self._kept_size = sum(map(len, self._begun)) * lm.kept_bytes
        starts_with_prompt = not any(self._before) and all(self._after)
        self._prompt_nll = prompt_nll if starts_with_prompt else None
        self._scored: dict[tuple[int, ...], tuple[int, Scores]] = {}
        if task.label_words:
            self.label_ids = label_ids(lm, task)
            self.labels = torch.tensor([task.labels.index(e.answer) for e in self.examples], device=lm.device)
            self._targets: list[list[int]] = [[] for _ in self.examples]
        else:
            self._targets = answer_tokens(lm, task, [example.answer for example in self.examples])

    def score_ids(self, prompts: Sequence[Sequence[int]], indices: Sequence[int] | None = None) -> Scores:
        """Score hard prompts, spliced in as ids, on all examples or on those of `indices`. No gradient.

        A prompt that is given twice is scored once; what was scored on all examples is remembered.
        """
        asked = [tuple(int(i) for i in ids) for ids in prompts]
        chosen = self._indices(indices)
        if len(self._scored) * len(self.examples) > KEPT_SCORES:
            self._scored.clear()
        known = self._scored if indices is None else {}
        fresh = [ids for ids in dict.fromkeys(asked) if ids not in known]
        if fresh:
            rows = [[self._row(p, n, list(ids)) for n in chosen] for p, ids in enumerate(fresh)]
            scores = self._score([row for each in rows for row in each], len(fresh), chosen)
            known |= {ids: (self._tokens(rows[p]), scores.of(p)) for p, ids in enumerate(fresh)}
        self.counter.forward += sum(known[ids][0] for ids in asked)
        return Scores.joined([known[ids][1] for ids in asked])

    def score_embeds(self, embeds: Tensor, indices: Sequence[int] | None = None) -> Scores:
        """Score one prompt given as embeddings (L, d); differentiable where `embeds` asks for a gradient."""
        chosen = self._indices(indices)
        rows = [self._row(0, n, [0] * embeds.shape[0]) for n in chosen]
        tokens = self._tokens(rows)
        self.counter.forward += tokens
        if not (embeds.requires_grad and torch.is_grad_enabled()):
            return self._score(rows, 1, chosen, embeds.detach())
        self.counter.backward += tokens

        def read(soft: Tensor, part: list[int]) -> Tensor:
            return self._columns([rows[i] for i in part], soft)

        found = InParts.apply(embeds, read, lambda: self._cut(rows), self.lm.memory)
        return self._as_scores(found, (1, len(chosen)))

    def score_text(self, text: str) -> Scores:
        """Score a prompt as text: filled into the template, and the whole tokenized afresh. No gradient."""
        rows = self._text_rows(text)
        self.counter.forward += self._tokens(rows)
        return self._score(rows, 1, range(len(self.examples)))

    @torch.no_grad()
    def score_with_logits(self, prompt: Sequence[int] | Tensor) -> tuple[Scores, Tensor]:
        """Scores of one hard or soft prompt on a classification task, and the next-token logits (N, V) of the same passes."""
        soft = prompt.detach() if isinstance(prompt, Tensor) else None
        ids = [0] * len(prompt) if soft is not None else [int(i) for i in prompt]
        rows = [self._row(0, n, ids) for n in range(len(self.examples))]
        self.counter.forward += self._tokens(rows)
        columns = self.lm.memory.within(lambda: self._in_order(self._columns_by_pass(rows, soft, with_logits=True)))
        width = 2 + len(self.label_ids)
        return self._as_scores(columns[:, :width].contiguous(), (1, len(rows))), columns[:, width:].contiguous()

    def survives(self, ids: Sequence[int], text: str) -> bool:
        """Whether the text, tokenized afresh in its place, gives the same ids on every example."""
        spliced = (self._row(0, n, list(ids)).ids for n in range(len(self.examples)))
        return all(row.ids == other for row, other in zip(self._text_rows(text), spliced, strict=True))

    def next_token_logits(self, prompt: Sequence[int] | Tensor, indices: Sequence[int] | None = None) -> Tensor:
        """Logits (N, V) of the answer's first token, under a hard prompt (ids) or a soft one (embeddings (L, d))."""
        chosen = self._indices(indices)
        return torch.cat(self.answer_logits(prompt, [[] for _ in chosen], chosen))

    @torch.no_grad()
    def answer_logits(
        self, prompt: Sequence[int] | Tensor, answers: Sequence[Sequence[int]], indices: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Per example the logits (T + 1, V) of a given answer's T tokens and of what follows it, under a hard or soft prompt.

        A masked model reads its mask alone: its answers are empty.
        """
        soft = prompt if isinstance(prompt, Tensor) else None
        ids = [0] * len(prompt) if soft is not None else [int(i) for i in prompt]
        rows = []
        for n, answer in zip(self._indices(indices), answers, strict=True):
            row = replace(self._row(0, n, ids), answer=[int(i) for i in answer], reads=len(answer) + 1)
            rows.append(self._checked(row))
        return self.lm.memory.within(lambda: self._answer_logits(rows, soft))

    def check_context(self, prompt_length: int) -> None:
        """ContextExceeded if an example with a prompt of this many tokens is longer than the model's context."""
        for example in range(len(self.examples)):
            self._row(0, example, [0] * prompt_length)

    def room_behind(self, prompt_length: int) -> int:
        """Tokens that still fit behind the longest example with a prompt of this many tokens."""
        rows = (self._row(0, example, [0] * prompt_length) for example in range(len(self.examples)))
        return self.lm.max_length - max(len(row.ids) for row in rows)

    def tokens(self, prompt_length: int) -> int:
        """Logical LM tokens of one prompt of this many tokens on all examples."""
        return self._tokens([self._row(0, example, [0] * prompt_length) for example in range(len(self.examples))])

    def _indices(self, indices: Sequence[int] | None) -> Sequence[int]:
        return range(len(self.examples)) if indices is None else [int(i) for i in indices]

    def _row(self, prompt: int, example: int, prompt_ids: list[int]) -> _Row:
        before = self.lm.opening + self._before[example]
        after = self._after if prompt_ids or self._before[example] else self._after_nothing
        ids = before + prompt_ids + after[example] + self.lm.closing
        head = len(before) + len(prompt_ids) * self._prompt_first
        read = self._read_at(ids)  # this position and what follows it belong to the tail
        answer = self._targets[example]
        return self._checked(_Row(ids, len(before), answer, prompt, example, read, self._reads(answer), min(head, read)))

    def _text_rows(self, text: str) -> list[_Row]:
        filled = [self.template.fill(example.input, text) for example in self.examples]
        whole = [self.lm.opening + ids + self.lm.closing for ids in self.lm.encode_many(filled)]
        rows = (
            _Row(ids, 0, self._targets[n], 0, n, self._read_at(ids), self._reads(self._targets[n]))
            for n, ids in enumerate(whole)
        )
        return [self._checked(row) for row in rows]

    def _read_at(self, ids: list[int]) -> int:
        if not self.lm.masked:
            return len(ids) - 1
        masks = [place for place, token in enumerate(ids) if token == self.lm.mask_id]
        return masks[0 if self._mask_first else -1]  # others, if any, are the prompt's own

    def _refuse_special(self) -> None:
        for number, example in enumerate(self.examples, 1):
            if token := self.lm.special_token_in(example.input):
                raise TaskError(
                    f"task {self.task.name}, example {number} ({example.input[:40]!r}...): its input holds {token!r}, which is "
                    f"no text to {self.lm.name} but one of its special tokens; write it otherwise"
                )
        if self.lm.masked and self.lm.tokenizer.mask_token in self.template.text:
            token = self.lm.tokenizer.mask_token
            raise TaskError(f"task {self.task.name}: write {{mask}} for {token} in the template {self.template.text!r}")

    def _checked(self, row: _Row) -> _Row:
        if row.length > self.lm.max_length:
            start = self.examples[row.example].input[:40]
            raise ContextExceeded(
                f"task {self.task.name}, example {row.example + 1} ({start!r}...): {row.length} tokens with its prompt, "
                f"but the context of {self.lm.name} is {self.lm.max_length}; shorten the input or the prompt"
            )
        if not row.ids:
            raise TaskError(
                f"task {self.task.name}, example {row.example + 1}: nothing stands before the answer, "
                f"and {self.lm.name} has no beginning-of-sequence token; put text into the template"
            )
        return row

    def _tokens(self, rows: list[_Row]) -> int:
        around = len(self.lm.opening) + len(self.lm.closing)
        return sum(row.length - around for row in rows)

    def _passes(self, rows: Sequence[_Row], soft: Tensor | None) -> Iterator[tuple[list[int], Tensor, list[int]]]:
        """All rows, pass by pass: indices of B rows, their tails' hidden states (B, T, d), and where each is read first.

        The states are those of the positions that are read; the others mean nothing.
        """
        one_graph = soft is not None and soft.requires_grad
        for block, heads in self._blocks(rows, soft):
            starts = [rows[i].head if heads else 0 for i in block]
            sizes = [(rows[i].length - start, start, rows[i].reads) for i, start in zip(block, starts, strict=True)]
            for places in packed(sizes, self._fits if not one_graph else lambda *_: True):
                batch, begun = [block[place] for place in places], [starts[place] for place in places]
                some = [rows[i] for i in batch]
                embeds = self._embeds(some, begun, [row.length for row in some], soft)
                past = heads.past.take([heads.place[self._owner(row)] for row in some], begun) if heads else None
                firsts = [row.read - start for row, start in zip(some, begun, strict=True)]
                read = _positions(firsts, [row.reads for row in some], embeds.device)
                yield batch, self.lm.hidden(embeds, past, [sizes[place][0] for place in places], read), firsts

    def _reads(self, answer: list[int]) -> int:
        """From how many positions an answer is predicted; the last one of an exact match predicts the end."""
        return 1 if self.task.label_words else len(answer) + (self.task.match == "exact")

    def _fits(self, count: int, tail: int, head: int, reads: int, gradient: bool = False) -> bool:
        """Whether so many rows of this width, that continue heads of this width, go through the model together."""
        size = self.lm.footprint.of_pass(count * tail, count * head, count * reads, gradient)
        room = self.lm.memory.pass_room * (1 if gradient or self._keeps_heads else 1 - HEADS_SHARE)
        return size <= room and (gradient or count * (tail + head) <= TOKENS_PER_PASS)

    def _fits_as_heads(self, count: int, width: int, _: int, reads: int) -> bool:
        """Whether so many heads of this width are read, and their keys and values held, together."""
        size = self.lm.footprint.of_pass(count * width, 0, count * reads) + count * width * self.lm.kept_bytes
        return size <= HEADS_SHARE * self.lm.memory.pass_room and count * width <= TOKENS_PER_PASS

    def _cut(self, rows: Sequence[_Row]) -> list[list[int]]:
        """Indices of rows whose graphs fit into memory together, in parts."""
        parts: list[list[int]] = []
        heads = [row.head if self.lm.shares_beginnings else 0 for row in rows]
        for i in sorted(range(len(rows)), key=lambda i: rows[i].length):
            count = len(parts[-1]) + 1 if parts else 0
            if count and self._fits(count, rows[i].length - heads[i], heads[i], rows[i].reads, gradient=True):
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts

    def _blocks(self, rows: Sequence[_Row], soft: Tensor | None) -> Iterator[tuple[list[int], _Heads | None]]:
        """Indices of rows and the heads that they continue; None where the model cannot, or reading them apart does not pay."""
        apart = [i for i, row in enumerate(rows) if row.head and self.lm.shares_beginnings]
        longest = {self._owner(rows[i]): rows[i] for i in sorted(apart, key=lambda i: rows[i].head)}
        heads: Iterable[_Heads] = ()
        if apart and self._keeps_heads:
            heads = self.lm.memory.keep(self._begun, self._kept_size, lambda: list(self._read(self._all_before(), None, True)))
        elif sum(rows[i].head for i in apart) - sum(row.head for row in longest.values()) > PASS_TOKENS:
            heads = self._read(list(longest.values()), soft)
        else:
            apart = []
        whole = sorted(set(range(len(rows))) - set(apart))
        if whole:
            yield whole, None
        for some in heads:
            block = [i for i in apart if self._owner(rows[i]) in some.place]
            if block:
                yield block, some

    @property
    def _keeps_heads(self) -> bool:
        """Whether what stands before the prompt is read once, for whoever scores on these examples with this model."""
        return not self._prompt_first and self._kept_size <= self.lm.memory.kept_room

    def _read(self, rows: Sequence[_Row], soft: Tensor | None, once: bool = False) -> Iterator[_Heads]:
        """The heads of one row per owner, in batches of similar length, or, if they are read once and for all, in few batches.

        Rows go through the model together only where their heads were read together.
        """
        wants_nll = self._prompt_nll is not None and soft is None
        sizes = [(row.head, 0, row.head if wants_nll else 0) for row in rows]
        for batch in packed(sizes, self._fits_as_heads, by_length=not once):
            some = [rows[i] for i in batch]
            past = self.lm.prefill(self._embeds(some, [0] * len(some), [row.head for row in some], soft))
            if wants_nll and past.states is not None:
                self._keep_nll(some, past.states)
            yield _Heads(replace(past, states=None), {self._owner(row): place for place, row in enumerate(some)})

    def _keep_nll(self, rows: Sequence[_Row], states: Tensor) -> None:
        """The NLL of the prompts that are the heads of these rows, whose hidden states (B, T, d) are there."""
        ids = pad_sequence([torch.tensor(row.ids[: row.head], device=states.device) for row in rows], batch_first=True)
        for row, nll in zip(rows, own_nll(self.lm, states, ids), strict=True):
            prompt = tuple(row.ids[len(self.lm.opening) : row.head])
            if self._prompt_nll is not None and prompt not in self._prompt_nll:
                self._prompt_nll[prompt] = nll[: row.head - 1].mean()

    def _all_before(self) -> list[_Row]:
        """What stands before the prompt in every example: read in the same batches whichever examples are asked for first."""
        return [_Row(list(ids), len(ids), [], 0, n, len(ids) - 1, 0, len(ids)) for n, ids in enumerate(self._begun) if ids]

    def _owner(self, row: _Row) -> int:
        return row.prompt if self._prompt_first else row.example

    def _embeds(self, rows: Sequence[_Row], starts: Sequence[int], ends: Sequence[int], soft: Tensor | None) -> Tensor:
        """Input embeddings (B, T, d) of right-padded parts of rows."""
        parts = [(row.ids + row.answer)[start:end] for row, start, end in zip(rows, starts, ends, strict=True)]
        width, device = max(map(len, parts)), self.lm.device
        embeds = self.lm.embed(torch.tensor([part + [0] * (width - len(part)) for part in parts], device=device))
        if soft is None or soft.shape[0] == 0:
            return embeds
        firsts = torch.tensor([row.soft_at - start for row, start in zip(rows, starts, strict=True)], device=device)
        columns = firsts[:, None] + torch.arange(soft.shape[0], device=device)
        batch, vector = ((columns >= 0) & (columns < width)).nonzero(as_tuple=True)
        return embeds.index_put((batch, columns[batch, vector]), soft.to(embeds.dtype)[vector])

    @torch.no_grad()
    def _score(self, rows: list[_Row], prompts: int, chosen: Sequence[int], soft: Tensor | None = None) -> Scores:
        found = self.lm.memory.within(lambda: self._columns(rows, soft))
        return self._as_scores(found, (prompts, len(chosen)))

    def _columns(self, rows: Sequence[_Row], soft: Tensor | None) -> Tensor:
        """Loss, rightness and label logits of each row, (B, 2 + C)."""
        return self._in_order(self._columns_by_pass(rows, soft))

    def _as_scores(self, columns: Tensor, shape: tuple[int, int]) -> Scores:
        loss, correct = columns[:, 0].view(shape), columns[:, 1].view(shape) > 0
        return Scores(loss, correct, columns[:, 2:].view(*shape, -1) if self.task.label_words else None)

    def _in_order(self, passes: Iterable[tuple[list[int], Tensor]]) -> Tensor:
        """What the passes found, each of its rows, in the order of the rows."""
        found = list(passes)
        order = torch.tensor([i for batch, _ in found for i in batch], device=self.lm.device)
        return torch.cat([each for _, each in found])[order.argsort()]

    def _columns_by_pass(
        self, rows: Sequence[_Row], soft: Tensor | None, with_logits: bool = False
    ) -> Iterator[tuple[list[int], Tensor]]:
        for batch, hidden, firsts in self._passes(rows, soft):
            some = [rows[i] for i in batch]
            if self.task.label_words:
                logits = self._read_labels(hidden, firsts)
                labels = self.labels[[row.example for row in some]]
                loss, correct = label_cross_entropy(logits, labels), label_correct(logits, labels)
                whole = [self.lm.head(hidden[range(len(some)), firsts]).float()] if with_logits else []
                yield batch, torch.cat([loss[:, None], correct[:, None], logits, *whole], -1)
            else:
                loss, correct = self._read_targets(hidden, firsts, some, soft)
                yield batch, torch.stack([loss, correct], -1)

    def _answer_logits(self, rows: Sequence[_Row], soft: Tensor | None) -> list[Tensor]:
        found: dict[int, Tensor] = {}
        for batch, hidden, firsts in self._passes(rows, soft):
            reads = [rows[i].reads for i in batch]
            row_of = [b for b, count in enumerate(reads) for _ in range(count)]
            at = [first + t for first, count in zip(firsts, reads, strict=True) for t in range(count)]
            found |= dict(zip(batch, self.lm.head(hidden[row_of, at]).split(reads), strict=True))
        return [found[i] for i in range(len(rows))]

    def _read_labels(self, hidden: Tensor, firsts: Sequence[int]) -> Tensor:
        return self.lm.head(hidden[torch.arange(len(firsts)), firsts], self.label_ids).float()

    def _read_targets(
        self, hidden: Tensor, firsts: Sequence[int], rows: Sequence[_Row], soft: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Loss (B,) and rightness (B,) of the targets, all read positions of all rows projected at once."""
        exact = self.task.match == "exact"
        reads = [row.reads for row in rows]
        row_of = torch.tensor([b for b, count in enumerate(reads) for _ in range(count)], device=hidden.device)
        at = [first + t for first, count in zip(firsts, reads, strict=True) for t in range(count)]
        log_probs = self.lm.head(hidden[row_of, torch.tensor(at, device=hidden.device)]).float().log_softmax(-1)
        is_end = torch.tensor(
            [t == len(row.answer) for row, count in zip(rows, reads, strict=True) for t in range(count)],
            device=hidden.device,
        )
        targets = torch.tensor(
            [([*row.answer, 0])[t] for row, count in zip(rows, reads, strict=True) for t in range(count)],
            device=hidden.device,
        )
        token = log_probs.gather(-1, targets[:, None]).squeeze(-1)
        if exact:
            token = torch.where(is_end, log_probs[:, self.lm.end_ids].logsumexp(-1), token)
        loss = -torch.zeros(len(rows), device=hidden.device).index_add(0, row_of, token)
        greedy = log_probs.argmax(-1)
        hit = torch.where(is_end, torch.isin(greedy, self.lm.end_ids), greedy == targets) if exact else greedy == targets
        misses = torch.zeros(len(rows), device=hidden.device).index_add(0, row_of, (~hit).float())
        correct = misses == 0
        first_read = torch.tensor([0, *reads]).cumsum(0)
        for b in (~correct).nonzero().flatten().tolist():
            answers = greedy[first_read[b] : first_read[b + 1]].tolist()
            correct[b] = self._right_otherwise(answers, rows[b], soft)
        return loss, correct

    @torch.no_grad()
    def _right_otherwise(self, greedy: list[int], row: _Row, soft: Tensor | None) -> bool:
        """Whether greedy decoding reaches the target's text by other tokens than its own.

        Decided without another forward pass unless the first deviating token still spells a part of the target.
        """
        target = self.examples[row.example].answer.strip()
        kept = next(t for t, token in enumerate([*row.answer, None]) if greedy[t] != token)
        spelled = row.answer[:kept] + greedy[kept : kept + 1]
        verdict = self._verdict(tuple(spelled), target)
        while verdict is None:
            longer = replace(row, answer=spelled)
            hidden = self.lm.hidden(self._embeds([longer], [0], [longer.length], soft))[0, -1]
            spelled.append(int(self.lm.head(hidden).argmax()))
            if len(row.ids) + len(spelled) >= self.lm.max_length or len(spelled) > len(target.encode()) + MOST_BLANKS:
                return False
            verdict = self._verdict(tuple(spelled), target)
        return verdict

    def _judge(self, answer: tuple[int, ...], target: str) -> bool | None:
        """Right, wrong, or None while both are still possible, of greedily decoded answer tokens."""
        ended = bool((self.lm.end_ids == answer[-1]).any())
        text = self.lm.decode(answer)
        line = text.lstrip(" ").split("\n")[0]
        if self.task.match == "starts-with":
            if line.startswith(target):
                return True
        elif ended or "\n" in text.lstrip(" "):
            return line.strip() == target
        begun = line.strip().rstrip("\ufffd")  # a character whose bytes are not all there yet
        return None if not ended and target.startswith(begun) else False


def _positions(firsts: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """The positions (B, R) from the first one of each row on, -1 beyond its count."""
    offsets = torch.arange(max(counts), device=device)
    positions = torch.tensor(firsts, device=device)[:, None] + offsets
    return positions.masked_fill(offsets >= torch.tensor(counts, device=device)[:, None], -1)
