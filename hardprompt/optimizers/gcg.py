"""GCG, Greedy Coordinate Gradient (Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models,
Algorithm 1).

In each step, with the current prompt x and the objective f on one minibatch of train examples:

    X_i = the k tokens with the lowest predicted change of f at place i    (`swap_predictions`)
    x^b = x with a uniformly drawn token of X_i at a uniformly drawn place i,  b = 1..B
    x  <- x^b*,  b* = argmin_b f(x^b)

The paper minimizes the loss of a target text; f is the objective of the problem here, with the weighted prompt NLL. With a
length weight, the candidates are also insertions, and all deletions of one token (`draw_edits`). As in the published code,
candidates whose text has other tokens are left out.

The buffer of Hayase et al. (2024, Query-Based Adversarial Prompt Generation) keeps the best prompts that were found; each step
starts at the best one. Values of f on different minibatches are not comparable, so every step scores the prompts in the buffer
again, on its own minibatch and together with the candidates.
"""

from itertools import count

from pydantic import NonNegativeInt, PositiveInt

from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import draw_edits
from hardprompt.optimizers.proposals import random_prompts
from hardprompt.optimizers.token_gradients import check_tokens, swap_predictions


class GcgConfig(Config):
    """Options of GCG."""

    steps: PositiveInt | None = None
    """Number of steps. By default as many as the budget allows, or 300 without a budget. The paper takes 500."""

    search_width: PositiveInt = 32
    """Number B of candidates in each step. The paper takes 512. With 4 examples of 10 tokens, a step with 32 candidates reads
    about 1,600 LM tokens, so that a budget of 60,000 allows more than 30 steps; with 512 it allows three."""

    top_k: PositiveInt = 256
    """Number k of tokens from which the candidates are drawn at each place, as in the paper. If fewer are allowed, all are
    used."""

    buffer: NonNegativeInt = 1
    """Number of prompts that are kept. The best candidate is added; if there are then too many, the worst is removed. With 0,
    as in the paper, the best candidate becomes the current prompt even if it is worse than the one before."""

    batch_size: PositiveInt = 4
    """Number of train examples in each step, drawn without replacement. If there are fewer, all are used. It is small because
    every candidate is scored on all of them."""

    evaluate_every: PositiveInt = 5
    """Steps between two evaluations of the current prompt on dev. A prompt that has not changed is not evaluated again."""


@optimizer("gcg", config=GcgConfig, check=check_tokens)
def gcg(problem: Problem, config: GcgConfig) -> FinalPrompts:
    """GCG: the best of many random swaps of one token, drawn from those that the gradient predicts to be best."""
    limit = config.steps or (300 if problem.lm_tokens is None else None)
    [current] = random_prompts(problem, 1)
    buffer = [current][: config.buffer]
    evaluated: tuple[int, ...] = ()
    for number in count(1):
        indices = problem.batch(config.batch_size)
        predictions = swap_predictions(problem, current, indices)
        candidates = draw_edits(problem, current, predictions, config.search_width, config.top_k)
        scored = [*buffer, *candidates]
        losses = dict(zip(scored, problem.objective(scored, indices).total.tolist(), strict=True))
        best = min(candidates, key=losses.__getitem__)
        ranked = sorted(dict.fromkeys([*buffer, best]), key=losses.__getitem__)
        current, buffer = ranked[0], ranked[: config.buffer]
        problem.note(number / limit if limit else 0.0, train_loss=losses[current])
        is_last = number == limit or problem.exhausted
        if current != evaluated and (is_last or number % config.evaluate_every == 0):
            problem.score_on_dev([current])
            evaluated = current
        if is_last or problem.exhausted:
            break
    return [*reversed(buffer[1:]), current]
