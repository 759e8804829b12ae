"""Many wayward prompts: one for every combination of a task, a kind of target and a model, recorded in one folder."""

from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.experiments.wayward.grid import WaywardGrid
from hardprompt.experiments.wayward.run import embedded_tasks, wayward
from hardprompt.experiments.wayward.targets import wayward_targets
from hardprompt.lm import load_lm
from hardprompt.metrics.interpretation import TaskJudge
from hardprompt.optimizers.base import Config
from hardprompt.records.folder import RecordFolder, as_safetensors
from hardprompt.records.request import Seed, StudyRequest, model_names
from hardprompt.study.cancellation import stoppable
from hardprompt.study.loading import load_tasks

OWN = "own definition"


class WaywardPairs(Config):
    """A request for wayward prompts for every combination of a task, a kind of target and a model.

    Attributes:
        tasks: names of embedded tasks; or, for tasks on real data, the fields of a `StudyRequest` that belong to a task, with
            `task` as its name.
        kinds: keys of `wayward_targets`, or "own definition" for the first reference prompt of the task.
        lms: names of models.
        reader: the model that decides whether a text is readable.
        dtype: the data type of the models' weights.
        gammas, steps, batch_size, learning_rate, evaluate_every: the schedule of the training, as in `WaywardGrid`.
        seed: the seed of every prompt.
    """

    tasks: tuple[str | dict[str, Any], ...]
    kinds: tuple[str, ...]
    lms: tuple[str, ...] = ("microworld",)
    reader: str = "microworld-reader"
    dtype: str = "float32"
    gammas: tuple[NonNegativeFloat, ...] = WaywardGrid().gammas
    steps: PositiveInt = WaywardGrid().steps
    batch_size: PositiveInt = WaywardGrid().batch_size
    learning_rate: NonNegativeFloat | None = None
    evaluate_every: PositiveInt = WaywardGrid().evaluate_every
    seed: Seed = 0

    def load_tasks(self) -> list[Task]:
        """The tasks, each in the first of its data splits."""
        return [
            load_task(each) if isinstance(each, str) else next(iter(load_tasks(StudyRequest.make(**each)).values()))
            for each in self.tasks
        ]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True)
    task: str
    kind: str
    lm: str
    seed: int
    grid: list[dict[str, Any]]
    file: str


class WaywardRecord(RecordFolder):
    """The folder of existing wayward prompts; `WaywardRecord.writing` creates one.

    Args:
        folder: the folder, which holds a `wayward.yaml`.

    Raises:
        StudyError: if the folder holds no wayward prompts, or a file that cannot be read.
    """

    request_file = "wayward.yaml"
    lines_file = "wayward.jsonl"
    kind = "study of wayward prompts"
    request_key = None
    study_form = WaywardPairs
    line_form = _Line


def wayward_pairs(request: WaywardPairs, folder: Path) -> None:
    """Train the prompts that are not in the folder yet: one line per prompt in `wayward.jsonl`, and its vectors in `soft/`.

    A line holds the keys that `wayward` describes, and the `kind` of the target. For each task, the definitions of other tasks
    are taken from a different task: from all embedded tasks if the tasks of the request are embedded, else from those.

    Args:
        request: what to train.
        folder: the folder, which is created if it does not exist.

    Raises:
        RequestError: if a target does not tokenize to itself, or a task cannot be used.
        StudyError: if the folder holds another study or other files, or another process writes to it.
        RecordError: if the record cannot be written.
        RunError: if a file `stop` in the folder stopped the training.
    """
    config = WaywardGrid(**request.model_dump(include=set(WaywardGrid.model_fields)))
    tasks = request.load_tasks()
    known = embedded_tasks() if all(task.embedded for task in tasks) else tasks
    turns = [5 * number % len(known) for number in range(len(tasks))]
    targets = [
        _target(task, kind, known[turn:] + known[:turn])
        for kind in request.kinds
        for task, turn in zip(tasks, turns, strict=True)
    ]
    reader, names = load_lm(request.reader), model_names(request.lms)
    with WaywardRecord.writing(folder, request.model_dump(mode="json")) as record, stoppable(folder) as cancellation:
        done = {(line["lm"], line["task"], line["kind"]) for line in record.lines()}
        for name in request.lms:
            lm = load_lm(name, dtype=request.dtype)
            lm.name = names[name]
            judge = TaskJudge(lm, known, reader)
            for (kind, task), text in zip(product(request.kinds, tasks), targets, strict=True):
                if (lm.name, task.name, kind) in done:
                    continue
                with cancellation.interruptible():
                    found = wayward(task, lm, text, judge=judge, config=config, seed=request.seed)
                parts = [part.replace("/", "--").replace(" ", "-") for part in (lm.name, task.name, kind)]
                file = record.save_vectors(parts, as_safetensors(found.prompt.embeds))
                record.append(found.described | {"kind": kind, "file": file})


def _target(task: Task, kind: str, others: list[Task]) -> str:
    texts = wayward_targets(task, others) | ({OWN: task.reference_prompts[0]} if task.reference_prompts else {})
    if kind not in texts:
        raise RequestError(f"task {task.name} has no target of the kind {kind!r}; use {', '.join(texts)}")
    return texts[kind]
