"""The optimizer `beam`: beam search over the model's own next tokens, without gradients (BEAST, Sadasivan et al. 2024).

A search starts with k1 tokens drawn from p(x_1 | start). At each further length, k2 next tokens are drawn from the model for
each of the k1 beams, and of the k1 k2 candidates those k1 with the lowest objective on a train minibatch become the next beams.
BEAST attacks one model with a suffix of fixed length. Here the objective is that of the problem, with its weight, tokens are
drawn among the allowed ones, and since a prefix of a prompt is a prompt too, the best beam of every length is scored on dev
(from length 2 for a model without a start token, `shortest_length`), where a length weight decides between lengths. Searches
are repeated with new draws until the budget ends. Candidates whose text has other tokens are left out (`kept_by_text`), as
long as others are left.
"""

from collections.abc import Iterator
from itertools import count

import torch
from pydantic import PositiveInt
from torch import Tensor

from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.proposals import draw_tokens, kept_by_text, next_token_logits, predicts_next_token, shortest_length


class BeamConfig(Config):
    """Options of beam search."""

    searches: PositiveInt | None = None
    """Number of searches. By default as many as the budget allows, or 10 without a budget. The paper runs one."""

    beams: PositiveInt = 5
    """Number of beams, k1. The paper uses 15."""

    continuations: PositiveInt = 5
    """Number of next tokens that are drawn for each beam, k2, without replacement. The paper uses 15."""

    batch_size: PositiveInt = 4
    """Number of train examples by which the candidates of each length are ranked, drawn anew for each length."""


def beam_lengths(problem: Problem, config: BeamConfig) -> Iterator[Tensor]:
    """One search: the beams of length 1, 2, ..., L, each (k1, length) with the best beam first."""
    candidates = torch.empty(1, 0, dtype=torch.long, device=problem.lm.device)
    drawn = config.beams
    for _ in range(problem.prompt_length):
        columns = draw_tokens(next_token_logits(problem, candidates), drawn, problem.generator)
        parents = candidates.repeat_interleave(columns.shape[1], 0)
        candidates = torch.cat([parents, problem.allowed[columns].reshape(-1, 1)], 1)
        if kept := kept_by_text(problem, [tuple(ids) for ids in candidates.tolist()]):
            candidates = torch.tensor(kept, device=candidates.device)
        objective = problem.objective(candidates, problem.batch(config.batch_size))
        candidates = candidates[objective.total.argsort(stable=True)[: config.beams]]
        drawn = config.continuations
        yield candidates


@optimizer("beam", config=BeamConfig, check=predicts_next_token)
def beam(problem: Problem, config: BeamConfig) -> FinalPrompts:
    """Beam search over the next tokens that the model itself proposes (BEAST)."""
    limit = config.searches or (10 if problem.lm_tokens is None else None)
    for number in count(1):
        for beams in beam_lengths(problem, config):
            if beams.shape[1] >= shortest_length(problem):
                problem.score_on_dev(beams[:1])
                if problem.exhausted:
                    break
        problem.note(number / limit if limit else 0.0)
        if number == limit or problem.exhausted:
            break
    return beams.flip(0).tolist()
