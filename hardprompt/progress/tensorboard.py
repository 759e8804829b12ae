"""Learning curves for TensorBoard (the extra `tensorboard`): the best prompt so far of every run, over its LM tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError
from hardprompt.study.engine import Job, Listener
from hardprompt.study.loaded_study import Progress


class TensorBoard:
    """A listener that writes TensorBoard files and passes all events on to another listener; use it as a context manager.

    Every run has its own folder. While it runs, `dev/objective` and `dev/accuracy` of its best prompt so far are written; when
    it is finished, `test/accuracy` and `test/accuracy_as_text`. The steps are logical LM tokens.

    Args:
        folder: the folder for the files.
        other: the listener that receives all events as well.

    Raises:
        RequestError: if the extra is not installed.
    """

    def __init__(self, folder: Path, other: Listener) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise RequestError(
                "TensorBoard is not installed; install it with: pip install 'hardprompt[tensorboard]'"
            ) from error
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
        """Pass the event on."""
        self._other.planned(folder, jobs, recorded)

    def noted(self, text: str) -> None:
        """Pass the event on."""
        self._other.noted(text)

    def started(self, job: Job) -> None:
        """Start the curves of a run."""
        self._other.started(job)
        run = job.run
        name = f"{run.optimizer},{run.weight:g},{run.split},{run.seed}".replace("/", "--")
        study = f"{job.study}-{job.task}-{job.lm}".replace("/", "--")
        self._writers[job] = self._make(str(self._folder / study / name))

    def advanced(self, job: Job, step: Progress) -> None:
        """Write a point of the curves."""
        self._other.advanced(job, step)
        if step.dev_accuracy is not None:
            self._writers[job].add_scalar("dev/objective", step.dev_objective, step.lm_tokens)
            self._writers[job].add_scalar("dev/accuracy", step.dev_accuracy, step.lm_tokens)

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """Write the results of a run and close its curves."""
        self._other.finished(job, point)
        with self._writers.pop(job) as writer:
            if point["status"] == "ok":
                spent = point["lm_tokens_forward"] + point["lm_tokens_backward"]
                writer.add_scalar("test/accuracy", point["test_accuracy"], spent)
                writer.add_scalar("test/accuracy_as_text", point["deployed_test_accuracy"], spent)
