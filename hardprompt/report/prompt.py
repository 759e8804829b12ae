"""One prompt on the terminal: all its metrics with their units, or its tokens one by one."""

from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.optimizers.projection import MEASURES
from hardprompt.report.listing import list_metrics

SHOWN_APART = ("task", "lm", "prompt_text", "test_correct")
OF_THE_FIRST = ("reader", "reader_log_perplexity", "reader_nats_per_character")
"""Said again among the readers."""


def evaluation_table(found: dict[str, Any]) -> Table:
    """A row per metric that has a value; what has none by construction is one row with the reason."""
    table = Table(title=_title(f"{found['task']} on {found['lm']}", found["prompt_text"]), title_justify="left", pad_edge=False)
    table.add_column("metric")
    table.add_column("value", overflow="fold")
    table.add_column("unit")
    units = {entry["name"]: entry["unit"] for entry in list_metrics()}
    for reader, reading in found["readers"].items():
        units |= {f"readers.{reader}.{name}": units[f"readers.NAME.{name}"] for name in reading}
    for name, value in _flat({key: value for key, value in found.items() if key not in SHOWN_APART + OF_THE_FIRST}).items():
        if value is not None:
            table.add_row(name, Text(f"{value:.4f}" if isinstance(value, float) else str(value)), units.get(name, ""))
    return table


def wayward_table(found: dict[str, Any]) -> Table:
    """A row per value of a wayward prompt, the grid of gamma at the end."""
    heading = _title(f"{found['task']} on {found['lm']}, to read as", found["target"])
    table = Table(title=heading, title_justify="left", pad_edge=False)
    table.add_column("")
    table.add_column("value", overflow="fold")
    for name, value in _flat(
        {key: value for key, value in found.items() if key not in ("task", "lm", "target", "grid")}
    ).items():
        if value is not None:
            table.add_row(name, Text(f"{value:.4f}" if isinstance(value, float) else str(value)))
    for row in found["grid"]:
        values = (f"{name} {value:.3f}" for name, value in row.items() if name != "gamma")
        table.add_row(f"gamma {row['gamma']:g}", Text(", ".join(values)))
    return table


def inspection_table(found: dict[str, Any]) -> Table:
    """A row per token: surprisal and its running mean in nats, norm, and the nearest vocabulary entries with their values."""
    text = "a soft prompt" if found["prompt_ids"] is None else found["prompt_text"]
    table = Table(title=_title(found["lm"], text), title_justify="left", pad_edge=False, show_lines=True)
    for heading in ("", "id", "token", "surprisal", "mean", "norm", *MEASURES):
        table.add_column(heading, justify="left" if heading in ("token", *MEASURES) else "right", no_wrap=True)
    for row in found["tokens"]:
        near = [Text("\n".join(f"{each['value']:.3f} {each['token']!r}" for each in row["nearest"][m])) for m in MEASURES]
        token = Text("-" if row["token"] is None else repr(row["token"]))
        identity = "-" if row["id"] is None else str(row["id"])
        numbers = [_number(row[name]) for name in ("surprisal", "running_mean", "norm")]
        table.add_row(str(row["position"]), identity, token, *numbers, *near)
    return table


def _title(of: str, text: str) -> Text:
    return Text(f"{of}: {text or '(no prompt)'}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Metrics inside metrics by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": inner for name, inner in _flat(value).items()} if isinstance(value, dict) else {key: value}
    return flat
