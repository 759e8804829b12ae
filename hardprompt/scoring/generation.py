"""Greedy decoding of long answers, many rows at a time, and the number that an answer ends with."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import torch
from torch import Tensor

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.growing import GrowingSequences
from hardprompt.scoring.packing import packed
from hardprompt.scoring.passes import TOKENS_PER_PASS, ForwardPasses
from hardprompt.scoring.rows import Row

CHECKED_EVERY = 8
"""Tokens after which the texts decoded so far are searched for their end."""

_NUMBER = r"(?:(?<![\w.)])[-\u2212])?\$?[0-9][0-9,]*(?:\.[0-9]+)?|(?:(?<![\w.)])[-\u2212])?\$?\.[0-9]+"
_AFTER_MARK = re.compile(rf"####\s*({_NUMBER})")
_STATED = re.compile(rf"answer(?: is)?\s*:?[\s*_(]*(?:\\\()?({_NUMBER})", re.IGNORECASE)
_ANY = re.compile(_NUMBER)


def number_in(text: str) -> str | None:
    """The number that an answer ends with, in its shortest form; None if it has no number.

    It is the first number after "####" (as GSM8K marks it), otherwise the last one after "answer is" or "answer:", otherwise
    the last number of the text. Commas between digits, "$", and zeros at the end of a fraction do not count.

    Example:
        >>> number_in("2 + 3 = 5, so the answer is $1,005.00."), number_in("18 eggs"), number_in("#### -7 \\n12")
        ('1005', '18', '-7')
        >>> number_in("none") is None
        True
    """
    marked, stated, every = _AFTER_MARK.search(text), _STATED.findall(text), _ANY.findall(text)
    found = marked[1] if marked else stated[-1] if stated else every[-1] if every else None
    if found is None:
        return None
    value = Decimal(found.replace(",", "").replace("$", "").replace("\u2212", "-"))
    short = f"{value:f}"
    short = short.rstrip("0").rstrip(".") if "." in short else short
    return "0" if short in ("-0", "") else short


def has_number(text: str) -> bool:
    """Whether the number of an answer is complete: text follows the one after "####"."""
    return bool(re.search(rf"####\s*({_NUMBER})[^0-9,.]", text))


class GreedyDecoder:
    """Decodes answers greedily.

    Args:
        lm: the frozen model.
        passes: the forward passes, which embed the rows.
        most: the maximal number of tokens of an answer; it has fewer if the context of the model ends.
        end_ids: the tokens that end an answer.
        ends: whether a text decoded so far contains the end of the answer; decoding stops then.
    """

    def __init__(
        self,
        lm: FrozenLM,
        passes: ForwardPasses,
        most: int,
        end_ids: Tensor,
        ends: Callable[[str], bool] = lambda text: False,
    ) -> None:
        self._lm, self._passes, self._most, self._ends = lm, passes, most, ends
        self._end_ids = set(end_ids.tolist())

    @torch.no_grad()
    def texts(self, rows: Sequence[Row], soft: Tensor | None) -> list[str]:
        """The decoded text of each row; its own answer is not read.

        Args:
            rows: the rows.
            soft: the vectors of a soft prompt, (L, d).
        """
        started = [replace(row, answer=[], predictions=1) for row in rows]
        room = [min(self._most, self._lm.max_length - (row.predict_from + 1 if row.decoded else row.length)) for row in started]
        answers: list[list[int]] = [[] for _ in rows]
        cached = [i for i, row in enumerate(started) if self._continues(row, room[i])]
        if whole := sorted(set(range(len(rows))) - set(cached)):
            self._with_whole_passes(whole, started, room, soft, answers)
        for batch in packed([(started[i].length, 0, 1) for i in cached], self._fits) if cached else ():
            self._with_cache([cached[place] for place in batch], started, room, soft, answers)
        return [self._lm.decode(answer) for answer in answers]

    def _continues(self, row: Row, room: int) -> bool:
        """Whether the numbers of the tokens after a row are exact behind the keys and values of the tokens before."""
        return self._lm.shares_prefixes and not row.decoded and row.length + room <= self._lm.rules.shared

    def _fits(self, count: int, width: int, prefix: int, predictions: int) -> bool:
        """Whether `count` rows of `width` tokens are decoded together: their keys and values grow by those of the answers."""
        size = (
            self._lm.footprint.of_pass(count * width, 0, count) + count * (width + self._most) * self._lm.cache_bytes_per_token
        )
        return 2 * size <= self._lm.memory.pass_bytes and count * width <= TOKENS_PER_PASS

    def _with_cache(
        self, batch: list[int], rows: Sequence[Row], room: Sequence[int], soft: Tensor | None, answers: list[list[int]]
    ) -> None:
        """Decode some of the rows token by token behind the keys and values of the tokens before."""
        some = [rows[i] for i in batch]
        lengths = [row.length for row in some]
        grown = GrowingSequences(self._lm, self._passes.embeds(some, [0] * len(some), lengths, soft), lengths)
        while left := self._append(batch, self._lm.output_logits(grown.features).argmax(-1).tolist(), room, answers):
            grown.keep(left)
            batch = [batch[place] for place in left]
            grown.append([answers[i][-1] for i in batch])

    def _with_whole_passes(
        self, batch: list[int], rows: Sequence[Row], room: Sequence[int], soft: Tensor | None, answers: list[list[int]]
    ) -> None:
        """Decode with a pass over the whole row for each token, for models whose keys and values cannot be continued."""
        while batch:
            some = [replace(rows[i], answer=answers[i], predictions=len(answers[i]) + 1) for i in batch]
            chosen = self._passes.next_tokens(some, soft)
            batch = [batch[i] for i in self._append(batch, chosen, room, answers)]

    def _append(self, batch: list[int], chosen: list[int], room: Sequence[int], answers: list[list[int]]) -> list[int]:
        """Append a token to each answer, and return the places in the batch of those that are not finished."""
        left = []
        for place, (i, token) in enumerate(zip(batch, chosen, strict=True)):
            if token in self._end_ids or room[i] < 1:
                continue
            answers[i].append(token)
            checked = len(answers[i]) % CHECKED_EVERY == 0
            if len(answers[i]) < room[i] and not (checked and self._ends(self._lm.decode(answers[i]))):
                left.append(place)
        return left
