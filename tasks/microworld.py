"""The tasks of the embedded world, where the right answers and prompts that work are known."""

from collections.abc import Callable
from functools import partial

from hardprompt.errors import TaskError
from hardprompt.lm.microworld import world
from hardprompt.task import Example, Split, Task, Template


def load(name: str, split: str) -> Task:
    """One of the world's tasks; its only data split is "default"."""
    if split != "default":
        raise TaskError(f"task {name} has no split {split!r}; it has 'default'")
    source = world.TASKS[name]
    return Task(
        name=name,
        template=Template(source.template),
        label_words=source.label_words,
        reference_prompts=source.reference_prompts,
        description=source.description,
        licence="MIT",
        embedded=True,
        train=_examples(name, "train"),
        dev=_examples(name, "dev"),
        test=_examples(name, "test"),
    )


def _examples(name: str, part: Split) -> list[Example]:
    return [Example(*pair) for pair in world.examples(name, part)]


TASKS: dict[str, Callable[[str], Task]] = {name: partial(load, name) for name in world.TASKS}
