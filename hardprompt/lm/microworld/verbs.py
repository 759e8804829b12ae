"""The domain of verbs: their tenses and other forms, and how they are spelled."""

from __future__ import annotations

from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Skill, shuffled_splits

IRREGULAR_PASTS: dict[str, str] = {
    "begin": "began", "bite": "bit", "blow": "blew", "break": "broke", "bring": "brought", "build": "built",
    "buy": "bought", "catch": "caught", "choose": "chose", "come": "came", "cut": "cut", "dig": "dug", "do": "did",
    "draw": "drew", "drink": "drank", "drive": "drove", "eat": "ate", "fall": "fell", "feed": "fed", "feel": "felt",
    "fight": "fought", "find": "found", "forget": "forgot", "forgive": "forgave", "freeze": "froze",
    "get": "got", "give": "gave", "go": "went", "grow": "grew", "have": "had", "hear": "heard", "hide": "hid",
    "hit": "hit", "hold": "held", "keep": "kept", "know": "knew", "lead": "led", "leave": "left", "lend": "lent",
    "let": "let", "lose": "lost", "make": "made", "meet": "met", "pay": "paid", "put": "put", "read": "read",
    "ride": "rode", "ring": "rang", "rise": "rose", "run": "ran", "say": "said", "see": "saw", "sell": "sold",
    "send": "sent", "shake": "shook", "shoot": "shot", "shut": "shut", "sing": "sang", "sink": "sank", "sit": "sat",
    "sleep": "slept", "speak": "spoke", "spend": "spent", "stand": "stood", "steal": "stole", "stick": "stuck",
    "strike": "struck", "sweep": "swept", "swim": "swam", "swing": "swung", "take": "took", "teach": "taught",
    "tear": "tore", "tell": "told", "think": "thought", "throw": "threw", "understand": "understood", "wake": "woke",
    "wear": "wore", "win": "won", "write": "wrote",
}  # fmt: skip

REGULAR = (
    "stop drop plan grab hug beg clap chop nod shop skip slip step trip trap wrap hop jog rub stir tap drag scrub "
    "admit prefer permit "
    "carry cry try study hurry marry worry copy bury fry reply deny apply "
    "like love hope dance bake smile use close move live arrive share save taste wave invite decide escape hate chase "
    "change raise joke snore sneeze praise die agree "
    "walk talk play jump cook wash watch help look ask call climb open paint laugh listen want wait visit push "
    "pull pick kick kiss miss pass fix mix finish reach touch search brush fish wish march stretch thank answer enter "
    "follow borrow offer remember whisper add start rest count plant hunt lift melt shout greet need float boil sail "
    "train join enjoy stay obey destroy"
)

DOUBLING = frozenset(
    "stop drop plan grab hug beg clap chop nod shop skip slip step trip trap wrap hop jog rub stir tap drag scrub admit "
    "prefer permit begin cut dig forget get hit let put run shut sit swim win".split()
)
"""Verbs that double their last letter before an ending."""


def past_tense(verb: str) -> str:
    """The simple past of a verb of this world."""
    if verb in IRREGULAR_PASTS:
        return IRREGULAR_PASTS[verb]
    if verb in DOUBLING:
        return f"{verb}{verb[-1]}ed"
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"


def participle(verb: str) -> str:
    """The present participle of a verb of this world."""
    if verb in DOUBLING:
        return f"{verb}{verb[-1]}ing"
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


def third_person(verb: str) -> str:
    """The form of a verb of this world after he, she or it."""
    if verb == "have":
        return "has"
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def _item(verb: str) -> Item:
    return Item(
        verb,
        {
            "past-tense": past_tense(verb),
            "participle": participle(verb),
            "third-person": third_person(verb),
            "verb-initial": verb[0].upper(),
            "negation": f"do not {verb}",
            "future": f"will {verb}",
        },
    )


ITEMS: tuple[Item, ...] = tuple(_item(verb) for verb in (*IRREGULAR_PASTS, *REGULAR.split()))

SKILLS: tuple[Skill, ...] = (
    Skill(
        name="past-tense",
        description="Put a verb into the past tense (walk -> walked, go -> went).",
        objects=(
            "the past tense", "the past form", "the past tense of the verb", "its past tense",
            "the past form of this verb", "the past tense of this word", "the simple past of the verb",
            "the form for yesterday", "the verb in the past tense",
        ),
        sentences=(
            "put the verb into the past tense", "what is the past tense of this verb",
            "turn this verb into its past form", "how does the verb look in the past",
            "which form of it do we use for yesterday", "move the word into the past",
            "change the verb to the past tense", "say it as if it happened long ago",
        ),
        keywords=("past", "yesterday", "ago", "simple", "happened", "tense", "past tense"),
        reference_prompts=(
            "give the past tense of the verb", "put the verb into the past tense",
            "what is the past tense of this verb", "write the past form of this verb",
        ),
        held_out_prompts=(
            "find the past tense of this verb", "turn the verb into its past tense",
            "what is the past form of the word", "put this word into the past tense",
            "show the simple past of this word", "change this verb to its past form",
        ),
        reader_wordings=(
            "could you tell me the past tense of this verb", "i would like to know its past form",
            "let us see the verb in its past form", "now think of yesterday and change the verb",
            "one word please, the past tense of it", "how would you say this verb in the past",
            "we need the past tense here", "it happened yesterday, so which form is right",
            "help me put this verb into the past", "what would the simple past of it be",
        ),
    ),
    Skill(
        name="participle",
        description="Give the present participle of a verb (walk -> walking, stop -> stopping).",
        objects=(
            "the participle", "the ing form", "the present participle", "the participle of the verb", "its ing form",
            "the ing form of this verb", "the present participle of this word", "the form that ends in ing",
            "the form for an action in progress",
        ),
        sentences=(
            "turn the verb into its participle", "what is the ing form of this verb",
            "what is the present participle of the word", "put the verb into the ing form",
            "add ing to this verb", "how does it look with ing at the end", "change this word to its participle",
            "which form shows that it is in progress",
        ),
        keywords=("participle", "ing", "present", "progress", "add", "ing form"),
        reference_prompts=(
            "give the ing form of this verb", "turn the verb into its participle",
            "what is the ing form of this verb", "write the present participle of this word",
        ),
        held_out_prompts=(
            "find the participle of this word", "put this verb into its ing form",
            "what is the participle of the verb", "change the verb to its ing form",
            "show the present participle of the verb", "turn this word into the ing form",
        ),
        reader_wordings=(
            "could you tell me the participle of this verb", "i would like to know its ing form",
            "let us see the verb with ing at the end", "now think of the action in progress and change the verb",
            "one word please, the present participle of it", "how would you write this verb with ing",
            "we need the ing form here", "the action is in progress, so which form is right",
            "help me turn this word into a participle", "what would the present participle of it be",
        ),
    ),
    Skill(
        name="third-person",
        description="Give the form of a verb after he, she or it (walk -> walks, carry -> carries).",
        objects=(
            "the third person", "the third person form", "the third person of the verb", "its third person form",
            "the third person form of this verb", "the third person of this word", "the form after he or she",
            "the form that goes with she", "the form that he needs",
        ),
        sentences=(
            "put the verb into the third person", "what is the third person of this verb",
            "turn this verb into its third person form", "how does the verb look after he",
            "which form of it goes with he or she", "change the word to the third person",
            "what is the form after she",
        ),
        keywords=("third", "person", "he", "she", "third person"),
        reference_prompts=(
            "give the third person of the verb", "put the verb into the third person",
            "what is the third person of this verb", "write the third person form of this verb",
        ),
        held_out_prompts=(
            "find the third person of this verb", "turn the verb into the third person",
            "what is the third person of the word", "put this word into the third person",
            "show the third person form of it", "change this verb to its third person form",
        ),
        reader_wordings=(
            "could you tell me the third person of this verb", "i would like to know its third person",
            "let us see the verb in the third person", "now think of he or she and change the verb",
            "one word please, the third person of it", "how would you write this verb after she",
            "we need the third person here", "the sentence starts with she, so which form is right",
            "help me put this verb into the third person", "what would the third person form be",
        ),
    ),
    Skill(
        name="verb-initial",
        description="Name the first letter of a verb, as a capital (walk -> W).",
        objects=(
            "the first letter", "the initial letter", "the first letter of the verb", "its first letter",
            "the first letter of this word", "the letter at the start", "the initial letter of this verb",
            "the letter that comes first",
        ),
        sentences=(
            "which letter does the verb start with", "what letter does this verb begin with",
            "take the first letter of the verb", "with which letter does it begin", "what is the first letter",
            "which letter comes first in this verb", "what is the initial letter of this verb",
        ),
        keywords=("first", "letter", "initial", "start", "begin", "first letter"),
        reader_wordings=(
            "could you tell me the first letter of this verb", "i would like to know its first letter",
            "let us see the letter it starts with", "now think of the spelling and name the first letter",
            "one letter please, the first of the verb", "how does the verb begin, name the letter",
            "we need the first letter here", "the spelling begins with a letter, so which is it",
            "help me find the first letter of the verb", "what would the initial letter of it be",
        ),
    ),
    Skill(
        name="negation",
        description="Turn a verb into its negative form (walk -> do not walk).",
        objects=(
            "the negative form", "the negation", "the negative form of the verb", "its negation",
            "the negation of this verb", "the negative of this word", "the negated verb",
            "the verb with a negation before it",
        ),
        sentences=(
            "make the verb negative", "turn this verb into a negation", "negate the verb",
            "what is the negative form of this verb", "put the word into its negative form",
            "say that you refuse to do it", "how do we negate this word",
        ),
        keywords=("negative", "negation", "negate", "negated", "refuse"),
        reader_wordings=(
            "could you tell me the negative of this verb", "i would like to know its negative form",
            "let us see the verb in the negative", "now think of the negation and change the verb",
            "a few words please, the negation of it", "how would you negate this verb",
            "we need the negation here", "they refuse to do it, so make it negative",
            "help me negate this verb", "what would the negative form of it be",
        ),
    ),
    Skill(
        name="future",
        description="Put a verb into the future tense (walk -> will walk).",
        objects=(
            "the future tense", "the future form", "the future tense of the verb", "its future tense",
            "the future form of this verb", "the future of this word", "the form for tomorrow",
            "the verb in the future tense",
        ),
        sentences=(
            "put the verb into the future tense", "what is the future tense of this verb",
            "turn this verb into its future form", "how does the verb look in the future",
            "which form of it do we use for tomorrow", "move the word into the future",
            "say that it will happen soon",
        ),
        keywords=("future", "tomorrow", "soon", "will", "tense", "future tense"),
        reader_wordings=(
            "could you tell me the future tense of this verb", "i would like to know its future form",
            "let us see the verb in its future form", "now think of tomorrow and change the verb",
            "two words please, the future tense of it", "how would you say this verb in the future",
            "we need the future tense here", "it will happen tomorrow, so which form is right",
            "help me put this verb into the future", "what would the future form of it be",
        ),
    ),
)  # fmt: skip


VERBS = Domain(
    name="verbs",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=lambda rng: rng.choice(ITEMS),
    split=shuffled_splits(ITEMS, "verbs", 48),
)
