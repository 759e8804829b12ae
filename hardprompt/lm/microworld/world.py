"""The microworld: its domains, and the tasks that the catalogue takes from them.

A further domain is a further `Domain` in `DOMAINS`; its skills with reference prompts become tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardprompt.lm.microworld.domain import Domain, Skill
from hardprompt.lm.microworld.nouns import NOUNS
from hardprompt.lm.microworld.reviews import REVIEWS

DOMAINS: tuple[Domain, ...] = (NOUNS, REVIEWS)


@dataclass(frozen=True)
class WorldTask:
    """A task of the catalogue whose right answers and working prompts are known.

    Args:
        name: "plural".
        kind: "classification" or "generation".
        domain: tasks of one domain share their inputs.
        description: one line.
        template: where prompt and input stand.
        label_words: label -> word without its leading blank; empty for generation.
        reference_prompts: wordings that occur in the corpus.
        held_out_prompts: paraphrases that do not.
    """

    name: str
    kind: str
    domain: str
    description: str
    template: str
    label_words: dict[str, str]
    reference_prompts: tuple[str, ...]
    held_out_prompts: tuple[str, ...]


def _task_name(domain: Domain, skill: Skill) -> str:
    return f"{domain.name.removesuffix('s')}-{skill.name}" if domain.kind == "classification" else skill.name


_SOURCES: dict[str, tuple[Domain, Skill]] = {
    _task_name(domain, skill): (domain, skill) for domain in DOMAINS for skill in domain.skills if skill.reference_prompts
}

TASKS: dict[str, WorldTask] = {
    name: WorldTask(
        name=name,
        kind=domain.kind,
        domain=domain.name,
        description=skill.description,
        template=domain.template,
        label_words={label: label for label in skill.labels},
        reference_prompts=skill.reference_prompts,
        held_out_prompts=skill.held_out_prompts,
    )
    for name, (domain, skill) in _SOURCES.items()
}


def examples(task: str, split: str) -> list[tuple[str, str]]:
    """(input, label or target text) pairs of a task, for "train", "dev" or "test"; always the same ones.

    Example:
        >>> dict(examples("plural", "test"))["mouse"]
        'mice'
    """
    domain, skill = _SOURCES[task]
    return [(item.text, item.answers[skill.name]) for item in domain.split(split)]
