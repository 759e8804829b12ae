"""Custom optimizers and tasks, from a file or from an installed package. A broken plug-in does not affect the others."""

import json
import sys
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from hardprompt import plugins
from hardprompt.data.catalogue import all_tasks, load_task
from hardprompt.errors import RequestError, UnknownName
from hardprompt.optimizers import Config, Problem, all_optimizers, load_optimizer, optimizer, run_optimizer
from hardprompt.records.request import StudyRequest
from hardprompt.report.listing import list_optimizers, list_tasks
from hardprompt.study.runner import compare
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task

OWN_OPTIMIZER = Path(__file__).parents[2] / "runs" / "own_optimizer.py"
HILL_CLIMB = f"{OWN_OPTIMIZER}:hill_climb"

TASK_FILE = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue"), Example("yes or", "no")]
task = Task(name="words", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples,
            reference_prompts=["write the word"])
"""


@optimizer("first-token", config=Config, uses_weight=False)
def first_token(problem: Problem, config: Config) -> list[list[int]]:
    """An optimizer that returns the first allowed token."""
    prompts = [problem.allowed[:1].tolist()]
    problem.score_on_dev(prompts)
    return prompts


def offer(monkeypatch: pytest.MonkeyPatch, group: str, **families: object) -> None:
    """Add modules with these attributes to the installed entry points of a group."""
    real = plugins.entry_points
    extra = []
    for name, attributes in families.items():
        module = ModuleType(f"stranger_{name}")
        if isinstance(attributes, dict):
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        extra.append(EntryPoint(name, module.__name__, group))

    def entry_points(group: str) -> list[EntryPoint]:
        return [*real(group=group), *(entry for entry in extra if entry.group == group)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)


# One file


def test_the_example_of_a_custom_optimizer_is_short() -> None:
    """The example is one file of at most 30 lines that imports nothing of hardprompt but its public names."""
    lines = OWN_OPTIMIZER.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert [line for line in lines if "hardprompt" in line and "import" in line] == [
        "from hardprompt import Config, Problem, optimizer"
    ]
    assert any("hardprompt compare" in line and "runs/own_optimizer.py:hill_climb" in line for line in lines[:5])


def test_a_custom_optimizer_runs_in_a_study(tmp_path: Path) -> None:
    """It runs in a study with the baselines, once per weight, within the budget, with options from the command line."""
    (tmp_path / "words.py").write_text(TASK_FILE, encoding="utf-8")
    request = StudyRequest.make(
        task=f"{tmp_path}/words.py:task",
        lm=str(save_tiny(tmp_path / "tiny")),
        optimizers=("empty", "manual", "random", HILL_CLIMB),
        weights=(0.0, 0.5),
        seeds=(0,),
        lm_tokens=1500,
        options={"hill-climb": {"steps": "2000"}},
        device="cpu",
    )
    table = compare(request, tmp_path / "study")
    assert list(table.status) == ["ok"] * 5
    own = table[table.optimizer == "hill-climb"]
    assert list(own.weight) == [0.0, 0.5] and list(own["config.steps"]) == [2000, 2000]
    assert (own.lm_tokens_forward >= 1500).all() and (own.lm_tokens_forward < 1700).all()
    found = json.loads((tmp_path / "study" / "frontier.json").read_text(encoding="utf-8"))
    assert {"random", "hill-climb"} <= set(found["optimizers"])


def test_the_example_optimizer_lowers_the_objective() -> None:
    """Successive prompts differ in at most one token, and the objective on train never increases."""
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=4, weight=0.1, seed=1)
    hill_climb = load_optimizer(HILL_CLIMB)
    result = run_optimizer(hill_climb, problem, hill_climb.configure({"steps": 150}))
    train = [entry["train_objective"] for entry in result.curve]
    assert train == sorted(train, reverse=True) and train[-1] < train[0]
    kept = [candidate.prompt.ids for candidate in result.candidates]  # type: ignore[union-attr]
    for before, after in pairwise(kept):
        assert sum(a != b for a, b in zip(before, after, strict=True)) <= 1
    assert len(set(kept)) > 3 and all(len(ids) == 4 for ids in kept)


def test_plugin_files_may_use_deferred_annotations(tmp_path: Path) -> None:
    """A file with deferred annotations, dataclasses and nested configurations loads.

    Two files with the same name are distinct.
    """
    for folder, default in (("a", 3), ("b", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            "from __future__ import annotations\n"
            "from dataclasses import dataclass\n"
            "from typing import Literal\n"
            "import hardprompt\n"
            "Kind = Literal['up', 'down']\n"
            "@dataclass(frozen=True)\n"
            "class Step:\n    size: int = 1\n"
            f"class MineConfig(hardprompt.Config):\n    kind: Kind = 'up'\n    steps: int = {default}\n"
            "@hardprompt.optimizer('mine', config=MineConfig)\n"
            "def mine(problem, config):\n    'Mine.'\n    return [[Step().size]]\n",
            encoding="utf-8",
        )
    first, second = (load_optimizer(f"{tmp_path}/{folder}/mine.py:mine") for folder in "ab")
    assert (first.configure({}).steps, second.configure({}).steps) == (3, 4)
    assert first.configure({"kind": "down"}).kind == "down"
    with pytest.raises(RequestError, match=r"option mine\.kind"):
        first.configure({"kind": "sideways"})


def test_a_plugin_file_does_not_replace_a_module_of_the_same_name(tmp_path: Path) -> None:
    """Importing the module of the library still gives the library, not the user's file."""
    (tmp_path / "json.py").write_text(TASK_FILE, encoding="utf-8")
    assert load_task(f"{tmp_path}/json.py:task").name == "words"
    assert sys.modules["json"] is json


# Installed packages


def test_plugins_of_another_package_are_listed_and_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer and the task of another package are listed and loaded by name like the built-in ones."""
    offer(monkeypatch, "hardprompt.optimizers", far={"OPTIMIZERS": [first_token]})
    assert load_optimizer("first-token") is first_token
    assert {"pez", "rl", "first-token"} <= {entry["name"] for entry in list_optimizers()}
    monkeypatch.undo()
    with pytest.raises(UnknownName, match="no optimizer 'first-token'"):
        load_optimizer("first-token")

    offer(monkeypatch, "hardprompt.tasks", far={"TASKS": {"mood": lambda split: tiny_task(split=split)}})
    assert load_task("mood", "13").split == "13"
    assert {"plural", "mood"} <= set(all_tasks()) and "tiny-classification" in {entry["name"] for entry in list_tasks()}


@pytest.mark.parametrize(
    ("group", "attribute"),
    [("hardprompt.optimizers", "OPTIMIZERS"), ("hardprompt.tasks", "TASKS")],
)
@pytest.mark.parametrize("broken", ["not installed", "without the list"])
def test_a_plugin_that_cannot_be_loaded_gives_one_warning(
    group: str, attribute: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning names the plug-in, and all other plug-ins stay available."""
    expected = set(all_optimizers() if attribute == "OPTIMIZERS" else all_tasks())
    offer(monkeypatch, group, torn={"OTHER": []} if broken == "without the list" else None)
    with pytest.warns(UserWarning, match=rf"plug-in torn \(stranger_torn\) of {group} cannot be loaded: ") as caught:
        found = all_optimizers() if attribute == "OPTIMIZERS" else all_tasks()
    assert set(found) == expected and len(caught) == 1
    assert "\n" not in str(caught[0].message)
    reason = "AttributeError" if broken == "without the list" else "ModuleNotFoundError"
    assert reason in str(caught[0].message)


def test_two_plugins_with_the_same_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the duplicate name and the module of the second plug-in."""
    offer(
        monkeypatch,
        "hardprompt.optimizers",
        first={"OPTIMIZERS": [first_token]},
        second={"OPTIMIZERS": [first_token]},
    )
    with pytest.raises(RequestError, match="two plug-ins offer an optimizer 'first-token'; the second is stranger_second"):
        load_optimizer("pez")
    offer(monkeypatch, "hardprompt.tasks", zealous={"TASKS": {"plural": tiny_task}})
    with pytest.raises(RequestError, match="two plug-ins offer a task 'plural'; the second is stranger_zealous"):
        load_task("plural")
