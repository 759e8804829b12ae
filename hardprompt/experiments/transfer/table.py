"""The cells of a transfer matrix with their statistics: intervals, paired differences, ranks and rank correlations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardprompt.experiments.transfer.request import TransferRecord
from hardprompt.stats.bootstrap import bootstrap_mean

if TYPE_CHECKING:
    import pandas as pd

Line = dict[str, Any]
Cell = dict[str, Any]

KEY = ("study", "split", "number", "prompt_as", "lm")
"""Keys that name a cell."""

LEAST_PROMPTS = 3
"""A rank correlation over fewer texts than this is not computed."""

MEASURED = ("accuracy", "accuracy_interval", "n", "loss", "log_perplexity", "tokens", "rank", "correct", "optimized_correct")
COMPARED = ("minus_empty", "minus_source", "minus_optimized")
"""Keys of a cell that are None where it has not been measured."""

ROW = ("study", "split", "number", "optimizer", "weight", "seed", "prompt_as", "prompt_text")
"""Keys that describe a row of the matrix."""


@dataclass(frozen=True)
class Transfer:
    """A transfer matrix.

    Attributes:
        folder: the folder with its record, tables, figure and page.
        cells: one per prompt, form of the prompt and model, with the keys that `hardprompt transfer --json` prints.
        correlations: one per study, data split and other model.
    """

    folder: Path
    cells: list[Cell]
    correlations: list[Line]

    @property
    def lms(self) -> list[str]:
        """The names of the models, those of the studies first."""
        names = [cell[key] for key in ("source_lm", "lm") for cell in self.cells]
        return [name for name in dict.fromkeys(names) if any(cell["lm"] == name for cell in self.cells)]

    @property
    def not_measured(self) -> list[Cell]:
        """The cells without a value because of an error."""
        return [cell for cell in self.cells if cell["status"] == "failed"]

    def rows(self) -> list[tuple[Cell, dict[str, Cell]]]:
        """The rows of the matrix: the first cell of each, which describes its prompt, and all of its cells by model."""
        found: dict[tuple[Any, ...], dict[str, Cell]] = {}
        for cell in self.cells:
            found.setdefault(tuple(cell[name] for name in KEY[:-1]), {})[cell["lm"]] = cell
        return [(next(iter(cells.values())), cells) for cells in found.values()]

    def matrix(self, value: str = "accuracy") -> "pd.DataFrame":
        """A value of the cells as a table of prompts x models; NaN where a cell has none.

        Args:
            value: a key of the cells whose values are numbers.
        """
        import pandas as pd

        rows = self.rows()
        index = pd.MultiIndex.from_tuples([tuple(first[name] for name in ROW) for first, _ in rows], names=ROW)
        values = [[cells.get(lm, {}).get(value) for lm in self.lms] for _, cells in rows]
        return pd.DataFrame(values, index, self.lms, dtype=float)


def key_of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names the cell of a line."""
    return tuple(line[name] for name in KEY)


def transfer_of(record: TransferRecord) -> Transfer:
    """The matrix in a folder.

    Raises:
        StudyError: a line of the record is not valid.
    """
    studies = list(record.study["studies"])
    cells = with_statistics(sorted(record.lines(), key=lambda line: (studies.index(line["study"]), line["number"] or 0)))
    return Transfer(record.folder, cells, correlations(cells))


def with_statistics(lines: Iterable[Line]) -> list[Cell]:
    """The cells of a record with these keys besides those of the lines; they are None where there is nothing to compute.

    - `accuracy_interval`: the 95 % bootstrap interval over the test examples, [low, high].
    - `minus_empty`: the accuracy minus that of the empty prompt of the study on the same model, an object with `value`, `low`
      and `high`; the interval is paired: the differences of the examples are redrawn.
    - `minus_source`: the accuracy minus the accuracy of the same prompt (its text or its vectors) on the model of the study,
      with a paired interval as for `minus_empty`.
    - `minus_optimized`: the accuracy minus the accuracy that the study recorded for the optimized token ids or vectors, with a
      paired interval as for `minus_empty`.
    - `rank`: the place of the text among the distinct texts of its study and data split on this model, 1 for the most accurate;
      equal accuracies have their mean place.

    Args:
        lines: the lines of the record; of several lines of one cell, the last one counts.
    """
    cells = list({key_of(line): line for line in lines}.values())
    done = {key_of(cell): cell for cell in cells if cell["status"] == "ok"}
    empty = {(*_group(cell), cell["lm"]): cell for cell in done.values() if is_text(cell) and not cell["prompt_text"]}
    ranks = _ranks(done.values())
    found = []
    for cell in cells:
        if cell["status"] != "ok":
            found.append(cell | dict.fromkeys((*MEASURED, *COMPARED)))
            continue
        correct, home = cell["correct"], cell["source_lm"]
        at_source = done.get((*key_of(cell)[:-1], home)) if cell["lm"] != home else None
        without = empty.get((*_group(cell), cell["lm"]))
        own = bootstrap_mean(_digits(correct))
        found.append(
            cell
            | {
                "accuracy_interval": [own.low, own.high],
                "minus_empty": _difference(correct, without["correct"] if without else None),
                "minus_source": _difference(correct, at_source["correct"] if at_source else None),
                "minus_optimized": _difference(correct, cell["optimized_correct"]),
                "rank": ranks.get((*_group(cell), cell["lm"], cell["prompt_text"])) if is_text(cell) else None,
            }
        )
    return found


def correlations(cells: Sequence[Cell]) -> list[Line]:
    """How alike the model of a study and each other model rank the texts of the study.

    Args:
        cells: the cells with their statistics.

    Returns:
        One object per study, data split and other model: `study`, `split`, `task`, `source_lm`, `lm`; `spearman`, the rank
        correlation of the accuracies of the distinct texts, None with fewer than three of them or where all have the same
        accuracy; `n`, the number of these texts; and `above_empty`, how many of them are better than the empty prompt on this
        model, with the whole interval of `minus_empty` above zero.
    """
    by_group: dict[tuple[Any, ...], dict[str, dict[str, Cell]]] = {}
    for cell in cells:
        if cell["status"] == "ok" and is_text(cell) and cell["number"] is not None:
            by_lm = by_group.setdefault((*_group(cell), cell["task"], cell["source_lm"]), {})
            by_lm.setdefault(cell["lm"], {})[cell["prompt_text"]] = cell
    found = []
    for (study, split, task, source), by_lm in by_group.items():
        for lm, own in by_lm.items():
            if lm == source or source not in by_lm:
                continue
            both = [(by_lm[source][text], cell) for text, cell in own.items() if text in by_lm[source]]
            found.append(
                {
                    **{"study": study, "split": split, "task": task, "source_lm": source, "lm": lm},
                    "spearman": spearman([one["accuracy"] for one, _ in both], [other["accuracy"] for _, other in both]),
                    "n": len(both),
                    "above_empty": sum(bool(cell["minus_empty"]) and cell["minus_empty"]["low"] > 0 for _, cell in both),
                }
            )
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three values, or where one side has a single value.

    >>> spearman([0.1, 0.5, 0.9], [0.2, 0.3, 0.25])
    0.5
    """
    from scipy.stats import spearmanr  # takes half a second to import

    if len(one) < LEAST_PROMPTS or min(one) == max(one) or min(other) == max(other):
        return None
    return float(spearmanr(one, other).statistic)


def is_text(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is that of a text."""
    return bool(cell["prompt_as"] == "text")


def _group(cell: Mapping[str, Any]) -> tuple[str, str]:
    return cell["study"], cell["split"]


def _ranks(cells: Iterable[Cell]) -> dict[tuple[Any, ...], float]:
    """The rank of each text by study, data split, model and text; the empty prompt that a study lacks has none."""
    from scipy.stats import rankdata

    by_group: dict[tuple[Any, ...], dict[str, float]] = {}
    for cell in cells:
        if is_text(cell) and cell["number"] is not None:
            by_group.setdefault((*_group(cell), cell["lm"]), {})[cell["prompt_text"]] = cell["accuracy"]
    return {
        (*group, text): float(rank)
        for group, accuracies in by_group.items()
        for text, rank in zip(accuracies, rankdata([-each for each in accuracies.values()]), strict=True)
    }


def _digits(correct: str) -> np.ndarray:
    return np.array([int(digit) for digit in correct], dtype=float)


def _difference(correct: str, other: str | None) -> dict[str, float] | None:
    """The mean of the differences of two prompts on the same examples, with its interval."""
    if other is None or len(other) != len(correct):
        return None
    found = bootstrap_mean(_digits(correct) - _digits(other))
    return {"value": found.value, "low": found.low, "high": found.high}
