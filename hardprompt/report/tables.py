"""Tables as data, and their forms: a table on the terminal or on a page, Markdown, and CSV.

In a CSV file, a cell that begins like a formula is written as text, so that no spreadsheet executes it.
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

from hardprompt.escaping import printable
from hardprompt.notebook import NONE, html_table, html_text
from hardprompt.records.atomic import replacing

FORMULA = ("=", "+", "-", "@")
"""Characters that begin a formula in a spreadsheet."""


@dataclass(frozen=True)
class Column:
    """The heading of a column, the kind of its values and their format.

    Attributes:
        heading: the text above the column.
        kind: `name` (of an optimizer or a task), `text` (a prompt or an error), `number`, or `interval`, a tuple
            (value, low, high). A number may also be a formatted text, or None if there is no value.
        digits: digits after the point; None for as many as needed.
        signed: whether positive numbers have a plus sign.
    """

    heading: str
    kind: Literal["name", "text", "number", "interval"] = "number"
    digits: int | None = 3
    signed: bool = False

    def shown(self, value: Any) -> str:
        """A value as it is shown.

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
class TableData:
    """A table as data.

    Attributes:
        name: the name of its files, without the extension.
        title: the title on the terminal.
        caption: a description of the values.
        columns: the columns from left to right.
        rows: the rows, with the values as measured.
        totals: number of rows at the end that sum up the others.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    totals: int = 0

    def as_rich(self) -> Table:
        """The table for the terminal."""
        table = Table(title=Text(printable(self.title)), title_justify="left", pad_edge=False)
        for column in self.columns:
            written = column.kind in ("name", "text")
            table.add_column(column.heading, justify="left" if written else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*[Text("-" if value is None else column.shown(value)) for column, value in self._cells(row)])
        return table

    def as_html(self) -> str:
        """The table for a notebook."""
        return rich_as_html(self.as_rich()) + f"<p>{html_text(self.caption)}</p>"

    def as_markdown(self) -> str:
        """The table in GitHub's Markdown, below its caption."""
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
        """Write the table as `NAME.md` and `NAME.csv`; the latter has every digit, and an interval as three columns."""
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


def rich_as_html(table: Table) -> str:
    """A table for the terminal as a table for a notebook; its texts are escaped."""
    rows = zip(*([_plain(each) for each in column.cells] for column in table.columns), strict=True)
    return html_table([_plain(column.header) for column in table.columns], rows, _plain(table.title), _plain(table.caption))


def _plain(text: object) -> str:
    return text.plain if isinstance(text, Text) else str(text or "")


def cell(value: object) -> object:
    """A value for a spreadsheet: text with printable characters only, never a formula; None is an empty cell.

    >>> cell("=1+1"), cell(-1.5), cell("a\\tb")
    ("'=1+1", -1.5, 'a⟨U+0009⟩b')
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    plain = unicodedata.normalize("NFKC", shown)  # some spreadsheets read ＝ as =
    return f"'{shown}" if plain.lstrip().startswith(FORMULA) else shown


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV (RFC 4180) in UTF-8; an existing file is replaced atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([cell(name) for name in header])
    writer.writerows([cell(value) for value in row] for row in rows)
    with replacing(file) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8", newline="")


def _escaped(text: str) -> str:
    r"""The text with the special characters of Markdown escaped.

    >>> print(_escaped("<b> | *x*"))
    \<b\> \| \*x\*
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text))
