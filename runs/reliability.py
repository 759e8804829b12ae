"""How the four kinds of study survive SIGKILL, full disks and second processes, and how damaged files are read.

    python runs/reliability.py > runs/reliability.md         # see --help for larger sizes

The kinds are: a study of optimizers (`hardprompt run`), a geometry study, wayward pairs, and `hardprompt reproduce`. All are
small, so that a result takes a fraction of a second: four train examples, few steps, the embedded model. Most processes are
forked from this one, which has already loaded the libraries. SIGKILL is sent after a time drawn uniformly between 0 and the
duration of an undisturbed study. On a "full disk" no file can grow beyond a limit (RLIMIT_FSIZE), drawn uniformly between 0 and
the size of the undisturbed record. A "second process" starts while the first one is suspended in the middle of its work. Some
kills are of the installed command with two processes.
"""

import argparse
import gc
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml

import hardprompt
from hardprompt.errors import HardpromptError, RequestError, StudyError
from hardprompt.experiments.claims.claim import claims
from hardprompt.experiments.claims.records import Where
from hardprompt.experiments.claims.reproduce import reproduce
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.training import train_prompts
from hardprompt.experiments.wayward.pairs import WaywardPairs, wayward_pairs
from hardprompt.records.store import Store
from hardprompt.study.engine import Job, SilentListener
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe

RECIPES = Path(__file__).parent
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
MB = 1 << 20


STUDY = Path("few-microworld")
"""The folder of the only study of the recipe, inside the folder of the recipe."""

TASKS = """
from hardprompt import Example, Task, Template
def make(name, answers):
    examples = [Example(word, answer) for word, answer in zip(["cat", "dog", "house", "film"], answers)]
    return Task(name=name, template=Template("{prompt} : {input} is"), train=examples, dev=examples[:3], test=examples[3:])
one = make("one", ["good", "bad", "great", "good"])
two = make("two", ["red", "green", "blue", "red"])
three = make("three", ["yes", "no", "yes", "no"])
"""


def write_recipe(folder: Path, **fields: Any) -> Path:
    """Write a task of a dozen examples and a recipe for it; return the file of the recipe."""
    task = hardprompt.load_task("category")
    parts = {"train": task.train, "dev": task.dev, "test": task.test}
    rows = [{"input": e.input, "answer": e.answer, "split": part} for part, own in parts.items() for e in own[:4]]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "tasks": [
            {
                "task": str(folder / "few.jsonl"),
                "template": task.template.text,
                "reference_prompts": list(task.reference_prompts),
            }
        ],
        "optimizers": ["empty", "manual", "random", "soft", "pez"],
        "weights": [0],
        "seeds": [0, 1],
        "lm_tokens": 400,
        "memory": "256MB",
    }
    file = folder / "r.yaml"
    file.write_text(yaml.safe_dump(recipe | fields), encoding="utf-8")
    return file


def forked(do: Callable[[], None]) -> int:
    """Start a process that calls a function and ends; return its process id."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        do()
    except HardpromptError:
        os._exit(1)
    except BaseException:
        os._exit(70)
    os._exit(0)


def exit_status(child: int) -> int:
    """Wait for a process; return its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Attributes:
        name: the name in the table.
        resume: creates the study in a folder, or resumes it.
        lines: the file with the results, inside that folder.
        key: the keys that identify a result.
        vectors: the key with the file of a result's vectors.
    """

    name: str
    resume: Callable[[Path], object]
    lines: Path
    key: tuple[str, ...]
    vectors: str

    def complete_lines(self, out: Path) -> bytes:
        """The complete lines of the record."""
        file = out / self.lines
        return b"".join(file.read_bytes().rpartition(b"\n")[:2]) if file.is_file() else b""

    def is_torn(self, out: Path) -> bool:
        """Whether the record ends with an incomplete line."""
        file = out / self.lines
        return file.is_file() and len(file.read_bytes()) > len(self.complete_lines(out))

    def results(self, out: Path) -> dict[Any, Any]:
        """Every recorded value but the seconds, and the vectors, by the key of the result."""
        found = {}
        for text in self.complete_lines(out).decode().split("\n")[:-1]:
            line = json.loads(text)
            file = line.get(self.vectors)
            vectors = ((out / self.lines).parent / file).read_bytes() if file else b""
            found[tuple(line[name] for name in self.key)] = line | {"seconds": 0}, vectors
        return found


def all_kinds(folder: Path) -> list[Kind]:
    """The four kinds of study; the files that they read are written to the folder."""
    recipe = write_recipe(folder)
    run_key = ("optimizer", "seed", "weight")
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    tasks = tuple(f"{folder / 'tasks.py'}:{name}" for name in ("one", "two", "three"))
    geometry = GeometryRequest.make(tasks=tasks, words=("cat", "dog"), epochs=2, device="cpu")
    pairs = WaywardPairs(
        tasks=("plural", "capital"),
        kinds=("prose", "own definition"),
        gammas=(0.0, 1.0),
        steps=2,
        batch_size=4,
        evaluate_every=2,
    )

    def reproduced(out: Path) -> None:
        with patch("hardprompt.experiments.claims.records.recipe_text", lambda name: recipe.read_text(encoding="utf-8")):
            reproduce(claims(("pez-no-worse-than-autoprompt-sgd",)), Where(out, jobs=1))

    return [
        Kind("study", lambda out: hardprompt.run(recipe, out, jobs=1), STUDY / "points.jsonl", run_key, "soft_prompt_file"),
        Kind("geometry", lambda out: train_prompts(geometry, out), Path("prompts.jsonl"), ("task", "word"), "file"),
        Kind("wayward pairs", lambda out: wayward_pairs(pairs, out), Path("wayward.jsonl"), ("task", "kind"), "file"),
        Kind("reproduce", reproduced, Path("pez-variants") / STUDY / "points.jsonl", run_key, "soft_prompt_file"),
    ]


class Survival:
    """Studies of one kind that are disturbed until they are complete, compared with an undisturbed one."""

    def __init__(self, kind: Kind, folder: Path, generator: np.random.Generator) -> None:
        self.kind, self.folder, self.generator = kind, folder, generator
        folder.mkdir()
        kind.resume(folder / "first")  # loads modules that are imported late
        started = time.monotonic()
        assert exit_status(forked(lambda: self.resume(folder / "undisturbed"))) == 0
        self.seconds = time.monotonic() - started
        self.expected = kind.results(folder / "undisturbed")
        self.count: Counter[str] = Counter()

    def resume(self, out: Path) -> None:
        """Create or resume the study in a folder; every process calls this."""
        self.kind.resume(out)

    def kill(self, kills: int, start: Callable[[Path], int] | None = None, seconds: float = 0.0) -> None:
        """Kill `kills` processes with SIGKILL; whenever a study is complete, the next process starts another one."""
        start = start or (lambda out: forked(lambda: self.resume(out)))
        done, out = 0, self.folder / f"killed-{len(list(self.folder.iterdir()))}"
        while done < kills:
            before = self.kind.complete_lines(out)
            child = start(out)
            time.sleep(self.generator.uniform(0, self.seconds + seconds))
            os.kill(child, signal.SIGKILL)
            if exit_status(child) == -signal.SIGKILL:
                done += 1
                self.count["kills"] += 1
            self.look(out, before)
            if len(self.kind.results(out)) == len(self.expected):
                self.complete(out)
                out = self.folder / f"killed-{len(list(self.folder.iterdir()))}"
        self.complete(out)

    def full_disk(self, limits: int) -> None:
        """Let no file grow beyond a limit, and then resume without one."""
        longest = len(self.kind.complete_lines(self.folder / "undisturbed"))
        for number in range(limits):
            out, limit = self.folder / f"full-{number}", int(self.generator.uniform(0, longest))

            def limited(out: Path = out, limit: int = limit) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                self.resume(out)

            status = exit_status(forked(limited))
            self.count["full disks"] += 1
            self.count["full disks that ended with another status than 1"] += status != 1
            self.look(out, b"")
            self.complete(out)

    def second_process(self, times: int) -> None:
        """Suspend a process at work, start a second one, and let the first one end."""
        for number in range(times):
            out = self.folder / f"second-{number}"
            first = forked(lambda out=out: self.resume(out))  # type: ignore[misc]
            while not self.kind.complete_lines(out):
                time.sleep(0.001)
            os.kill(first, signal.SIGSTOP)
            before = (out / self.kind.lines).read_bytes()
            status = exit_status(forked(lambda out=out: self.resume(out)))  # type: ignore[misc]
            self.count["second processes"] += 1
            self.count["second processes that were not refused, or changed the record"] += (
                status != 1 or (out / self.kind.lines).read_bytes() != before
            )
            os.kill(first, signal.SIGCONT)
            assert exit_status(first) == 0
            self.complete(out)

    def look(self, out: Path, before: bytes) -> None:
        """Compare a disturbed record with what it held before."""
        self.count["recorded results lost"] += not self.kind.complete_lines(out).startswith(before)
        self.count["incomplete lines left behind"] += self.kind.is_torn(out)

    def complete(self, out: Path) -> None:
        """Resume a study without a disturbance, and compare it with the undisturbed one."""
        before = self.kind.complete_lines(out)
        assert exit_status(forked(lambda: self.resume(out))) == 0
        self.look(out, before)
        found = self.kind.results(out)
        self.count["studies completed"] += 1
        self.count["results of these studies"] += len(self.expected)
        self.count["results that differ from those of an undisturbed study"] += sum(
            found.get(key) != result for key, result in self.expected.items()
        )
        left = [file for file in out.rglob("*") if file.name.startswith(".") or ".tmp" in file.name]
        self.count["temporary files left at the end"] += len(left)


def command(recipe: Path, out: Path) -> int:
    """Start the installed command with two processes; return its process id."""
    words = [SCRIPT, "run", str(recipe), "--out", str(out), "--jobs", "2"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True).pid


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Contents with one to three damages: truncated, bytes changed, removed, inserted or set to NUL, or a part repeated."""
    for _ in range(generator.integers(1, 4)):
        at, length = int(generator.integers(len(content) + 1)), int(generator.integers(1, 30))
        noise = generator.bytes(length)
        kinds = (
            content[:at],
            content[:at] + noise + content[at + length :],
            content[:at] + content[at + length :],
            content[:at] + noise + content[at:],
            content[:at] + b"\0" * length + content[at + length :],
            content[:at] + content[max(0, at - length) :],
        )
        content = kinds[generator.integers(len(kinds))]
    return content


def reading(read: Callable[[], object], refusal: type[Exception]) -> str:
    """How reading ended: read, refused in one line, or the name of any other error."""
    try:
        read()
    except refusal as error:
        return "refused in one line" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:
        return f"{type(error).__name__} ({error})"[:80]
    return "read"


def damaged_records(
    undisturbed: Path, folder: Path, cases: int, generator: np.random.Generator
) -> Iterator[tuple[str, Counter[str]]]:
    """How damaged records of a study are read."""
    for name in ("points.jsonl", "study.yaml"):
        found: Counter[str] = Counter()
        whole = (undisturbed / STUDY / name).read_bytes()
        for number in range(cases):
            copy = folder / f"damaged-{number}"
            copy.mkdir(exist_ok=True)
            for file in ("points.jsonl", "study.yaml"):
                shutil.copy(undisturbed / STUDY / file, copy / file)
            (copy / name).write_bytes(damaged(whole, generator))
            found[reading(lambda copy=copy: Store(copy).points(), StudyError)] += 1
            shutil.rmtree(copy)
        yield f"damaged {name}", found


def torn_records(undisturbed: Path, folder: Path, cases: int, generator: np.random.Generator) -> Counter[str]:
    """Records that are truncated anywhere, and cleaned up as when a study is resumed."""
    found: Counter[str] = Counter()
    whole = (undisturbed / STUDY / "points.jsonl").read_bytes()
    for length in generator.integers(len(whole), size=cases):
        folder.mkdir(exist_ok=True)
        shutil.copy(undisturbed / STUDY / "study.yaml", folder / "study.yaml")
        (folder / "points.jsonl").write_bytes(whole[:length])
        store = Store(folder)
        store.clean_up()
        kept = (folder / "points.jsonl").read_bytes()
        good = kept == b"".join(whole[:length].rpartition(b"\n")[:2]) and len(store.points()) == kept.count(b"\n")
        found["with every complete line kept" if good else "with a complete line lost"] += 1
        shutil.rmtree(folder)
    return found


def fuzzed_recipes(folder: Path, cases: int, generator: np.random.Generator) -> Counter[str]:
    """How damaged recipes are read and planned."""
    found: Counter[str] = Counter()
    files = sorted(RECIPES.glob("*.yaml"))
    for number in range(cases):
        file = folder / "fuzzed.yaml"
        file.write_bytes(damaged(files[number % len(files)].read_bytes(), generator))
        found[reading(lambda file=file: planned_studies(read_recipe(file)), RequestError)] += 1
    return found


class MemoryListener(SilentListener):
    """Measures the resident memory of this process after every run, and the number of Python objects after each fifth."""

    def __init__(self, runs: int) -> None:
        self.bytes: list[int] = []
        self.objects: list[int] = []
        self._every = runs // 5

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """A run has been recorded."""
        self.bytes.append(resident())
        if len(self.bytes) % self._every == 0:
            gc.collect()
            self.objects.append(len(gc.get_objects()))


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def memory(folder: Path, runs: int) -> tuple[list[float], list[int]]:
    """Resident MB after each run of one long study in one process, and Python objects after each fifth of it."""
    searches = ["random", "soft", "pez"]
    recipe = write_recipe(folder, optimizers=searches, weights=[0], seeds=list(range(runs // len(searches))), lm_tokens=400)
    out = folder / "memory.json"

    def measure() -> None:
        listener = MemoryListener(runs)
        hardprompt.run(recipe, folder / "long", listener, jobs=1)
        out.write_text(json.dumps([listener.bytes, listener.objects]))

    assert exit_status(forked(measure)) == 0
    sizes, objects = json.loads(out.read_text())
    return [size / MB for size in sizes], objects


def bare_process() -> int:
    """Resident memory in bytes of a process that has only loaded the libraries."""
    code = "import hardprompt.study.workers, transformers; print(open('/proc/self/statm').read().split()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) * resource.getpagesize()


def listed(found: Counter[str]) -> str:
    """Counts as text, the largest first."""
    return ", ".join(f"{count:,} {what}" for what, count in sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python runs/reliability.py")
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs of each kind of study")
    parser.add_argument("--command-kills", type=int, default=4, help="SIGKILLs of the command with two processes")
    parser.add_argument("--limits", type=int, default=5, help="full disks of each kind")
    parser.add_argument("--seconds", type=int, default=2, help="second processes of each kind")
    parser.add_argument("--cases", type=int, default=500, help="damaged files of each kind")
    parser.add_argument("--runs", type=int, default=300, help="runs of the long study whose memory is measured; 0 for none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    started = time.monotonic()
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        survivals = []
        for kind in all_kinds(folder):
            survival = Survival(kind, folder / kind.name.replace(" ", "-"), generator)
            print(f"an undisturbed {kind.name} takes {survival.seconds:.1f} s", file=sys.stderr)
            survival.kill(args.kills)
            if kind.name == "study":
                survival.kill(args.command_kills, lambda out: command(folder / "r.yaml", out), 8.0)
            survival.full_disk(args.limits)
            survival.second_process(args.seconds)
            survivals.append(survival)
        undisturbed = folder / "study" / "undisturbed"
        for what, found in damaged_records(undisturbed, folder, args.cases, generator):
            rows.append((what, listed(found)))
        torn = torn_records(undisturbed, folder / "torn", args.cases // 5, generator)
        rows.append(("points.jsonl truncated anywhere, and resumed", listed(torn)))
        rows.append(("damaged recipes", listed(fuzzed_recipes(folder, args.cases, generator))))
        if args.runs:
            sizes, objects = memory(folder, args.runs)
            tenths = " ".join(f"{part.mean():.0f}" for part in np.array_split(np.array(sizes), 10))
            rows.append((f"resident MB of one process, means over tenths of a study of {len(sizes)} runs", tenths))
            rows.append(("Python objects after each fifth of it", " ".join(f"{count:,}" for count in objects)))
        rows.append(("resident MB of a process that has only loaded the libraries", f"{bare_process() / MB:.0f}"))
    minutes = f"{(time.monotonic() - started) / 60:.1f} minutes"
    options = " ".join(sys.argv[1:])
    print("# Reliability, measured\n")
    print(f"```sh\npython runs/reliability.py {options}".rstrip() + " > runs/reliability.md\n```\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {minutes}. The script describes the method.\n")
    print("## Disturbed studies\n")
    print(f"| | {' | '.join(survival.kind.name for survival in survivals)} |\n|---|{'---|' * len(survivals)}")
    for what in survivals[0].count:
        print(f"| {what} | {' | '.join(f'{survival.count[what]:,}' for survival in survivals)} |")
    print("\n## Damaged files, and memory\n")
    print("| what | measured |\n|---|---|")
    for what, measured in rows:
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
