"""The engine that carries out runs in several processes of this machine.

Every process receives one job at a time and returns its result; the parent process writes the record. If a process dies (by a
crash in native code, or because the system is out of memory), its run is recorded as failed and another process replaces it.
If the parent process dies, for any reason, its processes end by themselves.
"""

import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.records.request import StudyRequest
from hardprompt.streams import tolerated_output
from hardprompt.study.cancellation import SIGNALS, Cancellation
from hardprompt.study.engine import InvalidRequest, Job, JobExecutor, Listener, SilentListener
from hardprompt.study.loaded_study import Progress, RunResult, StudyInfo

PROGRESS_SECONDS = 0.2
"""Seconds between two reports of a process on its progress."""

PROCESS_NAME = "hardprompt run"

UNGUARDED = 87
"""Exit status of a process that starts studies while it imports the program."""

UNGUARDED_REASON = (
    "several processes import the program, which starts studies at its top level; put the call under "
    '`if __name__ == "__main__":`, or use jobs=1'
)

_SPAWN = multiprocessing.get_context("spawn")

Order = StudyRequest | Job


@dataclass(eq=False)
class _Worker:
    """A process and the connection to it; `order` is what it works on."""

    process: Any
    connection: Connection
    gpu: str | None
    order: Order | None = None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    @property
    def death(self) -> str:
        """Why the process ended."""
        self.process.join()
        code = self.process.exitcode
        if code is not None and code < 0:
            why = ": the system may be out of memory" if -code == signal.SIGKILL else ""
            return f"its process ended by {signal.Signals(-code).name}{why}"
        return f"its process ended with status {code}"


@dataclass
class Workers:
    """The engine; a context manager, which ends all processes on exit.

    The processes import the program that starts them. It must therefore be a file, and use this engine under
    `if __name__ == "__main__":` only.

    Args:
        threads: the number of threads of every run.
        count: the number of processes; it may be changed between two calls.
        gpus: the names of the GPUs, one for each process; if empty, every process sees all of them.
    """

    threads: int = 1
    count: int = 1
    gpus: Sequence[str] = ()
    _workers: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> "Workers":
        """Return the engine itself.

        Raises:
            RequestError: the program is no file.
            RunError: this process is importing the program.
        """
        process = multiprocessing.current_process()
        if getattr(process, "_inheriting", False):  # this process is importing the program
            if process.name == PROCESS_NAME:
                os._exit(UNGUARDED)  # the parent process gives the reason
            raise RunError(UNGUARDED_REASON)
        main = sys.modules["__main__"]
        file = getattr(main, "__file__", None)
        if file is not None and getattr(main, "__spec__", None) is None and not os.path.isfile(file):
            raise RequestError(
                f"several processes need a program that they can import, and {file} is no file; put the program into a file, "
                'with the call under `if __name__ == "__main__":`, or use jobs=1'
            )
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` describes it; one process opens the studies, in order."""
        count, self.count = self.count, 1
        for _, answer in self._answers(requests, SilentListener(), cancellation):
            if isinstance(answer, StudyInfo):
                yield answer
            elif isinstance(answer, InvalidRequest):
                raise answer.error
            else:
                raise RunError(f"the studies cannot be checked: {answer}")
        self.count = count

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` describes it."""
        for job, answer in self._answers(jobs, listener, cancellation):
            assert isinstance(job, Job)
            yield job, answer if isinstance(answer, RunResult) else job.failed(str(answer))

    def _answers(
        self, orders: Iterable[Order], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Order, Any], None, None]:
        """Each order with its answer, or with a text that explains why its process ended."""
        waiting = deque(orders)
        try:
            while waiting or any(worker.order is not None for worker in self._workers):
                self._hand_out(waiting, listener)
                connections = {worker.connection: worker for worker in self._workers if worker.order is not None}
                with cancellation.interruptible():
                    ready = wait(list(connections), timeout=PROGRESS_SECONDS)
                for worker in [worker for connection, worker in connections.items() if connection in ready]:
                    order = worker.order
                    assert order is not None
                    try:
                        answer = worker.connection.recv()
                    except (EOFError, OSError):
                        answer = worker.death
                        if worker.process.exitcode == UNGUARDED:
                            raise RunError(UNGUARDED_REASON) from None
                        self._workers.remove(worker)
                        worker.end()
                    if isinstance(answer, logging.LogRecord):
                        logging.getLogger(answer.name).handle(answer)
                    elif isinstance(answer, Progress) and isinstance(order, Job):
                        listener.advanced(order, answer)
                    else:
                        worker.order = None
                        yield order, answer
        finally:
            for worker in [worker for worker in self._workers if worker.order is not None]:
                self._workers.remove(worker)
                worker.end()

    def _hand_out(self, waiting: deque[Order], listener: Listener) -> None:
        while waiting:
            worker = next((worker for worker in self._workers if worker.order is None), None)
            if worker is None:
                if len(self._workers) >= self.count:
                    return
                self._workers.append(worker := self._new())
            worker.order = waiting.popleft()
            with suppress(ConnectionError):  # the process died while idle; the next receive reports that
                worker.connection.send(worker.order)
            if isinstance(worker.order, Job):
                listener.started(worker.order)

    def _new(self) -> _Worker:
        taken = {worker.gpu for worker in self._workers}
        gpu = next((gpu for gpu in self.gpus if gpu not in taken), None)
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, self.threads, gpu), name=PROCESS_NAME)
        with _no_interrupts():
            process.start()
        theirs.close()
        return _Worker(process, ours, gpu)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Block signals, so that a process which is started in the block never receives those for its parent."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, threads: int, gpu: str | None) -> None:
    """The main function of a process: answer orders until the connection is closed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with tolerated_output():
        os.dup2(2, 1)  # standard output is for the parent's results only
        _answer_orders(connection, threads, gpu)


def _answer_orders(connection: Connection, threads: int, gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import torch

    torch.set_num_threads(threads)
    logging.getLogger("hardprompt").addHandler(_RecordSender(connection))
    executor = JobExecutor()
    with suppress(EOFError, ConnectionError):
        while True:
            order = connection.recv()
            if isinstance(order, Job):
                reports = Throttled(connection.send, PROGRESS_SECONDS)
                result = executor.execute(order, reports)
                reports.flush()
                connection.send(result)
            else:
                connection.send(executor.open(order))


class _RecordSender(logging.Handler):
    """Sends log records to the parent process, which handles them as its own."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None  # what any process can read
        self._connection.send(record)


class Throttled:
    """Passes on a report of progress only if the last one was at least some seconds ago; no value of a learning curve is lost.

    Args:
        report: receives the reports that are passed on.
        seconds: the least time between two of them.
    """

    def __init__(self, report: Callable[[Progress], Any], seconds: float) -> None:
        self._report, self._seconds = report, seconds
        self._last = -math.inf
        self._held: Progress | None = None

    def __call__(self, step: Progress) -> None:
        """Receive a report."""
        self._held = step.after(self._held)
        if time.monotonic() - self._last >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Pass on the last report, if it was held back."""
        held, self._held = self._held, None
        if held:
            self._last = time.monotonic()
            self._report(held)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
