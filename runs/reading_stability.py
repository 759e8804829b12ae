"""How many inputs and candidates does a reading need, and does it depend on the seed?

    python runs/reading_stability.py OUT

Trained soft prompts of the reading benchmark (report tasks of the embedded model) are read by `samples` with 2, 4, 8 and 12
inputs, with budgets of 10,000 to 100,000 LM tokens, and with three seeds, which also draw the inputs. Every best text is
measured on the same 32 other inputs. OUT/stability.jsonl holds a line per reading, and the same command resumes.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from hardprompt import HardPrompt, load_lm
from hardprompt.experiments.reading.prompts import load_benchmark
from hardprompt.readings import Examiner, ReadingProblem, load_reader, run_reader
from hardprompt.readings.read import WEIGHT

INPUTS, BUDGETS, SEEDS = (2, 4, 8, 12), (10_000, 30_000, 100_000), (0, 1, 2)
DEFAULT = (12, 100_000)


def settings() -> list[tuple[int, int, int]]:
    """Number of inputs, budget and seed of each reading: one of the first two varies at a time."""
    varied = [(inputs, DEFAULT[1]) for inputs in INPUTS] + [(DEFAULT[0], budget) for budget in BUDGETS[:-1]]
    return [(*each, seed) for each in varied for seed in SEEDS]


def main() -> None:
    """Read what is missing, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "stability.jsonl"
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(line["name"], line["inputs"], line["budget"], line["seed"]) for line in lines}
    lm = load_lm("microworld")
    for each in [prompt for prompt in load_benchmark("microworld") if prompt.kind == "trained" and prompt.division == "report"]:
        task = each.load_task()
        held_out = list(dict.fromkeys(example.input for example in task.dev))[:32]
        examiner = Examiner(ReadingProblem(each.prompt, task, lm, held_out, vocabulary="words"))
        for inputs, budget, seed in settings():
            if (each.name, inputs, budget, seed) in done:
                continue
            different = list(dict.fromkeys(example.input for example in task.train))
            order = torch.randperm(len(different), generator=torch.Generator().manual_seed(seed)).tolist()
            chosen = [different[i] for i in order[:inputs]]
            weight = WEIGHT * examiner.reference
            problem = ReadingProblem(
                each.prompt, task, lm, chosen, weight=weight, vocabulary="words", seed=seed, lm_tokens=budget
            )
            run_reader(load_reader("samples"), problem)
            best = min(problem.candidates, key=lambda candidate: candidate.dev_objective).prompt
            assert isinstance(best, HardPrompt)
            found = examiner.examine(HardPrompt.in_place(lm, problem.template, best.text))
            line = {"name": each.name, "inputs": inputs, "budget": budget, "seed": seed, "text": best.text.strip()}
            line |= {"kl": found.kl.value, "score": found.score, "verdict": found.verdict, "agreement": found.agreement}
            lines.append(line)
            with file.open("a") as opened:
                opened.write(json.dumps(line) + "\n")
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["inputs"], line["budget"]].append(line)
    print("| inputs | LM tokens | readings | faithful | median KL | same verdict for all seeds |\n|---|---|---|---|---|---|")
    for (inputs, budget), group in sorted(groups.items()):
        verdicts = [{line["verdict"] for line in group if line["name"] == name} for name in {line["name"] for line in group}]
        print(
            f"| {inputs} | {budget:,} | {len(group)} | {mean(line['verdict'] == 'faithful' for line in group):.2f} | "
            f"{median(line['kl'] for line in group):.3f} | {mean(len(each) == 1 for each in verdicts):.2f} |"
        )


if __name__ == "__main__":
    main()
