"""The table of a study on the terminal: one row per optimizer and weight, means over splits and seeds."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Point = dict[str, Any]


def results_table(points: Sequence[Point]) -> Table:
    """Means over splits and seeds; accuracies as fractions, log-perplexity in nats per token, LM tokens in thousands."""
    task, lm = (points[0]["task"], points[0]["lm"]) if points else ("", "")
    table = Table(title=f"{task} on {lm}", title_justify="left", pad_edge=False)
    table.add_column("optimizer")
    for heading in ("weight", "runs", "test acc.", "as text", "at its end", "nats/token", "LM ktokens", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("best text on dev", overflow="fold")
    for name, weight in dict.fromkeys((p["optimizer"], p["weight"]) for p in points):
        group = [p for p in points if (p["optimizer"], p["weight"]) == (name, weight)]
        done = [p for p in group if p["status"] == "ok"]
        if not done:
            table.add_row(name, f"{weight:g}", f"0/{len(group)}", *["-"] * 6, Text(group[0]["error"], style="red"))
            continue
        best = max(done, key=lambda p: p["deployed_dev_accuracy"])
        table.add_row(
            name,
            f"{weight:g}",
            str(len(done)) if len(done) == len(group) else f"{len(done)}/{len(group)}",
            f"{_mean(done, 'test_accuracy'):.3f}",
            f"{_mean(done, 'deployed_test_accuracy'):.3f}",
            f"{sum(p['emitted']['mean_test_accuracy'] for p in done) / len(done):.3f}",
            "-" if best["log_perplexity"] is None else f"{_mean(done, 'log_perplexity'):.2f}",
            f"{sum(p['lm_tokens_forward'] + p['lm_tokens_backward'] for p in done) / len(done) / 1000:.0f}",
            f"{_mean(done, 'seconds'):.1f}",
            Text(best["prompt_text"]),
        )
    return table


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


def _mean(points: Sequence[Point], key: str) -> float:
    values = [p[key] for p in points if p[key] is not None]
    return sum(values) / len(values) if values else float("nan")
