"""The record of a study in a folder: `study.yaml` says what was asked, `points.jsonl` has a line per finished run.

Lines are appended and flushed; everything else is written aside and renamed into place.
"""

import json
import math
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml
from pydantic import ValidationError
from torch import Tensor

from hardprompt.errors import StudyError
from hardprompt.study.frontier import frontier
from hardprompt.study.record import check_point, check_study
from hardprompt.study.request import Run, StudyRequest

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
        known_front: Sequence[dict[str, Any]] = (),
    ) -> "Store":
        """The folder for a request: a new one, or the one that holds the same request already.

        Args:
            folder: where.
            request: what is asked for.
            data: the digest of the task in each split.
            vocabulary_size: of the model, the reference of the hypervolume.
            known_front: points of the task's true front for this model, where it is known.

        Raises:
            StudyError: the folder holds another study, or something that is none; it is left untouched.
        """
        folder = Path(folder)
        asked = request.model_dump(mode="json")
        if (folder / "study.yaml").is_file():
            store = cls(folder)
            recorded = store.study["request"]
            if other := [key for key in asked if recorded.get(key) != asked[key]]:
                raise StudyError(f"{folder} holds another study (other {', '.join(other)}); choose another --out")
            if store.study.get("data") != data:
                raise StudyError(f"the data of the task have changed since {folder} was begun; choose another --out")
            store._set_torn_line_aside()
            return store
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} is no study and not empty; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
        study = {"request": asked, "data": data, "vocabulary_size": vocabulary_size, "known_front": list(known_front)}
        study["versions"] = versions()
        with replacing(folder / "study.yaml") as aside:
            aside.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return cls(folder)

    def points(self) -> list[dict[str, Any]]:
        """The points recorded so far; of a run that was repeated after a failure, the last."""
        return _latest(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """Every line of `points.jsonl`, in order; a run that was repeated after a failure has several."""
        return _read_points(self.points_file)

    def keep_soft(self, run: Run, embeds: Tensor) -> str:
        """Keep the vectors (L, d) that a run found, as they are; returns the file's path inside the folder."""
        from safetensors.torch import save

        name = ",".join(quote(str(part), safe="") for part in (run.optimizer, run.split, run.seed, run.weight))
        file = self.folder / SOFT / f"{name}.safetensors"
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as aside:
            aside.write_bytes(save({"embeds": embeds.detach().cpu().contiguous()}))
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
        """Add one finished run."""
        with self.points_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_report(self) -> None:
        """(Re)draw what follows from the points: `frontier.json`, `tradeoff.png`, `tradeoff.svg` and `report.html`.

        Where all runs failed there is only the page, with their errors.
        """
        from hardprompt.report.page import study_page
        from hardprompt.report.plot import draw_tradeoff

        recorded = self.points()
        if not recorded:
            return
        points = [point for point in recorded if point["status"] == "ok"]
        found = frontier(points, math.log(self.study["vocabulary_size"]), self.study.get("known_front", ()))
        with replacing(self.folder / "report.html") as aside:
            aside.write_text(study_page(self.study, recorded, found), encoding="utf-8", newline="\n")
        if not points:
            return
        with replacing(self.folder / "frontier.json") as aside:
            aside.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for name in ("tradeoff.png", "tradeoff.svg"):
            with replacing(self.folder / name) as aside:
                draw_tradeoff(points, found, aside)

    def _set_torn_line_aside(self) -> None:
        """A line that was cut off by a crash goes to `points.torn`, so that appending stays safe."""
        if not self.points_file.is_file():
            return
        text = self.points_file.read_text(encoding="utf-8", errors="replace")
        whole, newline, torn = text.rpartition("\n")
        if torn:
            with replacing(self.folder / "points.torn") as aside:
                aside.write_text(torn, encoding="utf-8")
            with replacing(self.points_file) as aside:
                aside.write_text(whole + newline, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends well."""
    aside = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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
    by_run = {(p["optimizer"], p["split"], p["seed"], p["weight"]): p for p in points}
    return list(by_run.values())
