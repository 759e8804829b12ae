"""However a study ends, no recorded result is lost, and the same command completes it with the same results.

Real processes, real signals, and files that really cannot grow.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import hardprompt
from hardprompt.errors import RecordError, RunError, StudyError
from hardprompt.experiments.claims.claim import claims
from hardprompt.experiments.claims.records import Where
from hardprompt.experiments.claims.reproduce import reproduce
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.run import measure_again
from hardprompt.experiments.geometry.training import train_prompts
from hardprompt.experiments.wayward.pairs import WaywardPairs, wayward_pairs
from hardprompt.records.lock import LOCK_FILE, STOP_FILE, locked
from hardprompt.records.store import Store
from hardprompt.study.cancellation import Cancellation, Cancelled
from hardprompt.study.engine import Job, SilentListener
from hardprompt.study.loaded_study import Progress
from hardprompt.study.recipe import read_recipe
from tests.helpers.tiny import write_recipe

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
QUIET = os.environ | {"HF_HUB_OFFLINE": "1"}
FOLDER = "mood-tiny"
ENDLESS = ["-o", "pez.steps=100000000", "-o", "lm_tokens=1000000000000"]
"""With these options, `empty` and `manual` end at once, and `pez` does not end."""

MINE = """
import ctypes, os, sys, time
from pathlib import Path
import hardprompt

class Options(hardprompt.Config):
    pass

def made(name, how):
    @hardprompt.optimizer(name, config=Options, uses_weight=False)
    def search(problem, config):
        "Fails in one way or another."
        if not Path(__file__).with_name("mended").exists():
            how(problem)
        problem.score_on_dev([[1, 2]])
        return [[1, 2]]
    return search

def raises(problem):
    raise ValueError("a bug of the user's\\nin two lines, with \\udce9")

def deaf(problem):
    heard = 0
    while True:
        try:
            time.sleep(100)
        except hardprompt.study.cancellation.Cancelled:
            pass

bug = made("bug", raises)
leaves = made("leaves", lambda problem: sys.exit(0))
crash = made("crash", lambda problem: os.kill(os.getpid(), 11))
killed = made("killed", lambda problem: os.kill(os.getpid(), 9))
hungry = made("hungry", lambda problem: bytearray(1 << 62))
nan = made("nan", lambda problem: problem._add_candidate(None, type("P", (), {"total": [float("nan")]}), 0))
stubborn = made("stubborn", deaf)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on a tiny model."""
    file = write_recipe(tmp_path_factory.mktemp("recipe"))
    (file.parent / "mine.py").write_text(MINE, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[Any, Any]:
    """The points of the recipe's study without any interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
        hardprompt.run(recipe, recipe.with_name("undisturbed"), jobs=1)
    return results(recipe.with_name("undisturbed"))


def results(out: Path) -> dict[Any, Any]:
    """Every recorded value except the seconds, and the vectors of soft prompts, by run."""
    store = Store(out / FOLDER)
    found: dict[Any, Any] = {}
    for line in store.lines_path.read_text(encoding="utf-8").split("\n")[:-1]:
        point = json.loads(line) | {"seconds": 0}
        key = point["optimizer"], point["split"], point["seed"], point["weight"]
        assert key not in found, "recorded twice"
        vectors = (out / FOLDER / point["soft_prompt_file"]).read_bytes() if "soft_prompt_file" in point else b""
        found[key] = point, vectors
    return found


def count(out: Path) -> int:
    """The number of complete recorded lines."""
    file = out / FOLDER / "points.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def started(recipe: Path, out: Path, *more: str, limit: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """`hardprompt run` in its own process group, all processes of which are ended after the block."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # jobs in the background ignore it
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [SCRIPT, "run", str(recipe), "--out", str(out), *more]
    process = subprocess.Popen(
        command,
        env=QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        for _ in range(2):
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
        process.communicate()


def alive(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def none_left(group: int) -> bool:
    """Whether all processes of a group end by themselves; one that is still importing libraries ends only after that."""
    deadline = time.monotonic() + 60
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(group)


def finish(recipe: Path, out: Path) -> str:
    """Run the remaining runs in this process; returns the messages."""
    notes: list[str] = []

    class Watch(SilentListener):
        def noted(self, text: str) -> None:
            notes.append(text)

    ended = hardprompt.run(recipe, out, Watch(), jobs=1)
    assert (ended.left, ended.failed, ended.stopped) == (0, 0, "")
    return "\n".join(notes)


# Killed processes


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "lines", "later"), [(2, 3, 0.02), (1, 0, 0.0)])
def test_a_killed_study_resumes_to_the_same_results(
    jobs: int, lines: int, later: float, recipe: Path, undisturbed: dict[Any, Any], tmp_path: Path
) -> None:
    """SIGKILL comes when the folder appears or between runs.

    No process remains, and the same command gives the same results.
    """
    out = tmp_path / "out"
    with started(recipe, out, "--jobs", str(jobs)) as process:
        wait_for(lambda: out.exists() if lines == 0 else count(out) >= lines, process)
        time.sleep(later)
        process.kill()
        process.wait()
        assert none_left(process.pid)
    kept = count(out)
    assert lines <= kept < len(undisturbed)
    finish(recipe, out)
    assert results(out) == undisturbed
    assert {file.name for file in (out / FOLDER).iterdir()} == {
        "study.yaml", "points.jsonl", "frontier.json", "tradeoff.png", "tradeoff.svg", "report.html", "soft"
    }  # fmt: skip


def test_files_left_by_a_killed_process_are_cleaned_up(
    recipe: Path, undisturbed: dict[Any, Any], tmp_path: Path, no_plot: None
) -> None:
    """The lock of a dead process, temporary files and an incomplete line are removed, and a message tells this."""
    whole, out = recipe.with_name("undisturbed") / FOLDER, tmp_path / "out"
    (out / FOLDER / "soft").mkdir(parents=True)
    (out / LOCK_FILE).write_text("process 1 on elsewhere")
    (out / FOLDER / LOCK_FILE).touch()
    (out / FOLDER / ".study.77.tmp.yaml").write_text("request: {")
    hardprompt.run(recipe, out, jobs=1, timeout=1e-9)  # which begins nothing
    (out / FOLDER / "study.yaml").write_bytes((whole / "study.yaml").read_bytes())
    (out / FOLDER / "points.jsonl").write_bytes((whole / "points.jsonl").read_bytes()[:-40])
    for left in (".report.77.tmp.html", "soft/.soft,default,0,0.0.77.tmp.safetensors"):
        (out / FOLDER / left).write_text("half")
    for file in (whole / "soft").iterdir():
        (out / FOLDER / "soft" / file.name).write_bytes(file.read_bytes())
    assert "was incomplete" in finish(recipe, out)
    assert results(out) == undisturbed
    assert not [file for file in out.rglob(".*")] and (out / FOLDER / "points.torn").is_file()


# Cancellation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "how", "status"),
    [
        (2, signal.SIGINT, 130),
        (1, "timeout", 3),
        (1, signal.SIGTERM, 130),
        (2, "stop", 3),
    ],
)
def test_a_stopped_study_leaves_a_complete_record(jobs: int, how: Any, status: int, recipe: Path, tmp_path: Path) -> None:
    """After signals to all processes, a stop file or a time limit there is one line and a report, and no process remains."""
    out = tmp_path / "out"
    more = ["--timeout", "25"] if how == "timeout" else []
    with started(recipe, out, "--jobs", str(jobs), "-o", "optimizers=empty,manual,pez", *ENDLESS, *more) as process:
        wait_for(lambda: count(out) == 2, process)
        time.sleep(0.3)
        if how == "stop":
            (out / "stop").touch()
        elif how != "timeout":
            os.killpg(process.pid, how)
        _, err = process.communicate(timeout=60)
        assert none_left(process.pid)
    assert process.returncode == status and err.count("\n") == 1 and err.startswith("hardprompt: "), err
    assert {130: "interrupted; a study keeps its finished runs", 3: "the same command resumes the study"}[status] in err
    kept = Store(out / FOLDER).points()
    assert {point["optimizer"] for point in kept} == {"empty", "manual"}
    names = {file.name for file in (out / FOLDER).iterdir()}
    assert names == {"study.yaml", "points.jsonl", "frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"}
    assert {file.name for file in out.iterdir()} == {FOLDER, "recipe.yaml"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
@pytest.mark.parametrize("how", ["timeout", "file"])
def test_a_stop_interrupts_the_current_run(how: str, recipe: Path, tmp_path: Path) -> None:
    """The run stops at its next step, and the answer has the reason and the remaining runs.

    Stop files are deleted, also old ones.
    """

    class Watch(SilentListener):
        def advanced(self, job: Job, step: Progress) -> None:
            if how == "file":
                (tmp_path / "out" / STOP_FILE).touch()

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / STOP_FILE).touch()
    endless = read_recipe(recipe, ["optimizers=empty,pez", "seeds=0", *ENDLESS[1::2]])
    ended = hardprompt.run(endless, tmp_path / "out", Watch(), jobs=1, timeout=5 if how == "timeout" else None)
    assert (how == "file") == ("stopped by the file" in ended.stopped) and (how == "timeout") == (
        "limit of 5 s" in ended.stopped
    )
    assert (ended.left, ended.failed) == (2, 0) and not (tmp_path / "out" / STOP_FILE).exists()
    assert [point["optimizer"] for point in ended.stores[0].points()] == ["empty"]


@pytest.mark.slow
def test_a_second_signal_ends_the_study_at_once(recipe: Path, tmp_path: Path) -> None:
    """The run ignores the first signal. No report is written, and the record is complete."""
    out = tmp_path / "out"
    mine = f"optimizers=empty,{recipe.with_name('mine.py')}:stubborn"
    with started(recipe, out, "--jobs", "1", "-o", mine) as process:
        wait_for(lambda: count(out) == 1, process)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and err.startswith("hardprompt: interrupted") and err.count("\n") == 1
    assert {file.name for file in (out / FOLDER).iterdir()} == {"study.yaml", "points.jsonl"} and count(out) == 1


def test_a_signal_does_not_interrupt_the_writing_of_a_record() -> None:
    """Inside an interruptible block a signal is raised at once, elsewhere at the next check. The handlers are restored."""
    before = signal.getsignal(signal.SIGINT)
    with Cancellation() as cancellation:
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
        with pytest.raises(Cancelled), cancellation.interruptible():
            reached = False
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with Cancellation() as cancellation, pytest.raises(Cancelled), cancellation.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        reached = False
    assert reached and signal.getsignal(signal.SIGINT) == before


# Locks


@pytest.mark.slow
def test_only_one_process_may_write_to_a_folder(recipe: Path, tmp_path: Path) -> None:
    """A second process is refused in one line with status 2 and the number of the first process, which continues."""
    out = tmp_path / "out"
    with started(recipe, out, "--jobs", "1", "-o", "optimizers=empty,manual,pez", *ENDLESS) as first:
        wait_for(lambda: count(out) == 2, first)
        before = (out / FOLDER / "points.jsonl").read_bytes()
        with started(recipe, out, "--jobs", "1") as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 2 and err.count("\n") == 1
        assert f"out is in use by process {first.pid} on " in err and "stop" in err
        assert first.poll() is None and (out / FOLDER / "points.jsonl").read_bytes() == before
        with pytest.raises(StudyError, match="is in use"), locked(out / FOLDER):
            pass
    with locked(out):
        assert (out / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    assert not (out / LOCK_FILE).exists()


# Failing runs


@pytest.mark.slow
def test_failed_runs_are_recorded_and_repeated_on_request(recipe: Path, tmp_path: Path) -> None:
    """After an error, a native crash, a kill, a lack of memory or an invalid number the study continues, with status 1."""
    out, mine = tmp_path / "out", recipe.with_name("mine.py")
    names = ["bug", "leaves", "crash", "killed", "hungry", "nan"]
    asked = ",".join(["empty", *(f"{mine}:{name}" for name in names), "manual"])
    options = ["--jobs", "2", "-o", f"optimizers={asked}", "-o", "seeds=0"]
    with started(recipe, out, *options) as process:
        said, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "Traceback" not in said + err
    points = {point["optimizer"]: point for point in Store(out / FOLDER).points()}
    assert [*points] == ["empty", *names, "manual"]
    errors = {name: point["error"] for name, point in points.items() if point["status"] == "failed"}
    assert [*errors] == names and points["manual"]["status"] == "ok"
    for name, words in {
        "bug": "ValueError: a bug of the user's in two lines, with \\udce9", "leaves": "SystemExit: 0", "crash": "SIGSEGV",
        "killed": "SIGKILL: the system may be out of memory", "hungry": "MemoryError", "nan": "not a number",
    }.items():  # fmt: skip
        assert words in errors[name]
        assert f"failed: {name} w=0 split default seed 0: {errors[name]}"[:60] in said
    assert "--retry-failed repeats the failed runs" in said

    again = read_recipe(recipe, options[3::2])
    ended = hardprompt.run(again, out, jobs=1)
    assert (ended.left, ended.failed, count(out)) == (0, len(names), len(names) + 2)
    mine.with_name("mended").touch()
    try:
        assert hardprompt.run(again, out, jobs=1, retry_failed=True).failed == 0
    finally:
        mine.with_name("mended").unlink()
    assert count(out) == 2 * len(names) + 2
    assert {point["status"] for point in Store(out / FOLDER).points()} == {"ok"}


# Full disks


@pytest.mark.slow
def test_a_full_disk_stops_the_study_with_one_line(recipe: Path, undisturbed: dict[Any, Any], tmp_path: Path) -> None:
    """If files cannot grow, the status is 1 and one line names the file. With free space the same command resumes."""
    out = tmp_path / "out"
    limit = 2 * max(len(json.dumps(point)) for point, _ in undisturbed.values()) + 500
    with started(recipe, out, "--jobs", "1", limit=limit) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err.count("\n") == 1, err
    assert "points.jsonl: file too large; no recorded result is lost" in err
    assert 2 <= count(out) < len(undisturbed)
    assert (out / FOLDER / "points.jsonl").read_bytes().endswith(b"\n") and len(Store(out / FOLDER).points()) == count(out)
    assert not list(out.rglob(".*"))
    finish(recipe, out)
    assert results(out) == undisturbed


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_fills_up(recipe: Path, undisturbed: dict[Any, Any], tmp_path: Path) -> None:
    """A real disk of 64 kB becomes full while a line or a figure is written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        with started(recipe, disk / "out", "--jobs", "1") as process:
            _, err = process.communicate(timeout=120)
        assert process.returncode == 1 and err.count("\n") == 1 and "no space left on device" in err, err
        recorded = Store(disk / "out" / FOLDER).points()
        assert (disk / "out" / FOLDER / "points.jsonl").read_bytes().endswith(b"\n") and len(recorded) == count(disk / "out")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        finish(recipe, disk / "out")
        assert results(disk / "out") == undisturbed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_different_recipe_in_the_same_folder_is_refused(recipe: Path, undisturbed: dict[Any, Any]) -> None:
    """The study in the folder is not changed."""
    out = recipe.with_name("undisturbed")
    with pytest.raises(StudyError, match="another study"):
        hardprompt.run(read_recipe(recipe, ["seeds=5"]), out, jobs=1)
    assert results(out) == undisturbed


# The other kinds of study

GEOMETRY_TASKS = """
from hardprompt import Example, Task, Template
def make(name, answers):
    examples = [Example(word, answer) for word, answer in zip(["cat", "dog", "house", "film"], answers)]
    return Task(name=name, template=Template("{prompt} : {input} is"), train=examples, dev=examples[:3], test=examples[3:])
one = make("one", ["good", "bad", "great", "good"])
two = make("two", ["red", "green", "blue", "red"])
three = make("three", ["yes", "no", "yes", "no"])
"""

LINES = {
    "geometry": Path("prompts.jsonl"),
    "wayward": Path("wayward.jsonl"),
    "reproduce": Path("pez-variants", FOLDER, "points.jsonl"),
}
"""The results of each kind of study, in its folder."""


def work(kind: str, inputs: Path, out: Path) -> None:
    """Create or resume a small study of a kind, in this process."""
    if kind == "geometry":
        tasks = tuple(f"{inputs / 'tasks.py'}:{name}" for name in ("one", "two", "three"))
        lm = str(inputs / "tiny")
        request = GeometryRequest.make(
            tasks=tasks, words=("film", "food"), lm=lm, device="cpu", tokens=3, epochs=2, batch_size=3
        )
        train_prompts(request, out)
    elif kind == "wayward":
        kinds = ("prose", "own definition")
        pairs = WaywardPairs(tasks=("plural",), kinds=kinds, gammas=(0.0,), steps=1, batch_size=4, evaluate_every=1)
        wayward_pairs(pairs, out)
    else:
        recipe = (inputs / "r.yaml").read_text(encoding="utf-8")
        with patch("hardprompt.experiments.claims.records.recipe_text", lambda name: recipe):  # the shipped ones take minutes
            reproduce(claims(("pez-no-worse-than-autoprompt-sgd",)), Where(out, jobs=1))


@pytest.fixture(scope="module", params=["geometry", "reproduce", pytest.param("wayward", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of study."""
    return str(request.param)


@pytest.fixture(scope="module")
def expected(kind: str, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], bytes]]:
    """The results of an undisturbed study of the kind."""
    (recipe.parent / "tasks.py").write_text(GEOMETRY_TASKS, encoding="utf-8")
    out = tmp_path_factory.mktemp(kind) / "out"
    work(kind, recipe.parent, out)
    return recorded(kind, out)


def recorded(kind: str, out: Path) -> list[tuple[dict[str, Any], bytes]]:
    """Every recorded value except the seconds, and the vectors, by line; only complete lines count."""
    file = out / LINES[kind]
    found = []
    for text in file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []:
        line = json.loads(text)
        vectors = line.get("soft_prompt_file" if kind == "reproduce" else "file")
        found.append((line | {"seconds": 0}, (file.parent / vectors).read_bytes() if vectors else b""))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_every_kind_of_study_is_locked_and_survives_a_kill(
    kind: str, expected: list[tuple[dict[str, Any], bytes]], recipe: Path, tmp_path: Path
) -> None:
    """A suspended process keeps a second one out.

    After SIGKILL and an incomplete line, the study resumes to the same results.
    """
    out = tmp_path / "out"
    code = "import sys; from pathlib import Path; from tests.study.test_survival import work; "
    code += "work(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))"
    command = [sys.executable, "-c", code, kind, str(recipe.parent), str(out)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, env=QUIET, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        try:
            wait_for(lambda: len(recorded(kind, out)) >= 1, first)
            first.send_signal(signal.SIGSTOP)
            with pytest.raises(StudyError, match=f"{out} is in use by process {first.pid} on "):
                work(kind, recipe.parent, out)
        finally:
            first.kill()
    kept = recorded(kind, out)
    assert 1 <= len(kept) < len(expected)
    assert kept == expected[: len(kept)]
    file = out / LINES[kind]
    with file.open("ab") as lines:
        lines.write(b'{"task": "th')
    (file.parent / ".other.77.tmp.yaml").write_text("half")
    work(kind, recipe.parent, out)
    assert recorded(kind, out) == expected
    assert '{"task": "th' in file.with_suffix(".torn").read_text(encoding="utf-8")
    assert not list(out.rglob(".*"))


@pytest.mark.usefixtures("no_plot")
def test_every_kind_of_study_survives_a_full_disk(
    kind: str, expected: list[tuple[dict[str, Any], bytes]], recipe: Path, tmp_path: Path
) -> None:
    """With no room for the last line, there is one error and no half line; with room again the study resumes."""
    out = tmp_path / "out"
    sizes = [len(json.dumps(line)) for line, _ in expected]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sum(sizes) - sizes[-1] // 2, hard))
    try:
        with pytest.raises(
            RecordError, match=r"cannot write .*(jsonl|safetensors): file too large; no recorded result is lost"
        ):
            work(kind, recipe.parent, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    kept = recorded(kind, out)
    assert kept == expected[: len(kept)] and len(kept) < len(expected)
    assert not kept or (out / LINES[kind]).read_bytes().endswith(b"\n")
    assert not list(out.rglob(".*"))
    work(kind, recipe.parent, out)
    assert recorded(kind, out) == expected


def test_a_stop_file_stops_the_training_of_a_geometry_study(recipe: Path, tmp_path: Path) -> None:
    """A file from before the start is deleted; a later one ends the study with a message, and the study resumes."""
    (recipe.parent / "tasks.py").write_text(GEOMETRY_TASKS, encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    (out / STOP_FILE).touch()

    class Stop:
        def planned(self, folder: Path, prompts: int, recorded: int) -> None: ...

        def finished(self, line: dict[str, Any]) -> None:
            (out / STOP_FILE).touch()
            time.sleep(0.3)

    request = GeometryRequest.make(
        tasks=(f"{recipe.parent / 'tasks.py'}:one",), words=("film", "food"), lm=str(recipe.parent / "tiny"), device="cpu"
    )
    with pytest.raises(RunError, match=r"stopped by the file .*stop; the same command continues from there"):
        train_prompts(request, out, Stop())
    assert len(recorded("geometry", out)) == 1 and not (out / STOP_FILE).exists()
    train_prompts(request, out)
    assert len(recorded("geometry", out)) == 2


def test_measuring_a_geometry_study_again_locks_its_folder(recipe: Path, tmp_path: Path) -> None:
    """Another process may be writing the same tables."""
    (recipe.parent / "tasks.py").write_text(GEOMETRY_TASKS, encoding="utf-8")
    work("geometry", recipe.parent, tmp_path / "out")
    with locked(tmp_path / "out"), pytest.raises(StudyError, match="is in use"):
        measure_again(tmp_path / "out")
