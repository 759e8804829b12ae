"""What a prompt copies from its task: hand-computed values, a slow version, and inputs too short to be quoted."""

import random
from typing import Any

import pytest

from hardprompt.data.task import Example, Task, Template
from hardprompt.lm import FrozenLM
from hardprompt.metrics import copying_lines
from hardprompt.metrics.copying import inputs_of, label_words_named, longest_shared, quoted, shared_trigrams, words
from hardprompt.report.prompt_tables import evaluation_table
from hardprompt.study.evaluation import evaluate

REVIEWS = inputs_of(("A gorgeous , witty , seductive movie .", "it's so laddish .", "Good film", "dull"))


@pytest.mark.parametrize(
    ("text", "longest", "trigrams", "quotes"),
    [
        ("a gorgeous witty seductive mess", 4, 2 / 3, 4),
        ("Gorgeous: WITTY, seductive! movie is so laddish", 4, 2 / 5, 4),  # "is so laddish" is not "s so laddish"
        ("It's so laddish it's so laddish", 4, 4 / 6, 8),  # the seam makes two trigrams that no input has
        ("movie it s", 2, 0.0, 0),  # the end of one input and the beginning of the next
        ("the good film here", 2, 0.0, 2),  # a whole input of two words
        ("witty seductive", 2, None, 0),  # two words of a longer input
        ("dull dull dull", 1, 0.0, 0),  # a whole input of one word
        ("?!,.", 0, None, 0),
        ("", 0, None, 0),
    ],
)
def test_shared_words_counted_by_hand(text: str, longest: int, trigrams: float | None, quotes: int) -> None:
    assert longest_shared(text, REVIEWS) == longest
    assert shared_trigrams(text, REVIEWS) == trigrams
    assert quoted(text, REVIEWS) == quotes


def grams(of: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(of[i : i + size]) for i in range(len(of) - size + 1)]


def test_shared_words_as_counted_with_sets_of_n_grams() -> None:
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choices(["a", "b", "ab", "b,a"], k=draw.randint(0, 7)))

    for _ in range(200):
        prompt, inputs = text(), [text() for _ in range(draw.randint(1, 4))]
        of_prompt, of_inputs = words(prompt), [words(each) for each in inputs]
        in_inputs = [{gram for each in of_inputs for gram in grams(each, size)} for size in range(10)]
        shared = [size for size in range(1, 10) if set(grams(of_prompt, size)) & in_inputs[size]]
        found = inputs_of(tuple(inputs))
        assert longest_shared(prompt, found) == max(shared, default=0)
        trigrams = grams(of_prompt, 3)
        if trigrams and max(map(len, of_inputs)) >= 3:
            assert shared_trigrams(prompt, found) == sum(gram in in_inputs[3] for gram in trigrams) / len(trigrams)
        else:
            assert shared_trigrams(prompt, found) is None


def test_words_of_other_languages() -> None:
    """Upper case, decomposed letters and combining marks do not divide words; Chinese characters are words."""
    assert words("CAFE\u0301_Stra\u00dfe") == words("caf\u00e9 STRASSE") == ["caf\u00e9", "strasse"]
    assert words("\u0939\u093f\u0928\u094d\u0926\u0940 \u92b3") == ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u92b3"]
    assert quoted("\u597d\u770b\u7684\u7535\u5f71", inputs_of(("\u5f88\u597d\u770b\u7684\u3002",))) == 3


def test_label_words_are_named_as_whole_words() -> None:
    labels = {"a": "Sci/Tech", "b": "Sport", "c": ":)"}
    assert label_words_named("sport, SPORT sports sci-tech :)", labels) == {"Sci/Tech": 1, "Sport": 2, ":)": 0}


def test_lines_about_copying() -> None:
    """Nothing to say about a prompt that copies nothing, and about records of other versions or metrics of users."""
    for silent in ({}, {"label_words": None}, {"label_words": {"great": 0}, "quoted_words": {"train": 0, "test": 9}}):
        assert copying_lines(silent) == []
    strange: dict[str, Any] = {"label_words": 3, "quoted_words": {"train": 5, "test": None}}
    assert copying_lines(strange) == ["quotes 5 words of train inputs"]


def task_of(train: list[str], test: list[str], **fields: Any) -> Task:
    seen, unseen = ([Example(text, "a" if n % 2 else "b") for n, text in enumerate(part)] for part in (train, test))
    return Task(name="t", template=Template("{input} {prompt}"), train=seen, dev=seen, test=unseen, **fields)


def test_the_record_compares_train_with_as_many_unseen_test_inputs(microworld: FrozenLM) -> None:
    """Test inputs that are also train inputs are not unseen; of the others there are at most as many as train inputs."""
    train = ["the film was good", "the hotel was bad"]
    test = [*train, "the food was good", "the film was bad", "one", "the book was good"]
    labels = {"a": "good", "b": "bad"}
    found = evaluate("the film was bad", task_of(train, test, label_words=labels), microworld)["copying"]
    assert found == {
        "longest_shared_words": {"train": 3, "test": 1},  # the unseen inputs are "the food was good" and "one"
        "shared_trigram_share": {"train": 0.5, "test": 0.0},
        "quoted_words": {"train": 3, "test": 0},
        "label_words": {"good": 0, "bad": 1},
    }


def test_a_task_about_words_cannot_be_quoted(microworld: FrozenLM) -> None:
    """One-word inputs, no unseen test inputs, and no label words: the measures without a meaning are null."""
    found = evaluate("give the plural cottage", task_of(["cottage", "wagon"], ["wagon"]), microworld)["copying"]
    assert found == {
        "longest_shared_words": {"train": 1, "test": None},
        "shared_trigram_share": {"train": None, "test": None},
        "quoted_words": {"train": None, "test": None},
        "label_words": None,
    }


def test_the_table_of_a_prompt_says_what_it_copies(microworld: FrozenLM) -> None:
    task = task_of(["the film was good"], ["the food was bad"], label_words={"a": "good", "b": "bad"})
    table = evaluation_table(evaluate("the film was bad", task, microworld))
    assert str(table.caption) == (
        "the text names the label word bad and quotes 3 words of train inputs (of as many test inputs: 0)"
    )
    rows = dict(zip(map(str, table.columns[0].cells), table.columns[2].cells, strict=True))
    assert rows["copying.quoted_words.train"] == "words" and rows["copying.label_words.bad"] == "occurrences"
