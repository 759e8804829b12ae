"""Which tokens carry a prompt, and whether their order does: each left out in turn, and all of them shuffled.

Prompts that a search found owe their score to a few tokens and little to their order; instructions spread it and need it
(Rakotonirina et al. 2023). Both maps read the prompt as ids, spliced into their place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hardprompt.scoring import Scorer

ORDERS = 8
"""Orders that are drawn to see what a prompt's own is worth."""

TOKENS = 200_000
"""Logical LM tokens that a deletion map costs at most ..."""

LEAST_EXAMPLES = 8
"""... but it is not made on fewer examples than these."""


def deletion_map(scorer: Scorer, ids: Sequence[int]) -> list[dict[str, float]]:
    """What each token is worth: the scores of the prompt without it, against those of the whole prompt.

    Of a long prompt the map is made on some of the examples only, drawn always the same, so that it costs about `TOKENS` at
    most: else its cost would grow with the square of the length.

    Args:
        scorer: the examples.
        ids: the prompt (L,).

    Returns:
        Per position `loss_added` (nats per example, mean loss without the token minus that of the whole prompt) and
        `accuracy_lost` (fraction). Where nothing changes the token carries nothing, or another one carries the same.

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
    """What the order of the tokens is worth: mean scores of the prompt with its tokens shuffled.

    Args:
        scorer: the examples.
        ids: the prompt (L,).
        seed: of the orders.
        count: orders drawn, repeats of the prompt itself left out.

    Returns:
        `shuffled_accuracy` and `shuffled_loss` (means over the orders, fraction and nats per example), `accuracy_lost` and
        `loss_added` against the prompt itself; all None for a prompt that has one order only.
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
    """`count` random orders of the tokens other than their own; none where there is no other.

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
