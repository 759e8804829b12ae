"""Atomic writes: a file is written under a temporary name and renamed into place, so that no reader sees half of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardprompt.errors import RecordError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` when the block ends without an error.

    Args:
        path: the file to write.

    Raises:
        RecordError: if the file cannot be written; `path` is unchanged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("hello")
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary_files(folder: Path) -> None:
    """Delete the temporary files that a killed process left in a folder. The caller must hold the lock of the folder."""
    for file in folder.glob(".*.tmp*"):
        file.unlink(missing_ok=True)


def write_error(file: Path, error: OSError) -> RecordError:
    """The error to raise where a file of a record cannot be written."""
    reason = (error.strerror or str(error)).lower()
    return RecordError(f"cannot write {file}: {reason}; no recorded result is lost, and the same command continues from there")
