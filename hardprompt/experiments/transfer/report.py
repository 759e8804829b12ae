"""The output of a transfer matrix: tables as Markdown and CSV, a figure, a page, and `transfer.json`."""

import json
import os
import warnings
from base64 import b64encode
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from hardprompt.escaping import printable
from hardprompt.experiments.transfer.request import TransferRecord
from hardprompt.experiments.transfer.table import COMPARED, Cell, Transfer
from hardprompt.records.atomic import replacing
from hardprompt.report.page import Detail, page_template
from hardprompt.report.tables import Column, TableData, write_csv

ENDINGS = (".png", ".svg")

ROWS_DRAWN = 100
"""The figure shows at most this many rows; the tables have all of them."""

TEXT_DRAWN = 44
"""Characters of a prompt in the figure."""

_STYLE: Any = {"svg.hashsalt": "hardprompt", "font.size": 9}

_COLUMNS = {
    "study": Column("study", "name"),
    "task": Column("task", "name"),
    "number": Column("run", digits=0),
    "optimizer": Column("optimizer", "name"),
    "weight": Column("w", digits=None),
    "seed": Column("seed", digits=0),
    "prompt_as": Column("as", "text"),
    "prompt_text": Column("text", "text"),
    "source_lm": Column("found on", "text"),
    "lm": Column("model", "text"),
    "spearman": Column("Spearman", signed=True),
    "above_empty": Column("above empty", digits=0),
    "n": Column("texts", digits=0),
}

NOT_IN_CSV = ("correct", "optimized_correct", "embeddings", "data", "accuracy_interval")
"""Keys of a cell that are not a column of their own in `cells.csv`."""


def write_transfer(record: TransferRecord, found: Transfer) -> None:
    """Write `transfer.json`, the tables, the figure as PNG and SVG, and `report.html` into the folder of a matrix."""
    folder = found.folder
    with replacing(folder / "transfer.json") as aside:
        aside.write_text(json.dumps(as_json(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    for sheet in (matrix_sheet(found), correlations_sheet(found), reasons_sheet(found)):
        sheet.write(folder)
    write_csv(folder / "cells.csv", *_flat(found.cells))
    for ending in ENDINGS:
        with replacing(folder / f"matrix{ending}") as aside:
            draw_matrix(found, aside)
    with replacing(folder / "report.html") as aside:
        aside.write_text(transfer_page(record, found), encoding="utf-8", newline="\n")


def as_json(found: Transfer) -> dict[str, Any]:
    """What `hardprompt transfer --json` prints."""
    return {"folder": str(found.folder), "cells": found.cells, "correlations": found.correlations}


def matrix_sheet(found: Transfer, intervals: bool = True) -> TableData:
    """A row per prompt, and the accuracy on each model; without `intervals`, the accuracy alone."""
    study = ("study",) if len({cell["study"] for cell in found.cells}) > 1 else ()
    names = (*study, "number", "optimizer", "weight", "seed", "prompt_as", "prompt_text")
    columns = [_COLUMNS[name] for name in names]
    columns += [Column(printable(lm), "interval" if intervals else "number") for lm in found.lms]
    short = study_names(found)
    rows = [
        (
            *(short[first[name]] if name == "study" else first[name] for name in names),
            *(_accuracy(cells.get(lm), intervals) for lm in found.lms),
        )
        for first, cells in found.rows()
    ]
    sizes = sorted({cell["n"] for cell in found.cells if cell["status"] == "ok"})
    n = f", n = {' or '.join(map(str, sizes))} test examples" if sizes else ""
    caption = f"Test accuracy with its 95 % bootstrap interval{n}. Each model tokenizes each text afresh."
    return TableData("matrix", f"test accuracy of prompts on other models{n}", caption, tuple(columns), rows)


def correlations_sheet(found: Transfer) -> TableData:
    """A row per study and other model: the rank correlation, and how many texts are better than no prompt."""
    names = ("study", "task", "source_lm", "lm", "spearman", "above_empty", "n")
    short = study_names(found)
    rows = [(short[row["study"]], *(row[name] for name in names[1:])) for row in found.correlations]
    caption = (
        "Rank correlation of the accuracies of the distinct texts of a study on its own model and on another, and the number "
        "of texts that are better than the empty prompt there (95 % interval of the paired difference above zero)."
    )
    columns = tuple(_COLUMNS[name] for name in names)
    return TableData("correlations", "do other models rank the texts alike?", caption, columns, rows)


def reasons_sheet(found: Transfer) -> TableData:
    """A row per reason why cells have no value."""
    counts = Counter((cell["study"], cell["lm"], cell["reason"]) for cell in found.cells if cell["status"] != "ok")
    columns = (_COLUMNS["study"], _COLUMNS["lm"], Column("cells", digits=0), Column("reason", "text"))
    short = study_names(found)
    rows = [(short[study], lm, count, reason) for (study, lm, reason), count in counts.items()]
    return TableData("reasons", 'why cells are "-"', "Cells without a value, and the reasons.", columns, rows)


def study_names(found: Transfer) -> dict[str, str]:
    """The folder of each study as the tables show it: without the folder that all of them are in."""
    studies = list(dict.fromkeys(cell["study"] for cell in found.cells))
    if len(studies) < 2:
        return {study: study for study in studies}
    whole = {study: os.path.abspath(study) for study in studies}
    shared = os.path.commonpath([os.path.dirname(path) for path in whole.values()])
    return {study: os.path.relpath(path, shared) for study, path in whole.items()}


def draw_matrix(found: Transfer, file: Path) -> None:
    """Draw the accuracies of prompts x models to a .png or .svg file; a frame marks the model of the study."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows, lms = found.rows(), found.lms
    shown, several = rows[:ROWS_DRAWN], len({cell["task"] for cell in found.cells}) > 1
    values = [[_accuracy(cells.get(lm), False) for lm in lms] for _, cells in shown]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2 + 0.95 * len(lms), 1.6 + 0.24 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        numbers = [[float("nan") if value is None else value for value in row] for row in values]
        image = axes.imshow(numbers, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for y, (row, (first, _)) in enumerate(zip(values, shown, strict=True)):
            for x, (lm, value) in enumerate(zip(lms, row, strict=True)):
                color = "white" if value is not None and value < 0.6 else "black"
                axes.text(x, y, "-" if value is None else f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
                if lm == first["source_lm"]:
                    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#d62728", linewidth=1.4))
        axes.set_xticks(range(len(lms)), [_drawable(lm) for lm in lms], rotation=30, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(shown)), [_drawable(_label(first, several)) for first, _ in shown], fontsize=8)
        for y, ((first, _), (following, _)) in enumerate(pairwise(shown)):
            if first["study"] != following["study"]:
                axes.axhline(y + 0.5, color="white", linewidth=2)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        left_out = f"; the first {len(shown)} of {len(rows)} rows" if len(rows) > len(shown) else ""
        figure.colorbar(image, shrink=0.6, label="test accuracy")
        figure.supxlabel(f"red frame: the model that the prompt was found on{left_out}", fontsize=8, x=0.01, ha="left")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def transfer_page(record: TransferRecord, found: Transfer) -> str:
    """The page as HTML: one file without scripts, which loads no other files; prompts and names are escaped."""
    request = record.study
    given = [(name, value if isinstance(value, str | int) else ", ".join(value)) for name, value in request.items() if value]
    sheets = [sheet for sheet in (matrix_sheet(found), correlations_sheet(found), reasons_sheet(found)) if sheet.rows]
    return page_template("transfer.html").render(
        found=found,
        tasks=list(dict.fromkeys(cell["task"] for cell in found.cells)),
        rows=len(found.rows()),
        picture=b64encode((found.folder / "matrix.png").read_bytes()).decode(),
        sheets=sheets,
        request=given,
        detail=Detail(),
    )


def _accuracy(cell: Cell | None, interval: bool) -> Any:
    if cell is None or cell["status"] != "ok":
        return None
    return (cell["accuracy"], *cell["accuracy_interval"]) if interval else cell["accuracy"]


def _label(first: Cell, with_task: bool) -> str:
    task = f"{first['task']}, " if with_task else ""
    run = first["optimizer"] if first["number"] is None else f"{first['number']} {first['optimizer']}"
    weight = f" w={first['weight']:.2g}" if first["weight"] else ""
    text = first["prompt_text"].strip() if first["prompt_as"] == "text" else "(vectors)"
    return f"{task}{run}{weight}: {text if len(text) <= TEXT_DRAWN else text[: TEXT_DRAWN - 1] + '…'}"


def _drawable(text: str) -> str:
    return printable(text).replace("$", r"\$")


def _flat(cells: list[Cell]) -> tuple[list[str], list[list[Any]]]:
    """Heading and rows of the table of all cells; an interval is several columns."""
    flat = []
    for cell in cells:
        row = {name: value for name, value in cell.items() if name not in NOT_IN_CSV}
        if cell["status"] == "ok":
            row["accuracy_low"], row["accuracy_high"] = cell["accuracy_interval"]
        for name in COMPARED:
            for end, value in (row.pop(name, None) or {}).items():
                row[name if end == "value" else f"{name}_{end}"] = value
        flat.append(row)
    header = list(dict.fromkeys(name for row in flat for name in row))
    return header, [[row.get(name) for name in header] for row in flat]
