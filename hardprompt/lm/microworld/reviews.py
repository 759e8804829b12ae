"""The domain of reviews: one or two sentences that tell what was reviewed, how it was, what it cost, whether the writer
will return, and whether the writer was alone.

Every review tells all of it, independently drawn, so that only the instruction says what to read. Quality and price
share their label words, which no review contains literally.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from random import Random

from hardprompt.lm.microworld.domain import Domain, Item, Skill, drawn_splits, outside

SUBJECTS = ("film", "food", "hotel", "book")

# what a review of each subject talks about: one thing, several things
ASPECTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "film": (
        ("the acting", "the camera work", "the soundtrack", "the leading actor", "the final scene", "the script"),
        ("the actors", "the scenes", "the stunts", "the special effects", "the costumes"),
    ),
    "food": (
        ("the soup", "the sauce", "the dessert", "the salad", "the roast", "the meal", "the cheese"),
        ("the noodles", "the starters", "the portions", "the vegetables", "the spices"),
    ),
    "hotel": (
        ("the room", "the lobby", "the mattress", "the view from the window", "the bathroom", "the reception"),
        ("the rooms", "the towels", "the pillows", "the sheets", "the suites"),
    ),
    "book": (
        ("the prose", "the opening chapter", "the narrator", "the novel", "the last page", "the preface"),
        ("the chapters", "the poems", "the pages", "the footnotes", "the paragraphs"),
    ),
}

QUALITY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # after "was" or "were"; between "i" and the aspect
    "good": (
        ("wonderful", "lovely", "excellent", "superb", "charming", "splendid", "really nice", "brilliant",
         "better than expected", "a pure delight"),
        ("loved", "enjoyed", "admired", "really liked", "was thrilled by"),
    ),
    "bad": (
        ("awful", "dreadful", "terrible", "very poor", "horrible", "disappointing", "not nice at all", "really dull",
         "worse than expected", "a complete mess"),
        ("hated", "disliked", "could not stand", "did not like", "was annoyed by"),
    ),
}  # fmt: skip

BILLS: dict[str, tuple[str, ...]] = {
    "film": ("the price", "the cost", "the ticket price", "the entrance fee"),
    "food": ("the price", "the cost", "the bill", "the check"),
    "hotel": ("the price", "the cost", "the rate", "the bill"),
    "book": ("the price", "the cost", "the cover price", "the amount asked"),
}
PRICE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # after "was"; whole clauses, PRON stands for the writer
    "good": (
        ("low", "fair", "modest", "reasonable", "very small", "a bargain", "not high at all", "quite cheap"),
        ("PRON paid very little", "it cost next to nothing", "it was cheap", "PRON saved a lot of money",
         "it was a real bargain", "it cost less than usual"),
    ),
    "bad": (
        ("too high", "outrageous", "unfair", "a rip off", "steep", "shameless", "not fair at all", "far too much"),
        ("PRON paid far too much", "it cost a fortune", "it was overpriced", "PRON wasted a lot of money",
         "it was terribly expensive", "it cost more than usual"),
    ),
}  # fmt: skip

RETURN: dict[str, tuple[str, ...]] = {
    "yes": ("PRON will come back", "PRON will return soon", "PRON would do it again", "PRON plan another visit",
            "PRON will be back next year", "PRON want to come again", "PRON cannot wait to return"),
    "no": ("PRON will not come back", "PRON will never return", "PRON would not do it again",
    "PRON do not plan another visit",
           "PRON will stay away next year", "once was enough for PRON", "PRON have lost the wish to return"),
}  # fmt: skip
WRITERS = {"alone": ("i", "me"), "together": ("we", "us")}

_LABELS = {"sentiment": ("good", "bad"), "price": ("good", "bad"), "return": ("yes", "no"), "company": tuple(WRITERS)}
_FAVOURABLE = {"good", "yes"}


def write(answers: dict[str, str], rng: Random) -> str:
    """A review that says what `answers` holds, in one of many orders and wordings."""
    subject = answers["subject"]
    i, me = WRITERS[answers["company"]]
    one, several = ASPECTS[subject]
    predicates, verbs = QUALITY[answers["sentiment"]]
    how = rng.random()
    if how < 0.4:
        quality = f"{rng.choice(one)} was {rng.choice(predicates)}"
    elif how < 0.7:
        quality = f"{rng.choice(several)} were {rng.choice(predicates)}"
    else:
        verb = rng.choice(verbs)
        verb = verb.replace("was ", "were ") if i == "we" else verb
        quality = f"{i} {verb} {rng.choice(one + several)}"
    adjectives, clauses = PRICE[answers["price"]]
    bill = rng.choice(clauses) if rng.random() < 0.5 else f"{rng.choice(BILLS[subject])} was {rng.choice(adjectives)}"
    coming = rng.choice(RETURN[answers["return"]])
    coming = coming.replace("for PRON", f"for {me}").replace("PRON", i)
    first, second = (quality, answers["sentiment"]), (bill.replace("PRON", i), answers["price"])
    if rng.random() < 0.5:
        first, second = second, first
    return _arrange(first, second, (coming, answers["return"]), rng)


def _arrange(first: tuple[str, str], second: tuple[str, str], last: tuple[str, str], rng: Random) -> str:
    """Three clauses, each with its verdict, as one or two sentences."""
    order = rng.random()
    if order < 0.4:
        return f"{_join(first, second, rng)}. {last[0]}."
    if order < 0.7:
        return f"{first[0]}. {_join(second, last, rng)}."
    if order < 0.85:
        return f"{first[0]}, {_join(second, last, rng)}."
    return f"{last[0]}. {_join(first, second, rng)}."


def _join(left: tuple[str, str], right: tuple[str, str], rng: Random) -> str:
    if (left[1] in _FAVOURABLE) == (right[1] in _FAVOURABLE):
        return f"{left[0]} {rng.choice(('and', ', and', 'and also'))} {right[0]}".replace(" ,", ",")
    if rng.random() < 0.25:
        return f"although {left[0]}, {right[0]}"
    return f"{left[0]}{rng.choice((' but', ', but', ', yet', ' although'))} {right[0]}"


SKILLS: tuple[Skill, ...] = (
    Skill(
        name="sentiment",
        description="Was the quality of the reviewed thing good or bad, whatever it cost?",
        objects=(
            "the quality", "the quality of it", "how good it was", "the opinion about the quality",
            "the verdict on the quality", "whether it was any good", "the quality in one word",
            "what the writer thinks of the quality",
        ),
        sentences=(
            "was the quality good or bad", "how was the quality of it", "how good was the quality",
            "what was the quality like", "the quality of this was", "how did the writer find the quality",
            "was it of good or bad quality",
        ),
        keywords=("quality", "verdict", "opinion", "good", "bad", "how good"),
        labels=("good", "bad"),
        reference_prompts=(
            "was the quality good or bad", "how was the quality of it", "tell me how good it was",
            "judge the quality of it", "say whether it was any good",
        ),
        held_out_prompts=(
            "was the quality of it good or bad", "judge the quality in this review", "how good was the quality here",
            "state the opinion about the quality here", "in one word, how was the quality",
            "is the quality good or bad",
        ),
        reader_wordings=(
            "could you tell me if the quality is good", "i would like to know the verdict on its quality",
            "let us see what the opinion about the quality is", "now think of the quality, good or bad",
            "one word please, how good is the quality here", "leave the money aside and judge how good it was",
            "does this review speak of good or bad quality", "what verdict on the quality does the review hold",
            "is the opinion here that it was good or bad", "in the opinion of the writer, was the quality any good",
        ),
    ),
    Skill(
        name="price",
        description="Was the price good or bad, whatever the quality?",
        objects=(
            "the price", "the price that was paid", "the cost", "how the price was", "whether the price was fair",
            "the cost of it", "the price in one word", "what the writer thinks of the price",
        ),
        sentences=(
            "was the price good or bad", "how was the price of it", "how fair was the price", "what was the price like",
            "the price of this was", "how did the writer find the price", "was it a good or bad price",
        ),
        keywords=("price", "cost", "paid", "fair", "money", "good", "bad"),
        labels=("good", "bad"),
        reference_prompts=(
            "was the price good or bad", "how was the price of it", "tell me how the price was",
            "judge the price that was paid", "say whether the price was fair",
        ),
        held_out_prompts=(
            "was the price of it good or bad", "judge the price in this review", "how fair was the price here",
            "find whether the price was fair here", "in one word, how was the price",
            "is the price good or bad",
        ),
        reader_wordings=(
            "could you tell me if the price is fair", "i would like to know if they paid a good price",
            "let us see whether the cost was good or bad", "now think of the money that was paid, good or bad",
            "one word please, how is the price here", "leave the rest aside and judge only what was paid",
            "does this review speak of a fair price", "what does the review find about the cost",
            "is the price that they paid a good or a bad one", "in money, was the cost of it fair",
        ),
    ),
    Skill(
        name="subject",
        description="What is the review about: a film, food, a hotel or a book?",
        objects=(
            "the subject", "the topic", "the subject of the review", "the thing under review",
            "what the review is about",
            "what is being reviewed", "the topic of this review", "what was reviewed",
        ),
        sentences=(
            "what is this review about", "which thing is reviewed here", "what does the writer talk about",
            "is it a film, food, a hotel or a book", "what is the subject of this", "what is the topic of the review",
        ),
        keywords=("subject", "topic", "about", "film", "food", "hotel", "book", "reviewed"),
        labels=SUBJECTS,
        reference_prompts=(
            "what is this review about", "name the subject of the review", "which thing is reviewed here",
            "tell me what was reviewed",
        ),
        held_out_prompts=(
            "what is the subject of this review", "name the thing that is reviewed here", "what is being reviewed here",
            "which topic is this review about", "find the topic of it all", "what does this review talk about",
        ),
        reader_wordings=(
            "could you tell me what the topic is", "i would like to know which thing is reviewed",
            "let us see what all of this is about", "now think of the subject, film, food, hotel or book",
            "one word please, what was it that they reviewed", "look for the subject that the review talks about",
            "a film, food, a hotel or a book, which was reviewed", "what sort of thing does the review talk of",
            "which of the four is the topic here", "is the review about a book, a film, food or a hotel",
        ),
    ),
    Skill(
        name="return",
        description="Will the writer come back?",
        objects=(
            "whether they will return", "whether the writer will come back", "if there will be another visit",
            "whether another visit is likely", "if the writer will return", "the chance of another visit",
            "whether they plan another visit", "if they want to come again",
        ),
        sentences=(
            "will they come back", "will the writer return", "does the writer plan to come again",
            "is another visit likely", "will there be another visit", "does the writer want to return",
        ),
        keywords=("return", "again", "visit", "another", "come back", "another visit"),
        labels=("yes", "no"),
        reference_prompts=(
            "will they come back", "will the writer return", "tell me whether they will return",
            "is another visit likely",
        ),
        held_out_prompts=(
            "will the writer come back again", "does the writer want to come again", "is there likely to be another visit",
            "say whether they will come again", "will they return for another visit", "do they plan to return",
        ),
        reader_wordings=(
            "do you think that they plan a return", "i would like to know if the writer comes again",
            "let us see whether there will be a next visit", "now think of the next time, will they return",
            "yes or no please, will they visit again", "look for a plan to come again some day",
            "does it sound likely that they return", "is the writer going to come back for another visit",
            "what does the review say of a next visit, will there be one",
            "after all this, will the writer come here again",
        ),
    ),
    Skill(
        name="company",
        description="Did the writer go alone or together with others?",
        objects=(
            "whether the writer was alone", "whether others were there", "who was there", "the company of the writer",
            "if the writer went with others", "the number of visitors",
            "whether the writer had company", "whether it was one person or several people",
        ),
        sentences=(
            "was the writer alone or together with others", "did one person go or several", "who was there",
            "did the writer have company", "did the writer go with others", "how many people went", "was the writer alone",
        ),
        keywords=("alone", "together", "others", "company", "people", "who"),
        labels=("alone", "together"),
        reference_prompts=(
            "was the writer alone", "did the writer go with others", "tell me whether the writer was alone",
            "how many people went",
        ),
        held_out_prompts=(
            "did the writer go alone", "was the writer together with others", "how many people were there",
            "did they go alone or together", "was it one person or several", "find whether there was any company",
        ),
        reader_wordings=(
            "could you tell me if the writer was alone there", "i would like to know who kept the writer company",
            "let us see whether they were together or one was alone",
            "now think of the people, was it one or several", "alone or together, which of the two was it",
            "look whether the writer had others for company",
            "does one person speak here, or several people together",
            "is the writer with others or alone in this review",
            "how many people does the review tell of, one or more",
            "was there any company or did the writer go there without others",
        ),
    ),
)  # fmt: skip


_COMBINATIONS = tuple(product(SUBJECTS, _LABELS["sentiment"], _LABELS["price"]))


def _nth(n: int, rng: Random) -> Item:
    subject, sentiment, price = _COMBINATIONS[n % len(_COMBINATIONS)]
    return _item({"subject": subject, "sentiment": sentiment, "price": price} | _drawn(("return", "company"), rng), rng)


def _item(answers: dict[str, str], rng: Random) -> Item:
    return Item(write(answers, rng), answers)


def _drawn(names: Iterable[str], rng: Random) -> dict[str, str]:
    return {name: rng.choice(_LABELS[name]) for name in names}


split = drawn_splits("reviews", (64, 64, 208), _nth)
"""The reviews of one split: every combination of subject, quality and price equally often."""

REVIEWS = Domain(
    name="reviews",
    kind="classification",
    template="{input} {prompt}:",
    verbs=("judge", "give", "tell me", "say", "state", "name", "rate", "find", "write", "i want to know", "decide"),
    skills=SKILLS,
    fallback={
        "good": 6.0, "bad": 2.0, "film": 2.0, "food": 0.7, "hotel": 0.7, "book": 0.7, "yes": 1.5, "no": 0.5,
        "alone": 1.5, "together": 0.5,
    },
    draw=outside(split, lambda rng: _item(_drawn(_LABELS, rng) | {"subject": rng.choice(SUBJECTS)}, rng)),
    split=split,
)  # fmt: skip
