"""The engine that carries out runs as jobs of a SLURM cluster, through submitit (the extra `slurm`).

Every run is a job of its own. Jobs and results go through a folder on the shared disk, which only the user can read; it is
removed at the end.
"""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.records.request import StudyRequest
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress
from hardprompt.study.remote import POLL_SECONDS, RemoteEngine
from hardprompt.study.resources import PROCESS_BYTES, scoring_bytes

MINUTES = 24 * 60
"""Time limit of a job if the settings give none."""

SUBMITTED = 100
"""Jobs submitted at once by default; many clusters allow a user no more than some hundreds."""

LOCAL, AUTO = "local", "auto"
"""Settings: jobs are processes of this machine, to try everything out; jobs of SLURM with the settings of the cluster."""

_PREFIX = ".slurm-"


class Slurm(RemoteEngine):
    """The engine; a context manager, which cancels all unfinished jobs on exit.

    Args:
        settings: auto, local, or options of sbatch such as "partition=short,account=mine,time=60", separated by commas.
        folder: the folder of the studies, on a disk that all machines share.
        threads: the number of threads of every run.
        jobs: the number of runs submitted at once.
        note: receives messages for the user.

    Raises:
        RequestError: if submitit is not installed, there is no SLURM, or the settings cannot be read.
    """

    def __init__(
        self,
        settings: str,
        folder: Path,
        threads: int = 1,
        jobs: int | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise RequestError("SLURM needs submitit; install it with: pip install 'hardprompt[slurm]'") from error
        super().__init__(threads, jobs, note)
        self._submitit: Any = submitit
        self._options = _options(settings)
        self._cluster = LOCAL if settings == LOCAL else "slurm"
        self._parent, self._job_folder = folder, Path()
        self._unfinished: list[Any] = []

    def __enter__(self) -> "Slurm":
        self._parent.mkdir(parents=True, exist_ok=True)
        self._job_folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent)).absolute()
        try:
            self._executor = self._submitit.AutoExecutor(self._job_folder, cluster=self._cluster)
        except RuntimeError as error:
            self._remove()
            raise RequestError(f"no SLURM on this machine ({error}); --slurm local tries it out without SLURM") from error
        return self

    def __exit__(self, *exception: object) -> None:
        for job in self._unfinished:
            job.cancel(check=False)
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._job_folder, ignore_errors=True)
        if not any(self._parent.iterdir()):
            self._parent.rmdir()

    def _submit(self, needs: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
        self._executor.update_parameters(name="hardprompt", slurm_additional_parameters=self._options, **needs)
        try:
            job = self._executor.submit(function, *arguments)
        except (OSError, self._submitit.core.utils.FailedJobError) as error:
            reason = " ".join(str(error).split())[-300:]
            raise RequestError(f"SLURM refuses a job ({reason}); give other settings with --slurm") from error
        self._unfinished.append(job)
        return job

    def _finished(self, refs: Collection[Any]) -> Sequence[Any]:
        done = [job for job in refs if job.done()]
        if not done:
            time.sleep(POLL_SECONDS)
        return done

    def _running(self, submitted: Mapping[Any, tuple[int, Job, int]]) -> Mapping[int, Progress | None]:
        return {number: None for job, (number, *_) in submitted.items() if job.state.upper() == "RUNNING"}

    def _result(self, ref: Any) -> Any:
        self._unfinished.remove(ref)
        utils = self._submitit.core.utils
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a file that arrives late on a shared disk
                return ref.result()
        except utils.FailedJobError as error:
            trace = [line for line in str(error).split("\n") if line.strip() and not line.startswith("--")]
            last = next((i for i, line in enumerate(trace) if line.startswith("You can check full logs")), len(trace))
            raise RunError(f"the cluster cannot carry out runs: {trace[last - 1].strip()}") from error
        except utils.UncompletedJobError:
            return f"its job {ref.job_id} ended without a result ({ref.state})"

    def _submission_limit(self) -> int:
        return self._jobs or (os.cpu_count() or 1 if self._cluster == LOCAL else SUBMITTED)

    def _needs(self, request: StudyRequest, weight_bytes: int = 0) -> dict[str, Any]:
        """What SLURM reserves for a run: on CUDA, which the recipe has to name, a whole GPU; and the cores and memory."""
        device = request.device or "cpu"
        if device not in ("cpu", "cuda"):
            raise RequestError(f"on a cluster the device must be cpu or cuda, and SLURM chooses the GPU; got {device!r}")
        size = weight_bytes + scoring_bytes(request) + PROCESS_BYTES
        gpus = {"gpus_per_node": 1} if device == "cuda" else {}
        return {"timeout_min": MINUTES, "cpus_per_task": self._threads, "mem_gb": size / (1 << 30), **gpus}


def _options(settings: str) -> dict[str, str]:
    """The options of sbatch in a text.

    >>> _options("partition=short,time=60")
    {'partition': 'short', 'time': '60'}
    """
    if settings in (AUTO, LOCAL):
        return {}
    pairs = [pair.partition("=") for pair in settings.split(",")]
    if not all(name and equals and value for name, equals, value in pairs):
        raise RequestError(
            f"--slurm {settings!r} is none of auto, local, or options of sbatch such as partition=short,time=60 (minutes)"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}
