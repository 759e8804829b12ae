"""The reader `wide-beam`: a beam search over proposals of the next token from many sources.

It minimizes KL(P || q) + weight x NLL(q) over texts q of up to L tokens. It starts from the empty text and extends beams q by
tokens v from several sources, the n best of each:

- the model after the start of a document: log p(v | start, q);
- the model in place, if the prompt follows its input: the mean of log p(v | input, q) over some inputs;
- at the first token, a chat model after chats that show answers under P and ask for the instruction: the largest
  log p(v | chat);
- the first-order prediction of the objective, -e_v . g + weight log p(v | start, q), with the gradient g of the KL
  divergence at a placeholder behind q. AutoPrompt (Shin et al. 2020) ranks tokens by e_v . g, at the token that they replace.
  Here the placeholder is the mean embedding of the allowed tokens, before a closing colon if there is one.

Behind the first token, a token that continues a word is proposed with the word only: if the model would continue the word that
a token begins, the whole word is proposed too. Each candidate is also scored with a closing colon, as a finished text. The
candidates race by successive halving, as in `race.py`: all are scored on a few inputs, and in each round the best quarter on
four times as many.

The KL divergence of the beginning of an instruction ("what is the") says nothing about its end. So a quarter of the beams are
the texts with the lowest objective, and the others are drawn by their probability under the model, without replacement
(stochastic beam search, Kool et al. 2019). No text is a beam twice: when a search has reached L tokens, and budget is left, the
next one extends the best and newly drawn texts among all that are left. After each search, spans of one to three tokens are
deleted from the best texts as long as the objective falls.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from hardprompt.data.languages import has_no_blanks
from hardprompt.errors import TaskError
from hardprompt.lm.chat import ChatTemplate
from hardprompt.lm.vocabulary import BLANK_MARKS
from hardprompt.objective import combine
from hardprompt.optimizers.base import Config
from hardprompt.optimizers.proposals import Proposals, draw_tokens, kept_by_text, predicts_next_token, shortest_length
from hardprompt.readings.base import reader
from hardprompt.readings.problem import GENERATED_TOKENS, ReadingProblem

Ids = tuple[int, ...]

DRAWN = 0.75
"""Share of the beams that are drawn."""

FIRST_TOKENS = 4
"""At the first token, which has one beam, each source proposes this many times as many tokens."""

SHOWN = 3
"""Inputs of the proposals in place, of the gradient and of the chats."""

RACE_FACTOR = 4
"""One of this many texts stays in a race, and is scored on this many times as many inputs."""

KEPT = 3
"""Texts of each length that are scored on dev, and texts that spans are deleted from."""

BEAM_SHARE = 0.85
"""Share of the budget after which no beam is extended. The rest is for deletions and the scores on dev."""

AT_ONCE = 64
"""Texts that are scored between two looks at the budget."""

WORD_TOKENS = 3
"""Maximal number of tokens that complete a word."""

QUESTIONS = (
    "Which instruction leads from each input to its output? Write the instruction only.",
    "What is the output of each input? Name it in one or two words.",
)
"""What the chats ask."""

LEADS = ("", "Instruction:")
"""How the answers in the chats begin: before a token without a blank, and before one behind a blank."""


class WideBeamConfig(Config):
    """Options of the wide beam."""

    beams: PositiveInt = 8
    """Number of beams of each length. A quarter has the lowest objective, and the others are drawn from the model."""

    proposals: PositiveInt = 6
    """Number of tokens that each source proposes for each beam; four times as many for the first token."""

    first_inputs: PositiveInt = 2
    """Number of inputs, with one answer each, on which all candidates are scored. They are drawn anew for each race."""


@reader("wide-beam", WideBeamConfig, check=predicts_next_token)
def wide_beam(problem: ReadingProblem, config: WideBeamConfig) -> list[Ids]:
    """Beam search over proposals from the model, from its chats and from the gradient of the divergence."""
    search = _Search(problem, config)
    try:
        while search.grow() and problem.lm_tokens is not None:
            search.shorten()
        search.shorten()
    finally:  # also after Ctrl-C
        found = search.scored_on_dev()
    return found


class _Search:
    """The state of one reading.

    Attributes:
        totals: the objective on all inputs of each text that was scored on them.
    """

    def __init__(self, problem: ReadingProblem, config: WideBeamConfig) -> None:
        self.problem, self.config = problem, config
        self.totals: dict[Ids, float] = {}
        self._open: dict[Ids, float] = {(): 0.0}  # texts that were no beam yet, with their log-probabilities
        self._seen: set[Ids] = set()
        self._proposals = Proposals(problem, len(problem.allowed))
        self._shortest = shortest_length(problem)
        lm, allowed = problem.lm, problem.allowed.tolist()
        texts, pieces = [lm.decode([token]) for token in allowed], lm.tokenizer.convert_ids_to_tokens(allowed)
        readable = [text.isprintable() and not text.isspace() for text in texts]
        inside = [
            text[:1].isalpha() and not has_no_blanks(text[0]) and not piece.startswith(BLANK_MARKS)
            for text, piece in zip(texts, pieces, strict=True)
        ]
        self._inside = {token for token, continues in zip(allowed, inside, strict=True) if continues}
        self._never = torch.tensor([not each for each in readable], device=lm.device)
        self._not_later = self._never | torch.tensor(inside, device=lm.device)
        colon = lm.encode_after([":"])[0]
        self._colon = colon if len(colon) == 1 and colon[0] in allowed else []
        self._placeholder = lm.vocab_embeds[problem.allowed].float().mean(0, keepdim=True)

    def grow(self) -> bool:
        """One beam search from the shortest texts to the longest; returns whether budget and texts are left for another."""
        longest, extended = self.problem.prompt_length, False
        for length in range(longest):
            if self._full():
                return False
            if beams := self._beams(length):
                self._extend(beams)
                extended = True
            self.problem.note(0.0 if self.problem.lm_tokens else (length + 1) / longest)
        return extended and not self._full()

    def shorten(self) -> None:
        """Delete spans of one to three tokens from the best texts as long as the objective falls."""
        parents: list[Ids] = []
        while (best := self._ranked()[:KEPT]) != parents and not self.problem.exhausted:
            parents = best
            spans = [(ids, at, size) for ids in best for size in (1, 2, 3) for at in range(len(ids) - size + 1)]
            shorter = [ids[:at] + ids[at + size :] for ids, at, size in spans]
            self._race([ids for ids in shorter if len(ids) >= self._shortest])

    def scored_on_dev(self) -> list[Ids]:
        """Score the best texts of each length on dev; returns the best of all lengths, the best one last."""
        ranked = self._ranked()
        for length in dict.fromkeys(map(len, ranked)):
            self.problem.score_on_dev([ids for ids in ranked if len(ids) == length][:KEPT])
        return ranked[:KEPT][::-1]

    def _full(self) -> bool:
        """Whether a text was scored on all inputs and the budget of the beams is used up."""
        limit = self.problem.lm_tokens
        return limit is not None and self.problem.spent >= BEAM_SHARE * limit and bool(self._ranked())

    def _ranked(self) -> list[Ids]:
        """The texts with an NLL that were scored on all inputs, from the lowest objective on."""
        return sorted((ids for ids in self.totals if len(ids) >= self._shortest), key=self.totals.__getitem__)

    def _beams(self, length: int) -> list[Ids]:
        """Texts of a length that were no beam yet: those with the lowest objective, alone or with a colon, and drawn ones."""
        drawn = int(DRAWN * self.config.beams)
        fresh = [ids for ids in self._open if len(ids) == length]
        totals = {ids: min(self.totals.get(each, math.inf) for each in (ids, (*ids, *self._colon))) for ids in fresh}
        scored = [ids for ids in fresh if totals[ids] < math.inf]
        best = sorted(scored, key=totals.__getitem__)[: self.config.beams - drawn]
        others = [ids for ids in fresh if ids not in best]
        if drawn and others:
            log_probs = torch.tensor([[self._open[ids] for ids in others]])
            best += [others[i] for i in draw_tokens(log_probs, drawn, self.problem.generator)[0].tolist()]
        return best

    def _extend(self, beams: Sequence[Ids]) -> None:
        """Race the extensions of beams, also with a colon, and open those that can be extended further."""
        for ids in beams:
            del self._open[ids]
        children = [ids for ids in self._children(beams) if ids not in self._seen]
        longer = [ids for ids in children if len(ids) < self.problem.prompt_length]
        kept = self._race([*children, *((*ids, *self._colon) for ids in longer if self._colon)])
        self._seen |= {*children}
        longer = [ids for ids in longer if ids in kept]
        if longer:
            nll = self.problem.prompt_nll(longer).nan_to_num(0.0).tolist()
            self._open |= {ids: -nats for ids, nats in zip(longer, nll, strict=True)}

    def _race(self, candidates: Sequence[Ids]) -> set[Ids]:
        """Score new texts on a few inputs, the best quarter on four times as many, and so on up to all.

        Returns:
            The texts that took part: those that keep their tokens when they are tokenized, or all if none does.
        """
        problem = self.problem
        new = [ids for ids in dict.fromkeys(candidates) if ids not in self.totals]
        alive = kept_by_text(problem, new) or new
        entered = {*alive}
        if not alive:
            return entered
        examples = problem.batch(len(problem.task.train))
        nll = problem.prompt_nll(alive)
        loss, seen, until = torch.zeros_like(nll), 0, min(self.config.first_inputs, len(examples))
        while True:
            parts: list[Tensor] = []
            for start in range(0, len(alive), AT_ONCE):
                parts.append(problem.train.score_ids(alive[start : start + AT_ONCE], examples[seen:until]).loss.sum(1))
                if problem.exhausted:
                    break
            loss = loss[: sum(map(len, parts))] + torch.cat(parts)
            objective = combine(loss / until, nll[: len(loss)], problem.weight)
            if until == len(examples):
                self.totals |= dict(zip(alive, objective.tolist(), strict=False))
                return entered
            best = objective.argsort(stable=True)[: KEPT if problem.exhausted else max(KEPT, len(loss) // RACE_FACTOR)]
            alive, nll, loss = [alive[i] for i in best.tolist()], nll[best], loss[best]
            seen, until = until, min(RACE_FACTOR * until, len(examples))

    def _children(self, beams: Sequence[Ids]) -> list[Ids]:
        """Each beam with the tokens of each source, the best of each source first, and with the words that they begin."""
        examples = self.problem.batch(SHOWN)
        at_start = self._after_start(beams)
        end = self._colon if len(beams[0]) + 1 < self.problem.prompt_length else []
        sources = [at_start, self._predicted(beams, end, at_start, examples)]
        if self._proposals.places:
            contexts = [self._proposals.context(ids, example) for ids in beams for example in examples]
            sources.append(self._proposals.log_probs(contexts).unflatten(0, (len(beams), -1)).mean(1))
        first = () in beams
        if first and (asked := chats(self.problem, examples)):
            sources.append(self._proposals.log_probs(asked).amax(0, keepdim=True))
        count = min(self.config.proposals * (FIRST_TOKENS if first else 1), len(self.problem.allowed))
        left_out = self._never if first else self._not_later
        columns = torch.stack([each.masked_fill(left_out, -torch.inf).topk(count).indices for each in sources], -1)
        tokens = self.problem.allowed[columns].flatten(1).tolist()
        made = list(dict.fromkeys((*ids, token) for ids, some in zip(beams, tokens, strict=True) for token in some))
        return list(dict.fromkeys([*made, *self._whole_words(made)]))

    def _after_start(self, beams: Sequence[Ids]) -> Tensor:
        """Log-probabilities behind the start of a document, (P, A); random numbers if nothing precedes the token."""
        contexts = [self._proposals.context(ids) for ids in beams]
        if all(contexts):
            return self._proposals.log_probs(contexts)
        noise = torch.rand(len(beams), len(self.problem.allowed), generator=self.problem.generator)
        return noise.log().to(self.problem.lm.device)

    def _predicted(self, beams: Sequence[Ids], end: Sequence[int], log_probs: Tensor, examples: Sequence[int]) -> Tensor:
        """Minus the predicted objective of each beam with each token and an end, up to a constant of the beam, (P, A)."""
        vocab, rows = self.problem.lm.vocab_embeds, []
        for ids, own in zip(beams, log_probs, strict=True):
            embeds = torch.cat([vocab[list(ids)].float(), self._placeholder, vocab[list(end)].float()]).requires_grad_()
            loss = self.problem.train.score_embeds(embeds, examples).loss.mean()
            gradient = torch.autograd.grad(loss, embeds)[0][len(ids)].to(vocab.dtype)
            predicted = (vocab @ gradient)[self.problem.allowed].float()
            rows.append(self.problem.weight * own - predicted)
        return torch.stack(rows)

    def _whole_words(self, candidates: Sequence[Ids]) -> list[Ids]:
        """The candidates whose last word the model would continue, with the rest of the word."""
        found: list[Ids] = []
        grown = list(candidates) if self._inside else []
        for number in range(WORD_TOKENS):
            grown = [ids for ids in grown if len(ids) < self.problem.prompt_length]
            if not grown:
                break
            following = self._proposals.log_probs([self._proposals.context(ids) for ids in grown]).argmax(-1)
            tokens = self.problem.allowed[following].tolist()
            if number:
                found += [ids for ids, token in zip(grown, tokens, strict=True) if token not in self._inside]
            grown = [(*ids, token) for ids, token in zip(grown, tokens, strict=True) if token in self._inside]
        return [*found, *grown]


def chats(problem: ReadingProblem, examples: Sequence[int]) -> list[list[int]]:
    """Token ids of chats that show answers under the target for some inputs and ask for the instruction.

    Args:
        problem: the problem. Its counter counts the tokens of the answers.
        examples: indices of the inputs among the train examples.

    Returns:
        One chat for each of `QUESTIONS` and `LEADS`, up to the token that is proposed, without those that do not fit into the
        context. There is none for a model without a chat template, or with one that cannot render the questions.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> chats(ReadingProblem(HardPrompt.from_text(lm, "give the plural"), task, lm, ["cat"]), [0])
        []
    """
    lm = problem.lm
    if not lm.tokenizer.chat_template:
        return []
    template = ChatTemplate("{input}\n\n{prompt}", lm)
    inputs = [problem.train.examples[n].input for n in examples]
    shown = zip(inputs, likely_answers(problem, examples), strict=True)
    text = "\n\n".join(f"Input: {given}\nOutput: {answer}" for given, answer in shown)
    try:
        asked = lm.encode_many([template.fill(text, question) + lead for question in QUESTIONS for lead in LEADS])
    except TaskError:
        return []
    return [ids for ids in asked if len(ids) <= lm.max_length]


@torch.no_grad()
def likely_answers(problem: ReadingProblem, examples: Sequence[int]) -> list[str]:
    """The answers under the target for some train examples, with the most probable token at each place.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> problem = ReadingProblem(HardPrompt.from_text(lm, "give the plural"), task, lm, ["cat", "dog"])
        >>> likely_answers(problem, [0, 2])
        ['cats', 'dogs']
    """
    scorer, target = problem.train, problem.target_tokens
    ends = {*scorer.end_ids.tolist()}
    answers: list[list[int]] = [[] for _ in examples]
    for _ in range(1 if problem.task.label_words else GENERATED_TOKENS):
        logits = scorer.answer_logits(target, answers, examples)
        answers = [[*answer, int(each[-1].argmax())] for answer, each in zip(answers, logits, strict=True)]
    per_input = scorer.tokens(len(target)) // len(scorer.examples)
    problem.counter.forward += per_input * len(examples)
    texts = [answer[: next((at for at, token in enumerate(answer) if token in ends), None)] for answer in answers]
    return [problem.lm.decode(text).strip() for text in texts]
