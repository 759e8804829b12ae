"""Custom tasks: the template works unchanged, all errors are reported at once with their lines, and no code is run."""

import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hardprompt.custom_task.checks import lengths
from hardprompt.custom_task.report import checked_lines
from hardprompt.custom_task.scaffold import START
from hardprompt.custom_task.trivial_baselines import baselines
from hardprompt.custom_task.validate import validate
from hardprompt.data.catalogue import load_task
from hardprompt.data.datasets import SourceExample
from hardprompt.data.rows import read_rows
from hardprompt.data.task import Example
from hardprompt.errors import DataError, RequestError
from hardprompt.lm import FrozenLM
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_tasks
from tests.helpers import Ask
from tests.helpers.tiny import tiny_task

YAML = """\
name: mood
template: "{input} {prompt}:"
data: data.csv
columns:
  input: text
  answer: label
label_words:
  positive: good
  negative: bad
reference_prompts:
  - was it good
"""
CSV = """\
text,label,split
the soup was lovely,positive,train
the soup was bad,negative,train
the meal was lovely,positive,dev
the meal was bad,negative,dev
the bread was lovely,positive,test
the bread was bad,negative,test
"""
PARTS = YAML.replace("data: data.csv\n", "data:\n  train: train.csv\n  test: test.csv\n")
"""Here the label words are on lines 10 and 11."""


def own(folder: Path, yaml: str = YAML, **files: str) -> Path:
    """A task's folder; `data_csv` is the text of data.csv."""
    folder = folder / "own"
    folder.mkdir()
    (folder / "task.yaml").write_text(yaml, encoding="utf-8")
    for name, text in ({"data_csv": CSV} | files).items():
        (folder / name.replace("_", ".")).write_bytes(text.encode("utf-8", errors="surrogateescape"))
    return folder


def swapped(*pairs: str, text: str = YAML) -> str:
    """A text with parts of it replaced, each of which is there."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return text


def data(*rows: str, at: int = 7) -> dict[str, str]:
    """The data with rows put in before the last one, or elsewhere."""
    lines = CSV.splitlines()
    return {"data_csv": "\n".join([*lines[: at - 1], *rows, *lines[at - 1 :]]) + "\n"}


LONG = "the soup was lovely and " * 40

# name -> (task.yaml, files, the findings expected: level, file, line, pattern)
Case = tuple[str, dict[str, str], list[tuple[str, str, int | None, str]]]
WRONG: dict[str, Case] = {
    "no yaml": ("template: [\n", {}, [("error", "task.yaml", 2, "not valid YAML")]),
    "tab": ("template: x\n\tdata: y\n", {}, [("error", "task.yaml", 2, "not valid YAML")]),
    "empty file": ("", {}, [("error", "task.yaml", 1, "expected fields")]),
    "a list": ("- template\n", {}, [("error", "task.yaml", 1, "expected fields")]),
    "two documents": (YAML + "---\na: b\n", {}, [("error", "task.yaml", 12, "not valid YAML.*another document")]),
    "bad byte": (YAML.replace("mood", "caf\udce9"), {}, [("error", "task.yaml", 1, "byte 0xe9 is not UTF-8")]),
    "unknown field": (swapped("label_words", "label_word"), {}, [("error", "task.yaml", 7, "did you mean 'label_words'")]),
    "unknown column field": (swapped("  answer:", "  anser:"), {}, [("error", "task.yaml", 6, "did you mean 'answer'")]),
    "field twice": (YAML + "name: again\n", {}, [("error", "task.yaml", 12, "'name' is repeated; the first is on line 1")]),
    "'template' is missing": (
        swapped('template: "{input} {prompt}:"\n', ""),
        {},
        [("error", "task.yaml", 1, "'template' is missing")],
    ),
    "no data": (swapped("data: data.csv\n", ""), {}, [("error", "task.yaml", 1, "the field 'data' is missing")]),
    "template without prompt": (swapped(" {prompt}", ""), {}, [("error", "task.yaml", 2, "{prompt} 0 times")]),
    "template no text": (swapped('"{input} {prompt}:"', "[a]"), {}, [("error", "task.yaml", 2, "template: expected text")]),
    "name with a slash": (swapped("name: mood", "name: a/b"), {}, [("error", "task.yaml", 1, "name: ")]),
    "data file not there": (swapped("data.csv", "date.csv"), {}, [("error", "task.yaml", 3, "no file .*date.csv; .*relative")]),
    "data of no format": (swapped("data.csv", "task.yaml"), {}, [("error", "task.yaml", 3, "no known file extension")]),
    "data unknown part": (
        swapped("data: data.csv", "data:\n  trian: data.csv"),
        {},
        [("error", "task.yaml", 4, "data.trian: expected '', 'train', 'dev' or 'test'")],
    ),
    "data without train": (swapped("data: data.csv", "data:\n  dev: data.csv"), {}, [("error", "task.yaml", 3, "train: FILE")]),
    "match beside label words": (
        YAML + "match: starts-with\n",
        {},
        [("error", "task.yaml", 12, "'starts-with' is for generation, and there are label words")],
    ),
    "columns no fields": (
        swapped("columns:\n  input: text\n  answer: label", "columns: text"),
        {},
        [("error", "task.yaml", 4, "columns: expected fields such as NAME: VALUE")],
    ),
    "column with a format": (swapped("input: text", "input: '{text!r}'"), {}, [("error", "task.yaml", 5, "neither a column")]),
    "column that is a number": (swapped("input: text", "input: 0"), {}, [("error", "task.yaml", 5, "neither a column")]),
    "column within a column": (swapped("input: text", "input: '{a{b}}'"), {}, [("error", "task.yaml", 5, "columns.input: ")]),
    "label words a list": (
        swapped("  positive: good\n  negative: bad", "  - good\n  - bad"),
        {},
        [("error", "task.yaml", 7, "label_words: expected fields such as NAME: VALUE")],
    ),
    "one label word": (swapped("  negative: bad\n", ""), {}, [("error", "task.yaml", 7, "a single label word")]),
    "labels of two cases": (YAML.replace("negative", "Positive"), {}, [("error", "task.yaml", 7, "upper and lower case")]),
    "label word empty": (swapped(": bad", ": ''"), {}, [("error", "task.yaml", 9, "expected text that is not empty")]),
    "label word missing": (swapped(": bad", ":"), {}, [("error", "task.yaml", 9, "expected text; got None")]),
    "label that is a truth value": (
        swapped("positive:", "yes:", text=YAML),
        {"data_csv": CSV.replace("positive", "yes")},
        [("error", "task.yaml", 8, "not a text in YAML but a bool; put it in quotes: 'yes'")],
    ),
    "match": (YAML + "match: exactly\n", {}, [("error", "task.yaml", 12, "match: ")]),
    "reference prompts a text": (
        swapped("reference_prompts:\n  - was it good", "reference_prompts: was it good"),
        {},
        [("error", "task.yaml", 10, "expected a list, such as "), ("warning", "task.yaml", 10, "manual")],
    ),
    "label word of several tokens": (swapped(": bad", ": rotten"), {}, [("error", "task.yaml", 9, "'rotten' is . tokens of")]),
    "label words of one token": (swapped(": bad", ": good"), {}, [("error", "task.yaml", 9, "begin with the same token")]),
    "label words of one beginning": (
        swapped(": good", ": zqx", ": bad", ": zqy"),
        {},
        [
            ("error", "task.yaml", 8, "'zqx' is . tokens"),
            ("error", "task.yaml", 9, "'zqy' is . tokens"),
            ("error", "task.yaml", 9, "'zqx' and 'zqy' begin with the same token"),
        ],
    ),
    "label without example": (
        swapped("  negative: bad", "  negative: bad\n  neutral: work"),
        {},
        [("error", "task.yaml", 10, "no example has the label 'neutral'")],
    ),
    "reference prompt of blanks": (
        swapped("- was it good", "- ' '"),
        {},
        [("error", "task.yaml", 10, "reference prompt is empty"), ("warning", "task.yaml", 10, "no reference_prompts")],
    ),
    "no reference prompt": (YAML.partition("reference")[0], {}, [("warning", "task.yaml", 1, "no reference_prompts")]),
    "column not there": (
        swapped("input: text", "input: txt"),
        {},
        [("error", "data.csv", 1, "no column txt; the columns are text, label, split")],
    ),
    "data empty": (YAML, {"data_csv": ""}, [("error", "data.csv", 1, "the file is empty")]),
    "no rows": (YAML, {"data_csv": "text,label\n"}, [("error", "task.yaml", 3, "has no example")]),
    "unknown labels": (
        YAML,
        data("the food was x,neutral,train", "the food was y,0,dev"),
        [("error", "data.csv", 7, "'neutral' is none of positive, negative"), ("error", "data.csv", 8, "'0' is none of")],
    ),
    "unknown split": (YAML, data("the food was x,positive,tset"), [("error", "data.csv", 7, "'tset' is none of train, dev")]),
    "empty input and unknown label": (
        YAML,
        data(" ,neutral,train"),
        [("error", "data.csv", 7, "text is empty"), ("error", "data.csv", 7, "'neutral' is none of")],
    ),
    "ragged rows": (
        YAML,
        data("a", "a,b,c,d,e"),
        [("error", "data.csv", 7, "1 fields, expected 3"), ("error", "data.csv", 8, "5 fields, expected 3")],
    ),
    "bytes and quotes": (
        YAML,
        data("caf\udce9,positive,train", '"the" food,positive,train'),
        [("error", "data.csv", 7, "byte 0xe9 is not UTF-8"), ("error", "data.csv", 8, "not a valid csv row")],
    ),
    "twice in two parts": (
        YAML,
        data("the soup was lovely,positive,test"),
        [("error", "data.csv", 7, "is in test and in train .*data.csv:2")],
    ),
    "twice in one part": (
        YAML,
        data("the meal was bad,positive,dev"),
        [("warning", "data.csv", 7, "repeats an input; it was first at .*data.csv:5, with another answer")],
    ),
    "longer than the context": (
        YAML,
        data(f"{LONG},positive,train"),
        [("error", "data.csv", 7, r"is \d+ tokens with a prompt of \d, but the context of microworld is 128")],
    ),
    "unbalanced": (
        YAML,
        data(*(f"the food was so {word},positive,train" for word in ("old", "new", "red", "hot")), at=2),
        [("warning", "task.yaml", 3, "labels of train are unbalanced: positive 5, negative 1")],
    ),
    "files of parts": (
        PARTS,
        {
            "train_csv": "text,label\nthe soup was lovely,positive\nthe soup was bad,negtive\n",
            "test_csv": "text,label\nthe soup was lovely,positive\n",
        },
        [
            ("error", "task.yaml", 11, "no example has the label 'negative'"),
            ("error", "test.csv", 2, "is in test and in train"),
            ("error", "train.csv", 3, "'negtive' is none of"),
        ],
    ),
    "test without labels": (
        swapped("  test: test.csv\n", "  dev: data.csv\n  test: test.csv\n", text=PARTS),
        {
            "data_csv": "text,label\nthe meal was lovely,positive\nthe meal was bad,negative\n",
            "train_csv": "text,label\n"
            + "".join(f"the {i} was {w}\n" for i in ("soup", "tea") for w in ("a,positive", "b,negative")),
            "test_csv": "text\nthe bread\n",
        },
        [
            ("warning", "task.yaml", 5, "dev are unbalanced"),
            ("warning", "task.yaml", 6, "test.csv has no example with an answer"),
        ],
    ),
    "json lines": (
        swapped("data.csv", "data.jsonl"),
        {"data_jsonl": '{"text": "a meal", "label": "positive"}\n{"text": 1}\n{\n{"text": 7, "label": "negative"}\n'},
        [
            ("error", "data.jsonl", 2, "missing label"),
            ("error", "data.jsonl", 3, "not JSON"),
            ("error", "data.jsonl", 4, "text is not a text but 7"),
            ("error", "task.yaml", 9, "no example has the label 'negative'"),
        ],
    ),
    "everything at once": (
        swapped("mood\n", "mood\nlicense: mine\n", "{prompt}", "{promt}", ": bad", ": rotten"),
        data("the food was x,neutral,train", ",positive,train"),
        [
            ("error", "data.csv", 7, "'neutral' is none of"),
            ("error", "data.csv", 8, "text is empty"),
            ("error", "task.yaml", 2, "did you mean 'licence'"),
            ("error", "task.yaml", 3, "{prompt} 0 times"),
            ("error", "task.yaml", 10, "'rotten' is . tokens"),
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_all_errors_of_a_task_are_reported(case: str, tmp_path: Path, microworld: FrozenLM) -> None:
    """All errors are reported at once with file and line. A task with errors is not scored, and a study refuses it."""
    yaml, files, expected = WRONG[case]
    (tmp_path / "x").mkdir()
    folder = own(tmp_path / "x", "", **files)
    (folder / "task.yaml").write_bytes(yaml.encode("utf-8", errors="surrogateescape"))
    checked = validate(folder, microworld)
    found = [(f.level, Path(f.file).name, f.line, f.message) for f in checked.findings]
    assert [f[:3] for f in found] == [e[:3] for e in expected], found
    for (*_, message), (*_, pattern) in zip(found, expected, strict=True):
        assert re.search(pattern, message) and "\n" not in message, message
    assert bool(checked.scores) == (checked.errors == 0)
    assert not checked.errors or any(line.startswith("error: ") for line in checked_lines(checked))


def test_the_unchanged_task_has_no_errors(tmp_path: Path, microworld: FrozenLM) -> None:
    """The folder that the cases change has no findings, and its examples are shown with text, tokens and scores."""
    checked = validate(own(tmp_path), microworld)
    assert checked.findings == [] and len(checked.shown) == 3 and set(checked.scores) == {"empty", "majority", "model_prior"}
    assert checked.shown[0].text == "the soup was lovely was it good:" and checked.shown[0].answer == " good"
    start, *tokens = checked.shown[0].tokens
    assert start == "<s>" and "".join(tokens).replace("▁", " ").strip() == checked.shown[0].text


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("!!python/object/apply:os.system ['touch ran']\n", 1, "python/object"),
        ("template: !!python/name:os.system\n", 1, "tags are not allowed"),
        (YAML + "source: !!python/object/new:os.system ['touch ran']\n", 12, "tags are not allowed"),
        (YAML + "source: !mine x\n", 12, "tags are not allowed"),
        (BOMB, 9, "anchors and aliases are not allowed"),
        ("a: &a [*a]\n", 1, "anchors and aliases are not allowed"),
        ("a: " + "[" * 5_000 + "]" * 5_000 + "\n", 1, "nested lists and mappings"),
        ("<<: {template: x}\n" + YAML, 1, "not a text in YAML but a merge"),
    ],
)
def test_a_yaml_file_never_runs_code(
    text: str, line: int, message: str, tmp_path: Path, microworld: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags, anchors, bombs and depth are refused at once, by a study as by `validate`, and leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    folder = own(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    found = validate(folder, microworld).findings
    assert any(re.search(message, f.message) and f.line == line for f in found), found
    with pytest.raises(DataError, match=r"task\.yaml:"):
        load_task(str(folder))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_task_can_be_validated_and_compared(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """`new-task`, `validate` and `compare` work one after another without edits. A second `new-task` overwrites nothing."""
    monkeypatch.chdir(tmp_path)
    status, out, err = ask(["new-task", "mood"])
    assert (status, err) == (0, "") and "hardprompt validate mood" in out
    assert {f.name: f.read_bytes() for f in Path("mood").iterdir()} == {f.name: f.read_bytes() for f in START.iterdir()}
    status, out, err = ask(["validate", "mood"])
    assert (
        (status, err) == (0, "") and out.endswith("mood on microworld: 0 errors, 0 warnings\n") and out.count("example ") == 3
    )
    status, out, _ = ask(["validate", "mood/task.yaml", "--json"])
    answer = json.loads(out)
    assert status == 0 and answer["errors"] == 0 and answer["findings"] == [] and len(answer["shown"]) == 3
    small = ["--optimizers", "empty,manual", "--seeds", "0", "--device", "cpu", "--out", "record"]
    status, out, err = ask(["compare", "--task", "mood", *small])
    assert (status, err) == (0, "") and "mood on microworld" in out and Path("record/tradeoff.png").is_file()
    status, out, _ = ask(["optimize", "manual", "--task", "mood/task.yaml", "--json"])
    assert status == 0 and json.loads(out)["test_accuracy"] > 0.5
    status, out, err = ask(["new-task", "mood"])
    assert (status, out) == (2, "") and "already exists" in err
    Path("mood/data.csv").write_text("text,label\n,x\n")
    status, out, err = ask(["validate", "mood"])
    assert (status, err) == (2, "") and "error: mood/data.csv:2: text is empty" in out


PYTHON = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue")]
task = Task(name="words", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples)
"""


def test_a_python_file_runs_only_if_it_is_named(tmp_path: Path, microworld: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `path.py` with one task and `path.py:name` with several. Its findings have no line, and no other file is run."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = own(tmp_path, task_py="raise SystemExit('was run')")
    assert load_task(str(folder)).name == "mood" and not validate(folder, microworld).findings
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(PYTHON)
    two.write_text(PYTHON + "other = Task(name='other', template=task.template, train=examples, dev=examples, test=examples)\n")
    assert load_task(str(one)).name == "words" and load_task(f"{two}:other").name == "other"
    with pytest.raises(RequestError, match=r"defines several \(task, other\); choose one with"):
        load_task(str(two))
    with pytest.raises(RequestError, match="defines none"):
        two.write_text("x = 1")
        load_task(str(two))
    checked = validate(one, microworld)
    assert {(f.level, f.line) for f in checked.findings} == {("error", None), ("warning", None)}
    assert "is in dev and in train (train)" in checked.findings[0].message


def test_a_custom_task_with_splits_shots_data_and_label_words(tmp_path: Path) -> None:
    """A single data file is split by the documented rule, sampled with --splits and --shots, and replaced with --data."""
    rows = "".join(f"the soup number {i} was {w}\n" for i in range(10) for w in ("lovely,positive", "bad,negative"))
    folder = own(tmp_path, data_csv="text,label\n" + rows)
    other = own(tmp_path / "own")
    assert [len(load_task(str(folder)).examples(s)) for s in ("train", "dev", "test")] == [12, 4, 4]
    assert load_task(str(folder), "13").train != load_task(str(folder), "21").train
    assert len(load_task(str(folder), "13", shots=2).train) == 4
    assert len(load_task(str(folder), data=other / "data.csv").train) == 2
    request = StudyRequest.make(task=folder / "task.yaml", label_words={"positive": "yes", "negative": "no"})
    assert load_tasks(request)["default"].label_words == {"positive": "yes", "negative": "no"}


def test_inputs_of_several_columns_and_generation(tmp_path: Path, microworld: FrozenLM) -> None:
    """An input combines columns as the file defines. Without label words answers are texts. Separator and match are kept."""
    yaml = 'template: "{input} {prompt} ="\ndata: data.tsv\nseparator: ""\nmatch: starts-with\ncolumns: {input: "{a} / {b}"}\n'
    text = "a\tb\tanswer\tsplit\n" + "".join(f"x{i}\ty\tz\t{s}\n" for i, s in enumerate(("train", "dev", "test")))
    folder = own(tmp_path, yaml, data_tsv=text)
    task = load_task(str(folder))
    assert (task.name, task.kind, task.separator, task.match) == ("own", "generation", "", "starts-with")
    assert task.train[0].input == "x0 / y"
    assert validate(folder, microworld).scores["model_prior"] is None


def test_baselines_computed_by_hand(microworld: FrozenLM) -> None:
    """The most frequent answer of train and the model's own answers are counted on dev, and shares add up to one."""
    task = tiny_task()
    scores: dict[str, Any] = baselines(task, microworld)
    assert scores["majority"] == {"answer": "positive", "accuracy": 0.5}
    assert scores["model_prior"]["accuracy"] == 0.5
    assert sum(scores["model_prior"]["probabilities"].values()) == pytest.approx(1)


def test_errors_are_collected_or_raised(tmp_path: Path) -> None:
    """The first collected error is the one that is raised otherwise, and the valid rows are the same."""
    file = tmp_path / "x.csv"
    file.write_bytes(b"a,b\n1,2\n1\n\xff,2\n3,4\n")
    found: list[DataError] = []
    note: Callable[[DataError], None] = found.append
    assert [line for line, _ in read_rows(file, on_error=note)] == [2, 4, 5]
    with pytest.raises(DataError) as first:
        list(read_rows(file))
    assert str(first.value) == str(found[0]) and [error.line for error in found] == [3, 4]


@pytest.mark.parametrize(("keep", "level"), [("", "error"), ("start", "warning")])
def test_inputs_that_a_task_cuts_are_warnings(microworld: FrozenLM, keep: str, level: str) -> None:
    long = Example(LONG, "positive")
    task = tiny_task(train=[long], truncate_to=keep)
    [problem] = lengths(task, microworld, [SourceExample("train", long, "data.csv", 2)])
    assert problem.level == level and problem.message.endswith("; its start is kept" if keep else "is 128")
