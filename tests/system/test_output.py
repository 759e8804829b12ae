"""Output never ends a program: encodings without the characters, pipes that nobody reads, full disks, narrow terminals."""

import json
import os
import pty
import re
import struct
import subprocess
import sys
import sysconfig
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl, write_recipe

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
TEXT = "日本_naïve ✓"
TINY = ("--lm", "tiny", "--device", "cpu")
COMPARE = (
    *("compare", "--task", "mood.jsonl", "--template", "{input} {prompt} :", "--label-words", "positive=good,negative=bad"),
    *(*TINY, "--reference-prompt", TEXT, "--optimizers", "empty,manual", "--seeds", "0,1", "--weights", "0"),
    *("--vocabulary", "all", "--out", "record"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a task."""
    folder = tmp_path_factory.mktemp("output")
    save_tiny(folder / "tiny")
    write_jsonl(tiny_task(), folder / "mood.jsonl")
    return folder


def hardprompt(arguments: tuple[str, ...], folder: Path, variables: dict[str, str] | None = None, **how: Any) -> Any:
    """Run the console script in a folder."""
    settings = os.environ | {"HF_HUB_OFFLINE": "1"} | (variables or {})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.run([SCRIPT, *arguments], cwd=folder, env=settings, check=False, **streams)


def recorded(folder: Path) -> int:
    """The number of recorded runs."""
    return len((folder / "record" / "points.jsonl").read_bytes().splitlines())


def linked(folder: Path, target: Path) -> Path:
    """A new folder with links to the given files."""
    for file in folder.iterdir():
        (target / file.name).symlink_to(file)
    return target


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_other_encodings_get_escape_sequences(variables: dict[str, str], folder: Path) -> None:
    """Nothing is lost: JSON escapes the characters, and so does text."""
    arguments = ("inspect", "--text", TEXT, *TINY)
    shown, as_json = (hardprompt((*arguments, *more), folder, variables) for more in ((), ("--json",)))
    assert (shown.returncode, shown.stderr) == (0, b"") and rb"\u65e5\u672c_na" in shown.stdout
    whole = json.loads(hardprompt((*arguments, "--json"), folder, {"PYTHONIOENCODING": "utf-8"}).stdout)
    assert (as_json.returncode, as_json.stderr) == (0, b"") and json.loads(as_json.stdout) == whole


@pytest.mark.slow
def test_a_study_is_recorded_when_its_prompts_cannot_be_printed(folder: Path, tmp_path: Path) -> None:
    done = hardprompt(COMPARE, linked(folder, tmp_path), {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr, recorded(tmp_path)) == (0, b"", 4)
    for file in (tmp_path / "record").glob("*.*[!g]"):  # the files are in UTF-8
        assert file.read_bytes().decode()
    assert TEXT in (tmp_path / "record" / "points.jsonl").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_study_goes_on_when_nobody_reads_its_output(folder: Path, tmp_path: Path) -> None:
    """As in `hardprompt compare | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = hardprompt(COMPARE, linked(folder, tmp_path), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr, recorded(tmp_path)) == (0, b"", 4)


@pytest.mark.slow
def test_closed_standard_files_lose_nothing(folder: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path, optimizers=["empty"], options={}, weights=[0])
    command = f"{SCRIPT} run r.yaml --jobs 2 --out out <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    [points] = (tmp_path / "out").glob("*/points.jsonl")
    assert len(points.read_bytes().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_a_failure_in_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = hardprompt(("ls", "tasks"), tmp_path, stdout=full)
        wrong = hardprompt(("ls", "tsks"), tmp_path, stderr=full)
    assert (done.returncode, done.stderr.count(b"\n"), wrong.returncode) == (1, 1, 2)
    assert b"the output could not be written: No space left" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("ls", "--help"), pytest.param(("inspect", "--text", "good", *TINY), marks=pytest.mark.slow)]
)
def test_narrow_columns_cut_nothing_off(arguments: tuple[str, ...], folder: Path) -> None:
    """Help and tables are as wide as they need, piped and on a terminal."""
    piped = hardprompt(arguments, folder, {"COLUMNS": "20"}).stdout.decode()
    assert len(piped.splitlines()[-2]) > 70
    shown = on_a_terminal(arguments, folder, 10)
    assert re.findall(r"\w+", shown) == re.findall(r"\w+", piped) and "…" not in shown


def on_a_terminal(arguments: tuple[str, ...], folder: Path, columns: int) -> str:
    """What the console script prints on a terminal of this width, without colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    hardprompt(arguments, folder, {"NO_COLOR": "1", "TERM": "dumb"}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 4096):
            printed += part
    except OSError:  # nobody has the terminal open any more
        os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())


@pytest.mark.slow
def test_a_program_from_standard_input_needs_a_file_for_several_processes(tmp_path: Path) -> None:
    write_recipe(tmp_path, optimizers=["empty"], options={}, weights=[0])
    program = 'import hardprompt as hp\nif __name__ == "__main__":\n    print(hp.run("r.yaml", jobs=2, out="out").failed)\n'
    done = subprocess.run([sys.executable, "-"], input=program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert "RequestError: several processes need a program that they can import" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    in_one_argument = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (in_one_argument.stdout, in_one_argument.stderr) == ("0\n", "")


@pytest.mark.slow
def test_a_program_without_a_guard_gets_one_line(tmp_path: Path) -> None:
    write_recipe(tmp_path, optimizers=["empty"], options={}, weights=[0])
    (tmp_path / "program.py").write_text('import hardprompt as hp\nhp.run("r.yaml", jobs=2, out="out")\n', encoding="utf-8")
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert 'put the call under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
