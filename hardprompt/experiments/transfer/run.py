"""Filling a transfer matrix, one line per cell in a folder that can be resumed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hardprompt.data.task import Task
from hardprompt.errors import HardpromptError
from hardprompt.experiments.transfer.measure import Line, Wanted, embeddings_of, measure
from hardprompt.experiments.transfer.prompts import StudyPart, load_parts
from hardprompt.experiments.transfer.report import write_transfer
from hardprompt.experiments.transfer.request import TransferRecord, TransferRequest
from hardprompt.experiments.transfer.table import Transfer, key_of, transfer_of
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.memory import BUDGET
from hardprompt.records.request import model_names, same_model
from hardprompt.study.cancellation import Cancellation, stoppable
from hardprompt.study.loading import log_warnings
from hardprompt.study.runner import ROOT


def transfer(
    studies: Sequence[str | Path],
    lms: Sequence[str] = (),
    *,
    chat: Sequence[str] = (),
    limit: int | None = None,
    device: str | None = None,
    dtype: str = "float32",
    memory: str = BUDGET,
    out: str | Path | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Transfer:
    """Measure the prompts of studies on other models: the matrix of prompts x models.

    Every prompt of a finished run is measured by its text, which each model tokenizes afresh. A soft prompt is measured by the
    text of its projection, and also by its vectors on models with the embedding width and the vocabulary of its own model. The
    models of each study are among the models, and the empty prompt is one of the prompts. Of several models that a prompt was
    searched for, the first one is the model of the study.

    The folder holds `cells.jsonl`, `transfer.json`, tables as CSV and Markdown, `matrix.png`, `matrix.svg` and `report.html`.
    The same request in the same folder resumes. A cell that cannot be measured is recorded with the reason, and is tried again
    when the matrix is resumed.

    Args:
        studies: folders of studies.
        lms: names of models, as `load_lm` takes them; by default every embedded and every downloaded model.
        chat: those of the models that read the tasks through their chat template. Every model reads the task of a study that is
            a chat in this way.
        limit: the number of test examples, drawn by label; by default that of each study.
        device, dtype, memory: as in `load_lm`, for all models.
        out: the folder; by default `hardprompt-out/transfer-STUDY`, or `hardprompt-out/transfer` for several studies.
        announce: receives a line about each model.

    Returns:
        The cells with intervals, differences and ranks, and the rank correlations.

    Raises:
        RequestError: a model or a value does not exist, or a folder holds no study or another matrix.
        RecordError: the record cannot be written.
        RunError: a file `stop` in the folder stopped the measurement.

    Example:
        >>> found = transfer(["runs/quick"], ["microworld-reader"])      # doctest: +SKIP
        >>> found.matrix().shape      # doctest: +SKIP
        (27, 2)
    """
    request = TransferRequest.make(
        studies=tuple(map(str, studies)),
        lms=tuple(lms),
        chat=tuple(chat),
        limit=limit,
        device=device,
        dtype=dtype,
        memory=memory,
    )
    parts = load_parts(request.studies, limit)
    models = request.models(tuple(dict.fromkeys(lm for part in parts for lm in part.request.lms)))
    log_warnings(dict.fromkeys(line for part in parts if part.task for line in part.task.warnings))
    name = f"transfer-{Path(request.studies[0]).resolve().name}" if len(request.studies) == 1 else "transfer"
    folder = ROOT / name if out is None else Path(out)
    with TransferRecord.writing(folder, request.model_dump(mode="json")) as record, stoppable(folder) as cancellation:
        _Matrix(request, parts, models, record, cancellation, announce).fill()
        found = transfer_of(record)
        write_transfer(record, found)
        return found


class _Matrix:
    """The cells of a request, and which of them are recorded.

    Args:
        request: the request.
        parts: the prompts.
        models: the names of the models.
        record: the folder.
        cancellation: knows whether to stop.
        announce: receives a line about each model.
    """

    def __init__(
        self,
        request: TransferRequest,
        parts: Sequence[StudyPart],
        models: Sequence[str],
        record: TransferRecord,
        cancellation: Cancellation,
        announce: Callable[[str], None],
    ) -> None:
        self._request, self._parts, self._record = request, parts, record
        self._cancellation, self._announce = cancellation, announce
        self._names = model_names(models)
        self._recorded = {key_of(line): line for line in record.lines()}
        self._embeddings = {line["lm"]: line["embeddings"] for line in self._recorded.values() if line["status"] == "ok"}

    def fill(self) -> None:
        """Measure the cells that are not recorded yet, model by model."""
        for name, short in self._names.items():
            batches = [(part, task, self._missing(wanted)) for part, task, wanted in self._batches(name)]
            if count := sum(len(missing) for _, _, missing in batches):
                self._announce(f"{short}: {count} cells")
                self._fill_model(name, batches)

    def _fill_model(self, name: str, batches: Sequence[tuple[StudyPart, Task | None, list[Wanted]]]) -> None:
        """Load a model, which is released at the end, and measure its cells."""
        try:
            lm = load_lm(name, self._request.device, self._request.dtype, self._request.memory)
        except HardpromptError as error:
            self._append([each.failed(str(error)) for _, _, missing in batches for each in missing])
            return
        lm.name, start = self._names[name], lm.prefix_ids
        self._embeddings[lm.name] = embeddings_of(lm)
        for part, task, missing in batches:
            if missing:
                own = part.request.start if same_model(name, part.request.lm) else None
                lm.prefix_ids = start if own is None else lm.start_ids_of(own)
                self._measure(lm, part, task, missing)

    def _measure(self, lm: FrozenLM, part: StudyPart, task: Task | None, missing: Sequence[Wanted]) -> None:
        if task is None:
            self._append([each.failed(part.problem) for each in missing])
            return
        lines = measure(lm, task, part.request.prompt_length, missing, self._embeddings)
        while True:
            with self._cancellation.interruptible():
                batch = next(lines, None)
            if batch is None:
                return
            self._append(batch)

    def _batches(self, name: str) -> Iterator[tuple[StudyPart, Task | None, list[Wanted]]]:
        """The cells of a model, those of one task together: a part of a study with the task, the task as the model reads it."""
        found: dict[object, tuple[StudyPart, Task | None, list[Wanted]]] = {}
        for number, part in enumerate(self._parts):
            task = part.task
            if task is not None and self._request.chats(name):
                task = replace(task, chat=True)
            start = part.request.start if same_model(name, part.request.lm) else None
            key = number if task is None else (task.name, task.digest, start, part.request.prompt_length)
            batch = found.setdefault(key, (part, task, []))[2]
            read = {"lm": self._names[name], "chat": bool(task and task.chat), "data": task.digest if task else ""}
            source = self._names[next(other for other in self._names if same_model(other, part.request.lm))]
            batch += [Wanted(each, part.store, {**each.point, "source_lm": source, **read}) for each in part.prompts]
        yield from found.values()

    def _missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """The cells that are not recorded, or not for this text and these data, or that could not be measured."""
        return [each for each in wanted if not _holds(self._recorded.get(key_of(each.line)), each.line)]

    def _append(self, lines: Sequence[Line]) -> None:
        for line in lines:
            if self._recorded.get(key_of(line)) != line:
                self._record.append(line)
                self._recorded[key_of(line)] = line


def _holds(recorded: Line | None, line: Line) -> bool:
    """Whether a recorded cell is that of a prompt, and has been measured or can never be."""
    same = recorded is not None and all(recorded.get(name) == line[name] for name in ("prompt_text", "data"))
    return same and recorded is not None and recorded["status"] != "failed"
