"""The prompts of studies, and the tasks that they were found for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hardprompt.data.task import Task
from hardprompt.errors import HardpromptError, StudyError
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import members
from hardprompt.records.store import Store, recorded_request
from hardprompt.study.loading import load_tasks

Point = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt in one form, as a row of the matrix.

    Attributes:
        point: the keys of the row: study, split, number, optimizer, weight, seed, prompt_text, prompt_as.
        right: for each test example, "1" if the prompt as optimized was right on it in its study and "0" otherwise; None where
            the study did not measure on these examples.
        file: the file of the vectors, if the prompt is used by its vectors.
    """

    point: Point
    right: str | None = None
    file: str = ""


@dataclass(frozen=True, eq=False)
class StudyPart:
    """The prompts of one study and data split.

    Attributes:
        store: the record of the study.
        request: the request of the study.
        task: the task, with the test examples to measure on; None if it cannot be loaded.
        problem: why it cannot be loaded.
        prompts: the prompts.
    """

    store: Store
    request: StudyRequest
    task: Task | None
    problem: str
    prompts: Sequence[Prompt]


def load_parts(folders: Sequence[str], limit: int | None) -> list[StudyPart]:
    """The prompts of all finished runs of studies, with the members of fronts, and the empty prompt where a study lacks it.

    Args:
        folders: the folders of the studies.
        limit: the number of test examples; by default that of each study.

    Raises:
        StudyError: a folder holds no study or no finished run, or a file cannot be read.
    """
    parts = []
    for folder in dict.fromkeys(folders):
        store = Store(folder)
        request = recorded_request(store.study)
        numbered = enumerate((point for line in store.lines() for point in members(line)), 1)
        done = [(number, point) for number, point in numbered if point["status"] == "ok"]
        if not done:
            raise StudyError(f"{folder} holds no finished run yet; rerun the command that started the study")
        for split in dict.fromkeys(point["split"] for _, point in done):
            own = [(number, point) for number, point in done if point["split"] == split]
            task, problem = None, ""
            right: dict[int, str] = {}
            try:
                task, right = _task(store, request, split, limit, own)
            except HardpromptError as error:
                problem = str(error)
            parts.append(StudyPart(store, request, task, problem, list(_prompts(folder, split, own, right))))
    return parts


def _task(
    store: Store, request: StudyRequest, split: str, limit: int | None, points: Sequence[tuple[int, Point]]
) -> tuple[Task, dict[int, str]]:
    """The task of a split with the test examples to measure on, and by number what the study's prompts were right on.

    Raises:
        RequestError: the task or its data are gone, or the data have changed.
    """
    asked = request.model_copy(update={"splits": (split,)})
    [task] = load_tasks(asked).values()
    if store.study.get("data", {}).get(split) not in (None, task.digest):
        raise StudyError(f"the data of task {task.name} have changed since {store.folder} was created; use the data of then")
    measured = task.test
    if limit is not None:
        [task] = load_tasks(asked.model_copy(update={"limit": limit})).values()
    right: dict[int, str] = {}
    for number, point in points:
        if len(digits := point.get("test_correct", "")) == len(measured):
            known = dict(zip(measured, digits, strict=True))
            if all(example in known for example in task.test):
                right[number] = "".join(known[example] for example in task.test)
    return task, right


def _prompts(folder: str, split: str, points: Sequence[tuple[int, Point]], right: dict[int, str]) -> Iterator[Prompt]:
    shared = {"study": folder, "split": split, "task": points[0][1]["task"]}
    if all(point["prompt_text"] for _, point in points):
        empty = {"number": None, "optimizer": "empty", "weight": 0.0, "seed": None, "member": None, "prompt_text": ""}
        yield Prompt({**shared, **empty, "prompt_as": "text"})
    for number, point in points:
        keys = {name: point.get(name) for name in ("optimizer", "weight", "seed", "member", "prompt_text")}
        row = {**shared, "number": number, **keys}
        yield Prompt({**row, "prompt_as": "text"}, right.get(number))
        if file := point.get("soft_prompt_file"):
            yield Prompt({**row, "prompt_as": "vectors"}, right.get(number), file)
