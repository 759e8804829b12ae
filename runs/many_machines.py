"""Measure what a study of many runs costs the machine that starts it. Everything is real except the runs themselves.

    python runs/many_machines.py [RUNS]        # 10,000 runs by default, about 2 minutes on one core

The engine of this script returns at once, for each run, the recorded point of its optimizer in the quick study. What remains is
the work of the machine that starts the study: opening studies, recording runs (each line is flushed to the disk), and drawing a
page for each study. The sizes of transferred data are those of Ray's pickles; the transfer itself is not measured.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cloudpickle

from hardprompt.records.request import StudyRequest
from hardprompt.records.store import Store
from hardprompt.report.write import write_report
from hardprompt.study import runner
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.engine import InProcess, Job, Listener, SilentListener
from hardprompt.study.loaded_study import RunResult, StudyInfo
from hardprompt.study.remote import inputs

TASKS = ("category", "plural", "past-tense", "opposite", "capital", "first-letter-lower", "superlative", "currency")
OPTIMIZERS = ("manual", "random", "pez", "rl")
WEIGHTS = (0, 0.1, 0.3)
PER_SEED = 2 + 2 * len(WEIGHTS)

cost = {"opening": 0.0, "drawing": 0.0}
shipped: list[tuple[int, int]] = []


POINTS = {point["optimizer"]: point for point in Store(Path(__file__).parent / "quick").points()}


class AtOnce(InProcess):
    """Opens studies as usual, and returns a recorded point for every run."""

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """Open the studies, and measure the time."""
        self._opened = []
        opened = super().open(requests, cancellation)
        for _ in requests:
            began = time.perf_counter()
            self._opened.append(next(opened))
            cost["opening"] += time.perf_counter() - began
            yield self._opened[-1]

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """Return a recorded point for each run."""
        for number, job in enumerate(jobs):
            names = {"task": job.task, "lm": job.lm}
            outcome = RunResult({**POINTS[job.run.optimizer], **asdict(job.run), **names})
            if number % 100 == 0:
                order = number, job, inputs(self._opened[job.study])
                shipped.append((len(cloudpickle.dumps(order)), len(cloudpickle.dumps(outcome))))
            yield job, outcome


def timed_report(store: Store) -> None:
    """Draw the report of a study, and measure the time."""
    began = time.perf_counter()
    write_report(store)
    cost["drawing"] += time.perf_counter() - began


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seeds = -(-runs // (len(TASKS) * PER_SEED))
    recipe = {
        "tasks": TASKS,
        "models": ["microworld"],
        "optimizers": OPTIMIZERS,
        "weights": WEIGHTS,
        "seeds": list(range(seeds)),
    }
    runner.InProcess = AtOnce  # type: ignore[misc]
    runner.write_report = timed_report
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        began = time.perf_counter()
        ended = runner.run(folder / "many.yaml", folder / "out", SilentListener(), jobs=1)
        whole = time.perf_counter() - began
        recorded = sum(len(store.points()) for store in ended.stores)
        size = sum(store.lines_path.stat().st_size for store in ended.stores)
        pages = [(store.folder / "report.html").stat().st_size for store in ended.stores]
    orders, answers = zip(*shipped, strict=True)
    left = whole - sum(cost.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = {
        "runs, studies": f"{recorded:,}, {len(ended.stores)}",
        "opening a study, seconds": f"{cost['opening'] / len(ended.stores):.2f}",
        "recording a run, milliseconds": f"{1000 * left / recorded:.1f}",
        "drawing a study's page and picture, seconds": f"{cost['drawing'] / len(ended.stores):.1f}",
        "all of it, minutes": f"{whole / 60:.1f}",
        "shipped to a machine for a run, kB": f"{max(orders) / 1000:.1f}",
        "shipped back, kB": f"{max(answers) / 1000:.1f}, and 4 bytes for each number of a soft prompt",
        "the record, MB": f"{size / 1e6:.0f}",
        "the largest page, MB": f"{max(pages) / 1e6:.1f}",
        "memory of the machine that asks, MB": f"{peak:.0f}",
    }
    print("| what | measured |\n|---|---|")
    for what, measured in rows.items():
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
