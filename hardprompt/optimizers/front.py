"""The optimizer `front`: the whole trade-off between task loss and fluency from one run.

An archive holds the prompts, of any length up to the maximum, of which none dominates another on dev in (task loss, prompt NLL,
accuracy). The search has a ladder of fluency weights w and minimizes task loss + w x prompt NLL for all of them at once. With a
length weight, length weight x tokens is part of the task loss in all that follows:

1. Seeds. Samples of the model itself and random prompts are raced until a tenth of the budget is spent.
2. Parents. For some weights of the ladder, one of the best members at that weight, or any member.
3. Children. Moves change a parent: a token that the model finds likely, in place of another or inserted; a new end that the
   model writes; a deletion; a crossing of two members. Other parents can have children with one token swapped for one that
   the gradient predicts to be good (`token_gradients.py`); by default there are none, because they did not help
   (`runs/front.md`). New samples of the model are added, so that the search does not depend on its seeds.
4. Race. The exact NLL comes first: a child that even a loss of zero could not make best at any weight is dropped. The others
   are compared on a few train examples, the best at each weight on more, together with the best members. A child that is best
   at some weight is scored on dev.
5. Admission. The archive takes a prompt unless a member dominates it, and drops the members that it dominates.

A masked or an encoder-decoder model predicts no next token of a prompt. There, all allowed tokens are alike in the samples and
moves; and an encoder-decoder model assigns no probability to a prompt, so that only the task loss counts.
"""

from collections.abc import Sequence
from itertools import count, pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from hardprompt.optimizers.archive import Archive, Member
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import draw_edits
from hardprompt.optimizers.proposals import Proposals, drawn_prompts, kept_by_text, shortest_length
from hardprompt.optimizers.token_gradients import FluencyGradient, check_tokens, swap_predictions

Move = Literal["replace", "insert", "tail", "delete", "cross"]

LEADERS, LEADER_ODDS = 3, (4.0, 2.0, 1.0)
"""A parent is one of this many best members at a weight, with these odds."""

ANY_MEMBER = 0.25
"""Probability that a parent is any member instead."""

PARENTS, PICKS, CHILDREN_PER_PICK = 2, 6, 4
"""Parents in each generation, moves for each parent, and children of each move."""

SEED_SAMPLES, SEED_RANDOM = 64, 16
"""Samples of the model and random prompts in each batch of seeds."""

SEED_BATCHES = 3
"""Batches of seeds without a budget."""

NLL_DRAWS = 3
"""For a weight above zero, a move that inserts likely tokens draws this many times as many children and keeps those with the
lowest NLL."""


class FrontConfig(Config):
    """Options of the front."""

    generations: PositiveInt | None = None
    """Number of generations. By default as many as the budget allows, or 60 without a budget."""

    ladder: tuple[NonNegativeFloat, ...] = (0.0, 0.03, 0.1, 0.3, 1.0)
    """Fluency weights, in increasing order."""

    samples: Annotated[int, Field(ge=0)] = 24
    """New samples of the model in each generation, beside the children."""

    seed_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the budget for the seeds."""

    screen: PositiveInt = 4
    """Train examples on which all children are compared."""

    confirm: PositiveInt = 16
    """Further train examples on which the best children at each weight are compared with the best members."""

    moves: Annotated[tuple[Move, ...], Field(min_length=1)] = ("replace", "insert", "tail", "delete", "cross")
    """Moves that make children, picked uniformly."""

    in_place: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the tokens that the model proposes behind a train input, where one stands before the prompt. The others are
    proposed at the start of a document, as the prompt NLL reads them."""

    likely: PositiveInt = 64
    """Number of most probable tokens from which the model's proposals are drawn."""

    temperature: PositiveFloat = 1.0
    """Temperature of the model's proposals. Half of the seeds have 0.7 times as much."""

    swap_parents: Annotated[int, Field(ge=0)] = 0
    """Parents in each generation, beside the others, whose children swap one token as the gradient predicts."""

    swaps: PositiveInt = 64
    """Number of tokens with the best predictions at each place from which swaps are drawn."""

    gradient_examples: PositiveInt = 4
    """Train examples of the gradient."""

    fluency_gradient: FluencyGradient = "exact"
    """Prediction of the change of the prompt NLL by a swap: through the tokens behind it alone ("one-sided"), or also with the
    surprisal of the new token ("exact")."""

    fluency: Literal["mean", "total"] = "mean"
    """Fluency in the objectives of the ladder: the mean NLL per token ("mean"), which rewards padding with likely tokens, or
    the total NLL divided by the maximal length ("total"), which does not."""

    @field_validator("ladder")
    @classmethod
    def _increasing(cls, ladder: tuple[float, ...]) -> tuple[float, ...]:
        if not ladder or any(low >= high for low, high in pairwise(ladder)):
            raise ValueError("the weights must increase from one to the next")
        return ladder


def _check(problem: Problem, config: FrontConfig) -> None:
    if config.swap_parents:
        check_tokens(problem, config)


@optimizer("front", config=FrontConfig, check=_check, finds_front=True)
def front(problem: Problem, config: FrontConfig) -> FinalPrompts:
    """The whole trade-off from one run: an archive of non-dominated prompts under a ladder of fluency weights."""
    search = _Search(problem, config)
    batches = range(SEED_BATCHES) if problem.lm_tokens is None else count()
    for _ in batches:
        spent = problem.spent
        search.race(search.seeds())
        search.report(0.0)
        if problem.spent == spent:  # no new prompt is left
            break
        if problem.lm_tokens is not None and problem.spent >= config.seed_share * problem.lm_tokens:
            break
    limit = config.generations or (60 if problem.lm_tokens is None else None)
    for generation in count(1):
        spent = problem.spent
        if problem.exhausted:
            break
        search.race(search.children())
        search.report(generation / limit if limit else 0.0)
        if generation == limit or problem.spent == spent:  # no new prompt is left
            break
    return [member.ids for member in sorted(search.archive.members, key=lambda member: member.nll)]


class _Search:
    """The state of one search."""

    def __init__(self, problem: Problem, config: FrontConfig) -> None:
        self.problem, self.config = problem, config
        self.archive = Archive()
        self._proposals = Proposals(problem, config.likely, config.temperature)
        self._sharp = Proposals(problem, config.likely, 0.7 * config.temperature)
        self._shortest = shortest_length(problem)

    def seeds(self) -> list[Sequence[int]]:
        """Samples of the model and random prompts, of any length."""
        drawn = self._samples(self._proposals, SEED_SAMPLES // 2) + self._samples(self._sharp, SEED_SAMPLES // 2)
        return [*drawn, *(ids[: self._length()] for ids in self.problem.random_ids(SEED_RANDOM).tolist())]

    def children(self) -> list[Sequence[int]]:
        """The children of one generation, and new samples of the model."""
        found: list[Sequence[int]] = [*self._samples(self._proposals, self.config.samples)]
        for _ in range(PARENTS):
            weight = self.config.ladder[self._draw([1.0] * len(self.config.ladder))]
            parent = self._parent(weight)
            for _ in range(PICKS):
                found += self._moved(self.config.moves[self._below(len(self.config.moves))], parent, weight)
        for _ in range(self.config.swap_parents):
            weight = self.config.ladder[self._draw([1.0] * len(self.config.ladder))]
            found += self._swapped(self._parent(weight).ids, weight)
        return found

    def race(self, drawn: Sequence[Sequence[int]]) -> None:
        """Compare prompts with each other and with the best members, and add the winners to the archive."""
        problem, ladder = self.problem, torch.tensor(self.config.ladder)[:, None]
        pool = self._new(drawn)
        if not pool:
            return
        leaders = self.archive.leaders(self.config.ladder)
        nll, length = self._fluency(pool), problem.length_cost(pool).cpu()
        if leaders:
            bound = torch.tensor([[min(leader.objective(w) for leader in leaders)] for w in self.config.ladder])
            kept = (length + ladder * nll < bound).any(0).nonzero().flatten().tolist()
            pool, nll, length = [pool[i] for i in kept], nll[kept], length[kept]
        if not pool:
            return
        examples = problem.batch(self.config.screen + self.config.confirm)
        first, more = examples[: self.config.screen], examples[self.config.screen :]
        screened = problem.train.score_ids(pool, first).loss.cpu()
        chosen = (screened.mean(-1) + length + ladder * nll).topk(min(2, len(pool)), largest=False).indices.unique().tolist()
        rivals = [pool[i] for i in chosen]
        ids = [*rivals, *(leader.ids for leader in leaders)]
        losses = screened[chosen]
        if leaders:
            losses = torch.cat([losses, problem.train.score_ids([leader.ids for leader in leaders], first).loss.cpu()])
        if more:
            losses = torch.cat([losses, problem.train.score_ids(ids, more).loss.cpu()], 1)
        fluency = torch.cat([nll[chosen], torch.tensor([leader.nll for leader in leaders])])
        winners = (losses.mean(-1) + problem.length_cost(ids).cpu() + ladder * fluency).argmin(-1).unique().tolist()
        self._admit([rivals[i] for i in winners if i < len(rivals)])

    def report(self, done: float) -> None:
        """Report the progress and the size of the archive."""
        self.problem.note(done, members=float(len(self.archive.members)))

    def _admit(self, winners: Sequence[tuple[int, ...]]) -> None:
        """Score prompts on dev and add them to the archive."""
        if not winners:
            return
        self.problem.score_on_dev(winners)
        for ids, candidate in zip(winners, self.problem.candidates[-len(winners) :], strict=True):
            loss = candidate.dev_task_loss + candidate.length_cost
            self.archive.add(Member(ids, loss, float(self._fluency([ids])), candidate.dev_accuracy))

    def _moved(self, move: Move, parent: Member, weight: float) -> list[list[int]]:
        """Children of a parent by one move."""
        ids, wanted = list(parent.ids), CHILDREN_PER_PICK
        if move == "delete":
            return [self._deleted(ids) for _ in range(wanted)]
        if move == "cross":
            others = [self.archive.members[self._below(len(self.archive.members))].ids for _ in range(wanted)]
            return [[*ids[: self._below(len(ids) + 1)], *other[self._below(len(other) + 1) :]] for other in others]
        draws = wanted * (NLL_DRAWS if weight else 1)
        if move == "tail":
            made = self._with_tails(ids, draws)
        else:
            at = self._below(len(ids) + (move == "insert"))
            rest = ids[at + (move == "replace") :]
            tokens = self._proposals.next_tokens([self._context(ids[:at])], draws)[0]
            made = [[*ids[:at], token, *rest] for token in dict.fromkeys(tokens)]
        made = [each for each in made if self._shortest <= len(each) <= self.problem.prompt_length]
        if len(made) > wanted and weight:
            made = [made[i] for i in self._fluency(made).argsort().tolist()]
        return made[:wanted]

    def _samples(self, proposals: Proposals, count: int) -> list[tuple[int, ...]]:
        def draw(missing: int) -> list[list[int]]:
            contexts = [self._context([]) for _ in range(missing)]
            return proposals.continued(contexts, [self._length() for _ in contexts])

        return drawn_prompts(self.problem, count, draw)

    def _swapped(self, ids: Sequence[int], weight: float) -> list[list[int]]:
        """Copies of a prompt that differ in one token, one of the best predicted ones at a random place."""
        examples = self.problem.batch(self.config.gradient_examples)
        predicted = swap_predictions(self.problem, ids, examples, weight, self.config.fluency_gradient)
        drawn = draw_edits(self.problem, ids, predicted, PICKS * CHILDREN_PER_PICK, self.config.swaps)
        return [list(child) for child in drawn]

    def _with_tails(self, ids: list[int], count: int) -> list[list[int]]:
        cuts = [self._below(len(ids) + (len(ids) < self.problem.prompt_length)) for _ in range(count)]
        lengths = [1 + self._below(self.problem.prompt_length - cut) for cut in cuts]
        tails = self._proposals.continued([self._context(ids[:cut]) for cut in cuts], lengths)
        return [[*ids[:cut], *tail] for cut, tail in zip(cuts, tails, strict=True)]

    def _deleted(self, ids: list[int]) -> list[int]:
        start = self._below(len(ids))
        return ids[:start] + ids[start + 1 + self._below(2) :]

    def _new(self, drawn: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """The prompts that are new, have an allowed length, and keep their tokens when their text is tokenized.

        If no prompt keeps its tokens, they are all taken into an empty archive, so that the search has a parent.
        """
        unique = dict.fromkeys(tuple(ids) for ids in drawn)
        fitting = [ids for ids in unique if self._shortest <= len(ids) <= self.problem.prompt_length]
        new = [ids for ids in fitting if ids not in self.archive.seen]
        return kept_by_text(self.problem, new) or ([] if self.archive.members else new)

    def _fluency(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """The NLL of prompts in the objectives of the ladder, (P,); 0 where the model assigns no probability to a prompt."""
        nll = self.problem.prompt_nll(prompts).cpu().nan_to_num(0.0)
        if self.config.fluency == "mean":
            return nll
        return nll * torch.tensor([len(ids) / self.problem.prompt_length for ids in prompts])

    def _parent(self, weight: float) -> Member:
        if self._uniform() < ANY_MEMBER:
            return self.archive.members[self._below(len(self.archive.members))]
        leaders = self.archive.best(weight, LEADERS)
        return leaders[self._draw(LEADER_ODDS[: len(leaders)])]

    def _context(self, left: Sequence[int]) -> list[int]:
        places = self._proposals.places
        if places and self._uniform() < self.config.in_place:
            return self._proposals.context(left, self._below(len(places)))
        return self._proposals.context(left)

    def _length(self) -> int:
        return self._shortest + self._below(self.problem.prompt_length - self._shortest + 1)

    def _uniform(self) -> float:
        return torch.rand((), generator=self.problem.generator).item()

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self.problem.generator))

    def _draw(self, odds: Sequence[float]) -> int:
        return int(torch.multinomial(torch.tensor(odds), 1, generator=self.problem.generator))
