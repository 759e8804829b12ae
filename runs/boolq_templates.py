"""Ask a model the questions of BoolQ in ten ways, for smollm2.md.

    python runs/boolq_templates.py FILE [--lm smollm2] [--dtype bfloat16] [--limit 400] [--threads 2]

FILE is the `validation.jsonl` of BoolQ. A way to ask is a template, two wordings and the words for no and yes. The wording with
the larger area under the ROC curve on 100 dev questions is measured on `--limit` test questions: its accuracy minus that of the
more frequent answer, and the area under the ROC curve of log p(yes) - log p(no), which does not depend on how often the model
says yes. Intervals (95 %) resample the test questions.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hardprompt import FrozenLM, Scorer, Task, Template, load_lm, load_task
from hardprompt.data.task import Example

DEV, DRAWS = 100, 2000


@dataclass(frozen=True)
class Way:
    """A way to ask: a template with `{prompt}` and `{input}`, wordings of the prompt, and the words for no and yes."""

    template: str
    wordings: tuple[str, str]
    words: tuple[str, str] = ("no", "yes")
    chat: bool = False


WAYS = (
    Way("{input} {prompt}", ("answer:", "the answer is")),
    Way("{input}\n{prompt}", ("Answer:", "The answer is"), ("No", "Yes")),
    Way("{input}\n{prompt}", ("Yes or no?", "Answer yes or no:")),
    Way("{input}\n{prompt}", ("True or false?", "This is"), ("false", "true")),
    Way("Passage: {input}\n{prompt}", ("Is this right or wrong? It is", "The answer to the question is"), ("wrong", "right")),
    Way(
        "{prompt}\n{input}\nAnswer:", ("Answer the question about the passage with yes or no.", "Read the passage. Is it true?")
    ),
    Way("Passage: {input}\n{prompt}", ("According to the passage, the answer is", "Judging by the passage:")),
    Way("{input}\n{prompt}", ("Answer with yes or no.", "Answer the question."), ("No", "Yes"), chat=True),
    Way("{prompt}\n\n{input}", ("Read this and answer the question with yes or no.", "Is it true?"), ("No", "Yes"), chat=True),
    Way("{input}\n{prompt}", ("True or false?", "Is that true or false?"), ("False", "True"), chat=True),
)


def asked(task: Task, way: Way) -> Task:
    """The task with the template and the words of a way to ask."""
    words = dict(zip(("False", "True"), way.words, strict=True))
    return replace(task, template=Template(way.template), label_words=words, chat=way.chat)


def margins(lm: FrozenLM, task: Task, examples: Sequence[Example], text: str) -> np.ndarray:
    """log p(yes) - log p(no) for each example, (N,)."""
    logits = Scorer(lm, task, examples).score_text(text).label_logits
    assert logits is not None
    return (logits[0, :, 1] - logits[0, :, 0]).double().numpy()


def area(margin: np.ndarray, yes: np.ndarray) -> float:
    """The area under the ROC curve: the share of pairs of a yes and a no that the margin orders rightly, ties counting half."""
    differences = margin[yes][:, None] - margin[~yes][None, :]
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def interval(values: Sequence[float], form: str) -> str:
    """The 95 % interval of resampled values, in a format such as ".3f"."""
    low, high = np.quantile(values, (0.025, 0.975))
    return f"({low:{form}} to {high:{form}})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--lm", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lm = load_lm(given.lm, dtype=given.dtype)
    task = load_task("boolq", data=given.file)
    dev, test = task.dev[:DEV], task.test[: given.limit]
    right_dev, right = (np.array([each.answer == "True" for each in part]) for part in (dev, test))
    frequent = max(right.mean(), 1 - right.mean())
    print(f"{len(test)} test questions, the more frequent answer is right on {frequent:.3f}\n")
    print("| template | wording | words | says yes | accuracy minus the more frequent answer | area under the ROC curve |")
    print("|---|---|---|---|---|---|", flush=True)
    for way in WAYS:
        own = asked(task, way)
        best = max(way.wordings, key=lambda text: area(margins(lm, own, dev, text), right_dev))
        margin = margins(lm, own, test, best)
        correct = (margin > 0) == right
        drawn = np.random.default_rng(0).integers(len(test), size=(DRAWS, len(test)))
        gains = [correct[rows].mean() - max(right[rows].mean(), 1 - right[rows].mean()) for rows in drawn]
        areas = [area(margin[rows], right[rows]) for rows in drawn]
        cells = (
            f"`{way.template!r}`{', chat' if way.chat else ''}",
            f"*{best}*",
            "/".join(way.words),
            f"{(margin > 0).mean():.2f}",
            f"{correct.mean() - frequent:+.3f} {interval(gains, '+.3f')}",
            f"{area(margin, right):.3f} {interval(areas, '.3f')}",
        )
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
