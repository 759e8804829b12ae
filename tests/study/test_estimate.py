"""The estimated cost of a recipe: counts, extrapolation, GPUs, recorded runs and `--max-hours`."""

import json
from dataclasses import astuple
from pathlib import Path

import pytest

import hardprompt as hp
from hardprompt.errors import RequestError, StudyError
from hardprompt.records.request import Run
from hardprompt.records.store import Store
from hardprompt.study import estimate as module
from hardprompt.study.estimate import Estimate, RunCost, StudyEstimate, _extrapolated, estimate
from hardprompt.study.gpus import GPU, GPUS, UTILIZATION
from hardprompt.study.recipe import read_recipe
from tests.helpers import Ask
from tests.helpers.tiny import write_recipe

PEZ = Run("pez", "default", 0, 0.1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of twelve runs on a tiny model."""
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration of half a second."""
    monkeypatch.setattr(module, "CALIBRATION_SECONDS", 0.5)


# The arithmetic


def test_the_cost_grows_with_the_share_after_the_first_report() -> None:
    """The first report comes after 2 s at 10 %; each further 10 % takes 1 s, so the other 90 % take 9 s."""
    marks = [(0.1, RunCost(100, 50, 2.0, 0)), (0.2, RunCost(180, 90, 3.0, 0)), (0.3, RunCost(260, 130, 4.0, 0))]
    assert astuple(_extrapolated(PEZ, marks)) == pytest.approx((820, 410, 11.0, 0))


def test_a_single_share_is_extrapolated_from_the_beginning() -> None:
    assert _extrapolated(PEZ, [(0.25, RunCost(100, 0, 2.0, 0))] * 2) == RunCost(400, 0, 8.0, 0)


def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(
        RequestError, match=r"no budget limits pez w=0\.1 seed 0, so its time cannot be estimated; give lm_tokens"
    ):
        _extrapolated(PEZ, [(0.0, RunCost(100, 0, 2.0, 0))] * 3)


def test_the_time_on_a_gpu_follows_from_its_peak() -> None:
    """10^6 parameters, 10^6 tokens forward and 5 x 10^5 backward are 4 x 10^12 operations; measuring doubles the time."""
    gpu = GPU("x", float32=40, bfloat16=400, memory=1)
    cost = RunCost(forward=1e6, backward=5e5, search_seconds=10, measure_seconds=10)
    assert cost.gpu_seconds(gpu, 10**6, "float32") == pytest.approx(2 * 4e12 / (40e12 * UTILIZATION))
    assert cost.gpu_seconds(gpu, 10**6, "bfloat16") == pytest.approx(cost.gpu_seconds(gpu, 10**6, "float32") / 10)
    assert GPU.named("H100") is GPUS["h100"]


@pytest.mark.parametrize(
    ("limit", "gpu_hours", "said"), [(2.0, None, None), (1.9, None, "on this machine"), (2.0, 3.0, "on a h100")]
)
def test_more_hours_than_allowed_are_refused(limit: float, gpu_hours: float | None, said: str | None) -> None:
    study = StudyEstimate("out", "task", "lm", runs=5, recorded=2, lm_tokens=10, hours=2.0, gpu_hours=gpu_hours, disk_bytes=1)
    found = Estimate((study,), 1, 2.0, "h100" if gpu_hours else None, gpu_hours, 1, None, {})
    if said is None:
        return found.refuse_above(limit)
    with pytest.raises(RequestError, match=rf"the 3 runs take about [23] hours {said}, more than --max-hours {limit:g}; "):
        found.refuse_above(limit)


# A recipe


def test_the_estimate_has_the_tokens_of_the_real_runs(recipe: Path, tmp_path: Path) -> None:
    """Tokens are exact up to the last step of a search; recorded runs are not counted again, and another study is refused."""
    small = read_recipe(recipe, ["optimizers=empty,random,pez", "seeds=0"])
    found = estimate(small, tmp_path / "out", jobs=1, gpu="a100")
    assert not (tmp_path / "out").exists()
    assert (found.runs, [study.recorded for study in found.studies], found.processes) == (4, [0], 1)
    assert found.hours > 0 and found.gpu_hours and found.gpu_hours < found.hours
    hp.run(small, tmp_path / "out", jobs=1)
    store = Store(tmp_path / "out" / "mood-tiny")
    spent = sum(point["lm_tokens_forward"] + point["lm_tokens_backward"] for point in store.points())
    assert found.lm_tokens == pytest.approx(spent, rel=0.25)
    kept = store.lines_path.read_text(encoding="utf-8").splitlines(keepends=True)
    store.lines_path.write_text("".join(kept[:3]), encoding="utf-8")
    later = estimate(small, tmp_path / "out", jobs=1)
    assert (later.runs, later.studies[0].recorded, later.gpu_hours) == (1, 3, None)
    with pytest.raises(StudyError, match="holds another study"):
        estimate(read_recipe(recipe, ["seeds=3"]), tmp_path / "out", jobs=1)


def test_plan_and_run_refuse_what_takes_too_long(recipe: Path, here: Path, ask: Ask) -> None:
    """The status is that of other refusals, and nothing is written."""
    short = [str(recipe), "--jobs", "1", "-o", "optimizers=empty,pez", "-o", "seeds=0"]
    for words in (["plan", *short], ["run", *short, "--out", "out"]):
        status, output, errors = ask([*words, "--max-hours", "0"])
        assert (status, output, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("hardprompt: the 3 runs take about ") and "more than --max-hours 0" in errors
    assert list(here.iterdir()) == []
    status, output, _ = ask(["plan", *short, "--max-hours", "10", "--json"])
    answer = json.loads(output)
    assert status == 0 and answer["runs"] == 3 and answer["studies"][0]["task"] == "mood" and answer["gpu_hours"] is None
    status, output, _ = ask(["plan", *short, "--gpu", "l4"])
    assert status == 0 and "3 runs and " in output and "not tested on this GPU" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "@", "--gpu", "h10"], "no GPU 'h10'; did you mean 'h100'? Available: "),
        (["plan", "none.yaml"], "none.yaml"),
        (["plan", "@", "-o", "lm_tokens=null", "-o", "optimizers=endless.py:endless"], "no budget limits endless"),
        (
            ["plan", "@", "-o", "optimizers=endless.py:broken"],
            "broken w=0 seed 0 fails when it is measured: ValueError: no luck",
        ),
        (["run", "@", "--max-hours", "1", "--ray", "auto"], "leave it out with --ray and --slurm"),
        (["run", "@", "--max-hours", "1", "--slurm", "auto"], "leave it out with --ray and --slurm"),
        (["run", "@", "--ray", "auto", "--slurm", "auto"], "give either a Ray cluster or SLURM"),
    ],
)
def test_what_cannot_be_planned_is_one_line(recipe: Path, here: Path, ask: Ask, words: list[str], said: str) -> None:
    (here / "endless.py").write_text(ENDLESS, encoding="utf-8")
    status, output, errors = ask([str(recipe) if word == "@" else word for word in words])
    assert status in (1, 2) and output == "" and said in errors and errors.count("\n") == 1


ENDLESS = """
import hardprompt

@hardprompt.optimizer("endless", config=hardprompt.Config, uses_weight=False)
def endless(problem, config):
    "Never ends."
    while True:
        problem.score_on_dev([[1]])
        problem.note(0.0)

@hardprompt.optimizer("broken", config=hardprompt.Config, uses_weight=False)
def broken(problem, config):
    "Fails."
    raise ValueError("no luck")
"""


def test_an_interrupted_record_is_counted_without_its_last_line(recipe: Path, tmp_path: Path) -> None:
    """A process that was killed while it wrote leaves half a line, which the next run sets aside."""
    short = read_recipe(recipe, ["optimizers=empty", "seeds=0"])
    hp.run(short, tmp_path / "out", jobs=1)
    lines = Store(tmp_path / "out" / "mood-tiny").lines_path
    lines.write_bytes(lines.read_bytes()[:-40])
    assert estimate(short, tmp_path / "out", jobs=1).runs == 1
