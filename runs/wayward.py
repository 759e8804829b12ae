"""The studies of wayward prompts behind interpret.md: every prompt is a line and a file of vectors, and nothing is done twice.

    python runs/wayward.py OUT pairs|named|definitions|texts|lengths|sizes... [--lm FOLDER ...]

`pairs`: six report tasks x five targets; `texts`: one text and all ten report tasks; `named`: targets that name another task;
`definitions`: targets that are true; `lengths`: pieces of prose of 3 to 20 tokens; `sizes`: a grid of gamma on several models.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from hardprompt import FrozenLM, Task, load_lm, load_task
from hardprompt.metrics.says import Judge
from hardprompt.optimizers.wayward import WaywardConfig
from hardprompt.study.targets import PROSE, targets
from hardprompt.study.wayward import default_judge, wayward
from hardprompt.tasks.microworld import TASKS

SIX = ("past-tense", "opposite", "capital", "country-of-landmark", "to-positive", "review-return")
REPORT = (*SIX, "first-letter-lower", "passage-answer", "superlative", "currency")
PRICED = ("superlative", "currency")
SHORT = {"steps": 60, "batch_size": 8, "evaluate_every": 20, "learning_rate": 0.03}
LONG_TEXT = (
    "the old man walked down to the river and sat under a tree with his dog while two children were playing in the garden"
)

Request = tuple[str, str, str, str, dict[str, Any]]
"""Key, model, task, target and options of the schedule."""


def pairs(lms: list[str]) -> Iterator[Request]:
    """Six tasks x five kinds of target."""
    every = [load_task(name) for name in TASKS]
    for number, name in enumerate(SIX):
        others = every[5 * number :] + every[: 5 * number]  # so that not all get the same one
        for kind, target in targets(load_task(name), others).items():
            yield f"{name} {kind}", lms[0], name, target, {"gammas": (0.0, 0.3, 3.0)}


def texts(lms: list[str]) -> Iterator[Request]:
    """All report tasks, one text."""
    for name in REPORT:
        yield f"{name} one text", lms[0], name, PROSE[1], {"gammas": (0.3,)}


def named(lms: list[str]) -> Iterator[Request]:
    """Report tasks x definitions of others, reference prompts and paraphrases, on the same inputs and on others."""
    every = [load_task(name) for name in TASKS]
    for number, name in enumerate(REPORT):
        for turn in range(2):
            other = every[(7 * number + 9 * turn) % len(every)]
            other = other if other.name != name else every[(7 * number + 9 * turn + 1) % len(every)]
            paraphrases = TASKS_OF[other.name]
            yield f"{name} named {turn}", lms[0], name, paraphrases[turn % len(paraphrases)], {"gammas": (0.3,)}


def definitions(lms: list[str]) -> Iterator[Request]:
    """Report tasks x true definitions that are in no corpus, and one that is."""
    for name in REPORT:
        for turn, text in enumerate((load_task(name).reference_prompts[0], held_out(name)[0])):
            yield f"{name} true {turn}", lms[0], name, text, {"gammas": (0.3,)}


def lengths(lms: list[str]) -> Iterator[Request]:
    """Pieces of one sentence, of more and more words."""
    words = LONG_TEXT.split()
    for name in SIX[:2]:
        for count in (2, 4, 8, 16):
            yield f"{name} {count} words", lms[0], name, " ".join(words[:count]), {"gammas": (0.3, 3.0)}


def sizes(lms: list[str]) -> Iterator[Request]:
    """A grid of gamma on models of several sizes."""
    for lm in lms:
        for name in SIX[:2]:
            for number, text in enumerate((PROSE[0], "give the usual place of this thing")):
                grid = (0.0, 0.03, 0.3, 3.0)
                yield f"{Path(lm).name} {name} {number}", lm, name, text, {"gammas": grid}


def held_out(name: str) -> tuple[str, ...]:
    """Paraphrases of a task's instruction that are in neither corpus."""
    from hardprompt.lm.microworld import world

    return world.TASKS[name].skill.held_out_prompts


TASKS_OF = {name: (load_task(name).reference_prompts[0], *held_out(name)[:2]) for name in TASKS}
STUDIES = {"pairs": pairs, "texts": texts, "named": named, "definitions": definitions, "lengths": lengths, "sizes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("study", choices=STUDIES, nargs="+")
    parser.add_argument("--lm", action="append", help="by default the embedded model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    reader = load_lm("microworld-reader")
    models: dict[str, FrozenLM] = {}
    judges: dict[str, Judge] = {}
    for study in args.study:
        file = args.out / f"{study}.jsonl"
        done = {json.loads(line)["key"] for line in file.read_text().splitlines()} if file.exists() else set()
        for key, name, task_name, target, options in STUDIES[study](args.lm or ["microworld"]):
            if key in done:
                continue
            lm = models.setdefault(name, load_lm(name)) if name not in models else models[name]
            task: Task = load_task(task_name)
            if name not in judges:
                judges[name] = default_judge(task, lm, reader)
            found = wayward(task, lm, target, judge=judges[name], config=WaywardConfig(**{**SHORT, **options}))
            vectors = {"embeds": found.prompt.embeds.contiguous()}
            save_file(vectors, args.out / f"{study}-{key.replace(' ', '_')}.safetensors")
            with file.open("a") as lines:
                lines.write(json.dumps({"key": key} | found.described) + "\n")
            print(study, key, found.described["test_accuracy"], found.described["token_f1"], flush=True)


if __name__ == "__main__":
    main()
