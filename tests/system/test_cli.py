"""The command line: help, tables and JSON; the exit status is 1 after a failed run and 130 after an interruption."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
import typer

import hardprompt
from hardprompt import cli
from hardprompt.cli.help import VERBS, help_text
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, tiny_task, write_jsonl

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
QUIET = os.environ | {"HF_HUB_OFFLINE": "1"}

TASKS_FILE = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue")]
task = Task(name="words", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples)
"""

OPTIMIZER_FILE = """
import hardprompt
class Options(hardprompt.Config):
    steps: int = 3
@hardprompt.optimizer("flawed", config=Options, uses_weight=False)
def flawed(problem, config):
    "Fails with a bad seed."
    if problem.seed:
        raise RuntimeError("seed of misfortune")
    problem.score_on_dev([[1]])
    return [[1]]
"""

GOOD = [
    "compare", "--task", "@/mood.jsonl", "--lm", "@/tiny", "--template", "{input} {prompt} :", "--seeds", "0",
    "--label-words", "positive=good,negative=bad", "--reference-prompt", "good or bad", "--device", "cpu",
    "--optimizers", "empty,manual,pez", "--lm-tokens", "300", "--prompt-length", "3", "--out", "record",
]  # fmt: skip
OF_WORDS = ["compare", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu", "--optimizers", "empty"]
ON_DATA = ["compare", "--task", "sst2", "--data", "@/few", "--splits", "13", "--lm", "@/tiny", "--device", "cpu"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, tasks and an optimizer."""
    folder = tmp_path_factory.mktemp("given")
    save_tiny(folder / "tiny")
    write_jsonl(tiny_task(), folder / "mood.jsonl")
    (folder / "tasks.py").write_text(TASKS_FILE, encoding="utf-8")
    (folder / "mine.py").write_text(OPTIMIZER_FILE, encoding="utf-8")
    for seed in (13, 21):
        (folder / "few" / f"1-{seed}").mkdir(parents=True)
        for part in ("train", "dev"):
            rows = f"sentence\tlabel\na good film {part}\t1\na bad film {part}\t0\n"
            (folder / "few" / f"1-{seed}" / f"{part}.tsv").write_text(rows, encoding="utf-8")
    (folder / "few" / "test.tsv").write_text("sentence\tlabel\r\nbad food\t0\r\ngood food\t1\r\n", encoding="utf-8")
    return folder


def filled(arguments: list[str], given: Path) -> list[str]:
    """The arguments with the folder of files in the place of `@`."""
    return [re.sub(r"@(?=/)", given.as_posix(), argument) for argument in arguments]


def test_compare_prints_its_table_and_does_not_repeat_runs(given: Path, here: Path, ask: Ask) -> None:
    """The table and the folder are printed; the same request again finds the recorded runs."""
    status, out, err = ask(filled(GOOD, given))
    assert (status, err) == (0, "")
    assert [path.name for path in here.iterdir()] == ["record"]
    for word in ("empty", "manual", "pez", "mood on tiny", "points.jsonl are in record"):
        assert word in out
    status, out, _ = ask(filled(GOOD, given))
    assert status == 0 and "5 of them already recorded" in out


def test_help_needs_no_heavy_import(tmp_path: Path) -> None:
    """`--help` of the program and of every verb, and no arguments at all, print usage without importing torch and the like."""
    code = (
        "import contextlib, io, sys, typer\n"
        "from hardprompt.cli import app, main\n"
        "verbs = list(typer.main.get_command(app).commands)\n"
        "for words in ([], ['--help'], ['-h'], *([verb, '--help'] for verb in verbs)):\n"
        "    sys.argv = ['hardprompt', *words]\n"
        "    printed = io.StringIO()\n"
        "    with contextlib.redirect_stdout(printed):\n"
        "        try: main()\n"
        "        except SystemExit as done: assert done.code == 0, words\n"
        "    assert printed.getvalue().strip().startswith('Usage: '), words\n"
        "heavy = {'numpy', 'torch', 'transformers', 'stable_baselines3', 'gymnasium', 'matplotlib', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "print(*verbs)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=QUIET, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    verbs = {"compare", "optimize", "evaluate", "inspect", "wayward", "ls", "report", "run", "new-task", "validate"}
    assert verbs <= set(done.stdout.split())


def test_the_help_of_the_program_lists_every_verb() -> None:
    """Its text stands apart from the verbs, so that it needs no import; it has their headings and first lines."""
    command: Any = typer.main.get_command(cli.app)
    listed: dict[str, dict[str, str]] = {}
    for name, verb in command.commands.items():
        listed.setdefault(verb.rich_help_panel, {})[name] = verb.help.split("\n")[0]
    assert listed == VERBS and list(listed) == list(VERBS)
    assert max(map(len, help_text().splitlines())) <= 80 and all(f"  {name} " in help_text() for name in command.commands)


def test_the_help_of_the_program_imports_nothing_that_it_does_not_need() -> None:
    """Neither Typer nor rich nor pydantic nor torch, so that it appears at once; nor does importing the package."""
    heavy = ("typer", "rich", "pydantic", "torch", "numpy", "yaml", "hardprompt.cli.entry_point")
    for code in (
        "import hardprompt",
        "import sys; sys.argv = ['hardprompt', '--help']; from hardprompt.cli import main; main()",
    ):
        done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], env=QUIET, capture_output=True, text=True)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0 and "hardprompt" in imported and not imported & set(heavy), code


@pytest.mark.slow
def test_help_and_import_take_no_time() -> None:
    """In seconds of the processor, more than Python itself: at most 0.15 for the import, and 0.1 for the help."""

    def seconds(*words: str) -> float:
        def once() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(words, env=QUIET, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        return min(once() for _ in range(7))

    nothing = seconds(sys.executable, "-c", "pass")
    assert seconds(sys.executable, "-c", "import hardprompt") < nothing + 0.15
    assert seconds(SCRIPT, "--help") < nothing + 0.1


def test_every_command_and_option_has_a_help_text() -> None:
    """Each verb has a summary of one line at 80 columns and examples; each of its options has help."""
    command: Any = typer.main.get_command(cli.app)
    for name, verb in command.commands.items():
        assert len(verb.help.split("\n")[0]) <= 64 and "hardprompt " + name in verb.epilog, name
        assert all(getattr(option, "help", "") for option in verb.params), name


# Machine-readable answers


@pytest.mark.parametrize("what", ["tasks", "optimizers", "metrics", "lms"])
def test_ls_prints_a_table_or_json(what: str, here: Path, ask: Ask) -> None:
    """`ls` prints a table and `ls --json` a list of objects, with the same names, and nothing else on either stream."""
    status, out, err = ask(["ls", what, "--json"])
    entries = json.loads(out)
    assert (status, err) == (0, "") and entries and all(entry["name"] for entry in entries)
    status, out, err = ask(["ls", what])
    assert (status, err) == (0, "") and all(entry["name"] in out for entry in entries)
    assert list(here.iterdir()) == []


def test_ls_tasks_has_the_documented_keys(here: Path, ask: Ask) -> None:
    """The keys that scripts rely on; the default task is among the tasks."""
    _, out, _ = ask(["ls", "tasks", "--json"])
    entries = {entry["name"]: entry for entry in json.loads(out)}
    for entry in entries.values():
        assert set(entry) >= {"name", "embedded", "kind", "labels", "sizes", "template", "reference_prompts"}
        assert entry["kind"] == ("classification" if entry["labels"] else "generation")
        if entry["sizes"] is None:
            assert not entry["embedded"] and set(entry["data"]) == {"source", "hub", "citation", "licence"}, (
                "data are elsewhere"
            )
        else:
            assert set(entry["sizes"]) == {"train", "dev", "test"} and min(entry["sizes"].values()) > 0
        assert entry["template"].count("{prompt}") == entry["template"].count("{input}") == 1
    assert entries["plural"]["embedded"] is True and entries["plural"]["reference_prompts"]
    assert len(entries["currency"]["known_front"]) >= 2 and set(entries["currency"]["known_front"][0]) >= {
        "prompt",
        "test_accuracy",
        "log_perplexity",
    }
    assert {entry["kind"] for entry in entries.values() if entry["embedded"]} == {"classification", "generation"}


def test_ls_optimizers_names_all_with_their_options(here: Path, ask: Ask) -> None:
    """The three methods and the baselines are listed, with the options that `-o` takes and their defaults."""
    _, out, _ = ask(["ls", "optimizers", "--json"])
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert {"empty", "manual", "random", "soft", "pez", "rl"} <= set(entries)
    assert "steps" in entries["pez"]["options"] and entries["soft"]["options"]["learning_rate"] is None
    assert entries["pez"]["sweeps_weight"] and not entries["soft"]["sweeps_weight"]
    assert all(entry["description"] for entry in entries.values())


def test_ls_lists_the_options_of_an_optimizer(here: Path, ask: Ask) -> None:
    """Each option that `-o` takes has its type, default and description; an optimizer may have none."""
    status, out, err = ask(["ls", "optimizers", "pez", "--json"])
    options = {option["name"]: option for option in json.loads(out)}
    assert (status, err) == (0, "") and all(
        set(option) == {"name", "type", "default", "description"} for option in options.values()
    )
    assert (options["batch_size"]["type"], options["batch_size"]["default"]) == ("integer > 0", 16)
    assert options["update"]["type"] == "adamw, adafactor" and options["steps"]["default"] is None
    status, out, _ = ask(["ls", "optimizers", "pez"])
    assert status == 0 and all(name in out for name in options)
    status, out, _ = ask(["ls", "optimizers", "empty"])
    assert (status, out) == (0, "empty has no options\n")


def test_version(ask: Ask) -> None:
    """`--version` prints the version of the package."""
    assert ask(["--version"]) == (0, f"hardprompt {hardprompt.__version__}\n", "")


@pytest.mark.usefixtures("no_plot")
def test_compare_json_prints_the_recorded_points(given: Path, here: Path, ask: Ask) -> None:
    """`compare --json` prints the recorded points on stdout and the progress on stderr."""
    status, out, err = ask([*filled(GOOD, given), "--json"])
    recorded = (here / "record" / "points.jsonl").read_text(encoding="utf-8").split("\n")
    assert status == 0 and json.loads(out) == [json.loads(line) for line in recorded if line]
    assert "5 runs in record" in err and "Traceback" not in err


def test_optimize_prints_one_point_and_writes_no_file(given: Path, here: Path, ask: Ask) -> None:
    """`optimize` makes one run and prints the point that a study records, as a table or as JSON."""
    arguments = filled(["optimize", "random", "--task", "@/tasks.py:task", "--lm", "@/tiny", "--device", "cpu"], given)
    arguments += ["--seed", "4", "--prompt-length", "2", "-o", "random.prompts=5"]
    status, out, err = ask([*arguments, "--json"])
    point = json.loads(out)
    assert (status, err, list(here.iterdir())) == (0, "", [])
    assert (point["optimizer"], point["seed"], len(point["prompt_ids"]), point["prompts_visited"]) == ("random", 4, 2, 5)
    status, out, _ = ask(arguments)
    assert status == 0 and "words on tiny" in out and point["prompt_text"].strip() in out

    study = filled([*OF_WORDS, "--optimizers", "random", "--seeds", "4", "--prompt-length", "2"], given)
    budget = ["--preset", "quick", "-o", "random.prompts=5", "--json"]
    _, out, _ = ask([*study, *budget])
    [recorded] = json.loads(out)
    assert recorded | {"seconds": 0} == point | {"seconds": 0}


@pytest.mark.usefixtures("no_plot")
def test_published_splits_and_other_label_words(given: Path, here: Path, ask: Ask) -> None:
    """A task on real data runs on two published splits, with label words that the tiny model has."""
    words = ["--label-words", "negative=bad,positive=good", "--optimizers", "empty", "--seeds", "0", "--json"]
    shutil.copytree(given / "few", here / "few")
    study = [*ON_DATA, "--data", "few", "--splits", "13,21", *words]
    status, out, _ = ask(filled(study, given))
    points = json.loads(out)
    assert status == 0 and [(point["task"], point["split"]) for point in points] == [("sst2", "13"), ("sst2", "21")]
    assert all(point["inputs_cut"] == {"train": 0, "dev": 0, "test": 0} for point in points)
    record = (here / "hardprompt-out" / "sst2-tiny" / "study.yaml").read_text(encoding="utf-8")
    assert "\n  data: few\n  shots: null\n" in record

    (here / "few" / "test.tsv").write_text("sentence\tlabel\nbad food\t1\ngood food\t0\n", encoding="utf-8")
    status, _, err = ask(filled(study, given))
    assert status == 2 and "the task data have changed" in err


@pytest.mark.slow
def test_report_restores_the_files_that_follow_from_the_points(given: Path, here: Path, ask: Ask) -> None:
    """`report` writes a deleted frontier, plot and page again with the same bytes, and adds tables and figures."""
    ask(filled(GOOD, given))
    before = {file.name: file.read_bytes() for file in (here / "record").iterdir()}
    for name in ("frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"):
        (here / "record" / name).unlink()
    status, out, err = ask(["report", "record"])
    assert (status, err) == (0, "") and "mood on tiny" in out
    assert {file.name: file.read_bytes() for file in (here / "record").iterdir() if file.is_file()} == before
    added = {folder: {file.name for file in (here / "record" / folder).iterdir()} for folder in ("tables", "figures")}
    assert {"results.md", "results.csv", "runs.csv", "failed.md"} <= added["tables"]
    assert {"accuracy-log-perplexity.png", "loss-tokens.svg", "budget.png", "hypervolume.png"} <= added["figures"]


# Failures and interruptions


@pytest.mark.usefixtures("no_plot")
def test_a_failed_run_gives_status_one(given: Path, here: Path, ask: Ask) -> None:
    """A study with a failed run ends with status 1, after all others have run, and shows the error."""
    arguments = filled([*GOOD, "--optimizers", "@/mine.py:flawed,empty", "--seeds", "0,1"], given)
    status, out, err = ask(arguments)
    assert status == 1 and "Traceback" not in out + err
    assert "seed of misfortune" in out and "1/2" in out
    points = [json.loads(line) for line in (here / "record" / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [p["status"] for p in points] == ["ok", "ok", "failed", "ok"]
    status, out, _ = ask([*arguments, "--json"])
    assert status == 1 and sorted(p["status"] for p in json.loads(out)) == ["failed", "ok", "ok", "ok"]


@pytest.mark.slow
def test_ctrl_c_keeps_finished_runs(given: Path, tmp_path: Path) -> None:
    """After an interruption, the status is 130, the message is one line, finished runs are recorded and the plot is drawn."""
    endless = ["-o", "pez.steps=100000000", "--lm-tokens", "1000000000000"]
    with subprocess.Popen(
        [SCRIPT, *filled(GOOD, given), *endless],
        cwd=tmp_path,
        env=QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
        text=True,
    ) as process:
        points, deadline = tmp_path / "record" / "points.jsonl", time.monotonic() + 300
        try:
            while not (points.is_file() and points.read_bytes().count(b"\n") == 2):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.startswith("hardprompt: interrupted") and err.count("\n") == 1
    kept = [json.loads(line) for line in points.read_text(encoding="utf-8").splitlines()]
    assert [p["optimizer"] for p in kept] == ["empty", "manual"]
    assert {"frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"} <= {file.name for file in points.parent.iterdir()}
