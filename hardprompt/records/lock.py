"""The lock of a folder: only one process at a time writes to it. The operating system releases the lock of a dead process."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hardprompt.errors import StudyError

LOCK_FILE = ".lock"
"""Exists in a folder while a process writes to it, and holds the number of that process."""

STOP_FILE = "stop"
"""A file with this name in the folder of a study stops the study, which then deletes the file."""


@contextmanager
def locked(folder: Path, *, stop_file: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it does not exist.

    Args:
        folder: the folder to write to.
        stop_file: whether the process in the block looks for `STOP_FILE`, so that the error can name it as a way out.

    Raises:
        StudyError: if another process holds the lock, or the folder cannot be written to.
    """
    file = folder / LOCK_FILE
    lock = FileLock(file, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        holder = file.read_text(encoding="utf-8") if file.is_file() else ""
        stop = f"stop it with `touch {folder / STOP_FILE}`, " if stop_file else ""
        raise StudyError(
            f"{folder} is in use by {holder or 'another process'}; wait until that ends, {stop}or choose another --out"
        ) from error
    except OSError as error:
        raise StudyError(f"cannot create the folder {folder}: {error.strerror}; choose another --out") from error
    try:
        with suppress(OSError):  # on a full disk the lock holds without the number of the process
            file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # before the release, so that a process which waits for it opens a new file
        lock.release()
