"""A metric of your own: the share of a prompt's words that occur in the test inputs.

hardprompt evaluate --text "give the plural" --task plural --metric runs/own_metric.py:input_overlap
"""

from hardprompt import FrozenLM, ScoredPrompt, Task, metric


def inside_and_outside(lm: FrozenLM, task: Task) -> tuple[str, str]:
    """A positive and a negative control; the first prompt must have the higher value."""
    return task.test[0].input, "zzz"


@metric("input-overlap", unit="fraction", better="none", prompts="any", controls=inside_and_outside)
def input_overlap(scored: ScoredPrompt) -> float | None:
    """Share of the words of the text that occur in an input of the test examples."""
    words = scored.hard.text.split()
    known = {word for example in scored.test.examples for word in example.input.split()}
    return sum(word in known for word in words) / len(words) if words else None
