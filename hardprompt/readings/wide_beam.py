"""The reader `wide-beam`: a beam search over proposals of the next token from many sources.

It minimizes KL(P || q) + weight x NLL(q) over texts q of up to L tokens. It starts from the empty text. In each step, every
beam q is extended by tokens v from several sources:

- the model after the start of a document and q: the largest p(v | start, q);
- the model in place: the largest mean of log p(v | input, q) over some inputs, if the prompt follows its input;
- at the first token, a chat model after chats that show answers under the target and ask for the instruction;
- the gradient g of the KL divergence at a placeholder behind q: the least e_v . g, with the term of the NLL
  (`token_gradients.py`; AutoPrompt, Shin et al. 2020, ranks tokens in the same way).

A token that the model would continue within its word is also proposed with the rest of the word, and every candidate also with
a closing colon, as a finished text. The candidates are many, so they race: all are scored on a few inputs, and the best quarter
on all. The best of them are the next beams. In the end, spans of one to three tokens are deleted from the best texts as long as
the objective falls. While budget is left, the search is repeated with twice as many beams and proposals.
"""

import os
from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from hardprompt.errors import TaskError
from hardprompt.lm.chat import ChatTemplate
from hardprompt.lm.vocabulary import BLANK_MARKS
from hardprompt.objective import combine
from hardprompt.optimizers.base import Config
from hardprompt.optimizers.proposals import Proposals, draw_tokens, kept_by_text, predicts_next_token, shortest_length
from hardprompt.readings.base import reader
from hardprompt.readings.problem import GENERATED_TOKENS, ReadingProblem

Ids = tuple[int, ...]

DRAWN = float(os.environ.get("DRAWN", "0.75"))
KEPT = 3
"""Texts of each step that are scored on dev, and texts that spans are deleted from."""

HALVING = 4
"""In a race, one of this many texts goes on, and the number of answers grows by this factor."""

BEAM_SHARE = 0.85
"""Share of the budget for the beams. The deletions have the rest."""

WORD_TOKENS = 3
"""Maximal number of tokens by which a word is completed."""

AT_ONCE = 64
"""Candidates that are scored between two looks at the budget."""

QUESTIONS = (
    "Which instruction leads from each input to its output? Write the instruction only.",
    "What is the output of each input? Name it in one or two words.",
)
"""What the chats ask."""

LEADS = ("", "Instruction:")
"""How the answers in the chats begin: with a token without a blank, and with one behind a blank."""


class WideBeamConfig(Config):
    """Options of the wide beam."""

    beams: PositiveInt = int(os.environ.get('BEAMS', '8'))
    """Number of beams in the first search. It doubles in each further search, for which budget has to be left."""

    proposals: PositiveInt = int(os.environ.get('PROP', '6'))
    """Number of tokens from each source for each beam. The first token, which has one beam, has four times as many."""

    first_inputs: PositiveInt = 3
    """x"""
    first_answers: PositiveInt = int(os.environ.get('FIRST', '2'))
    """Number of answers on which all candidates are scored, drawn anew in each step."""


@reader("wide-beam", WideBeamConfig, check=predicts_next_token)
def wide_beam(problem: ReadingProblem, config: WideBeamConfig) -> list[Ids]:
    """Beam search over proposals from the model, from its chats and from the gradient of the divergence."""
    search = _Search(problem, config)
    passes = 0
    costs = []
    while True:
        a = problem.spent
        grown = search.grow()
        costs.append(problem.spent - a)
        a = problem.spent
        search.shorten()
        costs.append(problem.spent - a)
        if problem.lm_tokens is None or search.full() or not grown:
            print("passes", costs, len(search.totals))
            return search.finish()


class _Search:
    """The state of one reading: the objective on all inputs of each text that was scored on them."""

    def __init__(self, problem: ReadingProblem, config: WideBeamConfig) -> None:
        self.problem, self.config = problem, config
        self.totals: dict[Ids, float] = {}
        self._open: dict[Ids, float] = {(): 0.0}
        self._seen: set[Ids] = set()
        self._proposals = Proposals(problem, len(problem.allowed))
        self._shortest = shortest_length(problem)
        lm, allowed = problem.lm, problem.allowed.tolist()
        pieces = lm.tokenizer.convert_ids_to_tokens(allowed)
        continues = [not piece.startswith(BLANK_MARKS) and piece[:1].isalpha() for piece in pieces]
        self._continues = {token for token, inside in zip(allowed, continues, strict=True) if inside}
        readable = [text.isprintable() and not text.isspace() for text in (lm.decode([token]) for token in allowed)]
        self._penalty = torch.where(torch.tensor(readable, device=lm.device), 0.0, -torch.inf)
        colon = lm.encode_after([":"])[0]
        self._colon = tuple(colon) if len(colon) == 1 and colon[0] in set(allowed) else ()
        self._chats: list[list[int]] | None = None

    def full(self) -> bool:
        """Whether the share of the budget for the beams is used up."""
        return self.problem.lm_tokens is not None and self.problem.spent >= BEAM_SHARE * self.problem.lm_tokens

    def finish(self) -> list[Ids]:
        """Score the best texts of each length on dev; returns the best texts of all, the best one last."""
        fitting = [ids for ids in self._ranked() if len(ids) >= self._shortest]
        lengths = sorted({len(ids) for ids in fitting})
        best = [ids for length in lengths for ids in [ids for ids in fitting if len(ids) == length][:KEPT]]
        if best:
            self.problem.score_on_dev(best)
        return fitting[:KEPT][::-1]

    def grow(self) -> bool:
        """One beam search from the shortest texts to the longest; returns whether any text was extended."""
        extended = False
        for length in range(self.problem.prompt_length):
            beams = self._beams(length)
            if self.full():
                break
            if beams:
                self._extend(beams)
                extended = True
                self.problem.note(0.0)
        return extended

    def _beams(self, length: int) -> list[Ids]:
        """Texts of a length that were not extended yet: those with the lowest objective, and draws from the model."""
        fresh = [ids for ids in self._open if len(ids) == length]
        drawn = round(self.config.beams * DRAWN)
        beams = [ids for ids in self._ranked() if ids in self._open and len(ids) == length][: self.config.beams - drawn]
        others = [ids for ids in fresh if ids not in beams]
        if others:
            log_probs = torch.tensor([[self._open[ids] for ids in others]])
            beams += [others[i] for i in draw_tokens(log_probs, drawn, self.problem.generator)[0].tolist()]
        return beams

    def _extend(self, beams: Sequence[Ids]) -> None:
        """Propose and race the extensions of beams."""
        for ids in beams:
            del self._open[ids]
        examples = self.problem.batch(self.config.first_inputs)
        count = self.config.proposals * (1 if beams != [()] else 4)
        children = [ids for ids in self._children(beams, count, examples) if ids not in self._seen]
        if children:
            children = kept_by_text(self.problem, children)
        self._seen |= {*children}
        longest = self.problem.prompt_length
        closed = [(*ids, *self._colon) for ids in children if len(ids) < longest and self._colon]
        self._race([*children, *closed])
        longer = [ids for ids in children if len(ids) < longest]
        if longer:
            nll = self.problem.prompt_nll(longer).nan_to_num(0.0).tolist()
            self._open |= {ids: -len(ids) * nats for ids, nats in zip(longer, nll, strict=True)}

    def _ranked(self) -> list[Ids]:
        return sorted(self.totals, key=self.totals.__getitem__)

    def best(self, count: int) -> list[Ids]:
        return [ids for ids in self._ranked() if len(ids) >= self._shortest][:count]

    def shorten(self) -> None:
        """Delete spans of one to three tokens from the best texts as long as the objective falls."""
        parents: list[Ids] = []
        while (best := self.best(KEPT)) != parents and not self.problem.exhausted:
            parents = best
            cut = [
                ids[:start] + ids[start + size :] for ids in parents for size in (1, 2, 3) for start in range(len(ids) - size + 1)
            ]
            new = [ids for ids in dict.fromkeys(cut) if len(ids) >= self._shortest and ids not in self.totals]
            if new:
                self._race(kept_by_text(self.problem, new))

    def _race(self, candidates: Sequence[Ids]) -> None:
        """Score texts on a few answers, the best quarter on four times as many, and so on up to all."""
        alive = [ids for ids in dict.fromkeys(candidates) if ids not in self.totals]
        if not alive:
            return
        problem = self.problem
        nll = problem.prompt_nll(alive)
        examples = problem.batch(len(problem.task.train))
        loss, seen, until = torch.zeros_like(nll), 0, min(self.config.first_answers, len(examples))
        while True:
            scores = []
            for start in range(0, len(alive), AT_ONCE):
                scores.append(problem.train.score_ids(alive[start : start + AT_ONCE], examples[seen:until]).loss.sum(1))
                if problem.exhausted:
                    break
            scored = sum(map(len, scores))
            loss = loss[:scored] + torch.cat(scores)
            objective = combine(loss / until, nll[:scored], problem.weight)
            if until == len(examples):
                self.totals |= dict(zip(alive, objective.tolist(), strict=False))
                return
            best = objective.argsort(stable=True)[: max(KEPT, scored // HALVING)]
            alive, nll, loss = [alive[i] for i in best.tolist()], nll[best], loss[best]
            seen, until = until, min(HALVING * until, len(examples))

    def _children(self, beams: Sequence[Ids], count: int, examples: Sequence[int]) -> list[Ids]:
        """Each beam extended by `count` tokens from each source, and by the whole words that they begin."""
        at_start = self._after_start(beams)
        sources = [at_start, *self._in_place(beams, examples), *self._in_chats(beams)]
        likely = [self._top(values, count) for values in sources]
        gradients = torch.stack([self._gradient(ids, examples) for ids in beams])
        surprisals = torch.stack([-self.problem.weight / (len(ids) + 1) * own for ids, own in zip(beams, at_start, strict=True)])
        likely.append(self._top(-gradients - surprisals, count))
        made = [(*ids, token) for ids, *tokens in zip(beams, *likely, strict=True) for each in zip(*tokens) for token in each]
        return list(dict.fromkeys([*made, *self._whole_words(list(dict.fromkeys(made)))]))

    def _gradient(self, ids: Ids, examples: Sequence[int]) -> Tensor:
        """e_v . g of each allowed token v behind a text, (A,), with the gradient g at a placeholder: the mean embedding."""
        vocab = self.problem.lm.vocab_embeds[self.problem.allowed].float()
        known = self.problem.lm.vocab_embeds[list(ids)].float()
        embeds = torch.cat([known, vocab.mean(0, keepdim=True)]).requires_grad_()
        loss = self.problem.train.score_embeds(embeds, examples).loss.mean()
        return vocab @ torch.autograd.grad(loss, embeds)[0][-1]

    def _after_start(self, beams: Sequence[Ids]) -> Tensor:
        """Log-probabilities behind the start of a document, (P, A); random numbers if nothing precedes the token."""
        contexts = [self._proposals.context(ids) for ids in beams]
        if all(contexts):
            return self._proposals.log_probs(contexts)
        noise = torch.rand(len(beams), len(self.problem.allowed), generator=self.problem.generator)
        return noise.to(self.problem.lm.device)

    def _in_place(self, beams: Sequence[Ids], examples: Sequence[int]) -> list[Tensor]:
        """Mean log-probabilities behind some inputs, (P, A); none if the prompt does not follow its input."""
        if not self._proposals.places:
            return []
        contexts = [self._proposals.context(ids, example) for ids in beams for example in examples]
        return [self._proposals.log_probs(contexts).unflatten(0, (len(beams), -1)).mean(1)]

    def _in_chats(self, beams: Sequence[Ids]) -> list[Tensor]:
        """For the first token, log-probabilities in each chat, (1, A) each; none for a model without a chat template."""
        if beams != [()]:
            return []
        if self._chats is None:
            self._chats = chats(self.problem, self.config.first_inputs)
        return [self._proposals.log_probs([chat]) for chat in self._chats]

    def _top(self, values: Tensor, count: int) -> list[list[int]]:
        """The tokens with the largest values in each row."""
        best = (values + self._penalty).topk(min(count, values.shape[1])).indices
        return self.problem.allowed[best].tolist()

    def _whole_words(self, candidates: Sequence[Ids]) -> list[Ids]:
        """Those candidates whose last word the model continues, with the rest of the word."""
        found: list[Ids] = []
        grown = list(candidates) if self._continues else []
        for number in range(WORD_TOKENS):
            grown = [ids for ids in grown if len(ids) < self.problem.prompt_length]
            if not grown:
                break
            following = self._proposals.log_probs([self._proposals.context(ids) for ids in grown]).argmax(-1)
            tokens = self.problem.allowed[following].tolist()
            if number:
                found += [ids for ids, token in zip(grown, tokens, strict=True) if token not in self._continues]
            grown = [(*ids, token) for ids, token in zip(grown, tokens, strict=True) if token in self._continues]
        return [*found, *grown]


def likely_answers(problem: ReadingProblem, examples: Sequence[int]) -> list[str]:
    """The most probable answers under the target for some examples, token by token."""
    scorer = problem.train
    answers: list[list[int]] = [[] for _ in examples]
    going = set(range(len(answers)))
    ends = set(scorer.end_ids.tolist())
    for _ in range(1 if problem.task.label_words else GENERATED_TOKENS):
        logits = scorer.answer_logits(problem.target_tokens, answers, examples)
        problem.counter.forward += sum(len(problem.train.contexts[n]) + len(problem.target_tokens) for n in examples)
        for n in list(going):
            token = int(logits[n][-1].argmax())
            if token in ends:
                going.remove(n)
            else:
                answers[n].append(token)
    return [problem.lm.decode(answer).strip() for answer in answers]


def chats(problem: ReadingProblem, count: int) -> list[list[int]]:
    """Token ids of chats that show answers under the target for some inputs and ask for the instruction.

    Args:
        problem: the problem.
        count: number of inputs that are shown.

    Returns:
        One chat for each of `QUESTIONS` and `LEADS`, up to the token that is proposed. There is none for a model without a chat
        template, or with one that cannot render a question.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> chats(ReadingProblem(HardPrompt.from_text(lm, "give the plural"), task, lm, ["cat"]), 1)
        []
    """
    lm = problem.lm
    if not lm.tokenizer.chat_template:
        return []
    examples = problem.batch(count)
    inputs = [problem.train.examples[n].input for n in examples]
    shown = zip(inputs, likely_answers(problem, examples), strict=True)
    text = "\n\n".join(f"Input: {given}\nOutput: {answer}" for given, answer in shown)
    template = ChatTemplate("{input}\n\n{prompt}", lm)
    try:
        return [lm.encode(template.fill(text, question) + lead) for question in QUESTIONS for lead in LEADS]
    except TaskError:
        return []
