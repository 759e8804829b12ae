"""The page of one or several studies: one HTML file that needs neither a network nor a script.

Prompts, names and errors are untrusted text. The template escapes every value by default, characters that are not printable are
written as their code points, and a content security policy blocks everything else. Radio buttons choose the axes: every chart
is in the page, and style rules show the chosen one.
"""

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from hardprompt.escaping import printable
from hardprompt.metrics.copying import copying_lines
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import RunRecord
from hardprompt.report import chart
from hardprompt.report.chart import Chart, attainment_chart, curves_chart, outline, tradeoff_chart
from hardprompt.report.rerun_command import rerun_command
from hardprompt.report.studies import StudyRuns, comparisons_sheet, hypervolumes_sheet, means_sheet
from hardprompt.report.study_tables import best_runs, data_lines
from hardprompt.report.tables import TableData
from hardprompt.report.tradeoff import (
    COSTS,
    FRONT_SO_FAR,
    GAINS,
    Axis,
    available_axes,
    budget_curves,
    hypervolume_curves,
    mean_tradeoff,
    optimizer_marks,
    repeats,
    test_examples,
    tradeoff,
)

MAX_BYTES = 2_000_000
"""Maximum size of a page in bytes."""

BYTES_PER_RUN = 150
"""Minimum number of bytes of one run in a chart."""


@dataclass(frozen=True)
class Detail:
    """How much a page shows.

    Attributes:
        text_length: maximum number of characters of a text.
        spot_text_length: maximum number of characters of a prompt in a tooltip of a plot.
        spot_entries: maximum number of entries in a tooltip.
        axes: whether other axes can be chosen, in a plot over several studies and in the plot of one.
        runs: whether every run is in the plots and in a table.
    """

    text_length: int = 4000
    spot_text_length: int = 240
    spot_entries: int = 6
    axes: tuple[bool, bool] = (True, True)
    runs: bool = True


LEVELS = (
    Detail(),
    Detail(text_length=1000, spot_text_length=80, spot_entries=3, axes=(True, False)),
    Detail(text_length=300, spot_text_length=80, spot_entries=3, axes=(False, False)),
    Detail(text_length=100, spot_text_length=80, spot_entries=3, axes=(False, False), runs=False),
)
"""Levels from most to least detail; the page uses the first one with which it is small enough."""


@dataclass(frozen=True)
class View:
    """A chart that is visible if its axes are chosen; `which` has their numbers, and is empty if there is only one chart."""

    which: str
    chart: Chart


@dataclass(frozen=True)
class Section:
    """The part of the page on one task and model; `sheets` are the tables that are not shown in another form.

    `curves`, `growth` and `attained` are the charts of `budget_curves`, `hypervolume_curves` and attainment, if there are any.
    """

    shown: StudyRuns
    views: list[View]
    curves: Chart | None
    growth: Chart | None
    attained: Chart | None
    best: list[RunRecord]
    request: list[tuple[str, str]]
    warnings: list[str]
    repeats: str
    examples: str
    commands: list[list[str]]
    sheets: dict[str, TableData]

    @property
    def failed(self) -> int:
        return sum(p.status == "failed" for p in self.shown.points)


def report_page(shown: Sequence[StudyRuns]) -> str:
    """The page as HTML; the same studies give the same text, independent of their folders.

    Accuracies are fractions, log-perplexities nats per token, and times seconds. The page has as much detail as fits into
    `MAX_BYTES` bytes.

    Args:
        shown: the studies on the page.

    Raises:
        StudyError: the request in a `study.yaml` is not valid in this version.
    """
    placed = [p for each in shown for p in each.placed]
    runs, choices = len(placed), len(available_axes(placed, COSTS)) * len(available_axes(placed, GAINS))
    for detail in LEVELS:
        charts = choices if detail.axes[len(shown) > 1] else 1
        if detail.runs and runs * charts * BYTES_PER_RUN > MAX_BYTES:
            continue
        page = _page(shown, detail)
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _page(shown: Sequence[StudyRuns], detail: Detail) -> str:
    placed = [p for each in shown for p in each.placed]
    costs, gains = available_axes(placed, COSTS), available_axes(placed, GAINS)
    if not detail.axes[0]:
        costs, gains = costs[:1], gains[:1]
    marks = optimizer_marks([p for each in shown for p in each.points])
    several = len(shown) > 1
    own = (costs, gains) if detail.axes[several] else (costs[:1], gains[:1])
    sections = [_section(each, *own, marks, detail) for each in shown]
    tasks = [each.done for each in shown if each.done]
    curves, growth = _progress(tasks if several else [], marks)
    weights = sorted({weight for each in shown for weight in each.weights})
    views: list[View] = []
    if several and tasks:
        drawn = [(which, replace(mean_tradeoff(tasks, weights, *axes), marks=marks)) for which, *axes in _choices(costs, gains)]
        views = [View(which, tradeoff_chart(each, several=True)) for which, each in drawn if any(each.means.values())]
    over = (
        [sheet for sheet in (means_sheet(shown), comparisons_sheet(shown), hypervolumes_sheet(shown)) if sheet.rows]
        if several
        else []
    )
    return page_template("page.html").render(
        sections=sections,
        several=several,
        title=_title(shown),
        runs=sum(len(each.runs) for each in shown),
        failed=sum(section.failed for section in sections),
        views=views,
        curves_all=curves,
        growth_all=growth,
        over=over,
        costs=costs,
        gains=gains,
        frame=chart,
        colors=[(color, _in_the_dark(color)) for color, _ in marks.values()],
        marks={name: (number, outline(marker)) for number, (name, (_, marker)) in enumerate(marks.items())},
        star=outline("*"),
        diamond=outline("D"),
        copying_lines=copying_lines,
        detail=detail,
        less=detail != LEVELS[0],
    )


def _title(shown: Sequence[StudyRuns]) -> tuple[str, str]:
    """The task or the number of tasks, and the model or the number of models."""
    tasks, lms = (list(dict.fromkeys(getattr(each, name) for each in shown)) for name in ("task", "lm"))
    return (tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"), (lms[0] if len(lms) == 1 else f"{len(lms)} models")


def _choices(costs: Sequence[Axis], gains: Sequence[Axis]) -> Iterator[tuple[str, Axis, Axis]]:
    """Every pair of a cost and a gain, with their numbers if there are several pairs."""
    for (i, cost), (j, gain) in product(enumerate(costs), enumerate(gains)):
        yield f"v{i}{j}" if len(costs) * len(gains) > 1 else "", cost, gain


def _section(
    shown: StudyRuns, costs: Sequence[Axis], gains: Sequence[Axis], marks: dict[str, tuple[str, str]], detail: Detail
) -> Section:
    views = []
    if shown.placed:
        for which, cost, gain in _choices(costs, gains):
            drawn = replace(tradeoff(shown.done, shown.found, shown.weights, cost, gain), marks=marks)
            views.append(View(which, tradeoff_chart(drawn, runs=detail.runs)))
    apart = {"best-prompts", "tokens", *(() if detail.runs else ("runs",))}
    return Section(
        shown,
        views,
        *_progress([shown.done] if shown.placed else [], marks),
        attainment_chart(shown.found, marks) if shown.placed else None,
        best_runs(shown.compared),
        _request(shown.requests, shown.done),
        data_lines(shown.points),
        repeats(shown.points),
        test_examples(shown.points),
        [rerun_command(request, study.get("threads")) for request, study in zip(shown.requests, shown.studies, strict=True)],
        {name: sheet for name, sheet in shown.sheets.items() if sheet.rows and name not in apart},
    )


def _progress(tasks: Sequence[Sequence[RunRecord]], marks: dict[str, tuple[str, str]]) -> tuple[Chart | None, Chart | None]:
    """The charts of accuracy and of hypervolume on dev against LM tokens."""
    curves, growth = budget_curves(tasks), hypervolume_curves(tasks)
    return (
        curves_chart(curves, marks) if curves else None,
        curves_chart(growth, marks, FRONT_SO_FAR) if growth else None,
    )


def _request(requests: Sequence[StudyRequest], done: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The fields of the requests as text; a field that differs between studies has all of its values."""
    objective = ("objective", " | ".join(dict.fromkeys(p.objective for p in done)))
    every = [*(field for request in requests for field in _fields(request)), *([objective] if done else [])]
    names = dict.fromkeys(name for name, _ in every)
    return [(name, "; ".join(dict.fromkeys(value for other, value in every if other == name))) for name in names]


def _fields(request: StudyRequest) -> list[tuple[str, str]]:
    """The fields of a request that are not empty."""
    options = [f"{name}.{key}={value}" for name, own in request.options.items() for key, value in own.items()]
    label_words = [f"{label}={word}" for label, word in request.label_words.items()]
    budget = "no limit" if request.lm_tokens is None else f"{request.lm_tokens:,} LM tokens per run, forward and backward"
    fields = [
        ("task", request.task),
        ("model", ", ".join(request.lms)),
        ("over the models", request.over if request.other_lms else None),
        ("readers", ", ".join(request.readers)),
        ("start", request.start),
        ("optimizers", ", ".join(request.optimizers)),
        ("fluency weights", ", ".join(f"{weight:g}" for weight in request.weights)),
        ("data splits", ", ".join(request.splits)),
        ("seeds", ", ".join(map(str, request.seeds))),
        ("budget", budget),
        ("prompt length", f"{'at most ' if request.length_weight else ''}{request.prompt_length} tokens"),
        ("length weight", f"{request.length_weight:g} nats per token" if request.length_weight else None),
        ("vocabulary", request.vocabulary),
        ("options", ", ".join(options)),
        ("metrics", ", ".join(request.metrics)),
        ("test examples", None if request.limit is None else f"at most {request.limit:,}, drawn by label"),
        ("unusable rows", "left out" if request.skip_unusable else None),
        ("chat", f"prompt in the {request.prompt_turn or 'user'}'s turn" if request.chat or request.prompt_turn else None),
        ("template", request.template),
        ("label words", ", ".join(label_words)),
        ("match", request.match if request.match != StudyRequest().match else None),
        ("reference prompts", " | ".join(request.reference_prompts)),
        ("given prompts", request.prompts),
        ("device", request.device),
        ("precision", request.dtype),
        ("memory", request.memory),
    ]
    return [(name, value) for name, value in fields if value]


def _in_the_dark(color: str) -> str:
    """The same hue, light enough for a dark background."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lit = colorsys.hls_to_rgb(hue, max(1 - lightness, 0.62), saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in lit)


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value  # numbers, and text that a macro has escaped


@cache
def page_template(name: str) -> Template:
    """A template of this folder, which escapes its values and makes them printable."""
    environment = Environment(
        loader=FunctionLoader(lambda part: files("hardprompt.report").joinpath(part).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
