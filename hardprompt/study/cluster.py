"""The engine that carries out runs on the machines of a Ray cluster (the extra `ray`).

Every run is a Ray task that states the cores, memory and GPU that it needs, and Ray chooses the machine. A process keeps its
model for the next run. A run whose machine or process is lost is repeated elsewhere, a few times. Only the machine that starts
the studies writes the record, so the machines share nothing but the files that the runs read.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.lm.memory import memory_bytes
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import versions
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.engine import InvalidRequest, Job, JobExecutor, Listener
from hardprompt.study.loaded_study import Progress, RunResult, StudyInfo
from hardprompt.study.resources import PROCESS_BYTES
from hardprompt.study.workers import Throttled

ATTEMPTS = 4
"""How often a run is attempted whose machine or process is lost, before it is recorded as failed."""

PROGRESS_SECONDS = 2.0
"""Seconds between two reports of a run on its progress; a thousand runs at once send 500 messages a second."""

POLL_SECONDS = 0.5
"""Seconds between two checks for results."""

_executor = JobExecutor()


class RayCluster:
    """The engine; a context manager, which cancels all unfinished tasks on exit.

    Args:
        address: the address of the cluster for `ray.init`: HOST:PORT, or auto for the cluster that this machine belongs to.
        threads: the number of threads of every run.
        jobs: the number of runs submitted at once; by default twice the number that the cluster's cores can carry out.
        note: receives messages for the user.

    Raises:
        RequestError: if Ray is not installed, or no cluster answers at the address.
    """

    def __init__(
        self, address: str, threads: int = 1, jobs: int | None = None, note: Callable[[str], None] = lambda text: None
    ) -> None:
        try:
            import ray
            import ray.util.scheduling_strategies
        except ImportError as error:
            raise RequestError("a cluster needs Ray; install it with: pip install 'hardprompt[ray]'") from error
        self._ray: Any = ray
        self._address, self._threads, self._jobs, self._note = address, threads, jobs, note
        self._opened: list[StudyInfo] = []
        self._noted: set[str] = set()

    def __enter__(self) -> "RayCluster":
        try:
            if self._address != "auto":
                _check_reachable(self._address)
            self._ray.init(self._address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise RequestError(f"no Ray cluster at {self._address} ({reason}); start one with `ray start --head`") from error
        context = self._ray.get_runtime_context()
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False)
        self._board = self._ray.remote(_ProgressBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        self._folder = None if context.runtime_env.get("working_dir") else os.getcwd()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ray.shutdown()

    def open(self, requests: Sequence[StudyRequest], cancellation: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` describes it; the machines open the studies in parallel."""
        self._opened = []
        remote = self._ray.remote(max_retries=ATTEMPTS - 1, max_calls=0)(_open)
        shared = self._threads, self._folder, versions()
        for ref in [remote.options(**self._needs(request)).remote(request, *shared) for request in requests]:
            while not self._ray.wait([ref], timeout=POLL_SECONDS)[0]:
                cancellation.check()
            answer = self._answer(ref)
            if isinstance(answer, InvalidRequest):
                raise answer.error
            if isinstance(answer, str):
                raise RunError(f"the studies cannot be checked: {answer}")
            self._opened.append(answer)
            yield answer

    def make(
        self, jobs: Iterable[Job], listener: Listener, cancellation: Cancellation
    ) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` describes it, for studies that this engine has opened."""
        remote = self._ray.remote(max_retries=0, max_calls=0)(_make)
        shared = self._threads, self._folder, versions(), self._board
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
                options = self._needs(job.request, opened.weight_bytes)
                submitted[remote.options(**options).remote(number, job, inputs(opened), *shared)] = number, job, attempt
            cancellation.check()
            self._ray.wait(list(submitted), timeout=POLL_SECONDS)
            ready, _ = self._ray.wait(list(submitted), num_returns=len(submitted), timeout=0)
            working = {number: job for number, job, _ in submitted.values()}
            for number, step in self._ray.get(self._board.take.remote()).items():
                if number in working:
                    mark_started(number, working[number])
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
        """The return value of a task, or a text that explains how the task was lost.

        Raises:
            RunError: if the task would fail on any machine.
        """
        known = self._ray.exceptions
        try:
            answer = self._ray.get(ref)
        except (known.NodeDiedError, known.ObjectLostError):
            return "its machine was lost"
        except known.OutOfMemoryError:
            return "its machine had no memory left"
        except known.WorkerCrashedError:
            return "its process ended"
        except known.RayError as error:
            text = [line for line in str(error).strip().split("\n") if line.strip()]
            raise RunError(f"the cluster cannot carry out runs: {text[-1].strip()}") from error
        if isinstance(answer, _IncompatibleMachine):
            raise RunError(answer.reason)
        return answer

    def _submission_limit(self) -> int:
        """The number of runs submitted at once: enough that no machine is idle, and that a cluster which can grow does so."""
        return self._jobs or max(2, 2 * int(self._ray.cluster_resources().get("CPU", 0)) // self._threads)

    def _needs(self, request: StudyRequest, weight_bytes: int = 0) -> dict[str, Any]:
        """What Ray reserves for a run: a whole GPU on CUDA, else the cores and memory that `process_count` assumes."""
        has = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        device = request.device or ("cuda" if any(node.get("GPU") for node in has) else "cpu")
        if device not in ("cpu", "cuda"):
            raise RequestError(f"on a cluster the device must be cpu or cuda, and Ray chooses the GPU; got {device!r}")
        size = weight_bytes + memory_bytes(request.memory) + PROCESS_BYTES
        needs = {"num_cpus": self._threads, "memory": size} if device == "cpu" else {"num_cpus": self._threads, "num_gpus": 1}
        named = {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(name, name): amount for name, amount in needs.items()}
        if not any(all(node.get(name, 0) >= amount for name, amount in named.items()) for node in has):
            wanted = ", ".join(f"{name} {amount:,}" for name, amount in named.items())
            self._note_once(f"no machine of the cluster has what a run needs ({wanted}); waiting for one")
        return needs

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)


def _check_reachable(address: str) -> None:
    """Raise an OSError or ValueError if nothing answers at an address; Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError("expected HOST:PORT, or auto")
    socket.create_connection((host, int(port)), timeout=10).close()


class _ProgressBoard:
    """Collects the progress of runs; it is an actor on the machine that starts the studies."""

    def __init__(self) -> None:
        self._steps: dict[int, Progress] = {}

    def report(self, number: int, step: Progress) -> None:
        self._steps[number] = step.after(self._steps.get(number))

    def take(self) -> dict[int, Progress]:
        """The reports since the last call, by the number of the run."""
        steps, self._steps = self._steps, {}
        return steps


class _IncompatibleMachine:
    """A machine whose results would differ from those of the machine that starts the studies."""

    def __init__(self, problem: str) -> None:
        self.reason = f"the machine {socket.gethostname()} {problem}"


def _configure(threads: int, folder: str | None, required: dict[str, str]) -> _IncompatibleMachine | None:
    """Set up this process like the one that starts the studies (threads and folder), or return why that is not possible."""
    import torch

    torch.set_num_threads(threads)
    other = [f"{name} {mine} instead of {required[name]}" for name, mine in versions().items() if mine != required[name]]
    if other:
        return _IncompatibleMachine(f"has {', '.join(other)}; install the same versions on all machines")
    if folder is not None:
        if not Path(folder).is_dir():
            return _IncompatibleMachine(f"has no folder {folder}; share it, or send it with `ray job submit --working-dir .`")
        os.chdir(folder)
    return None


def _open(
    request: StudyRequest, threads: int, folder: str | None, required: dict[str, str]
) -> StudyInfo | InvalidRequest | _IncompatibleMachine:
    """The Ray task that opens a study."""
    return _configure(threads, folder, required) or _executor.open(request)


def inputs(opened: StudyInfo) -> tuple[Any, ...]:
    """What identifies the inputs of a study, which must be the same on every machine."""
    return opened.data, opened.vocabulary_size, opened.weight_bytes


def _make(
    number: int, job: Job, expected: tuple[Any, ...], threads: int, folder: str | None, required: dict[str, str], board: Any
) -> RunResult | _IncompatibleMachine:
    """The Ray task that carries out a run, on a machine whose inputs are the expected ones."""
    if incompatible := _configure(threads, folder, required):
        return incompatible
    info = _executor.open(job.request)
    if isinstance(info, InvalidRequest):
        return _IncompatibleMachine(f"cannot run a study that another machine can run: {info.message}")
    if inputs(info) != expected:
        return _IncompatibleMachine(
            f"has other data or another model for {job.task} with {job.lm} than the machine that opened the study"
        )
    import ray

    report = Throttled(lambda step: ray.get(board.report.remote(number, step)), PROGRESS_SECONDS)
    report(Progress(0, 0))
    result = _executor.execute(job, report)
    report.flush()
    return result
