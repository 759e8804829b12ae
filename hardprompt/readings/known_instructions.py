"""The reader `known-instructions`: the weights of known instructions in a product of experts.

With known texts k and the answers q_k(y | x) under them, the answers under the prompt are fitted by

    q(y | x) ~ prod_k q_k(y | x)^w_k,    w_k >= 0    (product of experts, Hinton 2002),

with weights that minimize KL(P || q) on the inputs, a convex problem. The texts with the largest weights are candidates; the
weights say which known instructions the prompt resembles, also where no single one is a reading.
"""

from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from hardprompt.data.catalogue import all_tasks
from hardprompt.errors import RequestError
from hardprompt.optimizers.base import Config
from hardprompt.prompt import HardPrompt
from hardprompt.readings.base import reader
from hardprompt.readings.problem import ReadingProblem


class KnownInstructionsConfig(Config):
    """Options of the reader."""

    texts: tuple[str, ...] | None = None
    """The known texts. By default the reference prompts of this task and of all tasks in the catalogue."""

    experts: PositiveInt = 16
    """Number of texts with the least divergence that are weighted."""

    first: PositiveInt = 4
    """Number of inputs on which all texts are compared."""


STEPS, RATE = 300, 0.05
"""Steps and learning rate of the fit of the weights."""

LEAST_WEIGHT = 0.05
"""Weights below this are not reported."""


@reader("known-instructions", KnownInstructionsConfig)
def known_instructions(problem: ReadingProblem, config: KnownInstructionsConfig) -> list[tuple[int, ...]]:
    """The weights of known instructions, such as the reference prompts of all tasks, in a product of experts."""
    texts = config.texts if config.texts is not None else catalogue_texts(problem.task.reference_prompts)
    prompts = [HardPrompt.in_place(problem.lm, problem.template, text) for text in texts if text.strip()]
    known = list(dict.fromkeys(prompt.ids for prompt in prompts))
    known = [ids for ids in known if len(ids) <= problem.longest]
    if not known:
        raise RequestError("known-instructions has no text that fits; give at least one in the option texts")
    first = problem.objective(known, problem.batch(config.first)).total
    experts = [known[i] for i in first.topk(min(config.experts, len(known)), largest=False).indices.tolist()]
    problem.score_on_dev(experts)
    targets = torch.cat(problem.imitation.targets)
    log_q = torch.stack([torch.cat(problem.imitation.log_probs(ids)) for ids in experts])
    weights, divergence = fit_weights(targets, log_q, len(problem.imitation.examples))
    order = weights.argsort(descending=True).tolist()
    named = {problem.lm.decode(experts[i]).strip(): float(weights[i]) for i in order if weights[i] >= LEAST_WEIGHT}
    problem.details["known-instructions"] = {"weights": named, "kl": divergence}
    return [experts[i] for i in order]


def catalogue_texts(own: Sequence[str] = ()) -> list[str]:
    """The given texts, and the reference prompts of every task in the catalogue, without repetitions."""
    found = list(own)
    for loader in all_tasks().values():
        found += loader.reference_prompts if hasattr(loader, "reference_prompts") else loader("default").reference_prompts
    return list(dict.fromkeys(found))


def fit_weights(targets: Tensor, log_q: Tensor, answers: int) -> tuple[Tensor, float]:
    """The weights of experts whose product is closest to the targets.

    Args:
        targets: log-probabilities under the prompt at all compared tokens, (R, V).
        log_q: log-probabilities under each of K texts, (K, R, V).
        answers: the number of answers that the R tokens belong to.

    Returns:
        The weights, (K,), each at least 0, and the KL divergence of the product in nats per answer.

    Example:
        >>> log_q = torch.tensor([[[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]]]).log()
        >>> weights, divergence = fit_weights(log_q[0], log_q, 1)
        >>> [round(weight, 1) for weight in weights.tolist()], divergence < 1e-4
        ([1.0, 0.0], True)
    """
    raw = torch.full((len(log_q),), 1 / len(log_q), device=log_q.device).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=RATE)

    def divergence() -> Tensor:
        product = torch.einsum("k,krv->rv", raw.clamp(min=0), log_q).log_softmax(-1)
        return (targets.exp() * (targets - product)).sum() / answers

    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward([divergence()])
        optimizer.step()
        with torch.no_grad():
            raw.clamp_(min=0)
    with torch.no_grad():
        return raw.detach().clone(), float(divergence())
