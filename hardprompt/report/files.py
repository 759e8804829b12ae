"""Everything that `hardprompt report` writes: the page, and the same figures and tables as files beside it."""

from collections.abc import Sequence
from pathlib import Path

from hardprompt.errors import StudyError
from hardprompt.report.page import report_page
from hardprompt.report.plot import draw, draw_curves, draw_tradeoff
from hardprompt.report.sheet import write_sheets
from hardprompt.report.studies import Shown, comparisons_sheet, means_sheet
from hardprompt.report.tradeoff import COSTS, GAINS, budget_curves, mean_tradeoff, offered, optimizer_marks
from hardprompt.study.store import replacing

ENDINGS = (".png", ".svg")


def write_figures(shown: Sequence[Shown], folder: Path) -> None:
    """Write into `figures/` the trade-off on all axes that the page offers, and the curves, as PNG and SVG.

    Of several tasks they are the means over them.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    tasks = [each.done for each in shown if each.placed]
    if not tasks:
        return
    placed = [p for each in shown for p in each.placed]
    title = f"mean of {len(tasks)} tasks on {', '.join(dict.fromkeys(each.lm for each in shown))}"
    for cost in offered(placed, COSTS):
        for gain in offered(placed, GAINS):
            for ending in ENDINGS:
                with replacing(figures / f"{gain.name}-{cost.name}{ending}") as aside:
                    if len(shown) > 1:
                        draw(mean_tradeoff(tasks, cost, gain), title, aside)
                    else:
                        draw_tradeoff(shown[0].done, shown[0].found, aside, cost, gain)
    if curves := budget_curves(tasks):
        marks = optimizer_marks([p for own in tasks for p in own])
        of = title if len(shown) > 1 else f"{shown[0].task} on {shown[0].lm}"
        for ending in ENDINGS:
            with replacing(figures / f"budget{ending}") as aside:
                draw_curves(curves, marks, of, aside)


def write_side_by_side(shown: Sequence[Shown], folder: Path) -> None:
    """Write `report.html`, `figures/` and `tables/` of several studies into a folder of their own.

    Raises:
        StudyError: the folder holds a study, whose own page this would replace, or cannot be made.
    """
    if (folder / "study.yaml").exists():
        raise StudyError(f"{folder} holds a study, whose page this would replace; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    with replacing(folder / "report.html") as aside:
        aside.write_text(report_page(shown), encoding="utf-8", newline="\n")
    write_sheets((means_sheet(shown), comparisons_sheet(shown)), folder)
    write_figures(shown, folder)
