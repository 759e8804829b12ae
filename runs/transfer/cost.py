"""The cost of `hardprompt transfer`, compared with the passes of the engine alone, in seconds of CPU time.

    python runs/transfer/cost.py --models DIR [--repeats N] [--json]

Fifty prompts on 300 examples of the task to-question are measured on four models: microworld, microworld-small,
microworld-large and english-mini. DIR holds english-mini, and it may hold microworld-small and microworld-large; otherwise
models of their shapes with random weights take their place, which cost about the same. The reference loads the same models and
scores the token ids of the same prompts in one call for each model, and nothing else. Both run in turn, with one thread, and
the median is shown.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import hardprompt as hp
from hardprompt.data.splits import draw_by_label
from hardprompt.lm.microworld.train import CONFIGS, build_model
from hardprompt.lm.sources import EMBEDDED
from hardprompt.records.store import Store

PROMPTS, EXAMPLES, LENGTH, TASK = 50, 300, 5, "to-question"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="The cost of a transfer matrix.")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        found = measure(Path(folder), args.models, args.repeats)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("  ".join(f"{name} {value:.2f}" for name, value in found.items()))


def measure(folder: Path, models: Path, repeats: int) -> dict[str, float]:
    """Seconds of CPU time of the matrix and of the passes alone, and their ratio."""
    names = ["microworld", *(model_folder(name, folder, models) for name in ("microworld-small", "microworld-large"))]
    names.append(str(models / "english-mini"))
    texts = write_study(folder / "study")

    def matrix(lms: Sequence[str], limit: int, out: str) -> None:
        found = hp.transfer([folder / "study"], lms, limit=limit, out=folder / out)
        assert len(found.cells) == (PROMPTS + 1) * len(lms) and not found.not_measured

    matrix(names[:1], 2, "warm-up")  # imports, fonts
    times = [
        (seconds(lambda n=n: matrix(names, EXAMPLES, f"out-{n}")), seconds(lambda: passes_alone(names, texts)))
        for n in range(repeats)
    ]
    whole, alone = (statistics.median(column) for column in zip(*times, strict=True))
    return {"transfer": whole, "passes": alone, "ratio": whole / alone}


def write_study(folder: Path) -> list[str]:
    """Write a study with prompts of random words, in the form of the recorded study `runs/quick`, and return their texts."""
    recorded, lm = Store(Path(__file__).parents[1] / "quick"), hp.load_lm("microworld")
    [line, *_] = [line for line in recorded.lines() if line["optimizer"] == "random"]
    words = [piece[1:] for piece in lm.tokenizer.get_vocab() if piece[0] == "▁" and piece[1:].isalpha()]
    texts = [" ".join(random.Random(seed).sample(sorted(words), LENGTH)) for seed in range(PROMPTS)]
    study = recorded.study | {"request": recorded.study["request"] | {"task": TASK}, "data": {}}
    with Store.writing(folder, study) as store:
        for seed, text in enumerate(texts):
            store.append(line | {"task": TASK, "seed": seed, "prompt_text": text})
    return texts


def passes_alone(names: Sequence[str], texts: Sequence[str]) -> None:
    """Load each model and score the token ids of all prompts in one call."""
    task = hp.load_task(TASK)
    test = draw_by_label(task.test, EXAMPLES, task.labels)
    for name in names:
        lm = hp.load_lm(name)
        hp.Scorer(lm, task, test).score_ids([lm.encode(text) for text in ("", *texts)])


def model_folder(name: str, folder: Path, models: Path) -> str:
    """The folder of a model, or of one of its shape with random weights."""
    if (models / name).is_dir():
        return str(models / name)
    target = folder / name
    build_model(CONFIGS[name]).save_pretrained(target)
    for file in EMBEDDED["microworld"].glob("tokenizer*"):
        (target / file.name).write_bytes(file.read_bytes())
    return str(target)


def seconds(run: Callable[[], None]) -> float:
    """Seconds of CPU time."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
