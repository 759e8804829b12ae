"""The files that `hardprompt report` writes: the page, and its figures and tables as files."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hardprompt.errors import StudyError
from hardprompt.records.atomic import replacing
from hardprompt.records.schema import run_records
from hardprompt.records.store import Store
from hardprompt.report.page import report_page
from hardprompt.report.plot import draw, draw_curves, draw_tradeoff
from hardprompt.report.studies import StudyRuns, comparisons_sheet, hypervolumes_sheet, means_sheet
from hardprompt.report.tradeoff import (
    BEST_SO_FAR,
    COSTS,
    FRONT_SO_FAR,
    GAINS,
    available_axes,
    budget_curves,
    hypervolume_curves,
    mean_tradeoff,
    optimizer_marks,
    repeats,
    tradeoff,
)

ENDINGS = (".png", ".svg")


def write_figures_and_tables(shown: Sequence[StudyRuns], folder: Path) -> None:
    """Write `figures/` and `tables/` into the folder of a page; for several tasks, those of the means over tasks."""
    sheets = (
        [means_sheet(shown), comparisons_sheet(shown), hypervolumes_sheet(shown)]
        if len(shown) > 1
        else list(shown[0].sheets.values())
    )
    for sheet in sheets:  # also empty ones, which replace those of an earlier report
        sheet.write(_made(folder / "tables"))
    tasks = [each.done for each in shown if each.placed]
    if not tasks:
        return
    figures, placed = _made(folder / "figures"), [p for each in shown for p in each.placed]
    title = f"{shown[0].task} on {shown[0].lm} ({repeats(shown[0].points)})"
    weights = sorted({weight for each in shown for weight in each.weights})
    if len(shown) > 1:
        title = f"mean of {len(tasks)} tasks on {', '.join(dict.fromkeys(each.lm for each in shown))}"
    for cost, gain in product(available_axes(placed, COSTS), available_axes(placed, GAINS)):
        if len(shown) > 1:
            drawn = mean_tradeoff(tasks, weights, cost, gain)
        else:
            drawn = tradeoff(shown[0].done, shown[0].found, weights, cost, gain)
        for ending in ENDINGS:
            with replacing(figures / f"{gain.name}-{cost.name}{ending}") as aside:
                draw(drawn, title, aside)
    marks = optimizer_marks([p for own in tasks for p in own])
    progress = (("budget", budget_curves(tasks), BEST_SO_FAR), ("hypervolume", hypervolume_curves(tasks), FRONT_SO_FAR))
    for (name, curves, label), ending in product(progress, ENDINGS):
        if curves:
            with replacing(figures / f"{name}{ending}") as aside:
                draw_curves(curves, marks, title, aside, label)


def write_combined_report(shown: Sequence[StudyRuns], folder: Path) -> None:
    """Write `report.html`, `figures/` and `tables/` of several studies into a separate folder.

    Raises:
        StudyError: the folder holds a study, whose page this would replace, or it cannot be created.
    """
    if (folder / "study.yaml").exists():
        raise StudyError(f"{folder} holds a study, whose page this would replace; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot create the folder {folder}: {error.strerror}; choose another --out") from error
    with replacing(folder / "report.html") as aside:
        aside.write_text(report_page(shown), encoding="utf-8", newline="\n")
    write_figures_and_tables(shown, folder)


def write_report(store: Store) -> None:
    """Write the report of a study into its folder: `report.html`, `frontier.json`, `tradeoff.png` and `tradeoff.svg`.

    If all runs failed, only the page is written, with their errors.
    """
    recorded = store.points()
    if not recorded:
        return
    shown = StudyRuns((store.study,), tuple(run_records(recorded)), readings=tuple(store.readings()))
    with replacing(store.folder / "report.html") as aside:
        aside.write_text(report_page([shown]), encoding="utf-8", newline="\n")
    if not shown.done:
        return
    with replacing(store.folder / "frontier.json") as aside:
        aside.write_text(json.dumps(shown.found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("tradeoff.png", "tradeoff.svg"):
        with replacing(store.folder / name) as aside:
            draw_tradeoff(shown.done, shown.found, shown.weights, aside)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
