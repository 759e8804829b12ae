"""Token ids of answers: label words, or the target texts of a generation task."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hardprompt.data.languages import composed
from hardprompt.data.task import Task
from hardprompt.errors import TaskError
from hardprompt.lm.chat import ChatTemplate, template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.vocabulary import as_printed


def answer_tokens(lm: FrozenLM, task: Task, answers: Sequence[str]) -> list[list[int]]:
    """Token ids of answers in their place: after the separator, in the place of the mask, at the start of a decoder's text,
    or at the start of the assistant's turn.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> [len(ids) for ids in answer_tokens(load_lm("microworld"), load_task("review-sentiment"), ["good", "bad"])]
        [1, 1]
    """
    template = template_of(lm, task)
    if isinstance(template, ChatTemplate):
        return template.answer_ids(answers)
    before = _before(lm, task)
    in_place = [before + answer for answer in answers]
    return lm.encode_after(in_place) if before or lm.kind == "causal" else lm.encode_many(in_place)


def _before(lm: FrozenLM, task: Task) -> str:
    """The text directly before an answer that is tokenized with it; a decoder begins a new text."""
    if lm.kind == "encoder-decoder":
        return ""
    template = template_of(lm, task)
    if isinstance(template, ChatTemplate):
        return template.answer_blank
    return template.blank if lm.masked else task.separator


def label_word_problem(lm: FrozenLM, task: Task, word: str, tokens: int) -> str:
    """Why a label word that is not a single token of the model cannot be used, and what to write instead.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> label_word_problem(load_lm("microworld"), load_task("review-sentiment"), " good", 2)
        "label word ' good' is 2 tokens of microworld, expected one; the separator supplies the blank: write 'good'"
    """
    remedy = "choose another word"
    for other in dict.fromkeys(_other_forms(lm, task, word)):
        [ids] = answer_tokens(lm, task, [other])
        if other and len(ids) == 1:
            remedy = f"write {other!r}"
            if composed(other) == composed(word):
                remedy = f"in composed form (NFC) it is one: write {other!r}, {len(other)} characters instead of {len(word)}"
            elif other == word.strip() or other == (as_printed(lm, word) or "").strip():
                blank = _before(lm, task)
                supplier = "chat template" if task.chat else "separator"
                remedy = f"the {supplier} supplies the blank: write {other!r}" if blank.endswith(" ") else f"write {other!r}"
            elif other == " " + word:
                remedy = f"with a blank before it, it is one: write {other!r}"
                remedy += "" if task.chat else ", or give the task a separator"
            break
    return f"label word {word!r} is {tokens} tokens of {lm.name}, expected one; {remedy}"


def _other_forms(lm: FrozenLM, task: Task, word: str) -> Iterator[str]:
    """Other ways to write a label word: without blanks, as text, in composed form, with a blank."""
    for form in (word, as_printed(lm, word) or ""):
        yield form.strip()
        yield form
    yield composed(word)
    yield composed(word).strip()
    if not _before(lm, task).endswith(" "):
        yield " " + word


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
            raise TaskError(f"task {task.name}: {label_word_problem(lm, task, word, len(ids))}")
        if ids[0] in taken:
            raise TaskError(f"task {task.name}: label words {taken[ids[0]]!r} and {word!r} are the same token of {lm.name}")
        taken[ids[0]] = word
    return torch.tensor(list(taken), device=lm.device)
