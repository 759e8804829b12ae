"""Scores that need no prompt: the empty prompt, the most frequent answer, and the model's own preference."""

from collections import Counter
from typing import Any

from hardprompt.data.task import Example, Task
from hardprompt.lm import FrozenLM
from hardprompt.scoring import Scorer
from hardprompt.scoring.truncation import fit_to_context

CONTENT_FREE = "N/A"
"""An input without content (Zhao et al. 2021, Calibrate Before Use, equation 1 and section 4)."""


def baselines(task: Task, lm: FrozenLM) -> dict[str, Any]:
    """Score three trivial baselines on the dev examples of a task. A useful prompt performs better than all of them.

    Args:
        task: the task.
        lm: the model.

    Returns:
        empty: accuracy (a fraction) and loss (nats per example) of the empty prompt.
        majority: the most frequent answer of train (the first one among equals), and the accuracy of always giving it.
        model_prior: the probability of each label at the input "N/A" with the empty prompt (a softmax over the label words),
            the most probable label, and the accuracy of always giving it; None for a task without label words.

    Raises:
        RequestError: the model cannot process an example or a label word.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> baselines(load_task("review-sentiment"), load_lm("microworld"))["majority"]["answer"]
        'bad'
    """
    task = fit_to_context(task, lm, 0)
    empty = Scorer(lm, task, task.dev).score_ids([()])
    common, _ = Counter(example.answer for example in task.train).most_common(1)[0]
    return {
        "empty": {"accuracy": float(empty.accuracy), "loss": float(empty.mean_loss)},
        "majority": {"answer": common, "accuracy": _constant(task, common)},
        "model_prior": _prior(task, lm) if task.label_words else None,
    }


def _prior(task: Task, lm: FrozenLM) -> dict[str, Any]:
    logits = Scorer(lm, task, [Example(CONTENT_FREE, task.labels[0])]).score_ids([()]).label_logits
    assert logits is not None  # there are label words
    shares = logits[0, 0].softmax(-1).tolist()
    label = task.labels[shares.index(max(shares))]
    return {"probabilities": dict(zip(task.labels, shares, strict=True)), "answer": label, "accuracy": _constant(task, label)}


def _constant(task: Task, answer: str) -> float:
    """Accuracy on dev of one answer to every input."""
    return sum(example.answer == answer for example in task.dev) / len(task.dev)
