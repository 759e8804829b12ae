"""Print the tables and draw the figures of interpret.md from the records of wayward.py and says.py.

    python runs/interpret.py OUT RECORDS FIGURES

OUT is the folder of wayward.py and says.py. RECORDS is the folder of `hardprompt reproduce` (recipes trade-off, wayward and
wayward-sizes).

`hardprompt.metrics.interpretation` decides which tasks a text asks for; the readability limit is chosen on `tune` tasks only.
The accuracy-drop rule flags a prompt if the test accuracy of its text is more than 0.05 below that of its vectors.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from hardprompt import Scorer, SoftPrompt, load_lm, load_points, load_task
from hardprompt.experiments.wayward.grid import MIN_TOKEN_F1
from hardprompt.experiments.wayward.pairs import OWN
from hardprompt.lm.microworld import world
from hardprompt.metrics import stability
from hardprompt.metrics.interpretation import (
    LEAST_DROP,
    LEAST_GAIN,
    TaskJudge,
    Verdict,
    is_flagged,
    readable_limit,
    relative_gain,
    requested_tasks,
)
from hardprompt.metrics.soft_prompt_readings import soft_prompt_readings

Row = dict[str, Any]


def read(file: Path) -> list[Row]:
    """The lines of a JSON Lines file; an empty list if the file does not exist."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def outcome(row: Row, limit: float) -> Verdict:
    """The outcome of a wayward prompt, from the recorded lifts."""
    says = row["says"]
    readable = says["reader_nats_per_token"] is not None and says["reader_nats_per_token"] <= limit
    return outcome_of(requested_tasks(says["lifts"]) if readable else (), row["task"])


def outcome_of(tasks: tuple[str, ...], solved: str) -> Verdict:
    """The outcome of a text that asks for some tasks, for a prompt that solves one task."""
    return "says nothing" if not tasks else "faithful" if solved in tasks else "misleading"


def pairs_table(rows: list[Row], limit: float) -> None:
    """Print a table of all pairs, and the number of pairs that meet the criteria."""
    if not rows:
        return
    columns = ("task", "target", "gamma", "F1", "unconstrained", "wayward", "drop", "as text", "outcome")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        values = (row["unconstrained_test_accuracy"], row["test_accuracy"], row["relative_accuracy_drop"])
        numbers = " | ".join(f"{value:.3f}" for value in (*values, row["deployed_test_accuracy"]))
        chosen = f"{row['gamma']:g} | {row['token_f1']:.2f}"
        print(f"| {row['task']} | {row['target']} | {chosen} | {numbers} | {outcome(row, limit)} |")
    good = [row["token_f1"] >= MIN_TOKEN_F1 and row["relative_accuracy_drop"] <= 0.05 for row in rows]
    drop = mean(row["relative_accuracy_drop"] for row in rows)
    print(f"\n{len(rows)} pairs: mean relative drop {drop:.4f}; F1 >= 0.98 and drop <= 5 %: {sum(good)} of {len(good)}\n")


def gamma_figure(rows: list[Row], file: Path) -> None:
    """Print and plot accuracy and token F1 for each gamma, as means over the pairs."""
    if not rows:
        return
    gammas = sorted({line["gamma"] for row in rows for line in row["grid"]})
    by = {gamma: [line for row in rows for line in row["grid"] if line["gamma"] == gamma] for gamma in gammas}
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shown = [f"{gamma:g}" for gamma in gammas]
    print("| gamma | prompts | test accuracy | token F1 | squared distance |\n|---|---|---|---|---|")
    for gamma in gammas:
        values = [mean(line[name] for line in by[gamma]) for name in ("test_accuracy", "token_f1", "distance")]
        print(f"| {gamma:g} | {len(by[gamma])} | {' | '.join(f'{value:.3f}' for value in values)} |")
    for name, color in (("test_accuracy", "#0072b2"), ("token_f1", "#d55e00")):
        axes.plot(shown, [mean(line[name] for line in by[gamma]) for gamma in gammas], marker="o", color=color, label=name)
    axes.set_xlabel("gamma (nats per squared embedding unit)")
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False)
    axes.set_title(f"what being drawn to a text costs ({len(rows)} prompts)", loc="left")
    figure.savefig(file, dpi=120)


def re_embedded(says: list[Row], studies: Path, limit: float) -> list[Row]:
    """Hard prompts as vectors: texts that PEZ, RL and people wrote for a task, with the outcome of their readings."""
    models = {row["text"]: {} for row in says}
    for row in says:
        models[row["text"]][row["lm"]] = row
    without = models[""]["microworld"]["acc"]
    found = []
    for folder in sorted(file.parent for file in studies.glob("*/study.yaml")):
        for point in load_points(folder).to_dict("records"):
            if point["prompt_text"] not in models or not point["prompt_text"] or point["optimizer"] in ("random", "soft"):
                continue
            read = models[point["prompt_text"]]
            lifts = {name: relative_gain(acc, without[name]) for name, acc in read["microworld"]["acc"].items()}
            tasks = requested_tasks(lifts) if read["microworld-reader"]["nats"] <= limit else ()
            found.append({"outcome": outcome_of(tasks, point["task"]), "drop": drop(point)})
    return found


def share(values: Iterable[bool]) -> str:
    """How many values are true, as the text `k of n`."""
    found = list(values)
    return f"{sum(found)} of {len(found)}"


def detection_table(pairs: list[Row], alone: list[Row], hard: list[Row], limit: float) -> None:
    """Print how often the outcome and the accuracy-drop rule flag a prompt, on the same cases."""
    named = [row for row in alone if " as " in row["key"] and " as true " not in row["key"]]
    named += [row for row in pairs if row["kind"].endswith(" inputs")]
    started = [row for row in alone if " from " in row["key"]]
    cases = {
        "target names another task": named,
        "... but those whose target solves the task as well": [row for row in named if drop(row) > LEAST_DROP],
        "target is a true definition": (true := [row for row in alone if " as true " in row["key"]]),
        "... of a task with a price": [row for row in true if world.TASKS[row["task"]].skill.price],
        "soft prompts whose projection solves the task": [row for row in started if drop(row) <= LEAST_DROP],
    }
    print("| cases | misleading | drop above 0.05 | flagged |\n|---|---|---|---|")
    for name, rows in cases.items():
        print(f"| {name} | {caught([(outcome(row, limit), drop(row)) for row in rows])} |")
    print(f"| hard prompts re-embedded | {caught([(row['outcome'], row['drop']) for row in hard])} |\n")


def caught(cases: list[tuple[Verdict, float]]) -> str:
    """How many cases (outcome, drop) each rule flags."""
    rules = (lambda o, d: o == "misleading", lambda o, d: d > LEAST_DROP, is_flagged)
    return " | ".join(share(rule(*case) for case in cases) for rule in rules)


def drop(row: Row) -> float:
    """The accuracy that a soft prompt loses when its text is used instead of its vectors."""
    return float(row["test_accuracy"] - row["deployed_test_accuracy"])


def curve_table(rows: list[Row], what: str, figure: Path) -> None:
    """Print accuracy, F1 and distance for each length or model and each gamma, and plot accuracy against gamma."""
    if not rows:
        return
    lines = [{"task": row["task"], "group": group(row, what)} | line for row in rows for line in row["grid"]]
    found = pd.DataFrame(lines).groupby(["group", "gamma"], sort=False)[["test_accuracy", "token_f1", "distance"]].mean()
    own = pd.DataFrame([{"group": group(row, what), "drop": row["relative_accuracy_drop"]} for row in rows]).groupby("group")
    print(f"| {what} | gamma | test accuracy | token F1 | squared distance | relative drop of the chosen |\n|{'---|' * 6}")
    drawn = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = drawn.add_subplot()
    for name, part in found.groupby(level="group", sort=False):
        for (_, gamma), line in part.iterrows():
            print(f"| {name} | {gamma:g} | {' | '.join(f'{v:.3f}' for v in line)} | {own.get_group(name)['drop'].mean():.3f} |")
        gammas = [f"{gamma:g}" for gamma in part.index.get_level_values("gamma")]
        axes.plot(gammas, part.test_accuracy, marker="o", label=f"{name}: accuracy")
        axes.plot(gammas, part.token_f1, marker=".", linestyle=":", color=axes.lines[-1].get_color(), label=f"{name}: F1")
    axes.set_xlabel("gamma (nats per squared embedding unit)")
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, fontsize="small", ncols=2)
    axes.set_title(f"effect of the {what}", loc="left")
    drawn.savefig(figure, dpi=120)
    print()


def group(row: Row, what: str) -> str:
    """The group of a row: the length in its key, such as `4 words`, or its model."""
    return str(row["key"].removeprefix(row["task"]).strip() if what == "length" else row["lm"])


def one_text_figure(rows: list[Row], file: Path) -> None:
    """Plot the accuracies of soft prompts for several tasks that project to one text, and those of the text."""
    same = [row for row in rows if row["kind"] == "prose" and row["token_f1"] >= MIN_TOKEN_F1]
    if not same:
        return
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(same))
    axes.barh([p - 0.2 for p in places], [row["test_accuracy"] for row in same], 0.36, color="#0072b2", label="the vectors")
    axes.barh(
        [p + 0.2 for p in places], [row["deployed_test_accuracy"] for row in same], 0.36, color="#d55e00", label="their text"
    )
    axes.set_yticks(list(places), [row["task"] for row in same])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("test accuracy on its own task")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    figure.suptitle(f'{len(same)} soft prompts, one reading: "{same[0]["projection"]}"', fontsize="medium")
    figure.savefig(file, dpi=120)


def stability_table(pairs: list[Row], records: Path, limit: float) -> None:
    """Print the share of positions that another method reads as another token, and of prompts with another outcome then."""
    lm, reader = load_lm("microworld"), load_lm("microworld-reader")
    vocab, every = lm.vocab_embeds.float(), torch.arange(len(lm.vocab_embeds))
    judge = TaskJudge(lm, [load_task(name) for name in world.TASKS], reader)
    judge.limit = limit
    reached = [row for row in pairs if row["token_f1"] >= MIN_TOKEN_F1]
    groups = {
        "wayward": [(row["task"], records / "wayward" / row["file"]) for row in reached],
        "vanilla": [
            (folder.name.split("-microworld")[0], file)
            for folder in sorted(found.parent for found in (records / "trade-off").glob("*/study.yaml"))
            for file in sorted(folder.glob("soft/*.safetensors"))
        ],
    }
    print("| prompts | n | marked positions | method | positions changed | outcome changed |\n|---|---|---|---|---|---|")
    for name, files in groups.items():
        firm, other = [], []
        for task, file in files:
            embeds = load_file(file)["embeds"].float()
            firm.append(stability(embeds, vocab))
            lines = soft_prompt_readings(SoftPrompt(embeds), Scorer(lm, load_task(task), load_task(task).dev), judge, every)
            by_method: Row = {}
            for line in lines:
                for method, part in line["methods"].items():
                    by_method.setdefault(method, []).append((part, line["outcome"]))
            usual = by_method["cosine"][0][1]
            other.append({method: sum(part for part, o in its if o != usual) for method, its in by_method.items()})
        marked = sum(len(each["marked"]) for each in firm) / sum(len(each["changed"]["dot"]) for each in firm)
        for method in other[0]:
            changed = mean(each["mean_changed"][method] for each in firm)
            says = mean(each[method] for each in other)
            print(f"| {name} | {len(files)} | {marked:.2f} | {method} | {changed:.2f} | {says:.2f} |")


def main() -> None:
    """Print all tables in Markdown, and draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("figures", type=Path, help="folder to which the figures are written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tune = [name for name, task in world.TASKS.items() if task.division == "tune"]
    limit = readable_limit(load_lm("microworld-reader"), [text for name in tune for text in load_task(name).reference_prompts])
    pairs, alone = read(args.records / "wayward" / "wayward.jsonl"), read(args.out / "detection.jsonl")
    studies = args.records / "trade-off"
    pairs_table([row for row in pairs if row["kind"] != OWN], limit)
    gamma_figure(pairs, args.figures / "interpret-gamma.png")
    one_text_figure(pairs, args.figures / "interpret-one-text.png")
    curve_table(read(args.out / "lengths.jsonl"), "length", args.figures / "interpret-length.png")
    curve_table(read(args.records / "wayward-sizes" / "wayward.jsonl"), "size", args.figures / "interpret-size.png")
    hard = re_embedded(read(args.out / "says.jsonl"), studies, limit)
    print(f"\na task is said at a relative gain of {LEAST_GAIN}, a text read up to {limit:.2f} nats per token\n")
    detection_table(pairs, alone, hard, limit)
    stability_table(pairs, args.records, limit)


if __name__ == "__main__":
    main()
