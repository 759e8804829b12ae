"""Token ids of answers: label words, or the target texts of a generation task."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import TaskError
from hardprompt.lm.frozen import FrozenLM


def answer_tokens(lm: FrozenLM, task: Task, answers: Sequence[str]) -> list[list[int]]:
    """Token ids of answers in their place: after the separator, in the place of the mask, or at the start of a decoder's text.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> [len(ids) for ids in answer_tokens(load_lm("microworld"), load_task("review-sentiment"), ["good", "bad"])]
        [1, 1]
    """
    if lm.kind == "encoder-decoder":
        return lm.encode_many(answers)
    before = task.template_for(True).blank if lm.masked else task.separator
    in_place = [before + answer for answer in answers]
    return lm.encode_many(in_place) if lm.masked and not before else lm.encode_after(in_place)


def label_ids(lm: FrozenLM, task: Task) -> Tensor:
    """Token ids (C,) of the label words of a classification task.

    Raises:
        TaskError: a label word is not a single token, or two label words are the same token.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm = load_lm("microworld")
        >>> lm.decode(label_ids(lm, load_task("review-sentiment")).tolist()).split()
        ['good', 'bad']
    """
    encoded = answer_tokens(lm, task, list(task.label_words.values()))
    taken: dict[int, str] = {}
    for word, ids in zip(task.label_words.values(), encoded, strict=True):
        if len(ids) != 1:
            raise TaskError(
                f"task {task.name}: label word {word!r} is {len(ids)} tokens of {lm.name}, expected one; choose another word"
            )
        if ids[0] in taken:
            raise TaskError(f"task {task.name}: label words {taken[ids[0]]!r} and {word!r} are the same token of {lm.name}")
        taken[ids[0]] = word
    return torch.tensor(list(taken), device=lm.device)
