"""Does a measure of acceptability add to perplexity in telling texts by people from texts that only look like English?

    pip install harper-py==0.2.0 'quire-grammar[model]==0.3.4'
    python runs/acceptability.py DATA READER WRITER STUDY ... --scores SCORES

DATA is a folder with `fewshot/sst-2/test.tsv`, `fewshot/agnews/test.tsv` (columns sentence and label) and
`boolq/validation.jsonl`, READER a model that no search optimized against, WRITER a model that writes texts, and each STUDY a
folder of `hardprompt compare` whose found prompts are negatives. The scores of all texts are written to
the folder SCORES, and read from there the next time.

Texts by people are sentences of reviews, news and passages (tune), and instructions: `acceptability/instructions.txt` and the
reference prompts of the embedded tasks (held out). The negatives of tune are sentences in random order, words drawn at random,
and loops of one or two words. The classifiers are trained against these kinds on other sentences, and the combinations with
log-perplexity are fitted on them. The held-out negatives are of other kinds: made from the instructions, or by searches and
models.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from random import Random
from typing import Any

import harper
import numpy as np
import pandas as pd
import quire_grammar
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hardprompt import FrozenLM, load_lm, load_points, load_task
from hardprompt.data.catalogue import all_tasks
from hardprompt.data.datasets import DataTask
from hardprompt.lm import surprisals

OF_EACH_KIND, OF_TUNE, TRAINED_ON, SHUFFLES, DRAWS = 60, 120, 5000, 3, 1000
NO_FLUENCY = ("random", "gcg", "pez", "autoprompt", "gbda")
FUNCTION_WORDS = set(
    "a an the of is are was were be been in on at to for with and or not it this that which do does did you by".split()
)
SUFFIXES = tuple("ing ed ly tion ness ment ive ous ful able al er est s".split())


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def sentences(data: Path) -> list[str]:
    """Sentences of 3 to 14 words, without repetitions, in random order."""
    texts = [
        *pd.read_csv(data / "fewshot/sst-2/test.tsv", sep="\t").sentence,
        *pd.read_csv(data / "fewshot/agnews/test.tsv", sep="\t").sentence,
    ]
    boolq = pd.read_json(data / "boolq/validation.jsonl", lines=True)
    texts += [*boolq.passage, *boolq.question]
    parts = [part.strip() for text in texts for part in re.split(r"(?<=[.!?;]) +", str(text))]
    found = sorted({part for part in parts if 3 <= len(plain_words(part)) <= 14 and len(part) < 120})
    Random(0).shuffle(found)
    return found


def shuffled(text: str, rng: Random) -> str:
    return " ".join(rng.sample(text.split(), len(text.split())))


def corrupted(text: str, vocabulary: Sequence[str], rng: Random) -> str:
    """A negative of tune: half of them in random order, the others random words or loops."""
    kind, count = rng.random(), len(text.split())
    if kind < 0.5:
        return shuffled(text, rng)
    if kind < 0.75:
        return " ".join(rng.choices(vocabulary, k=count))
    return " ".join((rng.sample(text.split(), min(count, rng.choice((1, 2)))) * count)[:count])


def swapped(text: str, rng: Random) -> str:
    """One pair of neighbouring words in the other order."""
    own = text.split()
    at = rng.randrange(len(own) - 1)
    return " ".join([*own[:at], own[at + 1], own[at], *own[at + 2 :]])


def bigram_chain(after: dict[str, list[str]], rng: Random) -> str:
    """A walk in which each word follows the one before it somewhere in the sentences."""
    text = [rng.choice(after[""])]
    while len(text) < rng.randint(4, 9):
        text.append(rng.choice(after.get(text[-1]) or after[""]))
    return " ".join(text)


def samples(lm: FrozenLM, greedy: bool, count: int) -> list[str]:
    """Texts of ten tokens that a model writes: at temperature 1, or greedily after a word drawn at random."""
    torch.manual_seed(0)
    starts = Random(0).sample(lm.token_ids, 4 * count)
    words = [i for i in starts if lm.decode([i]).strip().isalpha() and len(lm.decode([i]).strip()) > 2][:count]
    ids = torch.tensor([[*lm.prefix_ids, i] if greedy else list(lm.prefix_ids) for i in words])
    with torch.no_grad():
        for _ in range(9 if greedy else 10):
            logits = lm.model(input_ids=ids).logits[:, -1]
            step = logits.argmax(-1, keepdim=True) if greedy else torch.multinomial(logits.softmax(-1), 1)
            ids = torch.cat([ids, step], 1)
    return [" ".join(lm.decode(row[len(lm.prefix_ids) :].tolist()).split()) for row in ids]


def found_texts(studies: Sequence[Path]) -> dict[str, list[str]]:
    """The texts of searches: those without any regard to fluency, and the others."""
    kinds: dict[str, list[str]] = {"found, no fluency term": [], "found, fluency term": []}
    for folder in studies:
        for point in load_points(folder).to_dict("records"):
            if point["optimizer"] in ("empty", "manual", "soft"):
                continue
            for each in [point, *(point["front"] if isinstance(point.get("front"), list) else [])]:
                loose = point["optimizer"] in NO_FLUENCY and point["weight"] == 0
                kinds["found, no fluency term" if loose else "found, fluency term"].append(each.get("prompt_text", "").strip())
    return kinds


def texts(data: Path, studies: Sequence[Path], writer: FrozenLM) -> tuple[pd.DataFrame, list[str]]:
    """A row per text with its kind and whether it is by a person and of tune; and the sentences for training."""
    rng, every = Random(0), sentences(data)
    people, training = every[:OF_TUNE], every[OF_TUNE : OF_TUNE + TRAINED_ON]
    vocabulary = sorted({word for text in training for word in plain_words(text)})
    written = (Path(__file__).parent / "acceptability/instructions.txt").read_text(encoding="utf-8").splitlines()
    names = [name for name, task in all_tasks().items() if not isinstance(task, DataTask)]
    embedded = [text for name in names for text in load_task(name).reference_prompts]
    instructions = [*written, *rng.sample(sorted(set(embedded)), len(written))]
    after: dict[str, list[str]] = {}
    for text in training:
        own = plain_words(text)
        for one, other in zip(["", *own], own, strict=False):
            after.setdefault(one, []).append(other)
    content = [" ".join(word for word in text.split() if word.lower() not in FUNCTION_WORDS) for text in instructions]
    starts = [(text.split(), rng.randrange(len(text.split()) - 2)) for text in instructions if len(text.split()) > 3]
    kinds = {
        "neighbours swapped": [swapped(text, rng) for text in instructions if len(text.split()) > 3],
        "function words dropped": [
            text for text, whole in zip(content, instructions, strict=True) if 3 <= len(text.split()) < len(whole.split())
        ],
        "phrase looped": [" ".join(own[at : at + 3] * 3) for own, at in starts],
        "bigram chain": [bigram_chain(after, rng) for _ in range(OF_EACH_KIND)],
        "sampled": samples(writer, False, OF_EACH_KIND),
        "greedy": samples(writer, True, OF_EACH_KIND),
        **found_texts(studies),
        "shuffled (a kind of tune)": [shuffled(text, rng) for text in instructions],
    }
    rows = [{"kind": "people", "tune": True, "text": text} for text in people]
    rows += [{"kind": "negatives", "tune": True, "text": corrupted(text, vocabulary, rng)} for text in people]
    rows += [{"kind": "people", "tune": False, "text": text} for text in instructions]
    known = set(instructions)
    for kind, own in kinds.items():
        kept = sorted({text for text in own if len(text.split()) > 1} - known)
        rng.shuffle(kept)
        rows += [{"kind": kind, "tune": False, "text": text} for text in kept[:OF_EACH_KIND]]
    return pd.DataFrame(rows), training


def word_classes(text: str) -> list[str]:
    """Each word as itself if it is short or a function word, otherwise as its suffix: features without a topic."""
    own = plain_words(text)
    return [
        "<",
        *(
            word if word in FUNCTION_WORDS or len(word) < 4 else next((f"-{s}" for s in SUFFIXES if word.endswith(s)), "-")
            for word in own
        ),
        ">",
    ]


def class_grams(text: str) -> list[str]:
    own = word_classes(text)
    return [" ".join(own[i : i + size]) for size in (1, 2, 3, 4) for i in range(len(own) - size + 1)]


def character_grams(text: str) -> list[str]:
    own = f" {' '.join(plain_words(text))} "
    return [own[i : i + size] for size in (2, 3, 4, 5) for i in range(len(own) - size + 1)]


def classifier(training: Sequence[str], features: Callable[[str], list[str]]) -> Callable[[Sequence[str]], np.ndarray]:
    """The log odds that a text is corrupted, of a classifier of sentences against corruptions of tune."""
    rng = Random(1)
    vocabulary = sorted({word for text in training for word in plain_words(text)})
    given = [*training, *(corrupted(text, vocabulary, rng) for text in training)]
    model = make_pipeline(
        TfidfVectorizer(analyzer=features, min_df=3, sublinear_tf=True), LogisticRegression(C=10, max_iter=300)
    )
    model.fit(given, [0] * len(training) + [1] * len(training))
    return model.decision_function


def language_model_scores(lm: FrozenLM, name: str, own: Sequence[str], training: Sequence[str]) -> dict[str, list[float]]:
    """Log-perplexity, SLOR, NormLP and the largest surprisal; SLOR is negated, so that lower is more acceptable in all."""
    counts = Counter(i for text in training for i in lm.encode(text))
    total = counts.total() + len(lm.token_ids)
    ids = [lm.encode(text) for text in own]
    nats = nats_of(lm, own)
    rare = [sum(-log((counts[i] + 1) / total) for i in each[len(each) - len(n) :]) for each, n in zip(ids, nats, strict=True)]
    return {
        f"log-perplexity, {name}": [float(n.mean()) for n in nats],
        f"SLOR, {name}": [(float(n.sum()) - r) / len(n) for n, r in zip(nats, rare, strict=True)],
        f"NormLP, {name}": [float(n.sum()) / r for n, r in zip(nats, rare, strict=True)],
        f"max. surprisal, {name}": [float(n.max()) for n in nats],
    }


def nats_of(lm: FrozenLM, own: Sequence[str]) -> list[torch.Tensor]:
    """The surprisals of each text; texts of similar lengths are scored together."""
    ids = [lm.encode(text) for text in own]
    order = sorted(range(len(own)), key=lambda n: len(ids[n]))
    found: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), 32):
        part = order[start : start + 32]
        found |= zip(part, surprisals(lm, [ids[n] for n in part]), strict=True)
    return [found[n][~found[n].isnan()] for n in range(len(own))]


def order_gain(lm: FrozenLM, own: Sequence[str]) -> list[float]:
    """Log-perplexity of a text minus the mean of that of the same words in random order."""
    rng = Random(2)
    mixed = [[shuffled(text, rng) for _ in range(SHUFFLES)] for text in own]
    nats = [float(each.mean()) for each in nats_of(lm, [t for text, m in zip(own, mixed, strict=True) for t in (text, *m)])]
    rows = np.array(nats).reshape(len(own), 1 + SHUFFLES)
    return list(rows[:, 0] - rows[:, 1:].mean(1))


def as_sentence(text: str) -> str:
    """The text with an initial capital letter and a final full stop, which a grammar checker would otherwise ask for."""
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else f"{text}."


def scored(table: pd.DataFrame, training: Sequence[str], reader: str, folder: Path) -> pd.DataFrame:
    """The table with a column per score; lower is more acceptable. Scores that the folder has are read from there."""
    own = list(table.text)
    linter = harper.Linter()
    words = [len(text.split()) for text in own]
    groups: dict[str, Callable[[], dict[str, Any]]] = {
        "reader": lambda: language_model_scores(load_lm(reader), "reader", own, training),
        "order": lambda: {"order gain, reader": order_gain(load_lm(reader), own)},
        "classifiers": lambda: {
            "classifier, characters": classifier(training, character_grams)(own),
            "classifier, word classes": classifier(training, class_grams)(own),
        },
        "checkers": lambda: {
            "harper": [len(linter.lint(as_sentence(text))) / n for text, n in zip(own, words, strict=True)],
            "quire": [len(quire_grammar.check(as_sentence(text))) / n for text, n in zip(own, words, strict=True)],
        },
        "controls": lambda: {
            "repetition": [1 - len(set(plain_words(text))) / max(len(plain_words(text)), 1) for text in own],
            "words": words,
        },
        "smollm2": lambda: language_model_scores(load_lm("smollm2"), "smollm2", own, training),
    }
    for name, compute in groups.items():
        if not (file := folder / f"{name}.csv").exists():
            pd.DataFrame(compute()).to_csv(file, index=False)
        table = table.join(pd.read_csv(file))
    return table


def wins(people: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each pair 1 if the person's text has the lower score, and 1/2 if it is equal; the mean is the AUC."""
    return (people[:, None] < others) + 0.5 * (people[:, None] == others)


def interval(draws: np.ndarray) -> str:
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{low:.2f} to {high:.2f}"


class Held:
    """The held-out texts, and redrawn ones for bootstrap intervals, the same for every score."""

    def __init__(self, table: pd.DataFrame) -> None:
        held = table[~table.tune]
        self.people = held[held.kind == "people"].index
        self.kinds = {kind: own.index for kind, own in held[held.kind != "people"].groupby("kind", sort=False)}
        rng = np.random.default_rng(0)
        self.redrawn = {
            kind: rng.multinomial(len(own), [1 / len(own)] * len(own), DRAWS) / len(own)
            for kind, own in {"people": self.people, **self.kinds}.items()
        }

    def areas(self, score: pd.Series) -> dict[str, tuple[float, np.ndarray]]:
        """By kind, and for the mean of the kinds that are not of tune, the AUC and its bootstrap draws."""
        found: dict[str, tuple[float, np.ndarray]] = {}
        for kind, own in self.kinds.items():
            won = wins(score[self.people].to_numpy(), score[own].to_numpy())
            found[kind] = float(won.mean()), ((self.redrawn["people"] @ won) * self.redrawn[kind]).sum(1)
        hard = [area for kind, area in found.items() if "of tune" not in kind]
        found["mean"] = float(np.mean([area for area, _ in hard])), np.mean([draws for _, draws in hard], 0)
        return found


def together(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """The log odds of a negative by several scores, fitted on tune."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(table.loc[table.tune, list(names)], table.loc[table.tune, "kind"] != "people")
    return pd.Series(model.decision_function(table[list(names)]), index=table.index)


def report(table: pd.DataFrame) -> None:
    """Print the tables in Markdown."""
    held = Held(table)
    names = [name for name in table.columns if name not in ("kind", "tune", "text")]
    kinds = [*held.kinds, "mean"]
    sizes = {kind: len(own) for kind, own in held.kinds.items()}
    print(f"{len(held.people)} instructions by people; negatives: {sizes}\n")
    alone = {name: held.areas(table[name]) for name in names}
    head = "| score | " + " | ".join(kinds) + " | mean, 95 % |\n|---|" + "--:|" * (len(kinds) + 1)
    print(head)
    for name, areas in alone.items():
        print(f"| {name} | " + " | ".join(f"{areas[kind][0]:.2f}" for kind in kinds) + f" | {interval(areas['mean'][1])} |")
    for base in [name for name in names if name.startswith("log-perplexity")]:
        print(f"\n{base} with\n\n" + head.replace("mean, 95 %", "gain in the mean, 95 %"))
        for name in names:
            if name != base:
                both = held.areas(together(table, (base, name)))
                gain, draws = both["mean"][0] - alone[base]["mean"][0], both["mean"][1] - alone[base]["mean"][1]
                print(
                    f"| {name} | "
                    + " | ".join(f"{both[kind][0]:.2f}" for kind in kinds)
                    + f" | {gain:+.3f} ({interval(draws)}) |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("reader")
    parser.add_argument("writer")
    parser.add_argument("studies", type=Path, nargs="*")
    parser.add_argument("--scores", type=Path, required=True)
    args = parser.parse_args()
    args.scores.mkdir(exist_ok=True)
    table, training = texts(args.data, args.studies, load_lm(args.writer))
    report(scored(table, training, args.reader, args.scores))


if __name__ == "__main__":
    main()
