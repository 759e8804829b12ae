"""Domains of the embedded world, read from the files in `domains`.

A domain is a set of inputs and at least five skills, which are the questions that a prompt can ask about an input.
`domains/NAME.yaml` holds the fields of `Domain`. The inputs come from one of two places:

- from the table `domains/NAME.csv`, one row per input. The first column is the input, the other columns are right answers;
- from the function `hardprompt.lm.microworld.texts.GRAMMARS[NAME]`, which writes texts, when the YAML file has a field `texts`.

To add a domain, write its files and add its name to `hardprompt.lm.microworld.world.DOMAINS`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from hardprompt.errors import TaskError
from hardprompt.lm.microworld.texts import GRAMMARS, article

FOLDER = Path(__file__).parent
SPLITS = ("train", "dev", "test")

VERBS = (
    "give", "write", "say", "name", "tell me", "find", "print", "state", "show", "show me", "type", "i want", "i need",
    "can you give", "you should write", "answer with",
)  # fmt: skip
"""Verbs before the object of a generation skill."""

FALLBACK = {
    "hmm": 8.0, "well": 1.0, "so": 1.0, "oh": 1.0, "anyway": 1.0, "perhaps": 1.0, "indeed": 1.0, "maybe": 1.0, "then": 1.0,
    "also": 1.0,
}  # fmt: skip
"""Answers of a generation domain to prompts without a clear instruction, with their weights. One of them is far more frequent
than the others, so that a weak trace of the right answer is not enough to become the most likely token."""


@dataclass(frozen=True)
class Item:
    """One input of a domain, with the right answer to each skill."""

    text: str
    answers: dict[str, str]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Data):
    """Makes readability cost accuracy.

    Plain wordings of the skill give the right answer on some inputs only, and strange wordings on all inputs.

    Args:
        gate: key of `Item.answers`. Its value decides which wordings give the right answer on an item.
        plain: values of the gate for which plain wordings give the right answer.
        terse: values of the gate for which sequences of keywords do. They include the values of `plain`.
    """

    gate: str
    plain: frozenset[str]
    terse: frozenset[str]


class Skill(_Data):
    """One question about the inputs of a domain, with all its wordings.

    Args:
        name: key of `Item.answers`.
        description: one line for the catalogue.
        objects: what a verb can ask for ("the plural of the word"). Clauses such as "not the plural" use the first two.
        sentences: instructions without a verb of the domain ("turn the word into its plural").
        keywords: words that reveal the skill but do not ask for it on their own.
        labels: answers of a classification skill, in order. Empty for a generation skill.
        answer: pattern of the right answer in a domain with a table, such as "very {input}". It can contain {input},
            {initial} and {final} (first and last letter of the input, as capitals), {article} ("a" or "an") and the columns
            of the table. By default the answer is the column with the name of the skill.
        reference_prompts: wordings that are known to work. A skill with reference prompts is a task of the catalogue.
        held_out_prompts: paraphrases that occur in neither corpus.
        reader_wordings: complete instructions that occur only in the corpus of the reader.
        inputs: answers that an item must have to be an example of the task ({"mood": "bad"}). By default every item is one.
        price: for a skill whose plain wordings give the right answer on some inputs only.
        division: "tune" (defaults of optimizers may be chosen on the dev split of the task) or "report" (published figures
            are measured on its test split).
    """

    name: str
    description: str
    objects: tuple[str, ...]
    sentences: tuple[str, ...]
    keywords: tuple[str, ...]
    labels: tuple[str, ...] = ()
    answer: str | None = None
    reference_prompts: tuple[str, ...] = ()
    held_out_prompts: tuple[str, ...] = ()
    reader_wordings: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    price: Price | None = None
    division: Literal["tune", "report"] = "tune"


class Texts(_Data):
    """The facts that the texts of a domain state, and the words that they consist of.

    Args:
        facts: the facts of each text, with their possible values ({"mood": ("bad", "good")}). Values are drawn uniformly.
        balanced: facts whose combinations of values are equally frequent in each split.
        words: word lists of the grammar.
    """

    facts: dict[str, tuple[str, ...]]
    balanced: tuple[str, ...]
    words: dict[str, Any]


class Domain(_Data):
    """A set of inputs with the skills that share them.

    Args:
        name: name of the files of the domain.
        kind: kind of its tasks.
        template: text before the answer, with the places {prompt} and {input}.
        verbs: verbs before the object of a skill: "give", "tell me".
        fallback: answers to prompts without a clear instruction, with their weights.
        share: weight of the domain in the corpus of the task model.
        reader_share: weight of the domain in the corpus of the reader.
        split_sizes: number of items per split. The test split of a table has all remaining rows.
        skills: at least five, so that the input alone does not reveal the task.
        texts: for a domain whose inputs are written by a grammar.
    """

    name: str
    kind: Literal["classification", "generation"] = "generation"
    template: str = "{prompt}: {input} ="
    verbs: tuple[str, ...] = VERBS
    fallback: dict[str, float] = FALLBACK
    share: float
    reader_share: float
    split_sizes: dict[str, int]
    skills: tuple[Skill, ...]
    texts: Texts | None = None

    def __hash__(self) -> int:
        return hash(self.name)

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of the split "train", "dev" or "test". They are always the same."""
        return self._splits[name]

    def draw(self, rng: Random) -> Item:
        """A random item for the corpora: any row of a table, or a new text that is in no split."""
        if self.texts is None:
            return rng.choice(self.table)
        while True:
            item = self._write(self.texts, {}, rng)
            if item.text not in self._split_texts:
                return item

    @cached_property
    def table(self) -> tuple[Item, ...]:
        """All inputs of a domain with a table, in the order of the table.

        Example:
            >>> load_domain("nouns").table[0].answers["plural"]
            'cows'
        """
        with (FOLDER / "domains" / f"{self.name}.csv").open(encoding="utf-8", newline="") as file:
            return tuple(self._item(row) for row in csv.DictReader(file))

    def _item(self, row: dict[str, str]) -> Item:
        text = row.pop(next(iter(row)))
        fields = row | {"input": text, "initial": text[0].upper(), "final": text[-1].upper(), "article": article(text)}
        patterns = {skill.name: skill.answer or f"{{{skill.name}}}" for skill in self.skills}
        try:
            return Item(text, {name: pattern.format_map(fields) for name, pattern in patterns.items()} | row)
        except KeyError as error:
            raise TaskError(f"{self.name}.csv has no column {error}; add it, or give the skill another `answer`") from error

    def _write(self, texts: Texts, given: dict[str, str], rng: Random) -> Item:
        drawn = {name: rng.choice(values) for name, values in texts.facts.items() if name not in given}
        return Item(*GRAMMARS[self.name](given | drawn, texts.words, rng))

    @cached_property
    def _splits(self) -> dict[str, tuple[Item, ...]]:
        rng = Random(self.name)
        if self.texts is not None:
            return self._written_splits(self.texts, rng)
        order = list(self.table)
        rng.shuffle(order)
        rest = iter(order)
        return {name: tuple(islice(rest, self.split_sizes.get(name))) for name in SPLITS}

    def _written_splits(self, texts: Texts, rng: Random) -> dict[str, tuple[Item, ...]]:
        """Splits without a duplicate. Each split goes through the combinations of the balanced facts in turn."""
        combinations = list(product(*(texts.facts[name] for name in texts.balanced)))
        if len(combinations) > min(self.split_sizes.values()):  # a split has no room for all, so their order is random
            combinations = Random("combinations").sample(combinations, len(combinations))
        result: dict[str, tuple[Item, ...]] = {}
        seen: set[str] = set()
        for name in SPLITS:
            items: list[Item] = []
            while len(items) < self.split_sizes[name]:
                values = combinations[len(items) % len(combinations)]
                item = self._write(texts, dict(zip(texts.balanced, values, strict=True)), rng)
                if item.text not in seen:
                    seen.add(item.text)
                    items.append(item)
            rng.shuffle(items)
            result[name] = tuple(items)
        return result

    @cached_property
    def _split_texts(self) -> frozenset[str]:
        return frozenset(item.text for name in SPLITS for item in self.split(name))

    def instruction(self, skill: Skill, rng: Random, reader: bool = False) -> str:
        """A random plain wording of a skill, which contains no held-out paraphrase.

        Its form is [please] (verb object | sentence) [, not the object of another skill] [, please]. The wordings of the reader
        are complete and are not changed.
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


def read_yaml(file: str) -> dict[str, Any]:
    """The content of a YAML file of this package."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times faster but not on every platform
    return yaml.load((FOLDER / file).read_text(encoding="utf-8"), Loader=loader)


@cache
def load_domain(name: str) -> Domain:
    """The domain with this name.

    Example:
        >>> load_domain("countries").skills[0].description
        'Name the capital of a country (france -> paris).'
    """
    return Domain(name=name, **read_yaml(f"domains/{name}.yaml"))
