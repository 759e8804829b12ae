"""One process at a time works on a folder. The system gives up the lock of a process that dies, however it dies."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hardprompt.errors import StudyError

LOCK_FILE = ".lock"

STOP_FILE = "stop"
"""A file of this name in a study's folder stops the study; the study then deletes the file."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work on a folder, which is made, with nobody else doing so.

    Raises:
        StudyError: another process does, or the folder cannot be written to.
    """
    file = folder / LOCK_FILE
    lock = FileLock(file, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        holder = file.read_text(encoding="utf-8") if file.is_file() else ""
        raise StudyError(
            f"{folder} is taken: {holder or 'another process'} works on it; let it end, have it stop with "
            f"`touch {folder / STOP_FILE}`, or choose another --out"
        ) from error
    except OSError as error:
        raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
    try:
        file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is held: whoever opened it meanwhile sees that it is gone, and opens it anew
        lock.release()
