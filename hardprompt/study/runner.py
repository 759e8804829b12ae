"""Running studies: first everything is checked, then each run that is not recorded yet is carried out and recorded.

`compare` runs one study in this process. `run` runs the studies of a recipe, in several processes or on a cluster. Only this
file writes the records of studies.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.errors import RecordError, RequestError
from hardprompt.notebook import html_text
from hardprompt.records.atomic import remove_temporary_files, replacing
from hardprompt.records.lock import locked
from hardprompt.records.request import Run, StudyRequest, model_names
from hardprompt.records.schema import run_records
from hardprompt.records.store import Store, load_points, study_contents
from hardprompt.report.studies import group_studies
from hardprompt.report.study_tables import data_lines
from hardprompt.report.write import write_report
from hardprompt.study.cancellation import Cancellation, Cancelled
from hardprompt.study.engine import Engine, InProcess, Job, Listener, SilentListener
from hardprompt.study.loaded_study import StudyInfo
from hardprompt.study.loading import log_warnings
from hardprompt.study.planner import PlannedStudy, planned_studies
from hardprompt.study.ray_cluster import RayCluster
from hardprompt.study.recipe import Recipe, read_recipe
from hardprompt.study.resources import MachineResources, process_count
from hardprompt.study.slurm import Slurm
from hardprompt.study.workers import Workers

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path("hardprompt-out")
"""The parent of the default folders of studies."""


@dataclass(frozen=True)
class StudyOutcome:
    """How one study, or the studies of a recipe, ended.

    Attributes:
        folder: the folder of the study, or the folder with the folders of several studies.
        stores: the record of each study.
        left: the number of runs that are not recorded; None if the studies stopped before the runs were counted.
        failed: the number of recorded runs that failed.
        stopped: why the studies stopped before all runs were recorded; empty if they did not.
    """

    folder: Path
    stores: tuple[Store, ...]
    left: int | None
    failed: int
    stopped: str = ""

    def _repr_html_(self) -> str:
        """The tables and the trade-off of each study, for notebooks."""
        ended = f"{self.stopped}: {self.left} runs are left. " if self.stopped else ""
        above = f"<p>{html_text(f'{ended}{self.failed} runs failed. The record is in {self.folder}')}</p>"
        return above + "".join(each._repr_html_() for each in group_studies(self.stores))


def compare(
    request: StudyRequest | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    retry_failed: bool = False,
) -> "pd.DataFrame":
    """Run one study in this process.

    The folder then holds the record (`study.yaml`, `points.jsonl`), the results (`frontier.json`, `tradeoff.png`,
    `tradeoff.svg`, `report.html`), and the vectors of soft prompts in `soft/`; a point names its file as `soft_prompt_file`.

    The same request in the same folder resumes the study. A run that fails is recorded with its error, and the study continues.

    Args:
        request: what to compare; by default the `quick` preset.
        out: the folder; by default `hardprompt-out/TASK-LM`.
        listener: receives the progress.
        retry_failed: repeat the runs that are recorded as failed.

    Returns:
        The points as a table, as `load_points` returns them.

    Raises:
        RequestError: if the request or the folder cannot be used, or another process writes to the folder; nothing is written.
        RecordError: if the record cannot be written, for example on a full disk; no recorded result is lost.

    Example:
        >>> table = compare(StudyRequest.make(task="plural", optimizers=("empty", "manual"), seeds=(0,)), "plural")
        >>> table[["optimizer", "deployed_test_accuracy"]].values.tolist()
        [['empty', 0.0], ['manual', 1.0]]
    """
    outcome = run_study(request or StudyRequest.make(), out, listener, retry_failed=retry_failed)
    for store in outcome.stores:
        points = run_records(store.points())
        log_warnings(f"task {points[0].task}: {line}" for line in data_lines(points))
    return load_points(outcome.folder)


def run_study(
    request: StudyRequest, out: str | Path | None = None, listener: Listener | None = None, *, retry_failed: bool = False
) -> StudyOutcome:
    """Run one study in this process, as `compare` does.

    Args:
        request: what to compare.
        out: the folder; by default `hardprompt-out/TASK-LM`.
        listener: receives the progress.
        retry_failed: repeat the runs that are recorded as failed.

    Returns:
        How the study ended.

    Raises:
        RequestError, RecordError: as `compare` raises them.
    """
    import torch

    engine, listener = InProcess(), listener or SilentListener()
    with Cancellation() as cancellation:
        try:
            [info] = engine.open([request], cancellation)
        except Cancelled:
            raise KeyboardInterrupt from None
        folder = Path(out or ROOT / _folder_name(info))
        study = OpenedStudy(folder, request, info)
        with ExitStack() as stack:
            study.open_record(stack, torch.get_num_threads(), listener)
            return _carry_out(folder, [study], engine, listener, cancellation, retry_failed)


def run(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    jobs: int | None = None,
    ray: str | None = None,
    slurm: str | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
) -> StudyOutcome:
    """Run the studies of a recipe, each in a folder `TASK-LM` or `TASK-LM-VARIANT`, which holds what `compare` writes.

    The points are the same, bit for bit, for any number of processes, and for any number of machines of one kind. The same
    recipe in the same folder resumes its studies, whatever ended them: Ctrl-C, a time limit, a file `stop` in the folder, or a
    crash.

    Args:
        recipe: the file, or what `read_recipe` returns.
        out: the folder of all the studies; by default `hardprompt-out/RECIPE`.
        listener: receives the progress.
        jobs: the number of processes that carry out runs at the same time; 1 uses only this process. By default one for every
            `threads` cores as far as the memory allows, or one for each GPU.
        ray: the address of a Ray cluster that carries out the runs (`docs/many-machines.md`), or auto for the cluster that
            this machine belongs to; by default this machine carries them out.
        slurm: carry out the runs as jobs of SLURM, with these settings: auto, or options of sbatch such as
            "partition=short,time=60"; local starts the jobs on this machine, to try it out.
        timeout: seconds after which the studies stop; unfinished runs are not recorded.
        retry_failed: repeat the runs that are recorded as failed.

    Returns:
        How the studies ended.

    Raises:
        RequestError: if a part of the recipe cannot be run (the message names the part), or a folder cannot be used; nothing
            is written.
        RecordError: if the record cannot be written, for example on a full disk; no recorded result is lost.
        RunError: if the cluster cannot carry out runs, or one of its machines would give other results.

    Example:
        >>> run("runs/quick.yaml", jobs=2).failed      # doctest: +SKIP
        0
    """
    if jobs is not None and jobs < 1:
        raise RequestError(f"jobs must be at least 1, got {jobs}")
    if timeout is not None and not timeout > 0:
        raise RequestError(f"the time limit must be more than 0 seconds, got {timeout:g}")
    if ray and slurm:
        raise RequestError("give either a Ray cluster or SLURM")
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    listener = listener or SilentListener()
    planned, folder = planned_studies(recipe), folder_of(recipe, out)
    with ExitStack() as stack:
        machine = MachineResources.detect()
        engine: InProcess | Workers | RayCluster | Slurm
        if ray:
            engine = stack.enter_context(RayCluster(ray, recipe.threads, jobs, listener.noted))
        elif slurm:
            engine = stack.enter_context(Slurm(slurm, folder, recipe.threads, jobs, listener.noted))
        elif jobs == 1:
            engine = InProcess(recipe.threads)
        else:
            engine = stack.enter_context(Workers(recipe.threads, gpus=machine.gpus))
        cancellation = stack.enter_context(Cancellation(timeout))  # after Ray, which sets a handler for SIGTERM
        try:
            studies = [*open_planned(recipe, planned, folder, engine, cancellation)]
        except Cancelled:
            if cancellation.interrupted:
                raise KeyboardInterrupt from None
            return StudyOutcome(folder, (), None, 0, cancellation.reason)
        for study in studies:
            Store.refuse_foreign(study.folder)
        stack.enter_context(locked(folder))
        remove_temporary_files(folder)
        for study in studies:
            study.open_record(stack, recipe.threads, listener)
        _save_recipe(folder, recipe)
        if isinstance(engine, Workers):
            missing = sum(len(study.missing_runs(retry_failed)) for study in studies)
            infos = [study.info for study in studies]
            engine.count, reason = process_count(jobs, machine, infos, missing, recipe.threads)
            if reason:
                listener.noted(reason)
        return _carry_out(folder, studies, engine, listener, cancellation, retry_failed)


@dataclass
class OpenedStudy:
    """A checked study, and its record once `open_record` has opened that."""

    folder: Path
    request: StudyRequest
    info: StudyInfo
    store: Store = field(init=False)

    def open_record(self, stack: ExitStack, threads: int, listener: Listener) -> None:
        """Create or resume the record; the stack holds the lock of the folder."""
        self.store = stack.enter_context(Store.writing(self.folder, self._contents(threads)))
        if (before := self.store.study.get("threads")) not in (None, threads):
            listener.noted(
                f"{self.folder} was created with {before} threads per run and continues with {threads}: last bits may differ"
            )

    def recorded_runs(self, threads: int, retry_failed: bool) -> set[Run]:
        """The runs that are recorded already, without opening the record for writing.

        Raises:
            StudyError: the folder holds something else.
        """
        Store.refuse_foreign(self.folder)
        if not (self.folder / Store.request_file).is_file():
            return set()
        store = Store(self.folder)
        store.refuse_other(self._contents(threads))
        return store.done_runs(retry_failed)

    def missing_runs(self, retry_failed: bool) -> list[Run]:
        """The runs to carry out, in order."""
        done = self.store.done_runs(retry_failed)
        return [run for run in self.info.runs if run not in done]

    def _contents(self, threads: int) -> dict[str, Any]:
        """The contents of `study.yaml`."""
        info = self.info
        return study_contents(
            info.request, info.data, info.lm_source, info.start, info.chat, info.prompts,
            info.vocabulary_size, info.known_front, threads,
        )  # fmt: skip


def _carry_out(
    folder: Path,
    studies: Sequence[OpenedStudy],
    engine: Engine,
    listener: Listener,
    cancellation: Cancellation,
    retry_failed: bool,
) -> StudyOutcome:
    """Carry out the missing runs of the studies and record them."""
    cancellation.watch({folder, *(study.folder for study in studies)})
    runs = [study.missing_runs(retry_failed) for study in studies]
    missing = [len(own) for own in runs]
    outdated = {number for number, study in enumerate(studies) if study.store.points()}  # studies whose report is to be written
    jobs = [
        Job(number, study.request, each, study.info.task, study.info.lm)
        for number, study in enumerate(studies)
        for each in runs[number]
    ]
    listener.planned(folder, jobs, sum(len(study.info.runs) for study in studies) - len(jobs))
    for study in studies:
        if torn := study.store.torn:
            listener.noted(f"the last line of {study.folder} was incomplete ({len(torn)} characters); it is now in points.torn")

    def write_reports(numbers: set[int]) -> None:
        for number in sorted(numbers & outdated):
            outdated.discard(number)
            write_report(studies[number].store)

    try:
        with closing(engine.make(jobs, listener, cancellation)) as results:
            for job, result in results:
                store, point = studies[job.study].store, result.point
                if result.soft is not None:
                    point = point | {"soft_prompt_file": store.save_soft_prompt(job.run, result.soft)}
                store.append(point)
                missing[job.study] -= 1
                outdated.add(job.study)
                listener.finished(job, point)
                if missing[job.study] == 0 and len(studies) > 1:
                    write_reports({job.study})
    except RecordError:
        raise
    except Cancelled:
        pass
    except BaseException:
        if not cancellation.interrupted:  # a second signal ends the program at once
            write_reports({*range(len(studies))})
        raise
    write_reports({*range(len(studies))})
    if cancellation.interrupted:
        raise KeyboardInterrupt
    failed = sum(point["status"] != "ok" for study in studies for point in study.store.runs())
    return StudyOutcome(folder, tuple(study.store for study in studies), sum(missing), failed, cancellation.reason)


def folder_of(recipe: Recipe, out: str | Path | None) -> Path:
    """The folder of all studies of a recipe: the given one, or the default."""
    return Path(out or ROOT / recipe.name)


def open_planned(
    recipe: Recipe, planned: Sequence[PlannedStudy], parent: Path, engine: Engine, cancellation: Cancellation
) -> Iterator[OpenedStudy]:
    """Check each planned study of a recipe; their folders are in `parent`.

    Raises:
        RequestError: a study cannot be run; the message begins with the place in the recipe. Or two studies share a folder.
        Cancelled: the studies must stop.
    """
    names = model_names(name for study in planned for name in study.request.lms)
    infos = engine.open([study.request for study in planned], cancellation)
    folders: set[Path] = set()
    for study in planned:
        try:
            info = next(infos)
        except RequestError as error:
            raise study.blame(recipe, error) from error
        folder = parent / _folder_name(info, study.variant, ",".join(names[name] for name in study.request.lms))
        if folder in folders:
            raise RequestError(f"two studies of the recipe would share the folder {folder}; give them names under 'studies'")
        folders.add(folder)
        yield OpenedStudy(folder, study.request, info)


def _folder_name(info: StudyInfo, variant: str = "", lm: str = "") -> str:
    """The name of a study's folder; `lm` is the name of its model, or of several, among those of the recipe."""
    name = f"{info.task}-{max(info.lm, lm, key=len).replace('/', '--').replace(',', '+')}"
    return f"{name}-{variant}" if variant else name


def _save_recipe(folder: Path, recipe: Recipe) -> None:
    """Save the recipe next to the records, with the values that `-o` has replaced."""
    with replacing(folder / "recipe.yaml") as temporary:
        temporary.write_text(recipe.as_yaml(), encoding="utf-8")
