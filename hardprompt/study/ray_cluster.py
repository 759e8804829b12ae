"""The engine that carries out runs on the machines of a Ray cluster (the extra `ray`).

A process keeps its model for the next run.
"""

import logging
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.records.request import StudyRequest
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress
from hardprompt.study.remote import POLL_SECONDS, RemoteEngine
from hardprompt.study.resources import PROCESS_BYTES, scoring_bytes


class RayCluster(RemoteEngine):
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
        super().__init__(threads, jobs, note)
        self._ray: Any = ray
        self._address = address

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
        if context.runtime_env.get("working_dir"):
            self._folder = None
        return self

    def __exit__(self, *exception: object) -> None:
        self._ray.shutdown()

    def _submit(self, needs: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
        return self._ray.remote(max_retries=0, max_calls=0)(function).options(**needs).remote(*arguments)

    def _finished(self, refs: Collection[Any]) -> Sequence[Any]:
        self._ray.wait(list(refs), timeout=POLL_SECONDS)
        ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        return ready

    def _running(self, submitted: Mapping[Any, tuple[int, Job, int]]) -> Mapping[int, Progress | None]:
        return self._ray.get(self._board.take.remote())

    def _reporter(self) -> Callable[[int, Progress], None]:
        return partial(_report, self._board)

    def _result(self, ref: Any) -> Any:
        known = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except (known.NodeDiedError, known.ObjectLostError):
            return "its machine was lost"
        except known.OutOfMemoryError:
            return "its machine had no memory left"
        except known.WorkerCrashedError:
            return "its process ended"
        except known.RayError as error:
            text = [line for line in str(error).strip().split("\n") if line.strip()]
            raise RunError(f"the cluster cannot carry out runs: {text[-1].strip()}") from error

    def _submission_limit(self) -> int:
        """The number of runs submitted at once: enough that no machine is idle, and that a cluster which can grow does so."""
        return self._jobs or max(2, 2 * int(self._ray.cluster_resources().get("CPU", 0)) // self._threads)

    def _needs(self, request: StudyRequest, weight_bytes: int = 0) -> dict[str, Any]:
        """What Ray reserves for a run: a whole GPU on CUDA, else the cores and memory that `process_count` assumes."""
        has = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        device = request.device or ("cuda" if any(node.get("GPU") for node in has) else "cpu")
        if device not in ("cpu", "cuda"):
            raise RequestError(f"on a cluster the device must be cpu or cuda, and Ray chooses the GPU; got {device!r}")
        size = weight_bytes + scoring_bytes(request) + PROCESS_BYTES
        needs = {"num_cpus": self._threads, "memory": size} if device == "cpu" else {"num_cpus": self._threads, "num_gpus": 1}
        named = {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(name, name): amount for name, amount in needs.items()}
        if not any(all(node.get(name, 0) >= amount for name, amount in named.items()) for node in has):
            wanted = ", ".join(f"{name} {amount:,}" for name, amount in named.items())
            self._note_once(f"no machine of the cluster has what a run needs ({wanted}); waiting for one")
        return needs


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


def _report(board: Any, number: int, step: Progress) -> None:
    import ray

    ray.get(board.report.remote(number, step))
