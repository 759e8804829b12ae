"""The domain of sentences: an opinion about a thing, to be turned round or put into another form.

Every word that carries an opinion has one fixed counterpart, so that turning a sentence round goes word by word.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hardprompt.lm.microworld.domain import ASKING, FILLERS, Domain, Item, Skill, drawn_splits, outside

MOODS = ("bad", "good")

GENERAL: tuple[tuple[str, str], ...] = (  # what anything can be, bad and good; these take no "very"
    ("awful", "wonderful"), ("terrible", "excellent"), ("horrible", "delightful"), ("poor", "great"),
)  # fmt: skip
PLAIN: tuple[tuple[str, str], ...] = (  # what anything can be
    ("bad", "good"), ("disappointing", "impressive"), ("nasty", "nice"),
)  # fmt: skip

# things, and what they in particular can be
GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "soup cake pie bread salad sausage sandwich omelet pancake sauce cheese dessert",
        (("disgusting", "delicious"), ("stale", "fresh"), ("bland", "tasty")),
    ),
    (
        "teacher doctor nurse uncle aunt nephew neighbor daughter son friend guest tailor",
        (("rude", "polite"), ("sad", "happy"), ("weak", "strong"), ("lazy", "busy"), ("cruel", "kind"), ("foolish", "clever")),
    ),
    (
        "film story book play song poem speech letter game lesson concert dance",
        (("dull", "exciting"), ("boring", "funny"), ("confusing", "clear")),
    ),
    (
        "room house garden kitchen office cottage hall bedroom shop cellar yard bathroom",
        (("dirty", "clean"), ("ugly", "lovely"), ("noisy", "quiet"), ("gloomy", "cheerful")),
    ),
    (
        "coat hat chair table bicycle lamp sofa jacket dress mirror boat guitar",
        (("shabby", "elegant"), ("useless", "useful"), ("ugly", "lovely"), ("dirty", "clean")),
    ),
)

VERBS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (  # past and base form, of the bad one and of the good one
    (("disliked", "dislike"), ("liked", "like")),
    (("hated", "hate"), ("loved", "love")),
    (("blamed", "blame"), ("praised", "praise")),
)

WRITERS = ("we", "they")

NAMES = tuple("anna peter maria tom lucy paul emma david sara john clara max nina leo ida otto eva karl julia simon".split())


@dataclass(frozen=True)
class Opinion:
    """What a sentence says, apart from the mood: something is so, or somebody has done something.

    Args:
        subject: what comes before the verb.
        verb: the forms of the verb, bad and good; none where something "was" so.
        before: what comes between the verb and the words of opinion: "very", "the".
        words: pairs of words of opinion, joined by "and".
        after: what comes after them.
    """

    subject: str
    verb: tuple[tuple[str, str], tuple[str, str]] | None
    before: str
    words: tuple[tuple[str, str], ...]
    after: str = ""

    def answers(self, mood: str) -> dict[str, str]:
        """The sentence in every form; "mood" is what it was, and "same" leaves it as it is."""
        return {
            "mood": mood,
            "same": f"{self._statement(mood)}.",
            "to-positive": f"{self._statement('good')}.",
            "to-negative": f"{self._statement('bad')}.",
            "to-question": f"{self._question(mood)}?",
            "to-present": f"{self._join(self.subject, self._verb(mood)[1], self._rest(mood))}.",
            "to-denial": f"{self._denial(mood)}.",
            "shout": f"{self._statement(mood)}!",
        }

    def _statement(self, mood: str) -> str:
        return self._join(self.subject, self._verb(mood)[0], self._rest(mood))

    def _question(self, mood: str) -> str:
        if self.verb is None:
            return self._join("was", self.subject, self._rest(mood))
        return self._join("did", self.subject, self._verb(mood)[1], self._rest(mood))

    def _denial(self, mood: str) -> str:
        if self.verb is None:
            return self._join(self.subject, "was not", self._rest(mood))
        return self._join(self.subject, "did not", self._verb(mood)[1], self._rest(mood))

    def _verb(self, mood: str) -> tuple[str, str]:
        return self.verb[MOODS.index(mood)] if self.verb else ("was", "is")

    def _rest(self, mood: str) -> str:
        return self._join(self.before, " and ".join(pair[MOODS.index(mood)] for pair in self.words), self.after)

    @staticmethod
    def _join(*parts: str) -> str:
        return " ".join(part for part in parts if part)


def opine(rng: Random) -> Opinion:
    """An opinion in one of the forms: one word, two words, what somebody liked, or something of somebody."""
    things, own = rng.choice(GROUPS)
    thing = rng.choice(things.split())
    gradable = PLAIN + own
    fitting = GENERAL + gradable
    form = rng.random()
    if form < 0.2:
        return Opinion(f"the {thing}", None, "", (rng.choice(fitting),))
    if form < 0.5:
        return Opinion(f"the {thing}", None, "", tuple(rng.sample(fitting, 2)))
    if form < 0.75:
        words = (rng.choice(fitting),) if rng.random() < 0.6 else ()
        return Opinion(rng.choice(WRITERS), rng.choice(VERBS), "the", words, thing)
    return Opinion(f"the {thing} of {rng.choice(NAMES)}", None, "very", (rng.choice(gradable),))


SKILLS: tuple[Skill, ...] = (
    Skill(
        name="to-positive",
        description="Make a bad opinion good, word by word (the soup was awful. -> the soup was wonderful.).",
        objects=(
            "the positive version", "the positive version of the sentence", "the sentence in a positive tone",
            "a positive sentence", "the good version of it", "the sentence with good words", "the sentence as praise",
            "a friendly version of the sentence",
        ),
        sentences=(
            "make the sentence positive", "turn this into a positive sentence", "use good words in this sentence",
            "put it in a positive way", "how would a pleased guest put it", "turn the sentence into praise",
            "rewrite it with good words", "make this sentence friendly",
            "turn it into something positive", "change its tone to a positive one", "show the good version of this",
        ),
        keywords=("positive", "good", "praise", "friendly", "pleased", "good words"),
        reference_prompts=(
            "make the sentence positive", "turn this into a positive sentence", "rewrite it with good words",
            "give the positive version of the sentence",
        ),
        held_out_prompts=(
            "turn the sentence into a positive one", "make this a positive sentence",
            "put this sentence in a positive way", "change it to the positive version",
            "rewrite the sentence with good words", "show the sentence in a good and positive tone",
        ),
        reader_wordings=(
            "could you make this a bit more positive", "i would like to see a positive version of it",
            "let us see how this sounds in a positive tone", "now think of good words and use them",
            "what would a friendly and pleased guest say", "change the sentence to one with good words",
            "please be friendly and praise it", "is there a positive way to put this",
            "someone pleased would say it with praise", "the sentence should become a positive one",
        ),
        inputs={"mood": "bad"},
    ),
    Skill(
        name="to-negative",
        description="Make a good opinion bad, word by word (the soup was wonderful. -> the soup was awful.).",
        objects=(
            "the negative version", "the negative version of the sentence", "the sentence in a negative tone",
            "a negative sentence", "the bad version of it", "the sentence with bad words", "the sentence as a complaint",
            "an unfriendly version of the sentence",
        ),
        sentences=(
            "make the sentence negative", "turn this into a negative sentence", "use bad words in this sentence",
            "put it in a negative way", "how would an angry guest put it", "turn the sentence into a complaint",
            "rewrite it with bad words", "make this sentence unfriendly",
            "turn it into something negative", "change its tone to a negative one", "show the bad version of this",
        ),
        keywords=("negative", "bad", "complaint", "unfriendly", "angry", "bad words"),
        reference_prompts=(
            "make the sentence negative", "turn this into a negative sentence", "rewrite it with bad words",
            "give the negative version of the sentence",
        ),
        held_out_prompts=(
            "turn the sentence into a negative one", "make this a negative sentence",
            "put this sentence in a negative way", "change it to the negative version",
            "rewrite the sentence with bad words", "show the sentence in a bad and negative tone",
        ),
        reader_wordings=(
            "could you make this a bit more negative", "i would like to see a negative version of it",
            "let us see how this sounds in a negative tone", "now think of bad words and use them",
            "what would an unfriendly and angry guest say", "change the sentence to one with bad words",
            "please be unfriendly and make a complaint of it", "is there a negative way to put this",
            "someone angry would say it as a complaint", "the sentence should become a negative one",
        ),
        inputs={"mood": "good"},
    ),
    Skill(
        name="to-question",
        description="Turn a statement into a question (the soup was awful. -> was the soup awful?).",
        objects=(
            "the question", "the question form", "the sentence as a question", "the question form of the sentence",
            "a question about the same thing", "the question with the same words", "it as a question",
            "the interrogative form", "the interrogative form of this",
        ),
        sentences=(
            "turn the sentence into a question", "make it a question", "ask whether it was so",
            "form a question from this sentence", "ask it instead of saying it", "how would you ask this",
            "ask this as a question",
        ),
        keywords=("question", "ask", "asking", "interrogative", "whether"),
        reference_prompts=(
            "turn the sentence into a question", "ask whether it was so", "form a question from this sentence",
            "give the question form of the sentence",
        ),
        held_out_prompts=(
            "make a question from this sentence", "change this sentence into a question",
            "ask whether this was so", "what is the question form of it",
            "put the sentence into the question form", "turn this into the interrogative form",
        ),
        reader_wordings=(
            "could you ask that as a question", "i would like to hear the question for this sentence",
            "let us see this put as a question", "now think of asking instead of saying it",
            "someone who is asking would put it how", "change it into a sentence that will ask the same",
            "what is the question here if you ask with the same words", "suppose we ask it, how does the question go",
            "is there an interrogative form for this sentence", "we are asking now whether all this was so",
        ),
    ),
    Skill(
        name="to-present",
        description="Put a sentence into the present tense (the soup was awful. -> the soup is awful.).",
        objects=(
            "the present tense", "the present tense of the sentence", "the sentence in the present tense",
            "the present form of it", "the present version of this", "it in the present tense", "the sentence for today",
            "the current form of the sentence",
        ),
        sentences=(
            "put the sentence into the present tense", "put it as if it happens today", "change the past to the present",
            "what is it in the present tense", "how do you put it today", "turn it into the present tense",
            "let it happen today",
        ),
        keywords=("present", "tense", "today", "past", "happens", "current"),
        reference_prompts=(
            "put the sentence into the present tense", "change the past to the present",
            "turn it into the present tense", "write the sentence in the present tense",
        ),
        held_out_prompts=(
            "put this into the present tense", "what is the present tense of it",
            "change the tense to the present", "turn the sentence into the present form",
            "rewrite this sentence in the present tense", "what is this sentence in the present",
        ),
        reader_wordings=(
            "could you move this from the past to the present", "i would like to read it in the present tense",
            "let us see the sentence as it happens today", "now think of the present and leave the past",
            "what would it be if it happens today", "rewrite this for the current day and in the present",
            "move the tense of the sentence from past to present", "is there a present form of this sentence",
            "suppose it is all present, how does it go", "the tense of it should become the present",
        ),
    ),
    Skill(
        name="to-denial",
        description="Deny a sentence (the soup was awful. -> the soup was not awful.).",
        objects=(
            "the denial", "the denial of the sentence", "a denial of this", "the sentence denied",
            "the denied form of the sentence", "the sentence that denies it", "the claim that it is untrue",
            "the statement that this is false",
        ),
        sentences=(
            "deny the sentence", "deny what it says", "claim that this is untrue", "turn it into a denial",
            "what would someone who denies it say", "claim that it is false", "make it a denial",
        ),
        keywords=("deny", "denies", "denied", "denial", "untrue", "false"),
        reader_wordings=(
            "could you deny all of this", "i would like to hear a denial of the sentence",
            "let us see the sentence when it is denied", "now think of it as untrue and deny it",
            "someone who denies this would say what", "suppose it is false, how do you deny it",
            "what is the denial that belongs to it", "is there a denied form of this",
            "we believe that it is false, so deny it", "the sentence is untrue and should be denied",
        ),
    ),
    Skill(
        name="shout",
        description="Shout a sentence (the soup was awful. -> the soup was awful!).",
        objects=(
            "the shout", "the exclamation", "the sentence as a shout", "the sentence with an exclamation mark",
            "the loud version of it", "a loud form of this sentence", "it as an exclamation", "the sentence as a loud cry",
        ),
        sentences=(
            "shout the sentence", "shout it out loud", "yell this sentence", "end it with an exclamation mark",
            "make it a loud cry", "turn the sentence into an exclamation", "how would you shout this",
        ),
        keywords=("shout", "exclamation", "loud", "yell", "cry"),
        reader_wordings=(
            "could you shout this as loud as you can", "i would like to hear it as a loud shout",
            "let us see this with an exclamation mark", "now think of a loud cry and yell it",
            "someone who wants to yell would say it how", "raise your voice and shout the sentence",
            "put an exclamation mark at the end of it", "is there a loud way to cry this out",
            "suppose you yell it, how does it go", "the sentence should become an exclamation",
        ),
    ),
)  # fmt: skip


def _item(mood: str, rng: Random) -> Item:
    answers = opine(rng).answers(mood)
    return Item(answers.pop("same"), answers)


split = drawn_splits("sentences", (128, 128, 416), lambda n, rng: _item(MOODS[n % len(MOODS)], rng))
"""The sentences of one split: half of them bad, half of them good."""

SENTENCES = Domain(
    name="sentences",
    kind="generation",
    template="{prompt}: {input} =",
    verbs=ASKING,
    skills=SKILLS,
    fallback=FILLERS,
    draw=outside(split, lambda rng: _item(rng.choice(MOODS), rng)),
    split=split,
)
