"""The prompts of the benchmark: soft prompts of known origin for two models, with the texts that describe them.

`runs/reading_benchmark.py` made them and describes their kinds. The vectors are float16, so that the package stays small. The
licence is that of the package, MIT.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, UnknownName
from hardprompt.prompt import SoftPrompt
from hardprompt.records.request import StudyRequest
from hardprompt.study.loading import load_tasks

MODELS = ("microworld", "smollm2")
"""The models that the benchmark has prompts for."""

CONTROLS = ("untrained", "shuffled")
"""Kinds of prompts that have no reading."""


@dataclass(frozen=True, eq=False)
class BenchmarkPrompt:
    """A soft prompt of known origin.

    Attributes:
        name: the name, `TASK/KIND`.
        lm: the name of the model.
        task: the name of the task on whose inputs it is read.
        kind: how it was made, as `runs/reading_benchmark.py` describes.
        division: "tune" or "report".
        text: the text that it was made from; for a wayward prompt, the text that it projects to; None if there is none.
        fields: fields of a `StudyRequest` that describe the task, such as `template`; `data` is relative to the user's folder.
        instructions: texts that describe the task.
        prompt: the vectors.
    """

    name: str
    lm: str
    task: str
    kind: str
    division: Literal["tune", "report"]
    text: str | None
    fields: dict[str, Any]
    instructions: tuple[str, ...]
    prompt: SoftPrompt

    def load_task(self, data: Path | None = None) -> Task:
        """The task.

        Args:
            data: the folder that holds the data of real tasks, as `fewshot/sst-2` and `relations`.

        Raises:
            RequestError: the task needs data, and no folder is given.
            TaskError: the data cannot be read.
        """
        fields = dict(self.fields)
        if "data" in fields:
            if data is None:
                raise RequestError(f"task {self.task} of the benchmark needs data; give the folder with {fields['data']} in it")
            fields["data"] = str(data / fields["data"])
        [task] = load_tasks(StudyRequest.make(task=self.task, **fields)).values()
        return task


def load_benchmark(lm: str = "microworld") -> list[BenchmarkPrompt]:
    """The prompts of the benchmark for a model.

    Args:
        lm: the name of the model.

    Raises:
        UnknownName: the benchmark has no prompts for this model.

    Example:
        >>> prompts = load_benchmark("microworld")
        >>> planted = next(each for each in prompts if each.kind == "planted" and each.task == "capital")
        >>> planted.text, planted.prompt
        ('give the capital of the country', SoftPrompt(shape=(6, 160)))
    """
    from safetensors.torch import load

    if lm not in MODELS:
        raise UnknownName("model of the benchmark", lm, MODELS)
    folder = files("hardprompt.experiments.reading")
    vectors = load(folder.joinpath(f"{lm}.safetensors").read_bytes())
    lines = folder.joinpath(f"{lm}.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for entry in map(json.loads, lines):
        entry["instructions"] = tuple(entry["instructions"])
        found.append(BenchmarkPrompt(**entry, prompt=SoftPrompt(vectors[entry["name"]].float())))
    return found
