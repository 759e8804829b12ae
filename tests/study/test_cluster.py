"""Several machines: a real Ray cluster of several nodes on this machine, and failures of nodes during a study."""

import json
import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hardprompt
from hardprompt.errors import RequestError
from hardprompt.records.store import Store, versions
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import StudyInfo
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe
from hardprompt.study.remote import ATTEMPTS, IncompatibleMachine, carry_out, configure, inputs, open_study
from tests.helpers.tiny import wait_for_lines, write_recipe

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
QUIET = os.environ | {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}
FOLDER = "mood-tiny"
LONGER = ["-o", "lm_tokens=30000"]
"""Options with which a run takes seconds."""

MINE = """
import os
import hardprompt

class Options(hardprompt.Config):
    pass

@hardprompt.optimizer("fatal", config=Options, uses_weight=False)
def fatal(problem, config):
    "Ends the process that it is in."
    print("not JSON")
    os.kill(os.getpid(), 9)

@hardprompt.optimizer("where", config=Options, uses_weight=False)
def where(problem, config):
    "Says where it is."
    raise ValueError(os.getcwd())
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on a tiny model."""
    file = write_recipe(tmp_path_factory.mktemp("recipe"))
    (file.parent / "mine.py").write_text(MINE, encoding="utf-8")
    return file


@pytest.fixture
def opened(recipe: Path) -> StudyInfo:
    """The study of the recipe, loaded on this machine."""
    [study] = planned_studies(read_recipe(recipe))
    answer = open_study(study.request, 1, None, versions())
    assert isinstance(answer, StudyInfo)
    return answer


def results(out: Path) -> dict[Any, Any]:
    """Every recorded value except the seconds, by run, with the vectors of soft prompts."""
    found: dict[Any, Any] = {}
    for point in Store(out / FOLDER).points():
        vectors = (out / FOLDER / point["soft_prompt_file"]).read_bytes() if "soft_prompt_file" in point else b""
        found[point["optimizer"], point["seed"], point["weight"]] = point | {"seconds": 0}, vectors
    return found


# Machines that would give other results


def test_a_machine_with_other_versions_is_refused() -> None:
    """The error names the machine, its versions and the expected versions."""
    unfit = configure(1, None, versions() | {"torch": "1.0"})
    assert (
        unfit and f"has torch {versions()['torch']} instead of 1.0; install the same versions on all machines" in unfit.reason
    )


def test_a_machine_without_the_folder_is_refused(tmp_path: Path) -> None:
    """Paths in a recipe are relative to the folder of the command, on every machine."""
    unfit = configure(1, str(tmp_path / "nowhere"), versions())
    assert unfit and "nowhere; share it, or send it with `ray job submit --working-dir .`" in unfit.reason


def test_a_machine_with_other_data_is_refused(recipe: Path, opened: StudyInfo) -> None:
    """The data of the task are different or missing."""
    [study] = planned_studies(read_recipe(recipe))
    job = Job(0, study.request, opened.runs[0], opened.task, opened.lm)
    lacking = Job(0, study.request.model_copy(update={"lm": "nowhere/model"}), *(job.run, job.task, job.lm))
    elsewhere = inputs(replace(opened, data={"default": "0" * 64}))
    for each, expected in ((job, "has other data"), (lacking, "cannot run a study that another machine can run: ")):
        answer = carry_out(0, each, elsewhere, 1, None, versions(), None)
        assert isinstance(answer, IncompatibleMachine) and expected in answer.reason


def test_ray_is_needed_only_for_a_cluster(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Ray is not installed, there is a one-line error, and nothing is written."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(RequestError, match=r"install it with: pip install 'hardprompt\[ray\]'"):
        hardprompt.run(recipe, tmp_path / "out", ray="auto")
    assert not (tmp_path / "out").exists()


# A cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster with a head that executes no runs and two nodes that execute one run each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=SMALL | {"num_cpus": 0})
    for _ in range(2):
        add_node(made)
    yield made
    made.shutdown()


def add_node(cluster: Any, memory: int = 2 << 30) -> Any:
    """One core, and memory for one run."""
    return cluster.add_node(num_cpus=1, memory=memory, **SMALL)


def started(cluster: Any, recipe: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """`hardprompt run` on the cluster, given in the recipe's folder."""
    command = [SCRIPT, "run", str(recipe), "--out", str(out), "--ray", cluster.address, "--json", *more]
    return subprocess.Popen(
        command, cwd=recipe.parent, env=QUIET | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_study_survives_the_loss_of_a_machine(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    """A node dies during a run, and the points are still equal bit for bit to those of one process."""
    large = [*LONGER, "-o", "memory=3GB"]  # more than the other nodes have
    doomed = add_node(cluster, 4 << 30)
    process = started(cluster, recipe, tmp_path / "many", *large)
    wait_for_lines(tmp_path / "many" / FOLDER, 4, process)
    cluster.remove_node(doomed, allow_graceful=False)
    other = add_node(cluster, 4 << 30)
    said, errors = process.communicate(timeout=240)
    cluster.remove_node(other)
    assert process.returncode == 0, errors
    assert re.search("is repeated: its (machine was lost|process ended)", errors), errors
    assert len(json.loads(said)["studies"][0]["points"]) == 12
    hardprompt.run(read_recipe(recipe, large[1::2]), tmp_path / "one", jobs=1)
    assert results(tmp_path / "many") == results(tmp_path / "one")


@pytest.mark.slow
def test_an_interrupted_study_on_a_cluster_resumes(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    """Ctrl-C keeps the recorded runs and frees the cluster, so that the same command can resume."""
    process = started(cluster, recipe, tmp_path / "out", *LONGER)
    wait_for_lines(tmp_path / "out" / FOLDER, 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    recorded = results(tmp_path / "out")
    assert 2 <= len(recorded) < 12
    process = started(cluster, recipe, tmp_path / "out", *LONGER)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0 and json.loads(said)["left"] == 0, errors
    assert recorded.items() <= results(tmp_path / "out").items()


@pytest.mark.slow
def test_a_run_that_kills_its_process_is_recorded_as_failed(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    """The run is tried a few times and then recorded with its error; the other runs finish."""
    more = ["-o", f"optimizers=manual,{recipe.with_name('mine.py')}:fatal", "-o", "seeds=0"]
    process = started(cluster, recipe, tmp_path / "out", *more)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    manual, fatal = json.loads(said)["studies"][0]["points"]
    assert manual["status"] == "ok" and fatal["status"] == "failed"
    assert fatal["error"] == f"attempted {ATTEMPTS} times; the last time its process ended"


@pytest.mark.slow
def test_machines_use_the_folder_that_ray_copies(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    """With `ray job submit --working-dir`, Ray copies the folder to the machines, which read their copy."""
    folder = recipe.parent
    plain = recipe.with_name("relative.yaml")
    plain.write_text(recipe.read_text(encoding="utf-8").replace(f"{folder}/", "./"), encoding="utf-8")
    job = json.dumps({"runtime_env": {"working_dir": str(folder)}})
    more = ["-o", "optimizers=empty,./mine.py:where", "-o", "seeds=0"]
    process = started(cluster, plain, tmp_path / "out", *more, RAY_JOB_CONFIG_JSON_ENV_VAR=job)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    empty, where = json.loads(said)["studies"][0]["points"]
    assert empty["status"] == "ok" and "_ray_pkg_" in where["error"] and str(folder) not in where["error"]


@pytest.mark.slow
def test_a_run_too_large_for_every_machine_waits(cluster: Any, recipe: Path, tmp_path: Path) -> None:
    """A message names the missing memory, and the time limit still applies."""
    process = started(cluster, recipe, tmp_path / "out", "-o", "memory=64GB", "--timeout", "5")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3 and "no machine of the cluster has what a run needs (CPU 1, memory " in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1:1", r"\[Errno 111\] Connection refused"), ("somewhere", "expected HOST:PORT, or auto")]
)
def test_a_missing_cluster_is_reported_at_once(recipe: Path, tmp_path: Path, address: str, said: str) -> None:
    """The error is raised at once, although Ray would wait for minutes."""
    with pytest.raises(RequestError, match=rf"no Ray cluster at {address} \({said}\); start one with `ray start --head`"):
        hardprompt.run(recipe, tmp_path / "out", ray=address)
    assert not (tmp_path / "out").exists()
