"""Measure how well prompts perform on the embedded models, for the model cards, and the known fronts of the tasks.

    python -m hardprompt.tasks.calibrate [--lm FOLDER] [--reader FOLDER] [--known-fronts FILE]

The first table has test accuracies: of the empty prompt; of the reference prompts (the mean, and the prompt that is best on
dev); of the reference prompts with shuffled words and of held-out paraphrases (means); of 32 random prompts of five tokens
(mean); and of the best on dev among 256 random prompts. The second table has the known fronts, which `--known-fronts` also
writes to a file. The third table has the log-perplexity of each kind of prompt under both models.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count, islice, product
from pathlib import Path
from random import Random
from statistics import mean, median

from torch import Tensor

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import KnownPrompt
from hardprompt.lm import FrozenLM, load_lm, log_perplexity
from hardprompt.lm.microworld import world
from hardprompt.lm.microworld.corpus import FORMS, Form, is_right, wording
from hardprompt.optimizers import Problem
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer
from hardprompt.stats.pareto import non_dominated

COLUMNS = ("empty", "best reference", "reference", "shuffled", "held out", "random", "best of 256 random")
CANDIDATES = 64
"""Number of terse and of strange wordings that are tried for a known front. None is longer than the prompts of a search."""


def shuffled(texts: Sequence[str], rng: Random, copies: int = 2) -> list[str]:
    """Each text with its words in random orders, `copies` times."""
    return [" ".join(rng.sample(text.split(), len(text.split()))) for text in texts for _ in range(copies)]


def texts_of(problem: Problem) -> dict[str, list[str]]:
    """The prompts of a task by kind."""
    skill = world.TASKS[problem.task.name].skill
    rng = Random(problem.seed)
    return {
        "reference": list(skill.reference_prompts),
        "shuffled": shuffled(skill.reference_prompts, rng),
        "held out": list(skill.held_out_prompts),
        "held out, shuffled": shuffled(skill.held_out_prompts, rng),
        "random": [problem.lm.decode(ids).strip() for ids in problem.random_ids(256).tolist()],
    }


def accuracies(problem: Problem, texts: dict[str, list[str]]) -> list[float]:
    """The accuracies of a task on its test examples (fractions), in the order of `COLUMNS`."""
    prompts = {sort: _encode(problem.lm, wordings) for sort, wordings in texts.items()}
    test = _test(problem)

    def best_on_dev(candidates: Sequence[tuple[int, ...]]) -> float:
        return float(_accuracy(test, [candidates[int(_accuracy(problem.dev, candidates).argmax())]]))

    means = [float(_accuracy(test, prompts[sort]).mean()) for sort in ("reference", "shuffled", "held out")]
    random = float(_accuracy(test, prompts["random"][:32]).mean())
    return [float(_accuracy(test, [()])), best_on_dev(prompts["reference"]), *means, random, best_on_dev(prompts["random"])]


def known_front(problem: Problem) -> list[KnownPrompt]:
    """The true trade-off of a task.

    For each form of wording it has the most readable of the prompts that are best on dev. Dominated prompts are left out.
    """
    source, lm = world.TASKS[problem.task.name], problem.lm
    rng = Random(problem.seed)
    forms: list[Form] = list(FORMS) if source.skill.price else ["plain"]
    chosen = []
    for form in forms:
        texts = list(source.skill.reference_prompts)
        if form != "plain":
            drawn = (wording(source.domain, source.skill, form, rng) for _ in count())
            texts = list(islice((text for text in drawn if len(lm.encode(text)) <= problem.prompt_length), CANDIDATES))
        on_dev = _accuracy(problem.dev, _encode(lm, texts)).tolist()
        good = [text for text, value in zip(texts, on_dev, strict=True) if value == max(on_dev)]
        chosen.append(min(good, key=lambda text: log_perplexity(lm, lm.encode(text))))
    on_test = _accuracy(_test(problem), _encode(lm, chosen)).tolist()
    nats = [log_perplexity(lm, lm.encode(text)) for text in chosen]
    return [KnownPrompt(chosen[i], lm.name, on_test[i], nats[i]) for i in non_dominated(on_test, nats)]


def built_in(task: str, form: Form) -> float:
    """The share of the test examples on which a wording of this form gives the right answer, by construction of the corpus."""
    source = world.TASKS[task]
    return mean(is_right(source.skill, item, form) for item in source.items("test"))


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m hardprompt.tasks.calibrate", description="Measure the embedded models.")
    parser.add_argument("--lm", default="microworld", help="task model: name of an embedded model, or a folder")
    parser.add_argument("--reader", default="microworld-reader", help="reader: name of an embedded model, or a folder")
    parser.add_argument("--known-fronts", type=Path, help="JSON file to which the known fronts are written")
    args = parser.parse_args()
    lm, reader = load_lm(args.lm), load_lm(args.reader)
    lm.name, reader.name = "microworld", "microworld-reader"
    problems = {name: Problem(load_task(name), lm) for name in world.TASKS}
    texts = {name: texts_of(problem) for name, problem in problems.items()}

    print(f"| task | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    rows = []
    for name, problem in problems.items():
        rows.append(accuracies(problem, texts[name]))
        print(f"| {name} | {_cells(rows[-1])} |", flush=True)
    print(f"| mean | {_cells([mean(column) for column in zip(*rows, strict=True)])} |")

    fronts = {name: known_front(problem) for name, problem in problems.items()}
    print("\n| task with a price | plain, terse, strange as built | known front: nats per token, test accuracy, prompt |")
    print("|---|---|---|")
    for name in (name for name in fronts if world.TASKS[name].skill.price):
        points = "; ".join(f"{p.log_perplexity:.2f}, {p.test_accuracy:.2f}, *{p.prompt}*" for p in fronts[name])
        print(f"| {name} | {', '.join(f'{built_in(name, form):.2f}' for form in FORMS)} | {points} |")
    if args.known_fronts:
        described = {name: [asdict(point) for point in front] for name, front in fronts.items()}
        args.known_fronts.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")

    print(f"\n| prompts, median nats per token | {lm.name} | {reader.name} |\n|---|---|---|")
    for sort in next(iter(texts.values())):
        every = [text for each in texts.values() for text in each[sort]]
        nats = [median(log_perplexity(each, each.encode(text)) for text in every) for each in (lm, reader)]
        print(f"| {sort} | {_cells(nats)} |")
    gains = [median(_gains(reader, each["held out"], each["held out, shuffled"])) for each in texts.values()]
    span = f"{min(gains):.2f} to {max(gains):.2f} nats per token"
    print(f"\nBy task, paraphrases are {span} more probable under the reader than shuffled ones (median over pairs).")


def _gains(reader: FrozenLM, whole: Sequence[str], mixed: Sequence[str]) -> list[float]:
    """How much lower the log-perplexity of each text is than that of each shuffled text, in nats per token."""
    read = {text: log_perplexity(reader, reader.encode(text)) for text in (*whole, *mixed)}
    return [read[worse] - read[better] for better, worse in product(whole, mixed)]


def _test(problem: Problem) -> Scorer:
    return Scorer(problem.lm, problem.task, problem.task.test)


def _encode(lm: FrozenLM, texts: Sequence[str]) -> list[tuple[int, ...]]:
    return [HardPrompt.from_text(lm, text).ids for text in texts]


def _accuracy(scorer: Scorer, prompts: Sequence[tuple[int, ...]]) -> Tensor:
    return scorer.score_ids(prompts).accuracy


def _cells(values: Sequence[float]) -> str:
    return " | ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
