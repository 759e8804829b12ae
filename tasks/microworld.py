"""The tasks of the embedded world. Their right answers are known, and so are prompts that work."""

import json
from collections.abc import Callable
from functools import cache, partial

from hardprompt.data.task import Example, KnownPrompt, Split, Task, Template
from hardprompt.errors import TaskError
from hardprompt.lm import EMBEDDED
from hardprompt.lm.microworld import world


def load(name: str, split: str) -> Task:
    """Load a task of the embedded world. Its only data split is "default"."""
    if split != "default":
        raise TaskError(f"task {name} has no split {split!r}; it has 'default'")
    source = world.TASKS[name]
    skill = source.skill
    return Task(
        name=name,
        template=Template(source.domain.template),
        label_words={label: label for label in skill.labels},
        reference_prompts=skill.reference_prompts,
        description=skill.description,
        licence="MIT",
        embedded=True,
        division=source.division,
        known_front=known_fronts().get(name, ()),
        train=_examples(name, "train"),
        dev=_examples(name, "dev"),
        test=_examples(name, "test"),
    )


def _examples(name: str, part: Split) -> list[Example]:
    return [Example(*pair) for pair in world.TASKS[name].examples(part)]


@cache
def known_fronts() -> dict[str, tuple[KnownPrompt, ...]]:
    """The true trade-off of each task for the embedded model, as `hardprompt.tasks.calibrate` measured it."""
    fronts = json.loads((EMBEDDED["microworld"] / "known_fronts.json").read_text(encoding="utf-8"))
    return {name: tuple(KnownPrompt(**point) for point in points) for name, points in fronts.items()}


TASKS: dict[str, Callable[[str], Task]] = {name: partial(load, name) for name in world.TASKS}
