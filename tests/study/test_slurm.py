"""SLURM, with the executor of submitit that starts jobs as processes of this machine: the same record, lost jobs, refusals."""

import json
import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest

import hardprompt as hp
from hardprompt.errors import RequestError, RunError
from hardprompt.records.store import Store
from hardprompt.study.recipe import read_recipe
from hardprompt.study.remote import ATTEMPTS
from hardprompt.study.slurm import MINUTES, Slurm, _options
from tests.helpers.tiny import wait_for_lines, write_recipe

pytest.importorskip("submitit")

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
FOLDER = "mood-tiny"
SMALL = ["optimizers=manual,soft,pez", "seeds=0", "weights=0.2"]

MINE = """
import os
import hardprompt

@hardprompt.optimizer("fatal", config=hardprompt.Config, uses_weight=False)
def fatal(problem, config):
    "Ends the process that it is in."
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on a tiny model."""
    file = write_recipe(tmp_path_factory.mktemp("recipe"))
    (file.parent / "mine.py").write_text(MINE, encoding="utf-8")
    return file


def results(out: Path) -> dict[Any, Any]:
    """Every recorded value except the seconds, by run, with the vectors of soft prompts."""
    found: dict[Any, Any] = {}
    for point in Store(out / FOLDER).points():
        vectors = (out / FOLDER / point["soft_prompt_file"]).read_bytes() if "soft_prompt_file" in point else b""
        found[point["optimizer"], point["seed"], point["weight"]] = point | {"seconds": 0}, vectors
    return found


def started(recipe: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """`hardprompt run --slurm local`."""
    command = [SCRIPT, "run", str(recipe), "--out", str(out), "--slurm", "local", "--jobs", "1", "--json", *more]
    return subprocess.Popen(
        command,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
    )


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


@pytest.mark.slow
def test_the_record_equals_that_of_one_process(recipe: Path, tmp_path: Path) -> None:
    """Bit for bit, and the folder of the jobs is removed."""
    chosen = read_recipe(recipe, SMALL)
    outcome = hp.run(chosen, tmp_path / "many", slurm="local", jobs=2)
    assert (outcome.left, outcome.failed) == (0, 0)
    hp.run(chosen, tmp_path / "one", jobs=1)
    assert results(tmp_path / "many") == results(tmp_path / "one")
    assert sorted(file.name for file in (tmp_path / "many").iterdir() if file.name != ".lock") == [FOLDER, "recipe.yaml"]


@pytest.mark.slow
def test_a_killed_job_is_repeated_and_an_interrupted_study_resumes(recipe: Path, tmp_path: Path) -> None:
    """The process of a job is killed during its run; then Ctrl-C ends the study, and the same command completes it."""
    longer = [*SMALL, "lm_tokens=20000"]
    words = [word for option in longer for word in ("-o", option)]
    process = started(recipe, tmp_path / "many", *words)
    wait_for_lines(tmp_path / "many" / FOLDER, 1, process)
    end = time.monotonic() + 120
    while not (jobs := [task for controller in children(process.pid) for task in children(controller)]):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(jobs[0], signal.SIGKILL)
    wait_for_lines(tmp_path / "many" / FOLDER, 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command resumes it" in errors, errors
    assert "is repeated: its job " in errors and "ended without a result (FINISHED)" in errors
    kept = results(tmp_path / "many")
    assert len(kept) == 2 and not list((tmp_path / "many").glob(".slurm-*"))
    process = started(recipe, tmp_path / "many", *words)
    answer, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and json.loads(answer)["left"] == 0, errors
    hp.run(read_recipe(recipe, longer), tmp_path / "one", jobs=1)
    assert kept.items() <= results(tmp_path / "many").items() and results(tmp_path / "many") == results(tmp_path / "one")


@pytest.mark.slow
def test_a_run_that_kills_its_job_is_recorded_as_failed(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 1)
    chosen = read_recipe(recipe, [f"optimizers=empty,{recipe.with_name('mine.py')}:fatal", "seeds=0"])
    assert hp.run(chosen, tmp_path / "out", slurm="local", jobs=1).failed == 1
    empty, fatal = Store(tmp_path / "out" / FOLDER).points()
    assert empty["status"] == "ok" and fatal["status"] == "failed"
    assert fatal["error"].startswith(f"attempted {ATTEMPTS} times; the last time its job ")


def test_an_error_in_a_job_is_one_line(tmp_path: Path) -> None:
    """What would fail on every machine, such as a missing library, stops the study with its reason."""
    with Slurm("local", tmp_path / "out") as engine:
        job = engine._submit({"timeout_min": 1}, json.loads, "{")
        while not engine._finished([job]):
            pass
        with pytest.raises(RunError, match=r"the cluster cannot carry out runs: json\.decoder\.JSONDecodeError: [^\n]*$"):
            engine._result(job)
    assert not (tmp_path / "out").exists()


def test_what_a_job_requests(recipe: Path, tmp_path: Path) -> None:
    """The recipe's threads as cores, memory, a day, and a GPU if the recipe names one; settings go to sbatch."""
    request = hp.StudyRequest.make(memory="1GB")
    engine = Slurm("local", tmp_path, threads=3)
    needs = engine._needs(request, weight_bytes=1 << 30)
    assert needs == {"timeout_min": MINUTES, "cpus_per_task": 3, "mem_gb": 2.5}
    assert engine._needs(request.model_copy(update={"device": "cuda"}))["gpus_per_node"] == 1
    with pytest.raises(RequestError, match=r"the device must be cpu or cuda, and SLURM chooses the GPU; got 'cuda:1'"):
        engine._needs(request.model_copy(update={"device": "cuda:1"}))
    assert _options("partition=short,time=60") == {"partition": "short", "time": "60"} and _options("auto") == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("somewhere", "--slurm 'somewhere' is none of auto, local, or options of sbatch such as partition=short,time=60"),
        ("partition=", "is none of auto, local, or options"),
        ("auto", r"no SLURM on this machine \(.*\); --slurm local tries it out without SLURM"),
    ],
)
def test_wrong_settings_are_refused(recipe: Path, tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        hp.run(recipe, tmp_path / "out", slurm=settings)
    assert not (tmp_path / "out").exists()


def test_submitit_is_needed_only_for_slurm(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(RequestError, match=r"install it with: pip install 'hardprompt\[slurm\]'"):
        hp.run(recipe, tmp_path / "out", slurm="auto")
    assert not (tmp_path / "out").exists()
