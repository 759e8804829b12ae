"""Wayward prompts (Khashabi et al. 2022): a soft prompt that solves a task and projects to a text of one's choice.

    l'(P) = l(P; D) + gamma * 1/L sum_i || p_i - E[t_i] ||^2

P starts at the embeddings of the target text t, is as long as it, and is trained by gradient. The released code never passes
gamma on; here the term is part of what is minimized. A text that one can choose freely is no account of what the prompt does:
these are the negative control of every reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError
from torch import Tensor

from hardprompt.data.task import Template
from hardprompt.errors import RequestError, RunError, UnknownName
from hardprompt.field_problems import field_problems
from hardprompt.lm.frozen import FrozenLM
from hardprompt.metrics.token_f1 import token_f1
from hardprompt.optimizers.base import Config, Problem
from hardprompt.optimizers.soft import SHARE_OF_SPREAD, initial_embeds, make_updater
from hardprompt.projection import Measure, nearest
from hardprompt.prompt import HardPrompt

LEAST_F1 = 0.98
"""Token F1 at which a projection counts as the target, as published."""


class WaywardConfig(Config):
    """How wayward prompts are trained.

    Attributes:
        gammas: weights of the distance, nats per squared embedding unit; 0 is the unconstrained prompt.
        steps, batch_size: of every training.
        learning_rate: by default a tenth of the standard deviation of the vocabulary's coordinates; it falls linearly to zero.
        clip: the norm that a gradient is cut to; None for no cut.
        evaluate_every: after so many steps the prompt is scored on dev and projected.
        projection: the measure of the projection.
    """

    gammas: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.03, 0.1, 0.3, 1.0)
    steps: PositiveInt = 150
    batch_size: PositiveInt = 16
    learning_rate: NonNegativeFloat | None = None
    clip: NonNegativeFloat | None = None
    evaluate_every: PositiveInt = 50
    projection: Measure = "euclidean"


PRESETS: dict[str, WaywardConfig] = {
    "default": WaywardConfig(),
    "khashabi": WaywardConfig(
        gammas=(0.0, 1e-4, 5e-4, 1e-3, 3e-3, 5e-3, 1e-2, 3e-2),
        steps=2000,
        batch_size=8,
        learning_rate=0.01,
        clip=1.0,
        evaluate_every=500,
    ),
}
"""`khashabi` is the published schedule, for embeddings like GPT-2's."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A prompt on its way.

    Attributes:
        embeds: (L, d).
        gamma: what it was trained with.
        dev_accuracy, dev_loss: a fraction, and nats per example.
        projection: ids of the closest tokens, (L,).
        token_f1: of the projection's text with the target's.
        distance: 1/L sum_i || p_i - E[t_i] ||^2, squared embedding units.
    """

    embeds: Tensor
    gamma: float
    dev_accuracy: float
    dev_loss: float
    projection: tuple[int, ...]
    token_f1: float
    distance: float


def wayward_config(preset: str = "default", **options: Any) -> WaywardConfig:
    """A preset with options of one's own.

    Raises:
        UnknownName: no such preset.
        RequestError: an option's bad value.

    Example:
        >>> wayward_config("khashabi", steps=10).learning_rate
        0.01
    """
    if preset not in PRESETS:
        raise UnknownName("wayward preset", preset, PRESETS)
    try:
        return WaywardConfig(**{**PRESETS[preset].model_dump(), **options})
    except ValidationError as error:
        raise RequestError(f"wayward {field_problems(error, WaywardConfig)[0].message}") from error


def target_prompt(lm: FrozenLM, template: Template, text: str) -> HardPrompt:
    """The target text as ids in its place, checked: it must come back from them.

    Raises:
        RequestError: it is empty, or its ids spell another text.

    Example:
        >>> from hardprompt import Template, load_lm
        >>> len(target_prompt(load_lm("microworld"), Template("{prompt}: {input} ="), "give the plural").ids)
        3
    """
    found = HardPrompt.in_place(lm, template, text.strip())
    if not found.ids:
        raise RequestError("the target text is empty; give one of at least one word")
    again = lm.decode(found.ids).strip()
    if again != found.text:
        raise RequestError(f"the target {found.text!r} does not tokenize to itself but to {again!r} for {lm.name}; change it")
    return found


def distance_to(embeds: Float[Tensor, "L d"], target: Float[Tensor, "L d"]) -> Float[Tensor, ""]:
    """1/L sum_i || p_i - t_i ||^2, in squared embedding units.

    >>> distance_to(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item()
    2.5
    """
    return (embeds - target).square().sum(-1).mean()


def train_toward(
    problem: Problem, target: HardPrompt, gamma: float, config: WaywardConfig, init: str = "target"
) -> list[Checkpoint]:
    """Train a soft prompt for the problem's task that is drawn to the target's embeddings; the prompt at each checkpoint.

    Args:
        problem: its prompt length is the target's; `problem.allowed` are the tokens that a prompt may project to.
        target: the text.
        gamma: nats per squared embedding unit.
        config: the schedule.
        init: "target" starts at its embeddings, "vocabulary" at those of sampled tokens.

    Raises:
        RequestError: the target is longer or shorter than the problem's prompts.
        RunError: the loss is not finite.
    """
    if len(target.ids) != problem.prompt_length:
        raise RequestError(
            f"the target {target.text!r} is {len(target.ids)} tokens and the prompt {problem.prompt_length}; make them alike"
        )
    vocab = problem.lm.vocab_embeds.float()
    goal = vocab[list(target.ids)]
    embeds = (goal.clone() if init == "target" else initial_embeds(problem, init)).requires_grad_()
    rate = config.learning_rate
    if rate is None:
        rate = SHARE_OF_SPREAD * float(vocab.std())
    updater = make_updater("adamw", embeds, rate, 0.0)
    found = []
    for step in range(config.steps):
        updater.param_groups[0]["lr"] = rate * (1 - step / config.steps)
        loss = problem.train.score_embeds(embeds, problem.batch(config.batch_size)).loss.mean()
        loss = loss + gamma * distance_to(embeds, goal)
        if not loss.isfinite():
            raise RunError(f"the loss of the wayward prompt is {loss.item()} at step {step}; lower the learning rate")
        (embeds.grad,) = torch.autograd.grad(loss, embeds)
        if config.clip is not None:
            torch.nn.utils.clip_grad_norm_([embeds], config.clip)
        updater.step()
        if step + 1 == config.steps or (step + 1) % config.evaluate_every == 0:
            found.append(_checkpoint(problem, embeds.detach().clone(), target, gamma, config.projection))
            problem.note((step + 1) / config.steps)
    return found


def chosen(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The best on dev among those that project to the target (F1 >= 0.98); where none does, of those that come closest to it.

    Best is the highest accuracy, then the lowest loss.
    """
    least = min(LEAST_F1, max(each.token_f1 for each in checkpoints))
    near = [each for each in checkpoints if each.token_f1 >= least]
    return max(near, key=lambda each: (each.dev_accuracy, -each.dev_loss))


def _checkpoint(problem: Problem, embeds: Tensor, target: HardPrompt, gamma: float, measure: str) -> Checkpoint:
    lm = problem.lm
    on_dev = problem.dev.score_embeds(embeds)
    vocab = lm.vocab_embeds.float()
    projection = problem.allowed[nearest(embeds, vocab[problem.allowed], measure)].tolist()
    return Checkpoint(
        embeds=embeds,
        gamma=gamma,
        dev_accuracy=float(on_dev.correct.float().mean()),
        dev_loss=float(on_dev.loss.mean()),
        projection=tuple(projection),
        token_f1=token_f1(lm.decode(projection), target.text),
        distance=float(distance_to(embeds, vocab[list(target.ids)])),
    )
