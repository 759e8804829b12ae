"""The progress of studies on the console: a live display on a terminal, and a line per finished run elsewhere."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hardprompt.escaping import printable
from hardprompt.progress.eta import Eta
from hardprompt.records.request import model_names
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress

CROPPED_WIDTH = 80
"""The fewest columns of a terminal on which the line of a run is cut off; the table at the end has the whole prompt."""

MAX_SHOWN = 16
"""The largest number of running jobs that are shown."""


class LiveDisplay:
    """A listener for `hardprompt.compare` and `run`; use it as a context manager.

    On a terminal it shows the number of finished runs, the tokens per second, the time left, the progress of each running job,
    and the best accuracy (of the deployed text, on dev) of each optimizer so far in the current study.

    Args:
        console: the console to write to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._eta = Eta()
        self._started = time.monotonic()
        self._done = self._runs = self._studies = 0
        self._lms: dict[str, str] = {}
        self._best: dict[str, float] = {}
        self._current: tuple[int, str] = -1, ""
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """Print the folder of the record and the number of runs."""
        self._eta.planned(jobs)
        self._done, self._runs = recorded, recorded + len(jobs)
        self._studies = len({job.study for job in jobs})
        self._lms = model_names(job.request.lm for job in jobs)
        kept = f", {recorded} of them already recorded" if recorded else ""
        self._console.print(Text(f"{self._runs} runs in {folder}{kept}"), soft_wrap=True)

    def noted(self, text: str) -> None:
        """Print a message."""
        self._console.print(Text(text, style="yellow"), soft_wrap=True)

    def started(self, job: Job) -> None:
        """Show a run that has started."""
        self._eta.started(job, time.monotonic())
        if (job.study, job.task) != self._current:
            self._current, self._best = (job.study, job.task), {}

    def advanced(self, job: Job, step: Progress) -> None:
        """Advance the progress bar of a run."""
        self._eta.advanced(job, step)

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """Print a line about a recorded run."""
        self._eta.finished(job, point, time.monotonic())
        self._done += 1
        name = self._name(job)
        if point["status"] != "ok":
            self._console.print(Text(printable(f"{name:<28} failed: {point['error']}"), style="red"), soft_wrap=True)
            return
        if (job.study, job.task) == self._current:
            self._best[job.run.optimizer] = max(self._best.get(job.run.optimizer, 0.0), point["deployed_dev_accuracy"])
        nats = "" if point["log_perplexity"] is None else f"{point['log_perplexity']:6.2f} nats/token"
        accuracy = f"test {point['test_accuracy']:.3f}  as text {point['deployed_test_accuracy']:.3f}"
        line = Text(f"{name:<28} {accuracy}  {nats:<17}  {printable(point['prompt_text'])}")
        if self._console.is_terminal and self._console.width >= CROPPED_WIDTH:
            self._console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(line, soft_wrap=True)

    def _name(self, job: Job) -> str:
        lm = f" on {self._lms[job.request.lm]}" if len(self._lms) > 1 else ""
        return f"{job.task}{lm} {job.run}" if self._studies > 1 else str(job.run)

    def _render(self) -> RenderableType:
        if not self._runs:
            return Text("checking the request ...")
        now = time.monotonic()
        left = self._eta.seconds_left(now)
        rate = self._eta.tokens_per_second(now)
        status = [
            f"{self._done}/{self._runs} runs",
            _clock(now - self._started),
            f"{_clock(left)} left" if left is not None else "",
            f"{rate:,.0f} LM tokens/s" if rate else "",
        ]
        rows = Table.grid(padding=(0, 2))
        rows.add_row("all", ProgressBar(self._runs, self._done, width=30), Text("  ".join(filter(None, status))))
        for job, (_, step) in list(self._eta.running.items())[:MAX_SHOWN]:
            dev = "" if step.dev_accuracy is None else f"dev {step.dev_accuracy:.3f}"
            rows.add_row(Text(self._name(job)), ProgressBar(1.0, step.share, width=30), Text(dev))
        best = "  ".join(f"{name} {accuracy:.3f}" for name, accuracy in self._best.items())
        return (
            Group(rows, Text(f"best text on dev, {self._current[1]}: {best}", no_wrap=True, overflow="ellipsis"))
            if best
            else rows
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
