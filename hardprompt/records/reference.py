"""The reference of a record as Markdown, generated from its schema and the installed metrics.

python -m hardprompt.records.reference > record.md
"""

from collections.abc import Iterator

from hardprompt.metrics import all_metrics
from hardprompt.records.schema import Entry, FailedRun, RunRecord, entries


def record_entries() -> Iterator[Entry]:
    """The values of the record of a finished run in their order; the metrics of a group follow its object."""
    metrics = all_metrics().values()
    for entry in entries():
        yield entry
        for each in metrics:
            if each.group == entry.name:
                yield Entry(f"{each.group}.{each.name}", each.unit, each.description, each.better, each.prompts)


def record_reference() -> str:
    """The reference as Markdown: a table with a row per key."""
    failed = [entry for entry in entries(FailedRun) if entry.name not in RunRecord.model_fields or entry.name == "status"]
    return "\n".join(
        [
            "# The record of a run",
            "",
            "A line of `points.jsonl` is a JSON object with these keys. A dot separates the keys of nested objects,",
            "and `NAME` is the name of a reader or, in `by_lm`, of a model. The column *better* shows whether higher or lower",
            "values are better, and the column *prompts* shows which prompts have a value.",
            "",
            *_table(record_entries()),
            "",
            "The line of a run that failed has the keys up to `weight`, and these:",
            "",
            *_table(failed),
            "",
        ]
    )


def _table(rows: Iterator[Entry] | list[Entry]) -> list[str]:
    lines = ["| key | unit | better | prompts | description |", "|:--|:--|:--|:--|:--|"]
    return lines + [f"| `{row.name}` | {row.unit} | {row.better} | {row.prompts} | {row.description} |" for row in rows]


if __name__ == "__main__":
    print(record_reference(), end="")
