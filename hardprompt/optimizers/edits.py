"""Changes of one token of a prompt: swaps, and, with a length weight, insertions and deletions.

With a length weight every insertion has to lower the task loss and the weighted prompt NLL by more than it costs, and every
deletion saves its cost. What an edit does to the objective is always measured; a gradient only proposes tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.optimizers.base import Problem
from hardprompt.optimizers.proposals import kept_by_text, shortest_length

Ids = tuple[int, ...]

DELETION_EXAMPLES = 8
"""Train examples on which `with_shortened` compares deletions."""


def draw_edits(problem: Problem, ids: Sequence[int], predictions: Tensor, width: int, top_k: int) -> list[Ids]:
    """Draw candidates that differ from a prompt in one token: a uniform place, and a uniform one of the best tokens there.

    The token is swapped for the one at the place. With a length weight it can also be inserted (`replaced_part`), and all
    `deletions` are further candidates. Those whose text has other tokens are left out, as in the published code of GCG
    (`kept_by_text`). If none is left, the prompt itself is the only candidate.

    Args:
        problem: the problem, whose random number generator is used.
        ids: token ids of the prompt, of length L.
        predictions: the predicted change of the objective for the swap at each place and each allowed token, (L, A).
        width: number of drawn candidates.
        top_k: number of tokens with the lowest predictions that can be drawn at each place.
    """
    best = predictions.topk(min(top_k, predictions.shape[1]), largest=False).indices
    places = torch.randint(len(ids), (width,), generator=problem.generator).tolist()
    ranks = torch.randint(best.shape[1], (width,), generator=problem.generator).tolist()
    tokens = problem.allowed[best[places, ranks]].tolist()
    parts = [replaced_part(problem, ids, place) for place in places]
    drawn = [(*ids[: part.start], token, *ids[part.stop :]) for part, token in zip(parts, tokens, strict=True)]
    return kept_by_text(problem, [*drawn, *deletions(problem, ids)]) or [tuple(ids)]


def replaced_part(problem: Problem, ids: Sequence[int], place: int) -> slice:
    """The part of a prompt that a new token replaces: the token at a place.

    With a length weight and room for a further token, it is this token or nothing, before it or behind it, with equal odds.
    """
    if not problem.length_weight or len(ids) >= problem.prompt_length:
        return slice(place, place + 1)
    start, stop = [(0, 1), (0, 0), (1, 1)][int(torch.randint(3, (), generator=problem.generator))]
    return slice(place + start, place + stop)


def deletions(problem: Problem, ids: Sequence[int]) -> list[Ids]:
    """The different prompts without one of the tokens; none without a length weight or if the prompt cannot be shorter."""
    if not problem.length_weight or len(ids) <= shortest_length(problem):
        return []
    return list(dict.fromkeys((*ids[:place], *ids[place + 1 :]) for place in range(len(ids))))


def with_shortened(problem: Problem, ids: Sequence[int]) -> list[Ids]:
    """A prompt, and behind it what greedy deletion on a train minibatch makes of it; alone if that is the prompt itself.

    As long as the best deletion of one token lowers the objective, it is made.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm = load_lm("microworld")
        >>> problem = Problem(load_task("plural"), lm, length_weight=100.0)
        >>> [lm.decode(ids).strip() for ids in with_shortened(problem, lm.encode("plural plural plural"))]
        ['plural plural plural', 'plural']
    """
    current, examples = tuple(ids), None
    while shorter := deletions(problem, current):
        examples = examples or problem.batch(DELETION_EXAMPLES)
        scored = [current, *shorter]
        best = scored[int(problem.objective(scored, examples).total.argmin())]
        if best == current:
            break
        current = best
    return list(dict.fromkeys([tuple(ids), current]))
