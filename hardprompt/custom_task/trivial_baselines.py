"""What a task gives away: the scores of no prompt, of the commonest answer, and of what the model says anyway."""

from collections import Counter
from typing import Any

from hardprompt.data.task import Example, Task
from hardprompt.lm import FrozenLM
from hardprompt.scoring import Scorer

CONTENT_FREE = "N/A"
"""An input that says nothing, after Zhao et al. 2021 (Calibrate Before Use), equation 1 and section 4."""


def baselines(task: Task, lm: FrozenLM) -> dict[str, Any]:
    """Three scores on dev that need no prompt; a prompt is worth something where it beats them.

    Args:
        task: whose dev examples are scored.
        lm: the model.

    Returns:
        `empty`: accuracy (a fraction) and loss (nats per example) of the empty prompt.
        `majority`: accuracy of giving the most frequent answer of train to every input (the first in order of appearance among
        equals), and that answer.
        `model_prior`, where there are label words, else None: the probability of each label at the input "N/A" with the empty
        prompt, a softmax over the label words alone; the most probable label; and the accuracy of giving it to every input.

    Raises:
        RequestError: an example or a label word that the model cannot take.

    Example:
        >>> baselines(load_task("review-sentiment"), load_lm("microworld"))["majority"]["answer"]
        'bad'
    """
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
