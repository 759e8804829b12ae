"""Which decision rule recognizes what a text asks for? Every text is tested on all tasks of the embedded world.

    python runs/says.py OUT STUDIES

STUDIES is the folder trade-off of `hardprompt reproduce`. OUT/says.jsonl is written once (10 CPU minutes). The rules use the
task LM, the reader, or a list of instructions. Thresholds are chosen on the texts of `tune` tasks and evaluated on those of
`report` tasks. As a positive control, held-out paraphrases should ask for their task. As negative controls, shuffled
paraphrases, projections of soft prompts and random words should ask for nothing.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from hardprompt import load_lm, load_points, load_task
from hardprompt.lm import log_perplexity
from hardprompt.lm.microworld import world
from hardprompt.metrics import token_f1
from hardprompt.metrics.interpretation import readable_limit, relative_gain
from hardprompt.scoring import Scorer

Row = dict[str, Any]
INPUTS = 12


def texts(studies: Path) -> Iterator[tuple[str, str, str]]:
    """(kind, task, text): instructions, paraphrases, wordings of the reader, shuffled ones, and texts that searches found."""
    rng = Random(0)
    yield "empty", "-", ""
    for name, task in world.TASKS.items():
        skill = task.skill
        yield from (("reference", name, text) for text in skill.reference_prompts[:2])
        yield from (("paraphrase", name, text) for text in skill.held_out_prompts[:3])
        yield from (("reader's", name, text) for text in skill.reader_wordings[:1])
        for text in skill.held_out_prompts[:3]:
            yield "shuffled", name, " ".join(rng.sample(text.split(), len(text.split())))
    for folder in sorted(file.parent for file in studies.glob("*/study.yaml")):
        for point in load_points(folder).to_dict("records"):
            if point["optimizer"] in ("pez", "rl", "soft", "random") and point["seed"] == 0:
                yield point["optimizer"], point["task"], point["prompt_text"]


def measure(out: Path, studies: Path) -> None:
    """Write the accuracy of every text on `INPUTS` dev inputs of every task, and its log-perplexity, for both models."""
    asked = list(texts(studies))
    with out.open("w") as lines:
        for name in ("microworld", "microworld-reader"):
            lm = load_lm(name)
            rows: list[Row] = [
                {"lm": name, "kind": kind, "task": task, "text": text, "acc": {}, "loss": {}}
                | {"nats": log_perplexity(lm, lm.encode(text)) if text else None}
                for kind, task, text in asked
            ]
            ids = [lm.encode(row["text"]) for row in rows]
            for candidate in world.TASKS:
                task = load_task(candidate)
                scorer = Scorer(lm, task, task.dev[:INPUTS])
                for start in range(0, len(ids), 40):
                    scores = scorer.score_ids(ids[start : start + 40])
                    for row, right, loss in zip(rows[start:], scores.accuracy, scores.mean_loss, strict=False):
                        row["acc"][candidate], row["loss"][candidate] = float(right), float(loss)
            lines.writelines(json.dumps(row) + "\n" for row in rows)


def decisions(rows: list[Row], limit: float) -> dict[str, Callable[[Row, float], set[str]]]:
    """Rules that decide which tasks a text asks for, from its rows by model and a threshold."""
    empty = {row["lm"]: row for row in rows if row["kind"] == "empty"}

    def done(model: str, pair: Row, least: float) -> set[str]:
        row = pair[model]
        return {name for name, acc in row["acc"].items() if relative_gain(acc, empty[model]["acc"][name]) >= least}

    def likeliest(pair: Row, least: float) -> set[str]:
        loss = pair["microworld-reader"]["loss"]
        without = empty["microworld-reader"]["loss"]
        best = max(loss, key=lambda name: 1 - loss[name] / without[name])
        return {best} if 1 - loss[best] / without[best] >= least else set()

    def listed(pair: Row, least: float) -> set[str]:
        text = pair["microworld"]["text"]
        near = {name: max(token_f1(text, known) for known in world.TASKS[name].skill.reference_prompts) for name in world.TASKS}
        return {name for name, f1 in near.items() if f1 >= least and f1 == max(near.values())}

    def readable(rule: Callable[[Row, float], set[str]]) -> Callable[[Row, float], set[str]]:
        return lambda pair, least: rule(pair, least) if (pair["microworld-reader"]["nats"] or 99) <= limit else set()

    plain: dict[str, Callable[[Row, float], set[str]]] = {
        "task LM": lambda pair, least: done("microworld", pair, least),
        "reader": lambda pair, least: done("microworld-reader", pair, least),
        "reader, likeliest": likeliest,
        "list of instructions": listed,
    }
    return plain | {f"{name}, if readable": readable(rule) for name, rule in plain.items()}


def shares(pairs: list[Row], rule: Callable[[Row, float], set[str]], least: float) -> dict[str, float]:
    """For each kind of text, the share of right decisions: its own task, or no task if the text should ask for nothing.

    The value `misleading` is the share of paraphrases that are assigned to other tasks only.
    """
    found = {}
    for kind in ("reference", "paraphrase", "reader's"):
        group = [pair for pair in pairs if pair["kind"] == kind]
        found[kind] = mean(pair["task"] in rule(pair, least) for pair in group)
    for kind in ("shuffled", "soft", "random", "pez", "rl"):
        group = [pair for pair in pairs if pair["kind"] == kind]
        if group:
            found[kind] = mean(not rule(pair, least) for pair in group)
    others = [pair for pair in pairs if pair["kind"] == "paraphrase"]
    said = [rule(pair, least) for pair in others]
    found["misleading"] = mean(bool(tasks) and pair["task"] not in tasks for pair, tasks in zip(others, said, strict=True))
    return found


def main() -> None:
    """Measure once, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("studies", type=Path)
    args = parser.parse_args()
    file = args.out / "says.jsonl"
    if not file.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        measure(file, args.studies)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    tune = [name for name, task in world.TASKS.items() if task.division == "tune"]
    limit = readable_limit(load_lm("microworld-reader"), [text for name in tune for text in load_task(name).reference_prompts])
    by_text: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        pair = by_text.setdefault((row["kind"], row["task"], row["text"]), {"kind": row["kind"], "task": row["task"]})
        pair[row["lm"]] = row
    pairs = list(by_text.values())
    on_tune, on_report = ([p for p in pairs if (p["task"] in tune) == part] for part in (True, False))
    columns = ("reference", "paraphrase", "reader's", "misleading", "shuffled", "soft", "random", "pez", "rl")
    print(f"readable up to {limit:.2f} nats per token (tune tasks)\n")
    print(f"| decision | threshold | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    for name, rule in decisions(rows, limit).items():
        least = max(
            (step / 20 for step in range(2, 20)),
            key=lambda value: shares(on_tune, rule, value)["paraphrase"] + shares(on_tune, rule, value)["shuffled"],
        )
        read = shares(on_report, rule, least)
        print(f"| {name} | {least:g} | {' | '.join(f'{read[column]:.2f}' for column in columns)} |")


if __name__ == "__main__":
    main()
