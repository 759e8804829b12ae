"""Reading files of rows: one reader for every format, and every refusal names the file and the line.

It stops at the first wrong row, or tells of each and goes on, as it is asked to (`Report`).

Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF; empty lines are skipped. The ending says the format:

- `.tsv`: a header, then one row a line. A tab or a line break is never part of a field, and quotes are text; only a field that
  holds doubled quotes and stands in quotes itself, as pandas and spreadsheets write one with quotes in it, is freed of them.
- `.csv`: RFC 4180. A field in quotes may hold commas, line breaks and doubled quotes.
- `.jsonl`: one object a line.
- `.json`: one list of objects.
"""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from hardprompt.errors import DataError, TaskError

FORMATS = (".tsv", ".csv", ".jsonl", ".json")

Rows = Iterator[tuple[int, dict[str, Any]]]
"""(line that the row begins on, its values by column)."""

Report = Callable[[DataError], None]
"""What is told of a row that cannot be used: it raises, and reading ends, or notes it, and reading goes on without the row."""


def stop(error: DataError) -> NoReturn:
    """The report that ends at the first wrong row."""
    raise error


def read_rows(path: str | Path, needed: Sequence[str] = (), headerless: Sequence[str] = (), report: Report = stop) -> Rows:
    """The rows of a file, one after another; a file of millions is never held as a whole, `.json` excepted.

    Args:
        path: the file.
        needed: columns that every row must have.
        headerless: the columns of a csv file without a header, which is one whose first field is a whole number.
        report: told of each wrong row; by default the first one is raised.

    Returns:
        An iterator over (line, values by column); values are texts, or whatever JSON has.

    Raises:
        DataError: for what is not UTF-8, not of the format, or lacks a column; whatever `report` does, where it makes the
            rest of the file unreadable: no file, no or a wrong header, or broken JSON in a `.json` file.
        TaskError: a file of no known format.

    Example:
        >>> next(read_rows("sst-2/16-13/train.tsv"))     # doctest: +SKIP
        (2, {'sentence': 'nothing happens , and it happens to flat characters .', 'label': '0'})
    """
    path = Path(path)
    if path.suffix == ".tsv":
        return _table(path, _tsv(path, report), needed, (), report)
    if path.suffix == ".csv":
        return _table(path, _csv(path, report), needed, headerless, report)
    if path.suffix == ".jsonl":
        return _jsonl(path, needed, report)
    if path.suffix == ".json":
        return _json(path, needed, report)
    raise TaskError(f"{path} has no ending that says its format; expected one of {', '.join(FORMATS)}")


def read_lines(path: Path, report: Report = stop) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, decoded one by one, so that a broken byte has a line.

    Raises:
        DataError: the file cannot be read; whatever `report` does, for what is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    broken = error.object[error.start]
                    report(DataError(path, number, f"byte 0x{broken:02x} is not UTF-8; save the file as UTF-8"))
                    line = raw.decode(errors="replace")  # so that the lines that follow are told apart as before
                if "\0" in line:
                    report(DataError(path, number, "a NUL byte, which no text holds; save the file as UTF-8"))
                yield number, line
    except OSError as error:
        raise DataError(path, None, f"cannot be read ({error.strerror}); expected a UTF-8 file") from error


def _tsv(path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path, report):
        row = line.removesuffix("\n").removesuffix("\r")
        if "\r" in row:
            report(DataError(path, number, "a carriage return within the line; end lines with LF or CRLF"))
        elif row:
            fields = row.split("\t")
            yield number, [_unquoted(field) for field in fields] if '""' in row else fields


def _unquoted(field: str) -> str:
    inner = field[1:-1]
    doubled = '""' in inner and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if doubled and field[0] == field[-1] == '"' else field


def _csv(path: Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in read_lines(path, report)), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            report(DataError(path, begins, f"no row of a csv file ({error}); quote fields as RFC 4180 has it"))
            continue
        if fields is None:
            return
        if fields:
            yield begins, [field.replace("\r\n", "\n") for field in fields]


def _table(
    path: Path, records: Iterator[tuple[int, list[str]]], needed: Sequence[str], headerless: Sequence[str], report: Report
) -> Rows:
    first = next(records, None)
    if first is None:
        raise DataError(path, 1, "the file is empty; expected a header and rows")
    line, header = first
    columns = [name.strip() for name in header]
    if headerless and columns[0].isdigit():
        records, columns = chain([first], records), list(headerless)
    if missing := [name for name in needed if name not in columns]:
        raise DataError(path, line, f"no column {', '.join(missing)}; the columns are {', '.join(columns)}")
    if len(set(columns)) < len(columns):
        raise DataError(path, line, f"two columns of one name; the columns are {', '.join(columns)}")
    for line, fields in records:
        if len(fields) != len(columns):
            hint = "; a field of a tsv file holds no tab or line break: use csv for those" if path.suffix == ".tsv" else ""
            report(DataError(path, line, f"{len(fields)} fields, expected {len(columns)} ({', '.join(columns)}){hint}"))
            continue
        yield line, dict(zip(columns, fields, strict=True))


def _jsonl(path: Path, needed: Sequence[str], report: Report) -> Rows:
    for number, line in read_lines(path, report):
        if line.isspace():
            continue
        try:
            row = _object(path, number, _parsed(path, line.rstrip(), number, "one object a line"), needed)
        except DataError as error:
            report(error)
            continue
        yield number, row


def _json(path: Path, needed: Sequence[str], report: Report) -> Rows:
    text = "".join(line for _, line in read_lines(path, report))
    if not isinstance(_parsed(path, text, 1, "a list of objects"), list):
        raise DataError(path, 1, "expected a list of objects")
    between, decoder = re.compile(r"[\s,]*"), json.JSONDecoder()
    seen, line = 0, 1
    at = text.index("[") + 1
    while text[begins := between.match(text, at).end()] != "]":  # type: ignore[union-attr]  # it matches everywhere
        line += text.count("\n", seen, begins)
        seen = begins
        entry, at = decoder.raw_decode(text, begins)
        try:
            row = _object(path, line, entry, needed)
        except DataError as error:
            report(error)
            continue
        yield line, row


def _parsed(path: Path, text: str, line: int, expected: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(path, line + error.lineno - 1, f"not JSON ({error.msg}); expected {expected}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, line, f"JSON that cannot be read ({error}); expected {expected}") from error


def _object(path: Path, line: int, entry: Any, needed: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, dict) or any(name not in entry for name in needed):
        missing = ", ".join(name for name in needed if not isinstance(entry, dict) or name not in entry)
        lacking = f"missing {missing}; expected an object with {', '.join(needed)}" if needed else "expected an object"
        raise DataError(path, line, lacking)
    try:
        "".join(value for value in entry.values() if isinstance(value, str)).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise DataError(path, line, f"half of a surrogate pair (\\u{half:x}) is no text") from error
    return entry
