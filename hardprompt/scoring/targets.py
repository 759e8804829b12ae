"""Generated answers: the loss of a target text, and whether greedy decoding gives it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.lm.chat import answer_ends
from hardprompt.lm.frozen import FrozenLM
from hardprompt.scoring.generation import GreedyDecoder, has_number, number_in
from hardprompt.scoring.passes import ForwardPasses, Pass
from hardprompt.scoring.rows import Row

MAX_BLANKS = 8
"""Tokens of blanks before an answer, after which greedy decoding is stopped."""


class Judge(Protocol):
    """Scores the answers of rows from the features of a forward pass."""

    def loss_and_correct(
        self, done: Pass, rows: Sequence[Row], soft: Tensor | None, decode: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Loss (B,) in nats per example and correctness (B,) of each row."""


def predictions_of(lm: FrozenLM, done: Pass, rows: Sequence[Row], ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities at every position that predicts a part of an answer.

    Args:
        lm: the model.
        done: the forward pass over the rows.
        rows: its rows.
        ids: the tokens among which the answer is, (V,); by default all.

    Returns:
        The log-probabilities (R, V) of all rows, one row after another, and the index of the row of each, (R,).
    """
    counts = [row.predictions for row in rows]
    row_of = torch.tensor([b for b, count in enumerate(counts) for _ in range(count)], device=done.hidden.device)
    at = [first + t for first, count in zip(done.predict_from, counts, strict=True) for t in range(count)]
    features = done.hidden[row_of, torch.tensor(at, device=done.hidden.device)]
    return lm.output_logits(features, ids).float().log_softmax(-1), row_of


class TargetJudge:
    """Scores the targets of a generation task.

    Args:
        lm: the frozen model.
        task: the task, whose `match` decides what is correct.
        examples: the examples that rows refer to.
        passes: the forward passes, which embed the rows that are decoded further.
    """

    def __init__(self, lm: FrozenLM, task: Task, examples: Sequence[Example], passes: ForwardPasses) -> None:
        self._lm = lm
        self._task = task
        self._examples = examples
        self._passes = passes
        self._end_ids = answer_ends(lm, task)
        self._verdict = lru_cache(maxsize=100_000)(self._judge)
        self._next_example = task.template_for(masked=False).line_before_input
        self._decoder = GreedyDecoder(lm, passes, task.max_answer_tokens, self._end_ids, self._has_ended)

    def loss_and_correct(
        self, done: Pass, rows: Sequence[Row], soft: Tensor | None, decode: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Loss (B,) and correctness (B,) of the targets; the logits of all rows and positions are computed at once.

        With `decode=False`, answers with a reasoning (`match="number"`) are not decoded, and none of them is correct.
        """
        exact = self._task.answer_ends
        hidden = done.hidden
        counts = [row.predictions for row in rows]
        log_probs, row_of = predictions_of(self._lm, done, rows)
        is_end = torch.tensor(
            [t == len(row.answer) for row, count in zip(rows, counts, strict=True) for t in range(count)],
            device=hidden.device,
        )
        targets = torch.tensor(
            [([*row.answer, 0])[t] for row, count in zip(rows, counts, strict=True) for t in range(count)],
            device=hidden.device,
        )
        token = log_probs.gather(-1, targets[:, None]).squeeze(-1)
        if exact:
            token = torch.where(is_end, log_probs[:, self._end_ids].logsumexp(-1), token)
        loss = -torch.zeros(len(rows), device=hidden.device).index_add(0, row_of, token)
        if self._task.match == "number":
            return loss, self._right_numbers(rows, soft) if decode else torch.zeros_like(loss, dtype=torch.bool)
        greedy = log_probs.argmax(-1)
        hit = torch.where(is_end, torch.isin(greedy, self._end_ids), greedy == targets) if exact else greedy == targets
        misses = torch.zeros(len(rows), device=hidden.device).index_add(0, row_of, (~hit).float())
        correct = misses == 0
        offsets = torch.tensor([0, *counts]).cumsum(0)
        wrong = (~correct).nonzero().flatten().tolist()
        decoded = [greedy[offsets[b] : offsets[b + 1]].tolist() for b in wrong]
        spelled = self._correct_in_other_tokens(decoded, [rows[b] for b in wrong], soft)
        correct[wrong] = torch.tensor(spelled, dtype=torch.bool, device=hidden.device)
        return loss, correct

    def _right_numbers(self, rows: Sequence[Row], soft: Tensor | None) -> Tensor:
        """Whether the number that each decoded answer ends with is that of the target, (B,)."""
        answers = [self._of_this_example(text) for text in self._decoder.texts(rows, soft)]
        targets = [number_in(self._examples[row.example].answer) for row in rows]
        right = [number_in(answer) == target for answer, target in zip(answers, targets, strict=True)]
        return torch.tensor(right, device=self._lm.device)

    def _of_this_example(self, text: str) -> str:
        """A decoded text up to where the model begins another example of its own."""
        return text.partition("\n" + self._next_example)[0] if self._next_example else text

    def _has_ended(self, text: str) -> bool:
        return has_number(text) or self._of_this_example(text) != text

    @torch.no_grad()
    def _correct_in_other_tokens(self, greedy: Sequence[list[int]], rows: Sequence[Row], soft: Tensor | None) -> list[bool]:
        """Whether greedy decoding spells the target of each row in other tokens than the target's own.

        A row needs no further forward pass unless its first deviating token spells a part of the target.
        """
        spelled = []
        for tokens, row in zip(greedy, rows, strict=True):
            same = next(t for t, token in enumerate([*row.answer, None]) if tokens[t] != token)
            spelled.append(row.answer[:same] + tokens[same : same + 1])
        found = [False] * len(rows)
        pending = list(range(len(rows)))
        while pending:
            verdicts = {i: self._verdict(tuple(spelled[i]), self._target(rows[i])) for i in pending}
            for i, verdict in verdicts.items():
                found[i] = verdict is True
            pending = [i for i, verdict in verdicts.items() if verdict is None]
            begun = [replace(rows[i], answer=list(spelled[i]), predictions=len(spelled[i]) + 1) for i in pending]
            for i, token in zip(pending, self._passes.next_tokens(begun, soft), strict=True):
                spelled[i].append(token)
            pending = [i for i in pending if self._may_end(rows[i], spelled[i])]
        return found

    def _target(self, row: Row) -> str:
        return self._examples[row.example].answer.strip()

    def _may_end(self, row: Row, spelled: Sequence[int]) -> bool:
        """Whether more tokens fit into the context, and the answer is not longer than the target can be."""
        fits = row.predict_from + 1 + len(spelled) < self._lm.max_length
        return fits and len(spelled) <= len(self._target(row).encode()) + MAX_BLANKS

    def _judge(self, answer: tuple[int, ...], target: str) -> bool | None:
        """Whether decoded answer tokens are correct; None while both are possible."""
        ended = bool((self._end_ids == answer[-1]).any())
        text = self._lm.decode(answer)
        line = text.lstrip(" ").split("\n")[0]
        if self._task.match == "starts-with":
            if line.startswith(target):
                return True
        elif ended or "\n" in text.lstrip(" "):
            return line.strip() == target
        begun = line.strip().rstrip("\ufffd")  # a character whose last bytes are not decoded yet
        return None if not ended and target.startswith(begun) else False
