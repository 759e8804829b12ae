"""Action sets: which tokens a policy may choose from, as token ids of the model that writes (the policy LM).

A restriction that never changes belongs here and not into a mask: an action is a row of this list. Top-k of Q, from which
RLPrompt samples at every step, depends on the state and is in `networks.py`.
"""

import torch
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.optimizers.base import Problem

PLACEHOLDER = "classification"
"""What a policy LM without a beginning-of-sequence token reads before the first token: RLPrompt's word."""


def action_ids(problem: Problem, lm: FrozenLM, *, fluent: int | None = None, label_words: bool = True) -> Tensor:
    """The tokens of the policy LM that may be chosen, ascending, (A,).

    Args:
        problem: its allowed tokens count; where the policy LM has another vocabulary, the words whose text the task LM reads
            as allowed tokens only.
        lm: the policy LM.
        fluent: only so many, those that are most probable to the policy LM as the first token (RLPrompt's fluent set).
        label_words: whether the task's label words may be chosen, whatever their case.

    Raises:
        RequestError: nothing is left.

    Example:
        >>> from hardprompt import Problem, load_lm, load_task
        >>> lm = load_lm("microworld")
        >>> len(action_ids(Problem(load_task("review-price"), lm), lm, fluent=20, label_words=False))
        20
    """
    ids = problem.allowed.tolist() if same_vocabulary(lm, problem.lm) else _crossing(problem, lm)
    if not label_words:
        words = {word.strip().lower() for word in problem.task.label_words.values()}
        ids = [i for i in ids if lm.decode([i]).strip().lower() not in words]
    if not ids:
        raise RequestError(
            f"the action set is empty: no token of {lm.name} is left of the {len(problem.allowed)} that {problem.lm.name} "
            f"allows{'' if label_words else ', label words excluded'}; use another vocabulary or policy LM"
        )
    chosen = torch.tensor(ids, device=lm.device)
    if fluent is not None and fluent < len(ids):
        chosen = chosen[first_token_logits(lm, chosen).topk(fluent).indices].sort().values
    return chosen


def first_token_logits(lm: FrozenLM, columns: Tensor) -> Tensor:
    """What the policy LM says of the first token, (A,)."""
    with torch.no_grad():
        states = lm.hidden(lm.embed(torch.tensor([opening(lm)], device=lm.device)))
        return lm.output_logits(states[0, -1], columns).float()


def opening(lm: FrozenLM) -> list[int]:
    """What the policy LM reads before the first token of a prompt."""
    return lm.prefix_ids or lm.encode(PLACEHOLDER)


def same_vocabulary(one: FrozenLM, other: FrozenLM) -> bool:
    """Whether two models give the same ids to the same tokens, so that a prompt need not cross as text."""
    return one is other or one.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def _crossing(problem: Problem, lm: FrozenLM) -> list[int]:
    words = allowed_vocabulary(lm).tolist()
    allowed = set(problem.allowed.tolist())
    read = problem.lm.encode_after([" " + lm.decode([i]).strip() for i in words])
    return [i for i, ids in zip(words, read, strict=True) if ids and allowed.issuperset(ids)]
