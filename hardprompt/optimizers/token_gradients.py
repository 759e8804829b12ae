"""First-order predictions of what the swap of one token does to the objective (HotFlip, Ebrahimi et al. 2018).

With the embeddings e of a prompt x and the gradient g of the task loss,

    loss(x with v at place i) - loss(x)  ~  g_i . (e_v - e_{x_i})

AutoPrompt, GCG and EPO propose the tokens with the lowest predictions. For the prompt NLL, a swap has two effects: on the
tokens behind it, predicted by a gradient, and on the token itself, which is known exactly from the forward pass:

    L (nll(x with v at place i) - nll(x))  ~  L g_nll,i . (e_v - e_{x_i})  -  log p(v | x_<i)  +  log p(x_i | x_<i)
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hardprompt.lm.perplexity import has_nll, nll_tokens, projected_nll
from hardprompt.optimizers.base import Config, Problem

FluencyGradient = Literal["one-sided", "exact"]


def swap_predictions(
    problem: Problem,
    ids: Sequence[int],
    indices: Sequence[int],
    weight: float | None = None,
    fluency_gradient: FluencyGradient = "exact",
) -> Tensor:
    """The predicted change of the objective for every swap of one token, in nats per example, (L, A).

    It costs one forward and one backward pass over the examples, and with a weight also over the prompt.

    Args:
        problem: the problem; A is the number of its allowed tokens.
        ids: token ids of a prompt of at least one token.
        indices: the train examples of the task loss.
        weight: weight of the prompt NLL, by default that of the problem.
        fluency_gradient: the prediction for the prompt NLL: through the tokens behind the swap alone ("one-sided", as
            published for PEZ), or also with the surprisal of the new token itself ("exact"). Under a masked model that
            surprisal is predicted by the two-sided gradient of `projected_nll`. An encoder-decoder model has no prompt NLL.

    Returns:
        In row i and column a, the prediction for the allowed token a at place i. It is 0 for the token that is there.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> swap_predictions(problem, problem.random_ids(1)[0].tolist(), [0, 1]).shape == (5, len(problem.allowed))
        True
    """
    weight = problem.nll_weight(len(ids), weight)
    lm, tokens = problem.lm, torch.tensor(list(ids), device=problem.lm.device)
    embeds = problem.token_embeds(tokens).requires_grad_()
    loss = problem.train.score_embeds(embeds, indices).loss.mean()
    (gradient,) = torch.autograd.grad(loss, embeds)
    if weight and has_nll(lm, len(ids)):
        problem.counter.forward += nll_tokens(lm, len(ids))
        problem.counter.backward += nll_tokens(lm, len(ids))
        nll = projected_nll(lm, problem.own_embeds(embeds), tokens, two_sided=lm.masked and fluency_gradient == "exact")
        gradient = gradient + weight * torch.autograd.grad(nll, embeds)[0]
    vocab = problem.token_embeds(problem.allowed)
    predicted = gradient @ vocab.T - (gradient * embeds.detach()).sum(-1, keepdim=True)
    if weight and fluency_gradient == "exact" and lm.kind == "causal":
        predicted += weight * _own_surprisal(problem, tokens)
    return predicted


def check_tokens(problem: Problem, config: Config) -> None:
    """The check of an optimizer that needs gradients over tokens: several models must have one vocabulary."""
    problem.embeddings.check_tokens()


@torch.no_grad()
def _own_surprisal(problem: Problem, tokens: Tensor) -> Tensor:
    """The change of the mean NLL by the surprisal of the new token itself, (L, A); 0 at a first token that is not scored."""
    lm = problem.lm
    read = torch.cat([torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device), tokens])
    unscored = 0 if lm.prefix_ids else 1
    change = torch.zeros(len(tokens), len(problem.allowed), device=lm.device)
    if len(tokens) > unscored:
        states = lm.hidden(lm.embed(read[None]))[0, len(read) - len(tokens) - 1 + unscored : -1]
        log_probs = lm.output_logits(states).float().log_softmax(-1)
        own = log_probs.gather(1, tokens[unscored:, None])
        change[unscored:] = (own - log_probs[:, problem.allowed]) / len(own)
    return change
