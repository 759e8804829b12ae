"""A geometry study from beginning to end: train what is missing, measure, and write tables, pictures and a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, RunError
from hardprompt.experiments.geometry.analysis import PromptVectors, check_fit, placement
from hardprompt.experiments.geometry.record import GeometryRecord, Trained, read_added
from hardprompt.experiments.geometry.report import spots, write_geometry
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.training import GeometryListener, initial_tokens, train_prompts
from hardprompt.lm import FrozenLM


def geometry(
    request: GeometryRequest | None = None,
    out: str | Path | None = None,
    listener: GeometryListener | None = None,
    added: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Train what is missing, measure where everything lies, and leave sheets, pictures and a page in the folder.

    Args:
        request: what to train; by default the embedded model's six tasks and ten words.
        out: the folder, by default `hardprompt-out/geometry-LM`.
        listener: told of the progress.
        added: soft prompts trained elsewhere, to be told against these: a peft adapter's folder, or a `.npy`, `.npz` or
            `.safetensors` file (`hardprompt.adapter.read_vectors`); one called TASK,WORD has these.

    Returns:
        What `hardprompt.experiments.geometry.analysis.placement` says, and `folder` and `prompts`, a line per prompt.

    Raises:
        RequestError: the request, the folder or a file cannot be used.
        RunError: no prompt could be trained.

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
    return _measured(train_prompts(request, out, listener, tasks, lm), lm, tasks, others)


def measure_again(folder: str | Path, added: Sequence[str | Path] = ()) -> dict[str, Any]:
    """What `geometry` says and leaves, from the vectors in its folder and the model's vocabulary; nothing is trained.

    Where the tasks' data are not there any more, whether the closest tokens have to do with a task stays undecided.

    Args:
        folder: of the study.
        added: as `geometry` takes them.

    Raises:
        StudyError: the folder holds no geometry study, or vectors that cannot be read.
        RequestError: the model or a file cannot be used.
        RunError: there is no prompt in it.
    """
    record = GeometryRecord(folder)
    lm, others = record.request.load_model(), [each for path in added for each in read_added(path)]
    try:
        tasks = [task for task in record.request.load_tasks() if record.study["data"].get(task.name) == task.digest]
    except RequestError:
        tasks = []
    return _measured(record, lm, tasks, others)


def _measured(record: GeometryRecord, lm: FrozenLM, tasks: Sequence[Task], others: Sequence[Trained]) -> dict[str, Any]:
    prompts, request = record.prompts(), record.request
    if not prompts:
        failed = "".join(f": {line['error']}" for line in record.lines()[:1])
        raise RunError(f"no prompt is trained in {record.folder}{failed}")
    found = placement(prompts, lm, tasks, request.seed, others)
    tokens = dict(zip(request.words, initial_tokens(lm, request.words), strict=True))
    write_geometry(record, found, spots(PromptVectors(prompts, lm, request.seed), tokens, others, request.seed))
    return {"folder": str(record.folder), "prompts": record.lines()} | found
