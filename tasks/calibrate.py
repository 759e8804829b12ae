"""Measure what prompts are worth on the embedded model: the figures of its model card.

    python -m hardprompt.tasks.calibrate [--lm FOLDER]

Accuracy on test of: the empty prompt; the reference prompts (mean, and the best on dev), with their words shuffled, and their
held-out paraphrases (means); 32 random prompts of five tokens (mean); and the best on dev of 256 of them. Then the mean
log-perplexity of the same sorts of prompts, in nats per token.
"""

import argparse
from collections.abc import Sequence
from random import Random

from torch import Tensor

from hardprompt.catalogue import load_task
from hardprompt.lm import FrozenLM, load_lm, log_perplexity
from hardprompt.lm.microworld import world
from hardprompt.optimizers import Problem
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer

COLUMNS = ("empty", "best reference", "reference", "shuffled", "held out", "random", "best of 256 random")


def prompts_of(lm: FrozenLM, problem: Problem) -> dict[str, list[tuple[int, ...]]]:
    """Prompts of a task by sort, as token ids."""
    source = world.TASKS[problem.task.name]
    rng = Random(problem.seed)
    shuffled = [" ".join(rng.sample(text.split(), len(text.split()))) for text in source.reference_prompts for _ in range(2)]
    texts = {"reference": source.reference_prompts, "shuffled": shuffled, "held out": source.held_out_prompts}
    found = {sort: [HardPrompt.from_text(lm, text).ids for text in wordings] for sort, wordings in texts.items()}
    return found | {"random": [tuple(ids) for ids in problem.random_ids(256).tolist()]}


def calibrate(lm: FrozenLM, problem: Problem, prompts: dict[str, list[tuple[int, ...]]]) -> list[float]:
    """The row of a task, accuracies on test as fractions, in the order of `COLUMNS`."""
    test = Scorer(lm, problem.task, problem.task.test)

    def best_on_dev(candidates: Sequence[tuple[int, ...]]) -> float:
        return float(_accuracy(test, [candidates[int(_accuracy(problem.dev, candidates).argmax())]]))

    means = [float(_accuracy(test, prompts[sort]).mean()) for sort in ("reference", "shuffled", "held out")]
    random = float(_accuracy(test, prompts["random"][:32]).mean())
    return [float(_accuracy(test, [()])), best_on_dev(prompts["reference"]), *means, random, best_on_dev(prompts["random"])]


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m hardprompt.tasks.calibrate", description="Measure the embedded tasks.")
    parser.add_argument("--lm", default="microworld", help="embedded model or folder")
    lm = load_lm(parser.parse_args().lm)
    rows: list[list[float]] = []
    nats: dict[str, list[float]] = {}
    print(f"| task | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name in world.TASKS:
        problem = Problem(load_task(name), lm)
        prompts = prompts_of(lm, problem)
        rows.append(calibrate(lm, problem, prompts))
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in rows[-1])} |", flush=True)
        for sort, group in prompts.items():
            nats.setdefault(sort, []).extend(log_perplexity(lm, ids) for ids in group)
    print(f"| mean | {' | '.join(f'{sum(column) / len(column):.2f}' for column in zip(*rows, strict=True))} |")
    print("\n| prompts | nats per token |\n|---|---|")
    for sort, values in nats.items():
        print(f"| {sort} | {sum(values) / len(values):.2f} |")


def _accuracy(scorer: Scorer, prompts: Sequence[tuple[int, ...]]) -> Tensor:
    return scorer.score_ids(prompts).correct.float().mean(-1)


if __name__ == "__main__":
    main()
