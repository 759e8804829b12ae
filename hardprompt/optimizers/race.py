"""The optimizer `race`: samples of the model itself, raced by successive halving. It shows what a search adds to sampling.

Prompts of 1 to L tokens (2 to L for a model without a start token, `shortest_length`) are drawn from the model. The NLL of each
is computed exactly first, so that only its task loss has to be estimated. A race begins with a few train examples, the same for
all prompts; the better half is scored on as many further examples, and so on (successive halving, Jamieson and Talwalkar 2016).
One race serves all fluency weights: with the estimated task loss l_p and the NLL n_p of prompt p, its score is its best rank at
any weight w of a ladder,

    min over w of rank_p(l_p + w n_p),

with length weight x tokens as a part of l_p, and the half with the lowest scores stays. The best prompt at each weight is
scored on dev.
"""

from collections.abc import Sequence
from itertools import count
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from hardprompt.objective import combine
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.proposals import draw_tokens, drawn_prompts, next_token_logits, predicts_next_token, shortest_length


class RaceConfig(Config):
    """Options of the race."""

    races: PositiveInt | None = None
    """Number of races. By default as many as the budget allows, or 10 without a budget."""

    samples: PositiveInt = 64
    """Number of prompts that are drawn for each race."""

    temperature: PositiveFloat = 1.0
    """Temperature by which the logits of the model are divided."""

    fluent: PositiveInt = 50
    """Number of tokens from which each token is drawn, by their probabilities: the allowed ones that the model finds most
    probable."""

    batch_size: PositiveInt = 4
    """Number of train examples at the start of a race. It doubles each time that half of the prompts leave."""

    weights: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.03, 0.1, 0.3, 1.0)
    """Fluency weights that one race serves: nats of task loss for each nat per token of prompt NLL."""


def sample_prompts(problem: Problem, config: RaceConfig) -> list[tuple[int, ...]]:
    """Draw prompts from the model, with lengths drawn uniformly from the shortest one to L. Repeated ones are left out."""
    return list(dict.fromkeys(drawn_prompts(problem, config.samples, lambda count: _samples(problem, config, count))))


def _samples(problem: Problem, config: RaceConfig, count: int) -> list[list[int]]:
    shortest, longest = shortest_length(problem), problem.prompt_length
    lengths = torch.randint(shortest, longest + 1, (count,), generator=problem.generator)
    ids = torch.zeros(count, problem.prompt_length, dtype=torch.long, device=problem.lm.device)
    for place in range(int(lengths.max())):
        grow = (lengths > place).nonzero()[:, 0].to(ids.device)
        logits = next_token_logits(problem, ids[grow, :place]) / config.temperature
        likely = logits.topk(min(config.fluent, logits.shape[1]))
        drawn = draw_tokens(likely.values, 1, problem.generator)
        ids[grow, place] = problem.allowed[likely.indices.gather(1, drawn)[:, 0]]
    return [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


def ranks(task_loss: Tensor, nll: Tensor, weights: Sequence[float]) -> Tensor:
    """The rank of each of P prompts at each of W weights, from 0 for the best, (W, P)."""
    totals = torch.stack([combine(task_loss, nll, weight) for weight in weights])
    return totals.argsort(dim=1, stable=True).argsort(dim=1)


def run_race(problem: Problem, config: RaceConfig, prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Race prompts on train examples in a random order; returns the best prompt at each weight, without repetitions."""
    nll = problem.prompt_nll(prompts)
    examples = problem.batch(len(problem.task.train))
    alive, total, length = torch.arange(len(prompts), device=nll.device), torch.zeros_like(nll), problem.length_cost(prompts)
    seen, until = 0, min(config.batch_size, len(examples))
    while True:
        scores = problem.train.score_ids([prompts[i] for i in alive.tolist()], examples[seen:until])
        total[alive] += scores.loss.sum(1)
        seen = until
        ranked = ranks(total[alive] / seen + length[alive], nll[alive], config.weights)
        if len(alive) <= len(config.weights) or seen == len(examples) or problem.exhausted:
            best = alive[ranked.argmin(1)].tolist()
            return [prompts[i] for i in dict.fromkeys(best)]
        better = ranked.amin(0).argsort(stable=True)[: (len(alive) + 1) // 2]
        alive, until = alive[better], min(2 * seen, len(examples))


@optimizer("race", config=RaceConfig, check=predicts_next_token, finds_front=True)
def race(problem: Problem, config: RaceConfig) -> FinalPrompts:
    """Samples of the model itself, raced by successive halving for all fluency weights at once."""
    limit = config.races or (10 if problem.lm_tokens is None else None)
    for number in count(1):
        winners = run_race(problem, config, sample_prompts(problem, config))
        problem.score_on_dev(winners)
        problem.note(number / limit if limit else 0.0)
        if number == limit or problem.exhausted:
            return winners
    raise AssertionError("unreachable")
