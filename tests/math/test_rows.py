"""Reading rows of files in every format. Malformed files are tested in test_malformed_files.py."""

import json
import time
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hardprompt.data.rows import read_rows
from hardprompt.errors import TaskError


def rows_of(folder: Path, name: str, content: bytes, **arguments: Any) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a file with this content."""
    (folder / name).write_bytes(content)
    return list(read_rows(folder / name, **arguments))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("x.tsv", [b"text\tlabel", b"caf\xc3\xa9\t0", b"tea\t1"]),
        ("x.csv", [b"text,label", b"caf\xc3\xa9,0", b'"tea",1']),
        ("x.jsonl", [b"", b'{"text": "caf\xc3\xa9", "label": "0"}', b'{"label": "1", "text": "tea"}']),
        ("x.json", [b"[", b'{"text": "caf\xc3\xa9", "label": "0"},', b'{"text": "tea", "label": "1"}]']),
    ],
)
def test_byte_order_marks_and_line_ends_are_not_part_of_the_text(
    name: str, lines: list[bytes], last: bool, end: bytes, mark: bytes, tmp_path: Path
) -> None:
    """A byte-order mark, Windows line ends and a missing last line end change nothing, and blank lines are skipped."""
    content = mark + end.join(lines) + (end if last else b"")
    assert rows_of(tmp_path, name, content) == [(2, {"text": "café", "label": "0"}), (3, {"text": "tea", "label": "1"})]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('say "no" now', 'say "no" now'),
        ('"no" he said', '"no" he said'),
        ('"all of it"', '"all of it"'),
        ('"open', '"open'),
        ('"', '"'),
        ('""', '""'),
        ('"a ""b"" c"', 'a "b" c'),
        ('"a ""b"""', 'a "b"'),
        ('"a ""b" c"', '"a ""b" c"'),
        ('5"" disk', '5"" disk'),
        (" a \u2028b\x85c\x0bd ", " a \u2028b\x85c\x0bd "),
        ("{prompt} {0}", "{prompt} {0}"),
    ],
)
def test_quotes_in_tsv_are_text_unless_pandas_wrote_them(written: str, read: str, tmp_path: Path) -> None:
    """Quotes are removed only from a field with doubled quotes within quotes. Only LF ends a line."""
    assert rows_of(tmp_path, "x.tsv", f"text\tlabel\n{written}\t1\n".encode()) == [(2, {"text": read, "label": "1"})]


def test_files_written_by_pandas_are_read_back(tmp_path: Path) -> None:
    """csv files keep quotes, commas, tabs and line breaks. tsv files keep quotes; other special characters are refused."""
    import pandas as pd

    texts = ['"quoted"', 'a "b"', "a, b", "tab\tin it", "two\nlines", "two\r\nlines", "plain", ' "', "''", "\\"]
    table = pd.DataFrame({"text": texts, "label": [str(i) for i in range(len(texts))]})
    table.to_csv(tmp_path / "x.csv", index=False)
    found = [row["text"] for _, row in read_rows(tmp_path / "x.csv")]
    assert found == [text.replace("\r\n", "\n") for text in texts]
    assert [line for line, _ in read_rows(tmp_path / "x.csv")] == [2, 3, 4, 5, 6, 8, 10, 11, 12, 13]

    kept = table[~table["text"].str.contains("[\t\n]", regex=True)]
    kept.to_csv(tmp_path / "x.tsv", index=False, sep="\t")
    assert [row["text"] for _, row in read_rows(tmp_path / "x.tsv")] == list(kept["text"])
    table.to_csv(tmp_path / "y.tsv", index=False, sep="\t")
    with pytest.raises(TaskError, match=r"y\.tsv:5: 3 fields, expected 2 \(text, label\); .*use csv"):
        list(read_rows(tmp_path / "y.tsv"))


def test_json_values_are_unchanged(tmp_path: Path) -> None:
    """Tabs, line breaks, quotes and escapes inside a JSON text are kept, and numbers and truth values keep their types."""
    entries = [{"text": 'a\t"b"\n\u2028c 😀', "label": True}, {"text": "", "label": 3}]
    lines = "\n".join(json.dumps(entry) for entry in entries).encode()
    assert [row for _, row in rows_of(tmp_path, "x.jsonl", lines)] == entries
    indented = json.dumps(entries, indent=1).encode()
    assert rows_of(tmp_path, "x.json", indented) == [(2, entries[0]), (6, entries[1])]
    assert rows_of(tmp_path, "empty.json", b" [ \n ] ") == []


def test_a_csv_without_a_header(tmp_path: Path) -> None:
    """If the first field is a number, the file has the given columns; otherwise the first line is the header."""
    columns = ("class", "title")
    assert rows_of(tmp_path, "a.csv", b'3,"a, b"\n1,c\n', headerless=columns) == [
        (1, {"class": "3", "title": "a, b"}),
        (2, {"class": "1", "title": "c"}),
    ]
    assert rows_of(tmp_path, "b.csv", b"title,class\nc,1\n", headerless=columns) == [(2, {"title": "c", "class": "1"})]
    with pytest.raises(TaskError, match=r"c\.csv:1: 3 fields, expected 2 \(class, title\)"):
        rows_of(tmp_path, "c.csv", b"3,a,b\n", headerless=columns)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """For a table the error is reported at the header, for JSON objects at the line."""
    with pytest.raises(TaskError, match=r"x\.tsv:1: no column label; the columns are text, class"):
        rows_of(tmp_path, "x.tsv", b"text\tclass\na\t1\n", needed=("text", "label"))
    with pytest.raises(TaskError, match=r"x\.json:2: missing label; expected an object with text, label"):
        rows_of(tmp_path, "x.json", b'[{"text": "a", "label": 1},\n{"text": "a"}]', needed=("text", "label"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "text\tlabel\n%s\t1\n"),
        ("x.csv", 'text,label\n"%s",1\n'),
        ("x.jsonl", '\n{"text": "%s", "label": "1"}\n'),
        ("x.json", '[\n{"text": "%s", "label": "1"}]'),
    ],
)
def test_only_a_line_feed_ends_a_line(name: str, content: str, tmp_path: Path) -> None:
    """Other Unicode line separators are part of the text in every format."""
    text = "a\u2028b\u2029c\x85d"
    assert rows_of(tmp_path, name, (content % text).encode()) == [(2, {"text": text, "label": "1"})]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["big.tsv", "big.jsonl"])
def test_a_million_lines_are_read_one_by_one(name: str, tmp_path: Path) -> None:
    """The lines are never in memory together, and an error in the last line is reported with its number."""
    header, row = ("text\tlabel\n", "a film\t1\n") if name == "big.tsv" else ("\n", '{"text": "a film", "label": 1}\n')
    with (tmp_path / name).open("wb") as file:
        file.write((header + row * 999_998).encode() + b"\xe9\n")
    begun = list(islice(read_rows(tmp_path / name), 3))
    assert [line for line, _ in begun] == [2, 3, 4]
    count, started = 0, time.process_time()
    tracemalloc.start()
    with pytest.raises(TaskError, match=rf"{name}:1000000: byte 0xe9"):
        for _ in read_rows(tmp_path / name):
            count += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 999_998 and peak < 1e6, "bytes"
    assert time.process_time() - started < 120, "seconds; a tenth of it without the tracing of memory"
