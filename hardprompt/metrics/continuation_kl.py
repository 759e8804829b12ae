"""The difference between the continuations of a task's inputs under two prompts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.imitation import sample_answers

CONTINUATION = 8
"""Number of tokens that are sampled per input."""


@torch.no_grad()
def continuation_kl(
    prompt: HardPrompt | SoftPrompt,
    other: HardPrompt | SoftPrompt,
    scorer: Scorer,
    tokens: int = CONTINUATION,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, float]:
    """KL(P(. | p, x) || P(. | q, x)) of the continuations of a task's inputs: the evil-twins distance (Melamed et al. 2024).

    d(p, q) = E_x E_{y ~ P(. | p, x)} sum_t KL(P(. | p, x, y_<t) || P(. | q, x, y_<t)), with y sampled from the first prompt
    until an answer ends or has `tokens` tokens. The papers estimate each summand by log p / q of the sampled token; here it
    is summed over the vocabulary, which has the same mean and less noise.

    Args:
        prompt: p, from which continuations are sampled.
        other: q; the distance is not symmetric.
        scorer: the scorer with the inputs; their answers are not used.
        tokens: maximum length of a continuation, which also ends with the context; a masked model fills in one token.
        samples: number of continuations per input.
        seed: random seed of the samples.

    Returns:
        `distance` (nats per continuation), its `standard_error` over inputs, and `distance_per_token` (nats per token read).

    Raises:
        RequestError: fewer than one token or sample.
        ContextExceeded: an input with a prompt is longer than the model's context.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> give, write, say = (HardPrompt.from_text(lm, t) for t in ("give the plural", "write the plural", "the category"))
        >>> inputs = Scorer(lm, task, task.dev[:16])
        >>> near, far = (continuation_kl(give, each, inputs)["distance"] for each in (write, say))
        >>> near < 0.1 * far
        True
    """
    if tokens < 1 or samples < 1:
        raise RequestError(f"a behavioural distance needs at least one token and one sample, got {tokens} and {samples}")
    generator = torch.Generator().manual_seed(seed)
    one, two = _as_scored(prompt), _as_scored(other)
    tokens = 1 if scorer.lm.masked else min(tokens, 1 + scorer.tokens_left(max(len(one), len(two))))
    sums, read = torch.zeros(len(scorer.examples)), 0
    for _ in range(samples):
        answers = sample_answers(scorer, one, tokens - 1, generator)
        logits = (scorer.answer_logits(each, answers) for each in (one, two))
        for n, (own, its) in enumerate(zip(*logits, strict=True)):
            gap = stepwise_kl(own, its)
            sums[n] += float(gap.sum())
            read += len(gap)
    per_input = sums / samples
    return {
        "distance": float(per_input.mean()),
        "standard_error": float(per_input.std(correction=1) / len(per_input) ** 0.5) if len(per_input) > 1 else 0.0,
        "distance_per_token": float(sums.sum()) / read,
    }


def stepwise_kl(logits: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(logits_t) || softmax(other_t)) at each of T steps, nats, (T,), from logits (T, V).

    >>> round(stepwise_kl(torch.tensor([[1.0, 3.0]]).log(), torch.zeros(1, 2)).item(), 4)
    0.1308
    """
    log_p, log_q = logits.float().log_softmax(-1), other.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _as_scored(prompt: HardPrompt | SoftPrompt) -> Sequence[int] | Tensor:
    return prompt.embeds if isinstance(prompt, SoftPrompt) else prompt.ids
