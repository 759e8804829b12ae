"""Engines carry out the runs of studies: they receive jobs and return a result for each, in any order.

The engine in this file works in this process, that in `workers.py` in several processes, and those in `ray_cluster.py` and
`slurm.py` on several machines. No engine writes the record: `runner.py` does, so that the record is the same for every engine.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hardprompt.errors import RequestError
from hardprompt.records.request import Run, StudyRequest
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.loaded_study import LoadedStudy, Progress, RunResult, StudyInfo, failed


@dataclass(frozen=True)
class Job:
    """One run of one of several studies.

    Attributes:
        study: the number of the study, from 0.
        request: the request of that study.
        run: the run.
        task, lm: the names of the task and the model in the record.
    """

    study: int
    request: StudyRequest = field(hash=False, repr=False)
    run: Run
    task: str
    lm: str

    def failed(self, reason: str) -> RunResult:
        """The result of a job that could not be started, or whose process died."""
        return failed(self.run, self.task, self.lm, reason)


class Listener(Protocol):
    """Receives the progress of studies."""

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """All checks have passed; these jobs follow, and `recorded` other runs are already in the record."""

    def noted(self, text: str) -> None:
        """A message for the user."""

    def started(self, job: Job) -> None:
        """A run has started."""

    def advanced(self, job: Job, step: Progress) -> None:
        """A run has made progress."""

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """A run has been recorded."""


class SilentListener:
    """A listener that does nothing; a base class for listeners that need some of the methods."""

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None: ...

    def noted(self, text: str) -> None: ...

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, step: Progress) -> None: ...

    def finished(self, job: Job, point: dict[str, Any]) -> None: ...


class Engine(Protocol):
    """Carries out runs."""

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """Check each study and yield what its record needs.

        Raises:
            RequestError: if a study cannot be run.
            Cancelled: if the studies must stop.
        """

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """Carry out the jobs and yield each with its result, as soon as there is one.

        Raises:
            Cancelled: if the studies must stop.
        """


@dataclass(frozen=True)
class InvalidRequest:
    """A RequestError in a form that can be sent between processes.

    Attributes:
        about: the field of the request that is wrong, and the place in it.
        message: the message of the error.
    """

    about: tuple[str | int, ...]
    message: str

    @property
    def error(self) -> RequestError:
        """The error."""
        error = RequestError(self.message)
        error.about = self.about
        return error


class JobExecutor:
    """Carries out jobs one after another; it keeps the current study loaded, and its models for a next study that uses them."""

    def __init__(self) -> None:
        self._loaded: LoadedStudy | None = None

    def load(self, request: StudyRequest) -> LoadedStudy:
        """The study of a request, loaded unless it is the current one."""
        last = self._loaded
        if last is None or last.request != request:
            same_models = last and all(
                getattr(last.request, key) == getattr(request, key) for key in ("lms", "start", "device", "dtype", "memory")
            )
            lms = last.forget() if last and same_models else ()
            self._loaded = last = None  # frees its memory before the next study is loaded
            self._loaded = LoadedStudy(request, lms)
        assert self._loaded
        return self._loaded

    def open(self, request: StudyRequest) -> StudyInfo | InvalidRequest:
        """What the record needs to know of a study, or why the study cannot be run."""
        try:
            return self.load(request).opened
        except RequestError as error:
            return InvalidRequest(error.about, str(error))

    def execute(self, job: Job, listen: Callable[[Progress], None]) -> RunResult:
        """Carry out a job; `listen` receives its progress."""
        try:
            study = self.load(job.request)
        except (Exception, SystemExit) as error:  # files may have changed since the study was opened
            return job.failed(f"{type(error).__name__}: {error}")
        return study.make(job.run, listen)


class InProcess:
    """The engine that carries out runs one after another in this process.

    Args:
        threads: the number of threads of every run; by default torch's own setting.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._executor = JobExecutor()

    def load(self, request: StudyRequest) -> LoadedStudy:
        """The study of a request, loaded unless it is the current one."""
        return self._executor.load(request)

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` describes it."""
        for request in requests:
            with cancellation.interruptible(), limited_threads(self._threads):
                info = self.load(request).opened
            yield info

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` describes it."""

        def listen(step: Progress) -> None:
            cancellation.check()
            listener.advanced(job, step)

        for job in jobs:
            cancellation.check()
            listener.started(job)
            with cancellation.interruptible(), limited_threads(self._threads):
                result = self._executor.execute(job, listen)
            yield job, result


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Let torch use this number of threads in the block; None leaves its setting."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
