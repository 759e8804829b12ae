"""PEZ (Wen et al. 2023, Algorithm 1): gradients taken at the projection, applied to a continuous prompt that is kept.

    P' = Proj_E(P);   g = dL(P') / dP';   P <- P - lr * g

The released language-model script projects the stored prompt again after every step, which throws the continuous iterate
away: P <- Proj_E(P - lr * g). That is the paper's own AutoPrompt-SGD baseline, and available as variant "projected-sgd".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RunError
from hardprompt.lm.perplexity import nll_tokens, projected_nll
from hardprompt.optimizers.base import Config, Emitted, Problem, optimizer
from hardprompt.optimizers.soft import check_init, initial_embeds, make_updater
from hardprompt.projection import Measure, nearest, row_norms

EMITTED = 20
"""The last projections stand for what PEZ emits at its end: where it oscillates, they differ."""


class PezConfig(Config):
    """Options of PEZ.

    Attributes:
        steps: by default as many as the budget allows, or 300 without one.
        fluency_gradient: "one-sided" as published (targets are hard ids) or "two-sided" (`projected_nll`).
        variant: "pez" is Algorithm 1; "projected-sgd" is what the released script does.
        init, init_text: as for soft prompts.
        evaluate_every: after so many steps the projection with the lowest training loss among them is scored on dev.
    """

    steps: PositiveInt | None = None
    batch_size: PositiveInt = 16
    learning_rate: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0
    update: Literal["adamw", "adafactor"] = "adamw"
    projection: Measure = "cosine"
    fluency_gradient: Literal["one-sided", "two-sided"] = "two-sided"
    variant: Literal["pez", "projected-sgd"] = "pez"
    init: Literal["vocabulary", "noise", "text"] = "vocabulary"
    init_text: str = ""
    evaluate_every: PositiveInt = 5


@dataclass(frozen=True)
class PezStep:
    """One iterate: rows of the vocabulary that the prompt projects to, and the loss there."""

    rows: Tensor
    loss: float


def pez_steps(
    embeds: Tensor,
    vocab: Tensor,
    loss_at: Callable[[Tensor, Tensor], Tensor],
    updater: torch.optim.Optimizer,
    measure: Measure = "cosine",
    reproject: bool = False,
) -> Iterator[PezStep]:
    """Algorithm 1 without end.

    Args:
        embeds: the continuous prompt (L, d), a parameter of `updater`, changed in place.
        vocab: embeddings to project to, (A, d).
        loss_at: loss of the projected embeddings (L, d) and their rows (L,).
        updater: applies the gradient.
        measure: of the projection.
        reproject: whether the stored prompt is itself projected after every step ("projected-sgd").

    Raises:
        RunError: the loss is not finite.
    """
    norms = row_norms(vocab)
    while True:
        rows = nearest(embeds.detach(), vocab, measure, norms)
        hard = vocab[rows].detach().requires_grad_()
        loss = loss_at(hard, rows)
        if not loss.isfinite():
            raise RunError(f"the loss of PEZ is {loss.item()}; lower pez.learning_rate or the weight")
        (embeds.grad,) = torch.autograd.grad(loss, hard)
        updater.step()
        if reproject:
            embeds.data = vocab[nearest(embeds.detach(), vocab, measure, norms)]
        yield PezStep(rows, loss.item())


@optimizer("pez", config=PezConfig, check=lambda problem, config: check_init(config.init, config.init_text))
def pez(problem: Problem, config: PezConfig) -> Emitted:
    """PEZ: projected gradient onto the vocabulary; the continuous prompt is kept, the projection is what counts."""
    vocab = problem.lm.vocab_embeds[problem.allowed].float()
    embeds = initial_embeds(problem, config.init, config.init_text).requires_grad_()
    updater = make_updater(config.update, embeds, config.learning_rate, config.weight_decay)

    def loss_at(hard: Tensor, rows: Tensor) -> Tensor:
        loss = problem.train.score_embeds(hard, problem.batch(config.batch_size)).loss.mean()
        if problem.weight and (len(rows) > 1 or problem.lm.prefix_ids):
            nll = projected_nll(problem.lm, hard, problem.allowed[rows], config.fluency_gradient == "two-sided")
            problem.counter.forward += nll_tokens(problem.lm, len(rows))
            problem.counter.backward += nll_tokens(problem.lm, len(rows))
            loss = loss + problem.weight * nll
        return loss

    wanted = config.steps or (300 if problem.lm_tokens is None else None)
    projections: list[list[int]] = []
    losses: list[float] = []
    steps = pez_steps(embeds, vocab, loss_at, updater, config.projection, config.variant == "projected-sgd")
    for number, step in enumerate(steps, 1):
        ids = problem.allowed[step.rows].tolist()
        changed = not projections or ids != projections[-1]
        projections.append(ids)
        losses.append(step.loss)
        problem.note(number / wanted if wanted else 0.0, train_loss=step.loss, changed=float(changed))
        ends = number == wanted or problem.exhausted
        if ends or number % config.evaluate_every == 0:
            recent = range(number - 1 - (number - 1) % config.evaluate_every, number)
            problem.visit([projections[min(recent, key=losses.__getitem__)]])
        if ends or problem.exhausted:
            break
    final = problem.allowed[nearest(embeds.detach(), vocab, config.projection)].tolist()
    problem.visit([final])
    return [*projections, final][-EMITTED:]
