"""Does a prompt copy from its task? Words that it shares with the train inputs, and label words that it names.

A prompt that quotes a train input or names a label reads well, and says something about the data rather than about the task.

The words of a text are its runs of letters, combining marks and digits, without regard to upper and lower case (`caseless`).
Everything else, such as punctuation and "_", separates words: "isn't" is two words. Each character of a script without blanks,
such as Chinese, is a word. Two texts share n words if the same n words stand next to each other in both; punctuation between
them does not count.

**Quotes.** A prompt quotes an input where it shares at least three words with it, or where all words of an input of two words
stand in it. A single word is never a quote, also if it is a whole input, as in tasks about words.

**Chance.** The language of a domain makes texts share words. So each measure has two values: `train`, over the train inputs,
and `test`, over as many test inputs, evenly spread, which no optimizer has seen. Test inputs that are also train inputs are
left out; if the rest are fewer than the train inputs, `test` is too low in comparison. It is None if there are none.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hardprompt.data.languages import caseless, has_no_blanks
from hardprompt.data.task import Task
from hardprompt.lm.frozen import FrozenLM
from hardprompt.metrics.base import Controls, Metric, Number, metric
from hardprompt.metrics.scored_prompt import ScoredPrompt

QUOTE = 3
"""Number of words in a row that are a quote."""


class _Separated(dict[int, str]):
    """By code point what a character of a text becomes, so that a blank is between two words and nowhere else."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        kept = sign.isalnum() or unicodedata.category(sign).startswith("M")
        self[code] = f" {sign} " if has_no_blanks(sign) else sign if kept else " "
        return self[code]


_SEPARATED = _Separated()


def words(text: str) -> list[str]:
    """The words of a text, as the module defines them.

    >>> words("A gorgeous, WITTY film: it isn't long.")
    ['a', 'gorgeous', 'witty', 'film', 'it', 'isn', 't', 'long']
    """
    return caseless(text).translate(_SEPARATED).split()


@dataclass(frozen=True)
class Inputs:
    """The words of inputs: one input per line, with a blank before and after every word; `longest` is their number at most."""

    lines: str
    longest: int

    def has(self, shared: Sequence[str], whole: bool = False) -> bool:
        """Whether these words stand next to each other in an input, or are the whole of it."""
        line = f" {' '.join(shared)} "
        return (f"\n{line}\n" if whole else line) in self.lines


@lru_cache(maxsize=8)
def inputs_of(texts: tuple[str, ...]) -> Inputs:
    """The words of several texts."""
    split = [words(text) for text in texts]
    return Inputs("".join(f"\n {' '.join(each)} \n" for each in split), max(map(len, split), default=0))


def longest_shared(text: str, inputs: Inputs) -> int:
    """Number of words of the longest n-gram of words that a text shares with an input: a word n-gram of both.

    >>> longest_shared("Is it a witty film?", inputs_of(("A gorgeous, witty film", "It is a witty mess")))
    2
    """
    of_text, longest = words(text), 0
    for start in range(len(of_text)):
        while start + longest < len(of_text) and inputs.has(of_text[start : start + longest + 1]):
            longest += 1
    return longest


def shared_trigrams(text: str, inputs: Inputs) -> float | None:
    """Share of the word trigrams of a text that stand in an input; repeated ones count repeatedly.

    It is None if the text, or every input, has fewer than three words.

    >>> shared_trigrams("a gorgeous witty film", inputs_of(("A gorgeous, witty mess",)))
    0.5
    """
    found = _shared(words(text), inputs, QUOTE)
    return sum(found) / len(found) if found and inputs.longest >= QUOTE else None


def quoted(text: str, inputs: Inputs) -> int | None:
    """Number of words of a text that are in a quote: in a trigram of an input, or in a bigram that is a whole input.

    It is None if every input has fewer than two words, so that nothing can be quoted.

    >>> reviews = inputs_of(("A gorgeous, witty mess", "Good film!"))
    >>> quoted("a gorgeous witty film", reviews), quoted("a good film", reviews)
    (3, 2)
    """
    if inputs.longest < QUOTE - 1:
        return None
    of_text = words(text)
    marked: set[int] = set()
    for size, whole in ((QUOTE, False), (QUOTE - 1, True)):
        for start, found in enumerate(_shared(of_text, inputs, size, whole)):
            marked.update(range(start, start + size) if found else ())
    return len(marked)


def label_words_named(text: str, label_words: Mapping[str, str]) -> dict[str, Number]:
    """By label word, how often it stands in a text; all words of one of several words must stand there in a row.

    >>> label_words_named("Great or greatest?", {"positive": " great", "negative": "terrible"})
    {'great': 1, 'terrible': 0}
    """
    line = f" {'  '.join(words(text))} "
    return {each.strip(): line.count(f" {'  '.join(words(each))} ") if words(each) else 0 for each in label_words.values()}


def copying_lines(copying: Mapping[str, Any]) -> list[str]:
    """What a reader should know about a prompt that names a label word or quotes a train input: at most two lines.

    Args:
        copying: the object of this name in a record; keys may be missing.

    >>> copying_lines({"label_words": {"great": 1, "bad": 0}, "quoted_words": {"train": 4, "test": 0}})
    ['names the label word great', 'quotes 4 words of train inputs (of as many test inputs: 0)']
    """
    named, quotes = (found if isinstance(found := copying.get(key), dict) else {} for key in ("label_words", "quoted_words"))
    lines = []
    if names := [word for word, count in named.items() if count]:
        lines.append(f"names the label word{'s' * (len(names) > 1)} {', '.join(names)}")
    if count := quotes.get("train"):
        chance = quotes.get("test")
        beside = "" if chance is None else f" (of as many test inputs: {chance})"
        lines.append(f"quotes {count} words of train inputs{beside}")
    return lines


def _shared(of_text: Sequence[str], inputs: Inputs, size: int, whole: bool = False) -> list[bool]:
    """For each n-gram of a text whether it stands in an input, or is the whole of one."""
    return [inputs.has(of_text[start : start + size], whole) for start in range(len(of_text) - size + 1)]


def _seen_and_not(scored: ScoredPrompt, measure: Callable[[str, Inputs], Number]) -> dict[str, Number]:
    """A measure over the train inputs, and over as many test inputs that are not among them."""
    train = tuple(dict.fromkeys(example.input for example in scored.task.train))
    known = set(train)
    unseen = [text for text in dict.fromkeys(example.input for example in scored.test.examples) if text not in known]
    count = min(len(train), len(unseen))
    spread = tuple(unseen[n * len(unseen) // count] for n in range(count))
    text = scored.hard.text
    return {"train": measure(text, inputs_of(train)), "test": measure(text, inputs_of(spread)) if spread else None}


def _input_and_reversed(lm: FrozenLM, task: Task) -> tuple[str, str]:
    """A train input, and its words in reverse order without the last, which shares fewer words."""
    text = task.train[0].input
    return text, " ".join(reversed(text.split()[:-1]))


def _label_and_none(lm: FrozenLM, task: Task) -> tuple[str, str]:
    return next(iter(task.label_words.values()), ""), ""


def _copying(name: str, unit: str, controls: Controls) -> Callable[[Callable[[ScoredPrompt], Any]], Metric]:
    return metric(name, unit=unit, better="none", prompts="any", controls=controls, group="copying")


@_copying("longest_shared_words", "words", _input_and_reversed)
def longest_shared_words(scored: ScoredPrompt) -> dict[str, Number]:
    """Number of words of the longest word n-gram that the text shares with an input: `train` inputs, or as many of `test`."""
    return _seen_and_not(scored, longest_shared)


@_copying("shared_trigram_share", "fraction", _input_and_reversed)
def shared_trigram_share(scored: ScoredPrompt) -> dict[str, Number]:
    """Share of the word trigrams of the text that stand in an input: `train` inputs, or as many of `test`."""
    return _seen_and_not(scored, shared_trigrams)


@_copying("quoted_words", "words", _input_and_reversed)
def quoted_words(scored: ScoredPrompt) -> dict[str, Number]:
    """Number of words of the text in a quote: at least three words of an input, or a whole input of two; `train` and `test`."""
    return _seen_and_not(scored, quoted)


@_copying("label_words", "occurrences", _label_and_none)
def label_words(scored: ScoredPrompt) -> dict[str, Number] | None:
    """By label word, how often the text names it; null for a task without label words."""
    return label_words_named(scored.hard.text, scored.task.label_words) if scored.task.label_words else None


COPYING = (longest_shared_words, shared_trigram_share, quoted_words, label_words)
