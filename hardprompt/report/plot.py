"""The trade-off plot: accuracy of the deployed text against its log-perplexity, readable to the right."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardprompt.metrics.statistics import bootstrap_mean

Point = dict[str, Any]

COLORS = {
    "manual": "#222222",
    "random": "#999999",
    "soft": "#cc79a7",
    "pez": "#0072b2",
    "rl": "#d55e00",
}
OTHERS = ("#009e73", "#e69f00", "#56b4e9", "#8c564b", "#6a3d9a")
MARKERS = {"manual": "*", "random": "X", "soft": "D", "pez": "o", "rl": "s"}
OTHER_MARKERS = ("P", "^", "v", "<", ">")
VISIBLE_GAP = 0.02
"""Accuracy that a soft prompt must gain or lose with its projection for the loss to be drawn."""
ABOVE, BELOW = (5, 6), (-12, -15)
"""Points from a mark to its weight's label, for every second optimizer, so that lines that run side by side stay legible."""
_STYLE: Any = {"svg.hashsalt": "hardprompt", "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Mean:
    """Finished runs of one optimizer at one weight, with what `bootstrap_mean` says of them.

    Attributes:
        weight: the fluency weight.
        log_perplexity: of their prompts, nats per token.
        accuracy: of their texts on test, a fraction.
        as_trained: mean test accuracy of what was optimized, where it differs visibly from that of the text; else None.
        runs: the runs themselves.
    """

    weight: float
    log_perplexity: dict[str, float]
    accuracy: dict[str, float]
    as_trained: float | None
    runs: tuple[Point, ...]


def weight_means(points: Sequence[Point], optimizer: str) -> list[Mean]:
    """What is drawn of an optimizer, in the order of the weights; runs without a text (the empty prompt) are left out."""
    own = [p for p in points if p["optimizer"] == optimizer and p["log_perplexity"] is not None]
    means = []
    for weight in sorted({p["weight"] for p in own}):
        runs = tuple(p for p in own if p["weight"] == weight)
        accuracy = bootstrap_mean([p["deployed_test_accuracy"] for p in runs])
        trained = bootstrap_mean([p["test_accuracy"] for p in runs])["mean"]
        gap = trained if abs(trained - accuracy["mean"]) >= VISIBLE_GAP else None
        means.append(Mean(weight, bootstrap_mean([p["log_perplexity"] for p in runs]), accuracy, gap, runs))
    return means


def front_stairs(found: dict[str, Any]) -> list[tuple[float, float]]:
    """(nats per token, test accuracy) where the front of all texts steps up, ending at the reference; empty without a front."""
    stairs: list[tuple[float, float]] = []
    for p in (found["overall"] or {"front": []})["front"]:
        if not stairs or p["deployed_test_accuracy"] > stairs[-1][1]:
            stairs.append((p["log_perplexity"], p["deployed_test_accuracy"]))
    if not stairs:
        return []
    worst = max(found["reference"]["log_perplexity"], *(x for x, _ in stairs))
    return [*stairs, (worst, stairs[-1][1])]


def empty_accuracy(points: Sequence[Point]) -> float | None:
    """Mean test accuracy of the empty prompt, a fraction; None where it was not run."""
    empty = [p["deployed_test_accuracy"] for p in points if p["optimizer"] == "empty"]
    return sum(empty) / len(empty) if empty else None


def repeats(points: Sequence[Point]) -> str:
    """Over how many splits and seeds.

    >>> repeats([{"split": "13", "seed": 0}, {"split": "21", "seed": 0}])
    '2 splits, 1 seed'
    """
    splits, seeds = ({p[key] for p in points} for key in ("split", "seed"))
    counts = {"split": len(splits)} if len(splits) > 1 else {}
    counts["seed"] = len(seeds)
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items())


def optimizer_marks(points: Sequence[Point]) -> dict[str, tuple[str, str]]:
    """(color, marker) of every optimizer but `empty`; the marker is a letter of matplotlib's."""
    names = [name for name in dict.fromkeys(p["optimizer"] for p in points) if name != "empty"]
    spare = iter(list(zip(OTHERS, OTHER_MARKERS, strict=True)) * len(names))
    return {name: (COLORS[name], MARKERS[name]) if name in COLORS else next(spare) for name in names}


def draw_tradeoff(points: Sequence[Point], found: dict[str, Any], file: Path) -> None:
    """Draw the trade-off of finished runs to a .png or .svg file.

    Small marks are runs; large ones are means over splits and seeds at one weight with 95 % bootstrap intervals, joined in
    the order of the weights. A soft prompt is an arrow from its own accuracy to that of its projection. The dashed line is
    the empty prompt, the grey stairs are the front of all texts, and hollow stars are the true front, where it is known.

    Args:
        points: finished runs, as `points.jsonl` holds them.
        found: what `frontier` says of them.
        file: where to.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 6.4), layout="constrained")
        axes = figure.add_subplot()
        _draw_front(axes, found)
        _draw_known(axes, found)
        for place, (name, (color, marker)) in enumerate(optimizer_marks(points).items()):
            _draw_optimizer(axes, name, weight_means(points, name), color, marker, ABOVE if place % 2 else BELOW)
        if (accuracy := empty_accuracy(points)) is not None:
            axes.axhline(accuracy, color="#222222", linestyle="--", linewidth=0.9, label=f"empty prompt ({accuracy:.2f})")
        axes.invert_xaxis()
        axes.set_ylim(-0.03, 1.05)
        axes.set_xlabel("log-perplexity of the prompt under the task LM (nats per token)      more readable →")
        axes.set_ylabel("test accuracy of the deployed text")
        axes.set_title(_title(points), loc="left")
        axes.grid(color="#eeeeee", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside right upper", frameon=False)
        figure.supxlabel(_examples(points), x=0.01, ha="left", fontsize=8, family="monospace", parse_math=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a sign the font lacks is drawn as a box
            figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_optimizer(axes: Axes, name: str, means: Sequence[Mean], color: str, marker: str, label_at: tuple[int, int]) -> None:
    if not means:
        return
    runs = [run for mean in means for run in mean.runs]
    axes.scatter(
        [p["log_perplexity"] for p in runs],
        [p["deployed_test_accuracy"] for p in runs],
        s=16, color=color, marker=marker, alpha=0.35, linewidths=0,
    )  # fmt: skip
    for mean in means:
        x, y = mean.log_perplexity, mean.accuracy
        axes.errorbar(
            x["mean"], y["mean"],
            xerr=[[x["mean"] - x["low"]], [x["high"] - x["mean"]]],
            yerr=[[y["mean"] - y["low"]], [y["high"] - y["mean"]]],
            color=color, linewidth=0.9, alpha=0.6, zorder=2,
        )  # fmt: skip
        if mean.as_trained is not None:
            _draw_gap(axes, x["mean"], y["mean"], mean.as_trained, color)
    axes.plot(
        [mean.log_perplexity["mean"] for mean in means],
        [mean.accuracy["mean"] for mean in means],
        color=color,
        marker=marker,
        markersize=12 if marker == "*" else 8,
        markeredgecolor="white",
        zorder=3,
        label=name,
    )
    if len(means) > 1:
        for mean in means:
            at = (mean.log_perplexity["mean"], mean.accuracy["mean"])
            axes.annotate(f"w={mean.weight:g}", at, label_at, textcoords="offset points", color=color, fontsize=8)


def _draw_gap(axes: Axes, x: float, y: float, own: float, color: str) -> None:
    """The arrow from what was optimized to what can be deployed."""
    axes.annotate("", (x, y), (x, own), arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.3})
    axes.plot([x], [own], marker="D", markersize=8, color="white", markeredgecolor=color, zorder=3)
    axes.annotate("as trained", (x, own), (7, -3), textcoords="offset points", color=color, fontsize=8)


def _draw_front(axes: Axes, found: dict[str, Any]) -> None:
    if stairs := front_stairs(found):
        xs, ys = zip(*stairs, strict=True)
        axes.step(xs, ys, where="post", color="#cccccc", linewidth=3, zorder=1, label="front")


def _draw_known(axes: Axes, found: dict[str, Any]) -> None:
    if known := found["known"]:
        axes.plot(
            [p["log_perplexity"] for p in known["front"]],
            [p["test_accuracy"] for p in known["front"]],
            color="#444444", marker="*", markersize=13, markerfacecolor="white", linestyle=":", zorder=2, label="known front",
        )  # fmt: skip


def _title(points: Sequence[Point]) -> str:
    return f"{points[0]['task']} on {points[0]['lm']}: what a readable prompt costs ({repeats(points)})"


def _examples(points: Sequence[Point]) -> str:
    """One prompt per optimizer and weight: the one that does best on dev."""
    lines = []
    for name, weight in dict.fromkeys((p["optimizer"], p["weight"]) for p in points if p["log_perplexity"] is not None):
        group = [p for p in points if (p["optimizer"], p["weight"]) == (name, weight)]
        best = max(group, key=lambda p: p["deployed_dev_accuracy"])
        text = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(best["prompt_text"].split()))
        shown = text if len(text) <= 60 else text[:59] + "…"
        lines.append(
            f"{name:>8} w={weight:<5g}{best['deployed_test_accuracy']:5.2f} {best['log_perplexity']:6.2f} nats  {shown}"
        )
    return "\n".join(lines)
