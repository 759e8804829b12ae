"""Plain sentences about the things of the embedded world. They teach the models that well-formed text is likely.

Each slot of a pattern draws from its whole list, so any adjective goes with any noun. A pair that did not occur in training is
therefore not surprising, as long as the sentence is well formed. Patterns and lists are in `prose.yaml`.
"""

from __future__ import annotations

from random import Random

from hardprompt.lm.microworld.domain import load_domain, read_yaml
from hardprompt.lm.microworld.texts import article

_NOUNS = load_domain("nouns").table
_FILE = read_yaml("prose.yaml")

NOUN_LIST = [item.text for item in _NOUNS]
PLURAL_LIST = [item.answers["plural"] for item in _NOUNS]
PATTERNS: list[str] = _FILE["patterns"]
LISTS: dict[str, list[str]] = _FILE["lists"] | {
    "noun": NOUN_LIST,
    "nouns": PLURAL_LIST,
    "category": sorted({item.answers["category"] for item in _NOUNS}),
    "fact": [f"{i.answers['article']} {i.text} is a kind of {i.answers['category']}." for i in _NOUNS]
    + [f"you find the {i.text} {'at' if i.answers['place'] == 'home' else 'in the'} {i.answers['place']}." for i in _NOUNS],
}
"""The entries that can fill each slot of a pattern."""


class _Slots(dict[str, str]):
    """Fills `{slot}` with a random entry of its list, and the slots of that entry in the same way."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str) -> str:
        if slot.startswith("a_"):
            word = self[slot[2:]]
            return f"{article(word)} {word}"
        text = self.rng.choice(LISTS[slot])
        return text.format_map(self) if "{" in text else text


def fill(pattern: str, rng: Random) -> str:
    """A pattern with each slot filled."""
    return pattern.format_map(_Slots(rng))


def sentence(rng: Random) -> str:
    """One random sentence."""
    return fill(rng.choice(PATTERNS), rng)
