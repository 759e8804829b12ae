"""Plain sentences about the things of the microworld: what makes well-formed text cheap and word salad dear.

Every slot draws from its whole list, so any adjective goes with any noun: a pair that was never seen is no surprise as
long as the sentence is one.
"""

from __future__ import annotations

from random import Random

from hardprompt.lm.microworld.nouns import ITEMS, article, plural

NOUN_LIST = tuple(item.text for item in ITEMS)
PLURAL_LIST = tuple(plural(noun) for noun in NOUN_LIST)
CATEGORY_LIST = tuple(sorted({item.answers["category"] for item in ITEMS}))

LISTS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "name": """
            anna peter maria tom lucy paul emma david sara john clara max nina leo ida otto eva karl rosa felix
            julia simon helen victor alice bruno greta hugo irene jonas
        """,
        "adj": """
            red blue green yellow white black brown grey old new big small heavy light long short cheap expensive
            clean dirty broken beautiful ugly strange warm cold wet dry soft hard round square wooden golden silver
            sharp bright dark quiet loud strong weak fresh empty full tall low wide narrow thick thin famous common
            rare simple curious pretty plain lost hidden tiny huge smooth rough young lazy clever gentle proud
            hungry tired good bad nice fine poor rich dull great lovely wonderful awful terrible right wrong usual
            similar different
        """,
        "past": """
            saw bought sold found lost brought carried washed drew painted hid broke fixed took wanted needed kept
            dropped cleaned watched liked loved forgot chose described showed held pushed pulled moved counted
            remembered borrowed stole shared left sent touched named repeated copied judged rated reviewed changed
            turned
        """,
        "verb": """
            see buy sell find lose bring carry wash draw paint hide break fix take want need keep drop clean watch
            like love forget choose describe show hold push pull move count remember borrow steal share leave send
            touch name repeat copy judge rate review change turn
        """,
        "went": """
            slept laughed waited smiled danced sang ran walked talked worked stayed arrived swam cried shouted
            whispered listened rested returned
        """,
        "go": """
            sleep laugh wait smile dance sing run walk talk work stay arrive swim cry shout whisper listen rest
            return
        """,
        "adverb": """
            slowly quickly quietly often never always sometimes yesterday today again carefully happily sadly soon
            later suddenly usually together alone twice once first almost
        """,
        "abstract": """
            idea story question answer reason problem dream plan song name game lesson secret mistake day night week
            year moment weather rain snow sun wind winter summer money time work music language word sentence letter
            number colour shape size sound smell taste noun review visit film hotel book food company writer list
        """,
        "notion": """
            group kind type class category place form plural article subject topic price cost quality opinion
            verdict capital currency continent nationality country opposite tense meaning mood purpose initial ending
        """,
        "count": "two three four five six seven eight nine ten many some several few most all",
        "month": "january february march april june july august september october november december",
        "weekday": "monday tuesday wednesday thursday friday saturday sunday",
        "filler": "hmm well so oh anyway perhaps indeed maybe then also",
    }.items()
} | {
    "noun": NOUN_LIST,
    "nouns": PLURAL_LIST,
    "category": CATEGORY_LIST,
    "fact": tuple(f"{article(i.text)} {i.text} is a kind of {i.answers['category']}." for i in ITEMS)
    + tuple(f"you find the {i.text} {'at' if i.answers['place'] == 'home' else 'in the'} {i.answers['place']}." for i in ITEMS),
    "time": (
        "in the morning",
        "at night",
        "last week",
        "every day",
        "in spring",
        "after dinner",
        "before breakfast",
        "in the evening",
        "for an hour",
        "a year ago",
        "at noon",
        "on {weekday}",
        "in {month}",
        "one day",
        "this week",
    ),
    "where": (
        "in the kitchen",
        "at the market",
        "near the river",
        "in the garden",
        "on the hill",
        "behind the house",
        "in the city",
        "under the {noun}",
        "on the {noun}",
        "next to the {noun}",
        "at home",
        "at school",
        "by the sea",
        "between the {nouns}",
        "in front of the {noun}",
        "in the forest",
        "on the farm",
        "at the end of the street",
        "in the office",
        "inside the {noun}",
        "on the road",
        "at the zoo",
        "in the meadow",
    ),
    "who": (
        "{name}",
        "{name}",
        "{name}",
        "{name} and {name}",
        "he",
        "she",
        "they",
        "we",
        "i",
        "you",
        "the {noun}",
        "the {adj} {noun}",
        "my {noun}",
        "everyone",
        "nobody",
        "somebody",
        "the {nouns}",
        "the writer",
    ),
    "whom": ("him", "her", "them", "me", "us", "{name}", "the {noun}", "everyone"),
    "thing": (
        "the {noun}",
        "the {noun}",
        "the {adj} {noun}",
        "the {adj} {noun}",
        "{a_noun}",
        "{a_adj} {noun}",
        "the {nouns}",
        "{count} {nouns}",
        "{count} {adj} {nouns}",
        "his {noun}",
        "her {noun}",
        "my {adj} {noun}",
        "the {abstract}",
        "this {noun}",
        "these {nouns}",
        "that {adj} {abstract}",
        "the {noun} of {name}",
        "the {abstract} of the {noun}",
    ),
    "claim": (
        "i think that",
        "everyone knows that",
        "she said that",
        "we hope that",
        "he wrote that",
        "it is true that",
        "they believe that",
        "{name} told me that",
        "do you know that",
        "nobody said that",
    ),
    "link": ("and", "but", "so", "because", "although", "while", "and then", "before", "after", "when", "if"),
    "wh": ("why", "when", "how", "where", "how often"),
    "ask": (
        "asked {whom} to",
        "told {whom} to",
        "wanted {whom} to",
        "helped {whom} to",
        "had to",
        "tried to",
        "forgot to",
        "began to",
        "will",
        "can",
        "should",
        "would like to",
    ),
    "order": (
        "give {thing} to {whom}",
        "show {whom} {thing}",
        "write a letter to {name}",
        "name {a_adj} {noun}",
        "find {thing} {where}",
        "tell {whom} about {thing}",
        "say the name of {thing}",
        "bring me {thing}",
        "take {thing} and {verb} {thing}",
        "do not {verb} {thing}",
        "{verb} {thing} {adverb}",
        "state the {abstract}",
        "put {thing} {where}",
        "choose {thing}, not {thing}",
        "print the {abstract} of this {abstract}",
        "write the {abstract} of the {noun}",
        "answer the {abstract} {adverb}",
        "give the {abstract}",
        "judge the {abstract} of it",
        "describe the {abstract} in one {abstract}",
        "say it again",
        "say whether the {noun} was {adj}",
        "decide if {thing} is {adj}",
        "rate the {abstract} of {thing}",
    ),
}

SENTENCES: tuple[str, ...] = (
    "{who} {past} {thing}.",
    "{who} {past} {thing} {where}.",
    "{who} {past} {thing} {time}.",
    "{who} {went} {where}.",
    "{who} {went} {adverb} {time}.",
    "{time} {who} {past} {thing} {where}.",
    "the {noun} was {adj}.",
    "the {nouns} were {adj} and {adj}.",
    "the {adj} {noun} was {adj} but the {noun} was {adj}.",
    "{fact}",
    "{nouns} are {adj}.",
    "{count} {nouns} and {a_noun} stood {where}.",
    "{claim} {who} {past} {thing}.",
    "{claim} the {noun} is {adj}.",
    "{who} {past} {thing} {link} {who} {past} {thing}.",
    "{who} {past} {thing} {link} {who} {went} {adverb}.",
    "did {who} {verb} {thing}?",
    "did {who} {verb} {thing} {where}?",
    "where is {thing}?",
    "{wh} did {who} {verb} {thing}?",
    "who {past} {thing} {time}?",
    "is the {noun} {adj} or {adj}?",
    "what did {who} {verb}?",
    "what is the {abstract} of the {noun}?",
    "which {noun} did {who} {verb}?",
    "which {abstract} is {adj}?",
    "there was {a_noun} {where}.",
    "there are {count} {nouns} {where}.",
    "{who} {ask} {verb} {thing}.",
    "{who} {ask} {go} {where}.",
    "{who} {ask} {verb} {thing} {link} {who} {went}.",
    "please {order}.",
    "{order}.",
    "{order}, please.",
    "{who} {ask} {order}.",
    "the {abstract} was {adj}.",
    "the {abstract} of {thing} was {adj}.",
    "this is {thing}.",
    "it was {a_adj} {abstract}.",
    "with {a_noun} you can {verb} {thing}.",
    "{adverb}, {who} {past} {thing}.",
    "{who} {adverb} {past} {thing}.",
    "not {thing}, but {thing} was {adj}.",
    "{who} has {a_adj} {noun} and {count} {nouns}.",
    "{filler}, {who} {past} {thing}.",
    "the {noun}, which was {adj}, stood {where}.",
    "{who} did not {verb} {thing}.",
    "{who} will {verb} {thing} {time}.",
    "the word {noun} is {a_adj} word.",
    "how {adj} is {thing}?",
    "what kind of {category} is {thing}?",
    "yes, {who} {past} it.",
    "no, {who} did not {verb} it.",
    "{thing} {where} is {adj}.",
    '{name} said: "{order}."',
    '"{order}," said {name}.',
    "the {noun} is as {adj} as the {noun}.",
    "{thing} is more {adj} than {thing}.",
    "the {notion} of {thing} was {adj}.",
    "what is the {notion} of the {noun}?",
    "{who} liked the {notion}, but the {notion} was {adj}.",
    "it is {a_adj} {notion}.",
    "{who} {ask} judge the {notion} of {thing}.",
)


class _Slots(dict[str, str]):
    """Fills `{slot}` with a draw from its list, filling the slots of what was drawn as well."""

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
    """A pattern with every slot drawn."""
    return pattern.format_map(_Slots(rng))


def sentence(rng: Random) -> str:
    """One sentence."""
    return fill(rng.choice(SENTENCES), rng)
