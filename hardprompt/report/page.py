"""The page of a study: one HTML file that needs nothing else, neither a network nor a script.

Prompts, names and errors are hostile text. The template escapes every value by default, signs that cannot be printed are
written as their number, and a content security policy forbids whatever would still get through.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from hardprompt.report import chart
from hardprompt.report.plot import optimizer_marks, repeats
from hardprompt.report.repeat import repetition
from hardprompt.report.table import FIGURES, TEXT, results_rows
from hardprompt.report.text import printable
from hardprompt.study.request import StudyRequest
from hardprompt.study.store import recorded_request

Point = dict[str, Any]

LINES_OF_A_SPOT = 6
"""A place in the plot lists at most this many of the marks that lie there."""
SIGNS_OF_A_SPOT = 240
"""And at most this many signs of a prompt."""

GAPS = (
    ("distance_cosine", "distance, 1 - cosine"),
    ("output_gap", "output gap, squared logits"),
    ("loss_gap", "loss gap, nats per example"),
    ("accuracy_gap", "accuracy gap"),
    ("agreement", "agreement"),
    ("kl", "KL, nats"),
    ("label_kl", "KL of labels, nats"),
    ("behavioural_distance", "behavioural distance, nats"),
)
"""Of the faithfulness of a soft prompt: what the page shows, and how it is headed."""


def study_page(study: dict[str, Any], points: Sequence[Point], found: dict[str, Any]) -> str:
    """The page as HTML; the same study gives the same text, wherever its folder lies.

    Accuracies are fractions, log-perplexities nats per token, times seconds.

    Args:
        study: what `study.yaml` says.
        points: the recorded runs, failed ones too.
        found: what `frontier` says of the finished ones.

    Raises:
        StudyError: the request in `study.yaml` is none that this version could have written.
    """
    request = recorded_request(study)
    done = [p for p in points if p["status"] == "ok"]
    marks = optimizer_marks(done)
    rows = results_rows(points)
    return page_template("page.html").render(
        task=points[0]["task"],
        lm=points[0]["lm"],
        asked=_asked(request, done),
        points=points,
        repeats=repeats(points),
        failed=[p for p in points if p["status"] != "ok"],
        chart=chart.tradeoff_chart(done, found) if any(p["log_perplexity"] is not None for p in done) else None,
        frame=chart,
        colors=[(color, _in_the_dark(color)) for color, _ in marks.values()],
        marks={name: (number, chart.SHAPES[marker]) for number, (name, (_, marker)) in enumerate(marks.items())},
        star=chart.SHAPES["*"],
        diamond=chart.SHAPES["D"],
        headings=("optimizer", *FIGURES, TEXT),
        results=[(name, list(own)) for name, own in groupby(rows, key=lambda row: row.optimizer)],
        best=[row.best for row in rows if row.best and row.best["log_perplexity"] is not None],
        soft=[p for p in done if "reason" not in p["faithfulness"]],
        gaps=GAPS,
        reference=found["reference"]["log_perplexity"],
        covered=found["optimizers"],
        known=found["known"],
        differences=found["differences"],
        costs=_costs(done),
        repeat=repetition(request),
        versions=study.get("versions", {}),
        data=study.get("data", {}),
        lines_of_a_spot=LINES_OF_A_SPOT,
        signs_of_a_spot=SIGNS_OF_A_SPOT,
    )


@dataclass(frozen=True)
class Cost:
    """What the runs of an optimizer cost together: logical LM tokens, and seconds."""

    optimizer: str
    runs: int
    prompts: int
    forward: int
    backward: int
    seconds: float


def _costs(done: Sequence[Point]) -> list[Cost]:
    """A row per optimizer, and one for all."""
    groups = [(name, [p for p in done if p["optimizer"] == name]) for name in dict.fromkeys(p["optimizer"] for p in done)]
    return [
        Cost(
            name,
            len(own),
            sum(p["prompts_visited"] for p in own),
            sum(p["lm_tokens_forward"] for p in own),
            sum(p["lm_tokens_backward"] for p in own),
            sum(p["seconds"] for p in own),
        )
        for name, own in [*groups, ("all", list(done))]
    ]


def _asked(request: StudyRequest, done: Sequence[Point]) -> list[tuple[str, str]]:
    """What was asked for, in words; what was left empty is left out."""
    options = [f"{name}.{key}={value}" for name, own in request.options.items() for key, value in own.items()]
    label_words = [f"{label}={word}" for label, word in request.label_words.items()]
    budget = "no limit" if request.lm_tokens is None else f"{request.lm_tokens:,} LM tokens a run, forward and backward"
    said = [
        ("task", request.task),
        ("model", request.lm),
        ("readers", ", ".join(request.readers)),
        ("optimizers", ", ".join(request.optimizers)),
        ("fluency weights", ", ".join(f"{weight:g}" for weight in request.weights)),
        ("data splits", ", ".join(request.splits)),
        ("seeds", ", ".join(map(str, request.seeds))),
        ("budget", budget),
        ("prompt length", f"{request.prompt_length} tokens"),
        ("vocabulary", request.vocabulary),
        ("options", ", ".join(options)),
        ("template", request.template),
        ("label words", ", ".join(label_words)),
        ("match", request.match if request.match != StudyRequest().match else None),
        ("reference prompts", " | ".join(request.reference_prompts)),
        ("device", request.device),
        ("precision", request.dtype),
        ("memory", request.memory),
        ("objective", " | ".join(dict.fromkeys(p["objective"] for p in done))),
    ]
    return [(name, value) for name, value in said if value]


def _in_the_dark(color: str) -> str:
    """The same hue, light enough for a dark ground."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lit = colorsys.hls_to_rgb(hue, max(1 - lightness, 0.62), saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in lit)


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value  # numbers, and what a macro has made safe already


@cache
def page_template(name: str) -> Template:
    """A page of this folder, whose values are escaped and printable."""
    environment = Environment(
        autoescape=True, finalize=_printable, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(files("hardprompt.report").joinpath(name).read_text(encoding="utf-8"))
