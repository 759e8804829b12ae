"""The embedded world: its domains, and the tasks that the catalogue takes from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardprompt.lm.microworld.domain import Domain, Item, Skill, load_domain

DOMAINS: tuple[Domain, ...] = tuple(
    load_domain(name) for name in ("nouns", "verbs", "adjectives", "countries", "landmarks", "sentences", "reviews", "passages")
)


@dataclass(frozen=True)
class WorldTask:
    """A task of the catalogue whose right answers and working prompts are known.

    Args:
        name: name of the task, such as "plural".
        domain: the domain of its inputs. Tasks of one domain share their inputs.
        skill: the skill that a prompt has to ask for.
    """

    name: str
    domain: Domain
    skill: Skill

    @property
    def division(self) -> Literal["tune", "report"]:
        """Whether defaults may be chosen on this task ("tune") or published figures are measured on it ("report")."""
        return self.skill.division

    def items(self, split: str) -> list[Item]:
        """The items of the split "train", "dev" or "test", with the answers to all skills of the domain."""
        wanted = self.skill.inputs.items()
        return [item for item in self.domain.split(split) if wanted <= item.answers.items()]

    def examples(self, split: str) -> list[tuple[str, str]]:
        """Pairs of an input and its label or target text.

        Example:
            >>> dict(TASKS["plural"].examples("test"))["knife"]
            'knives'
        """
        return [(item.text, item.answers[self.skill.name]) for item in self.items(split)]


def _task_name(domain: Domain, skill: Skill) -> str:
    return f"{domain.name.removesuffix('s')}-{skill.name}" if domain.kind == "classification" else skill.name


TASKS: dict[str, WorldTask] = {
    name: WorldTask(name, domain, skill)
    for domain in DOMAINS
    for skill in domain.skills
    if skill.reference_prompts
    for name in [_task_name(domain, skill)]
}
"""Every skill with reference prompts, by the name of its task."""

REPORT = frozenset(name for name, task in TASKS.items() if task.division == "report")
"""Tasks on whose test split published figures are measured. On all other tasks, defaults may be chosen on the dev split."""
