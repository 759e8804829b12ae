"""The request of a transfer matrix, and its record: `transfer.yaml` holds the request, `cells.jsonl` one line per cell."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, field_validator

from hardprompt.errors import RequestError, about
from hardprompt.field_problems import field_problems
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.lm.packaged import PACKAGED
from hardprompt.lm.sources import EMBEDDED, locate
from hardprompt.records.folder import RecordFolder, check_form
from hardprompt.records.request import same_model


class TransferRequest(BaseModel):
    """A request to measure the prompts of studies on several models.

    Attributes:
        studies: the folders of the studies.
        lms: names of models, in addition to those of the studies; by default every embedded and every downloaded model.
        chat: names of those models that read the tasks through their chat template.
        limit: the number of test examples, as in `StudyRequest`; by default that of each study.
        device, dtype, memory: as in `StudyRequest`, for all models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    studies: tuple[str, ...]
    lms: tuple[str, ...] = ()
    chat: tuple[str, ...] = ()
    limit: PositiveInt | None = None
    device: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    memory: str = BUDGET

    @field_validator("memory")
    @classmethod
    def _size(cls, size: str) -> str:
        memory_bytes(size)
        return size

    @classmethod
    def make(cls, **fields: Any) -> "TransferRequest":
        """A request with the given fields, and defaults for the others.

        Raises:
            RequestError: a field does not exist, or its value cannot be used.
            LMError: there is no model of a given name.

        Example:
            >>> TransferRequest.make(studies=("runs/quick",), lms=("microworld",)).dtype
            'float32'
        """
        try:
            request = cls(**fields)
        except ValidationError as error:
            place, message = field_problems(error, cls)[0]
            with about(*place):
                raise RequestError(message) from error
        if not request.studies:
            raise RequestError("studies: give the folder of at least one study")
        for name in request.lms:
            locate(name)
        return request

    def models(self, sources: tuple[str, ...]) -> list[str]:
        """The names of all models, each model once: first those of the studies, since only they tell where vectors fit.

        Raises:
            RequestError: a name in `chat` is none of them.
        """
        downloaded = (name for name, model in PACKAGED.items() if model.origin)
        found: list[str] = []
        for name in (*sources, *(self.lms or (*EMBEDDED, *downloaded))):
            if not any(same_model(name, other) for other in found):
                found.append(name)
        for name in self.chat:
            if not any(same_model(name, other) for other in found):
                raise RequestError(f"chat: {name!r} is none of the models ({', '.join(found)}); add it with --lm {name}")
        return found

    def chats(self, lm: str) -> bool:
        """Whether a model reads the tasks through its chat template, although its study may not."""
        return any(same_model(lm, name) for name in self.chat)


class _Line(BaseModel):
    model_config = ConfigDict(strict=True)
    study: str
    split: str
    number: int | None
    optimizer: str
    prompt_text: str
    prompt_as: Literal["text", "vectors"]
    source_lm: str
    lm: str
    data: str


class _Done(_Line):
    status: Literal["ok"]
    accuracy: float
    loss: float
    n: int
    correct: str
    log_perplexity: float | None
    embeddings: str


class _NotDone(_Line):
    status: Literal["failed", "skipped"]
    reason: str


class TransferRecord(RecordFolder):
    """The folder of an existing transfer matrix; `TransferRecord.writing` creates one.

    Args:
        folder: the folder, which holds a `transfer.yaml`.

    Raises:
        StudyError: if the folder holds no transfer matrix, or a file that cannot be read.
    """

    request_file = "transfer.yaml"
    lines_file = "cells.jsonl"
    kind = "transfer matrix"
    request_key = None
    study_form = TransferRequest

    def check_line(self, line: object, what: str) -> None:
        """As `RecordFolder` describes it."""
        check_form(_Done if isinstance(line, dict) and line.get("status") == "ok" else _NotDone, line, what)
