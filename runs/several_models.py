"""Is a prompt that was searched for two models better on the second one than a prompt that was searched for the first alone?

    python runs/several_models.py OUT

`front` searches prompts for `microworld` alone, and for `microworld` and `microworld-reader` (another vocabulary), on tune
tasks of the embedded world, with equal budgets of LM tokens. The prompt with the lowest objective on dev is measured as text on
test, under each of the two models. OUT/several.jsonl holds a line per run, and the same command resumes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import hardprompt as hp
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.summaries import mean

LMS = ("microworld", "microworld-reader")
TASKS, SEEDS, BUDGET = ("category", "plural", "place", "participle", "continent"), (0, 1), 20_000
SEARCHED = {"the first alone": 1, "both": 2}
"""The number of models that are searched for."""


def main() -> None:
    """Run what is missing, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "several.jsonl"
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(line["searched"], line["task"], line["seed"]) for line in lines}
    lms = [hp.load_lm(name) for name in LMS]
    for seed in SEEDS:
        for task in map(hp.load_task, TASKS):
            for searched, count in SEARCHED.items():
                if (searched, task.name, seed) in done:
                    continue
                best = hp.optimize(task, lms[:count], "front", seed=seed, lm_tokens=BUDGET).best.prompt
                assert isinstance(best, hp.HardPrompt)
                scores = {lm.name: hp.Scorer(lm, task, task.test).score_text(best.text) for lm in lms}
                lines.append({"searched": searched, "task": task.name, "seed": seed, "text": best.text})
                lines[-1] |= {f"loss {name}": float(each.mean_loss) for name, each in scores.items()}
                lines[-1] |= {f"accuracy {name}": float(each.accuracy) for name, each in scores.items()}
                with file.open("a") as record:
                    record.write(json.dumps(lines[-1]) + "\n")
    print(f"| on test | {' | '.join(SEARCHED)} | difference (95 % interval) |\n|---|---|---|---|")
    for key in (f"{measure} {name}" for measure in ("accuracy", "loss") for name in LMS):
        alone, both = (matrix(lines, searched, key) for searched in SEARCHED)
        difference = bootstrap(mean, both - alone)
        print(f"| {key} | {alone.mean():.3f} | {both.mean():.3f} | {difference} |")


def matrix(lines: list[dict[str, Any]], searched: str, key: str) -> np.ndarray:
    """The values of a key, (tasks, seeds)."""
    values = {(line["task"], line["seed"]): line[key] for line in lines if line["searched"] == searched}
    return np.array([[values[task, seed] for seed in SEEDS] for task in TASKS])


if __name__ == "__main__":
    main()
