"""The command line answers: a wrong request in one line with status 2, a failed run with 1, an interruption with 130."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from hardprompt import cli
from tests.tiny import save_tiny, tiny_task

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
QUIET = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
Answer = tuple[int, str, str]

TASKS_FILE = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue")]
task = Task(name="words", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples)
number = 7
def other(split):
    raise KeyError(split)
"""

OPTIMIZER_FILE = """
import hardprompt
class Options(hardprompt.Config):
    steps: int = 3
def undecorated(problem, config):
    return [[1]]
@hardprompt.optimizer("flawed", config=Options, sweeps=False)
def flawed(problem, config):
    "Fails with a bad seed."
    if problem.seed:
        raise RuntimeError("seed of misfortune")
    problem.visit([[1]])
    return [[1]]
"""

LINE = '{"input": "a film", "answer": "good", "split": "%s"}\n'
JSONL_FILES = {
    "not-json": LINE % "train" + "{'input': 1}\n",
    "no-object": LINE % "train" + "[1, 2]\n",
    "missing-keys": LINE % "train" + '{"input": "a film", "text": "good"}\n',
    "unknown-split": LINE % "train" + LINE % "dve",
    "empty-split": LINE % "train" + LINE % "dev",
    "empty": "",
    "empty-target": LINE % "train" + LINE.replace("good", " ") % "dev" + LINE % "test",
    "too-long": LINE % "train" + LINE % "dev" + LINE.replace("a film", "the cat sat on a mat " * 30) % "test",
}

# What is asked for where nothing is wrong; a case gives an option again, and the last one counts.
GOOD = [
    "compare", "--task", "@/mood.jsonl", "--lm", "@/tiny", "--template", "{input} {prompt} :", "--seeds", "0",
    "--label-words", "positive=good,negative=bad", "--reference-prompt", "good or bad", "--device", "cpu",
    "--optimizers", "empty,manual,pez", "--lm-tokens", "300", "--prompt-length", "3", "--out", "record",
]  # fmt: skip
OF_WORDS = ["compare", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu", "--optimizers", "empty"]
OF_LINES = [*OF_WORDS, "--template", "{input} {prompt}", "--task"]

ON_DATA = ["compare", "--task", "sst2", "--data", "@/few", "--splits", "13", "--lm", "@/tiny", "--device", "cpu"]

EVALUATE = ["evaluate", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu"]

# name -> (arguments, what the line says)
WRONG: dict[str, tuple[list[str], str]] = {
    "verb": (["compar"], "did you mean 'compare'"),
    "verb, nothing near": (["xyzzy"], "no such command 'xyzzy'"),
    "command-line option": (["compare", "--optimisers", "pez"], "--optimizers"),
    "option without a value": (["compare", "--task"], "--task"),
    "too many arguments": (["compare", "plural"], "plural"),
    "missing argument": (["optimize"], "missing argument"),
    "number that is none": ([*GOOD, "--prompt-length", "five"], "'--prompt-length': .*valid integer"),
    "task": (["compare", "--task", "plurel"], "no task 'plurel'; did you mean 'plural'"),
    "task, nothing near": (["compare", "--task", "xyzzy"], "no task 'xyzzy'. There are: "),
    "task file not there": ([*GOOD, "--task", "@/none.jsonl"], r"none\.jsonl: cannot be read"),
    "line break in a name": ([*GOOD, "--task", "@/two\nlines.jsonl"], r"two lines\.jsonl: cannot be read"),
    "task is a folder": ([*GOOD, "--task", "@/folder.jsonl"], r"folder\.jsonl: cannot be read"),
    "task file without a template": (["compare", "--task", "@/mood.jsonl"], "--template"),
    "task python file not there": (["compare", "--task", "@/none.py:task"], r"no file .*none\.py"),
    "task not in the file": (["compare", "--task", "@/tasks.py:tusk"], r"tasks\.py has no 'tusk'"),
    "task file raises": (["compare", "--task", "@/raises.py:task"], "does not run: ZeroDivisionError"),
    "task file exits": (["compare", "--task", "@/exits.py:task"], "does not run: SystemExit"),
    "task file is not Python": (["compare", "--task", "@/syntax.py:task"], "does not run: SyntaxError"),
    "task that is none": (["compare", "--task", "@/tasks.py:number"], "is no task but int"),
    "task function raises": ([*OF_WORDS, "--task", "@/tasks.py:other"], "KeyError"),
    "folder without a task": ([*OF_WORDS, "--task", "@/tiny"], r"tiny is no task: it has no task\.yaml; .*new-task"),
    "folder not there": ([*OF_WORDS, "--task", "@/nowhere"], "no task .*nowhere; give a folder"),
    "task.yaml that is wrong": (
        [*OF_WORDS, "--task", "@/own"],
        r"own/task\.yaml:1: no field 'templat'; did you mean 'template'",
    ),
    "python file without a task": ([*OF_WORDS, "--task", "@/mine.py"], "should hold one task, but holds none"),
    "new task, there already": (["new-task", "tiny", "--out", "@/."], "tiny is there already and stays"),
    "new task, no folder's name": (["new-task", "a/b"], "is no name of a folder"),
    "new task, below a file": (["new-task", "mood", "--out", "@/mood.jsonl"], "mood.jsonl"),
    "validate nothing": (["validate", "@/nowhere"], "no task .*nowhere; give a folder"),
    "validate a data file": (["validate", "@/mood.jsonl"], r"mood\.jsonl is no task; expected a folder"),
    "validate, model": (["validate", "@/own", "--lm", "microwrld"], "did you mean 'microworld'"),
    "split of a task": ([*OF_WORDS, "--splits", "default,other"], "no split 'other'"),
    "split of a built-in task": (["compare", "--splits", "other"], "no split 'other'; it has 'default'"),
    "split of a task file": ([*GOOD, "--splits", "13,21"], "has one data split"),
    "template of a built-in task": (["compare", "--template", "{input} {prompt}"], r"belong to a \.jsonl task"),
    "reference prompt of a built-in task": (["compare", "--reference-prompt", "x"], r"belong to a \.jsonl task"),
    "label words of a built-in task": (["compare", "--label-words", "a=b,c=d"], r"belong to a \.jsonl task"),
    "match of a built-in task": (["compare", "--match", "starts-with"], r"belong to a \.jsonl task"),
    "label words, not of the task": (
        [*ON_DATA, "--label-words", "0=bad,1=good"],
        "one label word for each of negative, positive",
    ),
    "template of a task on real data": ([*ON_DATA, "--template", "{input} {prompt}"], r"belong to a \.jsonl task"),
    "real task without its data": (["compare", "--task", "present-past"], "needs its data: give --data PATH, a folder with"),
    "data not there": ([*ON_DATA, "--data", "@/none"], "no file or folder .*none; give --data"),
    "data of no format": ([*ON_DATA, "--data", "@/vocabulary.txt"], r"vocabulary\.txt has no ending that says its format"),
    "data folder without data": ([*ON_DATA, "--data", "@/tiny"], r"tiny holds no data; expected files such as train\.tsv"),
    "data not UTF-8": ([*ON_DATA, "--data", "@/latin.tsv"], r"latin\.tsv:3: byte 0xe9 is not UTF-8"),
    "data with a ragged row": ([*ON_DATA, "--data", "@/ragged.tsv"], r"ragged\.tsv:3: 3 fields, expected 2 .*use csv"),
    "data with another label": ([*ON_DATA, "--data", "@/other.tsv"], r"other\.tsv:3: label '4' is none of 0, 1, negative"),
    "data of another task": ([*ON_DATA, "--data", "@/mood.jsonl", "--task", "sst5"], "has no example of very negative"),
    "data of an embedded task": (["compare", "--data", "@/few"], "data and shots belong to tasks on real data"),
    "shots of an embedded task": (["compare", "--shots", "4"], "data and shots belong to tasks on real data"),
    "data of a task file": ([*GOOD, "--data", "@/few"], r"mood\.jsonl holds its own examples"),
    "shots zero": ([*ON_DATA, "--shots", "0"], "shots: .*greater than 0"),
    "shots more than there are": ([*ON_DATA, "--shots", "9"], "9 shots need 18 examples of 'negative' .* but there are 2"),
    "split that is not published": ([*ON_DATA, "--splits", "7"], "has no split '7'; choose with --splits from: 1-13, 1-21"),
    "split that is no seed": ([*ON_DATA, "--splits", "x", "--shots", "1"], "the name must end in a number, the seed"),
    "template without prompt": ([*GOOD, "--template", "{input} is"], r"\{prompt\} 0 times; put it in exactly once"),
    "template without input": ([*GOOD, "--template", "{prompt} is"], r"\{input\} 0 times; put it in exactly once"),
    "template with prompt twice": ([*GOOD, "--template", "{prompt}{input}{prompt}"], r"\{prompt\} 2 times"),
    "match": ([*OF_LINES, "@/mood.jsonl", "--match", "exactly"], "match 'exactly' is none of exact, starts-with"),
    "label word of several tokens": ([*GOOD, "--label-words", "positive=good,negative=dreadful"], "'dreadful' is . tokens"),
    "label words of one token": ([*GOOD, "--label-words", "positive=good,negative=good"], "are the same token"),
    "label word that is one": ([*GOOD, "--label-words", "positive=good"], "one label word is no choice"),
    "label twice": ([*GOOD, "--label-words", "positive=good,negative=bad,negative=no"], "gives a label twice"),
    "label words of another form": ([*GOOD, "--label-words", "good,bad"], "no list like 0=terrible,1=great"),
    "label unknown": ([*GOOD, "--label-words", "1=good,0=bad"], "train example 1: label 'positive' is none of 1, 0"),
    "line not JSON": ([*OF_LINES, "@/not-json.jsonl"], r"not-json\.jsonl:2: not JSON"),
    "line no object": ([*OF_LINES, "@/no-object.jsonl"], r"no-object\.jsonl:2: missing input, answer, split"),
    "keys missing": ([*OF_LINES, "@/missing-keys.jsonl"], r"missing-keys\.jsonl:2: missing answer, split"),
    "split unknown": ([*OF_LINES, "@/unknown-split.jsonl"], r"unknown-split\.jsonl:2: split 'dve' is none of train, dev, test"),
    "split empty": ([*OF_LINES, "@/empty-split.jsonl"], "the test split is empty"),
    "file empty": ([*OF_LINES, "@/empty.jsonl"], "the train split is empty"),
    "target empty": ([*OF_LINES, "@/empty-target.jsonl"], "dev example 1: the target text is empty"),
    "not UTF-8": ([*OF_LINES, "@/latin.jsonl"], r"latin\.jsonl:1: byte 0xe9 is not UTF-8"),
    "input longer than the context": ([*OF_LINES, "@/too-long.jsonl"], "context of tiny is 64; shorten the input"),
    "prompt longer than the context": ([*GOOD, "--prompt-length", "60"], "context of tiny is 64"),
    "prompt length negative": ([*GOOD, "--prompt-length", "-3"], "prompt-length: .*greater than 0"),
    "prompt length zero": ([*GOOD, "--prompt-length", "0"], "prompt-length: .*greater than 0"),
    "budget zero": ([*GOOD, "--lm-tokens", "0"], "lm-tokens: .*greater than 0"),
    "weight not a number": ([*GOOD, "--weights", "0,heavy"], "--weights: '0,heavy' is no comma-separated list"),
    "weight nan": ([*GOOD, "--weights", "nan"], "weights: .*finite"),
    "weight infinite": ([*GOOD, "--weights", "0,inf"], "weights: .*finite"),
    "weight negative": ([*GOOD, "--weights", "0.1,-0.1"], "weights: .*at least 0"),
    "weights twice": ([*GOOD, "--weights", "0.1,0.10"], "weights: give at least one, and none twice"),
    "seeds twice": ([*GOOD, "--seeds", "0,1,0"], "seeds: give at least one, and none twice"),
    "seed not a number": ([*GOOD, "--seeds", "0,one"], "--seeds: '0,one' is no comma-separated list"),
    "seed not whole": ([*GOOD, "--seeds", "0.5"], "--seeds: '0.5' is no comma-separated list"),
    "seed negative": ([*GOOD, "--seeds", "-1"], "seeds: .*greater than or equal to 0"),
    "seed too large": ([*GOOD, "--seeds", "4294967296"], "seeds: .*less than 4294967296"),
    "preset": ([*GOOD, "--preset", "quik"], "no preset 'quik'; did you mean 'quick'"),
    "optimizer": ([*GOOD, "--optimizers", "pezz"], "no optimizer 'pezz'; did you mean 'pez'"),
    "optimizers twice": ([*GOOD, "--optimizers", "pez,pez"], "optimizers: give at least one, and none twice"),
    "optimizer file not there": ([*GOOD, "--optimizers", "@/none.py:mine"], r"no file .*none\.py"),
    "optimizer not in the file": ([*GOOD, "--optimizers", "@/mine.py:yours"], r"mine\.py has no 'yours'"),
    "optimizer file raises": ([*GOOD, "--optimizers", "@/raises.py:mine"], "does not run: ZeroDivisionError"),
    "optimizer that is none": ([*GOOD, "--optimizers", "@/mine.py:undecorated"], "is no optimizer; decorate"),
    "option's form": ([*GOOD, "-o", "steps=3"], "'steps=3' is not of the form"),
    "option without a sign": ([*GOOD, "-o", "pez.steps"], "'pez.steps' is not of the form"),
    "option unknown": ([*GOOD, "-o", "pez.step=3"], "no pez option 'step'; did you mean 'steps'"),
    "option of an absent optimizer": ([*GOOD, "-o", "soft.steps=3"], "given for 'soft', but the optimizers are: empty, "),
    "option not a number": ([*GOOD, "-o", "pez.steps=many"], "option pez.steps: .*got 'many'"),
    "option out of range": ([*GOOD, "-o", "pez.steps=0"], "option pez.steps: .*greater than 0"),
    "option negative": ([*GOOD, "-o", "pez.learning_rate=-1"], "option pez.learning_rate: "),
    "option not a choice": ([*GOOD, "-o", "pez.projection=manhattan"], "option pez.projection: .*'cosine'"),
    "init text without text": ([*GOOD, "-o", "pez.init=text"], "needs an init_text"),
    "gap reward where there are no labels": (
        [*OF_WORDS, "--optimizers", "rl", "-o", "rl.reward=gap"],
        "'gap' needs label words, and task words generates",
    ),
    "manual without reference prompts": ([*OF_WORDS, "--optimizers", "empty,manual"], "has no reference prompts"),
    "vocabulary": ([*GOOD, "--vocabulary", "word"], "no vocabulary 'word'; did you mean 'words'"),
    "vocabulary of several tokens": ([*GOOD, "--vocabulary", "@/vocabulary.txt"], r"vocabulary\.txt:2: 'cathedral' is \d tok"),
    "vocabulary empty": ([*GOOD, "--vocabulary", "@/nothing.txt"], "no token of tiny is in the vocabulary"),
    "model without weights": ([*GOOD, "--lm", "@/no-weights"], r"has no weights: put model\.safetensors"),
    "model without configuration": ([*GOOD, "--lm", "@/no-config"], r"it has no config\.json"),
    "model with broken configuration": ([*GOOD, "--lm", "@/bad-config"], "cannot load the model in .*bad-config"),
    "model with broken weights": ([*GOOD, "--lm", "@/bad-weights"], "cannot load the model in .*bad-weights"),
    "model folder not there": ([*GOOD, "--lm", "@/none"], "no model folder .*none; give an existing folder"),
    "model": ([*GOOD, "--lm", "microwrld"], "no model 'microwrld'; did you mean 'microworld'"),
    "model on the hub, offline": ([*GOOD, "--lm", "someone/some-model"], "hub has no such model or cannot be reached"),
    "device": ([*GOOD, "--device", "gpu"], "gpu"),
    "device not there": ([*GOOD, "--device", "cuda"], "0 CUDA devices"),
    "folder of another study": ([*GOOD, "--out", "@/study"], "holds another study .*; choose another --out"),
    "folder of other things": ([*GOOD, "--out", "@/tiny"], "is no study and not empty; choose another --out"),
    "folder that is a file": ([*GOOD, "--out", "@/mood.jsonl"], "is no study and not empty; choose another --out"),
    "folder below a file": ([*GOOD, "--out", "@/mood.jsonl/below"], "cannot make the folder .*; choose another --out"),
    "folder with a broken study": ([*GOOD, "--out", "@/broken"], r"broken/study\.yaml cannot be read"),
    "report of no study": (["report", "@/tiny"], r"holds no study: it has no study\.yaml"),
    "report of a folder not there": (["report", "@/none"], r"holds no study: it has no study\.yaml"),
    "report of a broken study": (["report", "@/broken"], r"broken/study\.yaml cannot be read"),
    "report of a study that says nothing": (["report", "@/hollow"], r"hollow/study\.yaml is no study"),
    "report of binary": (["report", "@/binary"], r"binary/study\.yaml cannot be read"),
    "evaluate, no prompt": (["evaluate"], "one of --text, --ids and --run; got none of them"),
    "evaluate, text and ids": (["evaluate", "--text", "x", "--ids", "5"], "got --text and --ids"),
    "evaluate, text and run": (["evaluate", "--text", "", "--run", "@/study"], "got --text and --run"),
    "evaluate, ids not whole": (["evaluate", "--ids", "5,x"], "--ids: '5,x' is no comma-separated list of numbers"),
    "evaluate, no ids": (["evaluate", "--ids", ","], "--ids names no token; the empty prompt is --text ''"),
    "evaluate, id too large": ([*EVALUATE, "--ids", "5,4000"], "token id 4000 is not in the vocabulary of tiny; use 0 to "),
    "evaluate, id negative": ([*EVALUATE, "--ids", "-1"], "token id -1 is not in the vocabulary of tiny"),
    "evaluate, prompt too long": ([*EVALUATE, "--ids", ",".join(["40"] * 62)], "context of tiny is 64; shorten"),
    "evaluate, text too long": ([*EVALUATE, "--text", "good " * 80], "context of tiny is 64; shorten"),
    "evaluate, task": (["evaluate", "--text", "x", "--task", "plurel"], "no task 'plurel'; did you mean 'plural'"),
    "evaluate, model": (["evaluate", "--text", "x", "--lm", "microwrld"], "did you mean 'microworld'"),
    "evaluate, reader": ([*EVALUATE, "--text", "x", "--reader", "@/none"], "no model folder .*none"),
    "evaluate, split": (["evaluate", "--text", "x", "--split", "other"], "no split 'other'; it has 'default'"),
    "evaluate, data of an embedded task": (["evaluate", "--text", "x", "--data", "@/few"], "belong to tasks on real data"),
    "evaluate, template of another task": (
        [*EVALUATE, "--text", "x", "--template", "{input} {prompt}"],
        r"belong to a \.jsonl",
    ),
    "evaluate, no study": (["evaluate", "--run", "@/tiny"], r"tiny holds no study: it has no study\.yaml"),
    "evaluate, folder not there": (["evaluate", "--run", "@/none"], r"none holds no study"),
    "evaluate, broken study": (["evaluate", "--run", "@/broken", "--number", "1"], r"broken/study\.yaml cannot be read"),
    "evaluate, run not there": (
        ["evaluate", "--run", "@/study", "--number", "3"],
        "has no run 3; there are 2, numbered from 1",
    ),
    "evaluate, run zero": (["evaluate", "--run", "@/study", "--number", "0"], "has no run 0; there are 2"),
    "evaluate, which run": (["evaluate", "--run", "@/study"], "2 runs of .*study fit; choose one with --number 1, 2"),
    "evaluate, run not whole": (["evaluate", "--run", "@/study", "--number", "x"], "'--number': .*valid integer"),
    "evaluate, run of an optimizer": (["evaluate", "--run", "@/study", "--optimizer", "manuel"], "did you mean 'manual'"),
    "evaluate, run of a seed": (["evaluate", "--run", "@/study", "--seed", "4"], "has no finished run with seed 4"),
    "evaluate, run of a weight": (["evaluate", "--run", "@/study", "--weight", "0.5"], "no finished run with weight 0.5"),
    "evaluate, number and seed": (["evaluate", "--run", "@/study", "--number", "1", "--seed", "3"], "not by both"),
    "evaluate, number of no run": (["evaluate", "--text", "x", "--number", "1"], "--number chooses a run of a study"),
    "inspect, no prompt": (["inspect"], "one of --text, --ids and --run; got none of them"),
    "inspect, text and ids": (["inspect", "--text", "x", "--ids", "5"], "got --text and --ids"),
    "inspect, id too large": (["inspect", "--lm", "@/tiny", "--device", "cpu", "--ids", "4000"], "not in the vocabulary"),
    "inspect, prompt too long": (
        ["inspect", "--lm", "@/tiny", "--device", "cpu", "--text", "good " * 80],
        "tokens, but tiny has room for 63; shorten it",
    ),
    "inspect, no study": (["inspect", "--run", "@/tiny"], r"holds no study"),
    "inspect, run not there": (["inspect", "--run", "@/study", "--number", "9"], "has no run 9; there are 2"),
    "inspect, seed of no run": (["inspect", "--ids", "5", "--seed", "1"], "--seed chooses a run of a study"),
    "listing": (["ls", "task"], "no listing 'task'; did you mean 'tasks'"),
    "optimize, optimizer": (["optimize", "pezz"], "did you mean 'pez'"),
    "optimize, task": (["optimize", "pez", "--task", "plurel"], "did you mean 'plural'"),
    "optimize, option": (["optimize", "pez", "-o", "pez.stepz=1"], "did you mean 'steps'"),
    "optimize, weight": (["optimize", "pez", "--weight", "nan"], "weights: .*finite"),
    "optimize, seed": (["optimize", "pez", "--seed", "-1"], "seeds: "),
    "optimize, gap reward": (
        ["optimize", "rl", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu", "-o", "rl.reward=gap"],
        "'gap' needs label words",
    ),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a task, and everything a user could get wrong about them."""
    folder = tmp_path_factory.mktemp("given")
    tiny = save_tiny(folder / "tiny")
    task = tiny_task()
    (folder / "mood.jsonl").write_text(
        "".join(
            json.dumps({"input": e.input, "answer": e.answer, "split": split}) + "\n"
            for split in ("train", "dev", "test")
            for e in task.examples(split)  # type: ignore[arg-type]
        ),
        encoding="utf-8",
    )
    for name, text in JSONL_FILES.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "folder.jsonl").mkdir()
    (folder / "latin.jsonl").write_bytes((LINE % "train").replace("film", "café").encode("latin-1"))
    (folder / "tasks.py").write_text(TASKS_FILE, encoding="utf-8")
    (folder / "mine.py").write_text(OPTIMIZER_FILE, encoding="utf-8")
    (folder / "raises.py").write_text("task = mine = 1 / 0", encoding="utf-8")
    (folder / "exits.py").write_text("raise SystemExit(0)", encoding="utf-8")
    (folder / "syntax.py").write_text("task = (", encoding="utf-8")
    (folder / "latin.tsv").write_bytes("sentence\tlabel\na film\t0\ncafé\t1\n".encode("latin-1"))
    (folder / "ragged.tsv").write_text("sentence\tlabel\na film\t0\na\tfilm\t1\n", encoding="utf-8")
    (folder / "other.tsv").write_text("sentence\tlabel\na film\t0\na tree\t4\n", encoding="utf-8")
    (folder / "own").mkdir()
    (folder / "own" / "task.yaml").write_text("templat: x\n", encoding="utf-8")
    for seed in (13, 21):
        (folder / "few" / f"1-{seed}").mkdir(parents=True)
        for part in ("train", "dev"):
            rows = f"sentence\tlabel\na good film {part}\t1\na bad film {part}\t0\n"
            (folder / "few" / f"1-{seed}" / f"{part}.tsv").write_text(rows, encoding="utf-8")
    (folder / "few" / "test.tsv").write_text("sentence\tlabel\r\nbad food\t0\r\ngood food\t1\r\n", encoding="utf-8")
    (folder / "vocabulary.txt").write_text("cat\ncathedral\n", encoding="utf-8")
    (folder / "nothing.txt").write_text("\n\n", encoding="utf-8")
    for name, changed, content in (
        ("no-weights", "model.safetensors", None),
        ("no-config", "config.json", None),
        ("bad-config", "config.json", b"{"),
        ("bad-weights", "model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
    ):
        (folder / name).mkdir()
        for file in tiny.iterdir():
            (folder / name / file.name).write_bytes(file.read_bytes())
        (folder / name / changed).unlink()
        if content is not None:
            (folder / name / changed).write_bytes(content)
    for name, content in (("broken", b"request: {"), ("hollow", b"request: {task: plural}"), ("binary", b"\xff\xfe\x00")):
        (folder / name).mkdir()
        (folder / name / "study.yaml").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as done:
        study = [*filled(GOOD, folder), "--out", str(folder / "study"), "--optimizers", "empty,manual", "--seeds", "3"]
        patch.setattr(sys, "argv", ["hardprompt", *study])
        cli.main()
    assert done.value.code == 0
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, with no network and no bytecode written beside a user's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path


def filled(arguments: list[str], given: Path) -> list[str]:
    """Arguments with the folder of files put in."""
    return [re.sub(r"@(?=/)", given.as_posix(), argument) for argument in arguments]


def ask(arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Exit status, stdout and stderr of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["hardprompt", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert isinstance(done.value.code, int)
    return done.value.code, *capfd.readouterr()


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file in a folder."""
    return {str(f): (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line(
    case: str, given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2, one line that says what to change, nothing on stdout, no traceback, and nothing written anywhere."""
    if case == "device not there" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    arguments, said = WRONG[case]
    before = contents(given)
    status, out, err = ask(filled(arguments, given), capfd, monkeypatch)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("hardprompt: ") and "Traceback" not in err
    assert re.search(said, err, re.IGNORECASE), err
    assert list(here.iterdir()) == [] and contents(given) == before


def test_nothing_is_wrong_with_what_the_cases_change(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that the cases above spoil in one place is itself fine; the table and the plot's place are printed."""
    status, out, err = ask(filled(GOOD, given), capfd, monkeypatch)
    assert (status, err) == (0, "")
    assert [path.name for path in here.iterdir()] == ["record"]
    for word in ("empty", "manual", "pez", "mood on tiny", "points.jsonl are in record"):
        assert word in out
    status, out, _ = ask(filled(GOOD, given), capfd, monkeypatch)
    assert status == 0 and "5 of them already recorded" in out


def test_the_console_script_answers_in_one_line(tmp_path: Path) -> None:
    """The installed script itself: status 2, one line, nothing written."""
    done = subprocess.run([SCRIPT, "compare", "--task", "plurel"], cwd=tmp_path, env=QUIET, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("hardprompt: no task 'plurel'; did you mean 'plural'?")
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_heavy_import(tmp_path: Path) -> None:
    """`--help` of the program and of every verb, and no arguments at all, print usage without importing torch and the like."""
    code = (
        "import contextlib, io, sys, typer\n"
        "from hardprompt.cli import app, main\n"
        "verbs = list(typer.main.get_command(app).commands)\n"
        "for words in ([], ['--help'], ['-h'], *([verb, '--help'] for verb in verbs)):\n"
        "    sys.argv = ['hardprompt', *words]\n"
        "    printed = io.StringIO()\n"
        "    with contextlib.redirect_stdout(printed):\n"
        "        try: main()\n"
        "        except SystemExit as done: assert done.code == 0, words\n"
        "    assert printed.getvalue().startswith('Usage: '), words\n"
        "heavy = {'torch', 'transformers', 'stable_baselines3', 'gymnasium', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(*verbs)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=QUIET, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    verbs = {"compare", "optimize", "evaluate", "inspect", "ls", "report", "new-task", "validate"}
    assert verbs <= set(done.stdout.split())


def test_every_verb_and_option_says_what_it_is() -> None:
    """Each verb has a line of help, and so has each of its options."""
    command: Any = typer.main.get_command(cli.app)
    for name, verb in command.commands.items():
        assert verb.help, name
        assert all(getattr(option, "help", "") for option in verb.params), name


# Machine-readable answers


@pytest.mark.parametrize("what", ["tasks", "optimizers", "metrics", "lms"])
def test_ls_is_for_people_and_for_scripts(
    what: str, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ls` prints a table and `ls --json` a list of objects, with the same names, and nothing else on either stream."""
    status, out, err = ask(["ls", what, "--json"], capfd, monkeypatch)
    entries = json.loads(out)
    assert (status, err) == (0, "") and entries and all(entry["name"] for entry in entries)
    status, out, err = ask(["ls", what], capfd, monkeypatch)
    assert (status, err) == (0, "") and all(entry["name"] in out for entry in entries)
    assert list(here.iterdir()) == []


def test_ls_tasks_has_the_promised_keys(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What other scripts rely on: name, embedded, kind, labels, sizes, template, reference_prompts; the default task is one."""
    _, out, _ = ask(["ls", "tasks", "--json"], capfd, monkeypatch)
    entries = {entry["name"]: entry for entry in json.loads(out)}
    for entry in entries.values():
        assert set(entry) >= {"name", "embedded", "kind", "labels", "sizes", "template", "reference_prompts"}
        assert entry["kind"] == ("classification" if entry["labels"] else "generation")
        if entry["sizes"] is None:
            assert not entry["embedded"] and set(entry["data"]) == {"source", "hub", "citation", "licence"}, (
                "data are elsewhere"
            )
        else:
            assert set(entry["sizes"]) == {"train", "dev", "test"} and min(entry["sizes"].values()) > 0
        assert entry["template"].count("{prompt}") == entry["template"].count("{input}") == 1
    assert entries["plural"]["embedded"] is True and entries["plural"]["reference_prompts"]
    assert len(entries["currency"]["known_front"]) >= 2 and set(entries["currency"]["known_front"][0]) >= {
        "prompt",
        "test_accuracy",
        "log_perplexity",
    }
    assert {entry["kind"] for entry in entries.values() if entry["embedded"]} == {"classification", "generation"}


def test_ls_optimizers_names_all_with_their_options(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three methods and the baselines are listed, with the options that `-o` takes and their defaults."""
    _, out, _ = ask(["ls", "optimizers", "--json"], capfd, monkeypatch)
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert {"empty", "manual", "random", "soft", "pez", "rl"} <= set(entries)
    assert "steps" in entries["pez"]["options"] and entries["pez"]["options"]["learning_rate"] > 0
    assert entries["pez"]["sweeps_weight"] and not entries["soft"]["sweeps_weight"]
    assert all(entry["description"] for entry in entries.values())


def test_compare_json_is_the_record(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compare --json` prints the recorded points on stdout and the progress on stderr."""
    status, out, err = ask([*filled(GOOD, given), "--json"], capfd, monkeypatch)
    recorded = (here / "record" / "points.jsonl").read_text(encoding="utf-8").split("\n")
    assert status == 0 and json.loads(out) == [json.loads(line) for line in recorded if line]
    assert "5 runs in record" in err and "Traceback" not in err


def test_optimize_prints_one_point_and_writes_nothing(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`optimize` runs once: the same point that a study records, as a table or as JSON, and no file."""
    arguments = filled(["optimize", "random", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu"], given)
    arguments += ["--seed", "4", "--prompt-length", "2", "-o", "random.prompts=5"]
    status, out, err = ask([*arguments, "--json"], capfd, monkeypatch)
    point = json.loads(out)
    assert (status, err, list(here.iterdir())) == (0, "", [])
    assert (point["optimizer"], point["seed"], len(point["prompt_ids"]), point["prompts_visited"]) == ("random", 4, 2, 5)
    status, out, _ = ask(arguments, capfd, monkeypatch)
    assert status == 0 and "words on tiny" in out and point["prompt_text"].strip() in out

    study = filled([*OF_WORDS, "--optimizers", "random", "--seeds", "4", "--prompt-length", "2"], given)
    budget = ["--preset", "quick", "-o", "random.prompts=5", "--json"]
    _, out, _ = ask([*study, *budget], capfd, monkeypatch)
    [recorded] = json.loads(out)
    assert recorded | {"seconds": 0} == point | {"seconds": 0}


def test_published_splits_and_other_label_words(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task on real data runs on two published splits, with label words that the tiny model has; the record says so."""
    words = ["--label-words", "negative=bad,positive=good", "--optimizers", "empty", "--seeds", "0", "--json"]
    shutil.copytree(given / "few", here / "few")
    study = [*ON_DATA, "--data", "few", "--splits", "13,21", *words]
    status, out, _ = ask(filled(study, given), capfd, monkeypatch)
    points = json.loads(out)
    assert status == 0 and [(point["task"], point["split"]) for point in points] == [("sst2", "13"), ("sst2", "21")]
    assert all(point["inputs_cut"] == {"train": 0, "dev": 0, "test": 0} for point in points)
    record = (here / "hardprompt-out" / "sst2-tiny" / "study.yaml").read_text(encoding="utf-8")
    assert "\n  data: few\n  shots: null\n" in record

    (here / "few" / "test.tsv").write_text("sentence\tlabel\nbad food\t1\ngood food\t0\n", encoding="utf-8")
    status, _, err = ask(filled(study, given), capfd, monkeypatch)
    assert status == 2 and "the data of the task have changed" in err


def test_report_redraws_what_follows_from_the_points(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` brings back a lost frontier and plot, byte for byte where the format allows, and touches nothing else."""
    ask(filled(GOOD, given), capfd, monkeypatch)
    before = {file.name: file.read_bytes() for file in (here / "record").iterdir()}
    for name in ("frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"):
        (here / "record" / name).unlink()
    status, out, err = ask(["report", "record"], capfd, monkeypatch)
    assert (status, err) == (0, "") and "mood on tiny" in out
    assert {file.name: file.read_bytes() for file in (here / "record").iterdir()} == before


# Failures and interruptions


def test_a_failed_run_is_status_one(
    given: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study with a failed run ends with status 1, after all others have run, and shows the error."""
    arguments = filled([*GOOD, "--optimizers", "@/mine.py:flawed,empty", "--seeds", "0,1"], given)
    status, out, err = ask(arguments, capfd, monkeypatch)
    assert status == 1 and "Traceback" not in out + err
    assert "seed of misfortune" in out and "1/2" in out
    points = [json.loads(line) for line in (here / "record" / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [p["status"] for p in points] == ["ok", "ok", "failed", "ok"]
    status, out, _ = ask([*arguments, "--json"], capfd, monkeypatch)
    assert status == 1 and sorted(p["status"] for p in json.loads(out)) == ["failed", "ok", "ok", "ok"]


def test_ctrl_c_keeps_finished_runs(given: Path, tmp_path: Path) -> None:
    """Interrupted in a long run: status 130 and one line; the finished runs are recorded, the plot is drawn."""
    endless = ["-o", "pez.steps=100000000", "--lm-tokens", "1000000000000"]
    with subprocess.Popen(
        [SCRIPT, *filled(GOOD, given), *endless],
        cwd=tmp_path,
        env=QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
        text=True,
    ) as process:
        points, deadline = tmp_path / "record" / "points.jsonl", time.monotonic() + 120
        try:
            while not (points.is_file() and points.read_bytes().count(b"\n") == 2):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.startswith("hardprompt: interrupted") and err.count("\n") == 1
    kept = [json.loads(line) for line in points.read_text(encoding="utf-8").splitlines()]
    assert [p["optimizer"] for p in kept] == ["empty", "manual"]
    assert {"frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"} <= {file.name for file in points.parent.iterdir()}
