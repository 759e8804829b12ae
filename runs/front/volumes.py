"""Mean hypervolume of the front of each optimizer over the studies of a recipe, and the comparisons with one of them.

    python runs/front/volumes.py out/front-microworld
    python runs/front/volumes.py out/front-microworld-larger --budget 600k
    python runs/front/volumes.py out/front-ablation --first default

A study is named TASK-MODEL or TASK-MODEL-VARIANT. In a recipe whose variants run the same optimizer, the rows are variants
(`--first default`); otherwise they are optimizers, and the variants `fluent`, `long` and `matched` have rows of their own.
With `--budget`, only the variants with that ending count. The intervals are over tasks and seeds, with tasks resampled too;
p-values are those of the paired permutation test over whole tasks, after Holm's correction. If the front of the tasks is
known, a last table has the share of its hypervolume.
"""

import argparse
from pathlib import Path

import numpy as np

from hardprompt.records.schema import run_records
from hardprompt.records.store import Store
from hardprompt.report.studies import StudyRuns
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.comparison import Pair, comparisons
from hardprompt.stats.summaries import mean

OWN_ROW = ("fluent", "long", "matched")
"""Variants whose optimizers also run in another variant of the recipe."""

Volumes = dict[str, dict[tuple[str, str, int], float]]
"""By row, the hypervolume of each task, split and seed."""


def volumes(folder: Path, by_variant: bool, budget: str) -> tuple[Volumes, dict[str, dict[str, float]], dict[str, float]]:
    """The hypervolumes, by row the mean LM tokens and seconds of a task, split and seed, and the known hypervolumes by task."""
    found: Volumes = {}
    spent: dict[str, list[tuple[float, float]]] = {}
    known: dict[str, float] = {}
    for file in sorted(folder.glob("*/study.yaml"), key=lambda file: file.stat().st_mtime):
        store = Store(file.parent)
        if not file.parent.name.endswith(budget) or not store.points():
            continue
        shown = StudyRuns((store.study,), tuple(run_records(store.points())))
        variant = file.parent.name.removeprefix(f"{shown.task}-{shown.lm}").removesuffix(budget).strip("-")
        if shown.found["known"]:
            known[shown.task] = shown.found["known"]["hypervolume"]
        for name, own in shown.hypervolumes.items():
            row = variant if by_variant else f"{name} ({variant})" if variant in OWN_ROW else name
            found.setdefault(row, {}).update({(shown.task, *unit): value for unit, value in own.items()})
            runs = [p for p in shown.runs if p.optimizer == name and p.status == "ok"]
            tokens = sum(p.lm_tokens_forward + p.lm_tokens_backward for p in runs) / len(own)
            spent.setdefault(row, []).append((tokens, sum(p.seconds for p in runs) / len(own)))
    costs = {row: dict(zip(("tokens", "seconds"), np.mean(each, 0).tolist(), strict=True)) for row, each in spent.items()}
    return found, costs, known


def matrix(own: dict[tuple[str, str, int], float], units: list[tuple[str, str, int]]) -> np.ndarray:
    """The hypervolumes of some units as a matrix of tasks and units; every task has as many as the task with the fewest."""
    of_task = {task: [own[unit] for unit in units if unit[0] == task] for task, _, _ in units}
    count = min(map(len, of_task.values()))
    return np.array([values[:count] for values in of_task.values()])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", default="front", help="the row that the others are compared with")
    parser.add_argument("--budget", default="", help="the ending of the variants that count, such as 600k; all by default")
    given = parser.parse_args()
    found, costs, known = volumes(given.folder, given.first != "front", given.budget)
    print("| | hypervolume | tasks x seeds | LM tokens | seconds | " + given.first + " minus it | p after Holm |")
    print("|---|---|---|---|---|---|---|")
    shared = {row: sorted(set(own) & set(found[given.first])) for row, own in found.items()}
    others = [row for row, units in shared.items() if row != given.first and units]
    pairs: list[Pair] = [
        (given.first, matrix(found[given.first], shared[row]), row, matrix(found[row], shared[row])) for row in others
    ]
    compared = dict(zip(others, comparisons(pairs, tasks_too=True), strict=True))
    for row in sorted(found, key=lambda row: -float(np.mean(list(found[row].values())))):
        scores = matrix(found[row], sorted(found[row]))
        value = bootstrap(mean, scores, tasks_too=len(scores) > 1).as_mean()
        tasks, units = scores.shape
        line = f"| {row} | {value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f}) | {tasks} x {units}"
        line += f" | {costs[row]['tokens']:,.0f} | {costs[row]['seconds']:.0f} |"
        if row in compared:
            each = compared[row]
            sign = 1 if each.first == given.first else -1
            ends = sorted(sign * end for end in (each.difference.low, each.difference.high))
            line += f" {sign * each.difference.value:+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f}) | {each.p_corrected:.2g} |"
        else:
            line += " | |"
        print(line)
    if known:
        print("\n| share of the known front | " + " | ".join(known) + " |\n" + "|---" * (len(known) + 1) + "|")
        for row, own in found.items():
            means = {task: np.mean([value for unit, value in own.items() if unit[0] == task] or [np.nan]) for task in known}
            print(f"| {row} | " + " | ".join(f"{means[task] / known[task]:.2f}" for task in known) + " |")


if __name__ == "__main__":
    main()
