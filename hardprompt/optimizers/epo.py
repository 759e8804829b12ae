"""The optimizer `epo`: evolutionary prompt optimization, one population for all fluency weights (Thompson et al. 2024).

"Fluent dreaming for language models" maximizes f(x) - X_i xent(x) in slot i of a population, with X_i from 0.1 to 10 on a log
scale. Here slot i minimizes the equivalent

    task loss(x) + w_i nll(x),    w_i = w_low (w_high / w_low)^(i / (slots - 1)).

In each iteration the prompt of every slot has children: copies with one token swapped, at a random place, for a random one of
the k tokens with the lowest predicted objective at that place (`swap_predictions`). All prompts and children are scored on the
same examples, and each slot takes the best of all of them. With a length weight, children also have a token
inserted or deleted (`draw_edits`). At a restart all slots take the prompt that is best at one weight, which is drawn
log-uniformly from the range of the weights. (The released code draws such a weight, but then uses a fixed one.)
"""

import math
from collections.abc import Sequence
from itertools import count

import torch
from pydantic import PositiveFloat, PositiveInt

from hardprompt.errors import RequestError
from hardprompt.objective import Objective
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import draw_edits
from hardprompt.optimizers.proposals import random_prompts
from hardprompt.optimizers.token_gradients import check_tokens, swap_predictions

Ids = tuple[int, ...]


class EpoConfig(Config):
    """Options of evolutionary prompt optimization."""

    iterations: PositiveInt | None = None
    """Number of iterations. By default as many as the budget allows, or 300, as in the paper, without a budget."""

    slots: PositiveInt = 8
    """Number of slots of the population, as in the paper."""

    children: PositiveInt = 8
    """Number of children of each slot in each iteration. The paper uses 32."""

    top_k: PositiveInt = 64
    """Number of tokens at each place from which a swap is drawn; all allowed tokens if there are fewer. The paper uses 512."""

    lowest_weight: PositiveFloat = 0.03
    """Fluency weight of the first slot: nats of task loss for each nat per token. The paper uses 0.1 in units of its own f."""

    highest_weight: PositiveFloat = 1.0
    """Fluency weight of the last slot. The paper uses 10 in units of its own f."""

    restart_every: PositiveInt = 50
    """Iterations between two restarts, as in the paper."""

    batch_size: PositiveInt = 2
    """Number of train examples in each iteration, drawn without replacement. The paper has no examples."""

    evaluate_every: PositiveInt = 5
    """Iterations between two evaluations on dev, of the prompts in the slots that were not evaluated before."""


def slot_weights(config: EpoConfig) -> list[float]:
    """The fluency weights of the slots, ascending with equal ratios; with one slot, the lowest weight."""
    low, high = math.log(config.lowest_weight), math.log(config.highest_weight)
    return torch.linspace(low, high, config.slots, dtype=torch.float64).exp().tolist()


def children(problem: Problem, config: EpoConfig, ids: Ids, indices: Sequence[int], weight: float) -> list[Ids]:
    """Copies of a prompt that differ in one token, one of the best predicted ones at a random place."""
    return draw_edits(problem, ids, swap_predictions(problem, ids, indices, weight), config.children, config.top_k)


def best(objective: Objective, weight: float) -> int:
    """The prompt with the lowest objective at a fluency weight."""
    return int(objective.at(weight).argmin())


def _check(problem: Problem, config: EpoConfig) -> None:
    check_tokens(problem, config)
    if problem.lm.kind == "encoder-decoder":
        raise RequestError(
            f"{problem.lm.name} is an encoder-decoder model, which assigns no probability to a prompt, and every slot of epo "
            "weighs it; use another optimizer"
        )
    if config.lowest_weight > config.highest_weight:
        raise RequestError(
            f"epo.lowest_weight is {config.lowest_weight:g}, above epo.highest_weight, {config.highest_weight:g}; lower it"
        )


@optimizer("epo", config=EpoConfig, check=_check, finds_front=True)
def epo(problem: Problem, config: EpoConfig) -> FinalPrompts:
    """Evolutionary prompt optimization: token swaps by gradient in a population with one fluency weight per slot."""
    limit = config.iterations or (300 if problem.lm_tokens is None else None)
    weights = slot_weights(config)
    first = random_prompts(problem, config.slots)
    slots = [first[i % len(first)] for i in range(config.slots)]
    evaluated: set[Ids] = set()
    for iteration in count(1):
        indices = problem.batch(config.batch_size)
        swapped = (children(problem, config, ids, indices, weight) for ids, weight in zip(slots, weights, strict=True))
        pool = list(dict.fromkeys([*slots, *(child for group in swapped for child in group)]))
        objective = problem.objective(pool, indices)
        slots = [pool[best(objective, weight)] for weight in weights]
        problem.note(iteration / limit if limit else 0.0, train_loss=float(objective.task_loss.min()))
        restart = iteration % config.restart_every == 0
        is_last = iteration == limit or problem.exhausted
        if is_last or restart or iteration % config.evaluate_every == 0:
            if new := [ids for ids in dict.fromkeys(slots) if ids not in evaluated]:
                problem.score_on_dev(new)
            evaluated.update(new)
        if is_last or problem.exhausted:
            break
        if restart:
            share = torch.rand((), generator=problem.generator).item()
            drawn = config.lowest_weight * (config.highest_weight / config.lowest_weight) ** share
            slots = [pool[best(objective, drawn)]] * config.slots
    return slots
