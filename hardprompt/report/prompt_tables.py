"""Tables about one prompt for the terminal: all its metrics with their units, or its tokens."""

from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.escaping import printable
from hardprompt.metrics.copying import copying_lines
from hardprompt.projection import SIMILARITY_MEASURES
from hardprompt.report.listing import list_metrics

SHOWN_APART = ("task", "lm", "prompt_text", "test_correct", "tokens", "overlap")
"""Keys without a row: they are in the title or in a warning, or hold a value per example or token."""

FIRST_READER = ("reader", "reader_log_perplexity", "reader_nats_per_character")
"""Keys that repeat values of the first reader."""

VERDICTS = {
    "reading": "verdict: reading. The faithful text does what the prompt does on these inputs.",
    "several": "verdict: several. Different texts do what the prompt does on these inputs; none of them is the only reading.",
    "none": "verdict: none. No text that was found does what the prompt does.",
    "little to read": "verdict: little to read. {reason}.",
}
"""The verdict on the readings of a prompt, in a sentence."""


def evaluation_table(found: dict[str, Any]) -> Table:
    """A row per metric that has a value."""
    heading = f"{found['task']} on {found['lm']}, n = {len(found['test_correct']):,} test examples"
    table = Table(title=_title(heading, found["prompt_text"]), title_justify="left", pad_edge=False)
    table.add_column("metric")
    table.add_column("value", overflow="fold")
    table.add_column("unit")
    units = {entry["name"]: entry["unit"] for entry in list_metrics()}
    for reader, reading in found["readers"].items():
        units |= {f"readers.{reader}.{name}": units[f"readers.NAME.{name}"] for name in reading}
    for name, value in flat({key: value for key, value in found.items() if key not in SHOWN_APART + FIRST_READER}).items():
        if value is not None:
            unit = units.get(name) or units.get(name.rpartition(".")[0], "")
            table.add_row(Text(printable(name)), _value(value), unit)
    if lines := copying_lines(found["copying"]):
        table.caption, table.caption_justify = Text(printable(f"the text {' and '.join(lines)}")), "left"
    return table


def wayward_table(found: dict[str, Any]) -> Table:
    """A row per value of a wayward prompt, with the grid of gamma at the end."""
    heading = _title(f"{found['task']} on {found['lm']}, wayward prompt with the target", found["target"])
    table = Table(title=heading, title_justify="left", pad_edge=False)
    table.add_column("")
    table.add_column("value", overflow="fold")
    for name, value in flat(
        {key: value for key, value in found.items() if key not in ("task", "lm", "target", "grid")}
    ).items():
        if value is not None:
            table.add_row(name, _value(value))
    for row in found["grid"]:
        values = (f"{name} {value:.3f}" for name, value in row.items() if name != "gamma")
        table.add_row(f"gamma {row['gamma']:g}", Text(", ".join(values)))
    return table


def inspection_table(found: dict[str, Any]) -> Table:
    """A row per token: surprisal and its running mean in nats, norm, and the nearest vocabulary entries with their values.

    If the prompt was scored on a task, there is also the effect of removing the token. An asterisk marks a position at which a
    small change of the method of reading gives another token.
    """
    text = "a soft prompt" if found["prompt_ids"] is None else found["prompt_text"]
    table = Table(title=_title(found["lm"], text), title_justify="left", pad_edge=False, show_lines=True)
    worth = ("loss_added", "accuracy_lost") if found["shuffled"] else ()
    numbers = ("surprisal", "running_mean", "norm", *worth)
    measured = ("surprisal", "mean", "norm", *(name.replace("_", " ") for name in worth))
    headings = ("", "id", "token", *measured, *SIMILARITY_MEASURES)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("token", *SIMILARITY_MEASURES) else "right", no_wrap=True)
    for row in found["tokens"]:
        nearest = (row["nearest"][measure] for measure in SIMILARITY_MEASURES)
        near = [Text("\n".join(f"{each['value']:.3f} {each['token']!r}" for each in entries)) for entries in nearest]
        token = Text("-" if row["token"] is None else repr(row["token"]))
        identity = "-" if row["id"] is None else str(row["id"])
        place = f"{row['position']}*" if row["marked"] else str(row["position"])
        table.add_row(place, identity, token, *[_number(row[name]) for name in numbers], *near)
    table.caption, table.caption_justify = _caption(found), "left"
    return table


def texts_table(found: dict[str, Any], lm: str) -> Table:
    """A row per text that a prompt is read as, with the evidence; the caption has the verdict.

    Args:
        found: what `hardprompt read --json` prints.
        lm: the name of the model.
    """
    heading = f"texts for a prompt of {lm} with a test accuracy of {found['accuracy']:.3f}"
    table = Table(title=_title("read", heading), title_justify="left", pad_edge=False)
    for name in ("text", "verdict", "score", "KL (95 % interval)", "agreement", "accuracy", "nats/token", "reader"):
        table.add_column(name, justify="left" if name in ("text", "verdict", "reader") else "right", overflow="fold")
    for row in found["readings"]:
        low, high = row["kl_interval"]
        table.add_row(
            Text(printable(row["text"])),
            row["verdict"],
            f"{row['score']:.3f}",
            f"{row['kl']:.3f} ({low:.3f} to {high:.3f})",
            f"{row['agreement']:.3f}",
            f"{row['deployed_accuracy']:.3f}",
            _number(row["log_perplexity"]),
            row["reader"],
        )
    lines = [VERDICTS[found["verdict"]].format(reason=found["reason"])]
    lines += ["interrupted: these are the best texts until then"] * found["interrupted"]
    lines.append(
        f"KL in nats per answer on {found['held_out_inputs']} inputs that the search did not see; "
        f"{found['empty_kl']:.3f} for the empty prompt"
    )
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def benchmark_table(rows: list[dict[str, Any]], area: float | None) -> Table:
    """A row per kind of prompts and reader of the benchmark of readings.

    Args:
        rows: what `hardprompt benchmark --json` prints as `rows`.
        area: the area under the curve of scores.
    """
    table = Table(title="readings of prompts of known origin", title_justify="left", pad_edge=False)
    for name in rows[0]:
        written = name in ("kind", "reader")
        table.add_column(name.replace("_", " "), justify="left" if written else "right", no_wrap=written)
    for row in rows:
        table.add_row(
            *(f"{value:.2f}" if isinstance(value, float) else "-" if value is None else str(value) for value in row.values())
        )
    if area is not None:
        table.caption = f"scores of descriptions of the prompt's task above those of other tasks: {area:.3f} of the pairs"
        table.caption_justify = "left"
    return table


def readings_table(readings: list[dict[str, Any]]) -> Table:
    """A row per text that can be read off a soft prompt: the methods, the accuracy, and the tasks that the text asks for."""
    table = Table(title="texts that can be read off the soft prompt", title_justify="left", pad_edge=False)
    for heading in ("text", "methods (share of draws)", "accuracy", "outcome", "asks for", "reader"):
        table.add_column(heading, justify="right" if heading in ("accuracy", "reader") else "left", overflow="fold")
    for row in readings:
        methods = ", ".join(name if share == 1 else f"{name} ({share:.2f})" for name, share in row["methods"].items())
        tasks = ", ".join(row["tasks"]) or "-"
        table.add_row(
            Text(printable(row["text"])),
            methods,
            f"{row['accuracy']:.3f}",
            row["outcome"],
            tasks,
            _number(row["reader_nats_per_token"]),
        )
    outcomes = {row["outcome"] for row in readings}
    if len(outcomes) > 1:
        table.caption, table.caption_justify = (
            "the tasks that the text asks for depend on the method: no single reading can be trusted",
            "left",
        )
    return table


def _caption(found: dict[str, Any]) -> str:
    lines = [f"the model reads {' '.join(found['start'])} before the prompt"] if found["start"] else []
    if "chat" in found:
        lines.append(f"in the chat: {found['chat']!r}")
    if found["log_perplexity_in_place"] is not None:
        alone = _number(found["log_perplexity"])
        lines.append(
            f"log-perplexity: {alone} nats per token as the beginning of a document, "
            f"{found['log_perplexity_in_place']:.3f} in its place in the template"
        )
    if any(row["marked"] for row in found["tokens"]):
        lines.append("* another measure, or a little noise, gives another token here")
    if found["shuffled"] and found["shuffled"]["shuffled_accuracy"] is not None:
        order = found["shuffled"]
        lines.append(
            f"shuffled: accuracy {order['shuffled_accuracy']:.3f} ({order['accuracy_lost']:.3f} lost), "
            f"loss {order['shuffled_loss']:.3f} nats per example ({order['loss_added']:.3f} added)"
        )
    return "\n".join(lines)


def _title(of: str, text: str) -> Text:
    return Text(printable(f"{of}: {text or '(no prompt)'}"))


def _value(value: Any) -> Text:
    return Text(f"{value:.4f}" if isinstance(value, float) else printable(str(value)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values by dotted names.

    >>> flat({"a": 1, "b": {"c": 2, "d": {"e": 3}}})
    {'a': 1, 'b.c': 2, 'b.d.e': 3}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= {f"{key}.{name}": inner for name, inner in flat(value).items()} if isinstance(value, dict) else {key: value}
    return found
