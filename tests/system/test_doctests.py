"""Every example in a docstring runs and prints what the docstring shows."""

import doctest
import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import hardprompt
from hardprompt import new_task
from hardprompt.lm import FrozenLM

RUNS = Path(__file__).parents[2] / "runs"

SKIPPED = {
    "hardprompt.experiments.geometry.run.geometry",  # trains for minutes
    "hardprompt.experiments.transfer.run.transfer",  # loads models
    "hardprompt.lm.encoder_decoder.EncoderDecoderLM",  # needs an encoder-decoder model
    "hardprompt.lm.masked.MaskedLM",  # needs a masked language model
    "hardprompt.progress.notebook_display.NotebookProgress",  # needs a notebook
    "hardprompt.study.estimate.estimate",  # runs optimizers for ten seconds
    "hardprompt.study.runner.run",  # runs a study
}
"""Docstrings whose examples may hold `# doctest: +SKIP`: they take minutes or need what the project does not contain."""


def module_names() -> Iterator[str]:
    """Every module of the package by the name under which it is installed."""
    for package in ("hardprompt", "hardprompt.policies", "hardprompt.tasks"):
        loaded = importlib.import_module(package)
        yield package
        yield from (found.name for found in pkgutil.walk_packages(loaded.__path__, f"{package}."))


def examples(module: str) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples."""
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(module), module) if test.examples]


def failures(test: doctest.DocTest) -> str:
    """The report of the examples in a docstring that fail, empty where none does."""
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    return "".join(report)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that examples run in: the task `mood` as `hardprompt new-task` writes it, and the project's `runs`."""
    folder = tmp_path_factory.mktemp("examples")
    new_task("mood", folder)
    shutil.copytree(RUNS, folder / "runs")
    return folder


@pytest.mark.parametrize("module", list(dict.fromkeys(module_names())))
def test_examples_of_a_module(module: str, files: Path, microworld: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert "".join(map(failures, examples(module))) == ""


def test_few_examples_are_skipped() -> None:
    skipped = {
        test.name
        for module in dict.fromkeys(module_names())
        for test in examples(module)
        if any(example.options.get(doctest.SKIP) for example in test.examples)
    }
    assert skipped <= SKIPPED


def test_a_wrong_example_is_reported() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n>>> nothing\n", {}, "planted", None, None)
    report = failures(test)
    assert "Expected:\n    3\nGot:\n    2" in report and "NameError" in report


def test_examples_of_every_kind_of_object_are_found() -> None:
    found = {test.name for module in module_names() for test in examples(module)}
    assert {"hardprompt.data.task.Task", "hardprompt.data.task.Template.fill", "hardprompt.policies.reward.shaped"} <= found
    assert not any(name.startswith("policies") for name in found)


def test_the_package_is_the_installed_one() -> None:
    assert hardprompt.__name__ in set(module_names())
