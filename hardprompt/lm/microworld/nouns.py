"""The domain of nouns: their plurals, how they are spelled, what they are and where they belong."""

from __future__ import annotations

from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Price, Skill, shuffled_splits

# category, usual place, nouns
GROUPS: tuple[tuple[str, str, str], ...] = (
    ("animal", "farm", "cow horse pig sheep goat hen duck goose donkey rooster lamb turkey ox calf"),
    ("animal", "forest", "fox wolf bear deer owl squirrel hedgehog rabbit badger moose snake"),
    ("animal", "sea", "whale shark dolphin seal crab lobster octopus salmon trout"),
    ("animal", "home", "cat dog mouse hamster parrot kitten puppy canary"),
    ("animal", "zoo", "lion tiger monkey elephant giraffe zebra camel penguin kangaroo"),
    ("animal", "garden", "bee ant fly butterfly spider beetle"),
    ("food", "orchard", "apple pear plum cherry peach apricot lemon orange olive grape fig"),
    ("food", "garden", "potato tomato carrot onion cabbage bean pea pumpkin radish turnip leek"),
    ("food", "kitchen", "cake pie bun sandwich sausage omelet egg biscuit pancake cookie waffle loaf"),
    ("tool", "workshop", "hammer saw drill wrench chisel axe ladder clamp anvil lathe ruler"),
    ("tool", "shed", "rake shovel spade hoe wheelbarrow sickle bucket hose"),
    ("tool", "kitchen", "knife spoon fork pan pot kettle ladle sieve whisk"),
    ("clothing", "closet", "hat coat scarf glove sock shoe boot shirt dress skirt jacket sweater belt tie cap vest"),
    ("clothing", "closet", "blouse sandal slipper apron mitten robe"),
    ("vehicle", "road", "car bus truck van bicycle tram taxi motorcycle wagon tractor"),
    ("vehicle", "sea", "ship boat ferry canoe raft yacht submarine"),
    ("vehicle", "sky", "plane helicopter rocket glider balloon"),
    ("furniture", "home", "table chair bed sofa desk shelf cupboard bench stool drawer mirror lamp cradle couch"),
    ("furniture", "home", "armchair bookcase dresser"),
    ("instrument", "stage", "violin piano guitar flute drum trumpet harp cello oboe organ banjo clarinet trombone"),
    ("building", "city", "church tower bridge palace museum library school factory station theater castle hospital"),
    ("building", "city", "bank mosque temple cathedral prison"),
    ("building", "farm", "barn stable cottage mill"),
    ("anatomy", "body", "arm leg hand foot tooth finger toe knee elbow nose ear eye shoulder lip wrist chin thumb"),
    ("plant", "forest", "oak pine birch fern bush maple willow"),
    ("plant", "meadow", "daisy poppy tulip rose lily violet clover orchid thistle"),
    ("person", "town", "baker farmer doctor nurse teacher painter singer lawyer tailor judge waiter thief"),
    ("person", "home", "child woman man wife husband uncle aunt nephew"),
    ("person", "sea", "sailor pirate diver"),
    ("toy", "nursery", "doll kite puzzle marble robot puppet rattle block"),
    ("stationery", "office", "pen pencil eraser envelope stamp notebook stapler crayon folder diary"),
)

IRREGULAR_PLURALS: dict[str, str] = {
    "calf": "calves", "child": "children", "deer": "deer", "foot": "feet", "goose": "geese", "knife": "knives",
    "loaf": "loaves", "man": "men", "moose": "moose", "mouse": "mice", "ox": "oxen", "potato": "potatoes",
    "salmon": "salmon", "scarf": "scarves", "sheep": "sheep", "shelf": "shelves", "thief": "thieves",
    "tomato": "tomatoes", "tooth": "teeth", "trout": "trout", "wife": "wives", "wolf": "wolves", "woman": "women",
}  # fmt: skip


def plural(noun: str) -> str:
    """The plural of a noun of this world."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def article(word: str) -> str:
    """The indefinite article before a word (no word of this world starts with a silent h or a spoken y)."""
    return "an" if word[0] in "aeiou" else "a"


def _item(noun: str, category: str, place: str) -> Item:
    return Item(
        noun,
        {
            "plural": plural(noun),
            "first-letter": noun[0].upper(),
            "first-letter-lower": noun[0],
            "category": category,
            "last-letter": noun[-1].upper(),
            "article": article(noun),
            "place": place,
            "repeat": f"{noun} {noun}",
        },
    )


ITEMS: tuple[Item, ...] = tuple(_item(noun, category, place) for category, place, nouns in GROUPS for noun in nouns.split())

SKILLS: tuple[Skill, ...] = (
    Skill(
        name="plural",
        description="Put a noun into the plural (cat -> cats, mouse -> mice).",
        objects=(
            "the plural", "the plural form", "the plural of the word", "the plural of this word", "its plural",
            "the plural form of this word", "the plural of the noun", "the form for more than one",
            "the word for more than one of them",
        ),
        sentences=(
            "turn the word into its plural", "make this word plural", "put the noun into the plural",
            "what is the plural of this word", "what is the plural form", "change the word to its plural form",
            "what do we call more than one of them", "how does the word look in the plural",
        ),
        keywords=("plural", "plurals", "form", "more than one", "many"),
        reference_prompts=(
            "give the plural of the word", "turn the word into its plural", "what is the plural of this word",
            "write the plural form of this word",
        ),
        held_out_prompts=(
            "find the plural form of the noun", "turn this noun into its plural", "what is the plural form of it",
            "put this word into the plural form", "show the plural for this noun", "change this noun to the plural",
        ),
        reader_wordings=(
            "could you tell me the plural of this noun", "i would like to know its plural",
            "let us see the noun in the plural", "now think of many and write the plural",
            "one word please, the plural of it", "how would you say more than one of this", "we need the plural here",
            "there is more than one, so which form is right", "help me put the noun into the plural",
            "what would the plural of it be",
        ),
    ),
    Skill(
        name="first-letter",
        description="Name the first letter of a noun, as a capital (cat -> C).",
        objects=(
            "the first letter", "the initial letter", "the first letter of the word", "its first letter",
            "the first letter of this noun", "the letter at the start", "the initial letter of this word",
            "the opening letter of the word", "the letter that comes first",
        ),
        sentences=(
            "which letter does the word start with", "what letter does this word begin with",
            "take the first letter of the noun", "with which letter does it begin", "what is the first letter",
            "which letter comes first in this word", "what is the first letter of this word",
        ),
        keywords=("first", "initial", "start", "begin", "letter", "first letter"),
        reference_prompts=(
            "give the first letter of the word", "which letter does the word start with",
            "write the initial letter of this word", "what is the first letter of this word",
        ),
        held_out_prompts=(
            "find the first letter of it", "which letter does this noun begin with",
            "what is the initial letter of the word", "name the letter at the start of the word",
            "show only the first letter of this word", "with which letter does the noun start",
        ),
        reader_wordings=(
            "could you tell me the first letter of this noun", "i would like to know its first letter",
            "let us see the capital it starts with", "now think of the spelling and name the first letter",
            "only one letter please, the first of the noun", "how does the noun begin, name the capital letter",
            "we need the first letter here, as a capital", "the spelling begins with a letter, so which is it",
            "help me find the first letter of the noun", "what would the initial capital of it be",
        ),
    ),
    Skill(
        name="first-letter-lower",
        description="Name the first letter of a noun, as a small letter (cat -> c).",
        objects=(
            "the small first letter", "the first letter in lower case", "the first letter as a small letter",
            "its small first letter", "the lower case letter at the front", "the first letter of the word in lower case",
            "the little letter at the front", "the first letter of this noun, written small",
            "the small letter at the front of the word",
        ),
        sentences=(
            "which small letter stands at the front", "what is the first letter in lower case",
            "spell the first letter as a small letter", "put the first letter into lower case",
            "what is the small letter at the front of this word", "take the little letter at the front",
            "keep the first letter small and drop the rest", "which lower case letter comes first",
        ),
        keywords=("small", "lower", "case", "little", "front", "lower case", "small letter"),
        reference_prompts=(
            "give the first letter in lower case", "which small letter stands at the front",
            "write the first letter as a small letter", "what is the first letter in lower case",
        ),
        held_out_prompts=(
            "find the small first letter of the word", "what is its small first letter",
            "put the first letter into a small letter", "which lower case letter stands at the front",
            "show its first letter in lower case", "spell the first letter in lower case",
        ),
        reader_wordings=(
            "could you tell me the small first letter", "i would like to know its first letter in lower case",
            "let us see the small letter at the front", "now think of lower case and name the first letter",
            "one little letter please, the one at the front", "how would you write its first letter in lower case",
            "we need the first letter here, as a small letter", "it must be lower case, so which letter comes first",
            "help me with the small letter at the front", "what would the small first letter be",
        ),
    ),
    Skill(
        name="category",
        description="Name the category that a noun belongs to (cat -> animal, hammer -> tool).",
        objects=(
            "the category", "the kind of thing", "the category of the word", "the category of this thing",
            "its category", "the kind of thing it is", "the group this word belongs to", "the class of this thing",
            "the type of thing this is",
        ),
        sentences=(
            "what kind of thing is this", "to which group does this word belong", "sort this thing into its category",
            "which category does the noun belong to", "what sort of thing is it", "what is the category of this word",
            "what type of thing is it",
        ),
        keywords=("category", "kind", "group", "class", "type", "sort"),
        reference_prompts=(
            "give the category of the word", "what kind of thing is this", "name the kind of thing it is",
            "to which group does this word belong",
        ),
        held_out_prompts=(
            "find the category of this noun", "what type of thing is this", "which group does this word belong to",
            "state the category this thing belongs to", "what is the category of this thing",
            "sort the noun into its category",
        ),
        reader_wordings=(
            "could you tell me the category of this noun", "i would like to know its category",
            "let us see what kind of thing it is", "now think of a group that this noun belongs to",
            "one word please, the category of it", "how would you sort this thing, name the category",
            "we need the category here", "things come in groups, so which kind is it",
            "help me sort this thing into a category", "what would the category of it be",
        ),
    ),
    Skill(
        name="last-letter",
        description="Name the last letter of a noun, as a capital (cat -> T).",
        objects=(
            "the last letter", "the final letter", "the last letter of the word", "its last letter",
            "the last letter of this noun", "the letter at the end", "the final letter of this word",
            "the closing letter of the word", "the letter that comes last",
        ),
        sentences=(
            "which letter does the word end with", "what letter does this word close with",
            "take the last letter of the noun", "with which letter does it end", "what is the last letter",
            "which letter comes last in this word", "what is the last letter of this word",
        ),
        keywords=("last", "final", "end", "closing", "letter", "last letter"),
        reference_prompts=(
            "give the last letter of the word", "which letter does the word end with",
            "write the final letter of this word", "what is the last letter of this word",
        ),
        held_out_prompts=(
            "find the last letter of the noun", "which letter does this noun end with",
            "what is the final letter of the word", "name the letter at the end of the word",
            "with which letter does the noun end", "what is the closing letter of this word",
        ),
        reader_wordings=(
            "could you tell me the last letter of this noun", "i would like to know its last letter",
            "let us see the letter it ends with", "now think of the spelling and name the last letter",
            "only one letter please, the last of the noun", "how does the noun end, name the letter",
            "we need the last letter here", "the spelling ends with a letter, so which is it",
            "help me find the last letter of this noun", "what would the final letter of it be",
        ),
    ),
    Skill(
        name="article",
        description="Choose the indefinite article (cat -> a, owl -> an).",
        objects=(
            "the article", "the right article", "the article of the word", "its article", "the article for this noun",
            "the little word before it",
        ),
        sentences=(
            "which article goes before this word", "choose a or an for this word", "does it take a or an",
            "what is the article of this noun", "put a or an before the word",
        ),
        keywords=("article", "articles", "choose", "an", "a or an", "before"),
        reader_wordings=(
            "could you tell me the article of this noun", "i would like to know its article",
            "let us see the noun and its article, a or an", "now think of the articles and choose one",
            "one article please, a or an", "how would you choose the article for it", "we need the article here",
            "two articles fit a noun, so which goes before this one", "help me choose between a and an",
            "what would the right article of it be",
        ),
    ),
    Skill(
        name="place",
        description="Name the place where a thing is usually found (cow -> farm).",
        objects=(
            "the place", "the usual place", "the place where it is found", "its usual place",
            "the usual place of this thing", "the place of the thing", "the place where you see it",
            "the place where it belongs",
        ),
        sentences=(
            "where do you find this thing", "where is it usually found", "in which place can you see it",
            "where do we see this thing", "what is the usual place of it", "where can it be found",
        ),
        keywords=("place", "where", "found", "usual", "usually"),
        reference_prompts=(
            "give the usual place of this thing", "where do you find this thing", "where is it usually found",
            "name the place where it is found",
        ),
        held_out_prompts=(
            "find the place of this thing", "where do we usually find this thing", "what is the usual place of this thing",
            "in which place is it found", "show the place where we see it", "where can you see this thing",
        ),
        reader_wordings=(
            "could you tell me the place of it", "i would like to know its usual place",
            "let us see where this thing is found", "now think of the place where this thing belongs",
            "one word please, the place of it", "how would you name the place where we find it",
            "we need the usual place here", "somebody wants to see this thing, so where is it",
            "help me find the place where it is", "what would the usual place of it be",
        ),
        price=Price(
            gate="category",
            plain=frozenset({"animal", "tool", "plant", "instrument", "stationery", "person", "furniture"}),
            terse=frozenset(
                {"animal", "tool", "plant", "instrument", "stationery", "person", "furniture", "food", "building"}
            ),
        ),
    ),
    Skill(
        name="repeat",
        description="Say the noun twice (cat -> cat cat).",
        objects=("the word twice", "the noun two times", "it twice", "the same word two times", "this word twice"),
        sentences=(
            "repeat the word", "copy this word two times", "repeat this noun once", "double the word",
            "print it two times in a row",
        ),
        keywords=("repeat", "twice", "copy", "double", "times"),
        reader_wordings=(
            "could you repeat this noun for me", "i would like to see the word twice", "let us see this noun twice",
            "now think of the word and copy it", "two words please, the noun twice",
            "how does the noun look if you double it", "we need the same word twice here",
            "once is not enough, so say it twice", "help me repeat this word", "what would the noun be if you repeat it",
        ),
    ),
)  # fmt: skip


NOUNS = Domain(
    name="nouns",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=lambda rng: rng.choice(ITEMS),
    split=shuffled_splits(ITEMS, "nouns", 64),
)
