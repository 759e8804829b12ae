"""The tasks on offer, by name.

A family of tasks is a module with `TASKS`, a dictionary from name to a function that takes the name of a data split and
returns the task; it is made known by the entry point group `hardprompt.tasks`.
"""

from collections.abc import Callable

from hardprompt.errors import HardpromptError, RequestError, TaskError, UnknownName
from hardprompt.plugins import is_file_reference, load_attribute, offers
from hardprompt.task import Task

TaskLoader = Callable[[str], Task]


def all_tasks() -> dict[str, TaskLoader]:
    """Loader of every installed task by name.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    found: dict[str, TaskLoader] = {}
    for source, family in offers("hardprompt.tasks", "TASKS"):
        for name, loader in family.items():
            if name in found:
                raise RequestError(f"two plug-ins offer a task {name!r}; the second is {source}")
            found[name] = loader
    return found


def load_task(name: str, split: str = "default") -> Task:
    """A task by name, or from a Python file as `path.py:attribute` (a `Task`, or a function of the split that returns one).

    Args:
        name: of the task.
        split: which published split of its data; most tasks have only "default".

    Raises:
        UnknownName: no such task; names the nearest.
        TaskError: the task cannot be used, or has no such split.

    Example:
        >>> load_task("plural").kind
        'generation'
    """
    if is_file_reference(name):
        found = load_attribute(name)
        task = _make(name, found, split) if callable(found) else found
    else:
        known = all_tasks()
        if name not in known:
            raise UnknownName("task", name, known, " (or a .jsonl file with --template, or path.py:name)")
        task = _make(name, known[name], split)
    if not isinstance(task, Task):
        raise TaskError(f"{name} is no task but {type(task).__name__}; expected a hardprompt.Task")
    if task.split != split:
        raise TaskError(f"task {task.name} has no split {split!r}; it has {task.split!r}")
    return task


def _make(name: str, function: Callable[[str], object], split: str) -> object:
    try:
        return function(split)
    except HardpromptError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"{name} makes no task of split {split!r}: {reason}") from error
