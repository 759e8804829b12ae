"""Chats in task files, commands, records and reports."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import hardprompt as hp
from hardprompt.data.task import Example
from hardprompt.data.task_file import read_task_file
from hardprompt.errors import DataError
from hardprompt.lm.chat import template_of
from hardprompt.records.request import StudyRequest
from hardprompt.report.rerun_command import rerun_command
from hardprompt.study.loading import load_tasks
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe
from tests.helpers import Ask
from tests.helpers.chat import WORDS, chat_lm
from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl

TASK = """template: "food: {input}\\n{prompt}"
data: mood.jsonl
label_words: {positive: a, negative: b}
reference_prompts: [good or bad]
"""
OPTIONS = "--template 'food: {input}\n{prompt}' --label-words positive=a,negative=b --reference-prompt 'good or bad'"
USER = "<|im_start|>system\nsay yes<|im_end|>\n<|im_start|>user\nfood: {input}\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
SYSTEM = "<|im_start|>system\n{prompt}<|im_end|>\n<|im_start|>user\nfood: {input}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def folder(here: Path) -> Path:
    lm = chat_lm("chatml-default")
    lm.model.save_pretrained(here / "chatty")
    lm.tokenizer.save_pretrained(here / "chatty")
    inputs = [f"{a} {b}" for a in ("cat", "dog", "film", "food") for b in ("good", "bad", "red")]
    examples = [Example(input, "positive" if "good" in input else "negative") for input in inputs]
    write_jsonl(tiny_task(train=examples[:4], dev=examples[4:8], test=examples[8:]), here / "mood.jsonl")
    return here


def write_task(folder: Path, more: str) -> Path:
    (folder / "task.yaml").write_text(TASK + more, encoding="utf-8")
    return folder


def test_a_task_file_with_a_chat(folder: Path) -> None:
    task = hp.load_task(str(write_task(folder, "chat: true\nprompt_turn: system\n")))
    assert (task.chat, task.prompt_turn) == (True, "system")
    assert template_of(chat_lm("chatml-default"), task).fill("{input}", "{prompt}") == SYSTEM
    assert hp.load_task(str(write_task(folder, "chat: true\n"))).prompt_turn == "user"
    assert not hp.load_task(str(write_task(folder, ""))).chat


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("chat: maybe\n", "chat: expected true or false; got 'maybe'"),
        ("chat: true\nprompt_turn: assistant\n", "prompt_turn: expected 'user' or 'system'; got 'assistant'"),
        (
            "prompt_turn: system\n",
            "prompt_turn: prompt_turn is for a chat; give chat: true as well, or leave it out; got 'system'",
        ),
    ],
)
def test_wrong_fields_name_their_line(folder: Path, more: str, problem: str) -> None:
    with pytest.raises(DataError) as refused:
        read_task_file(write_task(folder, more))
    assert str(refused.value) == f"{folder / 'task.yaml'}:{4 + more.count(chr(10))}: {problem}"


def test_a_request_makes_any_task_a_chat(folder: Path) -> None:
    asked: dict[str, Any] = {"task": "mood.jsonl", "template": "{input} {prompt}", "label_words": WORDS}
    [plain] = load_tasks(StudyRequest.make(**asked)).values()
    [chat] = load_tasks(StudyRequest.make(**asked, chat=True)).values()
    [system] = load_tasks(StudyRequest.make(**asked, chat=True, prompt_turn="system")).values()
    assert (plain.chat, chat.chat, chat.prompt_turn, system.prompt_turn) == (False, True, "user", "system")
    [own] = load_tasks(StudyRequest.make(task=str(write_task(folder, "chat: true\n")), prompt_turn="system")).values()
    assert (own.chat, own.prompt_turn) == (True, "system")


def test_the_rerun_command_has_the_chat() -> None:
    lines = rerun_command(StudyRequest.make(chat=True, prompt_turn="system"))
    assert "    --chat \\" in lines and "    --prompt-turn system \\" in lines
    assert not any("chat" in line or "turn" in line for line in rerun_command(StudyRequest.make()))


def test_variants_of_a_recipe_are_chats(folder: Path) -> None:
    entry = {"task": "mood.jsonl", "template": "{input} {prompt}", "label_words": WORDS}
    recipe = {"tasks": [entry], "models": ["chatty"], "studies": {"text": {}, "chat": {"chat": True, "prompt_turn": "system"}}}
    (folder / "r.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    requests = [study.request for study in planned_studies(read_recipe("r.yaml"))]
    assert [(each.chat, each.prompt_turn) for each in requests] == [(False, None), (True, "system")]


@pytest.mark.usefixtures("no_plot")
def test_a_study_of_a_chat(folder: Path, ask: Ask) -> None:
    """The record has the rendered template; `evaluate` and `export` take the chat from it."""
    small = "--lm chatty --device cpu --optimizers empty,manual,random --lm-tokens 3000 --weights 0 --seeds 0 --prompt-length 2"
    status, _, errors = ask(shlex.split(f"compare --task mood.jsonl {OPTIONS} {small} --chat --prompt-turn system --out study"))
    assert (status, errors) == (0, "")
    study = yaml.safe_load((folder / "study" / "study.yaml").read_text(encoding="utf-8"))
    assert study["chat"] == SYSTEM and (study["request"]["chat"], study["request"]["prompt_turn"]) == (True, "system")
    points = [json.loads(line) for line in (folder / "study" / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [point["roundtrip_ok"] for point in points] == [True] * 3
    manual = next(point for point in points if point["optimizer"] == "manual")
    assert manual["prompt_text"] == "good or bad"
    assert "prompt in the system&#39;s turn" in (folder / "study" / "report.html").read_text(encoding="utf-8")
    status, output, errors = ask(["evaluate", "--run", "study", "--optimizer", "manual", "--device", "cpu", "--json"])
    assert (status, errors, json.loads(output)["test_loss"]) == (0, "", pytest.approx(manual["test_loss"], abs=1e-5))
    for form in ("peft", "text", "json"):
        assert ask(["export", "study", "--to", form, "--optimizer", "manual"])[0] == 0
    assert "It is the system's turn" in (folder / "study-text" / "README.md").read_text(encoding="utf-8")
    assert "food: {input}<|im_end|>" in (folder / "study-peft" / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "study-json" / "prompt.json").read_text(encoding="utf-8"))["prompt_turn"] == "system"


def test_validate_and_inspect_show_the_rendered_text(folder: Path, ask: Ask) -> None:
    write_task(folder, "")
    status, output, errors = ask(["validate", ".", "--lm", "chatty", "--chat", "--json"])
    checked = json.loads(output)
    [shown, *_] = checked["shown"]
    assert (errors, shown["text"]) == ("", USER.format(input="cat good", prompt="good or bad"))
    assert shown["tokens"][:2] == ["<|im_start|>", "s"] and shown["answer"] == "a"
    assert (status, checked["errors"]) == (0, 0)
    asked = ["inspect", "--text", "good or bad", "--task", ".", "--lm", "chatty", "--device", "cpu", "--chat"]
    status, output, errors = ask([*asked, "--json"])
    assert (status, errors) == (0, "")
    assert json.loads(output)["chat"] == USER.replace("{prompt}", "good or bad")


def test_a_model_without_a_chat_template_is_refused_in_one_line(folder: Path, ask: Ask) -> None:
    save_tiny(folder / "plain")
    line = "plain has no chat template; use an instruction-tuned model, or leave out --chat"
    task = f"--task mood.jsonl {OPTIONS} --lm plain --device cpu --chat"
    evaluated = task.replace(" --reference-prompt 'good or bad'", " --text x")
    for command in (f"compare {task}", f"optimize random {task}", f"evaluate {evaluated}"):
        status, output, errors = ask(shlex.split(command))
        assert (status, output, errors) == (2, "", f"hardprompt: {line}\n")
    status, output, _ = ask(["validate", str(write_task(folder, "chat: true\n")), "--lm", "plain"])
    assert status == 2 and f"task.yaml:5: {line}" in output
    status, _, errors = ask(shlex.split(f"optimize random {task.replace('--chat', '--prompt-turn system')}"))
    assert (status, errors) == (
        2,
        "hardprompt: task mood: prompt_turn 'system' is for a chat; give --chat as well, or leave it out\n",
    )


def test_optimize_in_python(folder: Path) -> None:
    task = write_task(folder, "")
    found = hp.optimize(
        task, "chatty", "random", prompt_length=2, lm_tokens=3000, chat=True, prompt_turn="system", device="cpu"
    )
    plain = hp.optimize(task, "chatty", "random", prompt_length=2, lm_tokens=3000, device="cpu")
    assert len(found.best.prompt.ids) == 2 and found.best.dev_task_loss != plain.best.dev_task_loss  # type: ignore[union-attr]
