"""Tokens that the language model itself proposes for a prompt: its next tokens after the tokens before them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.errors import RequestError
from hardprompt.lm.growing import GrowingSequences
from hardprompt.optimizers.base import Problem
from hardprompt.prompt import HardPrompt, turn_marker_in

DRAWS = 4
"""The number of rounds in which `drawn_prompts` replaces prompts whose text has other tokens."""


def predicts_next_token(problem: Problem, config: Any) -> None:
    """Raise RequestError if the model is not a causal one, so that it proposes no next token of a prompt."""
    if problem.lm.kind != "causal":
        raise RequestError(
            f"{problem.lm.name} predicts no next token of a prompt ({problem.lm.kind} model); use the optimizer random"
        )


def shortest_length(problem: Problem) -> int:
    """The shortest length at which a prompt has an NLL: 1, or 2 for a model without a start token; at most the prompt length.

    A shorter prompt would be the best one at a high fluency weight, because it has no NLL.
    """
    return min(1 if problem.lm.prefix_ids else 2, problem.prompt_length)


@torch.no_grad()
def next_token_logits(problem: Problem, prompts: Tensor) -> Tensor:
    """Logits of the allowed tokens after P prompts of t tokens each, behind the start tokens of the model.

    Args:
        problem: the problem, whose model is a causal one. The passes are counted as t + 1 LM tokens per prompt.
        prompts: token ids, (P, t). With t = 0 the model proposes the first token.

    Returns:
        Logits, (P, A). They are all 0 for the first token if the model has no start token, since then nothing precedes it.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> next_token_logits(problem, problem.random_ids(3)).shape == (3, len(problem.allowed))
        True
    """
    lm = problem.lm
    start = torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device).expand(len(prompts), -1)
    read = torch.cat([start, prompts], 1)
    if not read.shape[1]:
        return torch.zeros(len(prompts), len(problem.allowed), device=lm.device)
    problem.counter.forward += len(prompts) * (prompts.shape[1] + 1)
    return lm.output_logits(lm.hidden(lm.embed(read))[:, -1], problem.allowed)


def draw_tokens(logits: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw tokens from softmax(logits) without replacement: the largest values of logits + Gumbel noise (Vieira 2014).

    Args:
        logits: logits of A tokens for each of P prompts, (P, A).
        count: number of tokens for each prompt; all A tokens if there are fewer.
        generator: the source of the noise.

    Returns:
        Columns of the drawn tokens in the order of the draws, (P, min(count, A)).

    Example:
        >>> draw_tokens(torch.tensor([[0.0, -1e9, 9e9]]), 2, torch.Generator().manual_seed(0)).tolist()
        [[2, 0]]
    """
    noise = -torch.empty(logits.shape).exponential_(generator=generator).log()
    return (logits.float() + noise.to(logits.device)).topk(min(count, logits.shape[1])).indices


def keeps_tokens(problem: Problem, ids: Sequence[int]) -> bool:
    """Whether the text of a prompt has the same tokens in its place in the template.

    A prompt is deployed as text. A text with other tokens may be neither as accurate nor as probable as the prompt that was
    scored.
    """
    text = HardPrompt.from_ids(problem.lm, ids, problem.template).text
    if turn_marker_in(problem.lm, problem.template, text):
        return False
    return HardPrompt.in_place(problem.lm, problem.template, text).ids == tuple(ids)


def kept_by_text(problem: Problem, prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The prompts whose text has the same tokens (`keeps_tokens`)."""
    return [ids for ids in prompts if keeps_tokens(problem, ids)]


def drawn_prompts(problem: Problem, count: int, draw: Callable[[int], Sequence[Sequence[int]]]) -> list[tuple[int, ...]]:
    """Draw prompts whose text has the same tokens (`keeps_tokens`).

    Prompts whose text has other tokens are replaced by new draws, in at most `DRAWS` rounds.

    Args:
        problem: the problem.
        count: the number of prompts.
        draw: returns a given number of prompts.

    Returns:
        At most `count` prompts, and at least one: if no text has the same tokens, the first prompt of the last draw.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> [len(ids) for ids in drawn_prompts(problem, 2, lambda count: problem.random_ids(count).tolist())]
        [5, 5]
    """
    found: list[tuple[int, ...]] = []
    for _ in range(DRAWS):
        drawn = [tuple(ids) for ids in draw(count - len(found))]
        found += kept_by_text(problem, drawn)
        if len(found) == count:
            break
    return found or drawn[:1]


def random_prompts(problem: Problem, count: int) -> list[tuple[int, ...]]:
    """Draw prompts of allowed tokens uniformly (`drawn_prompts`)."""
    return drawn_prompts(problem, count, lambda missing: problem.random_ids(missing).tolist())


class Proposals:
    """Draws allowed tokens that the model finds likely after a context.

    A context is what stands before a token: the start tokens of the model and the first tokens of a prompt, or also the input
    of a train example before them ("in place").

    Args:
        problem: the problem. Its generator draws. Each continuation counts as the tokens of its context, without the start
            tokens, and its own. A model that is not causal predicts no next token; then all allowed tokens are alike, and
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
        if not self._reads:
            return self._any(len(contexts), count).tolist()
        self._count(contexts)
        return self._next(contexts, count).tolist()

    @torch.no_grad()
    def log_probs(self, contexts: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the allowed tokens in nats, (P, A), after contexts of at least one token under a causal model.

        The probabilities of the allowed tokens sum to 1, and the temperature is not used.

        Example:
            >>> from hardprompt import load_lm, load_task
            >>> proposals = Proposals(Problem(load_task("plural"), load_lm("microworld")), likely=8)
            >>> proposals.log_probs([proposals.context([])]).exp().sum().round(decimals=3).item()
            1.0
        """
        self._count(contexts)
        logits = self._problem.lm.output_logits(self._features(contexts), self._problem.allowed)
        return logits.float().log_softmax(-1)

    @torch.no_grad()
    def continued(self, contexts: Sequence[Sequence[int]], counts: Sequence[int]) -> list[list[int]]:
        """Draw a continuation of each context, `counts` tokens long, behind the keys and values of the tokens before."""
        if not self._reads:
            return [self._any(1, count)[0].tolist() for count in counts]
        lm = self._problem.lm
        drawn: list[list[int]] = [[] for _ in contexts]
        rows = [i for i, count in enumerate(counts) if count]
        self._count([contexts[i] for i in rows], [counts[i] for i in rows])
        longest = max((len(context) + count for context, count in zip(contexts, counts, strict=True)), default=0)
        if not (all(map(len, contexts)) and lm.shares_prefixes and longest <= lm.rules.shared):
            for step in range(max(counts, default=0)):
                rows = [i for i in rows if step < counts[i]]
                for i, [token] in zip(rows, self._next([[*contexts[i], *drawn[i]] for i in rows], 1).tolist(), strict=True):
                    drawn[i].append(token)
            return drawn
        if not rows:
            return drawn
        read = [contexts[i] for i in rows]
        grown = GrowingSequences(lm, self._embeds(read), [len(context) for context in read])
        while True:
            for i, [token] in zip(rows, self._drawn(grown.features, 1).tolist(), strict=True):
                drawn[i].append(token)
            left = [place for place, i in enumerate(rows) if len(drawn[i]) < counts[i]]
            if not left:
                return drawn
            grown.keep(left)
            rows = [rows[place] for place in left]
            grown.append([drawn[i][-1] for i in rows])

    def context(self, left: Sequence[int], place: int | None = None) -> list[int]:
        """The context of the token behind `left`: at the start of a document, or behind a train input."""
        return [*(self._start if place is None else self.places[place]), *left]

    def _count(self, contexts: Sequence[Sequence[int]], counts: Sequence[int] | None = None) -> None:
        """Count the LM tokens of contexts and of `counts` tokens behind each, or of one."""
        self._problem.counter.forward += sum(len(context) - len(self._start) for context in contexts)
        self._problem.counter.forward += len(contexts) if counts is None else sum(counts)

    def _next(self, contexts: Sequence[Sequence[int]], count: int) -> Tensor:
        """`count` tokens after each context, (B, count)."""
        drawn = self._drawn(self._features(contexts), count)
        empty = [i for i, context in enumerate(contexts) if not len(context)]
        drawn[empty] = self._any(len(empty), count)
        return drawn

    def _features(self, contexts: Sequence[Sequence[int]]) -> Tensor:
        """The features (P, d) at the last token of each context, which predict the token after it."""
        lengths = [max(len(context), 1) for context in contexts]
        last = torch.tensor(lengths, device=self._problem.lm.device)[:, None] - 1
        states = self._problem.lm.hidden(self._embeds(contexts), lengths=lengths, positions=last)
        return states[torch.arange(len(contexts)), last[:, 0]]

    def _embeds(self, contexts: Sequence[Sequence[int]]) -> Tensor:
        """Right-padded input embeddings of contexts, (B, T, d)."""
        rows = [torch.tensor(list(context) or [0], device=self._problem.lm.device) for context in contexts]
        return self._problem.lm.embed(pad_sequence(rows, batch_first=True))

    def _drawn(self, features: Tensor, count: int) -> Tensor:
        """Draw tokens for each row of features, (B, count), from the most probable ones."""
        allowed = self._problem.allowed
        logits = self._problem.lm.output_logits(features, allowed).float() / self._temperature
        top, columns = logits.topk(self._likely)
        drawn = torch.multinomial(top.softmax(-1).cpu(), count, replacement=True, generator=self._problem.generator)
        return allowed[columns.gather(1, drawn.to(columns.device))]

    def _any(self, rows: int, count: int) -> Tensor:
        """Allowed tokens drawn uniformly, (rows, count)."""
        drawn = torch.randint(len(self._problem.allowed), (rows, count), generator=self._problem.generator)
        return self._problem.allowed[drawn.to(self._problem.allowed.device)]
