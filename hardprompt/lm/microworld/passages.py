"""The domain of passages: who had which two things, the weather, the hour, the destination, and at the end a question.

All of it is drawn independently, so that only the instruction says what to read. The question is about the weather, the hour or
the person, and its answer is in the passage; the rain and the question share their labels, which no passage contains literally.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from random import Random

from hardprompt.lm.microworld.domain import Domain, Item, Skill, drawn_splits, outside
from hardprompt.lm.microworld.nouns import article

THINGS = tuple(
    """
    apple pear plum lemon orange potato tomato carrot onion cabbage cake pie bun sandwich sausage egg hammer saw drill
    chisel ruler bucket knife spoon fork pan pot kettle hat coat scarf glove sock shoe boot shirt dress skirt jacket
    belt cap vest mirror lamp violin guitar flute drum trumpet doll kite puzzle puppet rattle pen pencil eraser
    envelope stamp notebook crayon
    """.split()
)
"""Nouns of this world that one can carry."""

NAMES: dict[str, tuple[str, ...]] = {
    "man": ("peter", "tom", "paul", "david", "john", "max", "leo", "otto", "karl", "felix", "simon", "victor"),
    "woman": (
        "anna", "maria", "lucy", "emma", "sara", "clara", "nina", "eva", "julia", "helen", "alice", "irene",
    ),
}  # fmt: skip
PRONOUNS = {"man": "he", "woman": "she"}

VERBS = {"packed": True, "bought": True, "brought": True, "carried": True, "found": False, "sold": False}
"""What was done with the things -> whether they are meant for somewhere."""

RAIN: dict[str, tuple[str, ...]] = {
    "yes": ("it rained all day", "it was raining", "the rain fell hard", "they all got wet", "the streets were wet"),
    "no": ("it was sunny", "the sun shone all day", "the sky stayed blue", "the rain stayed away", "the streets were dry"),
}

TIME: dict[str, tuple[str, ...]] = {
    "morning": ("in the morning", "at dawn", "after breakfast", "at sunrise", "before breakfast"),
    "evening": ("in the evening", "at dusk", "after supper", "at sunset", "before supper"),
}

QUESTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rain": ("yes", ("was the weather bad?", "did they need an umbrella?", "was it better to stay inside?")),
    "time": ("morning", ("did they leave early?", "were they off before noon?", "was the day still young?")),
    "person": ("woman", ("was it a lady?", "did a lady have the things?", "was the name that of a lady?")),
}
"""What is asked about -> the value to which the answer is yes, and the ways to ask."""

GOALS = ("sea", "mountain", "school", "city")

_LABELS = {"rain": tuple(RAIN), "time": tuple(TIME), "person": tuple(NAMES), "goal": GOALS, "about": tuple(QUESTIONS)}


def write(answers: dict[str, str], rng: Random) -> str:
    """A passage that says what `answers` holds, in one of many orders and wordings, and its question."""
    things = rng.sample(THINGS, 2)
    name, pronoun = rng.choice(NAMES[answers["person"]]), PRONOUNS[answers["person"]]
    past, meant = rng.choice(tuple(VERBS.items()))
    destination = f"for the {answers['goal']}"
    had = f"{name} {past} {_one(things[0])} and {_one(things[1])}"
    told = meant and rng.random() < 0.65
    if told:
        had = f"{destination}, {had}" if rng.random() < 0.25 else f"{had} {destination}"
    weather = rng.choice(RAIN[answers["rain"]])
    clauses = [("had", had), ("weather", weather), ("left", "")]
    rng.shuffle(clauses)
    order = [kind for kind, _ in clauses]
    known = order.index("had") < order.index("left")
    left = _left(pronoun if known else name, rng.choice(TIME[answers["time"]]), "" if told else destination, rng)
    _, questions = QUESTIONS[answers["about"]]
    return f"{_arrange([left if kind == 'left' else clause for kind, clause in clauses], order, rng)} {rng.choice(questions)}"


def _one(thing: str) -> str:
    return f"{article(thing)} {thing}"


def _left(who: str, hour: str, destination: str, rng: Random) -> str:
    """The clause about the start, with the destination if that is told here."""
    left = f"{rng.choice((who, 'they', 'everyone', 'the train'))} left {destination}".strip()
    return f"{hour}, {left}" if rng.random() < 0.3 else f"{left} {hour}"


def _arrange(clauses: list[str], order: list[str], rng: Random) -> str:
    """Three sentences, or two where neighbours can be joined without touching the list."""
    if order[1] != "had" and rng.random() < 0.4:
        if order[0] == "had":
            return f"{clauses[0]}. {clauses[1]} and {clauses[2]}."
        return f"{clauses[0]} and {clauses[1]}. {clauses[2]}."
    return f"{clauses[0]}. {clauses[1]}. {clauses[2]}."


SKILLS: tuple[Skill, ...] = (
    Skill(
        name="answer",
        description="Answer the question at the end of the passage.",
        objects=(
            "the answer", "the answer to the question", "the right answer to the question", "the reply to the question",
            "the answer to what is asked", "the right reply", "the reply to what is asked",
            "the correct answer to the last question",
        ),
        sentences=(
            "answer the question about the passage", "answer the question at the end", "answer what is asked here",
            "reply to the question", "what is the answer to the question", "what is the right answer",
            "use the passage to answer the question", "read the passage and answer the question",
        ),
        keywords=("answer", "question", "asked", "reply", "correct", "right answer"),
        labels=("yes", "no"),
        reference_prompts=(
            "answer the question about the passage", "answer the question at the end",
            "read the passage and answer the question", "tell me the answer to the question",
        ),
        held_out_prompts=(
            "reply to what is asked here", "what is the correct answer to the question",
            "use the passage to reply to the question", "state the answer to the last question",
            "answer the last question about the passage", "answer what is asked at the end",
        ),
        reader_wordings=(
            "could you answer the question that was asked", "i would like to know the answer to the question",
            "let us see what the right reply to the question is", "now think of the question and answer it",
            "one word please, what is the reply to the question", "look at the passage and reply to its question",
            "please be so kind and answer the question", "the question at the end needs a correct answer",
            "who can reply to the question that is asked", "with the passage in mind, answer its last question",
        ),
    ),
    Skill(
        name="rain",
        description="Did it rain?",
        objects=(
            "whether it rained", "whether there was rain", "whether rain fell", "whether the weather was wet",
            "whether it was a rainy day", "the truth about the rain", "whether they had rain", "whether it was raining",
        ),
        sentences=(
            "did it rain", "was there any rain", "did rain fall that day", "was it raining", "was the weather wet",
            "was it a rainy day", "did they have rain",
        ),
        keywords=("rain", "rained", "rainy", "raining", "weather", "wet"),
        labels=("yes", "no"),
        reference_prompts=(
            "tell me whether it rained", "did rain fall that day", "was it a rainy day", "say whether there was rain",
        ),
        held_out_prompts=(
            "did it rain on that day", "was there rain on that day", "decide whether the day was rainy",
            "did they have wet weather", "say if there was any rain", "was it raining on the day",
        ),
        reader_wordings=(
            "could you tell me if it rained", "i would like to know if there was rain",
            "let us see whether it rained that day", "now think of the weather, was it rainy",
            "one word please, did it rain", "look at the weather, did any rain fall", "was the day wet or was it dry",
            "is it true that it rained on the day", "do we read of rain in the passage",
            "does the passage speak of rainy weather",
        ),
    ),
    Skill(
        name="time",
        description="Did they leave in the morning or in the evening?",
        objects=(
            "the time", "the time of day", "the time of the start", "the time when they left",
            "whether it was morning or evening", "whether they left early or late", "when they left",
            "the time at which they left",
        ),
        sentences=(
            "when did they leave", "was it morning or evening", "at what time did they leave",
            "what time of day was it", "did they leave in the morning or evening", "was it early or late",
            "when was the start",
        ),
        keywords=("time", "morning", "evening", "early", "late", "when"),
        labels=("morning", "evening"),
        reference_prompts=(
            "was it morning or evening", "tell me the time of day", "when did they leave", "what time of day was it",
        ),
        held_out_prompts=(
            "at which time did they leave", "what time of the day was it", "did they leave early or late",
            "was the start in the morning or evening", "state whether it was early or late",
            "find the time of day when they left",
        ),
        reader_wordings=(
            "could you tell me when they left", "i would like to know the time of the day",
            "let us see at which time the start was", "now think of the time, was it early or late",
            "one word please, morning or evening", "look at the time when they started to leave",
            "was it in the morning that they left or in the evening", "which time of the day does the passage tell",
            "did all this start early or late in the day", "when was it that they all left",
        ),
    ),
    Skill(
        name="goal",
        description="Where did they go: the sea, the mountain, the school or the city?",
        objects=(
            "the goal", "the destination", "the goal of the trip", "the place they went to", "where they went",
            "the purpose of the trip", "the destination of the trip", "the place where they travel", "where the trip went",
        ),
        sentences=(
            "where did they go", "where did the trip go", "what was the goal of the trip", "what was the destination",
            "to which place did they travel", "which place did they go to", "for which place were the things",
        ),
        keywords=("goal", "destination", "trip", "where", "place", "purpose", "travel"),
        labels=GOALS,
        reference_prompts=(
            "tell me the goal of the trip", "where did they go", "to which place did they travel",
            "what was the goal of the trip",
        ),
        held_out_prompts=(
            "where did they travel to", "what was the purpose of the trip", "which place did the trip go to",
            "where was the destination of the trip", "say to which place they went", "what place was the goal of it",
        ),
        reader_wordings=(
            "could you tell me where they went", "i would like to know the goal of their trip",
            "let us see where the trip went", "now think of the destination and say it",
            "one word please, where did they travel", "look at the passage and find the destination",
            "was it the sea, the mountain, the school or the city", "to what place did the trip take them",
            "which goal did they have for the trip", "what place is the purpose of it all",
        ),
    ),
    Skill(
        name="person",
        description="Is the passage about a man or a woman?",
        objects=(
            "the person", "the gender", "the gender of the person", "the gender that goes with the name",
            "whether it was a man or a woman", "whether the person was a man", "whether the name is that of a woman",
            "the sort of person",
        ),
        sentences=(
            "was it a man or a woman", "was the person a man or a woman", "is the name that of a man or a woman",
            "is this person a woman or a man", "which gender does the name have", "what is the gender of the person",
        ),
        keywords=("person", "man", "woman", "gender", "name"),
        labels=("man", "woman"),
        reader_wordings=(
            "could you tell me if it was a man or a woman", "i would like to know the gender of this person",
            "let us see whether the person is a woman", "now think of the name, is it that of a man",
            "one word please, man or woman", "look at the name and tell the gender",
            "does the name belong to a woman or a man", "was a man or a woman the person with the things",
            "does the passage tell about a man or a woman", "of which gender is the person in the passage",
        ),
    ),
)  # fmt: skip


_COMBINATIONS = Random("combinations").sample(list(product(*_LABELS.values())), 2 * 2 * 2 * len(GOALS) * len(QUESTIONS))


def _item(values: Iterable[str], rng: Random) -> Item:
    answers = dict(zip(_LABELS, values, strict=True))
    wanted, _ = QUESTIONS[answers["about"]]
    answers["answer"] = "yes" if answers[answers["about"]] == wanted else "no"
    return Item(write(answers, rng), answers)


split = drawn_splits("passages", (64, 64, 208), lambda n, rng: _item(_COMBINATIONS[n % len(_COMBINATIONS)], rng))
"""The passages of one split: every combination of what can be asked about nearly equally often."""

PASSAGES = Domain(
    name="passages",
    kind="classification",
    template="{input} {prompt}:",
    verbs=(
        "tell me", "say", "state", "find", "find out", "write", "report", "decide", "i want to know", "work out",
        "let me know",
    ),
    skills=SKILLS,
    fallback={
        "yes": 6.0, "no": 2.0, "morning": 2.0, "evening": 0.7, "sea": 1.5, "mountain": 0.5, "school": 0.5, "city": 0.5,
        "man": 1.0, "woman": 0.4,
    },
    draw=outside(split, lambda rng: _item(map(rng.choice, _LABELS.values()), rng)),
    split=split,
)  # fmt: skip
