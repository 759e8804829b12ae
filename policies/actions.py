"""Action sets: the tokens that a policy can choose, as token ids of the policy LM, the model that writes the prompt.

An action is an index into this list. So restrictions that are the same at every step are applied here and need no mask.
Restrictions that depend on the state, such as the top k of Q in RLPrompt, are in `networks.py`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hardprompt.data.languages import has_no_blanks
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.vocabulary import same_vocabulary
from hardprompt.optimizers.base import Problem

PLACEHOLDER = "classification"
"""The text before the first token of a prompt, as in RLPrompt, for a policy LM without a beginning-of-sequence token."""


def action_ids(problem: Problem, lm: FrozenLM, *, fluent: int | None = None, label_words: bool = True) -> Tensor:
    """The tokens of the policy LM that a policy can choose, in ascending order, (A,).

    Args:
        problem: the problem, whose allowed tokens are the actions. If the policy LM has another vocabulary, the actions are the
            words whose text consists of allowed tokens of the task LM.
        lm: the policy LM.
        fluent: the number of actions, those that the policy LM finds most probable as the first token (RLPrompt's fluent set);
            None for all.
        label_words: whether the label words of the task can be chosen. Case is ignored.

    Raises:
        RequestError: the action set is empty.

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
            f"the action set is empty: {lm.name} has none of the allowed tokens of {problem.lm.name}"
            f"{'' if label_words else ' other than label words'}; use another vocabulary or policy LM"
        )
    chosen = torch.tensor(ids, device=lm.device)
    if fluent is not None and fluent < len(ids):
        chosen = chosen[first_token_logits(lm, chosen).topk(fluent).indices].sort().values
    return chosen


def first_token_logits(lm: FrozenLM, columns: Tensor) -> Tensor:
    """The logits of the policy LM for the first token, (A,)."""
    with torch.no_grad():
        states = lm.hidden(lm.embed(torch.tensor([opening(lm)], device=lm.device)))
        return lm.output_logits(states[0, -1], columns).float()


def opening(lm: FrozenLM) -> list[int]:
    """The tokens before the first token of a prompt."""
    return lm.prefix_ids or lm.encode(PLACEHOLDER)


def _crossing(problem: Problem, lm: FrozenLM) -> list[int]:
    task = replace(problem.task, chat=False, prompt_turn="user")  # the policy LM reads no chat
    words = allowed_vocabulary(lm, "words", task).tolist()
    allowed = set(problem.allowed.tolist())
    read = problem.lm.encode_after([_in_text(lm, i, problem) for i in words])
    return [i for i, ids in zip(words, read, strict=True) if ids and allowed.issuperset(ids)]


def _in_text(lm: FrozenLM, token: int, problem: Problem) -> str:
    """A word as it stands in a prompt: with a blank before it, except in a script without blanks."""
    word = lm.decode([token]).strip()
    glued = not problem.template.prompt_blank and has_no_blanks(word)
    return word if glued else " " + word
