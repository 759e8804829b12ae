"""Templates, tasks and their files: what they mean and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from hardprompt.data.catalogue import all_tasks, load_task, needs_data
from hardprompt.data.task import Example, Task, Template
from hardprompt.errors import TaskError, UnknownName
from tests.helpers.tiny import tiny_task


@pytest.mark.parametrize(
    ("template", "prompt", "filled"),
    [
        ("{input} {prompt}", " good", "x y good"),
        ("{input} {prompt}", "good", "x y good"),
        ("{prompt} {input}:", " good", " good x y:"),
        ("{prompt}: {input} =", "", ": x y ="),
        ("{input} {prompt}:", "", "x y:"),
        ("{input}\n{prompt}:", "good", "x y\n good:"),
    ],
)
def test_filling_a_template_joins_with_one_space(template: str, prompt: str, filled: str) -> None:
    assert Template(template).fill("x y", prompt) == filled


def test_an_input_that_looks_like_a_placeholder_stays_text() -> None:
    assert Template("{input} {prompt}:").fill("say {prompt} or {input}", "now") == "say {prompt} or {input} now:"


@pytest.mark.parametrize("template", ["{input}", "{prompt}", "{prompt} {prompt} {input}", ""])
def test_a_template_needs_each_placeholder_once(template: str) -> None:
    with pytest.raises(TaskError, match="exactly once"):
        Template(template)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": []}, "the train split is empty"),
        ({"dev": [Example("x", "neutral")]}, "dev example 1: label 'neutral' is none of positive, negative"),
        ({"label_words": {"positive": "good"}}, "a single label word"),
        ({"truncate_to": "middle"}, "truncate_to 'middle' is none of start, end"),
        ({"match": "contains"}, "match 'contains' is none of exact, starts-with"),
        ({"label_words": {}, "test": [Example("x", " ")]}, "test example 1: the target text is empty"),
    ],
)
def test_a_task_that_cannot_be_used_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        tiny_task(**fields)


def test_a_jsonl_file_is_a_task(tmp_path: Path) -> None:
    file = tmp_path / "films.jsonl"
    rows = [{"input": f"film “{i}”", "answer": str(i), "split": split} for split in ("train", "dev", "test") for i in (0, 1)]
    file.write_bytes(("\ufeff" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n\r\n").encode())
    task = Task.from_jsonl(file, template="{input} {prompt}", label_words={"0": "bad", "1": "good"})
    assert task.name == "films" and task.kind == "classification" and task.labels == ("0", "1")
    assert task.test == (Example("film “0”", "0"), Example("film “1”", "1"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"x.jsonl:2: not JSON"),
        (b"[1]", r"x.jsonl:2: missing input, answer, split"),
        (b'{"input": "a", "split": "train"}', r"x.jsonl:2: missing answer"),
        (b'{"input": "a", "answer": "0", "split": "valid"}', r"x.jsonl:2: split 'valid' is none of train, dev, test"),
        (b"\xff\xfe", r"x.jsonl:2: byte 0xff is not UTF-8"),
    ],
)
def test_a_bad_line_is_reported_with_its_number(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'{"input": "a", "answer": "0", "split": "train"}\n' + line + b"\n")
    with pytest.raises(TaskError, match=message):
        Task.from_jsonl(file, template="{input} {prompt}")


def test_every_task_of_the_catalogue_is_complete() -> None:
    """Splits are disjoint and large enough, reference prompts exist, and `ls` shows what the design document lists."""
    for name in (name for name in all_tasks() if not needs_data(name)):
        task = load_task(name)
        inputs = [{example.input for example in task.examples(split)} for split in ("train", "dev", "test")]
        assert sum(map(len, inputs)) == len(set.union(*inputs)), name
        assert len(task.test) >= 60 and len(task.train) >= 32 and len(task.dev) >= 32, name
        assert len(task.reference_prompts) >= 3, name
        described = task.describe()
        assert {"name", "embedded", "kind", "labels", "sizes", "template", "reference_prompts"} <= set(described)


def test_unknown_names_and_splits_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'plural'"):
        load_task("plurals")
    with pytest.raises(TaskError, match="no split '13'"):
        load_task("plural", "13")
