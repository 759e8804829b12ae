"""Cutting inputs that are too long for a model, by one rule, so that what was cut can be stated and counted.

Of an input that does not fit, the most whole words are kept with which the template, the answer and a prompt do fit: from the
input's start or from its end, as the task says (`Task.keep`). Room is left for a prompt of 32 tokens, or of 16 more than are
searched, or for the longest reference prompt, whichever is most: so the inputs are the same for all prompts of usual length,
and a prompt's text may take more tokens than its ids.
"""

import re
from bisect import bisect_left
from dataclasses import replace

from hardprompt.data.task import SPLITS, Example, Split, Task, Template
from hardprompt.lm.frozen import FrozenLM
from hardprompt.scoring.answers import answer_tokens

ROOM, SPARE = 32, 16
"""Tokens that are left for a prompt, at least; and beyond those that are searched."""


def fit_to_context(task: Task, lm: FrozenLM, prompt_length: int) -> Task:
    """The task with inputs that fit the model, and `inputs_cut` saying how many of each split were cut.

    A task that keeps nothing (`keep=""`) is returned as it is; an input of which not one word fits stays as it is, and is
    refused where it is scored.

    Args:
        task: whose inputs may be too long.
        lm: the model; its `max_length` is the limit, in tokens.
        prompt_length: tokens of the prompts that are searched.
    """
    if not task.keep:
        return task
    references = lm.encode_after([" " + text for text in task.reference_prompts])
    room = max(ROOM, prompt_length + SPARE, *map(len, references))
    limit = lm.max_text_length - room
    template = task.template_for(lm.masked)
    parts: dict[Split, list[Example]] = {}
    cut: dict[Split, int] = {}
    for split in SPLITS:
        examples = task.examples(split)
        parts[split] = [_fitting(task, template, lm, example, limit) for example in examples]
        cut[split] = sum(new is not old for new, old in zip(parts[split], examples, strict=True))
    return replace(task, inputs_cut=cut, train=parts["train"], dev=parts["dev"], test=parts["test"])


def _fitting(task: Task, template: Template, lm: FrozenLM, example: Example, limit: int) -> Example:
    answer = 0 if task.label_words else len(answer_tokens(lm, task, [example.answer])[0])

    def fits(input: str) -> bool:
        text = template.fill(input, "")
        return len(text.encode()) + answer < limit or len(lm.encode(text)) + answer <= limit

    def kept(words: int) -> str:
        if not words:
            return ""
        return example.input[: spans[words - 1].end()] if task.keep == "start" else example.input[spans[-words].start() :]

    if fits(example.input):
        return example
    spans = list(re.finditer(r"\S+", example.input))
    tried = range(min(len(spans), limit) + 1)
    words = bisect_left(tried, True, key=lambda words: not fits(kept(words))) - 1
    return Example(kept(words), example.answer) if words > 0 else example
