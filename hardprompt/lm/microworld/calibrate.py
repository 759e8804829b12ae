"""Measure what prompts are worth on the microworld model: the figures of its model card.

    python -m hardprompt.lm.microworld.calibrate [--model DIR]

Prints two tables. *Accuracy* on the test split for: the empty prompt, each reference prompt, the reference prompts with
their words shuffled, the held-out paraphrases, 32 random prompts of five tokens, and the best on dev of 256 of them.
*Surprisal*, in nats per token with the beginning of sequence fed and not scored, of the same sorts of prompts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from hardprompt.lm.microworld.world import TASKS, WorldTask, examples

PROMPT_LENGTH = 5


class Scorer:
    """A causal LM that answers tasks under a given prompt."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def accuracy(self, task: WorldTask, prompt: str, split: str) -> float:
        """Share of examples whose most likely label word, or whose whole greedy answer, is the right one."""
        pairs = examples(task.name, split)
        texts = [task.template.format(prompt=prompt, input=text) for text, _ in pairs]
        answers = [answer for _, answer in pairs]
        if task.kind == "classification":
            return self._classified(texts, answers, task.label_words)
        return self._generated(texts, answers)

    def surprisal(self, text: str) -> float:
        """Mean negative log-likelihood of a text at the start of a document, in nats per token."""
        ids = torch.tensor([self.encode(text)])
        with torch.no_grad():
            logits = self.model(ids[:, :-1], use_cache=False).logits[0]
        return float(cross_entropy(logits, ids[0, 1:]))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, the beginning-of-sequence token first."""
        return [self.tokenizer.bos_token_id, *self.tokenizer.encode(text, add_special_tokens=False)]

    def random_prompts(self, count: int, seed: int) -> list[str]:
        """Prompts of random words that survive decoding and encoding."""
        pieces = [self.tokenizer.convert_ids_to_tokens(i) for i in range(len(self.tokenizer))]
        words = [piece[1:] for piece in pieces if piece[0] == "▁" and piece[1:].isalpha() and piece.islower()]
        words = [word for word in words if len(self.tokenizer.encode(word, add_special_tokens=False)) == 1]
        rng = Random(seed)
        return [" ".join(rng.choices(words, k=PROMPT_LENGTH)) for _ in range(count)]

    def _classified(self, texts: Sequence[str], labels: Sequence[str], label_words: dict[str, str]) -> float:
        columns = [self.tokenizer.encode(word, add_special_tokens=False)[0] for word in label_words.values()]
        names = list(label_words)
        rows = [self.encode(text) for text in texts]
        hidden = self._hidden(rows)
        last = hidden[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
        best = self.model.lm_head(last)[:, columns].argmax(-1).tolist()
        return mean(float(names[i] == label) for i, label in zip(best, labels, strict=True))

    def _generated(self, texts: Sequence[str], targets: Sequence[str]) -> float:
        """Greedy decoding gives the target exactly when each of its tokens, and then an end, is the most likely one."""
        starts = [self.encode(text) for text in texts]
        rows = [self.encode(f"{text} {target}") for text, target in zip(texts, targets, strict=True)]
        ends = {self.tokenizer.eos_token_id, self.tokenizer.encode("a\n", add_special_tokens=False)[-1]}
        hidden = self._hidden(rows)
        correct = []
        for start, row, states in zip(starts, rows, hidden, strict=True):
            chosen = self.model.lm_head(states[len(start) - 1 : len(row)]).argmax(-1).tolist()
            correct.append(chosen[:-1] == row[len(start) :] and chosen[-1] in ends)
        return mean(map(float, correct))

    def _hidden(self, rows: Sequence[Sequence[int]]) -> Tensor:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.tokenizer.pad_token_id] * (width - len(row))] for row in rows])
        with torch.no_grad():
            return self.model.base_model(ids, use_cache=False).last_hidden_state


def shuffled(prompt: str, rng: Random) -> str:
    """The words of a prompt in another order."""
    words = prompt.split()
    while (order := rng.sample(words, len(words))) == words:
        pass
    return " ".join(order)


def measure(scorer: Scorer, task: WorldTask, searched: int) -> dict[str, Any]:
    """All accuracies of one task; lists hold one value per prompt."""
    rng = Random(task.name)
    references = {prompt: scorer.accuracy(task, prompt, "dev") for prompt in task.reference_prompts}
    shuffles = [shuffled(prompt, rng) for prompt in task.reference_prompts for _ in range(2)]
    candidates = scorer.random_prompts(searched, seed=0)
    found = max(candidates, key=lambda prompt: scorer.accuracy(task, prompt, "dev"))

    def test(prompts: Iterable[str]) -> list[float]:
        return [scorer.accuracy(task, prompt, "test") for prompt in prompts]

    return {
        "empty": test([""]),
        "reference": test(references),
        "best reference": test([max(references, key=references.__getitem__)]),
        "shuffled": test(shuffles),
        "held out": test(task.held_out_prompts),
        "random": test(candidates[:32]),
        "searched": test([found]),
    }


def _print_accuracies(results: dict[str, dict[str, list[float]]]) -> None:
    columns = ("empty", "best reference", "reference", "shuffled", "held out", "random", "best random", "searched")
    print("| task | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    table = []
    for name, values in results.items():
        best_random = max(values["random"])
        row = [mean(values[column]) if column in values else best_random for column in columns]
        table.append(row)
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    print("| mean | " + " | ".join(f"{mean(column):.2f}" for column in zip(*table, strict=True)) + " |")
    print("\nOf each reference prompt, and of each held-out paraphrase:\n")
    for name, values in results.items():
        task = TASKS[name]
        for column, prompts in (("reference", task.reference_prompts), ("held out", task.held_out_prompts)):
            each = zip(values[column], prompts, strict=True)
            print(f"- {name}, {column}: " + "; ".join(f"{value:.2f} {prompt}" for value, prompt in each))


def _print_surprisals(scorer: Scorer) -> None:
    rng = Random(0)
    references = [prompt for task in TASKS.values() for prompt in task.reference_prompts]
    held_out = [prompt for task in TASKS.values() for prompt in task.held_out_prompts]
    sorts = {
        "reference": references,
        "held out": held_out,
        "reference, shuffled": [shuffled(prompt, rng) for prompt in references],
        "held out, shuffled": [shuffled(prompt, rng) for prompt in held_out],
        "random": scorer.random_prompts(64, seed=1),
    }
    print("\n| prompts | nats per token |\n|---|---|")
    for name, prompts in sorts.items():
        print(f"| {name} | {mean(map(scorer.surprisal, prompts)):.2f} |")


def main() -> None:
    """Command line of the calibration."""
    parser = argparse.ArgumentParser(description="Measure the microworld model.")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model")
    parser.add_argument("--searched", type=int, default=256, help="random prompts to choose from")
    args = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # right padding needs no attention mask in a causal model
    scorer = Scorer(args.model)
    _print_accuracies({name: measure(scorer, task, args.searched) for name, task in TASKS.items()})
    _print_surprisals(scorer)


if __name__ == "__main__":
    main()
