"""Tokens that the model itself proposes: likely continuations of a context, restricted to the allowed tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.optimizers.base import Problem


class Proposals:
    """Draws allowed tokens that the model finds likely after a context.

    A context is what stands before a token: the start tokens of the model and the first tokens of a prompt, or also the input
    of a train example before them ("in place").

    Args:
        problem: the problem. Its generator draws, and its counter counts: each drawn token costs the tokens of its context,
            without the start tokens. A model that is not causal predicts no next token; then all allowed tokens are alike, and
            nothing is read.
        likely: the number of most probable tokens that are drawn from.
        temperature: the temperature of the distribution.

    Attributes:
        places: what stands before the prompt in the rows of the train examples, as token ids; empty if nothing does.
    """

    def __init__(self, problem: Problem, likely: int, temperature: float = 1.0) -> None:
        self._problem = problem
        self._likely = min(likely, len(problem.allowed))
        self._temperature = temperature
        self._start = list(problem.lm.prefix_ids)
        self._reads = problem.lm.kind == "causal"
        before = [list(ids) for ids in problem.train.contexts]
        self.places = before if self._reads and any(ids != self._start for ids in before) else []

    @torch.no_grad()
    def next_tokens(self, contexts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """Draw `count` tokens after each context, with replacement. After an empty context, all allowed tokens are alike."""
        lm, generator, allowed = self._problem.lm, self._problem.generator, self._problem.allowed
        if not self._reads:
            return allowed.cpu()[torch.randint(len(allowed), (len(contexts), count), generator=generator)].tolist()
        lengths = [max(len(context), 1) for context in contexts]
        batch = torch.zeros(len(contexts), max(lengths), dtype=torch.long, device=lm.device)
        for row, context in zip(batch, contexts, strict=True):
            row[: len(context)] = torch.tensor(list(context), dtype=torch.long, device=lm.device)
        self._problem.counter.forward += sum(max(length - len(self._start), 1) for length in lengths)
        last = torch.tensor(lengths, device=lm.device)[:, None] - 1
        states = lm.hidden(lm.embed(batch), lengths=lengths, positions=last).gather(
            1, last[..., None].expand(-1, -1, lm.vocab_embeds.shape[1])
        )
        logits = lm.output_logits(states[:, 0], allowed).float() / self._temperature
        empty = torch.tensor([not len(context) for context in contexts], device=lm.device)
        logits[empty] = 0.0
        top, columns = logits.topk(self._likely)
        top[empty], columns[empty] = 0.0, self._any(columns[empty])
        drawn = torch.multinomial(top.softmax(-1).cpu(), count, replacement=True, generator=generator).to(lm.device)
        return allowed[columns.gather(1, drawn)].tolist()

    def continued(self, contexts: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[int]]:
        """Draw a continuation of each context, `counts` tokens long."""
        drawn: list[list[int]] = [[] for _ in contexts]
        for step in range(max(counts, default=0)):
            rows = [i for i, count in enumerate(counts) if step < count]
            for i, [token] in zip(rows, self.next_tokens([[*contexts[i], *drawn[i]] for i in rows], 1), strict=True):
                drawn[i].append(token)
        return drawn

    def context(self, left: Sequence[int], place: int | None = None) -> list[int]:
        """The context of the token behind `left`: at the start of a document, or behind a train input."""
        return [*(self._start if place is None else self.places[place]), *left]

    def _any(self, like: Tensor) -> Tensor:
        """Columns of allowed tokens drawn uniformly, in the shape of `like`."""
        drawn = torch.randint(len(self._problem.allowed), like.shape, generator=self._problem.generator)
        return drawn.to(like.device)
