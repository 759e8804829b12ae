"""Tables as data, and what is made of one: a table on the terminal or a page, Markdown, and CSV.

In the CSV a spreadsheet runs nothing: what begins like a formula is kept as text.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from hardprompt.records.atomic import replacing
from hardprompt.report.escaping import printable

FORMULA = ("=", "+", "-", "@")
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """What a column holds and how it is written.

    Attributes:
        heading: above it.
        kind: `name` (of an optimizer or a task), `text` (a prompt or an error), `number`, or `interval`, which is a tuple
            (value, low, high). A number may also be a text that says it, and None where there is none.
        digits: after the point; None for as many as it takes.
        signed: whether a plus is written.
    """

    heading: str
    kind: Literal["name", "text", "number", "interval"] = "number"
    digits: int | None = 3
    signed: bool = False

    def shown(self, value: Any) -> str:
        """A value as people read it.

        >>> Column("gain", "interval", signed=True).shown((0.5, 0.25, 0.75))
        '+0.500 (+0.250 to +0.750)'
        """
        if value is None:
            return NONE
        if isinstance(value, str):
            return printable(value)
        if isinstance(value, tuple):
            middle, low, high = map(self._number, value)
            return f"{middle} ({low} to {high})"
        return self._number(value)

    def _number(self, value: float) -> str:
        sign = "+" if self.signed else ""
        return f"{value:{sign}g}" if self.digits is None else f"{value:{sign},.{self.digits}f}"


@dataclass(frozen=True)
class ReportTable:
    """A table.

    Attributes:
        name: of its files.
        title: on the terminal.
        caption: what its values are.
        columns: from left to right.
        rows: their values as they were measured.
        totals: so many rows at the end sum up the others.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    totals: int = 0

    def as_rich(self) -> Table:
        """For the terminal."""
        table = Table(title=Text(printable(self.title)), title_justify="left", pad_edge=False)
        for column in self.columns:
            written = column.kind in ("name", "text")
            table.add_column(column.heading, justify="left" if written else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*[Text("-" if value is None else column.shown(value)) for column, value in self._cells(row)])
        return table

    def as_markdown(self) -> str:
        """As GitHub shows it, the caption above."""
        head = " | ".join(_escaped(column.heading) for column in self.columns)
        rule = " | ".join(":--" if column.kind in ("name", "text") else "--:" for column in self.columns)
        lines = [f"{_escaped(self.caption)}\n", f"| {head} |", f"| {rule} |"]
        for row in self.rows:
            cells = [
                _escaped(column.shown(value)) if isinstance(value, str) else column.shown(value)
                for column, value in self._cells(row)
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write it as `NAME.md` and `NAME.csv`; the latter has every digit, and an interval as three columns."""
        header: list[str] = []
        for column in self.columns:
            parts = ("", " low", " high") if column.kind == "interval" else ("",)
            header += [column.heading + part for part in parts]
        write_csv(folder / f"{self.name}.csv", header, [list(self._flat(row)) for row in self.rows])
        with replacing(folder / f"{self.name}.md") as aside:
            aside.write_text(self.as_markdown(), encoding="utf-8", newline="\n")

    def _cells(self, row: tuple[Any, ...]) -> Iterator[tuple[Column, Any]]:
        return zip(self.columns, row, strict=True)

    def _flat(self, row: tuple[Any, ...]) -> Iterator[Any]:
        for column, value in self._cells(row):
            if column.kind == "interval":
                yield from value or (None, None, None)
            else:
                yield value


def cell(value: object) -> object:
    """A value as a sheet may hold it: text without signs that cannot be printed, and no formula; None is empty.

    >>> cell("=1+1"), cell(-1.5), cell("a\\tb")
    ("'=1+1", -1.5, 'a⟨U+0009⟩b')
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    plain = unicodedata.normalize("NFKC", shown)  # some spreadsheets take ＝ for =
    return f"'{shown}" if plain.lstrip().startswith(FORMULA) else shown


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as RFC 4180 has it, in UTF-8, aside and renamed into place."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([cell(name) for name in header])
    writer.writerows([cell(value) for value in row] for row in rows)
    with replacing(file) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8", newline="")


def _escaped(text: str) -> str:
    r"""Text in which Markdown sees no sign of its own.

    >>> print(_escaped("<b> | *x*"))
    \<b\> \| \*x\*
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text))
