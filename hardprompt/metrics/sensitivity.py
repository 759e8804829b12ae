"""How much a prompt depends on each of its tokens and on their order: each token is removed in turn, and all are shuffled.

The score of prompts found by a search depends on few tokens and little on their order; that of instructions depends on most
tokens and on the order (Rakotonirina et al. 2023). Both functions insert the prompt as token ids.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hardprompt.scoring import Scorer

ORDERS = 8
"""Number of random orders that are scored."""

TOKENS = 200_000
"""Approximate maximum cost of a deletion map, in logical LM tokens."""

LEAST_EXAMPLES = 8
"""Minimum number of examples of a deletion map, even if it then costs more than `TOKENS`."""


def deletion_map(scorer: Scorer, ids: Sequence[int]) -> list[dict[str, float]]:
    """The scores of the prompt without each of its tokens, compared with those of the whole prompt.

    For a long prompt, a fixed random subset of the examples is used, so that the cost, which grows with the square of the
    length, is about `TOKENS` at most.

    Args:
        scorer: the scorer of the examples.
        ids: the token ids of the prompt, (L,).

    Returns:
        Per position `loss_added` (nats per example, mean loss without the token minus that of the whole prompt) and
        `accuracy_lost` (fraction). Both are 0 if the token has no effect, or if another token has the same effect.

    Example:
        >>> from hardprompt import Scorer, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> worth = deletion_map(Scorer(lm, task, task.dev), lm.encode("give the plural"))
        >>> max(range(3), key=lambda i: worth[i]["loss_added"])
        2
    """
    whole = list(ids)
    examples = len(scorer.examples)
    cost = len(whole) * scorer.tokens(len(whole))
    count = examples if cost <= TOKENS else min(examples, max(LEAST_EXAMPLES, examples * TOKENS // cost))
    some = None if count == examples else sorted(np.random.default_rng(0).choice(examples, count, replace=False).tolist())
    scores = scorer.score_ids([whole, *without_each(whole)], some)
    loss, accuracy = scores.mean_loss, scores.accuracy
    return [
        {"loss_added": float(loss[i] - loss[0]), "accuracy_lost": float(accuracy[0] - accuracy[i])}
        for i in range(1, len(whole) + 1)
    ]


def order_sensitivity(scorer: Scorer, ids: Sequence[int], seed: int = 0, count: int = ORDERS) -> dict[str, Any]:
    """Mean scores of the prompt with its tokens shuffled, compared with those of the prompt itself.

    Args:
        scorer: the scorer of the examples.
        ids: the token ids of the prompt, (L,).
        seed: the seed of the random orders.
        count: number of random orders; the order of the prompt itself is not among them.

    Returns:
        `shuffled_accuracy` and `shuffled_loss` (means over the orders, fraction and nats per example), `accuracy_lost` and
        `loss_added` relative to the prompt itself; all None if the tokens have only one order.
    """
    whole = list(ids)
    orders = other_orders(whole, seed, count)
    if not orders:
        return dict.fromkeys(("shuffled_accuracy", "shuffled_loss", "accuracy_lost", "loss_added"))
    scores = scorer.score_ids([whole, *orders])
    loss, accuracy = scores.mean_loss, scores.accuracy
    return {
        "shuffled_accuracy": float(accuracy[1:].mean()),
        "shuffled_loss": float(loss[1:].mean()),
        "accuracy_lost": float(accuracy[0] - accuracy[1:].mean()),
        "loss_added": float(loss[1:].mean() - loss[0]),
    }


def without_each(ids: Sequence[int]) -> list[list[int]]:
    """The prompt without its first token, without its second, and so on.

    >>> without_each([7, 8, 9])
    [[8, 9], [7, 9], [7, 8]]
    """
    return [[*ids[:i], *ids[i + 1 :]] for i in range(len(ids))]


def other_orders(ids: Sequence[int], seed: int, count: int) -> list[list[int]]:
    """`count` random orders of the tokens that differ from the given one; none if there is only one order.

    >>> other_orders([7, 7], 0, 3), other_orders([7, 8], 0, 2)
    ([], [[8, 7], [8, 7]])
    """
    own = list(ids)
    if len(set(own)) < 2:
        return []
    generator = torch.Generator().manual_seed(seed)
    found: list[list[int]] = []
    while len(found) < count:
        order = [own[i] for i in torch.randperm(len(own), generator=generator).tolist()]
        if order != own:
            found.append(order)
    return found
