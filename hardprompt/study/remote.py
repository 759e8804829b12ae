"""What the engines have in common that carry out runs on other machines: `ray_cluster.py` and `slurm.py`.

Every run is a task of its own that states the cores, memory and GPU that it needs, and the scheduler of the cluster chooses the
machine. A run whose machine or process is lost is repeated, a few times. Only the machine that starts the studies writes the
record, so the machines share nothing but the files that the runs read. A machine that would give other results stops the study.
"""

import os
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RunError
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import versions
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.engine import InvalidRequest, Job, JobExecutor, Listener
from hardprompt.study.loaded_study import Progress, RunResult, StudyInfo
from hardprompt.study.workers import Throttled

ATTEMPTS = 4
"""How often a run is attempted whose machine or process is lost, before it is recorded as failed."""

PROGRESS_SECONDS = 2.0
"""Seconds between two reports of a run on its progress; a thousand runs at once send 500 messages a second."""

POLL_SECONDS = 0.5
"""Seconds between two checks for results."""

_executor = JobExecutor()


class RemoteEngine(ABC):
    """An engine that submits tasks to a scheduler; a subclass says how.

    Args:
        threads: the number of threads of every run.
        jobs: the number of runs submitted at once; None for the default of the engine.
        note: receives messages for the user.
    """

    def __init__(self, threads: int, jobs: int | None, note: Callable[[str], None]) -> None:
        self._threads, self._jobs, self._note = threads, jobs, note
        self._folder: str | None = os.getcwd()
        self._opened: list[StudyInfo] = []
        self._noted: set[str] = set()

    @abstractmethod
    def _submit(self, needs: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit a call of a function, and return a reference to it."""

    @abstractmethod
    def _finished(self, refs: Collection[Any]) -> Sequence[Any]:
        """Those of the references whose calls have ended; waits a moment if there are none."""

    @abstractmethod
    def _result(self, ref: Any) -> Any:
        """The return value of a call that has ended, or a text that explains how the call was lost.

        Raises:
            RunError: if the call would fail on any machine.
        """

    @abstractmethod
    def _needs(self, request: StudyRequest, weight_bytes: int = 0) -> dict[str, Any]:
        """What a run of a request needs, as the scheduler takes it."""

    @abstractmethod
    def _submission_limit(self) -> int:
        """The number of runs submitted at once."""

    @abstractmethod
    def _running(self, submitted: Mapping[Any, tuple[int, Job, int]]) -> Mapping[int, Progress | None]:
        """The runs, by number, that have begun or made progress since the last call, with their progress if it is known."""

    def _reporter(self) -> Callable[[int, Progress], None] | None:
        """What a run calls with its number and its progress; it is sent to the machine of the run."""
        return None

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` describes it; the machines open the studies in parallel."""
        self._opened = []

        def submit(request: StudyRequest) -> Any:
            return self._submit(self._needs(request), open_study, request, self._threads, self._folder, versions())

        for request, first in [(request, submit(request)) for request in requests]:
            ref = first
            for attempt in range(1, ATTEMPTS + 1):
                while not self._finished([ref]):
                    cancellation.check()
                answer = self._answer(ref)
                if not isinstance(answer, str):
                    break
                if attempt == ATTEMPTS:
                    raise RunError(f"the studies cannot be checked: {answer}")
                ref = submit(request)
            if isinstance(answer, InvalidRequest):
                raise answer.error
            self._opened.append(answer)
            yield answer

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` describes it, for studies that this engine has opened."""
        shared = self._threads, self._folder, versions(), self._reporter()
        waiting = deque((number, job, 1) for number, job in enumerate(jobs))
        submitted: dict[Any, tuple[int, Job, int]] = {}
        started: set[int] = set()

        def mark_started(number: int, job: Job) -> None:
            if number not in started:
                started.add(number)
                listener.started(job)

        while waiting or submitted:
            while waiting and len(submitted) < self._submission_limit():
                number, job, attempt = waiting.popleft()
                opened = self._opened[job.study]
                needs = self._needs(job.request, opened.weight_bytes)
                ref = self._submit(needs, carry_out, number, job, inputs(opened), *shared)
                submitted[ref] = number, job, attempt
            cancellation.check()
            ready = self._finished(list(submitted))
            working = {number: job for number, job, _ in submitted.values()}
            for number, step in self._running(submitted).items():
                if number in working:
                    mark_started(number, working[number])
                    if step:
                        listener.advanced(working[number], step)
            for ref in ready:
                number, job, attempt = submitted.pop(ref)
                answer = self._answer(ref)
                if isinstance(answer, RunResult):
                    mark_started(number, job)
                    yield job, answer
                elif attempt < ATTEMPTS:
                    waiting.appendleft((number, job, attempt + 1))
                    self._note(f"{job.run} is repeated: {answer}")
                else:
                    mark_started(number, job)
                    yield job, job.failed(f"attempted {ATTEMPTS} times; the last time {answer}")

    def _answer(self, ref: Any) -> Any:
        """The result of a call; RunError if its machine would give other results."""
        answer = self._result(ref)
        if isinstance(answer, IncompatibleMachine):
            raise RunError(answer.reason)
        return answer

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)


class IncompatibleMachine:
    """A machine whose results would differ from those of the machine that starts the studies."""

    def __init__(self, problem: str) -> None:
        self.reason = f"the machine {socket.gethostname()} {problem}"


def configure(threads: int, folder: str | None, required: dict[str, str]) -> IncompatibleMachine | None:
    """Set up this process like the one that starts the studies (threads and folder), or return why that is not possible."""
    import torch

    torch.set_num_threads(threads)
    other = [f"{name} {mine} instead of {required[name]}" for name, mine in versions().items() if mine != required[name]]
    if other:
        return IncompatibleMachine(f"has {', '.join(other)}; install the same versions on all machines")
    if folder is not None:
        if not Path(folder).is_dir():
            return IncompatibleMachine(f"has no folder {folder}; share it, or send it with `ray job submit --working-dir .`")
        os.chdir(folder)
    return None


def open_study(
    request: StudyRequest, threads: int, folder: str | None, required: dict[str, str]
) -> StudyInfo | InvalidRequest | IncompatibleMachine:
    """The task that opens a study."""
    return configure(threads, folder, required) or _executor.open(request)


def inputs(opened: StudyInfo) -> tuple[Any, ...]:
    """What identifies the inputs of a study, which must be the same on every machine."""
    return opened.data, opened.vocabulary_size, opened.weight_bytes


def carry_out(
    number: int,
    job: Job,
    expected: tuple[Any, ...],
    threads: int,
    folder: str | None,
    required: dict[str, str],
    report: Callable[[int, Progress], None] | None,
) -> RunResult | IncompatibleMachine:
    """The task that carries out a run, on a machine whose inputs are the expected ones."""
    if incompatible := configure(threads, folder, required):
        return incompatible
    info = _executor.open(job.request)
    if isinstance(info, InvalidRequest):
        return IncompatibleMachine(f"cannot run a study that another machine can run: {info.message}")
    if inputs(info) != expected:
        return IncompatibleMachine(
            f"has other data or another model for {job.task} with {job.lm} than the machine that opened the study"
        )
    listen = Throttled(lambda step: report(number, step) if report else None, PROGRESS_SECONDS)
    listen(Progress(0, 0))
    result = _executor.execute(job, listen)
    listen.flush()
    return result
