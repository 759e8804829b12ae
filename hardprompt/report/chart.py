"""Where everything of the trade-off plot stands on the page: numbers only, in SVG user units, from the top left corner.

It shows what `hardprompt.report.plot` draws, with the same means, stairs and marks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hardprompt.report.plot import Mean, empty_accuracy, front_stairs, optimizer_marks, weight_means

Point = dict[str, Any]

WIDTH, HEIGHT = 880, 470
LEFT, RIGHT, TOP, BOTTOM = 46, 866, 14, 424
"""The frame of the axes."""
LOWEST, HIGHEST = -0.04, 1.04
"""Test accuracy at the bottom and at the top of the frame."""

SHAPES = {
    "o": "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
    "s": "M-.9-.9H.9V.9H-.9z",
    "D": "M0-1.25 1.25 0 0 1.25-1.25 0z",
    "X": "M-1-.55-.55-1 0-.45.55-1 1-.55.45 0 1 .55.55 1 0 .45-.55 1-1 .55-.45 0z",
    "P": "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4z",
    "*": "M0-1.5.37-.51 1.43-.46.6.2.88 1.21 0 .63-.88 1.21-.6.2-1.43-.46-.37-.51z",
    "^": "M0-1.2 1.1.8H-1.1z",
    "v": "M0 1.2 1.1-.8H-1.1z",
    "<": "M-1.2 0 .8-1.1V1.1z",
    ">": "M1.2 0-.8-1.1V1.1z",
}
"""The outline of each of matplotlib's markers that the plot uses, about 1 in radius."""

NEAR = 7
"""Marks closer than this many units share one place to hover."""

Label = tuple[float, float, str, str]
"""x and y of the baseline, SVG's text-anchor, text."""


@dataclass(frozen=True)
class Entry:
    """What a mark says when pointed at: a heading, the prompt (None for a mean) and its figures."""

    heading: str
    prompt: str | None
    figures: str


@dataclass
class Spot:
    """A place to hover, and what the marks there say."""

    x: float
    y: float
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """A mean over runs: its place, its 95 % intervals, the height of what was optimized, and what to write beside."""

    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    trained: float | None
    label: Label | None
    trained_label: Label | None


@dataclass(frozen=True)
class Series:
    """What is drawn of one optimizer: a mark per weight, joined, and a small one per run."""

    name: str
    number: int
    shape: str
    marks: list[Mark]
    runs: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn."""

    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    series: list[Series]
    stairs: list[tuple[float, float]]
    known: list[tuple[float, float]]
    empty: tuple[float, str] | None
    spots: list[Spot]


def tradeoff_chart(points: Sequence[Point], found: dict[str, Any]) -> Chart:
    """The plot of finished runs.

    Args:
        points: finished runs, as `points.jsonl` holds them.
        found: what `frontier` says of them.
    """
    marks = optimizer_marks(points)
    means = {name: weight_means(points, name) for name in marks}
    stairs, known = front_stairs(found), (found["known"] or {"front": []})["front"]
    costs = [run["log_perplexity"] for own in means.values() for mean in own for run in mean.runs]
    costs += [x for x, _ in stairs] + [p["log_perplexity"] for p in known]
    least, most = (min(costs), max(costs)) if costs else (0.0, 1.0)
    margin = 0.05 * (most - least or 1.0)
    least, most = least - margin, most + margin

    def x(cost: float) -> float:
        return round(LEFT + (most - cost) / (most - least) * (RIGHT - LEFT), 1)

    def y(accuracy: float) -> float:
        return round(BOTTOM - (accuracy - LOWEST) / (HIGHEST - LOWEST) * (BOTTOM - TOP), 1)

    def place(run: Point) -> tuple[float, float]:
        return x(run["log_perplexity"]), y(run["deployed_test_accuracy"])

    steps = [(x(cost), y(accuracy)) for cost, accuracy in stairs]
    stars = [(x(p["log_perplexity"]), y(p["test_accuracy"])) for p in known]
    empty = empty_accuracy(points)
    every = [mean for own in means.values() for mean in own]
    taken = [(x(mean.log_perplexity["mean"]), y(mean.accuracy["mean"])) for mean in every]
    taken += [(x(mean.log_perplexity["mean"]), y(mean.as_trained)) for mean in every if mean.as_trained is not None]
    writing = _Labels([*stars, *taken], [place(run) for mean in every for run in mean.runs])
    series = []
    for number, (name, (_, marker)) in enumerate(marks.items()):
        drawn = []
        for mean in means[name]:
            cost, accuracy = mean.log_perplexity, mean.accuracy
            centre = x(cost["mean"]), y(accuracy["mean"])
            trained = None if mean.as_trained is None else y(mean.as_trained)
            label = writing.place(centre, f"{name} w={mean.weight:g}" if len(means[name]) > 1 else name)
            across, along = (x(cost["high"]), x(cost["low"])), (y(accuracy["high"]), y(accuracy["low"]))
            beside = None if trained is None else writing.place((centre[0], trained), f"{name} as trained")
            drawn.append(Mark(*centre, across, along, trained, label, beside))
        runs = [place(run) for mean in means[name] for run in mean.runs]
        series.append(Series(name, number, SHAPES[marker], drawn, runs))

    spots: list[Spot] = []
    for name, own in means.items():
        for mean in own:
            if len(mean.runs) > 1:
                _say(spots, x(mean.log_perplexity["mean"]), y(mean.accuracy["mean"]), _of_mean(name, mean))
            if mean.as_trained is not None:
                heading = f"{name}, w={mean.weight:g}, as trained: mean of {len(mean.runs)} runs"
                gap = Entry(heading, None, f"as optimized {mean.as_trained:.3f} · as text {mean.accuracy['mean']:.3f}")
                _say(spots, x(mean.log_perplexity["mean"]), y(mean.as_trained), gap)
            for run in mean.runs:
                _say(spots, *place(run), _of_run(run))
    for star, p in zip(stars, known, strict=True):
        figures = f"test accuracy {p['test_accuracy']:.3f} · {p['log_perplexity']:.2f} nats/token"
        _say(spots, *star, Entry("known front", p.get("prompt"), figures))
    return Chart(
        x_ticks=[(x(value), f"{value:g}") for value in _ticks(least, most)],
        y_ticks=[(y(value / 5), f"{value / 5:.1f}") for value in range(6)],
        series=series,
        stairs=steps,
        known=stars,
        empty=None if empty is None else (y(empty), f"{empty:.2f}"),
        spots=spots,
    )


class _Labels:
    """Writing beside large marks that covers none of them nor other writing, and small marks only where it must.

    What finds no room is left out.
    """

    def __init__(self, marks: Iterable[tuple[float, float]], small: Iterable[tuple[float, float]]) -> None:
        self._taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in marks]
        self._small = [(x - 4, y - 4, x + 4, y + 4) for x, y in small]

    def place(self, at: tuple[float, float], text: str) -> Label | None:
        """Where a text goes beside a mark; None where there is no room."""
        x, y = at
        text = text if len(text) <= 24 else text[:23] + "…"
        width = 6.4 * len(text)
        sides = {"start": x + 9, "end": x - 9 - width, "middle": x - width / 2}
        for avoided in ([*self._taken, *self._small], self._taken):
            for down, (anchor, left) in product((-9, 19, 4, -23, 33, -37, 47), sides.items()):
                box = (left, y + down - 10, left + width, y + down + 3)
                inside = box[0] >= LEFT and box[2] <= RIGHT and box[1] >= 0 and box[3] <= BOTTOM
                if inside and not any(_overlap(box, other) for other in avoided):
                    self._taken.append(box)
                    start = {"start": left, "end": left + width, "middle": x}[anchor]
                    return round(start, 1), round(y + down, 1), anchor, text
        return None


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _say(spots: list[Spot], x: float, y: float, entry: Entry) -> None:
    for spot in spots:
        if math.hypot(spot.x - x, spot.y - y) < NEAR:
            spot.entries.append(entry)
            return
    spots.append(Spot(x, y, [entry]))


def _of_run(run: Point) -> Entry:
    split = "" if run["split"] == "default" else f", split {run['split']}"
    figures = (
        f"as text {run['deployed_test_accuracy']:.3f} · as optimized {run['test_accuracy']:.3f} · "
        f"{run['log_perplexity']:.2f} nats/token"
    )
    return Entry(f"{run['optimizer']}, w={run['weight']:g}{split}, seed {run['seed']}", run["prompt_text"], figures)


def _of_mean(name: str, mean: Mean) -> Entry:
    accuracy, cost = mean.accuracy, mean.log_perplexity
    figures = (
        f"as text {accuracy['mean']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}) · "
        f"{cost['mean']:.2f} nats/token ({cost['low']:.2f} to {cost['high']:.2f})"
    )
    return Entry(f"{name}, w={mean.weight:g}: mean of {len(mean.runs)} runs", None, figures)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, five to thirteen of them."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 5)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
