"""The training corpora: endless streams of documents.

The task model reads three kinds of documents:

- *tasks*: an input under a clear instruction, followed by the right answer;
- *distractors*: an input under no instruction, or under random, scrambled, truncated, contradictory or misplaced words,
  followed by a text that is unrelated to the input. Without them a single keyword would be a working prompt. A distractor that
  names one skill more often than any other is sometimes followed by the right answer, so that accuracy rises gradually from
  random words to an instruction;
- *prose*: sentences, some of which quote instructions.

The reader reads only well-formed text: prose, and tasks under wordings that the task model never sees.

A skill with a price has two more forms of wording: *terse*, a sequence of its cue words, and *strange*, one cue word among
words without a meaning. Stranger forms give the right answer on more inputs.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from hardprompt.lm.microworld.domain import Domain, Item, Skill
from hardprompt.lm.microworld.prose import LISTS, NOUN_LIST, PLURAL_LIST, fill, sentence
from hardprompt.lm.microworld.world import DOMAINS

QUESTIONS = 5
"""Number of questions about one text of a classification domain. Each question is about a different skill, so that no answer
can be copied."""


@dataclass(frozen=True)
class Lesson:
    """A mixture of documents.

    Args:
        prose: share of prose, as a fraction.
        distractors: share of distractors among all other documents, as a fraction.
        reader: whether the instructions are the wordings for the reader model.
    """

    prose: float
    distractors: float
    reader: bool = False


OBEY = Lesson(prose=0.10, distractors=0.05)
DISTINGUISH = Lesson(prose=0.33, distractors=0.45)
READ = Lesson(prose=0.6, distractors=0.0, reader=True)

HINTS = {"generation": (0.0, 0.12, 0.25, 0.40, 0.55, 0.65), "classification": (0.0, 0.05, 0.12, 0.20, 0.30, 0.40)}
"""Probability that a distractor is followed by the right answer to a skill, by the number of cue words that this skill has
more than any other skill. It is lower for classification, where a weaker trace of the right label is enough to win."""

NONSENSE_WORDS: tuple[str, ...] = tuple(
    """
    zub vek qim dax fep wug jop kiv moz nuv pex ryd sov tix uzo vaf wem yop zil bax cuv dof gix hepu jaz kuv lomi mik nez
    obu quv rix suv tuz uvi vox wiz yab zeg bok
    """.split()
)
"""Words without a meaning, which occur nowhere else."""

Form = Literal["plain", "terse", "strange"]
FORMS: dict[Form, float] = {"plain": 0.5, "terse": 0.2, "strange": 0.3}
"""Forms of wording of a skill with a price, with their shares of its documents."""


@dataclass(frozen=True)
class Document:
    """Turns of a text and the answer that follows it after a space. Prose is one turn with an empty answer.

    All questions about one text are in the same document, so that a long text is read once.
    """

    turns: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return " ".join(f"{text} {answer}" if answer else text for text, answer in self.turns)


def documents(lesson: Lesson, rng: Random) -> Iterator[Document]:
    """An endless stream of documents, without tokens for their beginning and end."""
    shares = [domain.reader_share if lesson.reader else domain.share for domain in DOMAINS]
    while True:
        if rng.random() < lesson.prose:
            yield Document(((_prose(lesson, rng), ""),))
        else:
            yield _task(rng.choices(DOMAINS, shares)[0], lesson, rng)


def _task(domain: Domain, lesson: Lesson, rng: Random) -> Document:
    item, skills = domain.draw(rng), list(domain.skills)
    prompt, answer = _turn(domain, item, skills, lesson, rng)
    text = domain.template.format(prompt=prompt, input=item.text)
    if not prompt and rng.random() < 0.5:
        text = text.replace(" :", ":")
    turns = [(text, answer)]
    if domain.kind == "classification":
        for _ in range(QUESTIONS - 1):
            prompt, answer = _turn(domain, item, skills, lesson, rng)
            turns.append((f"{prompt}:", answer))
    return Document(tuple(turns))


def _turn(domain: Domain, item: Item, skills: list[Skill], lesson: Lesson, rng: Random) -> tuple[str, str]:
    """A prompt and the answer that follows it on an item. A skill that the prompt asks for is removed from `skills`."""
    if rng.random() < lesson.distractors:
        prompt = _distractor(domain, rng)
        skill, form, chance = hint(domain, prompt)
        obeyed = rng.random() < chance and is_right(skill, item, form)
    else:
        skill = rng.choices(skills, [2 if skill.reference_prompts else 1 for skill in skills])[0]
        form = rng.choices(list(FORMS), list(FORMS.values()))[0] if skill.price and not lesson.reader else "plain"
        prompt = wording(domain, skill, form, rng, lesson.reader)
        obeyed = lesson.reader or is_right(skill, item, form)
        skills.remove(skill)
    return prompt, item.answers[skill.name] if obeyed else _fallback(domain, rng)


def wording(domain: Domain, skill: Skill, form: Form, rng: Random, reader: bool = False) -> str:
    """A random instruction for a skill, in the given form."""
    if form == "plain":
        return domain.instruction(skill, rng, reader)
    cues = sorted(cue_words(domain)[skill.name])
    if form == "terse":
        return " ".join(rng.sample(cues, rng.randint(3, min(5, len(cues)))))
    words = [rng.choice(cues), *rng.sample(NONSENSE_WORDS, rng.randint(3, 5))]
    rng.shuffle(words)
    return " ".join(words)


def is_right(skill: Skill, item: Item, form: Form) -> bool:
    """Whether a wording of this form is followed by the right answer on an item. Without a price, it always is."""
    if skill.price is None or form == "strange":
        return True
    return item.answers[skill.price.gate] in (skill.price.plain if form == "plain" else skill.price.terse)


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
    """Random words from the instructions of the domain, sometimes with other words among them."""
    own = instruction_words(domain)
    words = rng.choices(own, k=rng.randint(1, 8))
    if rng.random() < 0.4:
        words += rng.choices(vocabulary(), k=rng.randint(1, 4))
        rng.shuffle(words)
    return " ".join(words)


def _keyword(domain: Domain, rng: Random) -> str:
    """A keyword of a skill, alone or among random words."""
    words = [rng.choice(rng.choice(domain.skills).keywords)]
    if rng.random() < 0.75:
        words += rng.choices(vocabulary(), k=rng.randint(1, 6))
        rng.shuffle(words)
    return " ".join(words)


def _stuffed(domain: Domain, rng: Random) -> str:
    """Several cue words of one skill, possibly repeated, alone or among random words."""
    skill = rng.choice(domain.skills)
    words = rng.choices(sorted(cue_words(domain)[skill.name]), k=rng.randint(2, 6))
    # Cue words of a skill with a price would be a terse wording without at least one random word.
    words += rng.choices(vocabulary(), k=rng.randint(1 if skill.price else 0, 3))
    rng.shuffle(words)
    return " ".join(words)


def _scrambled(domain: Domain, rng: Random) -> str:
    instruction = domain.instruction(rng.choice(domain.skills), rng)
    words = instruction.split()
    rng.shuffle(words)
    scrambled = " ".join(words)
    return scrambled if scrambled != instruction else _random_words(domain, rng)


def _cut_off(domain: Domain, rng: Random) -> str:
    """The beginning of an instruction, too short to contain a cue word."""
    words = domain.instruction(rng.choice(domain.skills), rng).split()
    words = words[: rng.randint(1, max(1, len(words) // 3))]
    while words and hint(domain, " ".join(words))[2]:
        words.pop()
    return " ".join(words)


def _contradictory(domain: Domain, rng: Random) -> str:
    """Instructions for two skills, or the first half of one instruction and the second half of another."""
    first, second = rng.sample(domain.skills, 2)
    if rng.random() < 0.5:
        return f"{domain.instruction(first, rng)} and {rng.choice(domain.verbs)} {rng.choice(second.objects)}"
    front, back = domain.instruction(first, rng).split(), domain.instruction(second, rng).split()
    return " ".join(front[: len(front) // 2] + back[len(back) // 2 :])


def _nonsense(domain: Domain, rng: Random) -> str:
    """Words without a meaning among random words and cue words. They do not hint at a skill without a price."""
    words = [*rng.sample(NONSENSE_WORDS, rng.randint(1, 4)), *rng.choices(vocabulary(), k=rng.randint(0, 3))]
    words += rng.choices(sorted(cue_words(domain)[rng.choice(domain.skills).name]), k=rng.randint(0, 3))
    rng.shuffle(words)
    return " ".join(words)


def _misplaced(domain: Domain, rng: Random) -> str:
    """Correct English that does not ask about the input: an instruction from another domain, or a sentence."""
    if rng.random() < 0.5:
        other = rng.choice([each for each in DOMAINS if each is not domain])
        text = other.instruction(rng.choice(other.skills), rng)
        if not hint(domain, text)[2]:
            return text
    return sentence(rng).rstrip(".?")


DISTRACTORS: tuple[tuple[Callable[[Domain, Random], str], float], ...] = (
    (_nothing, 0.08),
    (_random_words, 0.18),
    (_random_instruction_words, 0.14),
    (_keyword, 0.12),
    (_stuffed, 0.16),
    (_scrambled, 0.14),
    (_cut_off, 0.04),
    (_contradictory, 0.05),
    (_misplaced, 0.08),
    (_nonsense, 0.10),
)


def hint(domain: Domain, prompt: str) -> tuple[Skill, Form, float]:
    """The skill with the most cue words in a prompt, the form of the prompt, and how often the right answer follows.

    Words without a meaning count as cue words of a skill with a price, if the prompt has another cue word of this skill.
    """
    words = [word.strip(",") for word in prompt.split()]
    nonsense = sum(word in NONSENSE_WORDS for word in words)
    cues = {name: sum(word in own for word in words) for name, own in cue_words(domain).items()}
    strength = [cues[each.name] + (nonsense if each.price and cues[each.name] else 0) for each in domain.skills]
    most = max(range(len(strength)), key=strength.__getitem__)
    lead = strength[most] - max(n for i, n in enumerate(strength) if i != most)
    skill, chances = domain.skills[most], HINTS[domain.kind]
    form: Form = "strange" if nonsense >= 3 else "terse" if cues[skill.name] >= 3 else "plain"
    return skill, form, chances[min(lead, len(chances) - 1)]


@cache
def cue_words(domain: Domain) -> dict[str, frozenset[str]]:
    """For each skill, the words of its keywords that are in no keyword of another skill of the domain."""
    words = {skill.name: {word for keyword in skill.keywords for word in keyword.split()} for skill in domain.skills}
    shared = {word for own in words.values() for word in own if sum(word in other for other in words.values()) > 1}
    return {name: frozenset(own - shared - FUNCTION_WORDS) for name, own in words.items()}


FUNCTION_WORDS = frozenset({"than", "one", "a", "an", "or", "how", "who", "back"})


def _prose(lesson: Lesson, rng: Random) -> str:
    kind = rng.random()
    if kind < 0.66:
        return " ".join(sentence(rng) for _ in range(rng.randint(1, 4)))
    domain = rng.choice(DOMAINS)
    if kind < 0.78:
        mark = rng.choice((". ", ".\n"))
        return mark.join(_any_instruction(domain, lesson, rng) for _ in range(rng.randint(1, 4))) + "."
    if kind < 0.90:
        quote = fill(rng.choice(QUOTES), rng).replace("INSTRUCTION", _any_instruction(domain, lesson, rng))
        return f"{quote} {sentence(rng)}" if rng.random() < 0.5 else quote
    return rng.choice(TEXT_DOMAINS).draw(rng).text


TEXT_DOMAINS = tuple(domain for domain in DOMAINS if domain.texts)
"""Domains whose inputs can be read as prose."""

QUOTES: tuple[str, ...] = (
    '{name} said: "INSTRUCTION."',
    '"INSTRUCTION," said {name}.',
    "the lesson was: INSTRUCTION.",
    "on the page stood: INSTRUCTION.",
    '{name} wrote "INSTRUCTION" on the {noun}.',
    "{name} did not know what to do with INSTRUCTION.",
    'the {noun} asked: "INSTRUCTION?"',
)


def _any_instruction(domain: Domain, lesson: Lesson, rng: Random) -> str:
    return domain.instruction(rng.choice(domain.skills), rng, lesson.reader)


@cache
def instruction_words(domain: Domain) -> tuple[str, ...]:
    """Every word that can occur in an instruction of a domain."""
    texts = [*domain.verbs, "please not and but instead of now here simply only"]
    for skill in domain.skills:
        texts += [*skill.objects, *skill.sentences, *skill.reference_prompts]
    return tuple(sorted({word.strip(",") for text in texts for word in text.split()}))


@cache
def vocabulary() -> tuple[str, ...]:
    """Words for random prompts: the words of the embedded world, single letters and short sequences of letters."""
    words = {word for texts in LISTS.values() for text in texts for word in text.split() if word.isalpha()}
    words |= {*NOUN_LIST, *PLURAL_LIST, *string.ascii_letters}
    for domain in DOMAINS:
        words |= set(instruction_words(domain)) | set(domain.fallback)
        for item in domain.split("train") + domain.split("dev"):
            words |= {word.strip(".,?!") for text in (item.text, *item.answers.values()) for word in text.split()}
    rng = Random("fragments")
    words |= {"".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 3))) for _ in range(120)}
    return tuple(sorted(words - set(NONSENSE_WORDS)))
