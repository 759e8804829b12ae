"""The grammars of the domains whose inputs are texts.

A grammar is a function (facts, words, rng) -> (text, answers). The facts are what the text has to state, such as
{"mood": "bad"}; the words are the field `texts.words` of the YAML file of the domain; the answers are the right answers to the
skills of the domain, and can contain further facts.
"""

from collections.abc import Callable
from random import Random
from typing import Any

Facts = dict[str, str]
Grammar = Callable[[Facts, dict[str, Any], Random], tuple[str, Facts]]


def article(word: str) -> str:
    """The indefinite article before a word. No word of the embedded world starts with a silent h or a spoken y.

    Example:
        >>> article("owl")
        'an'
    """
    return "an" if word[0] in "aeiou" else "a"


# Sentences

MOODS = ("bad", "good")
"""The order of the words in each pair of opposites."""

WAS = (("was", "is"), ("was", "is"))
"""The verb of a sentence about what a thing was like, in the form of the other verbs: (past, base form) per mood."""


def sentence(facts: Facts, words: dict[str, Any], rng: Random) -> tuple[str, Facts]:
    """A sentence with an opinion, and the sentence in every other form."""
    mood = facts["mood"]
    subject, verbs, rests = _opinion(words, rng)
    positive, negative = (f"{subject} {verbs[i][0]} {rests[i]}" for i in (1, 0))
    statement = positive if mood == "good" else negative
    rest = rests[MOODS.index(mood)]
    base = verbs[MOODS.index(mood)][1]
    answers = {
        "mood": mood,
        "to-positive": f"{positive}.",
        "to-negative": f"{negative}.",
        "to-question": f"was {subject} {rest}?" if verbs is WAS else f"did {subject} {base} {rest}?",
        "to-present": f"{subject} {base} {rest}.",
        "to-denial": f"{subject} was not {rest}." if verbs is WAS else f"{subject} did not {base} {rest}.",
        "shout": f"{statement}!",
    }
    return f"{statement}.", answers


def _opinion(words: dict[str, Any], rng: Random) -> tuple[str, Any, list[str]]:
    """The subject of a sentence, its verb in both moods and what follows the verb in both moods."""
    group = rng.choice(words["groups"])
    thing = rng.choice(group["things"])
    gradable = words["plain"] + group["pairs"]
    fitting = words["general"] + gradable
    form = rng.random()
    if form < 0.2:
        return f"the {thing}", WAS, rng.choice(fitting)
    if form < 0.5:
        return f"the {thing}", WAS, [" and ".join(pair) for pair in zip(*rng.sample(fitting, 2), strict=True)]
    if form < 0.75:
        adjectives = [f"{word} " for word in rng.choice(fitting)] if rng.random() < 0.6 else ["", ""]
        subject, verbs = rng.choice(words["writers"]), rng.choice(words["verbs"])
        return subject, verbs, [f"the {adjective}{thing}" for adjective in adjectives]
    return f"the {thing} of {rng.choice(words['names'])}", WAS, [f"very {word}" for word in rng.choice(gradable)]


# Reviews


def review(facts: Facts, words: dict[str, Any], rng: Random) -> tuple[str, Facts]:
    """A review of three clauses, about the quality, the price and the plan to return, in a random order and wording."""
    subject = facts["subject"]
    i, me = words["writers"][facts["company"]]
    one, several = words["aspects"][subject]["one"], words["aspects"][subject]["several"]
    quality, price = words["quality"][facts["sentiment"]], words["price"][facts["price"]]
    how = rng.random()
    if how < 0.4:
        opinion = f"{rng.choice(one)} was {rng.choice(quality['predicates'])}"
    elif how < 0.7:
        opinion = f"{rng.choice(several)} were {rng.choice(quality['predicates'])}"
    else:
        verb = rng.choice(quality["verbs"])
        verb = verb.replace("was ", "were ") if i == "we" else verb
        opinion = f"{i} {verb} {rng.choice(one + several)}"
    if rng.random() < 0.5:
        cost = rng.choice(price["clauses"]).format(i=i)
    else:
        cost = f"{rng.choice(words['bills'][subject])} was {rng.choice(price['predicates'])}"
    plan = rng.choice(words["return"][facts["return"]]).format(i=i, me=me)
    first, second = (opinion, facts["sentiment"]), (cost, facts["price"])
    if rng.random() < 0.5:
        first, second = second, first
    return _in_sentences(first, second, (plan, facts["return"]), rng), facts


def _in_sentences(first: tuple[str, str], second: tuple[str, str], last: tuple[str, str], rng: Random) -> str:
    """Three clauses, each with its value, as one or two sentences."""
    order = rng.random()
    if order < 0.4:
        return f"{_join(first, second, rng)}. {last[0]}."
    if order < 0.7:
        return f"{first[0]}. {_join(second, last, rng)}."
    if order < 0.85:
        return f"{first[0]}, {_join(second, last, rng)}."
    return f"{last[0]}. {_join(first, second, rng)}."


def _join(left: tuple[str, str], right: tuple[str, str], rng: Random) -> str:
    """Two clauses with a conjunction that fits their values."""
    if (left[1] in ("good", "yes")) == (right[1] in ("good", "yes")):
        return f"{left[0]}{rng.choice((' and', ', and', ' and also'))} {right[0]}"
    if rng.random() < 0.25:
        return f"although {left[0]}, {right[0]}"
    return f"{left[0]}{rng.choice((' but', ', but', ', yet', ' although'))} {right[0]}"


# Passages


def passage(facts: Facts, words: dict[str, Any], rng: Random) -> tuple[str, Facts]:
    """A passage of three clauses, about things, the weather and the departure, in a random order, and a question about it."""
    things = [f"{article(thing)} {thing}" for thing in rng.sample(words["things"], 2)]
    name = rng.choice(words["names"][facts["person"]])
    past, can_have_goal = rng.choice(list(words["verbs"].items()))
    goal = f"for the {facts['goal']}"
    had = f"{name} {past} {things[0]} and {things[1]}"
    has_goal = can_have_goal and rng.random() < 0.65
    if has_goal:
        had = f"{goal}, {had}" if rng.random() < 0.25 else f"{had} {goal}"
    clauses = {"had": had, "weather": rng.choice(words["rain"][facts["rain"]])}
    order = ["had", "weather", "left"]
    rng.shuffle(order)
    is_known = order.index("had") < order.index("left")
    time = rng.choice(words["time"][facts["time"]])
    who = rng.choice((words["pronouns"][facts["person"]] if is_known else name, "they", "everyone", "the train"))
    left = f"{who} left" if has_goal else f"{who} left {goal}"
    clauses["left"] = f"{time}, {left}" if rng.random() < 0.3 else f"{left} {time}"
    first, second, third = (clauses[kind] for kind in order)
    # The clause with two things is never joined to the clause before it.
    if order[1] != "had" and rng.random() < 0.4:
        text = f"{first}. {second} and {third}." if order[0] == "had" else f"{first} and {second}. {third}."
    else:
        text = f"{first}. {second}. {third}."
    question = words["questions"][facts["about"]]
    answer = "yes" if facts[facts["about"]] == question["yes_if"] else "no"
    return f"{text} {rng.choice(question['ask'])}", facts | {"answer": answer}


GRAMMARS: dict[str, Grammar] = {"sentences": sentence, "reviews": review, "passages": passage}
"""The grammar of each domain whose inputs are texts."""
