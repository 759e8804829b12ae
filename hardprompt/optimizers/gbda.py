"""GBDA, the gradient-based distributional attack (Guo et al. 2021, Gradient-based Adversarial Attacks against Text
Transformers, EMNLP): gradient descent on the logits of a distribution over prompts.

The tokens of a prompt are independent, with the logits theta_t over the allowed tokens. In each step, with noise g from the
standard Gumbel distribution and the temperature T,

    pi_t = softmax((theta_t + g_t) / T),   e_t = sum_v pi_t(v) E_v
    theta <- Adam(theta, gradient of task loss(e) + weight * NLL(pi))

averaged over several samples of g. NLL(pi) is the expected NLL of the soft tokens (`expected_nll`). Hard prompts are drawn from
softmax(theta). The paper changes a given text and also penalizes the distance to it; here there is no such text.

The distribution has a fixed length. With a length weight, the most probable prompt is also evaluated on dev after greedy
deletion of its tokens (`with_shortened`), which does not change the distribution.
"""

from itertools import count

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from hardprompt.errors import RunError
from hardprompt.lm.perplexity import expected_nll, has_nll, nll_tokens
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import with_shortened
from hardprompt.optimizers.token_gradients import check_tokens


class GbdaConfig(Config):
    """Options of GBDA."""

    steps: PositiveInt | None = None
    """Number of steps. By default as many as the budget allows, or 100 without a budget, as in the paper."""

    samples: PositiveInt = 1
    """Number of Gumbel-softmax samples in each step, all read with the same train examples. The paper takes 10; with one, a
    budget allows ten times as many steps."""

    temperature: PositiveFloat = 1.0
    """Temperature T of the samples, as in the paper. At a low temperature, the samples are nearly hard."""

    learning_rate: NonNegativeFloat = 0.3
    """Learning rate of Adam, in nats of logit per step, as in the paper."""

    initial_logit: NonNegativeFloat = 0.0
    """Initial logit of one random token at each place; that of all others is 0. The paper gives the tokens of a text the logit
    15. With 0, the initial distribution is uniform."""

    batch_size: PositiveInt = 16
    """Number of train examples in each step, drawn without replacement. If there are fewer, all are used."""

    hard_samples: NonNegativeInt = 3
    """Number of hard prompts that are drawn at each evaluation on dev, beside the most probable prompt. The paper draws up to
    100, at the end."""

    evaluate_every: PositiveInt = 10
    """Steps between two evaluations on dev."""


def gumbel_softmax(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """softmax((logits + g) / temperature) over the last dimension, with standard Gumbel noise g from a CPU generator.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> gumbel_softmax(torch.zeros(2, 3), 1.0, generator).sum(-1).allclose(torch.ones(2))
        True
    """
    gumbel = -torch.empty(logits.shape).exponential_(generator=generator).log()
    return ((logits + gumbel.to(logits.device)) / temperature).softmax(-1)


def hard_prompts(problem: Problem, theta: Tensor, samples: int) -> list[list[int]]:
    """Prompts drawn from softmax(theta) and the most probable prompt, which is the last; equal ones are returned once.

    A sample is the largest of the logits with Gumbel noise (Gumbel-max).
    """
    drawn = gumbel_softmax(theta.expand(samples, *theta.shape), 1.0, problem.generator).argmax(-1)
    prompts = problem.allowed[torch.cat([theta.argmax(-1)[None], drawn])].tolist()
    return [list(ids) for ids in reversed(dict.fromkeys(map(tuple, prompts)))]


@optimizer("gbda", config=GbdaConfig, check=check_tokens)
def gbda(problem: Problem, config: GbdaConfig) -> FinalPrompts:
    """GBDA: logits of a distribution over prompts, updated with gradients at Gumbel-softmax samples."""
    lm = problem.lm
    vocab = problem.token_embeds(problem.allowed)
    first = torch.randint(len(vocab), (problem.prompt_length, 1), generator=problem.generator).to(lm.device)
    theta = torch.zeros(problem.prompt_length, len(vocab), device=lm.device).scatter_(1, first, config.initial_logit)
    theta.requires_grad_()
    updater = torch.optim.Adam([theta], lr=config.learning_rate)

    def sample_loss(indices: list[int]) -> Tensor:
        probabilities = gumbel_softmax(theta, config.temperature, problem.generator)
        embeds = probabilities @ vocab
        loss = problem.train.score_embeds(embeds, indices).loss.mean()
        if problem.weight and has_nll(lm, len(embeds)):
            problem.counter.forward += nll_tokens(lm, len(embeds))
            problem.counter.backward += nll_tokens(lm, len(embeds))
            nll = expected_nll(lm, problem.own_embeds(embeds), probabilities, problem.allowed)
            loss = loss + problem.nll_weight(len(embeds)) * nll
        return loss

    limit = config.steps or (100 if problem.lm_tokens is None else None)
    for number in count(1):
        indices = problem.batch(config.batch_size)
        loss = torch.stack([sample_loss(indices) for _ in range(config.samples)]).mean()
        if not loss.isfinite():
            raise RunError(f"the loss of GBDA is {loss.item()}; raise gbda.temperature or lower gbda.learning_rate")
        (theta.grad,) = torch.autograd.grad(loss, theta)
        updater.step()
        problem.note(number / limit if limit else 0.0, train_loss=loss.item())
        is_last = number == limit or problem.exhausted
        if is_last or number % config.evaluate_every == 0:
            prompts = hard_prompts(problem, theta.detach(), config.hard_samples)
            problem.score_on_dev([*prompts[:-1], *with_shortened(problem, prompts[-1])])
        if is_last or problem.exhausted:
            break
    return prompts
