"""The live display of studies: on a terminal a picture that moves, elsewhere a line per finished run."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hardprompt.progress.eta import Eta
from hardprompt.report.escaping import printable
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress

MOST_AT_WORK = 16
"""Runs that are shown at once; a machine with more cores has more at work."""


class LiveDisplay:
    """A listener for `hardprompt.compare` and `run`; use as a context manager.

    On a terminal it shows how many runs are done, the tokens per second and the time left, the best text of each optimizer so
    far in the study at work (as deployed, on dev), and how far each run at work has come.

    Args:
        console: where to; the display adapts to whether it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = Eta()
        self._began = time.monotonic()
        self._done = self._runs = self._studies = 0
        self._best: dict[str, float] = {}
        self._at: tuple[str, str] = "", ""
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """Say where the record goes and how much is left."""
        self._pace.planned(jobs)
        self._done, self._runs = recorded, recorded + len(jobs)
        self._studies = len({job.study for job in jobs})
        kept = f", {recorded} of them already recorded" if recorded else ""
        self._console.print(Text(f"{self._runs} runs in {folder}{kept}"))

    def noted(self, text: str) -> None:
        """Something that people should know."""
        self._console.print(Text(text, style="yellow"))

    def started(self, job: Job) -> None:
        """Show the run that begins."""
        self._pace.started(job, time.monotonic())
        if (job.task, job.lm) != self._at:
            self._at, self._best = (job.task, job.lm), {}

    def advanced(self, job: Job, step: Progress) -> None:
        """Move the bar of a run."""
        self._pace.advanced(job, step)

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """A line about the run that is recorded."""
        self._pace.finished(job, point, time.monotonic())
        self._done += 1
        name = self._name(job)
        if point["status"] != "ok":
            self._console.print(Text(printable(f"{name:<28} failed: {point['error']}"), style="red"))
            return
        if (job.task, job.lm) == self._at:
            self._best[job.run.optimizer] = max(self._best.get(job.run.optimizer, 0.0), point["deployed_dev_accuracy"])
        nats = "" if point["log_perplexity"] is None else f"{point['log_perplexity']:6.2f} nats/token"
        accuracy = f"test {point['test_accuracy']:.3f}  as text {point['deployed_test_accuracy']:.3f}"
        self._console.print(
            Text(f"{name:<28} {accuracy}  {nats:<17}  {printable(point['prompt_text'])}"), no_wrap=True, overflow="ellipsis"
        )

    def _name(self, job: Job) -> str:
        return f"{job.task} {job.run}" if self._studies > 1 else str(job.run)

    def _picture(self) -> RenderableType:
        if not self._runs:
            return Text("checking what is asked for ...")
        now = time.monotonic()
        left = self._pace.seconds_left(now)
        rate = self._pace.tokens_per_second(now)
        said = [
            f"{self._done}/{self._runs} runs",
            _clock(now - self._began),
            f"{_clock(left)} left" if left is not None else "",
            f"{rate:,.0f} LM tokens/s" if rate else "",
        ]
        rows = Table.grid(padding=(0, 2))
        rows.add_row("all", ProgressBar(self._runs, self._done, width=30), Text("  ".join(filter(None, said))))
        for job, (_, step) in list(self._pace.at_work.items())[:MOST_AT_WORK]:
            dev = "" if step.dev_accuracy is None else f"dev {step.dev_accuracy:.3f}"
            rows.add_row(Text(self._name(job)), ProgressBar(1.0, step.share, width=30), Text(dev))
        best = "  ".join(f"{name} {accuracy:.3f}" for name, accuracy in self._best.items())
        return (
            Group(rows, Text(f"best text on dev, {self._at[0]}: {best}", no_wrap=True, overflow="ellipsis")) if best else rows
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
