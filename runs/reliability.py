"""How studies survive: kills, full disks, damaged records, fuzzed recipes, and the memory of a long study.

    python runs/reliability.py > runs/reliability.md         # about 3 minutes of one core; --help has larger sizes

Studies are of the embedded model on a task of a dozen examples, so that a run takes a fraction of a second. Most processes are
forked from this one, which has loaded the libraries; from there on they are studies like any other, and are killed by a real
SIGKILL, after a time drawn uniformly over what an undisturbed one takes. Some are of the installed command with two processes.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import hardprompt
from hardprompt.errors import HardpromptError, RequestError, StudyError
from hardprompt.records.store import Store
from hardprompt.study import read_recipe
from hardprompt.study.engine import Job, Silent
from hardprompt.study.planner import planned_studies

RECIPES = Path(__file__).parent
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "hardprompt")
MB = 1 << 20


def write_recipe(folder: Path, **fields: Any) -> Path:
    """A task of a dozen examples and a recipe on it, which is returned."""
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
        "weights": [0, 0.1],
        "seeds": list(range(3)),
        "lm_tokens": 400,
        "memory": "256MB",
    }
    file = folder / "r.yaml"
    file.write_text(yaml.safe_dump(recipe | fields), encoding="utf-8")
    return file


def forked(do: Callable[[], None]) -> int:
    """A process that does it and is gone; its number."""
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


def ended(child: int) -> int:
    """The exit status of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def study_of(out: Path) -> Path:
    """The one study's folder."""
    return out / "few-microworld"


def written(out: Path) -> bytes:
    """The whole lines of the record."""
    file = study_of(out) / "points.jsonl"
    return file.read_bytes().rpartition(b"\n")[0] if file.is_file() else b""


def cut_off(out: Path) -> bool:
    """Whether the record ends within a line."""
    file = study_of(out) / "points.jsonl"
    return file.is_file() and not (b"\n" + file.read_bytes()).endswith(b"\n")


def results(out: Path) -> dict[Any, Any]:
    """Every recorded value but the seconds, and the vectors of soft prompts."""
    store = Store(study_of(out))
    return {
        (p["optimizer"], p["seed"], p["weight"]): (
            {**p, "seconds": 0},
            (store.folder / p["soft_prompt_file"]).read_bytes() if "soft_prompt_file" in p else b"",
        )
        for p in store.points()
    }


class Kills:
    """Studies that are killed again and again until they are done, beside an undisturbed one."""

    def __init__(self, folder: Path, generator: np.random.Generator) -> None:
        self.folder, self.generator = folder, generator
        self.recipe = write_recipe(folder)
        hardprompt.run(self.recipe, folder / "first", jobs=1)  # which loads what is loaded late
        began = time.monotonic()
        assert ended(forked(lambda: self.go_on(folder / "undisturbed"))) == 0
        self.takes = time.monotonic() - began
        self.expected = results(folder / "undisturbed")
        self.count: Counter[str] = Counter()

    def go_on(self, out: Path) -> None:
        """What a process does."""
        hardprompt.run(self.recipe, out, jobs=1)

    def command(self, out: Path) -> int:
        """The installed command with two processes; its number."""
        words = [SCRIPT, "run", str(self.recipe), "--out", str(out), "--jobs", "2"]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True).pid

    def until_done(self, name: str, begin: Callable[[Path], int], takes: float, kills: int) -> None:
        """Kill so often, beginning another study whenever one is done."""
        done, out = 0, self.folder / f"{name}-0"
        while done < kills:
            before = written(out)
            child = begin(out)
            time.sleep(self.generator.uniform(0, takes))
            os.kill(child, signal.SIGKILL)
            if ended(child) == -signal.SIGKILL:
                done += 1
                self.count[f"{name}: kills"] += 1
            self.count["all: recorded runs lost"] += not written(out).startswith(before)
            self.count["all: lines cut off by it"] += cut_off(out)
            if written(out).count(b"\n") + 1 == len(self.expected):
                self.compare(name, out)
                out = self.folder / f"{name}-{self.count[f'{name}: studies brought to their end']}"
        self.compare(name, out)

    def compare(self, name: str, out: Path) -> None:
        """Let it end, and compare."""
        before = written(out)
        assert ended(forked(lambda: self.go_on(out))) == 0
        self.count["all: recorded runs lost"] += not written(out).startswith(before)
        self.count[f"{name}: studies brought to their end"] += 1
        self.count["all: points of those studies"] += len(self.expected)
        found = results(out)
        differ = sum(found.get(run) != point for run, point in self.expected.items())
        self.count["all: points that differ from those of an undisturbed study"] += differ
        left = [file for file in out.rglob("*") if file.name.startswith(".") or ".tmp" in file.name]
        self.count["all: files left lying about at the end"] += len(left)

    def full_disk(self, limits: int) -> None:
        """The same where no file can grow beyond a length drawn uniformly, then with room again."""
        longest = len(written(self.folder / "undisturbed"))
        for number in range(limits):
            out, limit = self.folder / f"full-{number}", int(self.generator.uniform(0, longest))

            def limited(out: Path = out, limit: int = limit) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                self.go_on(out)

            self.count[f"full disk: status {ended(forked(limited))}"] += 1
            self.count["all: lines cut off by it"] += cut_off(out)
            self.compare("full disk", out)


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """One to three damages: cut off, bytes changed, taken out, put in, made NUL, or a piece repeated."""
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
    """How reading ended: read, refused in one line, or anything else by name."""
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
    """How damaged records are read."""
    for name in ("points.jsonl", "study.yaml"):
        found: Counter[str] = Counter()
        whole = (study_of(undisturbed) / name).read_bytes()
        for number in range(cases):
            copy = folder / f"damaged-{number}"
            copy.mkdir(exist_ok=True)
            for file in ("points.jsonl", "study.yaml"):
                shutil.copy(study_of(undisturbed) / file, copy / file)
            (copy / name).write_bytes(damaged(whole, generator))
            found[reading(lambda copy=copy: Store(copy).points(), StudyError)] += 1
            shutil.rmtree(copy)
        yield f"damaged {name}", found


def torn_records(undisturbed: Path, folder: Path, cases: int, generator: np.random.Generator) -> Counter[str]:
    """The record cut off anywhere, and cleaned up as when a study goes on."""
    found: Counter[str] = Counter()
    whole = (study_of(undisturbed) / "points.jsonl").read_bytes()
    for length in generator.integers(len(whole), size=cases):
        folder.mkdir(exist_ok=True)
        shutil.copy(study_of(undisturbed) / "study.yaml", folder / "study.yaml")
        (folder / "points.jsonl").write_bytes(whole[:length])
        store = Store(folder)
        store.clean_up()
        kept = (folder / "points.jsonl").read_bytes()
        good = kept == b"".join(whole[:length].rpartition(b"\n")[:2]) and len(store.points()) == kept.count(b"\n")
        found["every whole line kept" if good else "a whole line lost"] += 1
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


class Weigh(Silent):
    """Notes the resident memory of this process after every run, and now and then how many objects Python knows of."""

    def __init__(self, runs: int) -> None:
        self.bytes: list[int] = []
        self.objects: list[int] = []
        self._every = runs // 5

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """A run is recorded."""
        self.bytes.append(resident())
        if len(self.bytes) % self._every == 0:
            gc.collect()
            self.objects.append(len(gc.get_objects()))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def memory(folder: Path, runs: int) -> tuple[list[float], list[int]]:
    """Resident MB after each run of one long study in one process, and objects after each fifth of it."""
    searches = ["random", "soft", "pez"]
    recipe = write_recipe(folder, optimizers=searches, weights=[0], seeds=list(range(runs // len(searches))), lm_tokens=400)
    out = folder / "weighed.json"

    def weigh() -> None:
        weigher = Weigh(runs)
        hardprompt.run(recipe, folder / "long", weigher, jobs=1)
        out.write_text(json.dumps([weigher.bytes, weigher.objects]))

    assert ended(forked(weigh)) == 0
    weighed, objects = json.loads(out.read_text())
    return [size / MB for size in weighed], objects


def bare_process() -> int:
    """Resident bytes of a process that has loaded the libraries and nothing else."""
    code = "import hardprompt.study.workers, transformers; print(open('/proc/self/statm').read().split()[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) * resource.getpagesize()


def listed(found: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python runs/reliability.py")
    parser.add_argument("--kills", type=int, default=20, help="of studies in one process")
    parser.add_argument("--command-kills", type=int, default=4, help="of the command with two processes")
    parser.add_argument("--limits", type=int, default=5, help="full disks")
    parser.add_argument("--cases", type=int, default=500, help="damaged files of each kind")
    parser.add_argument("--runs", type=int, default=300, help="of the long study")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills = Kills(folder, generator)
        print(f"an undisturbed study takes {kills.takes:.1f} s", file=sys.stderr)
        kills.until_done("one process", lambda out: forked(lambda: kills.go_on(out)), kills.takes, args.kills)
        kills.until_done("the command", kills.command, kills.takes + 8, args.command_kills)
        kills.full_disk(args.limits)
        rows = [(what, f"{count:,}") for what, count in sorted(kills.count.items())]
        for what, found in damaged_records(folder / "undisturbed", folder, args.cases, generator):
            rows.append((what, listed(found)))
        torn = torn_records(folder / "undisturbed", folder / "torn", args.cases // 5, generator)
        rows.append(("records cut off anywhere, and gone on with", listed(torn)))
        rows.append(("fuzzed recipes", listed(fuzzed_recipes(folder, args.cases, generator))))
        weighed, objects = memory(folder, args.runs)
    tenths = [f"{part.mean():.0f}" for part in np.array_split(np.array(weighed), 10)]
    rows.append((f"resident MB, means over tenths of a study of {len(weighed)} runs in one process", " ".join(tenths)))
    rows.append(("objects that Python knows of after each fifth of it", " ".join(f"{count:,}" for count in objects)))
    rows.append(("resident MB of a process with the libraries and nothing else", f"{bare_process() / MB:.0f}"))
    took = f"{(time.monotonic() - began) / 60:.1f} minutes"
    print("# Reliability, measured\n")
    print("```sh\npython runs/reliability.py > runs/reliability.md\n```\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {took}. The script says how it is measured.\n")
    print("| what | measured |\n|---|---|")
    for what, measured in rows:
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
