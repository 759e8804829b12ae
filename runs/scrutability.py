"""Which measures of a text agree, and which distinguish paraphrases by a person from texts that searches found?

    python runs/scrutability.py STUDIES FIGURE.png

STUDIES is RECORDS/trade-off of `hardprompt reproduce`. The first table has Spearman's correlations of the measures over all
texts of these studies. The second table compares these texts with the held-out paraphrases of the same ten tasks, on which no
model was trained. It has the area under the ROC curve of each measure: 1 if the measure is always lower for a paraphrase, and
0.5 if it does not distinguish them. Length, the rarity of words in the training corpus and the accuracy drop are the simplest
baselines; paraphrases with shuffled words have the same length and the same rarity. Deletion and order are measured on 12 dev
inputs, only for runs of seed 0.
"""

import argparse
from collections import Counter
from itertools import islice
from math import log
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hardprompt import load_lm, load_points, load_task
from hardprompt.lm.microworld import world
from hardprompt.lm.microworld.corpus import DISTINGUISH, documents
from hardprompt.metrics import deletion_map, order_sensitivity, scrutability
from hardprompt.scoring import Scorer

MEASURES = (
    "log_perplexity", "reader_log_perplexity", "nats_per_character", "reader_nats_per_character", "gap", "max_surprisal",
    "reader_max_surprisal", "repetition", "distinct_tokens", "whole_word_share", "order", "deletion", "length", "unigram",
    "drop",
)  # fmt: skip
HIGHER_IS_HUMAN = ("distinct_tokens", "whole_word_share", "order")
INPUTS, DOCUMENTS = 12, 20_000


def unigram_counts() -> Counter[str]:
    """The number of occurrences of each word in documents of the task LM's corpus."""
    stream = documents(DISTINGUISH, Random(0))
    return Counter(word for document in islice(stream, DOCUMENTS) for word in str(document).split())


def texts(studies: Path) -> list[dict[str, Any]]:
    """The texts that searches found, the paraphrases and the shuffled paraphrases, with the values that need no model."""
    rows, rng = [], Random(0)
    for folder in sorted(file.parent for file in studies.glob("*/study.yaml")):
        for point in load_points(folder).to_dict("records"):
            if point["optimizer"] in ("soft", "pez", "rl", "random"):
                rows.append(
                    {
                        "kind": point["optimizer"],
                        "task": point["task"],
                        "text": point["prompt_text"],
                        "drop": point["test_accuracy"] - point["deployed_test_accuracy"],
                        "probed": point["seed"] == 0 and not folder.name.endswith("-weights"),
                    }
                )
    for name in sorted({row["task"] for row in rows}):
        for text in world.TASKS[name].skill.held_out_prompts:
            mixed = " ".join(rng.sample(text.split(), len(text.split())))
            for kind, each in (("paraphrase", text), ("shuffled", mixed)):
                rows.append({"kind": kind, "task": name, "text": each, "drop": 0.0, "probed": True})
    return rows


def measured(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table with a row for each text and all measures."""
    lm, reader = load_lm("microworld"), load_lm("microworld-reader")
    counts = unigram_counts()
    scorers: dict[str, Scorer] = {}
    for row in rows:
        text = row["text"].strip()
        ids = lm.encode(text)
        own, read = scrutability(lm, ids, text), scrutability(reader, reader.encode(text), text)
        row |= own | {f"reader_{name}": read[name] for name in ("log_perplexity", "nats_per_character", "max_surprisal")}
        row["gap"] = row["reader_nats_per_character"] - row["nats_per_character"]
        row["length"] = len(ids)
        words = text.split()
        row["unigram"] = sum(-log((counts[word] + 1) / (counts.total() + 1)) for word in words) / len(words)
        if row["probed"]:
            name = row["task"]
            if name not in scorers:
                task = load_task(name)
                scorers[name] = Scorer(lm, task, task.dev[:INPUTS])
            row["order"] = order_sensitivity(scorers[name], ids, count=4)["loss_added"]
            row["deletion"] = max(each["loss_added"] for each in deletion_map(scorers[name], ids))
    return pd.DataFrame(rows)


def auc(low: pd.Series, high: pd.Series) -> float:
    """The area under the ROC curve: P(low < high) + P(low = high) / 2 for a pair drawn from both."""
    joined = pd.concat([low, high]).rank()
    return 1 - float((joined[: len(low)].sum() - len(low) * (len(low) + 1) / 2) / (len(low) * len(high)))


def main() -> None:
    """Print both tables in Markdown and draw the ROC curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("figure", type=Path)
    args = parser.parse_args()
    table = measured(texts(args.studies))
    human, mixed = (table[table.kind == kind] for kind in ("paraphrase", "shuffled"))
    found = table.drop(human.index).drop(mixed.index)
    print(f"{len(found)} texts found, {len(human)} paraphrases\n")
    correlations = found[list(MEASURES)].corr("spearman")
    print(f"| | {' | '.join(str(n) for n in range(1, len(MEASURES) + 1))} |\n|{'---|' * (len(MEASURES) + 1)}")
    for n, name in enumerate(MEASURES, 1):
        print(f"| {n} {name} | {' | '.join('' if v != v else f'{v:.2f}' for v in correlations[name])} |")
    kinds = [kind for kind in ("pez", "rl", "soft", "random") if (found.kind == kind).any()]
    print(f"\n| measure | all found | {' | '.join(kinds)} | shuffled |\n|{'---|' * (len(kinds) + 3)}")
    areas: dict[str, float] = {}
    for name in MEASURES:
        sign = -1 if name in HIGHER_IS_HUMAN else 1
        groups = [found, *(found[found.kind == kind] for kind in kinds), mixed]
        values = [auc(sign * human[name].dropna(), sign * group[name].dropna()) for group in groups]
        areas[name] = values[0]
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for name in ("reader_log_perplexity", "log_perplexity", "gap", "unigram", "length", "drop"):
        sign = -1 if name in HIGHER_IS_HUMAN else 1
        low, high = sign * human[name].dropna(), sign * found[name].dropna()
        cuts = sorted({*low, *high})
        xs = [0.0, *(float((low > cut).mean()) for cut in reversed(cuts)), 1.0]
        ys = [0.0, *(float((high > cut).mean()) for cut in reversed(cuts)), 1.0]
        axes.plot(xs, ys, label=f"{name} ({areas[name]:.2f})")
    axes.plot([0, 1], [0, 1], color="#cccccc", linestyle=":")
    axes.set_xlabel("share of paraphrases called optimized")
    axes.set_ylabel("share of optimized texts called so")
    axes.set_title("a person's paraphrases against what searches found", loc="left")
    axes.legend(frameon=False, loc="center right")
    figure.savefig(args.figure, dpi=120)


if __name__ == "__main__":
    main()
