"""Target texts for wayward prompts: definitions of other tasks, contradictions, prose and code."""

from hardprompt.data.task import Task

CONTRADICTIONS = {
    "capital": "name a small village, never the capital",
    "country-of-landmark": "say anything but the country",
    "opposite": "copy the word and do not change it",
    "past-tense": "write what will happen tomorrow",
    "review-return": "the writer hates it and never comes back",
    "to-positive": "make the sentence sad and angry",
}
"""For some tasks, an instruction that asks for other answers."""

CONTRADICTION = "do the opposite of what is right"
"""The contradiction for all other tasks."""

PROSE = (
    "the old man walked down to the river",
    "two children were playing in the garden",
    "it had rained all night and the road was wet",
)

CODE = ("for i in range(10): print(i)", "if (x > 0) { return x; }")


def wayward_targets(task: Task, others: list[Task]) -> dict[str, str]:
    """A target text of each kind for a task.

    Args:
        task: the task that the prompt solves.
        others: tasks whose first reference prompts are used as definitions.

    Returns:
        Texts by kind: `same inputs` and `other inputs`, definitions of tasks that share inputs with the task or do not, if
        there are any; `contradiction`; `prose`; and `code`.

    Example:
        >>> from hardprompt import load_task
        >>> found = wayward_targets(load_task("capital"), [load_task("plural"), load_task("continent")])
        >>> found["same inputs"], found["other inputs"]
        ('give the continent of the country', 'give the plural of the word')
    """
    inputs = {example.input for example in task.test}
    named = [each for each in others if each.name != task.name and each.reference_prompts]
    sharing = [each for each in named if inputs & {example.input for example in each.test}]
    separate = [each for each in named if each not in sharing]
    definitions = {
        kind: group[0].reference_prompts[0] for kind, group in (("same inputs", sharing), ("other inputs", separate)) if group
    }
    return definitions | {
        "contradiction": CONTRADICTIONS.get(task.name, CONTRADICTION),
        "prose": PROSE[0],
        "code": CODE[0],
    }
