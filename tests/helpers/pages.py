"""Hostile texts, a study that contains one in every field, and a parser for pages."""

from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hardprompt.records.schema import RunRecord, run_records

Point = dict[str, Any]

QUICK = Path(__file__).parents[1] / "data" / "quick"
"""A recorded study with several optimizers, weights and seeds, without fronts (`tests/study/test_fronts.py` has some)."""

VOID = {"meta", "link", "img", "br", "input", "base"}

HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "handler": "<img src=x onerror=\"alert('x')\">",
    "end of everything": "</bdi></td></table></style></title></svg></main></body>--><!-- ]]>",
    "quotes": "' \" ` &quot; &lt; {{ 7 * 7 }} {% raw %} javascript:alert(1)",
    "controls": "nul \x00 escape \x1b[31m bell \x07 line\nreturn\r next \x85 separator \u2028",
    "directions": "left \u202e thgir \u2066 isolate \u200f mark",
    "lone surrogate": "\ud800 alone",
    "long": "word " * 5000,
    "other scripts": "猫 שלום \U0001f600",
}


class Reader(HTMLParser):
    """A parser that keeps the elements with their attributes, and each piece of text with the elements around it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def count(self, tag: str) -> int:
        """The number of elements of this kind."""
        return sum(name == tag for name, _ in self.elements)

    def within(self, *tags: str) -> list[str]:
        """The pieces of text inside all of these elements."""
        return [text for around, text in self.texts if set(tags) <= set(around)]


def finished_runs(points: Iterable[Point]) -> list[RunRecord]:
    """The records of the finished runs among these points."""
    return [run for run in run_records(points) if isinstance(run, RunRecord)]


def failure(point: Point, error: str) -> Point:
    """The record of a failed run with the settings of this point."""
    return {key: point[key] for key in ("optimizer", "task", "lm", "split", "seed", "weight")} | {
        "status": "failed",
        "error": error,
    }


def planted(study: dict[str, Any], points: list[Point], text: str) -> tuple[dict[str, Any], list[Point]]:
    """The study with this text in every field that can hold text from a user: names, prompts, options, versions and errors."""
    names = {name: f"{text} {name}" for name in ("soft", "pez")}
    request = study["request"] | {
        "task": text,
        "lm": text,
        "readers": [text],
        "vocabulary": text,
        "optimizers": ["empty", "manual", "random", *names.values(), "rl"],
        "splits": [text],
        "options": {text: {text: text, "list": [text]}},
        "template": text,
        "label_words": {text: text},
        "match": text,
        "reference_prompts": [text],
        "device": text,
    }
    known = [study["known_front"][0] | {"prompt": text}]
    of_text: Point = {"task": text, "lm": text, "split": text, "prompt_text": text, "objective": text}
    of_text["readers"] = {text: dict.fromkeys(("log_perplexity", "nats_per_character", "max_surprisal"), 4.0) | {"tokens": 3}}
    of_text["copying"] = {"label_words": {text: 1}, "quoted_words": {"train": 3, "test": None}}
    points = [p | of_text | {"optimizer": names.get(p["optimizer"], p["optimizer"])} for p in points]
    asked = {"request": request, "known_front": known, "versions": {text: text}, "data": {text: text}}
    return study | asked, [*points[:-1], failure(points[-1], text)]
