"""Models whose folders have the same name keep two names: in the record, in tables and plots, and on the page."""

from pathlib import Path
from typing import Any

import pytest

import hardprompt
from hardprompt.records.request import StudyRequest, path_names
from hardprompt.records.store import Store
from hardprompt.report.page import report_page
from hardprompt.report.studies import group_studies
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, write_recipe

pytestmark = pytest.mark.usefixtures("no_plot")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three models in folders of the same name, as the current directory."""
    monkeypatch.chdir(tmp_path)
    for name, family in (("a", "gpt2"), ("b", "no-bos"), ("c", "llama")):
        save_tiny(tmp_path / name / "model", family)
    return tmp_path


def test_a_model_and_its_readers_have_different_names(folder: Path) -> None:
    """Also where the model is loaded already, for a study with other readers."""
    variants = {"read": {"readers": ["b/model", "c/model"]}, "alone": {}}
    recipe = write_recipe(folder, models=["a/model"], studies=variants, optimizers=["manual"], options={}, weights=[0])
    read, alone = hardprompt.run(recipe, folder / "out", jobs=1).stores
    [first, _] = read.points()
    assert first["lm"] == "a/model" and list(first["readers"]) == ["b/model", "c/model"]
    assert {point["lm"] for point in alone.points()} == {"model"}


def test_models_of_one_recipe_have_folders_and_names_of_their_own(folder: Path, ask: Ask) -> None:
    recipe = write_recipe(folder, models=["a/model", "b/model"], optimizers=["manual"], options={}, weights=[0])
    status, out, err = ask(["run", str(recipe), "--jobs", "1", "--out", "out"])
    assert (status, err) == (0, "") and "mood on a/model manual" in out and "mood on b/model manual" in out
    stores = [Store(Path("out") / f"mood-{name}--model") for name in "ab"]
    shown = group_studies(stores)
    assert [each.lm for each in shown] == ["a/model", "b/model"] and not any(each.name for each in shown)
    page = report_page(shown)
    assert page.count("on a/model") == page.count("on b/model") > 0


def test_one_model_that_is_named_in_two_ways_keeps_one_name(folder: Path) -> None:
    """A path and its end are the same model; a record may come from another machine."""
    common: dict[str, Any] = {"task": "plural", "optimizers": ("empty",), "device": "cpu", "vocabulary": "all"}
    for number, lm in enumerate(["a/model", str(folder / "a" / "model"), "b/model"]):
        hardprompt.compare(StudyRequest.make(**common, lm=lm, seeds=(number,)), f"out{number}")
    stores = [Store(f"out{number}") for number in range(3)]
    assert [each.lm for each in group_studies(stores[:2])] == ["model", "model"]
    assert [each.lm for each in group_studies(stores)] == ["a/model", "a/model", "b/model"]


def test_names_grow_only_where_they_must() -> None:
    paths = ["/x/one/model", "/y/one/model", "/two/model", "/other", "model"]
    named = path_names({path: Path(path) if path.startswith("/") else path for path in paths})
    assert list(named.values()) == ["x/one/model", "y/one/model", "two/model", "other", "model"]
