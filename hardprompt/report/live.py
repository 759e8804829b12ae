"""The live display of a study: a progress bar and the current run on a terminal, a line per finished run elsewhere."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from hardprompt.study.request import Run


class LiveDisplay:
    """A listener for `hardprompt.compare`; use as a context manager.

    Args:
        console: where to; the display adapts to whether it is a terminal.

    Attributes:
        folder: of the study, known once it is planned.
    """

    def __init__(self, console: Console) -> None:
        self.folder = Path()
        self._console = console
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._study = self._progress.add_task("study", start=False, total=None)
        self._run = self._progress.add_task("", start=False, total=100, visible=False)

    def __enter__(self) -> "LiveDisplay":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.update(self._run, visible=False)
        self._progress.stop()

    def planned(self, folder: Path, runs: int, recorded: int) -> None:
        """Say where the record goes and how much is left."""
        self.folder = folder
        kept = f", {recorded} of them already recorded" if recorded else ""
        self._console.print(Text(f"{runs} runs in {folder}{kept}"))
        self._progress.update(self._study, total=runs, completed=recorded)
        self._progress.start_task(self._study)

    def started(self, run: Run) -> None:
        """Show the run that begins."""
        self._progress.reset(self._run, description=_name(run.optimizer, run.weight, run.split, run.seed), visible=True)

    def advanced(self, share: float) -> None:
        """Move the bar of the current run."""
        self._progress.update(self._run, completed=round(100 * share))

    def finished(self, point: dict[str, Any]) -> None:
        """A line about the run that is recorded."""
        self._progress.advance(self._study)
        name = _name(point["optimizer"], point["weight"], point["split"], point["seed"])
        if point["status"] != "ok":
            self._console.print(Text(f"{name:<28} failed: {point['error']}", style="red"))
            return
        nats = "" if point["log_perplexity"] is None else f"{point['log_perplexity']:6.2f} nats/token"
        accuracy = f"test {point['test_accuracy']:.3f}  as text {point['deployed_test_accuracy']:.3f}"
        self._console.print(
            Text(f"{name:<28} {accuracy}  {nats:<17}  {point['prompt_text']}"), no_wrap=True, overflow="ellipsis"
        )


def _name(optimizer: str, weight: float, split: str, seed: int) -> str:
    of_split = "" if split == "default" else f" split {split}"
    return f"{optimizer} w={weight:g}{of_split} seed {seed}"
