"""The domain of adjectives: their opposites, their degrees, and how they are denied or made stronger."""

from __future__ import annotations

from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Price, Skill, shuffled_splits

OPPOSITES: tuple[tuple[str, str], ...] = (
    ("big", "small"), ("tall", "short"), ("long", "brief"), ("hot", "cold"), ("warm", "cool"), ("high", "low"),
    ("fast", "slow"), ("old", "young"), ("modern", "ancient"), ("good", "bad"), ("strong", "weak"), ("hard", "soft"),
    ("rich", "poor"), ("thick", "thin"), ("wide", "narrow"), ("deep", "shallow"), ("light", "heavy"),
    ("bright", "dark"), ("loud", "quiet"), ("clean", "dirty"), ("wet", "dry"), ("full", "empty"), ("near", "distant"),
    ("happy", "sad"), ("early", "late"), ("easy", "difficult"), ("cheap", "expensive"), ("sharp", "blunt"),
    ("smooth", "rough"), ("sweet", "sour"), ("tight", "loose"), ("fat", "slim"), ("brave", "cowardly"),
    ("wise", "foolish"), ("smart", "dumb"), ("kind", "mean"), ("calm", "stormy"), ("nice", "nasty"),
    ("safe", "dangerous"), ("simple", "complicated"), ("proud", "humble"), ("lucky", "unlucky"),
    ("healthy", "unhealthy"), ("friendly", "hostile"), ("tidy", "messy"), ("lazy", "active"), ("ugly", "beautiful"),
    ("funny", "serious"), ("noisy", "silent"), ("sleepy", "alert"), ("greedy", "generous"), ("rude", "courteous"),
    ("fresh", "stale"), ("sunny", "rainy"), ("dull", "shiny"), ("tame", "wild"), ("steep", "flat"),
    ("straight", "crooked"), ("steady", "shaky"), ("stiff", "flexible"), ("plain", "fancy"), ("mild", "harsh"),
    ("vague", "precise"), ("rare", "frequent"), ("strange", "familiar"), ("crisp", "soggy"), ("dense", "sparse"),
    ("coarse", "fine"), ("strict", "lenient"), ("careful", "careless"), ("useful", "useless"),
    ("patient", "impatient"), ("interesting", "boring"), ("clumsy", "graceful"),
)  # fmt: skip

IRREGULAR: dict[str, tuple[str, str]] = {"good": ("better", "best"), "bad": ("worse", "worst")}
DOUBLING = frozenset("big hot thin wet sad fat slim flat".split())
LONG = frozenset(
    "modern ancient distant difficult expensive cowardly foolish dangerous complicated hostile active beautiful serious "
    "silent alert generous courteous crooked flexible precise frequent familiar lenient careful careless useful useless "
    "patient impatient interesting boring graceful".split()
)
"""Adjectives whose degrees are formed with more and most."""


def formation(adjective: str) -> str:
    """How the degrees of an adjective are formed: "est" (spelling unchanged), "doubled", "y", "irregular" or "most"."""
    if adjective in IRREGULAR:
        return "irregular"
    if adjective in LONG:
        return "most"
    if adjective in DOUBLING:
        return "doubled"
    return "y" if adjective.endswith("y") else "est"


def _stem(adjective: str) -> str:
    """What the endings r and st are added to: bigge, happie, wise, talle."""
    if adjective in DOUBLING:
        return f"{adjective}{adjective[-1]}e"
    if adjective.endswith("y"):
        return adjective[:-1] + "ie"
    return adjective if adjective.endswith("e") else adjective + "e"


def comparative(adjective: str) -> str:
    """The comparative of an adjective of this world."""
    if adjective in IRREGULAR:
        return IRREGULAR[adjective][0]
    return f"more {adjective}" if adjective in LONG else _stem(adjective) + "r"


def superlative(adjective: str) -> str:
    """The superlative of an adjective of this world."""
    if adjective in IRREGULAR:
        return IRREGULAR[adjective][1]
    return f"most {adjective}" if adjective in LONG else _stem(adjective) + "st"


def _item(adjective: str, opposite: str) -> Item:
    return Item(
        adjective,
        {
            "opposite": opposite,
            "comparative": comparative(adjective),
            "superlative": superlative(adjective),
            "emphasis": f"very {adjective}",
            "denial": f"not {adjective}",
            "adjective-initial": adjective[0].upper(),
            "formation": formation(adjective),
        },
    )


ITEMS: tuple[Item, ...] = tuple(
    _item(adjective, opposite) for one, other in OPPOSITES for adjective, opposite in ((one, other), (other, one))
)

SKILLS: tuple[Skill, ...] = (
    Skill(
        name="opposite",
        description="Give the opposite of an adjective (big -> small).",
        objects=(
            "the opposite", "the contrary", "the opposite of the word", "its opposite", "the opposite of this word",
            "the opposite of the adjective", "the word that means the reverse", "the contrary of this word",
            "the antonym of the adjective",
        ),
        sentences=(
            "turn the word into its opposite", "what is the opposite of this word",
            "what is the contrary of the adjective", "which word means the opposite", "reverse the meaning of the word",
            "change the adjective to its opposite", "which adjective is the antonym of this word",
        ),
        keywords=("opposite", "contrary", "reverse", "antonym", "meaning"),
        reference_prompts=(
            "give the opposite of the word", "turn the word into its opposite", "what is the opposite of this word",
            "name the contrary of this word",
        ),
        held_out_prompts=(
            "find the opposite of this adjective", "turn this adjective into its opposite",
            "what is the opposite of the adjective", "which word is the contrary of this",
            "change this word to its opposite", "show the antonym of this word",
        ),
        reader_wordings=(
            "could you tell me the opposite of this adjective", "i would like to know its opposite",
            "let us see the opposite of it", "now think of the opposite and write it down",
            "one word please, the opposite of it", "how would you say the contrary of this",
            "we need the opposite here", "the meaning must be reversed, so which word is right",
            "help me find the antonym of it", "what would the opposite of it be",
        ),
    ),
    Skill(
        name="comparative",
        description="Give the comparative of an adjective (big -> bigger, careful -> more careful).",
        objects=(
            "the comparative", "the comparative form", "the comparative of the word", "its comparative",
            "the comparative of this adjective", "the comparative form of this word", "the form before than",
            "the form that compares two things", "the form for a comparison of two",
        ),
        sentences=(
            "turn the word into its comparative", "what is the comparative of this word",
            "put the adjective into the comparative", "compare two things with this word",
            "which form of the word goes before than", "what is the comparative form",
            "change this word to the comparative", "how do we compare two things with it",
        ),
        keywords=("comparative", "compare", "compares", "comparison", "two", "than"),
        reference_prompts=(
            "give the comparative of the word", "turn the word into its comparative",
            "what is the comparative of this word", "write the comparative form of this word",
        ),
        held_out_prompts=(
            "find the comparative form of the adjective", "turn this adjective into its comparative",
            "what is the comparative of the adjective", "put this word into the comparative",
            "show the comparative for this word", "change the adjective to its comparative form",
        ),
        reader_wordings=(
            "could you tell me the comparative of this word", "i would like to know its comparative form",
            "let us see the adjective in the comparative", "now think of two things and compare them with this word",
            "one thing only, the comparative of it", "how would you compare two things with this adjective",
            "we need the comparative here", "the next word is than, so which form is right",
            "help me form the comparative for it", "what would the comparative of it be",
        ),
    ),
    Skill(
        name="superlative",
        description="Give the superlative of an adjective (big -> biggest, careful -> most careful).",
        objects=(
            "the superlative", "the superlative form", "the superlative of the word", "its superlative",
            "the superlative of this adjective", "the superlative form of this word", "the highest degree of the word",
            "the highest degree", "the form that stands above all others",
        ),
        sentences=(
            "turn the word into its superlative", "what is the superlative of this word",
            "put the adjective into the superlative", "raise the adjective to the highest degree",
            "which form of the word stands above all", "what is the superlative form",
            "change this word to the superlative", "what is the top degree of this adjective",
        ),
        keywords=("superlative", "highest", "top", "above", "all", "degree"),
        reference_prompts=(
            "give the superlative of the word", "turn the word into its superlative",
            "what is the superlative of this word", "write the superlative form of this word",
        ),
        held_out_prompts=(
            "find the superlative form of the adjective", "turn this adjective into its superlative",
            "what is the superlative of the adjective", "put this word into the superlative",
            "show the superlative for this word", "change the adjective to its superlative form",
        ),
        reader_wordings=(
            "could you tell me the superlative of this word", "i would like to know its superlative form",
            "let us see the adjective in the superlative", "now think of the highest degree and change the word",
            "one thing only, the superlative of it", "how would you raise this word to the highest degree",
            "we need the superlative here", "it stands above all others, so which form is right",
            "help me form the superlative for it", "what would the superlative of it be",
        ),
        price=Price(gate="formation", plain=frozenset({"est", "doubled"}), terse=frozenset({"est", "doubled", "y"})),
    ),
    Skill(
        name="emphasis",
        description="Make an adjective stronger with very (big -> very big).",
        objects=(
            "the emphasis", "the stronger phrase", "the word with emphasis", "the adjective with very before it",
            "the adjective with more emphasis", "the stronger version", "the phrase with very",
            "the emphatic version of this word",
        ),
        sentences=(
            "put very before the adjective", "say it with emphasis", "make the adjective stronger",
            "strengthen the word with very", "how do we give this word emphasis", "make the word emphatic",
            "strengthen this adjective",
        ),
        keywords=("emphasis", "very", "stronger", "strengthen", "emphatic"),
        reader_wordings=(
            "could you give this adjective some emphasis", "i would like to hear it with emphasis",
            "let us see the adjective with very before it", "now think of a stronger phrase and write it down",
            "two words please, very and the adjective", "how would you strengthen this adjective",
            "we need the emphatic version here", "the word is too weak, so make it stronger",
            "help me strengthen the adjective with very", "what would the emphatic phrase be",
        ),
    ),
    Skill(
        name="denial",
        description="Deny an adjective (big -> not big).",
        objects=(
            "the denial", "the denied adjective", "the denial of the word", "the negation of the adjective",
            "its denial", "the negative phrase", "the negation of this word", "the word in a negative phrase",
        ),
        sentences=(
            "deny the adjective", "negate the word", "put a negation before the adjective",
            "say that the adjective is wrong here", "what is the negation of this adjective", "deny this word",
            "how do we deny it",
        ),
        keywords=("denial", "deny", "denied", "negation", "negate", "negative"),
        reader_wordings=(
            "could you deny this adjective", "i would like to know its negation",
            "let us see the adjective in a negative phrase", "now think of a denial and write it down",
            "two words please, the negation of it", "how would you deny this adjective",
            "we need the denial here", "the adjective is wrong, so deny it",
            "help me negate this adjective", "what would the negation of it be",
        ),
    ),
    Skill(
        name="adjective-initial",
        description="Name the first letter of an adjective, as a capital (big -> B).",
        objects=(
            "the first letter", "the initial letter", "the first letter of the adjective", "its first letter",
            "the first letter of this word", "the letter at the start", "the initial letter of this adjective",
            "the letter that comes first",
        ),
        sentences=(
            "which letter does the adjective start with", "what letter does this adjective begin with",
            "take the first letter of the adjective", "with which letter does it begin", "what is the first letter",
            "which letter comes first in this adjective", "what is the initial letter of this adjective",
        ),
        keywords=("first", "letter", "initial", "start", "begin", "first letter"),
        reader_wordings=(
            "could you tell me the first letter of this adjective", "i would like to know its first letter",
            "let us see the letter it starts with", "now think of the spelling and name the first letter",
            "one letter please, the first of the adjective", "how does the adjective begin, name the letter",
            "we need the first letter here", "the spelling begins with a letter, so which is it",
            "help me find the first letter of the adjective", "what would the initial letter of it be",
        ),
    ),
)  # fmt: skip


ADJECTIVES = Domain(
    name="adjectives",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=lambda rng: rng.choice(ITEMS),
    split=shuffled_splits(ITEMS, "adjectives", 36),
)
