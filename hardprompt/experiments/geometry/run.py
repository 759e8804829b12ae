"""A geometry study from start to end: train the missing prompts, measure all of them, and write tables, figures and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, RunError
from hardprompt.experiments.geometry.analysis import PromptVectors, analyze_vectors, check_fit
from hardprompt.experiments.geometry.record import GeometryRecord, Trained, read_added
from hardprompt.experiments.geometry.report import spots, write_geometry
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.training import GeometryListener, initial_tokens, open_record, train_missing
from hardprompt.lm import FrozenLM
from hardprompt.records.lock import locked


def geometry(
    request: GeometryRequest | None = None,
    out: str | Path | None = None,
    listener: GeometryListener | None = None,
    added: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Train the missing prompts, measure where their vectors are, and write tables, figures and a page to the folder.

    Args:
        request: what to train; by default the embedded model's six tasks and ten words.
        out: the folder; by default `hardprompt-out/geometry-LM`.
        listener: receives the progress.
        added: soft prompts trained elsewhere, to compare with the trained ones: the folder of a peft adapter, or a `.npy`,
            `.npz` or `.safetensors` file (`hardprompt.adapter.read_vectors`). A name TASK,WORD gives the task and the word.

    Returns:
        What `hardprompt.experiments.geometry.analysis.analyze_vectors` returns, and `folder` and `prompts` (one line per
        prompt).

    Raises:
        RequestError: if the request, the folder or a file cannot be used, or another process writes to the folder.
        RecordError: if the record cannot be written.
        RunError: if no prompt could be trained, or a file `stop` in the folder stopped the study.

    Example:
        >>> request = GeometryRequest.make(tasks=("plural", "past-tense", "capital"), words=("cat", "dog"))
        >>> found = geometry(request, "geometry")      # doctest: +SKIP
        >>> found["distances"]["cosine"]["groups"]["same word"]["mean"]      # doctest: +SKIP
        0.38
    """
    request = request or GeometryRequest.make()
    tasks, lm, others = request.load_tasks(), request.load_model(), [each for path in added for each in read_added(path)]
    for each in others:
        check_fit(each, lm)
    with open_record(request, out, tasks, lm) as record:
        train_missing(record, listener, tasks, lm)
        return _measured(record, lm, tasks, others)


def measure_again(folder: str | Path, added: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Measure the vectors of a recorded study again and rewrite its tables, figures and page; nothing is trained.

    If the data of a task are no longer available, the finding about the relation of the nearest tokens to the tasks is
    undecided.

    Args:
        folder: the folder of the study.
        added: soft prompts trained elsewhere, as in `geometry`.

    Returns:
        What `geometry` returns.

    Raises:
        StudyError: if the folder holds no geometry study or vectors that cannot be read, or another process writes to it.
        RequestError: if the model or a file cannot be used.
        RunError: if the study has no prompt.
    """
    record = GeometryRecord(folder)
    lm, others = record.request.load_model(), [each for path in added for each in read_added(path)]
    try:
        tasks = [task for task in record.request.load_tasks() if record.study["data"].get(task.name) == task.digest]
    except RequestError:
        tasks = []
    with locked(record.folder, stop_file=False):
        record.clean_up()
        return _measured(record, lm, tasks, others)


def _measured(record: GeometryRecord, lm: FrozenLM, tasks: Sequence[Task], others: Sequence[Trained]) -> dict[str, Any]:
    prompts, request = record.prompts(), record.request
    if not prompts:
        failed = "".join(f": {line['error']}" for line in record.lines()[:1])
        raise RunError(f"no prompt is trained in {record.folder}{failed}")
    found = analyze_vectors(prompts, lm, tasks, request.seed, others)
    tokens = dict(zip(request.words, initial_tokens(lm, request.words), strict=True))
    write_geometry(record, found, spots(PromptVectors(prompts, lm, request.seed), tokens, others, request.seed))
    return {"folder": str(record.folder), "prompts": record.lines()} | found
