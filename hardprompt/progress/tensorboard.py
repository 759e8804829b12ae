"""Learning curves for TensorBoard (the extra `tensorboard`): the best prompt so far of every run against its LM tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError
from hardprompt.study.engine import Job, Listener
from hardprompt.study.loaded_study import Progress


class TensorBoard:
    """A listener that writes what TensorBoard reads, and passes on all that it is told; use as a context manager.

    A run has a folder, by study, optimizer, weight, split and seed. While it is at work: `dev/objective` and `dev/accuracy` of
    its best prompt so far; at its end: `test/accuracy` and `test/accuracy_as_text`. All are against logical LM tokens.

    Args:
        folder: where to.
        other: the listener that is told as well.

    Raises:
        RequestError: the extra is not installed.
    """

    def __init__(self, folder: Path, other: Listener) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise RequestError("TensorBoard is not installed; pip install 'hardprompt[tensorboard]'") from error
        self._make = SummaryWriter
        self._folder, self._other = folder, other
        self._writers: dict[Job, Any] = {}

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exception: object) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """Nothing to write yet."""
        self._other.planned(folder, jobs, recorded)

    def noted(self, text: str) -> None:
        """Nothing to write."""
        self._other.noted(text)

    def started(self, job: Job) -> None:
        """Begin the curves of a run."""
        self._other.started(job)
        run = job.run
        name = f"{run.optimizer},{run.weight:g},{run.split},{run.seed}".replace("/", "--")
        study = f"{job.study}-{job.task}-{job.lm}".replace("/", "--")
        self._writers[job] = self._make(str(self._folder / study / name))

    def advanced(self, job: Job, step: Progress) -> None:
        """A point of the curves."""
        self._other.advanced(job, step)
        if step.dev_accuracy is not None:
            self._writers[job].add_scalar("dev/objective", step.dev_objective, step.lm_tokens)
            self._writers[job].add_scalar("dev/accuracy", step.dev_accuracy, step.lm_tokens)

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """The end of the curves."""
        self._other.finished(job, point)
        with self._writers.pop(job) as writer:
            if point["status"] == "ok":
                spent = point["lm_tokens_forward"] + point["lm_tokens_backward"]
                writer.add_scalar("test/accuracy", point["test_accuracy"], spent)
                writer.add_scalar("test/accuracy_as_text", point["deployed_test_accuracy"], spent)
