"""The tables of `runs/smollm2.md`: one row per optimizer and weight, and its paired differences to four baselines.

    python runs/smollm2_tables.py OUT [--task TASK] [--plot FILE.png]

OUT is the folder of the recipe `smollm2`, or of one in `runs/smollm2/`. Values are means over splits and seeds. The 95 %
bootstrap intervals redraw the runs (split x seed), and the test examples of each redrawn run. Without a task, a last table has
the means over all tasks; its intervals redraw tasks, and the runs of each redrawn task. The plot has the means over the
classification tasks.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hardprompt.records.store import Store
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import mean

BASELINES = ("empty", "manual", "random", "random-likely")
HEADINGS = ("optimizer", "weight", "n", "test accuracy", "as text", "last prompts", "nats per token", "in place")
CLASSIFICATION = ("sst2", "mr", "agnews")
DRAWN = {
    "manual": ("#222222", "*"),
    "random": ("#888888", "X"),
    "random-likely": ("#4aa3df", "v"),
    "soft": ("#c56fa8", "D"),
    "pez": ("#0c6db0", "o"),
    "rl": ("#d55e00", "s"),
    "rl (fluent)": ("#e0a000", "^"),
}
"""The color and the marker of each row in the plot."""
UNIT = ["task", "split", "seed"]


def runs(folder: Path) -> pd.DataFrame:
    """The successful runs of all studies of the recipe, with the name of the variant behind that of the optimizer."""
    rows = []
    for file in sorted(folder.glob("*/study.yaml")):
        for point in Store(file.parent).points():
            if point["status"] == "ok":
                variant = file.parent.name.removeprefix(f"{point['task']}-{point['lm']}").removeprefix("-")
                name = point["optimizer"] if variant in ("", "main") else f"{point['optimizer']} ({variant})"
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


def draw(found: pd.DataFrame, file: Path) -> None:
    """Draw the mean accuracy of the texts against their mean log-perplexity, with a line from a soft prompt to its text."""
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    tasks = found.groupby(["optimizer", "weight", "task"])[["log_perplexity", "deployed_test_accuracy", "test_accuracy"]].mean()
    means = tasks.groupby(["optimizer", "weight"]).mean()
    axes.axhline(means.loc[("empty", 0.0)].test_accuracy, color="#888888", linestyle="--", linewidth=1, label="empty prompt")
    for name, (color, marker) in DRAWN.items():
        own = means.loc[name]
        axes.plot(own.log_perplexity, own.deployed_test_accuracy, color=color, marker=marker, markersize=8, label=name)
        if len(own) > 1:
            for weight, at in own.iterrows():
                place = (at.log_perplexity, at.deployed_test_accuracy)
                axes.annotate(f"w={weight:g}", place, (0, 8), textcoords="offset points", ha="center", color=color, fontsize=8)
        if name == "soft":
            [at] = own.itertuples()
            axes.annotate(
                "",
                (at.log_perplexity, at.deployed_test_accuracy),
                (at.log_perplexity, at.test_accuracy),
                arrowprops={"arrowstyle": "->", "color": color},
            )
            axes.plot(at.log_perplexity, at.test_accuracy, marker=marker, markersize=8, color=color, fillstyle="none")
            axes.annotate(" as vectors", (at.log_perplexity, at.test_accuracy), color=color, fontsize=8, va="bottom")
    axes.invert_xaxis()
    axes.set_xlabel("log-perplexity of the prompt, nats per token (right: more readable)")
    axes.set_ylabel("test accuracy of the prompt as text")
    axes.set_title(f"mean of {found.task.nunique()} classification tasks on SmolLM2-135M-Instruct", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=130)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", help="only the table of this task")
    parser.add_argument("--plot", type=Path, help=".png or .svg file to draw")
    given = parser.parse_args()
    found = runs(given.folder)
    for task in [given.task] if given.task else found.task.unique():
        print(f"\n## {task}\n", *table(found[found.task == task], over_tasks=False), sep="\n")
    if not given.task:
        print("\n## Mean over tasks\n", *table(found, over_tasks=True), sep="\n")
    if given.plot:
        draw(found[found.task.isin(CLASSIFICATION)], given.plot)


if __name__ == "__main__":
    main()
