"""The reader `gradient-search`: the least divergence by discrete search with the gradient of the divergence.

The optimizer `front` keeps an archive of texts of which none dominates another in (KL divergence, NLL), and its parents have
children with one token swapped for one that the gradient of KL + w NLL predicts to be better, as in GCG (Zou et al. 2023) and
EPO (Thompson et al. 2024), beside children that the model proposes.
"""

from pydantic import PositiveInt

from hardprompt.optimizers.base import Config, FinalPrompts
from hardprompt.optimizers.front import FrontConfig, front
from hardprompt.readings.base import reader
from hardprompt.readings.problem import ReadingProblem

LADDER = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Weights of the NLL of whole texts, as multiples of the weight of the problem."""


class GradientSearchConfig(Config):
    """Options of the reader."""

    generations: PositiveInt | None = None
    """Number of generations. By default as many as the budget allows, or 60 without a budget."""

    swap_parents: PositiveInt = 1
    """Parents in each generation whose children swap one token as the gradient predicts."""


@reader("gradient-search", GradientSearchConfig)
def gradient_search(problem: ReadingProblem, config: GradientSearchConfig) -> FinalPrompts:
    """Discrete search: an archive of texts, changed by gradient swaps and by moves that the model proposes."""
    ladder = tuple(problem.weight * factor for factor in LADDER) if problem.weight else (0.0,)
    options = FrontConfig(generations=config.generations, swap_parents=config.swap_parents, ladder=ladder)
    return front.search(problem, options)
