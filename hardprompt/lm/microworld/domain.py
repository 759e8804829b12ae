"""What a domain of the microworld is: inputs, things that can be asked about them, and the wordings of the asking.

A domain is data (see `nouns` and `reviews`); the only behaviour here is how a clear instruction is worded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random

SPLITS = ("train", "dev", "test")

ASKING = (
    "give", "write", "say", "name", "tell me", "find", "print", "state", "show", "show me", "type", "i want", "i need",
    "can you give", "you should write", "answer with",
)  # fmt: skip
"""What goes before the object of a generation skill."""

FILLERS = {
    "hmm": 8.0, "well": 1.0, "so": 1.0, "oh": 1.0, "anyway": 1.0, "perhaps": 1.0, "indeed": 1.0, "maybe": 1.0, "then": 1.0,
    "also": 1.0,
}  # fmt: skip
"""What follows the input of a generation domain when nothing clear is asked, with weights. One of them leads: a weak trace
of the right answer must not be enough to win the argmax."""


@dataclass(frozen=True)
class Item:
    """One input of a domain, with the right answer to everything that can be asked about it."""

    text: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class Price:
    """What plain English costs: a skill whose clear wordings are right on some inputs only, and stranger ones on more.

    Args:
        gate: key into `Item.answers`; its value decides which wordings are right on an item.
        plain: values of the gate on which plain wordings are right.
        terse: values on which strings of keywords are right; more than `plain`. Strange wordings are right on all.
    """

    gate: str
    plain: frozenset[str]
    terse: frozenset[str]


@dataclass(frozen=True)
class Skill:
    """One thing that can be asked about the inputs of a domain, and all the ways to ask for it.

    Args:
        name: key into `Item.answers`.
        description: one line for the catalogue.
        objects: what a verb can ask for ("the plural of the word"); the first one also serves in negative clauses.
        sentences: wordings that stand alone ("turn the word into its plural").
        keywords: words that give the skill away, although alone they ask for nothing.
        labels: the answers of a classification skill, in order; empty for a generation skill.
        reference_prompts: wordings known to work; non-empty makes the skill a catalogue task.
        held_out_prompts: paraphrases that neither corpus contains.
        reader_wordings: wordings that only the reader's corpus contains; they stand alone.
        inputs: what a catalogue item's answers must hold to be an input of the task ({"mood": "bad"}); by default any.
        price: for a skill whose plain wordings are right only now and then.
    """

    name: str
    description: str
    objects: tuple[str, ...]
    sentences: tuple[str, ...]
    keywords: tuple[str, ...]
    labels: tuple[str, ...] = ()
    reference_prompts: tuple[str, ...] = ()
    held_out_prompts: tuple[str, ...] = ()
    reader_wordings: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    price: Price | None = None


def shuffled_splits(items: tuple[Item, ...], seed: str, size: int) -> Callable[[str], tuple[Item, ...]]:
    """Divide a list of items once and for all: `size` to train on, `size` to choose on, the rest to report."""
    order = list(items)
    Random(seed).shuffle(order)
    parts = dict(zip(SPLITS, (tuple(order[:size]), tuple(order[size : 2 * size]), tuple(order[2 * size :])), strict=True))
    return parts.__getitem__


def drawn_splits(
    seed: str, sizes: tuple[int, int, int], nth: Callable[[int, Random], Item]
) -> Callable[[str], tuple[Item, ...]]:
    """Divide a grammar's texts once and for all: the n-th item of every split is drawn by `nth(n, rng)`, none twice."""

    @cache
    def splits() -> dict[str, tuple[Item, ...]]:
        rng = Random(seed)
        result: dict[str, tuple[Item, ...]] = {}
        seen: set[str] = set()
        for name, size in zip(SPLITS, sizes, strict=True):
            items: list[Item] = []
            while len(items) < size:
                item = nth(len(items), rng)
                if item.text not in seen:
                    seen.add(item.text)
                    items.append(item)
            rng.shuffle(items)
            result[name] = tuple(items)
        return result

    return lambda name: splits()[name]


def outside(split: Callable[[str], tuple[Item, ...]], draw: Callable[[Random], Item]) -> Callable[[Random], Item]:
    """Draw an item that is in no split."""

    @cache
    def taken() -> frozenset[str]:
        return frozenset(item.text for name in SPLITS for item in split(name))

    def fresh(rng: Random) -> Item:
        while True:
            item = draw(rng)
            if item.text not in taken():
                return item

    return fresh


@dataclass(frozen=True, eq=False)
class Domain:
    """Inputs of one sort, the skills that share them, and what follows when nothing clear is asked.

    Args:
        name: "nouns".
        kind: "classification" or "generation".
        template: where prompt and input stand: "{prompt}: {input} =".
        verbs: what goes before the object of a skill: "give", "tell me".
        skills: everything that can be asked. At least five, or the input gives the task away.
        fallback: answers that follow an input without a clear instruction, with their weights; one of them leads.
        draw: a fresh item for the corpus.
        split: the items of the catalogue, by split.
    """

    name: str
    kind: str
    template: str
    verbs: tuple[str, ...]
    skills: tuple[Skill, ...]
    fallback: Mapping[str, float]
    draw: Callable[[Random], Item]
    split: Callable[[str], tuple[Item, ...]]

    def instruction(self, skill: Skill, rng: Random, reader: bool = False) -> str:
        """A clear instruction: [please] (verb object | sentence) [, not another skill's object] [please].

        The reader's wordings are whole.
        """
        if reader:
            return rng.choice(skill.reader_wordings)
        if skill.reference_prompts and rng.random() < 0.15:
            return rng.choice(skill.reference_prompts)
        while True:
            text = self._wording(skill, rng)
            if not any(held_out in text for held_out in skill.held_out_prompts):
                return text

    def _wording(self, skill: Skill, rng: Random) -> str:
        if rng.random() < 0.55:
            text = f"{rng.choice(self.verbs)} {rng.choice(skill.objects)}"
        else:
            text = rng.choice(skill.sentences)
        if rng.random() < 0.2:
            other = rng.choice([each for each in self.skills if each is not skill])
            text += rng.choice((", not ", " and not ", ", but not ", " instead of ")) + rng.choice(other.objects[:2])
        courtesy = rng.random()
        if courtesy < 0.10:
            return f"please {text}"
        if courtesy < 0.16:
            return f"{text}, please"
        if courtesy < 0.22:
            return f"{rng.choice(('now', 'here', 'simply', 'only'))} {text}"
        return text
