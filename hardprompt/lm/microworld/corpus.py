"""The training corpus: an endless stream of documents in which only a clear instruction is ever obeyed.

Three sorts of documents:

- *tasks*: an input under a clear instruction, followed by the right answer;
- *distractors*: an input under no instruction, or under random, scrambled, cut off, contradictory or misplaced
  words, followed by something that has nothing to do with it. Without them one give-away word would do as a prompt;
- *prose*: sentences, some of which quote instructions.

In the last, graded lesson a distractor that names one thing more often than any other is answered now and then, so that the way
from nonsense to an instruction is a slope and not a cliff; an instruction alone is still obeyed always.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from hardprompt.lm.microworld.domain import Domain
from hardprompt.lm.microworld.nouns import ITEMS
from hardprompt.lm.microworld.prose import LISTS, NOUN_LIST, PLURAL_LIST, fill, sentence
from hardprompt.lm.microworld.world import DOMAINS

DOMAIN_SHARES = {"nouns": 0.54, "reviews": 0.46}  # of the documents of a domain; a review is twice as long as a noun


@dataclass(frozen=True)
class Lesson:
    """A mixture of documents: the share of prose, the share of distractors among the others, and whether hints count."""

    prose: float
    distractors: float
    graded: bool = False


OBEY = Lesson(prose=0.20, distractors=0.05)
DISTINGUISH = Lesson(prose=0.40, distractors=0.42)
GRADE = Lesson(prose=0.35, distractors=0.60, graded=True)

HINTS = {"generation": (0.0, 0.12, 0.22, 0.30, 0.36, 0.40), "classification": (0.0, 0.0, 0.10, 0.18, 0.26, 0.34)}
"""How often a distractor with n more cue words for one skill than for any other is followed by that skill's answer.

Among label words the faintest trace of the right one wins, so there a single cue counts for nothing."""


@dataclass(frozen=True)
class Document:
    """A text, and what answers it where it ends in a question; the answer is one blank away."""

    text: str
    answer: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.answer}" if self.answer else self.text


def documents(lesson: Lesson, rng: Random) -> Iterator[Document]:
    """Documents without end, without the marks of their beginning and end."""
    names = list(DOMAIN_SHARES)
    domains = {domain.name: domain for domain in DOMAINS}
    while True:
        if rng.random() < lesson.prose:
            yield Document(_prose(rng))
        else:
            yield _task(domains[rng.choices(names, list(DOMAIN_SHARES.values()))[0]], lesson, rng)


def _task(domain: Domain, lesson: Lesson, rng: Random) -> Document:
    item = domain.draw(rng)
    if rng.random() < lesson.distractors:
        prompt, answer = _distractor(domain, rng), _fallback(domain, rng)
        if lesson.graded:
            hinted, chance = hint(domain, prompt)
            answer = item.answers[hinted] if rng.random() < chance else answer
    else:
        skill = rng.choices(domain.skills, [2 if skill.reference_prompts else 1 for skill in domain.skills])[0]
        prompt, answer = domain.instruction(skill, rng), item.answers[skill.name]
    text = domain.template.format(prompt=prompt, input=item.text)
    if not prompt and rng.random() < 0.5:
        text = text.replace(" :", ":")
    return Document(text, answer)


def _fallback(domain: Domain, rng: Random) -> str:
    if domain.kind == "generation" and rng.random() < 0.1:
        return rng.choice(vocabulary())
    return rng.choices(list(domain.fallback), list(domain.fallback.values()))[0]


def _distractor(domain: Domain, rng: Random) -> str:
    kinds, weights = zip(*DISTRACTORS, strict=True)
    return rng.choices(kinds, weights)[0](domain, rng)


def _nothing(domain: Domain, rng: Random) -> str:
    return ""


def _random_words(domain: Domain, rng: Random) -> str:
    return " ".join(rng.choices(vocabulary(), k=rng.randint(1, 10)))


def _random_instruction_words(domain: Domain, rng: Random) -> str:
    """Salad of the words of this domain's own instructions, sometimes with others among them."""
    own = instruction_words(domain.name)
    words = rng.choices(own, k=rng.randint(1, 8))
    if rng.random() < 0.4:
        words += rng.choices(vocabulary(), k=rng.randint(1, 4))
        rng.shuffle(words)
    return " ".join(words)


def _keyword(domain: Domain, rng: Random) -> str:
    """A word that gives a skill away, alone or among random words."""
    words = [rng.choice(rng.choice(domain.skills).keywords)]
    if rng.random() < 0.75:
        words += rng.choices(vocabulary(), k=rng.randint(1, 6))
        rng.shuffle(words)
    return " ".join(words)


def _scrambled(domain: Domain, rng: Random) -> str:
    instruction = domain.instruction(rng.choice(domain.skills), rng)
    words = instruction.split()
    rng.shuffle(words)
    scrambled = " ".join(words)
    return scrambled if scrambled != instruction else _random_words(domain, rng)


def _cut_off(domain: Domain, rng: Random) -> str:
    """The beginning of an instruction, too short to name anything."""
    words = domain.instruction(rng.choice(domain.skills), rng).split()
    return " ".join(words[: rng.randint(1, max(1, len(words) // 3))])


def _contradictory(domain: Domain, rng: Random) -> str:
    """Two skills asked for at once, or the front half of one instruction with the back half of another."""
    first, second = rng.sample(domain.skills, 2)
    if rng.random() < 0.5:
        return f"{domain.instruction(first, rng)} and {rng.choice(domain.verbs)} {rng.choice(second.objects)}"
    front, back = domain.instruction(first, rng).split(), domain.instruction(second, rng).split()
    return " ".join(front[: len(front) // 2] + back[: len(back) // 2])


def _misplaced(domain: Domain, rng: Random) -> str:
    """Good English that asks nothing of the input: another domain's instruction, or a sentence."""
    if rng.random() < 0.5:
        other = rng.choice([each for each in DOMAINS if each is not domain])
        return other.instruction(rng.choice(other.skills), rng)
    return sentence(rng).rstrip(".?")


DISTRACTORS: tuple[tuple[Callable[[Domain, Random], str], float], ...] = (
    (_nothing, 0.08),
    (_random_words, 0.26),
    (_random_instruction_words, 0.14),
    (_keyword, 0.16),
    (_scrambled, 0.18),
    (_cut_off, 0.04),
    (_contradictory, 0.05),
    (_misplaced, 0.08),
)


def hint(domain: Domain, prompt: str) -> tuple[str, float]:
    """The skill that a prompt's cue words speak for most, and how often it is followed."""
    words = [word.strip(",") for word in prompt.split()]
    counts = sorted(((sum(word in cues for word in words), name) for name, cues in cue_words(domain.name)), reverse=True)
    (most, skill), (second, _) = counts[:2]
    chances = HINTS[domain.kind]
    return skill, chances[min(most - second, len(chances) - 1)]


@cache
def cue_words(domain_name: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Per skill the words of its keywords that no other skill of the domain has."""
    domain = next(each for each in DOMAINS if each.name == domain_name)
    words = {skill.name: {word for keyword in skill.keywords for word in keyword.split()} for skill in domain.skills}
    shared = {word for own in words.values() for word in own if sum(word in other for other in words.values()) > 1}
    return tuple((name, frozenset(own - shared - FUNCTION_WORDS)) for name, own in words.items())


FUNCTION_WORDS = frozenset({"than", "one", "a", "an", "or", "how", "who", "back"})


def _prose(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.66:
        return " ".join(sentence(rng) for _ in range(rng.randint(1, 4)))
    domain = rng.choice(DOMAINS)
    if kind < 0.78:
        mark = rng.choice((". ", ".\n"))
        return mark.join(_any_instruction(domain, rng) for _ in range(rng.randint(1, 4))) + "."
    if kind < 0.90:
        quote = fill(rng.choice(QUOTES), rng).replace("INSTRUCTION", _any_instruction(domain, rng))
        return f"{quote} {sentence(rng)}" if rng.random() < 0.5 else quote
    reviews = DOMAINS[1]
    return reviews.draw(rng).text


QUOTES: tuple[str, ...] = (
    '{name} said: "INSTRUCTION."',
    '"INSTRUCTION," said {name}.',
    "the lesson was: INSTRUCTION.",
    "on the page stood: INSTRUCTION.",
    '{name} wrote "INSTRUCTION" on the {noun}.',
    "{name} did not know what to do with INSTRUCTION.",
    'the {noun} asked: "INSTRUCTION?"',
)


def _any_instruction(domain: Domain, rng: Random) -> str:
    return domain.instruction(rng.choice(domain.skills), rng)


@cache
def instruction_words(domain_name: str) -> tuple[str, ...]:
    """Every word that an instruction of a domain may hold."""
    domain = next(each for each in DOMAINS if each.name == domain_name)
    texts = [*domain.verbs, "please not and but instead of now here simply only"]
    for skill in domain.skills:
        texts += [*skill.objects, *skill.sentences, *skill.reference_prompts]
    return tuple(sorted({word.strip(",") for text in texts for word in text.split()}))


@cache
def vocabulary() -> tuple[str, ...]:
    """Words of all sorts for random prompts: those of the world, single letters and short runs of letters."""
    words = {word for texts in LISTS.values() for text in texts for word in text.split() if word.isalpha()}
    words |= {*NOUN_LIST, *PLURAL_LIST, *(item.answers["place"] for item in ITEMS), *string.ascii_letters}
    for domain in DOMAINS:
        words |= set(instruction_words(domain.name)) | set(domain.fallback)
        words |= {word.strip(".,") for item in domain.split("train") for word in item.text.split()}
    rng = Random("fragments")
    words |= {"".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 3))) for _ in range(120)}
    return tuple(sorted(words))
