"""PEZ (Wen et al. 2023, Algorithm 1): gradients at the projection update a continuous prompt.

    P' = Proj_E(P);   g = dL(P') / dP';   P <- P - lr * g

The published script for language models also projects the stored prompt after every step, P <- Proj_E(P - lr * g), and so
loses the continuous prompt. This is the baseline AutoPrompt-SGD of the paper; here it is the variant "projected-sgd".

The continuous prompt has a fixed length. With a length weight, every projection that is evaluated on dev is also evaluated
after greedy deletion of its tokens (`with_shortened`), which does not change the continuous prompt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RunError
from hardprompt.lm.perplexity import has_nll, nll_tokens, projected_nll
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import with_shortened
from hardprompt.optimizers.soft_training import check_init, initial_embeds, make_updater, resolved_rate
from hardprompt.optimizers.token_gradients import check_tokens
from hardprompt.projection import SimilarityMeasure, nearest, row_norms

RELATIVE_LEARNING_RATE = {"pez": 0.25, "projected-sgd": 32.0}
"""The default learning rate of each variant, relative to the standard deviation of the vocabulary embeddings. They were chosen
on dev, on tasks whose results are not reported (`runs/log.md`). Projected SGD keeps nothing between two steps, so that one step
has to reach another token."""

FINAL_PROMPTS = 20
"""Number of the last projections that PEZ returns. They differ where the search oscillates."""


class PezConfig(Config):
    """Options of PEZ."""

    steps: PositiveInt | None = None
    """Number of steps. By default as many as the budget allows, or 300 without a budget."""

    batch_size: PositiveInt = 16
    """Number of train examples in each step, drawn without replacement. If there are fewer, all are used."""

    learning_rate: NonNegativeFloat | None = None
    """Learning rate, constant over the search, in embedding units per step for AdamW. By default a quarter of the standard
    deviation of the vocabulary embeddings, and 32 times it for "projected-sgd"."""

    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of the update rule."""

    update: Literal["adamw", "adafactor"] = "adamw"
    """Update rule. Adafactor has a fixed learning rate here, as in the published script."""

    projection: SimilarityMeasure = "cosine"
    """Similarity measure by which the prompt is projected to tokens; cosine is the published one."""

    fluency_gradient: Literal["one-sided", "two-sided"] = "two-sided"
    """Gradient of the prompt NLL: only through the tokens that are read ("one-sided", as published), or also through the tokens
    that are predicted ("two-sided")."""

    variant: Literal["pez", "projected-sgd"] = "pez"
    """Algorithm 1 of the paper ("pez"), or the published script, which also projects the stored prompt ("projected-sgd")."""

    init: Literal["vocabulary", "noise", "text"] = "vocabulary"
    """Initial prompt: embeddings of random allowed tokens ("vocabulary"), normal noise with the mean and the standard deviation
    of the vocabulary embeddings ("noise"), or the embeddings of init_text ("text")."""

    init_text: str = ""
    """Text for init="text". Its tokens are repeated or cut to the prompt length."""

    evaluate_every: PositiveInt = 5
    """Steps between two evaluations on dev. Of the projections in between, the one with the lowest train loss is evaluated."""


@dataclass(frozen=True)
class PezStep:
    """One iterate.

    Attributes:
        rows: rows of the vocabulary to which the prompt projects, (L,).
        loss: the loss of the projection.
    """

    rows: Tensor
    loss: float


def pez_steps(
    embeds: Tensor,
    vocab: Tensor,
    loss_at: Callable[[Tensor, Tensor], Tensor],
    updater: torch.optim.Optimizer,
    measure: SimilarityMeasure = "cosine",
    reproject: bool = False,
) -> Iterator[PezStep]:
    """The steps of Algorithm 1, without an end.

    Args:
        embeds: the continuous prompt (L, d), a parameter of `updater`. It is changed in place.
        vocab: the embeddings of the projection, (A, d).
        loss_at: the loss as a function of the projected embeddings (L, d) and their rows (L,).
        updater: the update rule.
        measure: similarity measure of the projection.
        reproject: whether the stored prompt is projected after every step ("projected-sgd").

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


def _check(problem: Problem, config: PezConfig) -> None:
    check_init(config.init, config.init_text)
    check_tokens(problem, config)


@optimizer("pez", config=PezConfig, check=_check)
def pez(problem: Problem, config: PezConfig) -> FinalPrompts:
    """PEZ: a continuous prompt, updated with gradients at its projection onto the vocabulary."""
    vocab = problem.token_embeds(problem.allowed)
    every = problem.token_embeds(torch.arange(len(problem.lm.vocab_embeds), device=vocab.device))
    embeds = initial_embeds(problem, config.init, config.init_text, every).requires_grad_()
    learning_rate = resolved_rate(problem, config.learning_rate, RELATIVE_LEARNING_RATE[config.variant])
    updater = make_updater(config.update, embeds, learning_rate, config.weight_decay)

    def loss_at(hard: Tensor, rows: Tensor) -> Tensor:
        loss = problem.train.score_embeds(hard, problem.batch(config.batch_size)).loss.mean()
        if problem.weight and has_nll(problem.lm, len(rows)):
            nll = projected_nll(
                problem.lm, problem.own_embeds(hard), problem.allowed[rows], config.fluency_gradient == "two-sided"
            )
            problem.counter.forward += nll_tokens(problem.lm, len(rows))
            problem.counter.backward += nll_tokens(problem.lm, len(rows))
            loss = loss + problem.nll_weight(len(rows)) * nll
        return loss

    limit = config.steps or (300 if problem.lm_tokens is None else None)
    projections: list[list[int]] = []
    losses: list[float] = []
    steps = pez_steps(embeds, vocab, loss_at, updater, config.projection, config.variant == "projected-sgd")
    for number, step in enumerate(steps, 1):
        ids = problem.allowed[step.rows].tolist()
        changed = not projections or ids != projections[-1]
        projections.append(ids)
        losses.append(step.loss)
        problem.note(number / limit if limit else 0.0, train_loss=step.loss, changed=float(changed))
        is_last = number == limit or problem.exhausted
        if is_last or number % config.evaluate_every == 0:
            recent = range(number - 1 - (number - 1) % config.evaluate_every, number)
            problem.score_on_dev(with_shortened(problem, projections[min(recent, key=losses.__getitem__)]))
        if is_last or problem.exhausted:
            break
    final = problem.allowed[nearest(embeds.detach(), vocab, config.projection)].tolist()
    problem.score_on_dev(with_shortened(problem, final))
    return [*projections, final][-FINAL_PROMPTS:]
