"""Wrong requests and wrong files as rows of a table: the files of a row, and the check of what the command line says."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Wrong(NamedTuple):
    """A command, the pattern of its error line (case is ignored), and files in addition to those of `given`."""

    command: str
    says: str
    files: Mapping[str, str | bytes] = {}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, links followed."""
    files = [Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names]
    return {str(file): file.read_bytes() for file in files}


def lay_out(folder: Path, given: Path, files: Mapping[str, str | bytes]) -> None:
    """Put the shared files and the files of a row into one folder."""
    for shared in given.iterdir():
        (folder / shared.name).symlink_to(shared)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def check(row: Wrong, status: int, out: str, err: str) -> None:
    """Check that the status is 2 and that stderr is one line that matches the row."""
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("hardprompt: ") and "Traceback" not in err
    assert re.search(row.says, err, re.IGNORECASE), err
