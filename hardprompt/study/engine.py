"""What makes the runs of studies: an engine is given jobs and hands back what came of them, in any order.

The one here works in this process; `workers.py` has the one that works in several, `cluster.py` that on many machines. The
record is written by whoever asks, so that it is the same whichever engine made the runs.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
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
        study: the number of its study.
        request: that study's.
        run: what is to be made.
        task, lm: the names that the record has for them.
    """

    study: int
    request: StudyRequest = field(hash=False, repr=False)
    run: Run
    task: str
    lm: str

    def failed(self, reason: str) -> RunResult:
        """What came of it where it could not even be begun, or its process ended."""
        return failed(self.run, self.task, self.lm, reason)


class Listener(Protocol):
    """What is told of the progress of studies."""

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """All checks passed; these are to be made, and so many more are recorded already."""

    def noted(self, text: str) -> None:
        """Something that people should know."""

    def started(self, job: Job) -> None:
        """A run begins."""

    def advanced(self, job: Job, step: Progress) -> None:
        """A run has come so far."""

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """A run is recorded."""


class Silent:
    """A listener that does nothing."""

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None: ...

    def noted(self, text: str) -> None: ...

    def started(self, job: Job) -> None: ...

    def advanced(self, job: Job, step: Progress) -> None: ...

    def finished(self, job: Job, point: dict[str, Any]) -> None: ...


class Engine(Protocol):
    """What makes runs."""

    def open(self, requests: Sequence[StudyRequest], stop: Cancellation) -> Iterator[StudyInfo]:
        """What the record must know of each study; RequestError where one cannot be run."""

    def make(self, jobs: Iterable[Job], listener: Listener, stop: Cancellation) -> Generator[tuple[Job, RunResult], None, None]:
        """Each job with what came of it, as soon as it is there; Cancelled where the studies are to end."""


@dataclass(frozen=True)
class Refused:
    """A study that cannot be run, said by another process: which field of the request is wrong, and why."""

    about: tuple[str | int, ...]
    message: str

    @property
    def error(self) -> RequestError:
        """What is raised here."""
        error = RequestError(self.message)
        error.about = self.about
        return error


class Desk:
    """Where runs are made one after another: it holds the study at work, and its model over to the next one."""

    def __init__(self) -> None:
        self._prepared: LoadedStudy | None = None

    def prepare(self, request: StudyRequest) -> LoadedStudy:
        """The study of a request, loaded unless it is the one at work."""
        last = self._prepared
        if last is None or last.request != request:
            same = last and all(
                getattr(last.request, key) == getattr(request, key) for key in ("lm", "device", "dtype", "memory")
            )
            lm = last.forget() if last and same else None
            self._prepared = last = None  # what it holds is free before the next is loaded
            self._prepared = LoadedStudy(request, lm)
        assert self._prepared
        return self._prepared

    def open(self, request: StudyRequest) -> StudyInfo | Refused:
        """What the record must know of a study, in a form that can be sent."""
        try:
            return self.prepare(request).opened
        except RequestError as error:
            return Refused(error.about, str(error))

    def make(self, job: Job, listen: Any) -> RunResult:
        """What came of a job; `listen` is told of its steps."""
        try:
            prepared = self.prepare(job.request)
        except (Exception, SystemExit) as error:  # files that have changed since it was opened
            return job.failed(f"{type(error).__name__}: {error}")
        return prepared.make(job.run, listen)


class InProcess:
    """The engine that makes runs one after another in this process.

    Args:
        threads: of every run; by default as many as torch takes by itself.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._desk = Desk()

    def open(self, requests: Sequence[StudyRequest], stop: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` has it."""
        for request in requests:
            with stop.droppable(), _threads(self._threads):
                opened = self._desk.prepare(request).opened
            yield opened

    def make(self, jobs: Iterable[Job], listener: Listener, stop: Cancellation) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` has it."""

        def listen(step: Progress) -> None:
            stop.check()
            listener.advanced(job, step)

        for job in jobs:
            stop.check()
            listener.started(job)
            with stop.droppable(), _threads(self._threads):
                outcome = self._desk.make(job, listen)
            yield job, outcome


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
