"""Tables as CSV that a spreadsheet opens without running anything in them: what begins like a formula is kept as text."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from hardprompt.report.text import printable
from hardprompt.study.store import replacing

FORMULA = ("=", "+", "-", "@")


def cell(value: object) -> object:
    """A value as a sheet may hold it: text without signs that cannot be printed, and no formula; None is empty.

    >>> cell("=1+1"), cell(-1.5), cell("a\\tb")
    ("'=1+1", -1.5, 'a⟨U+0009⟩b')
    """
    if not isinstance(value, str):
        return value
    shown = printable(str(value))
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as RFC 4180 has it, in UTF-8, aside and renamed into place."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    with replacing(file) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8", newline="")
