"""Trackers: the values that they receive, several processes, failures, bad input, and the real packages if installed."""

import csv
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import hardprompt
from hardprompt.errors import RequestError
from hardprompt.optimizers import Problem
from hardprompt.progress import tracking
from hardprompt.progress.live_display import LiveDisplay
from hardprompt.progress.trackers import CsvTracker, TrackedRun
from hardprompt.progress.tracking import Tracking
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.store import Store
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress
from hardprompt.study.workers import Throttled
from tests.helpers import Ask
from tests.helpers.tiny import write_recipe

PEZ = {"optimizers": ["empty", "pez"], "weights": [0], "seeds": [0], "options": {"pez": {"steps": 6}}, "lm_tokens": None}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def settings(file: Path) -> dict[str, str]:
    return {row["name"]: row["value"] for row in rows_of(file)}


def without_time(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in Store(folder).lines()]


@pytest.mark.usefixtures("no_plot")
def test_the_files_have_every_point_of_the_curves_and_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve of a run is that of its problem, its results are those of the record, and the page is a copy."""
    noted: list[tuple[float, str, float]] = []
    note = Problem.note

    def noting(self: Problem, done: float, **values: float) -> None:
        noted.extend((self.spent, f"search/{name}", value) for name, value in values.items())
        note(self, done, **values)

    monkeypatch.setattr(Problem, "note", noting)
    recipe = write_recipe(tmp_path, **PEZ)
    with Tracking([f"csv={tmp_path / 'curves'}"]) as listener:
        ended = hardprompt.run(recipe, tmp_path / "out", listener, jobs=1)
    with_tracking = without_time(ended.stores[0].folder)
    assert with_tracking == without_time(hardprompt.run(recipe, tmp_path / "plain", jobs=1).stores[0].folder)
    run = tmp_path / "curves" / "out" / "0-mood-tiny" / "pez,0,default,0"
    curves = [(float(row["lm_tokens"]), row["name"], float(row["value"])) for row in rows_of(run / "curves.csv")]
    assert len(noted) == 24 and [row for row in curves if row[1].startswith("search/")] == noted[:12]
    [point] = [point for point in ended.stores[0].points() if point["optimizer"] == "pez"]
    objectives = [value for _, name, value in curves if name == "dev/objective"]
    assert objectives == sorted(objectives, reverse=True) and objectives[-1] == point["dev_objective"]
    result = settings(run / "run.csv")
    assert float(result["test/accuracy"]) == float(result["final/test_accuracy"]) == point["test_accuracy"]
    assert float(result["final/scrutability.repetition"]) == point["scrutability"]["repetition"]
    assert (result["status"], result["optimizer"], result["options.steps"]) == ("ok", "pez", "6")
    [page] = (tmp_path / "curves" / "out").glob("*.html")
    assert page.read_bytes() == (tmp_path / "out" / page.stem / "report.html").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_several_processes_track_what_one_process_tracks(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **PEZ | {"seeds": [0, 1]})
    for jobs in (1, 2):
        with Tracking([f"csv={tmp_path / f'curves-{jobs}'}"]) as listener:
            hardprompt.run(recipe, tmp_path / f"out-{jobs}" / "out", listener, jobs=jobs)
    one, two = (tmp_path / "curves-1" / "out", tmp_path / "curves-2" / "out")
    for file in ("curves.csv", "run.csv"):
        found = [{each.relative_to(root): rows_of(each) for each in root.rglob(file)} for root in (one, two)]
        kept = [{name: [r for r in rows if not r["name"].startswith(("dev/", "final/seconds"))] for name, rows in each.items()}
                for each in found]  # fmt: skip
        assert len(kept[0]) == 4 and kept[0] == kept[1]


def test_throttled_reports_lose_no_point_of_a_curve() -> None:
    passed: list[Progress] = []
    reports = Throttled(passed.append, seconds=3600)
    for step in range(5):
        reports(Progress(step / 5, step, curve=({"lm_tokens": step},)))
    assert len(passed) == 1
    reports.flush()
    reports.flush()
    assert len(passed) == 2 and passed[1].share == 0.8
    assert [point["lm_tokens"] for step in passed for point in step.curve] == [0, 1, 2, 3, 4]


class Failing(CsvTracker):
    """A tracker that fails at a given call."""

    def __init__(self, at: str) -> None:
        self.at, self.calls = at, 0

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        self.call("start")
        return self

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        self.call("log")

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        self.call("finish")

    def page(self, experiment: str, name: str, file: Path) -> None:
        self.call("page")

    def call(self, name: str) -> None:
        self.calls += 1
        if name == self.at:
            raise OSError("no\nspace left")


@pytest.mark.usefixtures("no_plot")
def test_a_tracker_that_fails_ends_no_run_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is one warning of one line, and the other tracker goes on."""
    failing = Failing("log")
    monkeypatch.setitem(tracking.TRACKERS, "wandb", lambda folder: failing)
    with Tracking([f"wandb={tmp_path}", f"csv={tmp_path / 'csv'}"]) as listener:
        ended = hardprompt.run(write_recipe(tmp_path, **PEZ), tmp_path / "out", listener, jobs=1)
    [record] = caplog.records
    assert record.getMessage() == f"tracking with wandb={tmp_path} stops, and the runs go on: OSError: no space left"
    assert ended.failed == 0 and len(list((tmp_path / "csv").rglob("run.csv"))) == 2 and failing.calls == 4


@pytest.mark.parametrize(("at", "calls"), [("start", 1), ("finish", 3), ("page", 5), ("", 5)])
def test_a_run_that_fails_or_is_stopped_says_so(at: str, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another tracker does; one that has failed is not called again."""
    failing = Failing(at)
    monkeypatch.setitem(tracking.TRACKERS, "wandb", lambda folder: failing)
    jobs = [Job(0, StudyRequest(), Run(name, "default", 0, 0.0), "t", "a/b") for name in ("pez", "soft")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("page")
    with Tracking(["wandb", f"csv={tmp_path / 'csv'}"]) as listener:
        listener.planned(tmp_path / "out", jobs, 0)
        for job in jobs:
            listener.started(job)
        listener.finished(jobs[0], {"status": "failed", "error": "=ValueError()"})
    runs = [settings(tmp_path / "csv" / "out" / "0-t-a--b" / f"{name},0,default,0" / "run.csv") for name in ("pez", "soft")]
    assert (runs[0]["status"], runs[0]["error"], runs[1]["status"]) == ("failed", "'=ValueError()", "stopped")
    assert (tmp_path / "csv" / "out" / "out.html").read_text() == "page" and failing.calls == calls


def test_bad_trackers_are_refused_in_one_line(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name, a package that is not installed, and a folder that is a file; nothing is run."""
    (tmp_path / "file").write_text("")
    monkeypatch.setitem(sys.modules, "wandb", None)
    out = tmp_path / "out"
    for target, message in (
        (
            "tensorbord",
            "no tracker 'tensorbord'; did you mean 'tensorboard'? Available: csv, mlflow, tensorboard, trackio, wandb",
        ),
        (f"wandb={tmp_path / 'w'}", "wandb is not installed; install it with: pip install 'hardprompt[wandb]'"),
        (f"csv={tmp_path / 'file' / 'x'}", f"cannot write to the folder {tmp_path / 'file' / 'x'} (not a directory); choose "),
    ):
        status, printed, error = ask(["compare", "--track", target, "--out", str(out)])
        assert (status, printed) == (2, "") and error.startswith(f"hardprompt: {message}") and error.count("\n") == 1
    assert not out.exists()
    with pytest.raises(RequestError, match="cannot write"):
        Tracking([f"csv={tmp_path / 'file'}"])


def test_optimize_tracks_its_run(here: Path, ask: Ask) -> None:
    write_recipe(here)
    words = "optimize random --lm tiny --task mood.jsonl --lm-tokens 600 -o random.batch_size=4 --track csv".split()
    status, printed, error = ask([*words, "--template", "{input} {prompt} :", "--label-words", "positive=good,negative=bad"])
    assert (status, error) == (0, "") and "random" in printed
    run = here / "hardprompt-tracking" / "csv" / "optimize" / "0-mood-tiny" / "random,0,default,0"
    assert {row["name"] for row in rows_of(run / "curves.csv")} == {"dev/objective", "dev/accuracy"}
    assert settings(run / "run.csv")["status"] == "ok"


# The real packages


def tracked(tmp_path: Path, target: str, jobs: int = 1) -> Path:
    """Run a recipe with a tracker in a process of its own, with the record as without; returns the tracker's folder."""
    recipe = write_recipe(tmp_path, **PEZ)
    folder = tmp_path / "tracked"
    words = ["run", str(recipe), "--out", str(tmp_path / "out"), "--jobs", str(jobs), "--track", f"{target}={folder}", "--json"]
    offline = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW", "TRACKIO"))}
    code = "from hardprompt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=offline, cwd=tmp_path)
    assert done.returncode == 0 and "the runs go on" not in done.stderr, done.stderr
    assert done.stdout.startswith("{") and done.stdout.rstrip().endswith("}"), "only the answer goes to standard output"
    [study] = (tmp_path / "out").glob("mood-*")
    plain = hardprompt.run(recipe, tmp_path / "plain", jobs=1).stores[0].folder
    assert without_time(study) == without_time(plain)
    return folder


@pytest.mark.usefixtures("no_plot")
def test_learning_curves_are_written_for_tensorboard(tmp_path: Path) -> None:
    """Each run has a folder with its best value on dev by LM tokens and its result on test; a repeated run hides its first."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (the extra `tensorboard`)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = write_recipe(tmp_path, optimizers=["empty", "random"], options={"random": {"batch_size": 4}}, seeds=[0])
    console = Console(file=io.StringIO(), width=120)
    for _ in range(2):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with LiveDisplay(console) as display, Tracking([f"tensorboard={tmp_path / 'curves'}"], display) as listener:
            ended = hardprompt.run(recipe, tmp_path / "out", listener, jobs=1)
    assert isinstance(console.file, io.StringIO) and "random w=0 seed 0" in console.file.getvalue()
    [recorded] = [p for p in ended.stores[0].points() if p["optimizer"] == "random"]
    events = EventAccumulator(str(tmp_path / "curves" / "out" / "0-mood-tiny" / "random,0,default,0"))
    events.Reload()
    spent = recorded["lm_tokens_forward"] + recorded["lm_tokens_backward"]
    [test] = events.Scalars("test/accuracy")
    assert (test.step, test.value) == (spent, pytest.approx(recorded["test_accuracy"]))
    objectives = [event.value for event in events.Scalars("dev/objective")]
    assert len(objectives) > 1 and objectives == sorted(objectives, reverse=True)
    assert objectives[-1] == pytest.approx(recorded["dev_objective"]) and events.Scalars("dev/accuracy")[-1].step <= spent
    assert "status/text_summary" in events.Tags()["tensors"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_weights_and_biases_has_the_runs_offline(tmp_path: Path) -> None:
    """The files of offline runs hold the names, the group, the curves, the results and the page."""
    pytest.importorskip("wandb", reason="Weights & Biases is not installed (the extra `wandb`)")
    folder = tracked(tmp_path, "wandb", jobs=2)
    files = [file.read_bytes() for file in sorted(folder.rglob("*.wandb"))]
    assert len(files) == 3, "two runs and the page"
    [pez] = [data for data in files if b"pez,0,default,0" in data]
    assert all(word in pez for word in (b"out", b"search/train_loss", b"lm_tokens", b"test/accuracy_as_text", b"prompt_text"))
    assert any(b"report of mood-" in data and b"report.html" in data for data in files)


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_mlflow_has_the_runs_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (the extra `mlflow`)")
    from mlflow.tracking import MlflowClient

    folder = tracked(tmp_path, "mlflow", jobs=2)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(folder.as_uri())
    [experiment] = [each for each in client.search_experiments() if each.name == "out"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {"pez,0,default,0", "empty,0,default,0"} < set(runs) and len(runs) == 3
    pez, [page] = runs["pez,0,default,0"], [run for name, run in runs.items() if name.startswith("report of mood-")]
    assert pez.info.status == "FINISHED" and pez.data.params["options.steps"] == "6" and pez.data.tags["status"] == "ok"
    assert len(client.get_metric_history(pez.info.run_id, "search/train_loss")) == 6
    [point] = [point for point in Store(next((tmp_path / "out").glob("mood-*"))).points() if point["optimizer"] == "pez"]
    assert pez.data.metrics["final/test_loss"] == point["test_loss"]
    assert [artifact.path for artifact in client.list_artifacts(page.info.run_id)] == ["report.html"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_trackio_has_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed (the extra `trackio`)")
    folder = tracked(tmp_path, "trackio", jobs=2)
    [file] = folder.glob("out*.db")
    with sqlite3.connect(file) as database:
        logged = database.execute("select run_name, step, metrics from metrics").fetchall()
    of_pez = [str(metrics) for run, _, metrics in logged if run == "pez,0,default,0"]
    assert sum("search/train_loss" in metrics for metrics in of_pez) == 6
    assert sum("test/accuracy_as_text" in metrics and "prompt_text" in metrics for metrics in of_pez) == 1
    assert list((folder / "artifacts").rglob("*"))
