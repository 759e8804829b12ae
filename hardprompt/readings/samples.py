"""The reader `samples`: the least divergence among texts that the model writes itself.

Texts of 1 to L tokens are drawn from the model, at the start of a document and behind the inputs. All of them are compared on
a few inputs, and the best share on all inputs. A reading is therefore a text that the model finds natural, and nothing is
optimized beyond the choice.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt

from hardprompt.optimizers.base import Config
from hardprompt.optimizers.proposals import Proposals, predicts_next_token, shortest_length
from hardprompt.readings.base import reader
from hardprompt.readings.problem import ReadingProblem

BATCH = 64
"""Samples that are drawn and compared at once."""


class SamplesConfig(Config):
    """Options of the reader."""

    samples: PositiveInt = 1024
    """Largest number of samples; fewer are drawn if the budget ends before."""

    first: PositiveInt = 4
    """Number of inputs on which all samples are compared."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the samples that are compared on all inputs."""

    likely: PositiveInt = 64
    """Number of most probable tokens from which each token is drawn."""


@reader("samples", SamplesConfig, predicts_next_token)
def samples(problem: ReadingProblem, config: SamplesConfig) -> list[tuple[int, ...]]:
    """The best of many texts that the model writes itself, at the start of a document and behind inputs."""
    proposals, shortest = Proposals(problem, config.likely), shortest_length(problem)
    seen: set[tuple[int, ...]] = set()
    drawn = 0
    while drawn < config.samples and not problem.exhausted:
        count = min(BATCH, config.samples - drawn)
        drawn += count
        contexts = [_context(problem, proposals) for _ in range(count)]
        lengths = torch.randint(shortest, problem.prompt_length + 1, (count,), generator=problem.generator).tolist()
        new = [ids for ids in map(tuple, proposals.continued(contexts, lengths)) if ids not in seen]
        seen.update(new)
        if new:
            first = problem.objective(new, problem.batch(config.first)).total
            kept = first.topk(max(1, round(config.share * len(new))), largest=False).indices.tolist()
            problem.score_on_dev([new[i] for i in kept])
        problem.note(drawn / config.samples)
    return []


def _context(problem: ReadingProblem, proposals: Proposals) -> list[int]:
    """The start of a document or, half of the time, all that stands before the prompt behind a random input."""
    if proposals.places and torch.rand((), generator=problem.generator) < 0.5:
        return proposals.context([], int(torch.randint(len(proposals.places), (), generator=problem.generator)))
    return proposals.context([])
