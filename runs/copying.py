"""What do prompts copy from their tasks? Means of the measures of `hardprompt.metrics.copying` by optimizer, and controls.

    python runs/copying.py --data DATA --split 13 sst2=sst-2 agnews=agnews STUDY ...

Each NAME=FOLDER is a task with its folder in DATA, and each STUDY a folder of `hardprompt compare` on one of them. No model is
needed. The columns are means over the texts: over the train inputs, over as many unseen test inputs (the level of chance that
the record has), over the train inputs of the other task, and over the train inputs for the same words in random order. The
planted prompts are train inputs, their first four words, and test inputs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from hardprompt import Task, load_points, load_task
from hardprompt.metrics.copying import Inputs, inputs_of, label_words_named, longest_shared, quoted, shared_trigrams, words

PLANTED = 32


def spread(texts: Sequence[str], count: int) -> tuple[str, ...]:
    """As many texts, evenly spread."""
    return tuple(texts[n * len(texts) // count] for n in range(count))


def prompts_of(study: Path) -> dict[str, list[str]]:
    """The texts by optimizer, with those of all members of fronts."""
    found: dict[str, list[str]] = {}
    for point in load_points(study).to_dict("records"):
        front = point["front"] if isinstance(point.get("front"), list) else []
        found.setdefault(point["optimizer"], []).extend(
            [point["prompt_text"], *(each["prompt_text"] for each in front if "prompt_text" in each)]
        )
    return found


def row(name: str, texts: Sequence[str], task: Task, inputs: Sequence[Inputs]) -> str:
    """The means of a group of texts as a row of the table."""
    rng = Random(0)
    mixed = [" ".join(rng.sample(words(text), len(words(text)))) for text in texts]
    cells = []
    for measure in (longest_shared, shared_trigrams, quoted):
        groups = [[measure(text, each) for text in texts] for each in inputs] + [[measure(text, inputs[0]) for text in mixed]]
        known = [[value for value in group if value is not None] for group in groups]
        cells.append(" / ".join(f"{np.mean(group):.2f}" if group else "-" for group in known))
    names = sum(any(label_words_named(text, task.label_words).values()) for text in texts) / len(texts)
    return f"| {task.name} | {name} | {len(texts)} | {' | '.join(cells)} | {names:.2f} |"


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER or STUDY")
    args = parser.parse_args()
    folders = dict(each.split("=") for each in args.given if "=" in each)
    tasks = {name: load_task(name, args.split, args.data / folder) for name, folder in folders.items()}
    train = {name: tuple(example.input for example in task.train) for name, task in tasks.items()}
    test = {name: [e.input for e in task.test if e.input not in train[name]] for name, task in tasks.items()}
    print(
        "| task | prompts | n | longest shared n-gram | shared trigrams | quoted words | name a label |\n|---|---|" + "--:|" * 5
    )
    for name, task in tasks.items():
        other = next((train[each] for each in tasks if each != name), ())
        unseen = spread(test[name], len(train[name]))
        inputs = [inputs_of(train[name]), inputs_of(unseen), inputs_of(other)]
        groups: dict[str, list[str]] = {}
        for study in (Path(each) for each in args.given if "=" not in each):
            if load_points(study).task[0] == name:
                groups |= prompts_of(study)
        groups["all reference prompts"] = list(task.reference_prompts)
        groups["planted: train inputs"] = list(train[name][:PLANTED])
        groups["planted: four words of them"] = [" ".join(words(text)[:4]) for text in train[name][:PLANTED]]
        groups["planted: other test inputs"] = list(spread([each for each in test[name] if each not in unseen], PLANTED))
        for kind, texts in groups.items():
            print(row(kind, texts, task, inputs))


if __name__ == "__main__":
    main()
