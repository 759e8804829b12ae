"""The record of a study in a folder: `study.yaml` says what was asked, `points.jsonl` has a line per finished run.

Lines are appended and flushed to the disk; everything else is written aside and renamed into place. So whatever ends the
process, and whenever, the record is whole but for a last line that is cut off, which is set aside when the study goes on.
"""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml
from pydantic import ValidationError
from torch import Tensor

from hardprompt.errors import StudyError
from hardprompt.records.atomic import replacing, write_error
from hardprompt.records.lock import LOCK_FILE
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.schema import check_point, check_study

if TYPE_CHECKING:
    import pandas as pd

SOFT = "soft"
"""Folder inside a study's for the vectors of soft prompts."""

_VERSIONS = ("hardprompt", "torch", "transformers", "stable-baselines3", "gymnasium", "numpy")


class Store:
    """The folder of a study that exists; `Store.create` makes one.

    Args:
        folder: holds a `study.yaml`.

    Raises:
        StudyError: it holds no study, or one that cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.study = read_study(self.folder)
        self.points_file = self.folder / "points.jsonl"

    @classmethod
    def create(
        cls,
        folder: str | Path,
        request: StudyRequest,
        data: dict[str, str],
        vocabulary_size: int,
        known_front: Sequence[dict[str, Any]],
        threads: int,
    ) -> "Store":
        """The folder for a request: a new one, or the one that holds the same request already.

        Args:
            folder: where.
            request: what is asked for.
            data: the digest of the task in each split.
            vocabulary_size: of the model, the reference of the hypervolume.
            known_front: points of the task's true front for this model, where it is known.
            threads: of every run, on which the last bits of a result depend.

        Raises:
            StudyError: the folder holds another study, or something that is none; it is left untouched.
        """
        folder = Path(folder)
        asked = request.model_dump(mode="json")
        if (folder / "study.yaml").is_file():
            store = cls(folder)
            recorded = StudyRequest().model_dump(mode="json") | store.study["request"]
            if other := [key for key in asked if recorded.get(key) != asked[key]]:
                raise StudyError(f"{folder} holds another study (other {', '.join(other)}); choose another --out")
            if store.study.get("data") != data:
                raise StudyError(f"the data of the task have changed since {folder} was begun; choose another --out")
            return store
        refuse_foreign(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
        study = {"request": asked, "data": data, "vocabulary_size": vocabulary_size, "known_front": list(known_front)}
        study |= {"threads": threads, "versions": versions()}
        with replacing(folder / "study.yaml") as aside:
            aside.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return cls(folder)

    def points(self) -> list[dict[str, Any]]:
        """The points recorded so far, in the order of the plan; of a run that was repeated after a failure, the last."""
        return _in_order(_latest(self.lines()), self.study["request"])

    def lines(self) -> list[dict[str, Any]]:
        """Every line of `points.jsonl`, in order; a run that was repeated after a failure has several."""
        return _read_points(self.points_file)

    def keep_soft(self, run: Run, embeds: bytes) -> str:
        """Keep the vectors (L, d) that a run found, a safetensors file; returns its path inside the folder."""
        name = ",".join(quote(str(part), safe="") for part in (run.optimizer, run.split, run.seed, run.weight))
        file = self.folder / SOFT / f"{name}.safetensors"
        with replacing(file) as aside:
            file.parent.mkdir(exist_ok=True)
            aside.write_bytes(embeds)
        return file.relative_to(self.folder).as_posix()

    def soft(self, file: str) -> Tensor:
        """The vectors (L, d) in a file that a point names.

        Raises:
            StudyError: it is not there, or it cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load((self.folder / file).read_bytes())["embeds"]
        except (OSError, SafetensorError, KeyError) as error:
            raise StudyError(f"cannot read the soft prompt {self.folder / file}: {' '.join(str(error).split())}") from error

    def append(self, point: dict[str, Any]) -> None:
        """Add one finished run.

        Raises:
            RecordError: it cannot be written; the record is as it was.
        """
        line = (json.dumps(point, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            with self.points_file.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    while line:
                        line = line[file.write(line) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise write_error(self.points_file, error) from error

    def clean_up(self) -> str:
        """Take away what a process left that was killed; returns the line it had not written to its end.

        That line goes to `points.torn`, so that appending stays safe. For whoever holds the lock of the folder.
        """
        for folder in (self.folder, self.folder / SOFT):
            for left in folder.glob(".*.tmp*"):
                left.unlink(missing_ok=True)
        if not self.points_file.is_file():
            return ""
        whole, newline, torn = self.points_file.read_bytes().rpartition(b"\n")
        if torn:
            with (self.folder / "points.torn").open("ab") as file:
                file.write(torn + b"\n")
            with replacing(self.points_file) as aside:
                aside.write_bytes(whole + newline)
        return torn.decode(errors="replace")


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that is neither a study nor empty; what a killed process left that was about to begin one is nothing.

    Raises:
        StudyError: it is something else.
    """
    if (folder / "study.yaml").is_file() or not folder.exists():
        return
    if not folder.is_dir() or any(not _is_left_over(file) for file in folder.iterdir()):
        raise StudyError(f"{folder} is no study and not empty; choose another --out")


def _is_left_over(file: Path) -> bool:
    return file.name == LOCK_FILE or (file.name.startswith(".study.") and ".tmp" in file.suffixes)


def load_points(folder: str | Path) -> "pd.DataFrame":
    """The recorded points of a study as a table, one row per run, nested metrics as `faithfulness.kl` columns.

    Raises:
        StudyError: the folder holds no study.

    Example:
        >>> table = load_points("hardprompt-out/category-microworld")      # doctest: +SKIP
        >>> table.groupby("optimizer").deployed_test_accuracy.mean()     # doctest: +SKIP
    """
    import pandas as pd

    return pd.json_normalize(Store(folder).points())


def read_study(folder: str | Path) -> dict[str, Any]:
    """What `study.yaml` says.

    Raises:
        StudyError: there is none, or it cannot be read.
    """
    file = Path(folder) / "study.yaml"
    if not file.is_file():
        raise StudyError(f"{folder} holds no study: it has no study.yaml")
    try:
        study = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise StudyError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    check_study(study, f"{file} is no study")
    return study


def recorded_request(study: dict[str, Any]) -> StudyRequest:
    """The request in what `study.yaml` says.

    Raises:
        StudyError: it is none that this version could have written.
    """
    try:
        return StudyRequest.model_validate(study["request"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StudyError(f"study.yaml: {where}: {first['msg'].lower()}; was it written by another version?") from error


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS}


def _read_points(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # not splitlines: a prompt may hold U+2028 and its like
    except UnicodeDecodeError as error:
        raise StudyError(f"{file} is not UTF-8: {error}; repair it") from error
    points = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            point = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StudyError(f"{file}:{number}: not JSON ({error}); repair or remove the line") from error
        check_point(point, f"{file}:{number}: not a point of a study; repair or remove the line")
        points.append(point)
    return points


def _latest(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({Run.of(point): point for point in points}.values())


def _in_order(points: list[dict[str, Any]], request: dict[str, Any]) -> list[dict[str, Any]]:
    """The points by split, seed, optimizer and weight as the request has them, in whatever order they were made.

    Optimizers that it has as `path.py:name` may be called otherwise; these take the places that are left, by name.
    """
    said = {key: value if isinstance(value, list) else [] for key, value in request.items()}  # a damaged request orders nothing
    asked = [str(name).rpartition(".py:") for name in said.get("optimizers", [])]
    found = {p["optimizer"] for p in points}
    others = iter(sorted(found - {name for *_, name in asked}))
    named = [next(others, name) if of_file and name not in found else name for _, of_file, name in asked]
    orders = {key: said.get(f"{key}s", []) for key in ("split", "seed", "optimizer", "weight")} | {"optimizer": named}

    def place(point: dict[str, Any]) -> list[int]:
        return [order.index(point[key]) if point[key] in order else len(order) for key, order in orders.items()]

    return sorted(points, key=place)
