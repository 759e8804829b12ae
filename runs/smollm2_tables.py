"""The tables of `runs/smollm2.md`: one row per optimizer and weight, and its paired differences to four baselines.

    python runs/smollm2_tables.py OUT [--task TASK]

OUT is the folder of the recipe `smollm2`. Values are means over splits and seeds. The 95 % bootstrap intervals redraw the runs
(split x seed), and the test examples of each redrawn run. Without a task, a last table has the means over all tasks; its
intervals redraw tasks, and the runs of each redrawn task.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from hardprompt.records.store import Store
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import mean

BASELINES = ("empty", "manual", "random", "random-likely")
HEADINGS = ("optimizer", "weight", "n", "test accuracy", "as text", "last prompts", "nats per token", "in place")
UNIT = ["task", "split", "seed"]


def runs(folder: Path) -> pd.DataFrame:
    """The successful runs of all studies of the recipe, with the name of the variant in front of the optimizer."""
    rows = []
    for file in sorted(folder.glob("*/study.yaml")):
        for point in Store(file.parent).points():
            if point["status"] == "ok":
                variant = file.parent.name.removeprefix(f"{point['task']}-{point['lm']}-")
                name = point["optimizer"] if variant == "main" else f"{point['optimizer']} ({variant})"
                emitted = (point["emitted"] or {}).get("mean_test_accuracy")
                correct = np.array([digit == "1" for digit in point["test_correct"]], dtype=float)
                rows.append(point | {"optimizer": name, "last": emitted, "correct": correct})
    return pd.DataFrame(rows)


def difference(own: pd.DataFrame, other: pd.DataFrame, over_tasks: bool) -> Estimate | None:
    """Mean accuracy of some runs minus that of the runs of a baseline on the same task, split, seed and examples."""
    paired = own.merge(other[[*UNIT, "correct"]], on=UNIT, suffixes=("", "_other"))
    gaps = [one - two for one, two in zip(paired.correct, paired.correct_other, strict=True)]
    if not gaps:
        return None
    if over_tasks:
        gaps = [np.array([gaps[i].mean() for i in places]) for places in paired.groupby("task").indices.values()]
    scores = np.full((len(gaps), max(map(len, gaps))), np.nan)
    for row, gap in zip(scores, gaps, strict=True):
        row[: len(gap)] = gap
    return bootstrap(mean, scores, tasks_too=True)


def table(found: pd.DataFrame, over_tasks: bool) -> Iterable[str]:
    """The rows of a table in Markdown."""
    yield f"| {' | '.join([*HEADINGS, *(f'minus {name}' for name in BASELINES)])} |"
    yield "|---" * (len(HEADINGS) + len(BASELINES)) + "|"
    order = [*BASELINES, "soft", "pez", "pez (autoprompt-sgd)", "rl", "rl (fluent)", "rl (two)"]
    for name in sorted(found.optimizer.unique(), key=order.index):
        for weight, own in found[found.optimizer == name].groupby("weight"):
            columns = ["test_accuracy", "deployed_test_accuracy", "last", "log_perplexity", "log_perplexity_in_place"]
            values = own.groupby("task")[columns].mean().mean()
            cells = [name, f"{weight:g}", str(len(own)), *(f"{values[each]:.3f}" for each in columns[:3])]
            cells += [f"{values[each]:.2f}" for each in columns[3:]]
            for baseline in BASELINES:
                gap = None if name == baseline else difference(own, found[found.optimizer == baseline], over_tasks)
                cells.append("" if gap is None else f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")
            yield f"| {' | '.join(cells).replace('nan', '')} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", help="only the table of this task")
    given = parser.parse_args()
    found = runs(given.folder)
    for task in [given.task] if given.task else found.task.unique():
        print(f"\n## {task}\n", *table(found[found.task == task], over_tasks=False), sep="\n")
    if not given.task:
        print("\n## Mean over tasks\n", *table(found, over_tasks=True), sep="\n")


if __name__ == "__main__":
    main()
