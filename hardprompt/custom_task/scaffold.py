"""A commented folder to start your own task from; it works as it is."""

from pathlib import Path

from hardprompt.data.catalogue import all_tasks
from hardprompt.errors import RequestError

START = Path(__file__).parent / "template"
FILES = ("task.yaml", "data.csv")


def new_task(name: str, out: str | Path = ".") -> Path:
    """Write a folder with a commented `task.yaml` and a small `data.csv`.

    Args:
        name: name of the task and of its folder.
        out: the parent folder; it is created if it does not exist.

    Returns:
        The new folder.

    Raises:
        RequestError: the name is not a folder name or is taken, or the folder cannot be created.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(file.name for file in new_task("mood", folder).iterdir())
        ['data.csv', 'task.yaml']
    """
    if not name.isprintable() or name != name.strip() or not name.strip(".") or "/" in name or "\\" in name:
        raise RequestError(f"{name!r} is not the name of a folder; choose a name such as mood, and its place with --out")
    if name in all_tasks():
        raise RequestError(f"a task with the name {name} is installed; choose another name")
    folder = Path(out) / name
    try:
        folder.mkdir(parents=True)
        for file in FILES:
            (folder / file).write_text((START / file).read_text(encoding="utf-8"), encoding="utf-8", newline="\n")
    except FileExistsError as error:
        raise RequestError(f"{error.filename} already exists and is not changed; choose another name or --out") from error
    except OSError as error:
        raise RequestError(f"cannot create the folder {folder}: {error.strerror}; choose another --out") from error
    return folder
