"""Reading files of rows in several formats; every error message names the file and the line.

Reading stops at the first invalid row, or skips it and continues (`OnError`).

Text is UTF-8, with or without a byte-order mark, or UTF-16 with one; lines end in LF or CRLF, and empty lines are skipped. The
file extension, in upper or lower case, determines the format:

- `.tsv`: a header, then one row per line. A field contains no tab and no line break, and quotes are part of the text, with one
  exception: a field in quotes with doubled quotes in it, as pandas and spreadsheets write it, is unquoted.
- `.csv`: RFC 4180. A field in quotes may contain commas, line breaks and doubled quotes.
- `.jsonl`: one object per line.
- `.json`: one list of objects, or one object per line.
- `.parquet`: a table, whose rows are counted from 1; `pyarrow` reads it, which the extra `parquet` installs.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from hardprompt.errors import DataError, TaskError

FORMATS = (".tsv", ".csv", ".jsonl", ".json", ".parquet")

_OTHER_FORMATS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "a spreadsheet; save the sheet as .csv"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz"), "compressed; unpack it first"),
    **dict.fromkeys((".arrow", ".feather", ".pkl", ".pickle", ".npz"), "of another format; save the table as .parquet or .csv"),
    **dict.fromkeys((".ndjson", ".jsonlines"), "one JSON object per line; rename it to .jsonl"),
}
"""File extension -> what such a file is, and the remedy."""

_BEGINNINGS = {
    b"\x1f\x8b": "the file is compressed with gzip; unpack it first",
    b"PK\x03\x04": "the file is a zip archive or a spreadsheet, not text; unpack it, or save the sheet as .csv",
    b"PAR1": "the file is in the parquet format; rename it to .parquet",
    b"%PDF": "the file is a PDF, not text; save the data as .csv",
    b"version https://git-lfs": "the file is a pointer of Git LFS, not the data; fetch the data with `git lfs pull`",
}
"""First bytes of a file that is not text -> what it is, and the remedy."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Rows = Iterator[tuple[int, dict[str, Any]]]
"""Pairs of the line on which a row begins and the values of the row by column."""

OnError = Callable[[DataError], None]
"""A function that is called with the error of an invalid row. If it raises the error, reading ends; if it returns, the row is
skipped."""


class SkippedRows:
    """Receives the errors of unusable rows: raises them, or counts the rows, which are then left out.

    Args:
        skip: whether to leave the rows out.
    """

    def __init__(self, skip: bool) -> None:
        self._skip = skip
        self._errors: dict[tuple[str, int | None], DataError] = {}
        self._last = 0

    def __call__(self, error: DataError) -> None:
        """Raise the error, or note it."""
        if not self._skip or error.line is None:
            raise error
        self._errors.setdefault((error.file, error.line), error)
        self._last = error.line

    def has(self, line: int) -> bool:
        """Whether the row that begins in this line, the last one that was read, has an error."""
        return self._last >= line

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows that were left out, by file."""
        return dict(Counter(file for file, _ in self._errors))

    def __str__(self) -> str:
        """A text for messages about missing rows; empty if no row was left out."""
        if not self._errors:
            return ""
        first = next(iter(self._errors.values()))
        return f" ({len(self._errors)} unusable rows were left out; the first is {first})"


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
    suffix = checked_format(path)
    if suffix == ".tsv":
        return _table(path, _tsv(path, on_error), needed, (), on_error)
    if suffix == ".csv":
        return _table(path, _csv(path, on_error), needed, headerless, on_error)
    if suffix == ".jsonl":
        return _jsonl(path, read_lines(path, on_error), needed, on_error)
    if suffix == ".json":
        return _json(path, needed, on_error)
    return _parquet(path, needed, on_error)


def checked_format(path: Path) -> str:
    """The file extension of a format that can be read, in lower case.

    Raises:
        TaskError: the format is another one; the message says what to do.

    Example:
        >>> checked_format(Path("DATA.CSV"))
        '.csv'
    """
    suffix = path.suffix.lower()
    if suffix in _OTHER_FORMATS:
        raise TaskError(f"{path} is {_OTHER_FORMATS[suffix]}; expected one of {', '.join(FORMATS)}")
    if suffix not in FORMATS:
        raise TaskError(f"{path} has no known file extension; expected one of {', '.join(FORMATS)}")
    return suffix


def answer_text(value: object) -> str | None:
    """The text of an answer that is a text, a whole number or a truth value; None for other values.

    Example:
        >>> answer_text(" good "), answer_text(1.0), answer_text(0.5)
        ('good', '1', None)
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int) else None


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
            for number, raw in enumerate(_byte_lines(path, file), 1):
                try:
                    line = raw.decode()
                except UnicodeDecodeError as error:
                    broken = error.object[error.start]
                    on_error(DataError(path, number, f"byte 0x{broken:02x} is not UTF-8; save the file as UTF-8"))
                    line = raw.decode(errors="replace")  # so that the following lines keep their numbers
                if "\0" in line:
                    of_text = "a NUL byte, which is not allowed in text (UTF-16 needs a byte-order mark)"
                    on_error(DataError(path, number, f"{of_text}; save the file as UTF-8"))
                yield number, line
    except OSError as error:
        raise DataError(path, None, f"cannot be read ({error.strerror}); expected a UTF-8 file") from error


def _byte_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file in UTF-8, without its byte-order mark."""
    first = file.readline()
    if first.startswith(_UTF16):
        try:
            yield from io.BytesIO((first + file.read()).decode("utf-16").encode())
        except UnicodeError as error:
            raise DataError(path, None, f"not valid UTF-16 ({error}); save the file as UTF-8") from error
        return
    for beginning, problem in _BEGINNINGS.items():
        if first.startswith(beginning):
            raise DataError(path, None, problem)
    if first:
        yield first.removeprefix(codecs.BOM_UTF8)
    yield from file


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
            remedy = "end lines with LF or CRLF" if "new-line" in str(error) else "quote fields as in RFC 4180"
            problem = DataError(path, begins, f"not a valid csv row ({error}); {remedy}")
            if "end of data" in str(error):
                raise problem from error  # the row goes on to the end of the file
            on_error(problem)
            continue
        if fields is None:
            return
        if fields:
            yield begins, [field.replace("\r\n", "\n") for field in fields]


_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "vertical bars"}


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
    if len(columns) == 1 and (other := next((mark for mark in _SEPARATORS if mark in columns[0]), None)):
        wanted = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        remedy = f"save it with {wanted}" + {",": ", or rename it to .csv", "\t": ", or rename it to .tsv"}.get(other, "")
        raise DataError(path, line, f"fields are separated by {_SEPARATORS[other]}, expected {wanted}; {remedy}")
    if missing := [name for name in needed if name not in columns]:
        raise DataError(path, line, f"no column {', '.join(missing)}; the columns are {', '.join(columns)}")
    if len(set(columns)) < len(columns):
        raise DataError(path, line, f"two columns have the same name; the columns are {', '.join(columns)}")
    tsv = path.suffix.lower() == ".tsv"
    for line, fields in records:
        if len(fields) != len(columns):
            hint = "; a tsv field cannot contain a tab or a line break: use csv for those" if tsv else ""
            on_error(DataError(path, line, f"{len(fields)} fields, expected {len(columns)} ({', '.join(columns)}){hint}"))
            continue
        yield line, dict(zip(columns, fields, strict=True))


def _jsonl(path: Path, lines: Iterable[tuple[int, str]], needed: Sequence[str], on_error: OnError) -> Rows:
    for number, line in lines:
        if line.isspace():
            continue
        if number == 1 and line.lstrip().startswith("["):
            expected = "one object per line; a list of objects belongs into a .json file"
            on_error(DataError(path, number, f"a list; expected {expected}"))
            continue
        try:
            row = _object(path, number, _parsed(path, line.rstrip(), number, "one object per line"), needed)
        except DataError as error:
            on_error(error)
            continue
        yield number, row


def _json(path: Path, needed: Sequence[str], on_error: OnError) -> Rows:
    lines = [line for _, line in read_lines(path)]
    text = "".join(lines)
    if _is_json_lines(text):
        yield from _jsonl(path, enumerate(lines, 1), needed, on_error)
        return
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


def _is_json_lines(text: str) -> bool:
    """Whether a text begins with an object that is followed by something else."""
    text = text.strip()
    try:
        return text.startswith("{") and json.JSONDecoder().raw_decode(text)[1] < len(text)
    except (ValueError, RecursionError):
        return False


def _parquet(path: Path, needed: Sequence[str], on_error: OnError) -> Rows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        remedy = "pip install 'hardprompt[parquet]', or save the table as .csv"
        raise DataError(path, None, f"reading .parquet needs pyarrow, which is not installed: {remedy}") from error
    try:
        with path.open("rb") as file:
            table = parquet.ParquetFile(file)
            if missing := [name for name in needed if name not in table.schema_arrow.names]:
                columns = ", ".join(table.schema_arrow.names)
                raise DataError(path, None, f"no column {', '.join(missing)}; the columns are {columns}")
            number = 0
            for batch in table.iter_batches():
                for entry in batch.to_pylist():
                    number += 1
                    try:
                        row = _object(path, number, entry, needed)
                    except DataError as error:
                        on_error(error)
                        continue
                    yield number, row
    except OSError as error:
        raise DataError(path, None, f"cannot be read ({error.strerror or error}); expected a parquet file") from error
    except (pyarrow.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(path, None, f"not a valid parquet file ({reason}); save the table again") from error


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
