"""Train wayward prompts for interpret.md, in addition to those of `hardprompt reproduce khashabi`.

    python runs/wayward.py OUT detection|lengths...

The result of each prompt is a line and a file of vectors. Prompts that are already recorded are not trained again.

`detection`: for all report tasks, prompts with targets that ask for the task and prompts with targets that ask for another
task, at the smallest gamma of 0.3, 3 and 30 that reaches the target; and prompts that only start at an instruction. `lengths`:
prompts whose targets are 2 to 16 words of prose.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from hardprompt import FrozenLM, Problem, Scorer, load_lm, load_task
from hardprompt.experiments.wayward.grid import MIN_TOKEN_F1, WaywardGrid, best_checkpoint, train_checkpoints
from hardprompt.experiments.wayward.run import default_judge, wayward
from hardprompt.lm.microworld import world
from hardprompt.metrics.interpretation import TaskJudge
from hardprompt.optimizers.wayward import target_prompt
from hardprompt.tasks.microworld import TASKS

SIX = ("past-tense", "opposite", "capital", "country-of-landmark", "to-positive", "review-return")
REPORT = (*SIX, "first-letter-lower", "passage-answer", "superlative", "currency")
SCHEDULE = {"steps": 60, "batch_size": 8, "evaluate_every": 20, "learning_rate": 0.03}
LONG_TEXT = "the old man walked down to the river and sat under a tree with his dog"

Request = tuple[str, str, str, tuple[float, ...]]
"""The key, the task, the target and the gammas of a prompt."""


def detection() -> Iterator[Request]:
    """The prompts of `detection`.

    The targets for each report task are a held-out paraphrase, a reference prompt of another task, a reference prompt, and a
    held-out paraphrase of another task. Then come soft prompts that start at a reference prompt and at a paraphrase.
    """
    names = list(TASKS)
    for turn in range(4):
        for number, name in enumerate(REPORT):
            other = names[(7 * number + 9 * turn + 3) % len(names)]
            other = other if other != name else names[(7 * number + 9 * turn + 4) % len(names)]
            skill, its = world.TASKS[name].skill, world.TASKS[other].skill
            kind, text = (
                ("true", skill.held_out_prompts[0]),
                (other, its.reference_prompts[0]),
                ("true", skill.reference_prompts[0]),
                (other, its.held_out_prompts[0]),
            )[turn]
            yield f"{name} as {kind} {turn}", name, text, (0.3, 3.0, 30.0)
    for name in REPORT:
        skill = world.TASKS[name].skill
        for turn, text in enumerate((skill.reference_prompts[0], skill.held_out_prompts[1])):
            yield f"{name} from {turn}", name, text, (0.0,)


def lengths() -> Iterator[Request]:
    """The prompts of `lengths`, whose targets are the first 2, 4, 8 and 16 words of one sentence."""
    for name in SIX[:2]:
        for count in (2, 4, 8, 16):
            yield f"{name} {count} words", name, " ".join(LONG_TEXT.split()[:count]), (0.3, 3.0)


STUDIES = {"detection": detection, "lengths": lengths}


def alone(lm: FrozenLM, name: str, target: str, gammas: tuple[float, ...], judge: TaskJudge) -> tuple[dict[str, Any], Tensor]:
    """Train a wayward prompt at the smallest gamma that reaches the target, and measure it without an unconstrained prompt."""
    task = load_task(name)
    goal = target_prompt(lm, task.template, target)
    for gamma in gammas:
        problem = Problem(task, lm, prompt_length=len(goal.ids), vocabulary="all")
        best = best_checkpoint(train_checkpoints(problem, goal, gamma, WaywardGrid(**SCHEDULE)))
        if best.token_f1 >= MIN_TOKEN_F1:
            break
    test, text = Scorer(lm, task, task.test), lm.decode(best.projection)
    found = {
        "task": name,
        "target": target,
        "gamma": best.gamma,
        "projection": text,
        "token_f1": best.token_f1,
        "test_accuracy": float(test.score_embeds(best.embeds).accuracy),
        "deployed_test_accuracy": float(test.score_text(text).accuracy),
        "says": judge.interpret(text).as_json(name),
    }
    return found, best.embeds


def main() -> None:
    """Train the prompts that are not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("study", choices=STUDIES, nargs="+")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lm = load_lm("microworld")
    judge = default_judge(load_task(SIX[0]), lm, load_lm("microworld-reader"))
    for study in args.study:
        file = args.out / f"{study}.jsonl"
        done = {json.loads(line)["key"] for line in file.read_text().splitlines()} if file.exists() else set()
        for key, task_name, target, gammas in STUDIES[study]():
            if key in done:
                continue
            if study == "detection":
                found, embeds = alone(lm, task_name, target, gammas, judge)
            else:
                config = WaywardGrid(**SCHEDULE, gammas=gammas)
                result = wayward(load_task(task_name), lm, target, judge=judge, config=config)
                found, embeds = result.described, result.prompt.embeds
            save_file({"embeds": embeds.contiguous()}, args.out / f"{study}-{key.replace(' ', '_')}.safetensors")
            with file.open("a") as lines:
                lines.write(json.dumps({"key": key} | found) + "\n")
            print(study, key, found["test_accuracy"], found["token_f1"], flush=True)


if __name__ == "__main__":
    main()
