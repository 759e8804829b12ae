"""The progress of studies in a notebook."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError
from hardprompt.notebook import html_table, html_text
from hardprompt.progress.eta import Eta
from hardprompt.study.engine import Job, SilentListener
from hardprompt.study.loaded_study import Progress

SECONDS = 0.5
"""The least time between two updates of the display while a run makes progress."""


class NotebookProgress(SilentListener):
    """A listener for `hardprompt.compare` and `run` that shows a table of the runs below the cell of a notebook.

    Example:
        >>> import hardprompt as hp
        >>> hp.compare(listener=hp.NotebookProgress())      # doctest: +SKIP

    Raises:
        RequestError: this is no notebook.
    """

    def __init__(self) -> None:
        try:
            from IPython.display import display
        except ImportError as error:
            raise RequestError("NotebookProgress needs IPython, which every notebook has; leave the listener out") from error
        self._eta = Eta()
        self._recorded = 0
        self._heading = "checking the request ..."
        self._rows: dict[Job, tuple[str | float | None, ...]] = {}
        self._updated = 0.0
        self._handle: Any = display(self, display_id=True)

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """Show the number of runs."""
        self._eta.planned(jobs)
        self._recorded = recorded
        self._heading = f"{recorded + len(jobs)} runs in {folder}"
        self._update()

    def noted(self, text: str) -> None:
        """Show a message above the table."""
        self._heading += f"\n{text}"
        self._update()

    def started(self, job: Job) -> None:
        """Add a row."""
        self._eta.started(job, time.monotonic())
        self._show(job, "running", None, None, "")

    def advanced(self, job: Job, step: Progress) -> None:
        """Show the finished share of a run, and the best accuracy on dev so far."""
        self._eta.advanced(job, step)
        if time.monotonic() - self._updated >= SECONDS:
            self._show(job, f"{step.share:.0%}", step.dev_accuracy, None, "")

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """Show the result of a run."""
        self._eta.finished(job, point, time.monotonic())
        if point["status"] == "ok":
            self._show(job, "done", *(point[key] for key in ("deployed_test_accuracy", "log_perplexity", "prompt_text")))
        else:
            self._show(job, "failed", None, None, point["error"])

    def _show(self, job: Job, *row: str | float | None) -> None:
        self._rows[job] = (f"{job.task} on {job.lm}", str(job.run), *row)
        self._update()

    def _update(self) -> None:
        self._updated = time.monotonic()
        if self._handle is not None:
            self._handle.update(self)

    def _repr_html_(self) -> str:
        left = self._eta.seconds_left(time.monotonic())
        done = sum(row[2] in ("done", "failed") for row in self._rows.values()) + self._recorded
        status = f"{done} done" + (f", about {left:.0f} s left" if left else "")
        headings = ("study", "run", "", "accuracy as text", "nats/token", "prompt")
        above = f"<p>{html_text(self._heading)}: {status}</p>"
        return above + (html_table(headings, self._rows.values()) if self._rows else "")
