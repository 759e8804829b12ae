"""Training of soft prompts by gradient: the loop that the optimizers `soft` and `wayward` share."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RequestError, RunError
from hardprompt.lm.perplexity import has_nll, nll_tokens, projected_nll
from hardprompt.optimizers.base import Config, Problem, check_weight
from hardprompt.projection import SimilarityMeasure, nearest
from hardprompt.prompt import HardPrompt, SoftPrompt

RELATIVE_LEARNING_RATE = 0.1
"""The default learning rate, relative to the standard deviation of the vocabulary embeddings. A step of AdamW changes each
coordinate by about the learning rate, and the scale of the embeddings differs widely between models."""


class SoftTrainingConfig(Config):
    """Options of the training of a soft prompt."""

    steps: PositiveInt = 200
    """Training steps. The search ends earlier if the budget is used up."""

    batch_size: PositiveInt = 32
    """Number of train examples in each step, drawn without replacement. If there are fewer, all are used."""

    learning_rate: NonNegativeFloat | None = None
    """Learning rate at the first step. By default a tenth of the standard deviation of the vocabulary embeddings."""

    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of the update rule."""

    update: Literal["adamw", "adafactor"] = "adamw"
    """Update rule. Adafactor has a fixed learning rate here, as in Lester et al. (2021)."""

    schedule: Literal["constant", "linear"] = "linear"
    """Schedule of the learning rate. "linear" decreases it to zero at the last step or at the end of the budget."""

    max_grad_norm: NonNegativeFloat | None = None
    """Norm to which the gradient is clipped; by default it is not clipped."""

    nll_weight: NonNegativeFloat = 0.0
    """Weight of the NLL (nats per token) of the prompt's projection in the loss. Its gradient passes straight through the
    projection."""

    projection: SimilarityMeasure = "cosine"
    """Similarity measure by which the prompt is projected to tokens."""

    evaluate_every: PositiveInt = 10
    """Steps between two evaluations on dev. The prompt is also evaluated at the start and at the end."""


def train_soft_prompt(
    problem: Problem,
    embeds: Float[Tensor, "L d"],
    config: SoftTrainingConfig,
    target: Float[Tensor, "L d"] | None = None,
    gamma: float = 0.0,
) -> SoftPrompt:
    """Train a soft prompt on the train examples; every evaluated iterate becomes a candidate of the problem.

    The loss is l(P; D), the mean task loss in nats per example. With target embeddings t it is the loss of wayward prompts
    (Khashabi et al. 2022), in training and in the selection on dev:

        l'(P; D) = l(P; D) + gamma * 1/L sum_i || p_i - t_i ||^2

    Args:
        problem: the problem; every evaluated iterate is appended to its candidates.
        embeds: the initial prompt, (L, d).
        config: the options.
        target: embeddings to which the prompt is attracted, (L, d); None for none.
        gamma: weight of the distance to them, in nats per squared embedding unit.

    Returns:
        The last iterate.

    Raises:
        RunError: the loss is not finite.
    """
    embeds = embeds.clone().requires_grad_()
    learning_rate = resolved_rate(problem, config.learning_rate, RELATIVE_LEARNING_RATE)
    updater = make_updater(config.update, embeds, learning_rate, config.weight_decay)

    def penalty(prompt: Tensor) -> Tensor | float:
        return 0.0 if target is None else gamma * mean_squared_distance(prompt, target)

    problem.score_soft_on_dev(embeds, float(penalty(embeds.detach())))
    for step in range(config.steps):
        if config.schedule == "linear":
            updater.param_groups[0]["lr"] = learning_rate * (1 - problem.share_done(step / config.steps))
        loss = problem.train.score_embeds(embeds, problem.batch(config.batch_size)).loss.mean()
        if config.nll_weight and has_nll(problem.lm, len(embeds)):
            loss = loss + config.nll_weight * _straight_through_nll(problem, embeds, config.projection)
        loss = loss + penalty(embeds)
        if not loss.isfinite():
            raise RunError(f"the loss of the soft prompt is {loss.item()} at step {step}; lower the option learning_rate")
        (embeds.grad,) = torch.autograd.grad(loss, embeds)
        if config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_([embeds], config.max_grad_norm)
        updater.step()
        is_last = step + 1 == config.steps or problem.exhausted
        if is_last or (step + 1) % config.evaluate_every == 0:
            dev = problem.score_soft_on_dev(embeds, float(penalty(embeds.detach())))
            problem.note((step + 1) / config.steps, train_loss=loss.item(), dev_loss=float(dev.task_loss))
        if is_last or problem.exhausted:
            break
    return SoftPrompt(embeds.detach())


def mean_squared_distance(embeds: Float[Tensor, "L d"], target: Float[Tensor, "L d"]) -> Float[Tensor, ""]:
    """1/L sum_i || p_i - t_i ||^2, in squared embedding units.

    Example:
        >>> mean_squared_distance(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item()
        2.5
    """
    return (embeds - target).square().sum(-1).mean()


def initial_embeds(
    problem: Problem, init: str, text: str = "", vocab: Float[Tensor, "V d"] | None = None
) -> Float[Tensor, "L d"]:
    """The initial prompt (L, d) of an optimizer that works on embeddings.

    Args:
        problem: the problem; the random number generator is used.
        init: "vocabulary" (embeddings of allowed tokens drawn uniformly), "noise" (normal with the mean and the standard
            deviation of the vocabulary embeddings) or "text" (embeddings of the tokens of `text`).
        text: the text for "text"; its tokens are repeated or cut to the prompt length.
        vocab: the embeddings of all tokens, by default those of the model.
    """
    vocab = problem.lm.vocab_embeds.float() if vocab is None else vocab
    if init == "vocabulary":
        return vocab[problem.random_ids(1)[0]].clone()
    if init == "noise":
        draw = torch.randn(problem.prompt_length, vocab.shape[1], generator=problem.generator).to(vocab.device)
        return vocab.mean(0) + vocab.std(0) * draw
    ids = HardPrompt.from_text(problem.lm, text, problem.template).ids
    rows = [ids[i % len(ids)] for i in range(problem.prompt_length)]
    return vocab[torch.tensor(rows, device=vocab.device)].clone()


def check_soft(problem: Problem, config: Config) -> None:
    """The check of an optimizer of soft prompts: several models must have embeddings of one width, and an NLL must exist."""
    problem.embeddings.check_vectors()
    check_weight(problem.lm, getattr(config, "nll_weight", 0.0))


def check_init(init: str, text: str) -> None:
    """Raise a RequestError if the initial prompt is a text and there is no text."""
    if init == "text" and not text.strip():
        raise RequestError("init 'text' needs an init_text of at least one word")


def resolved_rate(problem: Problem, given: float | None, relative: float) -> float:
    """The given learning rate; by default a share of the standard deviation of the vocabulary embeddings, which is recorded."""
    if given is not None:
        return given
    rate = relative * float(problem.lm.vocab_embeds.float().std())
    problem.resolved_options["learning_rate"] = rate
    return rate


def make_updater(name: str, embeds: Tensor, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW, or Adafactor with a fixed learning rate as in Lester et al. (2021) and the script of PEZ."""
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


def _straight_through_nll(problem: Problem, embeds: Tensor, measure: SimilarityMeasure) -> Tensor:
    vocab = problem.lm.vocab_embeds[problem.allowed].float()
    rows = nearest(embeds.detach(), vocab, measure)
    problem.counter.forward += nll_tokens(problem.lm, len(rows))
    problem.counter.backward += nll_tokens(problem.lm, len(rows))
    projected = embeds + (vocab[rows] - embeds).detach()
    return projected_nll(problem.lm, projected, problem.allowed[rows])
