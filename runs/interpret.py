"""The tables and figures of interpret.md from what wayward.py and says.py left.

    python runs/interpret.py OUT STUDIES FIGURE.png     # OUT: of wayward.py and says.py; STUDIES: of report-tasks.yaml

What a text says is decided as in `hardprompt.metrics.says`; the accuracy-drop rule flags a prompt whose text is right on 0.05
less of test than its vectors.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from hardprompt import load_lm, load_points, load_task
from hardprompt.lm.microworld import world
from hardprompt.metrics import stability
from hardprompt.metrics.says import LEAST_LIFT, lift, readable_limit, said
from hardprompt.optimizers.wayward import LEAST_F1

Row = dict[str, Any]
DROP = 0.05


def read(file: Path) -> list[Row]:
    """The lines of a file; none where it is not there."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def outcome(row: Row) -> str:
    """Of a wayward prompt, from the recorded lifts."""
    says = row["says"]
    if says["reader_nats_per_token"] is None or says["reader_nats_per_token"] > says["readable_up_to"]:
        return "says nothing"
    tasks = said(says["lifts"])
    return "says nothing" if not tasks else "faithful" if row["task"] in tasks else "misleading"


def pairs_table(rows: list[Row]) -> None:
    """Every pair, and what the issue asks of them."""
    if not rows:
        return
    columns = ("task", "target", "gamma", "F1", "unconstrained", "wayward", "drop", "as text", "outcome")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        values = (row["unconstrained_test_accuracy"], row["test_accuracy"], row["relative_accuracy_drop"])
        numbers = " | ".join(f"{value:.3f}" for value in (*values, row["deployed_test_accuracy"]))
        print(f"| {row['task']} | {row['target']} | {row['gamma']:g} | {row['token_f1']:.2f} | {numbers} | {outcome(row)} |")
    good = [row["token_f1"] >= LEAST_F1 and row["relative_accuracy_drop"] <= 0.05 for row in rows]
    drop = mean(row["relative_accuracy_drop"] for row in rows)
    print(f"\n{len(rows)} pairs: mean relative drop {drop:.4f}; F1 >= 0.98 and drop <= 5 %: {sum(good)} of {len(good)}\n")


def gamma_figure(rows: list[Row], file: Path) -> None:
    """Accuracy and token F1 against gamma, means over the pairs."""
    if not rows:
        return
    gammas = sorted({line["gamma"] for row in rows for line in row["grid"]})
    by = {gamma: [line for row in rows for line in row["grid"] if line["gamma"] == gamma] for gamma in gammas}
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shown = [str(gamma) for gamma in gammas]
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


def re_embedded(says: list[Row], studies: Path, limit: float) -> tuple[list[Row], list[Row]]:
    """Hard prompts as vectors, and soft prompts whose projection solves the task too: texts of the studies with an outcome."""
    models = {row["text"]: {} for row in says}
    for row in says:
        models[row["text"]][row["lm"]] = row
    without = models[""]["microworld"]["acc"]
    hard, soft = [], []
    for folder in sorted(file.parent for file in studies.glob("*/study.yaml")):
        for point in load_points(folder).to_dict("records"):
            if point["prompt_text"] not in models or not point["prompt_text"] or point["optimizer"] == "random":
                continue
            read = models[point["prompt_text"]]
            lifts = {name: lift(acc, without[name]) for name, acc in read["microworld"]["acc"].items()}
            tasks = said(lifts) if read["microworld-reader"]["nats"] <= limit else ()
            drop = point["test_accuracy"] - point["deployed_test_accuracy"]
            row = {"outcome": "misleading" if tasks and point["task"] not in tasks else "not", "drop": drop}
            if point["optimizer"] != "soft":
                hard.append(row)
            elif drop <= DROP:
                soft.append(row)
    return hard, soft


def share(values: Iterable[bool]) -> str:
    """`k of n`."""
    found = list(values)
    return f"{sum(found)} of {len(found)}"


def detection_table(pairs: list[Row], alone: list[Row], hard: list[Row], soft: list[Row]) -> None:
    """How often the outcome flags a prompt as misleading, beside the accuracy-drop rule, on the same cases."""
    true = [row for row in alone if " as true " in row["key"]]
    other = [row for row in alone if " as true " not in row["key"]]
    other += [row for row in pairs if row["key"].endswith(" inputs")]
    print("| cases | misleading | drop above 0.05 |\n|---|---|---|")
    for name, rows in (("target names another task", other), ("target is a true definition", true)):
        priced = [row for row in rows if world.TASKS[row["task"]].skill.price]
        for part, group in ((name, rows), (f"{name}, of a task with a price", priced)):
            drops = (row["test_accuracy"] - row["deployed_test_accuracy"] > DROP for row in group)
            print(f"| {part} | {share(outcome(row) == 'misleading' for row in group)} | {share(drops)} |")
    for name, rows in (("hard prompts re-embedded", hard), ("soft prompts whose projection solves the task", soft)):
        flagged = share(row["outcome"] == "misleading" for row in rows)
        print(f"| {name} | {flagged} | {share(row['drop'] > DROP for row in rows)} |")
    unlike = [row for row in other if row["token_f1"] < LEAST_F1]
    print(f"\nof those that name another task, {len(unlike)} do not project to it (F1 < 0.98)\n")


def stability_table(out: Path, studies: Path) -> None:
    """Share of positions that are read as another token, by method: wayward prompts and those of the studies."""
    lm = load_lm("microworld")
    vocab = lm.vocab_embeds.float()
    groups = {
        "wayward": sorted(out.glob("*.safetensors")),
        "vanilla": sorted(file for file in studies.glob("*/soft/*.safetensors")),
    }
    print("| prompts | n | marked positions | methods: share of positions changed |\n|---|---|---|---|")
    for name, files in groups.items():
        found = [stability(load_file(file)["embeds"].float(), vocab) for file in files]
        if found:
            marked = sum(len(each["marked"]) for each in found) / sum(len(each["changed"]["dot"]) for each in found)
            methods = {method: mean(each["mean_changed"][method] for each in found) for method in found[0]["mean_changed"]}
            shown = ", ".join(f"{method} {value:.2f}" for method, value in methods.items() if method != "cosine")
            print(f"| {name} | {len(found)} | {marked:.2f} | {shown} |")


def main() -> None:
    """Print everything in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("studies", type=Path)
    parser.add_argument("figure", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs, alone = read(args.out / "pairs.jsonl"), read(args.out / "detection.jsonl")
    pairs_table(pairs)
    gamma_figure(pairs, args.figure)
    reader = load_lm("microworld-reader")
    limit = readable_limit(reader, [text for name in world.TASKS for text in load_task(name).reference_prompts])
    hard, soft = re_embedded(read(args.out / "says.jsonl"), args.studies, limit)
    print(f"\na task is said at a lift of {LEAST_LIFT}, a text read up to {limit:.2f} nats per token\n")
    detection_table(pairs, alone, hard, soft)
    stability_table(args.out, args.studies)


if __name__ == "__main__":
    main()
