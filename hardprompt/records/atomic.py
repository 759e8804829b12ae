"""Writing files so that a reader never sees half of one: each is written to a temporary file and renamed into place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardprompt.errors import RecordError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends well.

    Raises:
        RecordError: it cannot be written; `path` is as it was.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


def write_error(file: Path, error: OSError) -> RecordError:
    why = (error.strerror or str(error)).lower()
    return RecordError(f"cannot write {file}: {why}; what is recorded is whole, and the same command goes on from there")
