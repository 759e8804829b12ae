"""Running studies: everything is checked first, then each run that is not recorded yet is made, measured and recorded.

`compare` runs one study in this process; `run` those of a recipe, in as many processes as fit or on a cluster. Only here is a
record written.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hardprompt.errors import RecordError, RequestError
from hardprompt.records.atomic import replacing
from hardprompt.records.lock import locked
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.store import Store, load_points, refuse_foreign
from hardprompt.report.write import write_report
from hardprompt.study.cancellation import Cancellation, Cancelled
from hardprompt.study.cluster import RayCluster
from hardprompt.study.engine import Engine, InProcess, Job, Listener, Silent
from hardprompt.study.loaded_study import StudyInfo
from hardprompt.study.planner import PlannedStudy, planned_studies
from hardprompt.study.recipe import Recipe, read_recipe
from hardprompt.study.resources import Machine, processes
from hardprompt.study.workers import Workers

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path("hardprompt-out")
"""Where studies go that are given no folder."""


@dataclass(frozen=True)
class Ended:
    """How studies ended.

    Attributes:
        folder: of the study, or that holds the folders of several.
        stores: the record of each.
        left: how many runs are not recorded; None where they were not even counted.
        failed: how many of the recorded ones failed.
        stopped: why, where the studies ended before their time; empty where they did not.
    """

    folder: Path
    stores: tuple[Store, ...]
    left: int | None
    failed: int
    stopped: str = ""


def compare(
    request: StudyRequest | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    retry_failed: bool = False,
) -> "pd.DataFrame":
    """Run a study and leave its record: `study.yaml`, `points.jsonl`, `frontier.json`, `tradeoff.png`, `.svg`, `report.html`.

    Vectors of soft prompts go to `soft/`; a point names its file as `soft_prompt_file`.

    The same request in the same folder goes on where it stopped. A run that fails is a line with its error, and the study goes
    on.

    Args:
        request: what to compare; by default the `quick` preset.
        out: the folder, by default `hardprompt-out/TASK-LM`.
        listener: told of the progress.
        retry_failed: make runs again that are recorded as failed.

    Returns:
        The points as a table, as `load_points` gives it.

    Raises:
        RequestError: the request or the folder cannot be used, or another process is at work there; nothing is written.
        RecordError: the record cannot be written any more, as on a full disk; what is recorded is whole.
    """
    return load_points(run_study(request or StudyRequest.make(), out, listener, retry_failed=retry_failed).folder)


def run_study(
    request: StudyRequest, out: str | Path | None = None, listener: Listener | None = None, *, retry_failed: bool = False
) -> Ended:
    """What `compare` does, with an answer on how it ended."""
    import torch

    engine, listener = InProcess(), listener or Silent()
    with Cancellation() as stop:
        try:
            [opened] = engine.open([request], stop)
        except Cancelled:
            raise KeyboardInterrupt from None
        folder = Path(out or ROOT / _folder_name(opened))
        study = _Study(folder, request, opened)
        with ExitStack() as stack:
            study.begin(stack, torch.get_num_threads(), listener)
            return _carry_out(folder, [study], engine, listener, stop, retry_failed)


def run(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    jobs: int | None = None,
    ray: str | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
) -> Ended:
    """Run the studies of a recipe, each in a folder `TASK-LM` (or `TASK-LM-VARIANT`) as `compare` leaves it.

    A point comes out the same, bit for bit, however many processes or machines of one kind make them. What is recorded is not
    made again, so that the same recipe goes on where it was ended: by Ctrl-C, by a time limit, by a file `stop` in its folder,
    or by anything else.

    Args:
        recipe: the file, or what `read_recipe` gives.
        out: the folder of all the studies, by default `hardprompt-out/RECIPE`.
        listener: told of the progress.
        jobs: how many processes make runs at once, 1 for none beside this one; by default as many as there are cores (for the
            threads of each) and memory for, or one for each GPU.
        ray: the address of a Ray cluster whose machines make the runs (`docs/many-machines.md`), auto for the one that this
            machine belongs to; by default they are made here.
        timeout: seconds after which the studies end, leaving the runs that they are at.
        retry_failed: make runs again that are recorded as failed.

    Raises:
        RequestError: something in the recipe cannot be run, said with its place, or a folder cannot be used; nothing is
            written.
        RecordError: the record cannot be written any more, as on a full disk; what is recorded is whole.
        RunError: the cluster cannot make runs, or one of its machines would make other points; what is recorded is whole.

    Example:
        >>> run("runs/quick.yaml", jobs=2).failed      # doctest: +SKIP
        0
    """
    if jobs is not None and jobs < 1:
        raise RequestError(f"jobs must be at least 1, got {jobs}")
    if timeout is not None and not timeout > 0:
        raise RequestError(f"the time limit must be more than 0 seconds, got {timeout:g}")
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    listener = listener or Silent()
    planned = planned_studies(recipe)
    folder = Path(out or ROOT / recipe.name)
    with ExitStack() as stack:
        machine = Machine.here()
        engine: InProcess | Workers | RayCluster
        if ray:
            engine = stack.enter_context(RayCluster(ray, recipe.threads, jobs, listener.noted))
        elif jobs == 1:
            engine = InProcess(recipe.threads)
        else:
            engine = stack.enter_context(Workers(recipe.threads, gpus=machine.gpus))
        stop = stack.enter_context(Cancellation(timeout))  # after Ray, which takes SIGTERM for itself
        try:
            studies = [
                _Study(folder / _folder_name(opened, study.variant), study.request, opened)
                for study, opened in zip(planned, _opened(recipe, planned, engine, stop), strict=True)
            ]
        except Cancelled:
            return _never_begun(folder, stop)
        _refuse_twins(studies)
        for study in studies:
            refuse_foreign(study.folder)
        stack.enter_context(locked(folder))
        for study in studies:
            study.begin(stack, recipe.threads, listener)
        _keep_recipe(folder, recipe)
        if isinstance(engine, Workers):
            left = sum(len(study.left(retry_failed)) for study in studies)
            engine.count, why = processes(jobs, machine, [study.opened for study in studies], left, recipe.threads)
            if why:
                listener.noted(why)
        return _carry_out(folder, studies, engine, listener, stop, retry_failed)


@dataclass
class _Study:
    """A study that was opened, and its record once it has begun."""

    folder: Path
    request: StudyRequest
    opened: StudyInfo
    torn: str = ""
    store: Store = field(init=False)

    def begin(self, stack: ExitStack, threads: int, listener: Listener) -> None:
        """Take the folder and find or begin the record in it; the stack gives the folder back."""
        refuse_foreign(self.folder)
        stack.enter_context(locked(self.folder))
        opened = self.opened
        about = opened.data, opened.vocabulary_size, opened.known_front, threads
        self.store = Store.create(self.folder, opened.request, *about)
        if (before := self.store.study.get("threads")) not in (None, threads):
            listener.noted(
                f"{self.folder} was begun with {before} threads a run and goes on with {threads}: last bits may differ"
            )
        self.torn = self.store.clean_up()

    def left(self, retry_failed: bool) -> list[Run]:
        """The runs that are to be made, in order."""
        done = {Run.of(point) for point in self.store.points() if point["status"] == "ok" or not retry_failed}
        return [run for run in self.opened.runs if run not in done]


def _carry_out(
    folder: Path, studies: Sequence[_Study], engine: Engine, listener: Listener, stop: Cancellation, retry_failed: bool
) -> Ended:
    """Make what is left of the studies, and record it."""
    stop.watch({folder, *(study.folder for study in studies)})
    left = [study.left(retry_failed) for study in studies]
    missing = [len(own) for own in left]
    undrawn = {number for number, study in enumerate(studies) if study.store.points()}
    jobs = [
        Job(number, study.request, each, study.opened.task, study.opened.lm)
        for number, study in enumerate(studies)
        for each in left[number]
    ]
    listener.planned(folder, jobs, sum(len(study.opened.runs) for study in studies) - len(jobs))
    for study in studies:
        if study.torn:
            listener.noted(f"{study.folder} had a line cut off at its end ({len(study.torn)} signs); it is in points.torn")

    def draw(numbers: set[int]) -> None:
        for number in sorted(numbers & undrawn):
            undrawn.discard(number)
            write_report(studies[number].store)

    try:
        with closing(engine.make(jobs, listener, stop)) as made:
            for job, outcome in made:
                store, point = studies[job.study].store, outcome.point
                if outcome.soft is not None:
                    point = point | {"soft_prompt_file": store.keep_soft(job.run, outcome.soft)}
                store.append(point)
                missing[job.study] -= 1
                undrawn.add(job.study)
                listener.finished(job, point)
                if missing[job.study] == 0 and len(studies) > 1:
                    draw({job.study})
    except RecordError:
        raise
    except Cancelled:
        pass
    except BaseException:
        if not stop.interrupted:  # a second signal ends it at once
            draw({*range(len(studies))})
        raise
    draw({*range(len(studies))})
    if stop.interrupted:
        raise KeyboardInterrupt
    failed = sum(point["status"] != "ok" for study in studies for point in study.store.points())
    return Ended(folder, tuple(study.store for study in studies), sum(missing), failed, stop.reason)


def _opened(recipe: Recipe, planned: Sequence[PlannedStudy], engine: Engine, stop: Cancellation) -> Iterator[StudyInfo]:
    """Each of the planned studies, opened; what is wrong is said with its place in the recipe."""
    opened = engine.open([study.request for study in planned], stop)
    for study in planned:
        try:
            yield next(opened)
        except RequestError as error:
            raise study.blame(recipe, error) from error


def _never_begun(folder: Path, stop: Cancellation) -> Ended:
    if stop.interrupted:
        raise KeyboardInterrupt
    return Ended(folder, (), None, 0, stop.reason)


def _folder_name(opened: StudyInfo, variant: str = "") -> str:
    name = f"{opened.task}-{opened.lm.replace('/', '--')}"
    return f"{name}-{variant}" if variant else name


def _refuse_twins(studies: Sequence[_Study]) -> None:
    folders = [study.folder for study in studies]
    for folder in folders:
        if folders.count(folder) > 1:
            raise RequestError(f"two studies of the recipe would share the folder {folder}; give them names under 'studies'")


def _keep_recipe(folder: Path, recipe: Recipe) -> None:
    """What was asked for goes with the record, with all that `-o` replaced."""
    with replacing(folder / "recipe.yaml") as aside:
        aside.write_text(recipe.as_yaml(), encoding="utf-8")
