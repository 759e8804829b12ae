"""Printing: answers go to stdout, errors to stderr, and progress to stdout or, if the answer is JSON, to stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import typer

STOPPED = 3
"""Exit status of a study that was stopped before its end."""


PIPED_WIDTH = 140
"""Columns of output that does not go to a terminal."""

LEAST_WIDTH = 80
"""The fewest columns of tables and help; a narrower terminal wraps their lines, so that nothing is cut off."""


UNBOUNDED = 10_000
"""A width that no table has."""


def console(stderr: bool = False, least_width: int = LEAST_WIDTH) -> Any:
    """A rich console that is wide enough for tables."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = readable_width(stream, least_width) if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False)


def readable_width(stream: Any, least: int = LEAST_WIDTH) -> int:
    """The width of a terminal or of the environment variable COLUMNS, but not less than `least`."""
    from rich.console import Console

    return max(least, Console(file=stream).width)


def print_json(answer: object) -> None:
    """Print a machine-readable answer; in ASCII if the encoding of the output does not have all its characters."""
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(answer, indent=2)
    print(text)


def print_line(text: str) -> None:
    """Print a line of text as it is, without markup and without line breaks."""
    console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(table: Any) -> None:
    """Print a table with all of its text: a long word is broken, and the table may become wider than the terminal."""
    from rich.measure import Measurement

    for column in table.columns:
        column.overflow = "fold"
    shown = console()
    needed = Measurement.get(shown, shown.options.update(width=UNBOUNDED), table)
    unbroken = any(column.no_wrap for column in table.columns)
    shown.size = max(shown.width, needed.maximum if unbroken else needed.minimum), shown.height
    shown.print(table)


def print_message(message: str) -> None:
    """Print a message as one line on stderr."""
    print(f"hardprompt: {' '.join(message.split())}", file=sys.stderr)


def print_error(message: str, status: int) -> int:
    """Print a message as one line on stderr, and return the exit status."""
    print_message(message)
    return status


@contextmanager
def progress_display(as_json: bool, trackers: Sequence[str] = ()) -> Iterator[Any]:
    """A listener that shows the progress of studies. With `as_json`, everything printed in the block goes to stderr.

    Args:
        as_json: whether the answer is JSON.
        trackers: where the runs are recorded besides, as `Tracking` takes them.
    """
    from hardprompt.progress.live_display import LiveDisplay
    from hardprompt.progress.tracking import Tracking

    with ExitStack() as stack:
        if as_json:
            stack.enter_context(redirect_stdout(sys.stderr))
        display = stack.enter_context(LiveDisplay(console(stderr=as_json, least_width=1)))
        yield stack.enter_context(Tracking(trackers, display))


@contextmanager
def share_display(as_json: bool, doing: str) -> Iterator[Callable[[float], None] | None]:
    """A function that shows the finished share of a search on a terminal; None elsewhere.

    Args:
        as_json: whether the answer is JSON, so that the progress goes to stderr.
        doing: what is in progress.
    """
    from rich.progress import Progress

    shown = console(stderr=as_json, least_width=1)
    if not shown.is_terminal:
        yield None
        return
    with Progress(console=shown, transient=True) as progress:
        task = progress.add_task(doing, total=1.0)
        yield lambda share: progress.update(task, completed=share)


def print_studies(ended: Any, as_json: bool, of_recipe: bool = False) -> None:
    """Print the results of studies.

    Args:
        ended: the result of the runner.
        as_json: print JSON.
        of_recipe: there may be several studies, each in a folder below `ended.folder`.

    Raises:
        typer.Exit: with status 3 if the studies were stopped, 1 if a run failed.
    """
    from hardprompt.records.store import recorded_request

    recorded = {store.folder: store.points() for store in ended.stores}
    weights = {store.folder: recorded_request(store.study).weights for store in ended.stores}
    if as_json:
        listed = [{"folder": str(folder), "points": points} for folder, points in recorded.items()]
        print_json({"studies": listed, "left": ended.left, "stopped": ended.stopped} if of_recipe else listed[0]["points"])
    else:
        for folder, points in recorded.items():
            print_points(points, weights[folder])
            if not of_recipe:
                print_frontier(folder, points)
        _print_failed(recorded)
        if recorded:
            below = " (a folder for each study)" if of_recipe else ""
            print_line(f"report.html, tradeoff.png, frontier.json and points.jsonl are in {ended.folder}{below}")
    if ended.stopped:
        left = "no run had begun" if ended.left is None else f"{ended.left} runs are left"
        raise typer.Exit(print_error(f"{ended.stopped}: {left}; the same command resumes the study", STOPPED))
    if ended.failed:
        raise typer.Exit(1)


def print_estimate(found: Any) -> None:
    """Print the estimated cost of a recipe: a table of its studies, and the totals."""
    from rich.table import Table
    from rich.text import Text

    table = Table(pad_edge=False)
    for heading in ("task", "model"):
        table.add_column(heading)
    numbers = ("runs", "recorded", "LM tokens", "hours in one process", *([f"hours on one {found.gpu}"] if found.gpu else []))
    for heading in numbers:
        table.add_column(heading, justify="right")
    for study in found.studies:
        hours = [study.hours, *([] if study.gpu_hours is None else [study.gpu_hours])]
        row = (f"{study.runs}", f"{study.recorded}", f"{study.lm_tokens:,}", *(f"{each:.2g}" for each in hours))
        table.add_row(Text(study.task), Text(study.lm), *row)
    print_table(table)
    several = f"with {found.processes} processes" if found.processes > 1 else "in one process"
    print_line(f"{found.runs} runs and {found.lm_tokens:,} LM tokens; about {found.hours:.2g} hours on this machine {several}")
    print_line(f"memory {found.memory_bytes / 1e9:.1f} GB, disk {found.disk_bytes / 1e6:.0f} MB")
    for name, speeds in found.lm_tokens_per_second.items():
        measured = [f"{speed:,.0f} {kind.replace('_', ' ')}" for kind, speed in speeds.items() if speed is not None]
        print_line(f"{name}: LM tokens per second, measured in one process: {', '.join(measured)}")
    if found.gpu:
        from hardprompt.study.gpus import UTILIZATION

        print_line(
            f"on one {found.gpu}: about {found.gpu_hours:.2g} hours, {found.gpu_memory_bytes / 1e9:.1f} GB of GPU memory; an "
            f"estimate from the published peak at a utilization of {UTILIZATION:.0%}, not tested on this GPU"
        )


def print_points(points: list[dict[str, Any]], weights: Sequence[float] | None = None) -> None:
    """Print the table of runs, and warnings about their data.

    Args:
        points: the recorded points.
        weights: the weights at which the members of fronts are shown; by default all members are.
    """
    from hardprompt.records.schema import at_weights, run_records
    from hardprompt.report.study_tables import data_lines, models_sheet, results_sheet

    runs = run_records(points)
    shown = runs if weights is None else at_weights(runs, weights)
    print_table(results_sheet(shown).as_rich())
    if (of_models := models_sheet(shown)).rows:
        print_table(of_models.as_rich())
    for line in data_lines(run_records(points)):
        print_line(f"warning: {line}")


def print_frontier(folder: Path, points: list[dict[str, Any]]) -> None:
    """Print the differences and the coverage of the trade-off in a study's folder, where they are recorded.

    Args:
        folder: the folder of the study.
        points: its recorded runs.
    """
    from hardprompt.records.schema import run_records
    from hardprompt.report.study_tables import coverage_sheet, differences_sheet

    file = folder / "frontier.json"
    if not file.is_file():
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    for sheet in (
        differences_sheet(found),
        *([coverage_sheet(found, run_records(points), brief=True)] if found["known"] else []),
    ):
        if sheet.rows:
            print_table(sheet.as_rich())


def print_geometry(found: dict[str, Any], as_json: bool) -> None:
    """Print the results of a geometry study."""
    from hardprompt.experiments.geometry.report import accuracy_table, findings_table

    if as_json:
        print_json(found)
        return
    for table in (accuracy_table(found["prompts"]), findings_table(found)):
        print_table(table)
    print_line(f"report.html and the sheets are in {found['folder']}")


def _print_failed(recorded: dict[Path, list[dict[str, Any]]]) -> None:
    from hardprompt.records.schema import run_records
    from hardprompt.report.study_tables import failed_lines

    for folder, points in recorded.items():
        for line in failed_lines(run_records(points)):
            print_line(f"{folder}: {line}")
    if any(point["status"] != "ok" for points in recorded.values() for point in points):
        print_line("--retry-failed repeats the failed runs")
