"""Token ids of answers: of label words, and of the texts that a generation task expects."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import TaskError
from hardprompt.lm.frozen import FrozenLM


def answer_tokens(lm: FrozenLM, task: Task, answers: Sequence[str]) -> list[list[int]]:
    """Token ids of answers as they stand in their place: behind the separator; in the mask's, with the blank before it, if any.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> [len(ids) for ids in answer_tokens(load_lm("microworld"), load_task("review-sentiment"), ["good", "bad"])]
        [1, 1]
    """
    before = task.template_for(True).blank if lm.masked else task.separator
    in_place = [before + answer for answer in answers]
    return lm.encode_many(in_place) if lm.masked and not before else lm.encode_after(in_place)


def label_ids(lm: FrozenLM, task: Task) -> Tensor:
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
