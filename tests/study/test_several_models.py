"""Studies that search one prompt for several models: request, record, resume, report and the commands that use the record."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import hardprompt as hp
from hardprompt.errors import RequestError, StudyError
from hardprompt.lm import load_lm
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import entries
from hardprompt.records.store import Store
from hardprompt.report.rerun_command import rerun_command
from hardprompt.scoring import Scorer
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe
from hardprompt.study.resources import scoring_bytes
from hardprompt.study.runner import compare, run_study
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny models, of which `b` has another vocabulary than `a` and `c`, and the examples of a task."""
    folder = tmp_path_factory.mktemp("several")
    for name, family in (("a", "gpt2"), ("b", "llama"), ("c", "opt")):
        save_tiny(folder / name, family)
    write_jsonl(tiny_task(), folder / "mood.jsonl")
    return folder


def request(folder: Path, lms: str, **fields: Any) -> StudyRequest:
    given: dict[str, Any] = {
        "task": str(folder / "mood.jsonl"),
        "template": "{input} {prompt} :",
        "label_words": {"positive": "good", "negative": "bad"},
        "lm": ",".join(str(folder / name) for name in lms),
        "optimizers": ("random",),
        "seeds": (0,),
        "lm_tokens": 900,
        "prompt_length": 3,
        "device": "cpu",
        "memory": "256MB",
    }
    return StudyRequest.make(**given | fields)


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    compare(request(folder, "ab", optimizers=("random", "front")), folder / "study")
    return folder / "study"


def test_the_record_has_the_share_of_each_model(folder: Path, study: Path) -> None:
    """Each share is what `Scorer` gives for the model alone; the other keys are those of the first model."""
    lms = {name: load_lm(str(folder / name), device="cpu") for name in "ab"}
    task = tiny_task()
    for point in Store(study).points():
        assert point["lm"] == "a,b" and list(point["by_lm"]) == ["a", "b"]
        for name, lm in lms.items():
            share = point["by_lm"][name]
            for split in ("train", "dev", "test"):
                scorer = Scorer(lm, task, task.examples(split))
                alone = scorer.score_ids([point["prompt_ids"]]) if name == "a" else scorer.score_text(point["prompt_text"])
                assert share[f"{split}_loss"] == pytest.approx(float(alone.mean_loss), abs=1e-4)
                assert share[f"{split}_accuracy"] == float(alone.accuracy)
            assert share["deployed_test_accuracy"] == float(scorer.score_text(point["prompt_text"]).accuracy)
        for key, value in point["by_lm"]["a"].items():
            assert point[key] == pytest.approx(value, abs=1e-4)
        mean = sum(share["dev_loss"] for share in point["by_lm"].values()) / 2
        nll = 0.0 if point["weight"] == 0 else point["weight"] * point["log_perplexity"]
        assert point["dev_objective"] == pytest.approx(mean + nll, abs=1e-3)
    assert point["objective"].endswith("task loss: mean over a, b")
    assert {"by_lm", "by_lm.NAME.test_accuracy"} <= {entry.name for entry in entries()}


def test_a_study_of_several_models_resumes_only_as_itself(folder: Path, study: Path, here: Path) -> None:
    both = request(folder, "ab", optimizers=("random", "front"))
    before = (study / "points.jsonl").read_bytes()
    assert run_study(both, study).left == 0 and (study / "points.jsonl").read_bytes() == before
    for other in (
        request(folder, "a", optimizers=both.optimizers),
        request(folder, "ac", optimizers=both.optimizers),
        request(folder, "ab", optimizers=both.optimizers, over="worst"),
    ):
        with pytest.raises(StudyError, match="holds another study"):
            run_study(other, study)
    assert run_study(request(folder, "ab", limit=2)).folder == Path("hardprompt-out/mood-a+b")


@pytest.mark.slow
def test_tables_and_page_show_each_model(study: Path, ask: Ask) -> None:
    page = (study / "report.html").read_text(encoding="utf-8")
    for text in ("Model by model", "over the models", "a,b", "All values are those of a."):
        assert text in page
    point = Store(study).points()[0]
    [table] = [part for part in page.split("<section>") if "Model by model" in part]
    assert f"{point['by_lm']['b']['test_loss']:.3f}" in table
    status, out, err = ask(["report", str(study)])
    assert status == 0 and "model by model" in out, err


def test_a_found_prompt_is_measured_on_the_first_model_unless_another_is_named(folder: Path, study: Path, ask: Ask) -> None:
    [point, *_] = Store(study).points()
    for given, name in ([], "a"), (["--lm", str(folder / "b")], "b"):
        status, out, err = ask(["evaluate", "--run", str(study), "--number", "1", "--json", *given])
        assert status == 0, err
        found = json.loads(out)
        assert found["lm"] == name and "by_lm" not in found
        assert found["test_loss"] == pytest.approx(point["by_lm"][name]["test_loss"], abs=1e-4)
    status, out, err = ask(["inspect", "--run", str(study), "--number", "1", "--json"])
    assert status == 0 and json.loads(out)["lm"] == "a", err


def test_soft_prompts_of_one_width_have_their_vectors_on_each_model(folder: Path, ask: Ask) -> None:
    compare(request(folder, "ab", optimizers=("soft",), options={"soft": {"steps": 2}}), folder / "soft")
    [point] = Store(folder / "soft").points()
    for name in "ab":
        status, out, err = ask(["evaluate", "--run", str(folder / "soft"), "--json", "--lm", str(folder / name)])
        assert status == 0, err
        if name == "a":
            assert json.loads(out)["test_loss"] == pytest.approx(point["by_lm"]["a"]["test_loss"], abs=1e-4)


def test_in_python_models_are_a_list(folder: Path) -> None:
    """Names, loaded models and both together give the same result."""
    a, b = (load_lm(str(folder / name), device="cpu") for name in "ab")
    fields: dict[str, Any] = {"prompts": 6, "batch_size": 3, "prompt_length": 3}
    loaded = hp.optimize(tiny_task(), [a, b], "random", over="worst", **fields)
    names_and_models: list[Any] = [str(folder / "a"), b]
    mixed = hp.optimize(tiny_task(), names_and_models, "random", over="worst", **fields)
    alone = hp.optimize(tiny_task(), a, "random", **fields)
    assert [c.dev_objective for c in loaded.candidates] == [c.dev_objective for c in mixed.candidates]
    assert all(both.dev_objective >= one.dev_objective for both, one in zip(loaded.candidates, alone.candidates, strict=True))
    assert loaded.lm_tokens_forward > alone.lm_tokens_forward
    wrong: list[tuple[Any, str]] = [
        ([], "lm is an empty list"),
        ([a, a], "two of the models are called 'a'"),
        ([a, 3], "got int"),
    ]
    for lms, message in wrong:
        with pytest.raises(RequestError, match=message):
            hp.optimize(tiny_task(), lms, "random")


def test_recipes_and_requests_take_lists(folder: Path, tmp_path: Path) -> None:
    text = "tasks: [plural]\nmodels: [x, {lm: [x, y], over: worst}, 'x, z']\n"
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    requests = [study.request for study in planned_studies(read_recipe(tmp_path / "r.yaml"))]
    assert [(each.lms, each.over) for each in requests] == [(("x",), "mean"), (("x", "y"), "worst"), (("x", "z"), "mean")]
    [_, changed, _] = planned_studies(read_recipe(tmp_path / "r.yaml", ["models.1.lm=u,v"]))
    assert changed.request.lms == ("u", "v")
    assert StudyRequest.model_validate(requests[1].model_dump(mode="json")) == requests[1]
    assert "    --lm x,y \\" in rerun_command(requests[1]) and "    --over worst \\" in rerun_command(requests[1])
    assert scoring_bytes(requests[1]) == 2 * scoring_bytes(requests[0])
    comma = save_tiny(tmp_path / "one,model")
    assert StudyRequest.make(lm=str(comma)).lms == (str(comma),)
    assert StudyRequest.make(lm="microworld,microworld-reader").reader_names == ()


@pytest.mark.parametrize(
    ("lms", "fields", "message"),
    [
        ("aa", {}, "models .*a' and .*a' are the same; name each once"),
        ("a", {"over": "worst"}, "over 'worst' needs several models, such as --lm A,B"),
        ("ab", {"optimizers": ("pez",)}, "a and b have different ones; use an optimizer that needs only scores"),
        ("ab", {"readers": ("b",)}, "reader .* is the task model"),
        (
            "ab",
            {"label_words": {"positive": "good", "negative": "terrible"}},
            "label word 'terrible' is 4 tokens of b, expected one",
        ),
        ("ab", {"chat": True}, "has no chat template"),
        ("an", {}, "no model folder .*n; give an existing folder"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_in_one_line(
    folder: Path, tmp_path: Path, lms: str, fields: dict[str, Any], message: str
) -> None:
    if "readers" in fields:
        fields = {"readers": tuple(str(folder / name) for name in fields["readers"])}
    with pytest.raises(RequestError, match=message) as caught:
        run_study(request(folder, lms, **fields), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("lm", ["a,", [], ["a", ""], 5])
def test_every_model_has_a_name(lm: Any) -> None:
    """A text with an empty name is no list, and no such model exists."""
    if lm == "a,":
        assert StudyRequest.make(lm=lm).lms == ("a,",)
    else:
        with pytest.raises(RequestError, match="lm: expected text; got"):
            StudyRequest.make(lm=lm)


def test_commands_for_one_model_name_those_for_several(ask: Ask) -> None:
    for command in (["evaluate", "--text", "x"], ["inspect", "--text", "x"]):
        status, out, err = ask([*command, "--lm", "microworld,microworld-reader"])
        assert status == 2 and not out
        assert "--lm: expected one model, got 2" in err or "expected one model, got 2 (microworld, microworld-reader)" in err
    status, out, err = ask(["optimize", "random", "--lm", "microworld,microworld"])
    assert status == 2 and "are the same; name each once" in err


def test_the_same_models_stay_loaded_for_the_next_study(folder: Path) -> None:
    from hardprompt.study.engine import JobExecutor

    executor = JobExecutor()
    first = executor.load(request(folder, "ac")).lms
    assert executor.load(request(folder, "ac", over="worst")).lms == first
    assert executor.load(request(folder, "a")).lms != first
    assert torch.is_tensor(first[0].vocab_embeds)
