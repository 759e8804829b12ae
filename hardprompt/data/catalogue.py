"""The tasks on offer, by name.

A family of tasks is a module with `TASKS`, a dictionary from name to a function that takes the name of a data split and
returns the task, or to a `DataTask`, which reads its data from elsewhere; it is made known by the entry point group
`hardprompt.tasks`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardprompt.data.datasets import DataTask
from hardprompt.data.task import Task
from hardprompt.data.task_file import is_own, read_own
from hardprompt.errors import HardpromptError, RequestError, TaskError, UnknownName
from hardprompt.plugins import installed_plugins, is_file_reference, load_attribute, load_only

TaskLoader = DataTask | Callable[[str], Task]


def all_tasks() -> dict[str, TaskLoader]:
    """Loader of every installed task by name.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    found: dict[str, TaskLoader] = {}
    for source, family in installed_plugins("hardprompt.tasks", "TASKS"):
        for name, loader in family.items():
            if name in found:
                raise RequestError(f"two plug-ins offer a task {name!r}; the second is {source}")
            found[name] = loader
    return found


def load_task(name: str, split: str = "default", data: str | Path | None = None, shots: int | None = None) -> Task:
    """A task by name, or one's own.

    Args:
        name: of the task; or a folder with a `task.yaml`, or that file (a folder called as a task is ./NAME); or a Python file
            that holds one `Task` or `DataTask`; or `path.py:attribute`, which may be a function of the split too.
        split: which published split of its data; embedded tasks have only "default".
        data: of a task on real data, the file or folder to read; by default the data are fetched from the hub.
        shots: of a task on real data, draw so many examples per label instead of taking a published split.

    Raises:
        UnknownName: no such task; names the nearest.
        TaskError: the task or its data cannot be used, or it has no such split.

    Example:
        >>> load_task("plural").kind
        'generation'
    """
    found = _find(name)
    if isinstance(found, DataTask):
        return found(split, data, shots)
    if data is not None or shots is not None:
        raise TaskError(f"data and shots belong to tasks on real data, such as sst2; {name} has its own examples")
    task = _make(name, found, split) if callable(found) else found
    if not isinstance(task, Task):
        raise TaskError(f"{name} is no task but {type(task).__name__}; expected a hardprompt.Task")
    if task.split != split:
        raise TaskError(f"task {task.name} has no split {split!r}; it has {task.split!r}")
    return task


def needs_data(name: str) -> bool:
    """Whether a task is on data that are not in the package: real data, or one's own folder.

    Raises:
        UnknownName: no such task; names the nearest.
    """
    return isinstance(_find(name), DataTask)


def _find(name: str) -> Any:
    if is_file_reference(name):
        return load_attribute(name)
    if Path(name).suffix == ".py":
        return load_only(name, (Task, DataTask), "task")
    known = all_tasks()
    if name in known:
        return known[name]
    if is_own(name):
        return read_own(name)[0]
    raise UnknownName("task", name, known, " (or a folder with a task.yaml, a .jsonl file with --template, or path.py:name)")


def _make(name: str, function: Callable[[str], object], split: str) -> object:
    try:
        return function(split)
    except HardpromptError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"{name} makes no task of split {split!r}: {reason}") from error
