"""Prompts x models: cells are what `evaluate` measures, a matrix resumes, and a cell that cannot be measured costs one line."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import hardprompt as hp
from hardprompt.data.task import Task
from hardprompt.errors import ContextExceeded, StudyError
from hardprompt.experiments.transfer.request import TransferRecord, TransferRequest
from hardprompt.experiments.transfer.table import Transfer, correlations, spearman, transfer_of, with_statistics
from hardprompt.lm import FrozenLM
from hardprompt.lm.sources import EMBEDDED
from hardprompt.records.request import StudyRequest
from hardprompt.scoring import Scorer
from hardprompt.study.loading import load_tasks
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task

LIMIT = 12
QUICK = "runs/quick"

# The texts of many prompts in one call


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5"])
def test_many_texts_score_as_one_text_after_another(family: str, prompt_first: bool) -> None:
    """Also where a text is merged with the words around it, so that its tokens differ from example to example."""
    lm, kind = tiny_lm(family), "generation" if family == "t5" else "classification"
    task = tiny_task(kind, prompt_first)
    texts = ["", "good or bad", "it was", "the  ca", "x"]
    together, scorer = Scorer(lm, task, task.test).score_texts(texts), Scorer(lm, task, task.test)
    assert together.loss.shape == (len(texts), len(task.test))
    for number, text in enumerate(texts):
        alone = scorer.score_text(text)
        assert torch.allclose(together.loss[number], alone.loss[0], atol=1e-5)
        assert torch.equal(together.correct[number], alone.correct[0])
        if lm.kind == "causal":
            for n, example in enumerate(task.test):
                ids = [*lm.prefix_ids, *lm.encode(task.template.fill(example.input, text))]
                logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1][scorer.label_ids]
                assert float(together.loss[number, n]) == pytest.approx(
                    float(-logits.log_softmax(-1)[scorer.labels[n]]), abs=1e-4
                )


def test_a_text_that_is_too_long_is_refused() -> None:
    task = tiny_task(prompt_first=True)
    with pytest.raises(ContextExceeded):
        Scorer(tiny_lm("gpt2"), task, task.test).score_texts(["good", "good " * 200])


# The matrix


@pytest.fixture(autouse=True)
def no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not draw the figure again in every test; the one of the fixture `matrix` is drawn."""
    monkeypatch.setattr("hardprompt.experiments.transfer.report.draw_matrix", lambda found, file: file.touch())


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Transfer:
    """The prompts of a recorded study on its own model and on another."""
    return hp.transfer([QUICK], ["microworld-reader"], limit=LIMIT, out=tmp_path_factory.mktemp("transfer"), device="cpu")


@pytest.fixture(scope="module")
def category() -> Task:
    [task] = load_tasks(StudyRequest.make(task="category", limit=LIMIT)).values()
    return task


def cell(found: Transfer, number: int | None, lm: str, form: str = "text") -> dict[str, Any]:
    [one] = [c for c in found.cells if (c["number"], c["lm"], c["prompt_as"]) == (number, lm, form)]
    return one


def test_a_cell_is_what_evaluate_measures(matrix: Transfer, category: Task, microworld: FrozenLM) -> None:
    for lm in (microworld, hp.load_lm("microworld-reader", device="cpu")):
        for number in (2, 4, 6):
            found = cell(matrix, number, lm.name)
            measured = hp.evaluate(found["prompt_text"], category, lm)
            assert (found["accuracy"], found["n"]) == (pytest.approx(measured["deployed_test_accuracy"]), LIMIT)
            assert found["loss"] == pytest.approx(measured["deployed_test_loss"], abs=1e-4)
            assert found["log_perplexity"] == pytest.approx(measured["log_perplexity"], abs=1e-4)
            assert found["tokens"] == len(measured["prompt_ids"])
            low, high = found["accuracy_interval"]
            assert low <= found["accuracy"] <= high


def test_a_soft_prompt_is_measured_by_text_and_by_vectors(matrix: Transfer, category: Task, microworld: FrozenLM) -> None:
    soft = hp.load_prompt(QUICK, microworld, 4)
    by_vectors, by_text = cell(matrix, 4, "microworld", "vectors"), cell(matrix, 4, "microworld")
    assert by_vectors["correct"] == hp.evaluate(soft, category, microworld)["test_correct"] == by_vectors["optimized_correct"]
    assert by_vectors["minus_optimized"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert by_text["minus_optimized"]["value"] == by_text["accuracy"] - by_vectors["accuracy"] < -0.5
    other = cell(matrix, 4, "microworld-reader", "vectors")
    assert other["status"] == "skipped" and re.search(r"microworld \(160 wide.*microworld-reader \(128 wide", other["reason"])
    assert not matrix.not_measured


@pytest.mark.slow
def test_vectors_fit_a_copy_of_their_model(here: Path, microworld: FrozenLM) -> None:
    """Embedding width and vocabulary decide, not the name."""
    study = Path(__file__).parents[2] / QUICK
    shutil.copytree(EMBEDDED["microworld"], here / "copy")
    found = hp.transfer([study], ["copy"], limit=LIMIT, out="out", device="cpu")
    of_copy = cell(found, 4, "copy", "vectors")
    assert of_copy["status"] == "ok" and of_copy["correct"] == cell(found, 4, "microworld", "vectors")["correct"]


def test_every_prompt_of_the_study_is_there(matrix: Transfer) -> None:
    texts = [c for c in matrix.cells if c["lm"] == "microworld" and c["prompt_as"] == "text"]
    assert [c["number"] for c in texts] == list(range(1, 26)), "with the members of fronts, numbered as for evaluate --number"
    assert sum(c["optimizer"] == "front" for c in texts) == 5
    table = matrix.matrix()
    assert list(table.columns) == ["microworld", "microworld-reader"] and table.shape == (27, 2)
    assert int(table["microworld-reader"].isna().sum()) == 2, "the vectors"


def test_the_empty_prompt_is_there_even_if_the_study_lacks_it(tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(QUICK, study)
    lines = [json.loads(line) for line in (study / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line["optimizer"] in ("manual", "random")]
    (study / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    found = hp.transfer([study], ["microworld"], limit=LIMIT, out=tmp_path / "out", device="cpu")
    empty, manual = cell(found, None, "microworld"), cell(found, 1, "microworld")
    assert (empty["optimizer"], empty["prompt_text"], empty["rank"]) == ("empty", "", None)
    assert manual["minus_empty"]["value"] == manual["accuracy"] - empty["accuracy"]


def test_a_resumed_matrix_measures_each_study_with_its_own_start(tmp_path: Path) -> None:
    """The start tokens of a study are those of its own model only, also if only its cells are recorded."""
    for name in ("a", "b"):
        shutil.copytree(QUICK, tmp_path / name)
    file = tmp_path / "a" / "study.yaml"
    study = yaml.safe_load(file.read_text(encoding="utf-8"))
    study["request"] |= {"lm": "microworld-reader", "readers": [], "start": "none"}
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    asked: dict[str, Any] = {"lms": ["microworld"], "limit": LIMIT, "out": tmp_path / "out", "device": "cpu"}

    def losses() -> list[tuple[Any, ...]]:
        found = hp.transfer([tmp_path / "a", tmp_path / "b"], **asked).cells
        return [(c["study"], c["number"], c["lm"], c["loss"]) for c in found if c["prompt_as"] == "text"]

    before = losses()
    cells = tmp_path / "out" / "cells.jsonl"
    kept = [text for text in cells.read_text(encoding="utf-8").splitlines() if json.loads(text)["study"].endswith("/a")]
    cells.write_text("".join(text + "\n" for text in kept), encoding="utf-8")
    assert losses() == before


# Statistics, by hand


def line(number: int | None, text: str, lm: str, correct: str, **own: Any) -> dict[str, Any]:
    identity = {"study": "s", "split": "default", "number": number, "prompt_text": text, "prompt_as": "text", "lm": lm}
    accuracy = correct.count("1") / len(correct)
    measured = {"status": "ok", "correct": correct, "accuracy": accuracy, "n": len(correct), "optimized_correct": None}
    return {**identity, "source_lm": "a", "task": "t", **measured, **own}


def test_differences_ranks_and_correlations_by_hand() -> None:
    lines = [
        *(line(None, "", lm, "1000") for lm in "ab"),
        line(1, "x", "a", "0000"),  # measured again below
        *(line(1, "x", lm, correct) for lm, correct in (("a", "1111"), ("b", "1110"))),
        *(line(2, "y", lm, correct) for lm, correct in (("a", "1100"), ("b", "0011"))),
        *(line(3, "z", lm, correct) for lm, correct in (("a", "1000"), ("b", "1100"))),
        *(line(4, "z", lm, correct) for lm, correct in (("a", "1000"), ("b", "1100"))),  # the text of 3 again
    ]
    cells = {(c["number"], c["lm"]): c for c in with_statistics(lines)}
    assert len(cells) == len(lines) - 1
    assert [cells[number, "a"]["rank"] for number in (None, 1, 2, 3, 4)] == [None, 1, 2, 3, 3]
    assert [cells[number, "b"]["rank"] for number in (1, 2, 3)] == [1, 2.5, 2.5]
    assert cells[1, "a"]["minus_empty"]["value"] == 0.75 and cells[1, "a"]["minus_source"] is None
    same = cells[1, "b"]["minus_source"]
    assert same["value"] == -0.25 and same["low"] <= -0.25 <= same["high"] <= 0
    assert cells[None, "b"]["minus_empty"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    [found] = correlations(list(cells.values()))
    assert (found["source_lm"], found["lm"], found["n"], found["above_empty"]) == ("a", "b", 3, 0)
    ranks = torch.corrcoef(torch.tensor([[3.0, 2, 1], [3, 1.5, 1.5]]))[0, 1]
    assert found["spearman"] == pytest.approx(float(ranks))


def test_a_correlation_of_nothing_is_none() -> None:
    assert spearman([0.1, 0.2], [0.1, 0.2]) is spearman([0.1, 0.2, 0.3], [1, 1, 1]) is None


# The folder


def test_a_matrix_resumes(matrix: Transfer, tmp_path: Path) -> None:
    """After a kill in the middle of a line, the cells before it are kept and only the others are measured."""
    folder = tmp_path / "out"
    shutil.copytree(matrix.folder, folder)
    whole = (folder / "cells.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "cells.jsonl").write_bytes(b"".join(whole[:30]) + whole[30][:50])
    told: list[str] = []
    again: Callable[[], Transfer] = lambda: hp.transfer(  # noqa: E731
        [QUICK], ["microworld-reader"], limit=LIMIT, out=folder, device="cpu", announce=told.append
    )
    found = again()
    assert told == ["microworld-reader: 24 cells"]
    assert (folder / "cells.jsonl").read_bytes().splitlines(keepends=True)[:30] == whole[:30]
    assert found.cells == matrix.cells and found.correlations == matrix.correlations
    again()
    assert len(told) == 1, "nothing is left to measure"
    with pytest.raises(StudyError, match="another study \\(other limit\\); choose another --out"):
        hp.transfer([QUICK], ["microworld-reader"], limit=LIMIT + 1, out=folder, device="cpu")


def test_the_folder_has_tables_a_figure_and_a_page(matrix: Transfer) -> None:
    assert {"matrix.png", "matrix.svg", "matrix.md", "matrix.csv", "correlations.csv", "report.html"} <= {
        file.name for file in matrix.folder.iterdir()
    }
    assert transfer_of(TransferRecord(matrix.folder)) == matrix
    rows = list(csv.DictReader((matrix.folder / "cells.csv").read_text(encoding="utf-8").splitlines()))
    manual = next(row for row in rows if row["optimizer"] == "manual")
    assert len(rows) == len(matrix.cells) and manual["prompt_text"] == "give the category of the word"
    assert 0 < float(manual["minus_empty_low"]) <= float(manual["minus_empty"]) and "correct" not in manual
    page = (matrix.folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page and "give the category of the word" in page and "microworld-reader" in page
    assert "<script" not in page and "Cells without a value" in page


# The command


@pytest.fixture
def tiny_study(here: Path, no_plot: None) -> Path:
    """A study of a tiny model on a task in a file, in the current directory."""
    save_tiny(here / "tiny")
    lines = [{"input": f"film {i}", "answer": "ng"[i % 2], "split": ["train", "dev", "test", "test"][i % 4]} for i in range(40)]
    (here / "mood.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    task = {"task": "mood.jsonl", "template": "{input} {prompt}", "label_words": {"n": "mat", "g": "was"}}
    small = {"lm": "tiny", "device": "cpu", "vocabulary": "all", "lm_tokens": 2000, "prompt_length": 2}
    asked: dict[str, Any] = {**task, **small, "optimizers": ("random",), "weights": (0.0,), "seeds": (0,)}
    request = StudyRequest.make(**asked)
    hp.compare(request, "study")
    return here / "study"


def test_models_that_cannot_read_a_task_cost_a_line_each(tiny_study: Path, here: Path, ask: Ask) -> None:
    """A label word of several tokens, a model without a chat template, and weights that do not fit; the other cells stay."""
    save_tiny(here / "broken")
    config = json.loads((here / "broken" / "config.json").read_text(encoding="utf-8"))
    (here / "broken" / "config.json").write_text(json.dumps(config | {"n_layer": 3}), encoding="utf-8")
    save_tiny(here / "plain", "llama")
    command = [
        "transfer",
        "study",
        "--lm",
        "microworld",
        "--lm",
        "broken",
        "--lm",
        "plain",
        "--chat",
        "plain",
        "--device",
        "cpu",
    ]
    status, out, err = ask([*command, "--json"])
    found = json.loads(out)
    assert status == 1 and "Traceback" not in err
    keys = {"study", "number", "prompt_text", "lm", "accuracy", "accuracy_interval", "log_perplexity", "n", "rank"}
    assert keys <= found["cells"][0].keys()
    reasons = {c["lm"]: c.get("reason", "") for c in found["cells"]}
    assert reasons["tiny"] == "" and "label word 'mat' is" in reasons["microworld"]
    assert "weights of broken do not fit" in reasons["broken"] and "plain has no chat template" in reasons["plain"]
    status, out, _ = ask(command)
    assert status == 1 and 'why cells are "-"' in out and "plain has no chat template" in out
    recorded = (here / "hardprompt-out" / "transfer-study" / "cells.jsonl").read_bytes()
    assert len(recorded.splitlines()) == 8, "tried again, and recorded once"


def test_a_study_without_its_task_costs_a_line(tiny_study: Path, here: Path, ask: Ask) -> None:
    text = (here / "mood.jsonl").read_text(encoding="utf-8")
    (here / "mood.jsonl").unlink()
    status, out, _ = ask(["transfer", "study", "--lm", "tiny", "--device", "cpu", "--out", "out", "--json"])
    assert status == 1 and {(c["status"], c["accuracy"]) for c in json.loads(out)["cells"]} == {("failed", None)}
    assert all("mood.jsonl" in c["reason"] for c in json.loads(out)["cells"])
    (here / "mood.jsonl").write_text(text.replace("film 3", "film x"), encoding="utf-8")
    status, out, _ = ask(["transfer", "study", "--lm", "tiny", "--device", "cpu", "--out", "out", "--json"])
    assert status == 1 and all("have changed since" in c["reason"] for c in json.loads(out)["cells"])
    (here / "mood.jsonl").write_text(text, encoding="utf-8")
    status, out, _ = ask(["transfer", "study", "--lm", "tiny", "--device", "cpu", "--out", "out", "--json"])
    assert status == 0 and {c["status"] for c in json.loads(out)["cells"]} == {"ok"}, "the same command measures them now"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none holds no study"),
        (["STUDY", "--lm", "./microwrld"], "no model folder ./microwrld"),
        (["STUDY", "--lm", "microworld-reader", "--chat", "smol"], "chat: 'smol' is none of the models"),
        (["STUDY", "--limit", "0"], "--limit: expected"),
        (["STUDY", "--dtype", "float16"], "--dtype: expected"),
        (["STUDY", "--memory", "much"], "--memory"),
        (["STUDY", "--lm", "microworld", "--out", "full"], "full is not empty and holds no transfer matrix"),
        (["begun", "--lm", "microworld"], "begun holds no finished run yet"),
    ],
)
def test_a_request_that_cannot_be_used_costs_one_line(here: Path, ask: Ask, arguments: list[str], message: str) -> None:
    study = Path(__file__).parents[2] / QUICK
    (here / "full").mkdir()
    (here / "full" / "notes.txt").touch()
    (here / "begun").mkdir()
    shutil.copy(study / "study.yaml", here / "begun" / "study.yaml")
    status, out, err = ask(["transfer", *(str(study) if each == "STUDY" else each for each in arguments)])
    assert status == 2 and out == "" and message in err and err.count("\n") == 1


def test_by_default_every_model_that_is_there_is_one() -> None:
    models = TransferRequest.make(studies=(QUICK,)).models(("./copy", "microworld"))
    assert models[:2] == ["./copy", "microworld"] and set(EMBEDDED) <= set(models) and len(models) == len(set(models))
