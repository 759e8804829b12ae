"""The record of a geometry study: `geometry.yaml` holds the request, `prompts.jsonl` one line per soft prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hardprompt.adapter import read_vectors
from hardprompt.data.task import Task
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.records.folder import Line, RecordFolder, as_safetensors, check_form
from hardprompt.records.store import versions


@dataclass(frozen=True, eq=False)
class Trained:
    """A soft prompt, and the task and the word that it was trained for.

    Attributes:
        embeds: the vectors, (L, d).
        task: the task that it was trained for; None if it is not known.
        word: the initial word; None if it is not known.
        source: the file that it comes from.
    """

    embeds: Tensor
    task: str | None
    word: str | None
    source: str


class _Study(BaseModel):
    model_config = ConfigDict(strict=True)
    request: Annotated[GeometryRequest, Field(strict=False)]
    data: dict[str, str] = {}
    versions: dict[str, str] = {}


class _Prompt(BaseModel):
    model_config = ConfigDict(strict=True)
    task: str
    word: str


class _Done(_Prompt):
    status: Literal["ok"]
    file: str


class _Failed(_Prompt):
    status: Literal["failed"]
    error: str


class GeometryRecord(RecordFolder):
    """The folder of an existing geometry study; `GeometryRecord.writing` creates one.

    Args:
        folder: the folder, which holds a `geometry.yaml`.

    Attributes:
        request: the request of the study.

    Raises:
        StudyError: if the folder holds no geometry study, or one that cannot be read.
    """

    request_file = "geometry.yaml"
    lines_file = "prompts.jsonl"
    kind = "geometry study"
    study_form = _Study

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.request = GeometryRequest.model_validate(self.study["request"])

    def check_line(self, line: object, what: str) -> None:
        """As `RecordFolder` describes it."""
        failed = isinstance(line, dict) and line.get("status") == "failed"
        check_form(_Failed if failed else _Done, line, what)

    def lines(self, *, complete: bool = False) -> list[Line]:
        """One line per prompt; for a prompt that was trained again after a failure, the last line.

        Args:
            complete: as in `RecordFolder`.

        Raises:
            StudyError: if a line is not valid, with its number.
        """
        return list({(line["task"], line["word"]): line for line in super().lines(complete=complete)}.values())

    def prompts(self) -> list[Trained]:
        """The trained prompts.

        Raises:
            StudyError: if a line is not valid, or the vectors of a prompt cannot be read.
        """
        done = [line for line in self.lines() if line["status"] == "ok"]
        return [Trained(self.load_vectors(line["file"]), line["task"], line["word"], line["file"]) for line in done]

    def save_prompt(self, line: Line, embeds: Tensor) -> None:
        """Save the vectors of a finished prompt, and then its line, which names their file.

        Raises:
            RecordError: if one of the two cannot be written.
        """
        self.append(line | {"file": self.save_vectors((line["task"], line["word"]), as_safetensors(embeds))})


def study_contents(request: GeometryRequest, tasks: Sequence[Task]) -> dict[str, Any]:
    """The contents of `geometry.yaml`."""
    data = {task.name: task.digest for task in tasks}
    return {"request": request.model_dump(mode="json"), "data": data, "versions": versions()}


def read_added(path: str | Path) -> list[Trained]:
    """The soft prompts in a folder or file; a name of the form TASK,WORD gives the task and the word.

    Args:
        path: a path that `hardprompt.adapter.read_vectors` accepts.

    Raises:
        RequestError: if it holds no soft prompt, or cannot be read.
    """
    found = []
    for name, embeds in read_vectors(path).items():
        task, comma, word = (unquote(part) for part in name.partition(","))
        source = str(path) if Path(path).stem == name or Path(path).name == name else f"{path}: {name}"
        found.append(Trained(embeds, task if comma else None, word if comma else None, source))
    return found
