"""Running a study: everything is checked first, then each missing run is made, measured and recorded."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.optimizers import Problem, run_optimizer
from hardprompt.prompt import SoftPrompt
from hardprompt.study.point import finite, measure
from hardprompt.study.request import Run, StudyRequest, plan
from hardprompt.study.store import Store, load_points
from hardprompt.task import Task

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path("hardprompt-out")
"""Where studies go that are given no folder."""


class Listener(Protocol):
    """What is told of a study's progress."""

    def planned(self, folder: Path, runs: int, recorded: int) -> None:
        """All checks passed; of `runs`, `recorded` are already there."""

    def started(self, run: Run) -> None:
        """A run begins."""

    def advanced(self, share: float) -> None:
        """The current run has done this share of its work."""

    def finished(self, point: dict[str, Any]) -> None:
        """A run is recorded."""


def compare(
    request: StudyRequest | None = None, out: str | Path | None = None, listener: Listener | None = None
) -> "pd.DataFrame":
    """Run a study and leave its record: `study.yaml`, `points.jsonl`, `frontier.json`, `tradeoff.png`, `.svg`, `report.html`.

    Vectors of soft prompts go to `soft/`; a point names its file as `soft_prompt_file`.

    The same request in the same folder goes on where it stopped. A run that fails is a line with its error, tried again next
    time, and the study goes on.

    Args:
        request: what to compare; by default the `quick` preset.
        out: the folder, by default `hardprompt-out/TASK-LM`.
        listener: told of the progress.

    Returns:
        The points as a table, as `load_points` gives it.

    Raises:
        RequestError: the request or the folder cannot be used; nothing is written.
    """
    request = request or StudyRequest.make()
    optimizers = request.load_optimizers()
    tasks = request.load_tasks()
    lm = request.load_model()
    readers = request.load_readers()
    allowed = allowed_vocabulary(lm, request.vocabulary)

    def problem(run: Run, progress: Callable[[float], None] | None = None) -> Problem:
        return Problem(
            tasks[run.split],
            lm,
            weight=run.weight,
            prompt_length=request.prompt_length,
            vocabulary=allowed,
            seed=run.seed,
            lm_tokens=request.lm_tokens,
            progress=progress,
        )

    runs = list(plan(request, optimizers))
    for first in {run.split: run for run in reversed(runs)}.values():
        checked = problem(first)
        for optimizer, config in optimizers.values():
            optimizer.check(checked, config)

    folder = out or default_folder(lm, next(iter(tasks.values())))
    chosen = {name: config.model_dump(mode="json", exclude_unset=True) for name, (_, config) in optimizers.items()}
    options = {name: given for name, given in chosen.items() if given}
    recorded = request.model_copy(update={"options": options, "readers": request.reader_names})
    data = {split: task.digest for split, task in tasks.items()}
    known = [asdict(each) for each in next(iter(tasks.values())).known_front if each.lm == lm.name]
    store = Store.create(folder, recorded, data, lm.vocab_embeds.shape[0], known)
    done = [p for p in store.points() if p["status"] == "ok"]
    if listener:
        listener.planned(store.folder, len(runs), len(done))
    try:
        for run in runs:
            if any(run.runs_as(point) for point in done):
                continue
            if listener:
                listener.started(run)
            optimizer, config = optimizers[run.optimizer]
            try:
                current = problem(run, listener.advanced if listener else None)
                result = run_optimizer(optimizer, current, config)
                point = finite(measure(current, result, readers))
                if isinstance(result.best.prompt, SoftPrompt):
                    point["soft_prompt_file"] = store.keep_soft(run, result.best.prompt.embeds)
            except Exception as error:
                point = _failed(run, tasks[run.split], lm, error)
            store.append(point)
            if listener:
                listener.finished(point)
    finally:
        store.write_report()
    return load_points(store.folder)


def default_folder(lm: FrozenLM, task: Task) -> Path:
    """`hardprompt-out/TASK-LM`."""
    return ROOT / f"{task.name}-{lm.name.replace('/', '--')}"


def _failed(run: Run, task: Task, lm: FrozenLM, error: Exception) -> dict[str, Any]:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    of_run = {"optimizer": run.optimizer, "task": task.name, "lm": lm.name, "split": run.split, "seed": run.seed}
    return of_run | {"weight": run.weight, "status": "failed", "error": reason}
