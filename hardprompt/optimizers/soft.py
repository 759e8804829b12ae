"""Vanilla prompt tuning (Lester et al. 2021): L free vectors, trained by gradient on the task loss alone."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RequestError, RunError
from hardprompt.lm.perplexity import nll_tokens, projected_nll
from hardprompt.optimizers.base import Config, Emitted, Problem, optimizer
from hardprompt.projection import Measure, nearest
from hardprompt.prompt import HardPrompt, SoftPrompt

SHARE_OF_SPREAD = 0.1
"""The default learning rate over the standard deviation of the vocabulary's coordinates: by AdamW a step moves each coordinate
by about the learning rate, and the embeddings of one model are many times as large as those of another."""


class SoftConfig(Config):
    """Options of prompt tuning.

    Attributes:
        learning_rate: by default a tenth of the standard deviation of the vocabulary's coordinates.
        init: "vocabulary" (rows of sampled allowed tokens), "noise" (the vocabulary's mean and spread), or "text".
        init_text: for "text": tokenized and repeated or cut to the prompt's length, so one word is repeated.
        schedule: of the learning rate; "linear" falls towards zero at the last step or at the end of the budget.
        nll_weight: weight of a straight-through NLL term on the projection (value at the projection, gradient to the vectors).
    """

    steps: PositiveInt = 200
    batch_size: PositiveInt = 32
    learning_rate: NonNegativeFloat | None = None
    weight_decay: NonNegativeFloat = 0.0
    update: Literal["adamw", "adafactor"] = "adamw"
    schedule: Literal["constant", "linear"] = "linear"
    init: Literal["vocabulary", "noise", "text"] = "vocabulary"
    init_text: str = ""
    nll_weight: NonNegativeFloat = 0.0
    projection: Measure = "cosine"
    evaluate_every: PositiveInt = 10


@optimizer(
    "soft", config=SoftConfig, uses_weight=False, check=lambda problem, config: check_init(config.init, config.init_text)
)
def soft(problem: Problem, config: SoftConfig) -> Emitted:
    """A vanilla soft prompt: free vectors trained by gradient, the upper bound that nobody can read."""
    embeds = initial_embeds(problem, config.init, config.init_text).requires_grad_()
    learning_rate = config.learning_rate
    if learning_rate is None:
        learning_rate = SHARE_OF_SPREAD * float(problem.lm.vocab_embeds.float().std())
        problem.resolved_options["learning_rate"] = learning_rate
    updater = make_updater(config.update, embeds, learning_rate, config.weight_decay)
    problem.visit_soft(embeds)
    for step in range(config.steps):
        if config.schedule == "linear":
            updater.param_groups[0]["lr"] = learning_rate * (1 - problem.share_done(step / config.steps))
        loss = problem.train.score_embeds(embeds, problem.batch(config.batch_size)).loss.mean()
        if config.nll_weight:
            loss = loss + config.nll_weight * _straight_through_nll(problem, embeds, config.projection)
        if not loss.isfinite():
            raise RunError(f"the loss of the soft prompt is {loss.item()} at step {step}; lower soft.learning_rate")
        (embeds.grad,) = torch.autograd.grad(loss, embeds)
        updater.step()
        ends = step + 1 == config.steps or problem.exhausted
        if ends or (step + 1) % config.evaluate_every == 0:
            dev = problem.visit_soft(embeds)
            problem.note((step + 1) / config.steps, train_loss=loss.item(), dev_loss=float(dev.task_loss))
        if ends or problem.exhausted:
            break
    return SoftPrompt(embeds.detach())


def initial_embeds(problem: Problem, init: str, text: str = "") -> Tensor:
    """First prompt vectors (L, d): rows of sampled allowed tokens, noise like the vocabulary, or a text's tokens repeated."""
    vocab = problem.lm.vocab_embeds.float()
    if init == "vocabulary":
        return vocab[problem.random_ids(1)[0]].clone()
    if init == "noise":
        draw = torch.randn(problem.prompt_length, vocab.shape[1], generator=problem.generator).to(vocab.device)
        return vocab.mean(0) + vocab.std(0) * draw
    ids = HardPrompt.from_text(problem.lm, text).ids
    rows = [ids[i % len(ids)] for i in range(problem.prompt_length)]
    return vocab[torch.tensor(rows, device=vocab.device)].clone()


def check_init(init: str, text: str) -> None:
    """RequestError for init "text" without a text."""
    if init == "text" and not text.strip():
        raise RequestError("init 'text' needs an init_text of at least one word")


def make_updater(name: str, embeds: Tensor, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, or Adafactor with a fixed learning rate as Lester et al. and the PEZ script use it."""
    if name == "adamw":
        return torch.optim.AdamW([embeds], lr=learning_rate, weight_decay=weight_decay)
    from transformers.optimization import Adafactor

    return Adafactor(
        [embeds],
        lr=learning_rate,
        weight_decay=weight_decay,
        relative_step=False,
        scale_parameter=False,
        warmup_init=False,
    )


def _straight_through_nll(problem: Problem, embeds: Tensor, measure: Measure) -> Tensor:
    vocab = problem.lm.vocab_embeds[problem.allowed].float()
    rows = nearest(embeds.detach(), vocab, measure)
    problem.counter.forward += nll_tokens(problem.lm, len(rows))
    problem.counter.backward += nll_tokens(problem.lm, len(rows))
    projected = embeds + (vocab[rows] - embeds).detach()
    return projected_nll(problem.lm, projected, problem.allowed[rows])
