"""Cutting inputs that are too long for a model.

An input that does not fit is cut to as many whole words as fit together with the template, the answer and a prompt. The words
are those at its start or at its end (`Task.truncate_to`). Space is reserved for a prompt of 32 tokens, of 16 tokens more than
are searched, or for the longest reference prompt, whichever is longest. So inputs are the same for all prompts of usual length,
and a prompt may be longer as text than as token ids. A reasoning (`match="number"`) has space reserved as well, at most half of
the context.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from hardprompt.data.task import SPLITS, Example, Split, Task, Template
from hardprompt.lm.chat import start_ids, template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.scoring.answers import answer_tokens

MIN_PROMPT_TOKENS, SPARE_TOKENS = 32, 16
"""Tokens reserved for a prompt: at least the first number, and the second one more than are searched."""


def fit_to_context(task: Task, lm: FrozenLM, prompt_length: int) -> Task:
    """The task with inputs that fit the model.

    A task with `truncate_to=""` is returned unchanged. An input of which not even one word fits stays unchanged, and scoring it
    raises an error.

    Args:
        task: the task.
        lm: the model, whose `max_length` is the limit.
        prompt_length: tokens of the prompts that are searched.

    Returns:
        The task, with the number of cut inputs of each split as `inputs_cut`.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> task = load_task("review-sentiment")
        >>> fit_to_context(task, load_lm("microworld"), prompt_length=5) is task
        True
    """
    if not task.truncate_to:
        return task
    template = template_of(lm, task)
    references = lm.encode_after(
        [(template.prompt_blank or " " * template.prompt_first) + text for text in task.reference_prompts]
    )
    reserved = max(MIN_PROMPT_TOKENS, prompt_length + SPARE_TOKENS, *map(len, references))
    if task.match == "number":
        reserved += min(task.max_answer_tokens, lm.max_text_length // 2)
    limit = lm.max_length - len(start_ids(lm, template)) - len(lm.suffix_ids) - reserved
    parts: dict[Split, list[Example]] = {}
    cut: dict[Split, int] = {}
    for split in SPLITS:
        examples = task.examples(split)
        parts[split] = [_fitting(task, template, lm, example, limit) for example in examples]
        cut[split] = sum(new is not old for new, old in zip(parts[split], examples, strict=True))
    return replace(task, inputs_cut=cut, train=parts["train"], dev=parts["dev"], test=parts["test"])


def fit_to_contexts(task: Task, lms: Sequence[FrozenLM], prompt_length: int) -> Task:
    """The task with inputs that fit every model, as `fit_to_context` describes it; they are the same for all models."""
    fitted = task
    for lm in lms:
        fitted = fit_to_context(fitted, lm, prompt_length)
    if fitted is task:
        return task
    cut: dict[Split, int] = {
        split: sum(new is not old for new, old in zip(fitted.examples(split), task.examples(split), strict=True))
        for split in SPLITS
    }
    return replace(fitted, inputs_cut=cut)


def _fitting(task: Task, template: Template, lm: FrozenLM, example: Example, limit: int) -> Example:
    answer = 0 if task.label_words else len(answer_tokens(lm, task, [example.answer])[0])

    def fits(input: str) -> bool:
        text = template.fill(input, "")
        return len(text.encode()) + answer < limit or len(lm.encode(text)) + answer <= limit

    def kept(words: int) -> str:
        if not words:
            return ""
        return (
            example.input[: spans[words - 1].end()] if task.truncate_to == "start" else example.input[spans[-words].start() :]
        )

    if fits(example.input):
        return example
    spans = list(re.finditer(r"\S+", example.input))
    tried = range(min(len(spans), limit) + 1)
    words = bisect_left(tried, True, key=lambda words: not fits(kept(words))) - 1
    return Example(kept(words), example.answer) if words > 0 else example
