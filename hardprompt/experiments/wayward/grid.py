"""Training of wayward prompts over a grid of gamma, and the choice of one of them on dev."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError
from torch import Tensor

from hardprompt.errors import RequestError, UnknownName
from hardprompt.field_problems import field_problems
from hardprompt.metrics.token_f1 import token_f1
from hardprompt.optimizers.base import Candidate, Problem
from hardprompt.optimizers.soft_training import SoftTrainingConfig, initial_embeds, mean_squared_distance, train_soft_prompt
from hardprompt.optimizers.wayward import target_embeds
from hardprompt.projection import SimilarityMeasure, nearest
from hardprompt.prompt import HardPrompt, SoftPrompt

MIN_TOKEN_F1 = 0.98
"""A prompt projects to its target if the token F1 of the two texts is at least this, as in Khashabi et al. (2022)."""


class WaywardGrid(SoftTrainingConfig):
    """The grid of gamma, and the options of each training."""

    gammas: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.03, 0.1, 0.3, 1.0)
    """Weights of the distance to the target, in nats per squared embedding unit. 0 is the unconstrained prompt."""

    steps: PositiveInt = 150
    """Training steps for each gamma."""

    batch_size: PositiveInt = 16
    """Train examples in each step."""

    evaluate_every: PositiveInt = 50
    """Steps between two checkpoints."""

    projection: SimilarityMeasure = "euclidean"
    """Similarity measure by which the prompt is projected to tokens."""


PRESETS: dict[str, WaywardGrid] = {
    "default": WaywardGrid(),
    "khashabi": WaywardGrid(
        gammas=(0.0, 1e-4, 5e-4, 1e-3, 3e-3, 5e-3, 1e-2, 3e-2),
        steps=2000,
        batch_size=8,
        learning_rate=0.01,
        max_grad_norm=1.0,
        evaluate_every=500,
    ),
}
"""`khashabi` is the published schedule, for embeddings of the scale of GPT-2's."""


def wayward_grid(preset: str = "default", **options: Any) -> WaywardGrid:
    """A preset with some options replaced.

    Raises:
        UnknownName: there is no preset of this name.
        RequestError: a value cannot be used.

    Example:
        >>> wayward_grid("khashabi", steps=10).learning_rate
        0.01
    """
    if preset not in PRESETS:
        raise UnknownName("wayward preset", preset, PRESETS)
    try:
        return WaywardGrid(**{**PRESETS[preset].model_dump(), **options})
    except ValidationError as error:
        raise RequestError(f"wayward {field_problems(error, WaywardGrid)[0].message}") from error


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A prompt during training.

    Attributes:
        embeds: the prompt, (L, d).
        gamma: the weight of the distance in its training.
        dev_accuracy, dev_loss: a fraction, and nats per example.
        projection: ids of the nearest tokens, (L,).
        token_f1: token F1 of the text of the projection and the target.
        distance: 1/L sum_i || p_i - E[t_i] ||^2, in squared embedding units.
    """

    embeds: Tensor
    gamma: float
    dev_accuracy: float
    dev_loss: float
    projection: tuple[int, ...]
    token_f1: float
    distance: float


def train_checkpoints(
    problem: Problem, target: HardPrompt, gamma: float, config: SoftTrainingConfig, init: str = "target"
) -> list[Checkpoint]:
    """Train a soft prompt with a penalty on its distance to a target, and return its checkpoints.

    Args:
        problem: a new problem whose prompt length is that of the target. The projection is to its allowed tokens.
        target: the target text.
        gamma: weight of the distance, in nats per squared embedding unit.
        config: the options of the training.
        init: "target" starts at the target, "vocabulary" at random allowed tokens.

    Raises:
        RequestError: the target is longer or shorter than the prompts of the problem.
        RunError: the loss is not finite.
    """
    goal = target_embeds(problem, target)
    train_soft_prompt(problem, goal if init == "target" else initial_embeds(problem, init), config, goal, gamma)
    return [_checkpoint(problem, candidate, target, goal, gamma, config.projection) for candidate in problem.candidates[1:]]


def best_checkpoint(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The checkpoint of highest accuracy on dev, then of lowest loss, among those that project to the target.

    If none has a token F1 of `MIN_TOKEN_F1`, it is chosen among those with the highest token F1.
    """
    threshold = min(MIN_TOKEN_F1, max(each.token_f1 for each in checkpoints))
    eligible = [each for each in checkpoints if each.token_f1 >= threshold]
    return max(eligible, key=lambda each: (each.dev_accuracy, -each.dev_loss))


def _checkpoint(
    problem: Problem, candidate: Candidate, target: HardPrompt, goal: Tensor, gamma: float, measure: SimilarityMeasure
) -> Checkpoint:
    assert isinstance(candidate.prompt, SoftPrompt)
    lm, embeds = problem.lm, candidate.prompt.embeds
    projection = problem.allowed[nearest(embeds, lm.vocab_embeds.float()[problem.allowed], measure)].tolist()
    return Checkpoint(
        embeds=embeds,
        gamma=gamma,
        dev_accuracy=candidate.dev_accuracy,
        dev_loss=candidate.dev_task_loss,
        projection=tuple(projection),
        token_f1=token_f1(lm.decode(projection), target.text),
        distance=float(mean_squared_distance(embeds, goal)),
    )
