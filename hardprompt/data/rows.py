"""Reading files of rows in several formats; every error message names the file and the line.

Reading stops at the first invalid row, or skips it and continues (`OnError`).

Text is UTF-8, with or without a byte-order mark, lines end in LF or CRLF, and empty lines are skipped. The file extension
determines the format:

- `.tsv`: a header, then one row per line. A field contains no tab and no line break, and quotes are part of the text, with one
  exception: a field in quotes with doubled quotes in it, as pandas and spreadsheets write it, is unquoted.
- `.csv`: RFC 4180. A field in quotes may contain commas, line breaks and doubled quotes.
- `.jsonl`: one object per line.
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
"""Pairs of the line on which a row begins and the values of the row by column."""

OnError = Callable[[DataError], None]
"""A function that is called with the error of an invalid row. If it raises the error, reading ends; if it returns, the row is
skipped."""


def raise_error(error: DataError) -> NoReturn:
    """Raise the error, so that reading ends at the first invalid row."""
    raise error


def read_rows(
    path: str | Path, needed: Sequence[str] = (), headerless: Sequence[str] = (), on_error: OnError = raise_error
) -> Rows:
    """The rows of a file, one after another. Large files are never in memory as a whole, except `.json` files.

    Args:
        path: the file.
        needed: columns that every row must have.
        headerless: the columns of a csv file without a header, which is recognized by a whole number as its first field.
        on_error: called with the error of each invalid row; by default the first error is raised.

    Returns:
        An iterator over (line, values by column); values are texts, or JSON values.

    Raises:
        DataError: a row is not UTF-8, does not fit the format or lacks a column, if `on_error` raises it; in any case if the
            file cannot be read any further, for example because it is missing, has no valid header, or is invalid JSON.
        TaskError: the format is unknown.

    Example:
        >>> next(read_rows("mood/data.csv"))
        (2, {'text': 'the soup was lovely, and we want to come again.', 'label': 'positive', 'split': 'train'})
    """
    path = Path(path)
    if path.suffix == ".tsv":
        return _table(path, _tsv(path, on_error), needed, (), on_error)
    if path.suffix == ".csv":
        return _table(path, _csv(path, on_error), needed, headerless, on_error)
    if path.suffix == ".jsonl":
        return _jsonl(path, needed, on_error)
    if path.suffix == ".json":
        return _json(path, needed, on_error)
    raise TaskError(f"{path} has no known file extension; expected one of {', '.join(FORMATS)}")


def read_lines(path: Path, on_error: OnError = raise_error) -> Iterator[tuple[int, str]]:
    """Numbered lines with their line ends, decoded one by one, so that errors name a line.

    Args:
        path: the file.
        on_error: called with the error of each line that is not UTF-8 or contains a NUL byte.

    Raises:
        DataError: the file cannot be read, or `on_error` raises an error.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    broken = error.object[error.start]
                    on_error(DataError(path, number, f"byte 0x{broken:02x} is not UTF-8; save the file as UTF-8"))
                    line = raw.decode(errors="replace")  # so that the following lines keep their numbers
                if "\0" in line:
                    on_error(DataError(path, number, "a NUL byte, which is not allowed in text; save the file as UTF-8"))
                yield number, line
    except OSError as error:
        raise DataError(path, None, f"cannot be read ({error.strerror}); expected a UTF-8 file") from error


def _tsv(path: Path, on_error: OnError) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path, on_error):
        row = line.removesuffix("\n").removesuffix("\r")
        if "\r" in row:
            on_error(DataError(path, number, "a carriage return within the line; end lines with LF or CRLF"))
        elif row:
            fields = row.split("\t")
            yield number, [_unquoted(field) for field in fields] if '""' in row else fields


def _unquoted(field: str) -> str:
    inner = field[1:-1]
    doubled = '""' in inner and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if doubled and field[0] == field[-1] == '"' else field


def _csv(path: Path, on_error: OnError) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in read_lines(path, on_error)), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            on_error(DataError(path, begins, f"not a valid csv row ({error}); quote fields as in RFC 4180"))
            continue
        if fields is None:
            return
        if fields:
            yield begins, [field.replace("\r\n", "\n") for field in fields]


def _table(
    path: Path, records: Iterator[tuple[int, list[str]]], needed: Sequence[str], headerless: Sequence[str], on_error: OnError
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
        raise DataError(path, line, f"two columns have the same name; the columns are {', '.join(columns)}")
    for line, fields in records:
        if len(fields) != len(columns):
            hint = "; a tsv field cannot contain a tab or a line break: use csv for those" if path.suffix == ".tsv" else ""
            on_error(DataError(path, line, f"{len(fields)} fields, expected {len(columns)} ({', '.join(columns)}){hint}"))
            continue
        yield line, dict(zip(columns, fields, strict=True))


def _jsonl(path: Path, needed: Sequence[str], on_error: OnError) -> Rows:
    for number, line in read_lines(path, on_error):
        if line.isspace():
            continue
        try:
            row = _object(path, number, _parsed(path, line.rstrip(), number, "one object per line"), needed)
        except DataError as error:
            on_error(error)
            continue
        yield number, row


def _json(path: Path, needed: Sequence[str], on_error: OnError) -> Rows:
    text = "".join(line for _, line in read_lines(path, on_error))
    if not isinstance(_parsed(path, text, 1, "a list of objects"), list):
        raise DataError(path, 1, "expected a list of objects")
    between, decoder = re.compile(r"[\s,]*"), json.JSONDecoder()
    seen, line = 0, 1
    at = text.index("[") + 1
    while text[begins := between.match(text, at).end()] != "]":  # type: ignore[union-attr]  # the pattern matches at every position
        line += text.count("\n", seen, begins)
        seen = begins
        entry, at = decoder.raw_decode(text, begins)
        try:
            row = _object(path, line, entry, needed)
        except DataError as error:
            on_error(error)
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
        raise DataError(path, line, f"half of a surrogate pair (\\u{half:x}) is not text") from error
    return entry
