"""Does the policy learn? Test accuracy against LM tokens for each RL optimizer and for random search over the same actions.

    python runs/rl_curves.py OUT [--jobs 2] [--seeds 0,1,2] [--tasks ...]

Every finished run adds lines to OUT/runs.jsonl. The same command resumes an interrupted script, and prints the tables of all
recorded runs. The grid was fixed before the first run. A method whose settings do not depend on the number of prompts is run
once with the largest number, and its results with fewer prompts are taken from that run. PPO anneals its entropy bonus over the
run, so it is run for each number of prompts.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.summaries import mean

TASKS = ("opposite", "past-tense", "first-letter-lower", "superlative", "capital", "review-return")
PROMPTS = (64, 256, 1024, 4096)
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("rl", {"learning_rate": 0.0}),
    "default": ("rl", {}),
    "soft-q": ("rlprompt", {}),
}
"""The compared methods. Random search is a policy that does not learn: it has the same actions, examples, rollouts and
evaluations on dev. The default is PPO."""

ANYTIME = ("random", "soft-q")
EMITTED = 20


def work(task: str, arm: str, seed: int, budget: int) -> list[dict[str, Any]]:
    """Make one run, and return a line for each number of prompts at which its result is known."""
    import torch

    import hardprompt as hp

    torch.set_num_threads(1)
    problem = hp.Problem(hp.load_task(task), hp.load_lm("microworld"), seed=seed)
    name, options = ARMS[arm]
    found = hp.load_optimizer(name)
    started = time.process_time()
    result = hp.run_optimizer(found, problem, found.configure({"episodes": budget, **options}))
    seconds = time.process_time() - started
    rollout = result.config["rollout"]
    test = hp.Scorer(problem.lm, problem.task, problem.task.test)
    emitted = [prompt.ids for prompt in result.final_prompts]
    spread = [emitted[i] for i in np.linspace(0, len(emitted) - 2, min(EMITTED, len(emitted) - 1)).astype(int)]
    at_end = {
        "emitted_accuracy": float(test.score_ids(spread).accuracy.mean()),
        "greedy_accuracy": float(test.score_ids(emitted[-1:]).accuracy),
        "greedy_repeated": len(set(emitted[-1])) == 1,
        "emitted_repeated": float(np.mean([len(set(ids)) == 1 for ids in emitted[:-1]])),
        "greedy": problem.lm.decode(emitted[-1]),
    }
    lines = []
    for prompts in PROMPTS if arm in ANYTIME else (budget,):
        own = result.candidates if prompts == budget else result.candidates[: prompts // rollout]
        best = min(own, key=lambda candidate: candidate.dev_objective)
        line = {
            "task": task, "arm": arm, "seed": seed, "prompts": prompts, "lm_tokens": own[-1].lm_tokens,
            "test_accuracy": float(test.score_ids([best.prompt.ids]).accuracy),
            "dev_objective": best.dev_objective, "prompt": best.prompt.text,
        }  # fmt: skip
        lines.append(line | ({"cpu_seconds": round(seconds, 2), **at_end} if prompts == budget else {}))
    return lines


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values (tasks, seeds), from a bootstrap of tasks and of seeds within tasks."""
    found = bootstrap(mean, values, tasks_too=True, draws=10_000)
    return found.low, found.high


def show(lines: pd.DataFrame) -> None:
    """Print the tables, over the tasks and seeds that all methods have finished."""
    whole = lines.groupby(["task", "seed"]).size() == len(ARMS) * len(PROMPTS)
    lines = lines.set_index(["task", "seed"]).loc[whole[whole].index].reset_index()
    if lines.empty:
        print("no task is finished with all arms yet")
        return
    seeds = lines.groupby("task").seed.nunique().min()
    lines = lines[lines.seed.isin(sorted(lines.seed.unique())[:seeds])]
    print(f"{lines.task.nunique()} tasks, {seeds} seeds")
    cells = {
        key: own.pivot(index="task", columns="seed", values="test_accuracy") for key, own in lines.groupby(["arm", "prompts"])
    }
    rows = []
    for (arm, prompts), own in lines.groupby(["arm", "prompts"], sort=False):
        values = cells[arm, prompts].to_numpy()
        low, high = interval(values)
        row = {"arm": arm, "prompts": prompts, "ktokens": own.lm_tokens.mean() / 1000, "test": values.mean()}
        rows.append(row | {"low": low, "high": high} | own[["emitted_accuracy", "greedy_accuracy", "greedy_repeated",
                    "emitted_repeated", "cpu_seconds"]].astype(float).mean().to_dict())  # fmt: skip
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))
    for other in (arm for arm in ARMS if arm != "default"):
        for prompts in PROMPTS:
            difference = (cells["default", prompts] - cells[other, prompts]).to_numpy()
            print(f"default - {other} at {prompts}: %+.3f (%+.3f to %+.3f)" % (difference.mean(), *interval(difference)))
    print(lines[lines.prompts == PROMPTS[-1]].pivot_table("test_accuracy", "arm", "task").to_string(float_format="%.3f"))


def main() -> None:
    """Make the missing runs, and print the tables."""
    parser = argparse.ArgumentParser(prog="python runs/rl_curves.py")
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tasks", default=",".join(TASKS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "runs.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(line["task"], line["arm"], line["seed"], line["prompts"]) for line in known}
    wanted = [
        (task, arm, seed, budget)
        for seed, task, arm in product(map(int, args.seeds.split(",")), args.tasks.split(","), ARMS)
        for budget in ((PROMPTS[-1],) if arm in ANYTIME else PROMPTS)
        if (task, arm, seed, budget) not in done
    ]
    with ProcessPoolExecutor(args.jobs) as pool, file.open("a", encoding="utf-8") as out:
        for lines in pool.map(work, *zip(*wanted, strict=True)) if wanted else ():
            out.write("".join(json.dumps(line) + "\n" for line in lines))
            out.flush()
            known += lines
    show(pd.DataFrame(known))


if __name__ == "__main__":
    main()
