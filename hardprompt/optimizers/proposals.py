"""Tokens that the language model itself proposes for a prompt: its next tokens after the tokens before them."""

from typing import Any

import torch
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.optimizers.base import Problem


def predicts_next_token(problem: Problem, config: Any) -> None:
    """Raise RequestError if the model is not a causal one, so that it proposes no next token of a prompt."""
    if problem.lm.kind != "causal":
        raise RequestError(
            f"{problem.lm.name} predicts no next token of a prompt ({problem.lm.kind} model); use the optimizer random"
        )


def shortest_length(problem: Problem) -> int:
    """The shortest length at which a prompt has an NLL: 1, or 2 for a model without a start token; at most the prompt length.

    A shorter prompt would be the best one at a high fluency weight, because it has no NLL.
    """
    return min(1 if problem.lm.prefix_ids else 2, problem.prompt_length)


@torch.no_grad()
def next_token_logits(problem: Problem, prompts: Tensor) -> Tensor:
    """Logits of the allowed tokens after P prompts of t tokens each, behind the start tokens of the model.

    Args:
        problem: the problem, whose model is a causal one. The passes are counted as t + 1 LM tokens per prompt.
        prompts: token ids, (P, t). With t = 0 the model proposes the first token.

    Returns:
        Logits, (P, A). They are all 0 for the first token if the model has no start token, since then nothing precedes it.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> next_token_logits(problem, problem.random_ids(3)).shape == (3, len(problem.allowed))
        True
    """
    lm = problem.lm
    start = torch.tensor(lm.prefix_ids, dtype=torch.long, device=lm.device).expand(len(prompts), -1)
    read = torch.cat([start, prompts], 1)
    if not read.shape[1]:
        return torch.zeros(len(prompts), len(problem.allowed), device=lm.device)
    problem.counter.forward += len(prompts) * (prompts.shape[1] + 1)
    return lm.output_logits(lm.hidden(lm.embed(read))[:, -1], problem.allowed)


def draw_tokens(logits: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw tokens from softmax(logits) without replacement: the largest values of logits + Gumbel noise (Vieira 2014).

    Args:
        logits: logits of A tokens for each of P prompts, (P, A).
        count: number of tokens for each prompt; all A tokens if there are fewer.
        generator: the source of the noise.

    Returns:
        Columns of the drawn tokens in the order of the draws, (P, min(count, A)).

    Example:
        >>> draw_tokens(torch.tensor([[0.0, -1e9, 9e9]]), 2, torch.Generator().manual_seed(0)).tolist()
        [[2, 0]]
    """
    noise = -torch.empty(logits.shape).exponential_(generator=generator).log()
    return (logits.float() + noise.to(logits.device)).topk(min(count, logits.shape[1])).indices
