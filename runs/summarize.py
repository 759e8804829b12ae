"""A table over several studies: the mean over tasks of each optimizer, at each weight.

    python runs/summarize.py hardprompt-out/*

Per task a value is the mean over splits and seeds; the interval is a 95 % bootstrap over tasks.
"""

import sys

import pandas as pd

from hardprompt import load_points
from hardprompt.study.frontier import bootstrap_mean


def summarize(points: pd.DataFrame) -> pd.DataFrame:
    """One row per optimizer and weight: means over tasks of the test accuracies, log-perplexity and cost."""
    points = points[points.status == "ok"].assign(ktokens=lambda p: (p.lm_tokens_forward + p.lm_tokens_backward) / 1000)
    columns = ["test_accuracy", "deployed_test_accuracy", "emitted.mean_test_accuracy", "log_perplexity", "ktokens", "seconds"]
    per_task = points.groupby(["optimizer", "weight", "task"], sort=False)[columns].mean()
    table = per_task.groupby(["optimizer", "weight"], sort=False).mean()
    intervals = per_task.test_accuracy.groupby(["optimizer", "weight"], sort=False).apply(lambda v: bootstrap_mean(list(v)))
    unstacked = intervals.unstack()
    table.insert(1, "low", unstacked["low"])
    table.insert(2, "high", unstacked["high"])
    return table


if __name__ == "__main__":
    every = pd.concat([load_points(folder) for folder in sys.argv[1:]])
    with pd.option_context("display.width", 160, "display.max_columns", None, "display.precision", 3):
        print(f"{every.task.nunique()} tasks, {every.seed.nunique()} seeds, means over tasks")
        print(summarize(every))
        print("\ntest accuracy by task")
        print(every[every.status == "ok"].pivot_table("test_accuracy", ["optimizer", "weight"], "task", sort=False))
