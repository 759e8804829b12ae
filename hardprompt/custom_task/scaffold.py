"""A commented start for a task of one's own, which works as it is."""

from pathlib import Path

from hardprompt.data.catalogue import all_tasks
from hardprompt.errors import RequestError

START = Path(__file__).parent / "template"
FILES = ("task.yaml", "data.csv")


def new_task(name: str, out: str | Path = ".") -> Path:
    """Write a folder with a commented `task.yaml` and a small `data.csv`.

    Args:
        name: of the task and its folder.
        out: the folder that it is put in; made where it is not there.

    Returns:
        The new folder.

    Raises:
        RequestError: a file, folder or catalogue's task has that name, it is no folder's, or the folder cannot be made.

    Example:
        >>> new_task("mood", "tasks").name     # doctest: +SKIP
        'mood'
    """
    if not name.isprintable() or name != name.strip() or not name.strip(".") or "/" in name or "\\" in name:
        raise RequestError(f"{name!r} is no name of a folder; choose one such as mood, and its place with --out")
    if name in all_tasks():
        raise RequestError(f"{name} is a task of the catalogue; choose another name")
    folder = Path(out) / name
    try:
        folder.mkdir(parents=True)
        for file in FILES:
            (folder / file).write_text((START / file).read_text(encoding="utf-8"), encoding="utf-8", newline="\n")
    except FileExistsError as error:
        raise RequestError(f"{error.filename} is there already and stays as it is; choose another name or --out") from error
    except OSError as error:
        raise RequestError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    return folder
