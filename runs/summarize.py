"""Summarize several studies: the mean over tasks for each optimizer, and the trade-off of those that ran with all weights.

    python runs/summarize.py hardprompt-out/* [--plot FILE.png]

The value of a task is the mean over splits and seeds. Intervals are 95 % bootstrap intervals over tasks. A task on which random
search reaches an accuracy of 0.8 is too easy to compare optimizers: it is listed and excluded from the means.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from hardprompt import load_points
from hardprompt.records.schema import RunRecord
from hardprompt.report.plot import draw_tradeoff
from hardprompt.stats.bootstrap import bootstrap_mean

TOO_EASY = 0.8


def summarize(points: pd.DataFrame) -> pd.DataFrame:
    """One row per optimizer and weight: means over tasks of the test accuracies, log-perplexities and cost."""
    points = points.assign(ktokens=lambda p: (p.lm_tokens_forward + p.lm_tokens_backward) / 1000)
    columns = ["test_accuracy", "deployed_test_accuracy", "emitted.mean_test_accuracy", "log_perplexity"]
    columns += ["reader_log_perplexity", "ktokens", "seconds"]
    per_task = points.groupby(["optimizer", "weight", "task"], sort=False)[columns].mean()
    table = per_task.groupby(["optimizer", "weight"], sort=False).mean()
    intervals = per_task.test_accuracy.groupby(["optimizer", "weight"], sort=False).apply(
        lambda v: bootstrap_mean(list(v)).as_mean()
    )
    unstacked = intervals.unstack()
    table.insert(1, "low", unstacked["low"])
    table.insert(2, "high", unstacked["high"])
    table.insert(0, "runs", points.groupby(["optimizer", "weight"], sort=False).size())
    return table


def at_every_weight(points: pd.DataFrame) -> pd.DataFrame:
    """The points of those tasks, splits and seeds with which all optimizers ran at all weights, so that the means compare."""
    unit = ["task", "split", "seed"]
    kinds = points.groupby(unit).apply(lambda own: len(own[["optimizer", "weight"]].drop_duplicates()), include_groups=False)
    wanted = len(points[["optimizer", "weight"]].drop_duplicates())
    return points[points.set_index(unit).index.isin(kinds[kinds == wanted].index)]


def trend(points: pd.DataFrame) -> pd.Series:
    """For each optimizer that uses the weight, Spearman's correlation of the weight with the mean log-perplexity over tasks."""
    means = points.groupby(["optimizer", "weight"]).log_perplexity.mean().reset_index()
    swept = means.groupby("optimizer").filter(lambda group: len(group) > 2)
    return swept.groupby("optimizer")[["weight", "log_perplexity"]].apply(lambda g: g.weight.corr(g.log_perplexity, "spearman"))


def known(folders: list[Path]) -> pd.DataFrame:
    """For each study and optimizer the regret and, if the task has a price, the share of the known hypervolume."""
    rows: list[dict[str, Any]] = []
    for folder in folders:
        found = json.loads((folder / "frontier.json").read_text(encoding="utf-8"))
        for name, summary in found["optimizers"].items():
            means = {key: summary[key]["mean"] for key in ("regret", "share_of_known_hypervolume") if key in summary}
            rows.append({"study": folder.name, "optimizer": name, **means})
    table = pd.DataFrame(rows, columns=["study", "optimizer", "regret", "share_of_known_hypervolume"])
    return table.pivot_table(["regret", "share_of_known_hypervolume"], "study", "optimizer", sort=False)


def draw(points: pd.DataFrame, file: Path) -> None:
    """Draw the trade-off of the means over tasks, with one small mark for each seed."""
    values = ["test_accuracy", "deployed_test_accuracy", "deployed_dev_accuracy", "log_perplexity"]
    means = points.groupby(["optimizer", "weight", "split", "seed"], sort=False)[values].mean().reset_index()
    means = means.astype(object).where(means.notna(), None)
    shared = {"task": f"mean of {points.task.nunique()} tasks", "lm": points.lm.iloc[0], "prompt_text": ""}
    shared |= {"status": "ok", "test_correct": ""}
    runs = [RunRecord.model_construct(**point, **shared) for point in means.to_dict("records")]
    draw_tradeoff(runs, {"overall": None, "known": None}, [0.0], file)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python runs/summarize.py")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path, help=".png or .svg file to draw")
    args = parser.parse_args()
    points = pd.concat([load_points(folder) for folder in args.folders])
    points = points[points.status == "ok"]
    by_random = points[points.optimizer == "random"].groupby("task").test_accuracy.mean()
    easy = sorted(by_random[by_random >= TOO_EASY].index)
    counted = points[~points.task.isin(easy)]
    with pd.option_context("display.width", 170, "display.max_columns", None, "display.max_rows", None, "display.precision", 3):
        print(f"means over {counted.task.nunique()} tasks; too easy: {', '.join(easy) or 'none'}")
        print(summarize(counted))
        print("\ntest accuracy by task")
        print(points.pivot_table("test_accuracy", ["optimizer", "weight"], "task", sort=False))
        swept = at_every_weight(counted)
        print(f"\nSpearman correlation of weight and mean log-perplexity over {', '.join(swept.task.unique())}")
        print(trend(swept))
        print("\nthe means there")
        print(summarize(swept))
        print("\nregret, and share of the known hypervolume")
        print(known(args.folders))
    if args.plot:
        draw(swept, args.plot)


if __name__ == "__main__":
    main()
