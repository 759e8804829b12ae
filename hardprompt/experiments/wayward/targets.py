"""Texts that a prompt can be made to project to: definitions of other tasks, contradictions, plain prose, code."""

from hardprompt.data.task import Task

CONTRADICTIONS = {
    "capital": "name a small village, never the capital",
    "country-of-landmark": "say anything but the country",
    "opposite": "copy the word and do not change it",
    "past-tense": "write what will happen tomorrow",
    "review-return": "the writer hates it and never comes back",
    "to-positive": "make the sentence sad and angry",
}
"""By task, what asks for something that its answers are not."""

CONTRADICTION = "do the opposite of what is right"
"""For every other task."""

PROSE = (
    "the old man walked down to the river",
    "two children were playing in the garden",
    "it had rained all night and the road was wet",
)

CODE = ("for i in range(10): print(i)", "if (x > 0) { return x; }")


def wayward_targets(task: Task, others: list[Task]) -> dict[str, str]:
    """A text of each kind for a task: `same inputs` and `other inputs` are the first reference prompts of other tasks.

    Args:
        task: what is to be solved.
        others: tasks to take definitions from; those that share their inputs with the task count as `same inputs`.

    Example:
        >>> from hardprompt import load_task
        >>> found = wayward_targets(load_task("capital"), [load_task("plural"), load_task("continent")])
        >>> found["same inputs"], found["other inputs"]
        ('give the continent of the country', 'give the plural of the word')
    """
    inputs = {example.input for example in task.test}
    named = [each for each in others if each.name != task.name and each.reference_prompts]
    alike = [each for each in named if inputs & {example.input for example in each.test}]
    unlike = [each for each in named if each not in alike]
    definitions = {
        kind: group[0].reference_prompts[0] for kind, group in (("same inputs", alike), ("other inputs", unlike)) if group
    }
    return definitions | {
        "contradiction": CONTRADICTIONS.get(task.name, CONTRADICTION),
        "prose": PROSE[0],
        "code": CODE[0],
    }
