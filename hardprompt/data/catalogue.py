"""The catalogue of tasks by name.

A family of tasks is a module with a dictionary `TASKS`, registered in the entry point group `hardprompt.tasks`. The dictionary
maps each name to a `DataTask`, which reads its data from outside the package, or to a function that takes the name of a data
split and returns the task.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardprompt.data.datasets import DataTask
from hardprompt.data.task import Task
from hardprompt.data.task_file import is_task_path, read_task_file
from hardprompt.errors import HardpromptError, TaskError, UnknownName
from hardprompt.plugins import is_file_reference, load_attribute, load_only, plugins_by_name

TaskLoader = DataTask | Callable[[str], Task]


def all_tasks() -> dict[str, TaskLoader]:
    """The loader of every installed task by name.

    Raises:
        RequestError: two plug-ins offer a task of the same name.
    """
    return plugins_by_name("hardprompt.tasks", "TASKS", "task")


def load_task(
    name: str,
    split: str = "default",
    data: str | Path | None = None,
    shots: int | None = None,
    skip_unusable: bool = False,
) -> Task:
    """Load a task by name or from a file.

    Args:
        name: the name of a task in the catalogue; or a folder with a `task.yaml`, or that file (write ./NAME for a folder with
            the name of a task); or a Python file with one `Task` or `DataTask`; or `path.py:attribute`, which may also be a
            function of the split.
        split: a published split of the data; embedded tasks have only "default".
        data: the file or folder to read, for a task on real data; by default the data are fetched from the hub.
        shots: how many examples per label to draw, for a task on real data; by default a published split is used.
        skip_unusable: leave unusable rows of data files out, and count them in `rows_skipped` of the task; by default the first
            one is an error.

    Raises:
        UnknownName: there is no such task; the message names similar ones.
        TaskError: the task or its data cannot be used, or it has no such split.

    Example:
        >>> load_task("plural").kind
        'generation'
    """
    found = _find(name)
    if isinstance(found, DataTask):
        return found(split, data, shots, skip_unusable)
    if data is not None or shots is not None:
        raise TaskError(f"data and shots belong to tasks on real data, such as sst2; {name} has its own examples")
    if skip_unusable:
        raise TaskError(f"unusable rows can be left out of data files, and {name} has none")
    task = _make(name, found, split) if callable(found) else found
    if not isinstance(task, Task):
        raise TaskError(f"{name} is not a task but {type(task).__name__}; expected a hardprompt.Task")
    if task.split != split:
        raise TaskError(f"task {task.name} has no split {split!r}; it has {task.split!r}")
    return task


def needs_data(name: str) -> bool:
    """Whether the data of a task are outside the package: real data, or the folder of a `task.yaml`.

    Raises:
        UnknownName: there is no such task; the message names similar ones.
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
    if is_task_path(name):
        return read_task_file(name)[0]
    raise UnknownName("task", name, known, " (or a folder with a task.yaml, a .jsonl file with --template, or path.py:name)")


def _make(name: str, function: Callable[[str], object], split: str) -> object:
    try:
        return function(split)
    except HardpromptError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(f"{name} cannot make a task of split {split!r}: {reason}") from error
