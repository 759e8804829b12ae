"""Forward passes over rows: in batches that fit into memory, with every shared prefix read once.

Rows that begin with the same tokens share these as their prefix, which is read once, and the passes run over the rest of each
row. Where the template puts the prompt first, the prefix is everything up to the end of the prompt, one per prompt. Elsewhere
it is the text before the prompt, one per example. That text depends on no prompt, so its keys and values are cached.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import next_token_nll
from hardprompt.scoring.packing import PASS_TOKENS, packed
from hardprompt.scoring.rows import Row, RowBuilder

if TYPE_CHECKING:
    from hardprompt.lm.prefix_cache import PrefixCache

TOKENS_PER_PASS = 8192
"""Maximal number of padded tokens in one forward pass without gradient, including those of the prefixes. Larger passes are not
faster. Passes are smaller where the memory budget (`FrozenLM.memory`) requires it."""

PREFIX_SHARE = 0.4
"""Share of the memory of a pass for prefixes that are read and used in the same call and not kept."""


@dataclass(frozen=True)
class _Prefixes:
    """Prefixes that were read together, and the index of each owner (a prompt or an example) among them."""

    cache: "PrefixCache"
    index: dict[int, int]


@dataclass(frozen=True)
class Pass:
    """The result of one forward pass over B rows.

    Attributes:
        rows: indices of the rows among those that were given.
        hidden: last hidden states (B, T, d) of each row after its prefix; only those that predict an answer are meaningful.
        predict_from: for each row, the position in `hidden` that predicts the first token of the answer.
    """

    rows: list[int]
    hidden: Tensor
    predict_from: list[int]


class ForwardPasses:
    """Runs rows through the model.

    Args:
        lm: the frozen model.
        builder: the builder of the rows.
        prompt_nll: filled with the NLL of hard prompts (nats per token) by token ids, as a by-product of reading them as
            prefixes; None to leave it out.
    """

    def __init__(self, lm: FrozenLM, builder: RowBuilder, prompt_nll: dict[tuple[int, ...], Tensor] | None = None) -> None:
        self._lm = lm
        self._builder = builder
        self._prompt_nll = prompt_nll if builder.starts_with_prompt else None
        self._prefix_bytes = sum(map(len, builder.prefixes)) * lm.cache_bytes_per_token

    def run(self, rows: Sequence[Row], soft: Tensor | None) -> Iterator[Pass]:
        """Run all rows, one pass after another; differentiable in the soft prompt (L, d)."""
        one_graph = soft is not None and soft.requires_grad
        for block, prefixes in self._blocks(rows, soft):
            starts = [rows[i].prefix_length if prefixes else 0 for i in block]
            sizes = [(rows[i].embedded - start, start, rows[i].predictions) for i, start in zip(block, starts, strict=True)]
            for places in packed(sizes, self._fits if not one_graph else lambda *_: True):
                batch, begun = [block[place] for place in places], [starts[place] for place in places]
                some = [rows[i] for i in batch]
                embeds = self.embeds(some, begun, [row.embedded for row in some], soft)
                owners = [self._builder.prefix_owner(row) for row in some]
                cache = prefixes.cache.take([prefixes.index[owner] for owner in owners], begun) if prefixes else None
                predict_from = [row.predict_from - start for row, start in zip(some, begun, strict=True)]
                positions = _positions(predict_from, [row.predictions for row in some], embeds.device)
                lengths = [sizes[place][0] for place in places]
                answers = [row.answer for row in some]
                yield Pass(batch, self._lm.hidden(embeds, cache, lengths, positions, answers), predict_from)

    def split(self, rows: Sequence[Row]) -> list[list[int]]:
        """Indices of rows in parts whose gradient graphs each fit into memory."""
        parts: list[list[int]] = []
        prefixes = [row.prefix_length if self._shares(row) else 0 for row in rows]
        for i in sorted(range(len(rows)), key=lambda i: rows[i].length):
            part = [*parts[-1], i] if parts else [i]
            rest, prefix = max(rows[j].length - prefixes[j] for j in part), max(prefixes[j] for j in part)
            if parts and self._fits(len(part), rest, prefix, rows[i].predictions, gradient=True):
                parts[-1].append(i)
            else:
                parts.append([i])
        return parts

    @torch.no_grad()
    def next_tokens(self, rows: Sequence[Row], soft: Tensor | None) -> list[int]:
        """The most probable token after the answer of each row."""
        chosen = [0] * len(rows)
        for done in self.run(rows, None if soft is None else soft.detach()):
            at = [first + len(rows[i].answer) for first, i in zip(done.predict_from, done.rows, strict=True)]
            found = self._lm.output_logits(done.hidden[torch.arange(len(at)), at]).argmax(-1).tolist()
            for i, token in zip(done.rows, found, strict=True):
                chosen[i] = token
        return chosen

    def embeds(self, rows: Sequence[Row], starts: Sequence[int], ends: Sequence[int], soft: Tensor | None) -> Tensor:
        """Right-padded input embeddings (B, T, d) of rows from their start positions to their end positions."""
        parts = [(row.ids + row.answer)[start:end] for row, start, end in zip(rows, starts, ends, strict=True)]
        width, device = max(map(len, parts)), self._lm.device
        embeds = self._lm.embed(torch.tensor([part + [0] * (width - len(part)) for part in parts], device=device))
        if soft is None or soft.shape[0] == 0:
            return embeds
        firsts = torch.tensor([row.soft_start - start for row, start in zip(rows, starts, strict=True)], device=device)
        columns = firsts[:, None] + torch.arange(soft.shape[0], device=device)
        batch, vector = ((columns >= 0) & (columns < width)).nonzero(as_tuple=True)
        return embeds.index_put((batch, columns[batch, vector]), soft.to(embeds.dtype)[vector])

    def _blocks(self, rows: Sequence[Row], soft: Tensor | None) -> Iterator[tuple[list[int], _Prefixes | None]]:
        """Indices of rows with the prefixes that they continue; None where prefixes are not shared or sharing does not pay."""
        owner = self._builder.prefix_owner
        sharing = [i for i, row in enumerate(rows) if row.prefix_length and self._shares(row)]
        longest = {owner(rows[i]): rows[i] for i in sorted(sharing, key=lambda i: rows[i].prefix_length)}
        prefixes: Iterable[_Prefixes] = ()
        if sharing and self._keeps_prefixes:
            prefixes = self._lm.memory.cached(
                self._builder.prefixes,
                self._prefix_bytes,
                lambda: list(
                    self._read_prefixes(list(filter(self._shares, self._builder.prefix_rows())), None, by_length=False)
                ),
            )
        elif sum(rows[i].prefix_length for i in sharing) - sum(row.prefix_length for row in longest.values()) > PASS_TOKENS:
            prefixes = self._read_prefixes(list(longest.values()), soft)
        else:
            sharing = []
        whole = sorted(set(range(len(rows))) - set(sharing))
        if whole:
            yield whole, None
        for some in prefixes:
            block = [i for i in sharing if owner(rows[i]) in some.index]
            if block:
                yield block, some

    def _shares(self, row: Row) -> bool:
        """Whether the numbers of a row are exact behind a shared prefix."""
        return self._lm.shares_prefixes and row.length <= self._lm.rules.shared

    @property
    def _keeps_prefixes(self) -> bool:
        """Whether the text before the prompt is read once for all scorers of these examples with this model."""
        return not self._builder.prompt_first and self._prefix_bytes <= self._lm.memory.cache_bytes

    def _read_prefixes(self, rows: Sequence[Row], soft: Tensor | None, by_length: bool = True) -> Iterator[_Prefixes]:
        """The prefixes of one row per owner, in batches of similar length or, for those that are kept, in as few as possible.

        Rows go through the model together only where their prefixes were read together.
        """
        wants_nll = self._prompt_nll is not None and soft is None
        sizes = [(row.prefix_length, 0, row.prefix_length if wants_nll else 0) for row in rows]
        for batch in packed(sizes, self._prefixes_fit, by_length=by_length):
            some = [rows[i] for i in batch]
            cache = self._lm.prefill(self.embeds(some, [0] * len(some), [row.prefix_length for row in some], soft))
            if wants_nll and cache.states is not None:
                self._store_nll(some, cache.states)
            index = {self._builder.prefix_owner(row): place for place, row in enumerate(some)}
            yield _Prefixes(replace(cache, states=None), index)

    def _store_nll(self, rows: Sequence[Row], states: Tensor) -> None:
        """Store the NLL of the prompts that are the prefixes of these rows, from their hidden states (B, T, d)."""
        ids = pad_sequence([torch.tensor(row.ids[: row.prefix_length], device=states.device) for row in rows], batch_first=True)
        unscored = max(0, len(self._lm.prefix_ids) - 1)
        for row, nll in zip(rows, next_token_nll(self._lm, states, ids), strict=True):
            prompt = tuple(row.ids[len(self._lm.prefix_ids) : row.prefix_length])
            if self._prompt_nll is not None and prompt not in self._prompt_nll:
                self._prompt_nll[prompt] = nll[unscored : row.prefix_length - 1].mean()

    def _fits(self, count: int, width: int, prefix: int, predictions: int, gradient: bool = False) -> bool:
        """Whether `count` rows with `width` tokens behind a prefix of `prefix` tokens go through the model together."""
        if prefix and width + prefix > self._lm.rules.shared:
            return False
        size = self._lm.footprint.of_pass(count * width, count * prefix, count * predictions, gradient)
        available = self._lm.memory.pass_bytes * (1 if gradient or self._keeps_prefixes else 1 - PREFIX_SHARE)
        return size <= available and (gradient or count * (width + prefix) <= TOKENS_PER_PASS)

    def _prefixes_fit(self, count: int, width: int, _: int, predictions: int) -> bool:
        """Whether `count` prefixes of `width` tokens are read together and their keys and values held."""
        size = self._lm.footprint.of_pass(count * width, 0, count * predictions)
        size += count * width * self._lm.cache_bytes_per_token
        return size <= PREFIX_SHARE * self._lm.memory.pass_bytes and count * width <= TOKENS_PER_PASS


def _positions(firsts: Sequence[int], counts: Sequence[int], device: torch.device) -> Tensor:
    """For each row `count` positions from its first one on, (B, R), filled up with -1."""
    offsets = torch.arange(max(counts), device=device)
    positions = torch.tensor(firsts, device=device)[:, None] + offsets
    return positions.masked_fill(offsets >= torch.tensor(counts, device=device)[:, None], -1)
