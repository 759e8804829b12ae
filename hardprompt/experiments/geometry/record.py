"""The record of a geometry study: `geometry.yaml` with the request, a line per prompt, and the trained vectors."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml
from pydantic import ValidationError
from torch import Tensor

from hardprompt.adapter import read_vectors
from hardprompt.data.task import Task
from hardprompt.errors import StudyError
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.field_problems import field_problems
from hardprompt.records.atomic import replacing
from hardprompt.records.store import versions

Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Trained:
    """A soft prompt and what it was trained for.

    Attributes:
        embeds: (L, d).
        task, word: what for, and where it began; None where nobody says.
        source: where it comes from.
    """

    embeds: Tensor
    task: str | None
    word: str | None
    source: str


class GeometryRecord:
    """The folder of a geometry study that exists.

    Args:
        folder: holds a `geometry.yaml`.

    Raises:
        StudyError: it holds none, or one that cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "prompts.jsonl"
        asked = self.folder / "geometry.yaml"
        if not asked.is_file():
            raise StudyError(f"{folder} holds no geometry study: it has no geometry.yaml")
        try:
            self.study = yaml.safe_load(asked.read_text(encoding="utf-8"))
            self.request = GeometryRequest.model_validate(self.study["request"])
        except ValidationError as error:
            raise StudyError(f"{asked} cannot be read: {field_problems(error, GeometryRequest)[0].message}") from error
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
            raise StudyError(f"{asked} cannot be read: {' '.join(str(error).split())}") from error

    @classmethod
    def create(cls, folder: str | Path, request: GeometryRequest, tasks: Sequence[Task]) -> "GeometryRecord":
        """The folder for a request: a new one, or the one that holds the same request already.

        Raises:
            StudyError: the folder holds another study, or something that is none; it is left untouched.
        """
        folder = Path(folder)
        data = {task.name: task.digest for task in tasks}
        if (folder / "geometry.yaml").is_file():
            record = cls(folder)
            if other := [key for key in type(request).model_fields if getattr(record.request, key) != getattr(request, key)]:
                raise StudyError(f"{folder} holds another study (other {', '.join(other)}); choose another --out")
            if record.study.get("data") != data:
                raise StudyError(f"the data of a task have changed since {folder} was begun; choose another --out")
            record._set_torn_line_aside()
            return record
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} is no geometry study and not empty; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
        study = {"request": request.model_dump(mode="json"), "data": data, "versions": versions()}
        with replacing(folder / "geometry.yaml") as aside:
            aside.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return cls(folder)

    def lines(self) -> list[Line]:
        """A line per prompt; of one that was trained again after a failure, the last.

        Raises:
            StudyError: a line that is none, with its number.
        """
        if not self.file.is_file():
            return []
        found = {}
        for number, text in enumerate(self.file.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                found[line["task"], line["word"]] = line
                _ = line["status"], line["error"] if line["status"] != "ok" else line["file"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise StudyError(
                    f"{self.file}:{number}: not a prompt of a study ({error}); repair or remove the line"
                ) from error
        return list(found.values())

    def prompts(self) -> list[Trained]:
        """The prompts that are there, as they were trained.

        Raises:
            StudyError: the vectors of one cannot be read.
        """
        done = [line for line in self.lines() if line["status"] == "ok"]
        return [Trained(self._vectors(line["file"]), line["task"], line["word"], line["file"]) for line in done]

    def keep(self, line: Line, embeds: Tensor) -> None:
        """Add a finished prompt: first its vectors, then its line, which names their file."""
        from safetensors.torch import save

        name = ",".join(quote(str(line[key]), safe="") for key in ("task", "word"))
        file = self.folder / "soft" / f"{name}.safetensors"
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as aside:
            aside.write_bytes(save({"embeds": embeds.detach().cpu().contiguous()}))
        self.append(line | {"file": file.relative_to(self.folder).as_posix()})

    def append(self, line: Line) -> None:
        """Add a line and see it to the disk."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _vectors(self, name: str) -> Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load((self.folder / name).read_bytes())["embeds"]
        except (OSError, SafetensorError, KeyError) as error:
            raise StudyError(f"cannot read the soft prompt {self.folder / name}: {' '.join(str(error).split())}") from error

    def _set_torn_line_aside(self) -> None:
        """A line that was cut off by a crash goes to `prompts.torn`, so that appending stays safe."""
        if not self.file.is_file():
            return
        whole, newline, torn = self.file.read_bytes().rpartition(b"\n")
        if torn:
            with replacing(self.folder / "prompts.torn") as aside:
                aside.write_bytes(torn)
            with replacing(self.file) as aside:
                aside.write_bytes(whole + newline)


def read_added(path: str | Path) -> list[Trained]:
    """The soft prompts in a folder or file, with task and word where their name is TASK,WORD.

    Raises:
        RequestError: it holds none, or cannot be read.
    """
    found = []
    for name, embeds in read_vectors(path).items():
        task, comma, word = (unquote(part) for part in name.partition(","))
        source = str(path) if Path(path).stem == name or Path(path).name == name else f"{path}: {name}"
        found.append(Trained(embeds, task if comma else None, word if comma else None, source))
    return found
