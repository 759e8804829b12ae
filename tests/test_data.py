"""The reader of files: what each format means, and which line is named when a file breaks it."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hardprompt.data import read_rows
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
def test_marks_and_line_ends_are_no_text(
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
def test_quotes_in_tsv_are_text_unless_pandas_put_them_there(written: str, read: str, tmp_path: Path) -> None:
    """Only a field that holds doubled quotes within quotes is freed of them; only LF ends a line."""
    assert rows_of(tmp_path, "x.tsv", f"text\tlabel\n{written}\t1\n".encode()) == [(2, {"text": read, "label": "1"})]


def test_what_pandas_writes_is_read_back(tmp_path: Path) -> None:
    """Quotes, commas, tabs and line breaks survive csv; tsv carries quotes, and refuses what it cannot carry."""
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


def test_values_of_json_stay_what_they_are(tmp_path: Path) -> None:
    """Tabs, line breaks, quotes and escapes inside a JSON text are part of it; numbers and truth values stay."""
    entries = [{"text": 'a\t"b"\n\u2028c 😀', "label": True}, {"text": "", "label": 3}]
    lines = "\n".join(json.dumps(entry) for entry in entries).encode()
    assert [row for _, row in rows_of(tmp_path, "x.jsonl", lines)] == entries
    indented = json.dumps(entries, indent=1).encode()
    assert rows_of(tmp_path, "x.json", indented) == [(2, entries[0]), (6, entries[1])]
    assert rows_of(tmp_path, "empty.json", b" [ \n ] ") == []


def test_a_csv_without_a_header(tmp_path: Path) -> None:
    """Its columns are those that are said to be there, if its first field is a number; a header is a header."""
    columns = ("class", "title")
    assert rows_of(tmp_path, "a.csv", b'3,"a, b"\n1,c\n', headerless=columns) == [
        (1, {"class": "3", "title": "a, b"}),
        (2, {"class": "1", "title": "c"}),
    ]
    assert rows_of(tmp_path, "b.csv", b"title,class\nc,1\n", headerless=columns) == [(2, {"title": "c", "class": "1"})]
    with pytest.raises(TaskError, match=r"c\.csv:1: 3 fields, expected 2 \(class, title\)"):
        rows_of(tmp_path, "c.csv", b"3,a,b\n", headerless=columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tsv", b"text\tlabel\na\t0\n\xff\t1\n", r"x\.tsv:3: byte 0xff is not UTF-8"),
        ("x.tsv", b"text\tlabel\na\t0\ncut \xc3\n", r"x\.tsv:3: byte 0xc3 is not UTF-8"),
        ("x.tsv", "text\tlabel\n".encode("utf-16"), r"x\.tsv:1: byte 0xff is not UTF-8"),
        ("x.tsv", b"", r"x\.tsv:1: the file is empty"),
        ("x.tsv", b"\n\ntext\tlabel\na\n", r"x\.tsv:4: 1 fields, expected 2"),
        ("x.tsv", b"text\tlabel\na\tb\t0\n", r"x\.tsv:2: 3 fields, expected 2"),
        ("x.tsv", b"text\ttext\na\tb\n", r"x\.tsv:1: two columns of one name"),
        ("x.tsv", b'text\tlabel\n"two\nlines"\t0\n', r"x\.tsv:2: 1 fields, expected 2"),
        ("x.tsv", b"text\tlabel\ra\t0\rb\t1\r", r"x\.tsv:1: a carriage return within the line; end lines with LF or CRLF"),
        ("x.tsv", b"text\tlabel\n \n", r"x\.tsv:2: 1 fields, expected 2"),
        ("x.csv", b"text,label\n  \n", r"x\.csv:2: 1 fields, expected 2"),
        ("x.csv", b'text,label\n"a\nb",0\n\xe9,1\n', r"x\.csv:4: byte 0xe9 is not UTF-8"),
        ("x.csv", b'text,label\n"a\nb",0\nc,1,2\n', r"x\.csv:4: 3 fields, expected 2"),
        ("x.csv", b'text,label\na,0\n"never closed,1\nb,0\n', r"x\.csv:3: no row of a csv file \(unexpected end of data\)"),
        ("x.csv", b'text,label\n"a" b,0\n', r"x\.csv:2: no row of a csv file \(',' expected after '\"'\)"),
        ("x.csv", b"text,label\ra,0\r", r"x\.csv:1: no row of a csv file"),
        ("x.csv", b"text,label\n" + b"a" * 200_000 + b",0\n", r"x\.csv:2: no row of a csv file \(field larger"),
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"x\.jsonl:2: not JSON"),
        ("x.jsonl", b'{"text": "a"}\n\n{"text": "\xe9"}\n', r"x\.jsonl:3: byte 0xe9 is not UTF-8"),
        ("x.jsonl", b'{"text": "a\tb"}\n', r"x\.jsonl:1: not JSON \(Invalid control"),
        ("x.jsonl", b'{"text": "\\ud83d"}\n', r"x\.jsonl:1: half of a surrogate pair \(\\ud83d\)"),
        ("x.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", r"x\.jsonl:1: JSON that cannot be read"),
        ("x.jsonl", b'{"text": ' + b"9" * 5_000 + b"}\n", r"x\.jsonl:1: JSON that cannot be read"),
        ("x.jsonl", b'"text"\n', r"x\.jsonl:1: expected an object"),
        ("x.json", b'[{"text": "a"},\n\n{"text": }]', r"x\.json:3: not JSON"),
        ("x.json", b'[{"text": "a"},\n\n 7]', r"x\.json:3: expected an object"),
        ("x.json", b'{"text": "a"}', r"x\.json:1: expected a list of objects"),
        ("x.json", b'[{"text": "a"},\n{"text": "\xff"}]', r"x\.json:2: byte 0xff is not UTF-8"),
        ("x.json", b"", r"x\.json:1: not JSON"),
        ("x.txt", b"text\n", r"x\.txt has no ending that says its format; expected one of \.tsv, \.csv, \.jsonl, \.json"),
    ],
)
def test_a_broken_line_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """One line that gives file and line."""
    with pytest.raises(TaskError, match=message) as caught:
        rows_of(tmp_path, name, content)
    assert "\n" not in str(caught.value)


def test_columns_that_are_needed(tmp_path: Path) -> None:
    """A lacking column is named: of a table at its header, of objects at the line."""
    with pytest.raises(TaskError, match=r"x\.tsv:1: no column label; the columns are text, class"):
        rows_of(tmp_path, "x.tsv", b"text\tclass\na\t1\n", needed=("text", "label"))
    with pytest.raises(TaskError, match=r"x\.json:2: missing label; expected an object with text, label"):
        rows_of(tmp_path, "x.json", b'[{"text": "a", "label": 1},\n{"text": "a"}]', needed=("text", "label"))


@pytest.mark.parametrize("name", ["big.tsv", "big.jsonl"])
def test_a_million_lines(name: str, tmp_path: Path) -> None:
    """They are read one by one, the first at once, and what is wrong with the last one is said of it."""
    header, row = ("text\tlabel\n", "a film\t1\n") if name == "big.tsv" else ("\n", '{"text": "a film", "label": 1}\n')
    with (tmp_path / name).open("wb") as file:
        file.write((header + row * 999_998).encode() + b"\xe9\n")
    begun = list(islice(read_rows(tmp_path / name), 3))
    assert [line for line, _ in begun] == [2, 3, 4]
    count = 0
    with pytest.raises(TaskError, match=rf"{name}:1000000: byte 0xe9"):
        for _ in read_rows(tmp_path / name):
            count += 1
    assert count == 999_998
