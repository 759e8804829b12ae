"""Wrong files of the tasks of the literature: one line each, with the status 2, and nothing is written."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers import Ask
from tests.helpers.tiny import save_tiny

HEAD = "sentence\tlabel\n"
PAIRS = json.dumps([{"input": f"w{i}", "output": f"v{i}"} for i in range(20)])


class Wrong(NamedTuple):
    """What is asked, the files, and what the line says."""

    asked: str
    files: dict[str, str]
    says: str


def part(*names: str, text: str) -> dict[str, str]:
    return dict.fromkeys(names, text)


CASES = {
    "trec, a class too many": Wrong(
        "--task trec --data x.tsv", {"x.tsv": HEAD + "q\t6\n"}, r"x\.tsv:2: label '6' is none of 0, 1, 2"
    ),
    "trec, a fine class": Wrong(
        "--task trec --data x.tsv", {"x.tsv": HEAD + "q\tDESC:def\n"}, r"x\.tsv:2: label 'DESC:def' is none of"
    ),
    "trec, the original file": Wrong(
        "--task trec --data train_5500.label", {"train_5500.label": "DESC:manner How ?\n"}, "has no known file extension"
    ),
    "subj, three columns": Wrong(
        "--task subj --data x.csv", {"x.csv": "0,a,b\n"}, r"x\.csv:1: 3 fields, expected 2 \(label, text\)"
    ),
    "cr, an empty sentence": Wrong(
        "--task cr --data x.tsv",
        {"x.tsv": HEAD + "a\t0\n \t1\n"},
        r"1 unusable rows were left out; the first is x\.tsv:3: sentence is empty\) has no example of positive",
    ),
    "cr, one label only": Wrong("--task cr --data x.tsv", {"x.tsv": HEAD + "a\t1\n"}, "has no example of negative"),
    "yelp, numbers from 0": Wrong(
        "--task yelp --data x.csv", {"x.csv": '"0","bad"\n"1","good"\n'}, r"Class Index '0' is none of 1, 2"
    ),
    "yelp, the five-star files": Wrong(
        "--task yelp --data x.csv", {"x.csv": '"5","good"\n'}, r"x\.csv:1: Class Index '5' is none of 1, 2"
    ),
    "amazon, no title": Wrong("--task amazon --data x.csv", {"x.csv": '"1","bad"\n'}, r"x\.csv:1: 2 fields, expected 3"),
    "yahoo, a topic too many": Wrong(
        "--task yahoo --data x.tsv", {"x.tsv": HEAD + "q\t10\n"}, r"x\.tsv:2: label '10' is none of 0, 1"
    ),
    "yahoo, the answer is missing": Wrong("--task yahoo --data x.csv", {"x.csv": '"1","t","q"\n'}, r"3 fields, expected 4"),
    "dbpedia, numbers from 1 in a tsv": Wrong(
        "--task dbpedia --data x.tsv", {"x.tsv": HEAD + "q\t14\n"}, r"x\.tsv:2: label '14' is none of"
    ),
    "dbpedia, other columns": Wrong(
        "--task dbpedia --data x.csv", {"x.csv": "body,class\na,1\n"}, r"columns body, class, but task dbpedia"
    ),
    "k-shot, no such split": Wrong(
        "--task subj --data d --splits 21",
        part("d/16-13/train.tsv", "d/16-13/dev.tsv", "d/16-13/test.tsv", text=HEAD + "a\t0\nb\t1\n"),
        "no split '21'; choose with --splits from: 16-13",
    ),
    "relation, no file": Wrong("--task relation", {}, "task relation needs its data: give --data PATH"),
    "relation, not there": Wrong("--task relation --data antonym.json", {}, r"no file or folder antonym\.json"),
    "relation, without its extension": Wrong(
        "--task relation --data antonym", {"antonym": PAIRS}, "antonym has no known file extension"
    ),
    "relation, a folder": Wrong(
        "--task relation --data d", {"d/antonym.json": PAIRS}, r"d is a folder; give --data d/NAME\.json"
    ),
    "relation, other keys": Wrong(
        "--task relation --data x.json",
        {"x.json": '[{"question": "a", "answer": "b"}]'},
        "columns question, answer, but task x reads",
    ),
    "relation, an object": Wrong(
        "--task relation --data x.json", {"x.json": '{"a": "b"}'}, r"x\.json:1: expected a list of objects"
    ),
    "relation, several outputs in a list": Wrong(
        "--task relation --data x.json",
        {"x.json": '[{"input": "a", "output": ["b", "c"]}]'},
        r"x\.json:1: output is not a text but \['b'",
    ),
    "relation, nothing": Wrong("--task relation --data x.json", {"x.json": "[]"}, "has no example with an answer"),
    "relation, no output": Wrong(
        "--task relation --data x.json", {"x.json": '[{"input": "a", "output": null}]'}, "output is not a text but None"
    ),
    "relation, cut off": Wrong("--task relation --data x.json", {"x.json": PAIRS[:-9]}, r"x\.json:1: not JSON"),
    "gsm8k, no mark": Wrong(
        "--task gsm8k --data x.jsonl", {"x.jsonl": '{"question": "q", "answer": "18"}\n'}, r"x\.jsonl:1: answer has no '####'"
    ),
    "gsm8k, no number": Wrong(
        "--task gsm8k --data x.jsonl", {"x.jsonl": '{"question": "q", "answer": "#### x"}\n'}, r"answer 'x' is not a number"
    ),
    "formality, the whole corpus": Wrong(
        "--task formality --data d", {"d/Family/train/informal": "a\n"}, "expected files such as train/informal, train/formal"
    ),
    "formality, other lengths": Wrong(
        "--task formality --data d",
        {"d/train/informal": "a\nb\n", "d/train/formal": "a\n"},
        r"train/informal:2: a line more than formal",
    ),
    "shakespeare, one side": Wrong(
        "--task shakespeare --data d",
        {"d/train.modern.nltok": "a\n"},
        r"expected files such as train\.modern\.nltok, train\.original\.nltok",
    ),
    "shakespeare, an empty line": Wrong(
        "--task shakespeare --data d",
        {"d/train.modern.nltok": "a\n\nb\n", "d/train.original.nltok": "a\nb\nc\n"},
        r"train\.modern\.nltok:2: the line is empty",
    ),
    "shakespeare, one label": Wrong(
        "--task shakespeare --data x.tsv", {"x.tsv": "text\tlabel\na\t0\n"}, "0 texts with label 1 and 1 texts with label 0"
    ),
    "limit 0": Wrong("--task plural --limit 0", {}, "--limit: expected a number greater than 0"),
    "limit below 0": Wrong("--task plural --limit -3", {}, "--limit: expected a number greater than 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_files_are_refused_in_one_line(case: str, here: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, files, says = CASES[case]
    monkeypatch.setattr("hardprompt.hub.hub_answers", lambda: False)
    save_tiny(here / "tiny")
    for name, content in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(content, encoding="utf-8")
    before = sorted(here.rglob("*"))
    status, out, err = ask(shlex.split(f"compare {asked} --lm tiny --device cpu --out study"))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("hardprompt: ") and re.search(says, err), err
    assert sorted(here.rglob("*")) == before
