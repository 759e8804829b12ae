"""The layout of a plot on the page: coordinates in SVG user units from the top left corner.

The plot has the means, stairs, bands and marks that `hardprompt.report.plot` draws.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

import numpy as np

from hardprompt.records.schema import RunRecord
from hardprompt.report.tradeoff import BEST_SO_FAR, COSTS, GAINS, Axis, Curve, Mean, Tradeoff
from hardprompt.stats.pareto import ATTAINMENT_LEVELS

WIDTH, HEIGHT = 880, 494
LEFT, RIGHT, TOP, BOTTOM = 46, 866, 30, 440
"""The frame of the axes."""
MARGIN = 0.04
"""Margin on both sides of the values, as a share of the range of an axis."""

CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "D": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "d": ((0, -1.3), (0.75, 0), (0, 1.3), (-0.75, 0)),
    "X": ((-1, -0.55), (-0.55, -1), (0, -0.45), (0.55, -1), (1, -0.55), (0.45, 0),
          (1, 0.55), (0.55, 1), (0, 0.45), (-0.55, 1), (-1, 0.55), (-0.45, 0)),
    "P": ((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4),
          (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
    "*": ((0, -1.5), (0.37, -0.51), (1.43, -0.46), (0.6, 0.2), (0.88, 1.21),
          (0, 0.63), (-0.88, 1.21), (-0.6, 0.2), (-1.43, -0.46), (-0.37, -0.51)),
    "^": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "v": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "<": ((-1.2, 0), (0.8, -1.1), (0.8, 1.1)),
    ">": ((1.2, 0), (-0.8, -1.1), (-0.8, 1.1)),
}  # fmt: skip
"""Corners of the markers of matplotlib that the plot uses, without the circle; the radius is about 1."""


def outline(marker: str, x: float = 0, y: float = 0, size: float = 1) -> str:
    """A marker with its center at x and y as an SVG path.

    >>> outline("^", 10, 20, 5), outline("o")
    ('M10 14l5.5 10h-11z', 'M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z')
    """
    if marker == "o":
        return (
            f"M{_brief(x - size)} {_brief(y)}"
            + "".join(f"a{_brief(size)} {_brief(size)} 0 1 0{' ' * (way > 0)}{_brief(way * size)} 0" for way in (2, -2))
            + "z"
        )
    at = [(round(x + size * dx, 2), round(y + size * dy, 2)) for dx, dy in CORNERS[marker]]
    path = f"M{_brief(at[0][0])} {_brief(at[0][1])}"
    for (x0, y0), (x1, y1) in pairwise(at):
        right, down = _brief(x1 - x0), _brief(y1 - y0)
        path += f"h{right}" if down == "0" else f"v{down}" if right == "0" else f"l{right}{' ' * (down[0] != '-')}{down}"
    return path + "z"


def _brief(value: float) -> str:
    return f"{round(value, 2):g}"


SMALL = 3
"""Radius of the mark of a single run."""

NEAR = 7
"""Marks closer than this many units share a tooltip."""

Label = tuple[float, float, str, str]
"""The x and y coordinates of the baseline, the SVG text-anchor, and the text."""


@dataclass(frozen=True)
class Entry:
    """An entry of a tooltip: a heading, the prompt (None for a mean) and its values."""

    heading: str
    prompt: str | None
    figures: str


@dataclass
class Spot:
    """A place with a tooltip, and the entries of the marks there."""

    x: float
    y: float
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """A mean over runs: its place, its 95 % intervals, the y coordinate of the prompt as optimized, and the labels."""

    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    trained: float | None
    label: Label | None
    trained_label: Label | None


@dataclass(frozen=True)
class Series:
    """One optimizer: a mark per weight, and SVG paths of the small marks of its runs, a line and a band."""

    name: str
    number: int
    shape: str
    marks: list[Mark]
    runs: str = ""
    line: str = ""
    band: str = ""


@dataclass(frozen=True)
class Chart:
    """A plot; `joined` is true if the marks are means over runs, with intervals and lines between them."""

    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_label: str
    y_label: str
    better: str
    series: list[Series]
    stairs: list[tuple[float, float]]
    known: list[tuple[float, float]]
    empty: tuple[float, str] | None
    spots: list[Spot]
    joined: bool = True


class _Scale:
    """Maps values of an axis to places between two ends; with `reverse`, the lowest value is at the far end."""

    def __init__(self, values: Iterable[float], ends: tuple[float, float], log: bool = False, reverse: bool = False) -> None:
        self._log, self._ends = log, ends
        of = [self._own(value) for value in values] or [0.0, 1.0]
        least = 0.6 if log else 0.0  # so that the range contains a round number
        margin = max(MARGIN * (max(of) - min(of) or 1.0), (least - max(of) + min(of)) / 2)
        self._low, self._high = min(of) - margin, max(of) + margin
        self._from, self._to = (self._high, self._low) if reverse else (self._low, self._high)

    def __call__(self, value: float) -> float:
        share = (self._own(value) - self._from) / (self._to - self._from)
        return round(self._ends[0] + share * (self._ends[1] - self._ends[0]), 1)

    def _own(self, value: float) -> float:
        return math.log10(max(value, 1.0)) if self._log else value

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of round values."""
        if not self._log:
            return [(self(value), f"{value:g}") for value in _ticks(self._low, self._high)]
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        wide = self._high - self._low > 2
        values = [factor * 10**power for power in powers for factor in ((1,) if wide else (1, 2, 5))]
        return [(self(value), _short(value)) for value in values if self._low <= math.log10(value) <= self._high]


def tradeoff_chart(shown: Tradeoff, several: bool = False, runs: bool = True) -> Chart:
    """The chart of a trade-off.

    Args:
        shown: the trade-off.
        several: whether the runs are from several tasks; the tooltip of a run then names its task.
        runs: whether single runs are drawn; otherwise only the means are.
    """
    cost, gain = shown.cost, shown.gain
    every = [mean for own in shown.means.values() for mean in own]
    single = [run for mean in every for run in mean.runs] + [run for own in shown.members.values() for run in own]
    costs = [cost.of(run) for run in single] + [each for each, _ in shown.stairs] + [p["log_perplexity"] for p in shown.known]
    x = _Scale([*costs, *(mean.cost[end] for mean in every for end in ("low", "high"))], (LEFT, RIGHT), cost.log, reverse=True)
    gains = [gain.of(run) for run in single] + [mean.gain[end] for mean in every for end in ("low", "high")]
    gains += [mean.as_trained for mean in every if mean.as_trained is not None]
    gains += [*(gain.limits or ()), *([] if shown.empty is None else [shown.empty])]
    y = _Scale(gains, (BOTTOM, TOP), reverse=not gain.up)

    def place(run: RunRecord) -> tuple[float, float]:
        return x(cost.of(run)), y(gain.of(run))

    stars = [(x(p["log_perplexity"]), y(p["test_accuracy"])) for p in shown.known]
    taken = [(x(mean.cost["mean"]), y(mean.gain["mean"])) for mean in every]
    taken += [(x(mean.cost["mean"]), y(mean.as_trained)) for mean in every if mean.as_trained is not None]
    writing = _Labels([*stars, *taken], [place(run) for run in single])
    series = []
    for number, (name, (_, marker)) in enumerate(shown.marks.items()):
        drawn = []
        own = shown.means.get(name, [])
        for mean in own:
            centre = x(mean.cost["mean"]), y(mean.gain["mean"])
            trained = None if mean.as_trained is None else y(mean.as_trained)
            label = writing.place(centre, f"{name} w={mean.weight:g}" if len(own) > 1 else name)
            across, along = (x(mean.cost["high"]), x(mean.cost["low"])), (y(mean.gain["high"]), y(mean.gain["low"]))
            trained_label = None if trained is None else writing.place((centre[0], trained), f"{name} as trained")
            drawn.append(Mark(*centre, across, along, trained, label, trained_label))
        alone = [*(run for mean in own for run in mean.runs), *shown.members.get(name, [])] if runs else []
        small = "".join(outline(marker, *place(run), SMALL) for run in alone)
        curve = shown.bands.get(name)
        line, area = ("", "") if curve is None else (_stairs(curve[0], curve[1], x, y, end=LEFT), _area(curve, x, y, end=LEFT))
        series.append(Series(name, number, outline(marker), drawn, small, line, area))

    spots = _Spots()
    for name, own in shown.means.items():
        for mean in own:
            if len(mean.runs) > 1 or not runs:
                spots.add(x(mean.cost["mean"]), y(mean.gain["mean"]), _of_mean(name, mean, cost, gain))
            if mean.as_trained is not None:
                figures = f"as optimized {mean.as_trained:.3f} · as text {mean.gain['mean']:.3f}"
                gap = Entry(f"{name}, w={mean.weight:g}, as trained: mean of {mean.units}", None, figures)
                spots.add(x(mean.cost["mean"]), y(mean.as_trained), gap)
            for run in mean.runs if runs else ():
                spots.add(*place(run), _of_run(run, cost, gain, several))
        for run in shown.members.get(name, []) if runs else ():
            spots.add(*place(run), _of_run(run, cost, gain, several))
    for star, p in zip(stars, shown.known, strict=True):
        figures = f"test accuracy {p['test_accuracy']:.3f} · {p['log_perplexity']:.2f} nats/token"
        spots.add(*star, Entry("known front", p.get("prompt"), figures))
    return Chart(
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        x_label=cost.label,
        y_label=gain.label,
        better=cost.better,
        series=series,
        stairs=[(x(each), y(accuracy)) for each, accuracy in shown.stairs],
        known=stars,
        empty=None if shown.empty is None else (y(shown.empty), f"{shown.empty:.2f}"),
        spots=spots.all,
    )


def curves_chart(curves: dict[str, Curve], marks: dict[str, tuple[str, str]], label: str = BEST_SO_FAR) -> Chart:
    """The chart of a quantity from 0 to 1 against LM tokens: one line with a band and a final mark per optimizer.

    Args:
        curves: the curves.
        marks: (color, marker) of each optimizer.
        label: the quantity.
    """
    bands = {name: curves[name].band for name in marks if name in curves}
    x = _Scale([float(each) for band in bands.values() for each in band[0]], (LEFT, RIGHT), log=True)
    y = _Scale((0.0, 1.0), (BOTTOM, TOP))
    spots = _Spots()
    for name, (tokens, mean, low, high) in bands.items():
        curve = curves[name]
        for i in sorted({0, *range(len(tokens) // 4, len(tokens), max(1, len(tokens) // 4)), len(tokens) - 1}):
            figures = f"{mean[i]:.3f} ({low[i]:.3f} to {high[i]:.3f}) after {tokens[i]:,.0f} LM tokens · {curve.counts}"
            spots.add(x(tokens[i]), y(mean[i]), Entry(f"{name}, w={curve.weight:g}: {label}", None, figures))
    spent = "LM tokens spent, forward and backward"
    series = _band_series(bands, marks, x, y)
    return Chart(x.ticks(), y.ticks(), spent, label, "", series, [], [], None, spots.all, joined=False)


def attainment_chart(found: Mapping[str, Any], marks: dict[str, tuple[str, str]]) -> Chart | None:
    """The chart of the accuracy that the fronts of half of the runs attain at each cost, with a band for other shares.

    Args:
        found: the result of `frontier`.
        marks: (color, marker) of each optimizer. Prompts of the caller, which are not drawn by chance, have no band.

    Returns:
        The chart; None if no optimizer has the fronts of several runs.
    """
    bands: dict[str, np.ndarray] = {}
    for name in marks:
        if (own := found["optimizers"].get(name)) is None:
            continue
        attained = own["attainment"]["deployed_test_accuracy"]
        high, middle, low = (attained[f"{level:g}"] for level in ATTAINMENT_LEVELS)
        if own["hypervolume"]["n"] > 1 and middle:
            bands[name] = np.array([own["attainment"]["log_perplexity"], middle, low, high])
    if not bands:
        return None
    cost, gain = COSTS[0], GAINS[0]
    x = _Scale([float(place) for band in bands.values() for place in band[0]], (LEFT, RIGHT), reverse=True)
    y = _Scale((0.0, 1.0), (BOTTOM, TOP))
    spots = _Spots()
    for name, band in bands.items():
        for place, middle, low, high in band.T:
            figures = f"{middle:.3f} for half of the runs, {high:.3f} for a quarter and {low:.3f} for three quarters"
            spots.add(x(place), y(middle), Entry(f"{name}: accuracy up to {place:.2f} {cost.unit}", None, figures))
    series = _band_series(bands, marks, x, y, end=LEFT)
    return Chart(x.ticks(), y.ticks(), cost.label, gain.label, cost.better, series, [], [], None, spots.all, joined=False)


def _band_series(
    bands: Mapping[str, np.ndarray], marks: dict[str, tuple[str, str]], x: _Scale, y: _Scale, end: float | None = None
) -> list[Series]:
    """A line with a band and a mark at its last place for each optimizer; the last value extends to `end`."""
    ends = {name: (x(band[0, -1]), y(band[1, -1])) for name, band in bands.items()}
    writing = _Labels(ends.values(), ())
    series = []
    for number, (name, (_, marker)) in enumerate(marks.items()):
        if (band := bands.get(name)) is not None:
            at = ends[name]
            mark = Mark(*at, (at[0], at[0]), (y(band[3, -1]), y(band[2, -1])), None, writing.place(at, name), None)
            line, area = _stairs(band[0], band[1], x, y, end), _area(band, x, y, end)
            series.append(Series(name, number, outline(marker), [mark], "", line, area))
    return series


class _Labels:
    """Labels next to large marks that cover neither these nor other labels, and small marks only if necessary.

    A label without room is left out.
    """

    def __init__(self, marks: Iterable[tuple[float, float]], small: Iterable[tuple[float, float]]) -> None:
        self._taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in marks]
        self._small = [(x - 4, y - 4, x + 4, y + 4) for x, y in small]

    def place(self, at: tuple[float, float], text: str) -> Label | None:
        """The place of a label next to a mark; None if there is no room."""
        x, y = at
        text = text if len(text) <= 24 else text[:23] + "…"
        width = 6.4 * len(text) + 4
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


class _Spots:
    """Places with tooltips; marks that are near each other share the first one."""

    def __init__(self) -> None:
        self.all: list[Spot] = []
        self._by_square: dict[tuple[int, int], list[Spot]] = {}

    def add(self, x: float, y: float, entry: Entry) -> None:
        """Add an entry at a place."""
        column, row = int(x // NEAR), int(y // NEAR)
        around = product((column - 1, column, column + 1), (row - 1, row, row + 1))
        near = (spot for square in around for spot in self._by_square.get(square, ()))
        spot = next((spot for spot in near if math.hypot(spot.x - x, spot.y - y) < NEAR), None)
        if spot is None:
            spot = Spot(x, y)
            self.all.append(spot)
            self._by_square.setdefault((column, row), []).append(spot)
        spot.entries.append(entry)


def _of_run(run: RunRecord, cost: Axis, gain: Axis, several: bool) -> Entry:
    split = "" if run.split == "default" else f", split {run.split}"
    which = f", {run.task}" if several else f"{split}, seed {run.seed}"
    heading = f"{run.optimizer}, w={run.weight:g}{which}"
    trained = gain.trained(run) if gain.trained else None
    figures = [f"as text {gain.of(run):.3f}"]
    figures += [] if trained is None else [f"as optimized {trained:.3f}"]
    return Entry(heading, run.prompt_text, " · ".join([*figures, f"{cost.of(run):,.{cost.digits}f} {cost.unit}"]))


def _of_mean(name: str, mean: Mean, cost: Axis, gain: Axis) -> Entry:
    along, across = mean.gain, mean.cost
    digits = cost.digits
    figures = (
        f"as text {along['mean']:.3f} ({along['low']:.3f} to {along['high']:.3f}) · "
        f"{across['mean']:,.{digits}f} {cost.unit} ({across['low']:,.{digits}f} to {across['high']:,.{digits}f})"
    )
    return Entry(f"{name}, w={mean.weight:g}: mean of {mean.units}", None, figures)


def _stairs(places: np.ndarray, values: np.ndarray, x: _Scale, y: _Scale, end: float | None = None) -> str:
    """A step line as an SVG path: each value extends from its place to the next one, and the last value to `end`."""
    steps = "".join(f"H{x(place)}V{y(value)}" for place, value in zip(places[1:], values[1:], strict=True))
    return f"M{x(places[0])} {y(values[0])}{steps}" + ("" if end is None else f"H{end}")


def _area(band: np.ndarray, x: _Scale, y: _Scale, end: float | None = None) -> str:
    """The outline of a band, as an SVG path; values extend as in `_stairs`."""
    places, low = [x(each) for each in band[0]], [y(each) for each in band[2]]
    last = [] if end is None else [f"H{end}V{low[-1]}H{places[-1]}"]
    back = "".join(f"H{places[i + 1]}V{low[i]}" for i in range(len(places) - 2, -1, -1))
    return f"{_stairs(band[0], band[3], x, y)}{''.join(last) or f'V{low[-1]}'}{back}H{places[0]}Z"


def _short(value: float) -> str:
    """A round number of tokens.

    >>> _short(500), _short(20_000), _short(1e6)
    ('500', '20k', '1M')
    """
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, five to thirteen of them."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 5)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
