"""The engine that makes runs in several processes of this machine.

Every process is given one job at a time and hands back what came of it; the one that asks writes the record. A process that
dies (a crash in native code, or the system wants its memory) costs the run that it was at, which is recorded as failed, and
another takes its place. Where the process that asks dies, however, they end by themselves.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from hardprompt.errors import RunError
from hardprompt.records.request import StudyRequest
from hardprompt.study.cancellation import SIGNALS, Cancellation
from hardprompt.study.engine import Desk, Job, Listener, Refused, Silent
from hardprompt.study.loaded_study import Progress, RunResult, StudyInfo

TELL_EVERY = 0.2
"""Seconds between two words of a process on how far it has come."""

_SPAWN = multiprocessing.get_context("spawn")

Order = StudyRequest | Job


@dataclass(eq=False)
class _Worker:
    """A process and the line to it; `order` is what it is at."""

    process: Any
    line: Connection
    gpu: str | None
    order: Order | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.line.close()

    @property
    def death(self) -> str:
        """How it ended."""
        self.process.join()
        code = self.process.exitcode
        if code is not None and code < 0:
            why = ": the system may have wanted its memory" if -code == signal.SIGKILL else ""
            return f"its process ended by {signal.Signals(-code).name}{why}"
        return f"its process ended with status {code}"


@dataclass
class Workers:
    """The engine; a context manager, at whose end no process is left.

    A program of one's own that uses it must do so under `if __name__ == "__main__":`, since the processes import that program.

    Args:
        threads: of every run.
        count: how many processes; may be changed between two calls.
        gpus: those that the processes get, one each; all of them to each where there is none.
    """

    threads: int = 1
    count: int = 1
    gpus: Sequence[str] = ()
    _workers: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def open(self, requests: Sequence[StudyRequest], stop: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` has it; one process opens them, in order."""
        count, self.count = self.count, 1
        for _, answer in self._answers(requests, Silent(), stop):
            if isinstance(answer, StudyInfo):
                yield answer
            elif isinstance(answer, Refused):
                raise answer.error
            else:
                raise RunError(f"the studies cannot be checked: {answer}")
        self.count = count

    def make(self, jobs: Iterable[Job], listener: Listener, stop: Cancellation) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` has it."""
        for job, answer in self._answers(jobs, listener, stop):
            assert isinstance(job, Job)
            yield job, answer if isinstance(answer, RunResult) else job.failed(str(answer))

    def _answers(
        self, orders: Iterable[Order], listener: Listener, stop: Cancellation
    ) -> Generator[tuple[Order, Any], None, None]:
        """Each order with its answer, or with a text on how its process ended."""
        left = deque(orders)
        try:
            while left or any(worker.order is not None for worker in self._workers):
                self._hand_out(left, listener)
                lines = {worker.line: worker for worker in self._workers if worker.order is not None}
                with stop.droppable():
                    ready = wait(list(lines), timeout=TELL_EVERY)
                for worker in (lines[line] for line in lines if line in ready):
                    order = worker.order
                    assert order is not None
                    try:
                        answer = worker.line.recv()
                    except (EOFError, OSError):
                        answer = worker.death
                        self._workers.remove(worker)
                        worker.end()
                    if isinstance(answer, Progress) and isinstance(order, Job):
                        listener.advanced(order, answer)
                    else:
                        worker.order = None
                        yield order, answer
        finally:
            for worker in [worker for worker in self._workers if worker.order is not None]:  # what it is at is dropped
                self._workers.remove(worker)
                worker.end()

    def _hand_out(self, left: deque[Order], listener: Listener) -> None:
        while left:
            worker = next((worker for worker in self._workers if worker.order is None), None)
            if worker is None:
                if len(self._workers) >= self.count:
                    return
                self._workers.append(worker := self._new())
            worker.order = left.popleft()
            with suppress(ConnectionError):  # it died idle, as its line will say
                worker.line.send(worker.order)
            if isinstance(worker.order, Job):
                listener.started(worker.order)

    def _new(self) -> _Worker:
        taken = {worker.gpu for worker in self._workers}
        gpu = next((gpu for gpu in self.gpus if gpu not in taken), None)
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, self.threads, gpu), name="hardprompt run")
        with _no_interrupts():
            process.start()
        theirs.close()
        return _Worker(process, ours, gpu)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Signals wait; a process that is started in the block never gets those that are for the one that asks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(line: Connection, threads: int, gpu: str | None) -> None:
    """What a process does: it answers orders until nobody is there."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a user's code prints is no answer
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import torch

    torch.set_num_threads(threads)
    desk = Desk()
    with suppress(EOFError, ConnectionError):
        while True:
            order = line.recv()
            line.send(desk.make(order, _teller(line)) if isinstance(order, Job) else desk.open(order))


def _teller(line: Connection) -> Any:
    told = 0.0

    def tell(step: Progress) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= TELL_EVERY:
            told = now
            line.send(step)

    return tell


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
