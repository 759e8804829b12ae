"""Data with blemishes: unusable rows, examples in two splits, and files in other forms."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

import hardprompt as hp
from hardprompt.data.task import data_warnings
from hardprompt.errors import DataError, TaskError
from hardprompt.records.store import load_points
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, tiny_lm

YAML = """\
template: "{input} {prompt} :"
data: {train: train.csv, dev: dev.csv, test: test.csv}
label_words: {positive: good, negative: bad}
reference_prompts: [good or bad]
"""
ROWS = [f"the cat sat {word},{label}" for word in ("on a mat", "near", "and looked") for label in ("positive", "negative")]


def write_task(folder: Path, more: str = "", **rows: list[str]) -> Path:
    """A task with one file for each part; by default the parts have no input in common."""
    folder.mkdir()
    (folder / "task.yaml").write_text(YAML + more, encoding="utf-8")
    for part in ("train", "dev", "test"):
        own = rows.get(part) or [f"{part} {row}" for row in ROWS]
        (folder / f"{part}.csv").write_text("\n".join(["input,answer", *own, ""]), encoding="utf-8")
    return folder


BROKEN = [*ROWS, " ,positive", "a film,neutral", "a,film,positive"]


def test_unusable_rows_are_left_out_only_on_request(tmp_path: Path) -> None:
    """By default the first unusable row is an error; rows that are left out are counted by file."""
    task = write_task(tmp_path / "mood", train=BROKEN)
    with pytest.raises(DataError, match=r"train\.csv:8: input is empty"):
        hp.load_task(str(task))
    loaded = hp.load_task(str(task), skip_unusable=True)
    assert loaded.rows_skipped == {str(task / "train.csv"): 3} and len(loaded.train) == len(ROWS)
    assert loaded.warnings == [f"task mood: 3 unusable rows are left out of {task / 'train.csv'}"]
    skipping = write_task(tmp_path / "skip", "unusable: skip\n", train=BROKEN)
    assert hp.load_task(str(skipping)).rows_skipped == {str(skipping / "train.csv"): 3}
    found = [finding for finding in hp.validate(skipping, tiny_lm("gpt2")).findings if "left out" in finding.message]
    assert [(finding.level, finding.line) for finding in found] == [("warning", line) for line in (8, 9, 10)]
    assert hp.validate(task, tiny_lm("gpt2")).errors == 3


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_line_that_is_not_utf8_is_one_unusable_row(ending: str, tmp_path: Path) -> None:
    """The rows around it are read; the broken characters are in no example."""
    texts = [b"a caf\xe9", *(f"film {number}".encode() for number in range(10))]
    line = {"csv": b'"%s",%d', "tsv": b"%s\t%d", "jsonl": b'{"text": "%s", "label": %d}'}[ending]
    header = {"csv": b"text,label\n", "tsv": b"text\tlabel\n", "jsonl": b""}[ending]
    file = tmp_path / f"x.{ending}"
    file.write_bytes(header + b"".join(line % (text, number % 2) + b"\n" for number, text in enumerate(texts)))
    task = hp.load_task("sst2", data=file, skip_unusable=True)
    found = [example.input for part in (task.train, task.dev, task.test) for example in part]
    assert sorted(found) == sorted(f"film {number}" for number in range(10)) and task.rows_skipped == {str(file): 1}


def test_broken_lines_in_a_row_of_several_lines_are_one_row(tmp_path: Path) -> None:
    rows = b"".join(b"film %d,%d\n" % (number, number % 2) for number in range(10))
    (tmp_path / "x.csv").write_bytes(b'text,label\n"two\nlines \xe9",1\n' + rows)
    task = hp.load_task("sst2", data=tmp_path / "x.csv", skip_unusable=True)
    assert task.rows_skipped == {str(tmp_path / "x.csv"): 1}
    assert len(task.train) + len(task.dev) + len(task.test) == 10


def test_a_published_split_with_an_empty_sentence(tmp_path: Path) -> None:
    """One split of the published files has the row, another one has not."""
    for seed in ("3", "7"):
        (tmp_path / f"16-{seed}").mkdir()
        for part in ("train", "dev"):
            rows = [f"{part} {seed} {number}\t{number % 2}" for number in range(4)] + ["\t1"] * (seed == "3")
            (tmp_path / f"16-{seed}" / f"{part}.tsv").write_text("\n".join(["sentence\tlabel", *rows, ""]))
    (tmp_path / "test.tsv").write_text("sentence\tlabel\na\t0\nb\t1\n")
    with pytest.raises(TaskError, match=r"16-3/\w+\.tsv:6: sentence is empty"):
        hp.load_task("sst2", "3", tmp_path)
    for split, count in (("3", 2), ("7", 0)):
        task = hp.load_task("sst2", split, tmp_path, skip_unusable=True)
        assert (len(task.train), len(task.dev), sum(task.rows_skipped.values())) == (4, 4, count)


def test_a_jsonl_task_leaves_unusable_lines_out(tmp_path: Path) -> None:
    lines = [json.dumps({"input": f"a {part}", "answer": "good", "split": part}) for part in ("train", "Dev ", "test")]
    (tmp_path / "x.jsonl").write_text("\n".join([*lines, '{"input": "", "answer": "good", "split": "dev"}', "{"]))
    with pytest.raises(TaskError, match=r"x\.jsonl:4: input is empty"):
        hp.Task.from_jsonl(tmp_path / "x.jsonl", template="{input} {prompt}")
    task = hp.Task.from_jsonl(tmp_path / "x.jsonl", template="{input} {prompt}", skip_unusable=True)
    assert task.rows_skipped == {str(tmp_path / "x.jsonl"): 2} and len(task.dev) == 1


def test_overlap_is_counted_by_input_and_by_input_and_answer(tmp_path: Path) -> None:
    train = ["a,positive", "b,negative", "c,positive"]
    task = hp.load_task(str(write_task(tmp_path / "mood", train=train, test=["a,positive", "b,positive", "d,negative"])))
    none = {"inputs": 0, "same_answer": 0}
    assert task.overlap == {"test_in_train": {"inputs": 2, "same_answer": 1}, "dev_in_train": none, "test_in_dev": none}
    assert data_warnings({"test_in_train": none}, {}) == []


def study_of(folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, task: Path, *options: str) -> tuple[Any, str, str]:
    """The points, the page and the printed text of a small study."""
    monkeypatch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
    save_tiny(folder / "tiny")
    out = str(folder / "record")
    small = ["--lm", str(folder / "tiny"), "--optimizers", "empty,manual", "--weights", "0", "--seeds", "0", "--device", "cpu"]
    status, printed, err = ask(["compare", "--task", str(task), *small, "--out", out, *options])
    assert (status, err) == (0, "")
    return load_points(out), Path(out, "report.html").read_text(encoding="utf-8"), " ".join(printed.split())


def test_a_test_set_that_is_in_train_is_reported(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the output, in every point of the record, and on the page."""
    task = write_task(tmp_path / "mood", train=ROWS, test=ROWS)
    points, page, printed = study_of(tmp_path, ask, monkeypatch, task)
    assert printed.count("warning: test and train overlap: 6 test examples are also in train (6 with the same answer)") == 1
    assert points["overlap.test_in_train.inputs"].tolist() == [6, 6]
    assert page.count("test and train overlap: 6 test examples are also in train") == 1


def test_rows_that_are_left_out_are_reported(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of rows and the file; the command that repeats the study leaves them out as well."""
    task = write_task(tmp_path / "mood", test=BROKEN)
    points, page, printed = study_of(tmp_path, ask, monkeypatch, task, "--skip-unusable")
    assert printed.count("warning: 3 unusable rows are left out of ") == 1
    assert points[f"rows_skipped.{task / 'test.csv'}"].tolist() == [3, 3]
    assert page.count(f"3 unusable rows are left out of {task / 'test.csv'}") == 1 and "--skip-unusable" in page


def test_clean_data_have_no_warning(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    points, page, printed = study_of(tmp_path, ask, monkeypatch, write_task(tmp_path / "mood"))
    assert "overlap" not in printed and "Warning" not in page
    assert points["overlap.test_in_train.inputs"].tolist() == [0, 0]


def test_python_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a task by name and for a task as an object."""
    folder = write_task(tmp_path / "mood", train=ROWS, test=ROWS)
    with caplog.at_level(logging.WARNING, logger="hardprompt"):
        for task in (folder, hp.load_task(str(folder))):
            caplog.clear()
            hp.optimize(task, tiny_lm("gpt2"), "manual")
            assert [record.getMessage()[:37] for record in caplog.records] == ["task mood: test and train overlap: 6 "]
        caplog.clear()
        monkeypatch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
        save_tiny(tmp_path / "tiny")
        request = hp.StudyRequest(
            task=str(folder), lm=str(tmp_path / "tiny"), optimizers=("empty",), weights=(0.0,), device="cpu"
        )
        hp.compare(request, tmp_path / "record")
        assert [record.getMessage()[:37] for record in caplog.records] == ["task mood: test and train overlap: 6 "]


TABLE = [{"text": f"film {number}", "label": number % 2} for number in range(10)]


def as_bytes(kind: str, folder: Path) -> bytes:
    """The table as a file of this kind."""
    import pandas as pd

    frame = pd.DataFrame(TABLE)
    if kind == "parquet":
        frame.to_parquet(folder / "t")
        return (folder / "t").read_bytes()
    lines = "\n".join(map(json.dumps, TABLE))
    csv = frame.to_csv(index=False)
    return {
        "lines": lines.encode(),
        "windows": lines.replace("\n", "\r\n").encode("utf-8-sig"),
        "utf-16": csv.encode("utf-16"),
        "tabs": frame.to_csv(index=False, sep="\t").encode("utf-16"),
        "csv": csv.encode(),
        "fractions": frame.astype({"label": float}).to_csv(index=False).encode(),
        "blanks": csv.replace(",", " , ").encode(),
        "fractions in JSON": frame.astype({"label": float}).to_json(orient="records").encode(),
    }[kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.json", "lines"),
        ("x.JSONL", "lines"),
        ("x.json", "windows"),
        ("x.csv", "utf-16"),
        ("x.tsv", "tabs"),
        ("x.CSV", "csv"),
        ("x.csv", "fractions"),
        ("x.csv", "blanks"),
        ("x.json", "fractions in JSON"),
        ("x.parquet", "parquet"),
        ("d/Train.CSV", "csv"),
        ("d/train-00000-of-00001.parquet", "parquet"),
    ],
)
def test_other_forms_of_files_are_read(name: str, kind: str, tmp_path: Path) -> None:
    """All of them give the task of the plain csv file."""
    (tmp_path / "plain.csv").write_bytes(as_bytes("csv", tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(as_bytes(kind, tmp_path))
    given = tmp_path / name.partition("/")[0]
    assert hp.load_task("sst2", data=given).digest == hp.load_task("sst2", data=tmp_path / "plain.csv").digest


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(TaskError, match=r"x\.parquet: reading \.parquet needs pyarrow.* pip install 'hardprompt\[parquet\]'"):
        hp.load_task("sst2", data=tmp_path / "x.parquet")


def test_a_compressed_file_is_refused_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(gzip.compress(as_bytes("csv", tmp_path)))
    with pytest.raises(TaskError, match="compressed with gzip; unpack it first"):
        hp.load_task("sst2", data=tmp_path / "x.csv")
