"""The microworld: its domains, and the tasks that the catalogue takes from them.

A further domain is a further `Domain` in `DOMAINS`; its skills with reference prompts become tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardprompt.lm.microworld.adjectives import ADJECTIVES
from hardprompt.lm.microworld.countries import COUNTRIES
from hardprompt.lm.microworld.domain import Domain, Item, Skill
from hardprompt.lm.microworld.landmarks import LANDMARKS
from hardprompt.lm.microworld.nouns import NOUNS
from hardprompt.lm.microworld.passages import PASSAGES
from hardprompt.lm.microworld.reviews import REVIEWS
from hardprompt.lm.microworld.sentences import SENTENCES
from hardprompt.lm.microworld.verbs import VERBS

DOMAINS: tuple[Domain, ...] = (NOUNS, VERBS, ADJECTIVES, COUNTRIES, LANDMARKS, SENTENCES, REVIEWS, PASSAGES)

REPORT = frozenset(
    """
    first-letter-lower past-tense opposite capital country-of-landmark to-positive passage-answer review-return
    superlative currency
    """.split()
)
"""Tasks on which figures are quoted, on test. On all others, `tune`, defaults may be chosen, on dev."""


@dataclass(frozen=True)
class WorldTask:
    """A task of the catalogue whose right answers and working prompts are known.

    Args:
        name: "plural".
        domain: tasks of one domain share their inputs.
        skill: what is asked.
    """

    name: str
    domain: Domain
    skill: Skill

    @property
    def division(self) -> Literal["tune", "report"]:
        """Whether defaults may be chosen on it, or figures quoted."""
        return "report" if self.name in REPORT else "tune"

    def items(self, split: str) -> list[Item]:
        """The inputs of "train", "dev" or "test", always the same ones, with the answers to everything."""
        wanted = self.skill.inputs.items()
        return [item for item in self.domain.split(split) if wanted <= item.answers.items()]

    def examples(self, split: str) -> list[tuple[str, str]]:
        """(input, label or target text) pairs.

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
