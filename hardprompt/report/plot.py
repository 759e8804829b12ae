"""The figures of a study: the trade-off on any of its axes, and the progress of the searches against LM tokens."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardprompt.escaping import printable
from hardprompt.records.schema import RunRecord, at_weights
from hardprompt.report.tradeoff import BEST_SO_FAR, Curve, Mean, Tradeoff, repeats, test_examples, tradeoff

ABOVE, BELOW = (5, 6), (-12, -15)
"""Offset in points of the weight labels, alternating between optimizers, so that labels of close lines stay legible."""
LABEL_SIZE = (0.06, 0.05)
"""Width and height of a weight label, as shares of the axes."""
_STYLE: Any = {"svg.hashsalt": "hardprompt", "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}


def draw_tradeoff(points: Sequence[RunRecord], found: dict[str, Any], weights: Sequence[float], file: Path) -> None:
    """Draw the trade-off of finished runs to a .png or .svg file.

    Small marks are runs; large marks are means over splits and seeds at one weight with 95 % bootstrap intervals, connected in
    the order of the weights. A soft prompt is an arrow from its accuracy to that of its projection. The dashed line is the
    empty prompt, the grey stairs are the front of all texts, a band is the mean front of an optimizer with its interval, and
    hollow stars are the true front, if it is known.

    Args:
        points: the points of finished runs of one task and model.
        found: the result of `frontier` for them.
        weights: the weights at which the members of fronts are compared.
        file: the file to write.
    """
    measured_on = ", ".join(filter(None, (repeats(points), test_examples(points))))
    title = f"{points[0].task} on {points[0].lm}: what a readable prompt costs ({measured_on})"
    draw(tradeoff(points, found, weights), title, file, _examples(at_weights(points, weights)))


def draw(shown: Tradeoff, title: str, file: Path, below: str = "") -> None:
    """Draw a trade-off with a title above and text below it."""
    cost, gain = shown.cost, shown.gain
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 6.4 if below else 5.2), layout="constrained")
        axes = figure.add_subplot()
        if shown.stairs:
            xs, ys = zip(*shown.stairs, strict=True)
            axes.step(xs, ys, where="post", color="#cccccc", linewidth=3, zorder=1, label="front of all texts")
        worst = max([mean.cost["high"] for own in shown.means.values() for mean in own], default=0.0)
        for name, found in shown.bands.items():
            ends = found[:, -1:].copy()
            ends[0] = max(worst, ends[0, 0])  # the last accuracy also holds at higher costs
            xs, middle, low, high = np.concatenate([found, ends], axis=1)
            color = shown.marks[name][0]
            axes.fill_between(xs, low, high, step="post", color=color, alpha=0.1, linewidth=0, zorder=0)
            axes.step(xs, middle, where="post", color=color, alpha=0.6, linewidth=1, zorder=1)
        _draw_known(axes, shown.known)
        for name in shown.marks:
            _draw_optimizer(axes, name, shown)
        if shown.empty is not None:
            axes.axhline(shown.empty, color="#222222", linestyle="--", linewidth=0.9, label=f"empty prompt ({shown.empty:.2f})")
        if cost.log:
            axes.set_xscale("log")
        axes.invert_xaxis()
        if gain.up:
            axes.set_ylim(-0.03, 1.05)
        else:
            axes.invert_yaxis()
        for place, name in enumerate(shown.marks):
            _label_weights(axes, shown.means[name], shown.marks[name][0], ABOVE if place % 2 else BELOW)
        axes.set_xlabel(f"{cost.label}      {cost.better} →")
        axes.set_ylabel(gain.label)
        _finish(figure, axes, title, below, file)


def draw_curves(
    curves: dict[str, Curve], marks: dict[str, tuple[str, str]], title: str, file: Path, label: str = BEST_SO_FAR
) -> None:
    """Draw a quantity from 0 to 1 against LM tokens, with 95 % bands; `label` names the quantity."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for name, curve in curves.items():
            color, marker = marks[name]
            tokens, mean, low, high = curve.band
            axes.step(tokens, mean, where="post", color=color, label=_drawable(name))
            axes.plot(tokens[-1:], mean[-1:], color=color, marker=marker, markeredgecolor="white", markersize=8)
            axes.fill_between(tokens, low, high, step="post", color=color, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlabel("LM tokens spent, forward and backward")
        axes.set_ylabel(label)
        _finish(figure, axes, title, "", file)


def _finish(figure: Figure, axes: Axes, title: str, below: str, file: Path) -> None:
    axes.set_title(_drawable(title), loc="left")
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", frameon=False)
    if below:
        figure.supxlabel(below, x=0.01, ha="left", fontsize=8, family="monospace", parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a character that the font lacks is drawn as a box
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_optimizer(axes: Axes, name: str, shown: Tradeoff) -> None:
    means, (color, marker) = shown.means[name], shown.marks[name]
    if not means:
        return
    runs = [run for mean in means for run in mean.runs] + shown.members.get(name, [])
    xs, ys = ([axis.of(run) for run in runs] for axis in (shown.cost, shown.gain))
    axes.scatter(xs, ys, s=16, color=color, marker=marker, alpha=0.35, linewidths=0)
    middle, low, high = ([[mean.cost[of], mean.gain[of]] for mean in means] for of in ("mean", "low", "high"))
    below, above = np.subtract(middle, low), np.subtract(high, middle)
    xs, ys = np.transpose(middle)
    axes.errorbar(
        xs, ys, xerr=[below[:, 0], above[:, 0]], yerr=[below[:, 1], above[:, 1]],
        fmt="none", ecolor=color, elinewidth=0.9, alpha=0.6, zorder=2,
    )  # fmt: skip
    for mean in means:
        if mean.as_trained is not None:
            _draw_gap(axes, mean.cost["mean"], mean.gain["mean"], mean.as_trained, color)
    axes.plot(
        [mean.cost["mean"] for mean in means],
        [mean.gain["mean"] for mean in means],
        color=color,
        marker=marker,
        markersize=12 if marker == "*" else 8,
        markeredgecolor="white",
        zorder=3,
        label=_drawable(name),
    )


def _label_weights(axes: Axes, means: Sequence[Mean], color: str, label_at: tuple[int, int]) -> None:
    """Write the weights of an optimizer next to its means. Consecutive means that are close to each other have one label."""
    if len(means) < 2:
        return
    places = axes.transAxes.inverted().transform(axes.transData.transform([(m.cost["mean"], m.gain["mean"]) for m in means]))
    first = 0
    for end in range(1, len(means) + 1):
        if end < len(means) and (np.abs(places[end] - places[first]) < LABEL_SIZE).all():
            continue
        label = "w=" + ", ".join(f"{mean.weight:g}" for mean in means[first:end])
        at = (means[first].cost["mean"], means[first].gain["mean"])
        axes.annotate(label, at, label_at, textcoords="offset points", color=color, fontsize=8)
        first = end


def _draw_gap(axes: Axes, x: float, y: float, own: float, color: str) -> None:
    """The arrow from the prompt as optimized to its text."""
    axes.annotate("", (x, y), (x, own), arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.3})
    axes.plot([x], [own], marker="D", markersize=8, color="white", markeredgecolor=color, zorder=3)
    axes.annotate("as trained", (x, own), (7, -3), textcoords="offset points", color=color, fontsize=8)


def _draw_known(axes: Axes, known: Sequence[dict[str, Any]]) -> None:
    if known:
        axes.plot(
            [p["log_perplexity"] for p in known],
            [p["test_accuracy"] for p in known],
            color="#444444", marker="*", markersize=13, markerfacecolor="white", linestyle=":", zorder=2, label="known front",
        )  # fmt: skip


def _drawable(text: str) -> str:
    """The text with `$` escaped, which begins a formula in matplotlib."""
    return printable(text).replace("$", r"\$")


def _examples(points: Sequence[RunRecord]) -> str:
    """For each optimizer and weight, one line about the prompt with the highest accuracy on dev."""
    lines = []
    for name, weight in dict.fromkeys((p.optimizer, p.weight) for p in points if p.log_perplexity is not None):
        group = [p for p in points if (p.optimizer, p.weight) == (name, weight)]
        best = max(group, key=lambda p: p.deployed_dev_accuracy)
        text = "".join(character if character.isprintable() else "\ufffd" for character in " ".join(best.prompt_text.split()))
        shown = text if len(text) <= 60 else text[:59] + "…"
        lines.append(f"{name:>8} w={weight:<5g}{best.deployed_test_accuracy:5.2f} {best.log_perplexity:6.2f} nats  {shown}")
    return "\n".join(lines)
