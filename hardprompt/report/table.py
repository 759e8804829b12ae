"""The table of a study: one row per optimizer and weight, means over splits and seeds; here on the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.report.text import printable

Point = dict[str, Any]

FIGURES = ("weight", "runs", "test acc.", "as text", "at its end", "nats/token", "LM ktokens", "seconds")
TEXT = "best text on dev"


@dataclass(frozen=True)
class Row:
    """The runs of one optimizer at one weight.

    Attributes:
        optimizer: its name.
        figures: in the order of `FIGURES`: accuracies are fractions, LM tokens thousands, and a dash stands for none.
        best: the run whose text does best on dev; None where all failed.
        error: of the first run, where all failed.
    """

    optimizer: str
    figures: tuple[str, ...]
    best: Point | None
    error: str | None = None


def results_rows(points: Sequence[Point]) -> list[Row]:
    """The rows of a study's table, in the order in which they were run; values are means over splits and seeds."""
    rows = []
    for name, weight in dict.fromkeys((p["optimizer"], p["weight"]) for p in points):
        group = [p for p in points if (p["optimizer"], p["weight"]) == (name, weight)]
        done = [p for p in group if p["status"] == "ok"]
        if not done:
            dashes = ["-"] * (len(FIGURES) - 2)
            rows.append(Row(name, (f"{weight:g}", f"0/{len(group)}", *dashes), None, group[0]["error"]))
            continue
        best = max(done, key=lambda p: p["deployed_dev_accuracy"])
        figures = (
            f"{weight:g}",
            str(len(done)) if len(done) == len(group) else f"{len(done)}/{len(group)}",
            f"{_mean(done, 'test_accuracy'):.3f}",
            f"{_mean(done, 'deployed_test_accuracy'):.3f}",
            f"{sum(p['emitted']['mean_test_accuracy'] for p in done) / len(done):.3f}",
            "-" if best["log_perplexity"] is None else f"{_mean(done, 'log_perplexity'):.2f}",
            f"{sum(p['lm_tokens_forward'] + p['lm_tokens_backward'] for p in done) / len(done) / 1000:.0f}",
            f"{_mean(done, 'seconds'):.1f}",
        )
        rows.append(Row(name, figures, best))
    return rows


def results_table(points: Sequence[Point]) -> Table:
    """Means over splits and seeds; accuracies as fractions, log-perplexity in nats per token, LM tokens in thousands."""
    task, lm = (points[0]["task"], points[0]["lm"]) if points else ("", "")
    table = Table(title=f"{task} on {lm}", title_justify="left", pad_edge=False)
    table.add_column("optimizer")
    for heading in FIGURES:
        table.add_column(heading, justify="right")
    table.add_column(TEXT, overflow="fold")
    for row in results_rows(points):
        text = Text(printable(row.best["prompt_text"])) if row.best else Text(printable(row.error or ""), style="red")
        table.add_row(row.optimizer, *row.figures, text)
    return table


def failed_lines(points: Sequence[Point]) -> list[str]:
    """A line on each failed run."""
    return [
        printable(f"failed: {p['optimizer']} w={p['weight']:g} split {p['split']} seed {p['seed']}: {p['error']}")
        for p in points
        if p["status"] != "ok"
    ]


def known_table(found: dict[str, Any]) -> Table | None:
    """How near each optimizer came to what is known of the task: means over splits and seeds; None where nothing is known."""
    if not found.get("known"):
        return None
    priced = len(found["known"]["front"]) > 1
    table = Table(title="to the known front", title_justify="left", pad_edge=False)
    table.add_column("optimizer")
    for heading in ["regret", "share of the known hypervolume"][: 1 + priced]:
        table.add_column(heading, justify="right")
    for name, summary in found["optimizers"].items():
        keys = ["regret", "share_of_known_hypervolume"][: 1 + priced]
        table.add_row(name, *[f"{summary[key]['mean']:.3f}" for key in keys])
    return table


def differences_table(found: dict[str, Any]) -> Table | None:
    """Test accuracy minus that of the baselines, with 95 % bootstrap intervals; None where there is nothing to compare."""
    rows = found.get("differences", ())
    if not rows:
        return None
    title = "test accuracy of these runs minus a baseline's, 95 % interval over examples"
    table = Table(title=title, title_justify="left", pad_edge=False)
    for heading in ("optimizer", "weight", "empty", "manual", "examples"):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    for row in rows:
        gains = (row["empty"], row["manual"])
        examples = next(gain["n"] for gain in gains if gain)
        table.add_row(row["optimizer"], f"{row['weight']:g}", *map(_interval, gains), str(examples))
    return table


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})" if value else "-"


def _mean(points: Sequence[Point], key: str) -> float:
    values = [p[key] for p in points if p[key] is not None]
    return sum(values) / len(values) if values else float("nan")
