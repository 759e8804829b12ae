"""The engine that makes runs on the machines of a Ray cluster (the extra `ray`).

Every run is a task of Ray with the cores, memory and GPU that it needs; Ray finds it a place. A process that has made one run
keeps the model for the next. A run whose machine or process is lost is made again elsewhere, a few times. The machine that asks
writes the record, so that nothing is shared but what the runs read.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.lm.memory import memory_bytes
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import versions
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.engine import Desk, Job, Listener, Refused
from hardprompt.study.loaded_study import Progress, RunResult, StudyInfo
from hardprompt.study.resources import PROCESS_BYTES

TRIES = 4
"""How often a run is begun whose machine or process is lost, before it is recorded as failed."""

TELL_EVERY = 2.0
"""Seconds between two words of a run on how far it has come: with a thousand at once, 500 messages a second."""

LOOK_EVERY = 0.5
"""Seconds between two looks at what has come."""

_desk = Desk()


class RayCluster:
    """The engine; a context manager, at whose end Ray drops what the cluster is still at.

    Args:
        address: of the cluster, as `ray.init` takes it: HOST:PORT, or auto for the one that this machine belongs to.
        threads: of every run.
        jobs: how many runs are handed out at once; by default two for each that there are cores for.
        told: hears what people should know.

    Raises:
        RequestError: Ray is not installed, or no cluster answers there.
    """

    def __init__(
        self, address: str, threads: int = 1, jobs: int | None = None, told: Callable[[str], None] = lambda text: None
    ) -> None:
        try:
            import ray
            import ray.util.scheduling_strategies
        except ImportError as error:
            raise RequestError("a cluster needs Ray; install it with: pip install 'hardprompt[ray]'") from error
        self._ray: Any = ray
        self._address, self._threads, self._jobs, self._told = address, threads, jobs, told
        self._opened: list[StudyInfo] = []
        self._said: set[str] = set()

    def __enter__(self) -> "RayCluster":
        try:
            if self._address != "auto":
                _knock(self._address)
            self._ray.init(self._address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            said = str(error).strip().split("\n")[0]
            raise RequestError(f"no Ray cluster at {self._address} ({said}); `ray start --head` begins one") from error
        context = self._ray.get_runtime_context()
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False)
        self._board = self._ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._folder = None if context.runtime_env.get("working_dir") else os.getcwd()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ray.shutdown()

    def open(self, requests: Sequence[StudyRequest], stop: Cancellation) -> Iterator[StudyInfo]:
        """As `Engine` has it; the machines open them side by side."""
        self._opened = []
        remote = self._ray.remote(max_retries=TRIES - 1, max_calls=0)(_open)
        shared = self._threads, self._folder, versions()
        for ref in [remote.options(**self._needs(request)).remote(request, *shared) for request in requests]:
            while not self._ray.wait([ref], timeout=LOOK_EVERY)[0]:
                stop.check()
            answer = self._answer(ref)
            if isinstance(answer, Refused):
                raise answer.error
            if isinstance(answer, str):
                raise RunError(f"the studies cannot be checked: {answer}")
            self._opened.append(answer)
            yield answer

    def make(self, jobs: Iterable[Job], listener: Listener, stop: Cancellation) -> Generator[tuple[Job, RunResult], None, None]:
        """As `Engine` has it, for studies that it has opened."""
        remote = self._ray.remote(max_retries=0, max_calls=0)(_make)
        shared = self._threads, self._folder, versions(), self._board
        left = deque((number, job, 1) for number, job in enumerate(jobs))
        at: dict[Any, tuple[int, Job, int]] = {}
        begun: set[int] = set()

        def begins(number: int, job: Job) -> None:
            if number not in begun:
                begun.add(number)
                listener.started(job)

        while left or at:
            while left and len(at) < self._room():
                number, job, attempt = left.popleft()
                opened = self._opened[job.study]
                options = self._needs(job.request, opened.weight_bytes)
                at[remote.options(**options).remote(number, job, reads(opened), *shared)] = number, job, attempt
            stop.check()
            self._ray.wait(list(at), timeout=LOOK_EVERY)
            ready, _ = self._ray.wait(list(at), num_returns=len(at), timeout=0)
            working = {number: job for number, job, _ in at.values()}
            for number, step in self._ray.get(self._board.take.remote()).items():
                if number in working:
                    begins(number, working[number])
                    listener.advanced(working[number], step)
            for ref in ready:
                number, job, attempt = at.pop(ref)
                answer = self._answer(ref)
                if isinstance(answer, RunResult):
                    begins(number, job)
                    yield job, answer
                elif attempt < TRIES:
                    left.appendleft((number, job, attempt + 1))
                    self._told(f"{job.run} is made again: {answer}")
                else:
                    begins(number, job)
                    yield job, job.failed(f"begun {TRIES} times; at last {answer}")

    def _answer(self, ref: Any) -> Any:
        """What a task gave, or a text on how it was lost; RunError where no machine could do better."""
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
            said = [line for line in str(error).strip().split("\n") if line.strip()]
            raise RunError(f"the cluster cannot make runs: {said[-1].strip()}") from error
        if isinstance(answer, _Unfit):
            raise RunError(answer.why)
        return answer

    def _room(self) -> int:
        """How many runs are handed out at once: enough that no machine waits, and that a cluster which can grow does."""
        return self._jobs or max(2, 2 * int(self._ray.cluster_resources().get("CPU", 0)) // self._threads)

    def _needs(self, request: StudyRequest, weight_bytes: int = 0) -> dict[str, Any]:
        """What Ray sets aside for a run; on CUDA a whole GPU, elsewhere cores and memory as `machine.processes` counts it."""
        has = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        device = request.device or ("cuda" if any(node.get("GPU") for node in has) else "cpu")
        if device not in ("cpu", "cuda"):
            raise RequestError(f"on a cluster the device is cpu or cuda, and Ray says which GPU; got {device!r}")
        size = weight_bytes + memory_bytes(request.memory) + PROCESS_BYTES
        needs = {"num_cpus": self._threads, "memory": size} if device == "cpu" else {"num_cpus": self._threads, "num_gpus": 1}
        named = {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(name, name): amount for name, amount in needs.items()}
        if not any(all(node.get(name, 0) >= amount for name, amount in named.items()) for node in has):
            wanted = ", ".join(f"{name} {amount:,}" for name, amount in named.items())
            self._tell_once(f"no machine of the cluster has what a run needs ({wanted}); waiting for one")
        return needs

    def _tell_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._told(text)


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody answers, for which Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError("expected HOST:PORT, or auto")
    socket.create_connection((host, int(port)), timeout=10).close()


class _Board:
    """Where runs write how far they have come, for the one that asks; it lives on that one's machine."""

    def __init__(self) -> None:
        self._steps: dict[int, Progress] = {}

    def tell(self, number: int, step: Progress) -> None:
        self._steps[number] = step

    def take(self) -> dict[int, Progress]:
        """What is new."""
        steps, self._steps = self._steps, {}
        return steps


class _Unfit:
    """A machine that would make other points than the one that asks."""

    def __init__(self, problem: str) -> None:
        self.why = f"the machine {socket.gethostname()} {problem}"


def _settle(threads: int, folder: str | None, theirs: dict[str, str]) -> _Unfit | None:
    """Work as the process that asks does, on as many threads and in the same folder; or say why that cannot be."""
    import torch

    torch.set_num_threads(threads)
    other = [f"{name} {mine} instead of {theirs[name]}" for name, mine in versions().items() if mine != theirs[name]]
    if other:
        return _Unfit(f"has {', '.join(other)}; install the same versions on all")
    if folder is not None:
        if not Path(folder).is_dir():
            return _Unfit(f"has no folder {folder}; share it, or ship it with `ray job submit --working-dir .`")
        os.chdir(folder)
    return None


def _open(request: StudyRequest, threads: int, folder: str | None, theirs: dict[str, str]) -> StudyInfo | Refused | _Unfit:
    """What a machine answers that is to open a study."""
    return _settle(threads, folder, theirs) or _desk.open(request)


def reads(opened: StudyInfo) -> tuple[Any, ...]:
    """What a study reads, as far as it must be the same on every machine."""
    return opened.data, opened.vocabulary_size, opened.weight_bytes


def _make(
    number: int, job: Job, same: tuple[Any, ...], threads: int, folder: str | None, theirs: dict[str, str], board: Any
) -> RunResult | _Unfit:
    """What a machine answers that is to make a run; one that reads other data would spoil the record."""
    if unfit := _settle(threads, folder, theirs):
        return unfit
    mine = _desk.open(job.request)
    if isinstance(mine, Refused):
        return _Unfit(f"cannot run a study that another one can: {mine.message}")
    if reads(mine) != same:
        return _Unfit(f"reads other data or another model for {job.task} with {job.lm} than the one that opened the study")
    told = 0.0

    def tell(step: Progress) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= TELL_EVERY:
            told = now
            board.tell.remote(number, step)

    tell(Progress(0, 0))
    return _desk.make(job, tell)
