"""What a study is asked for, checked before anything runs, and the list of runs that follows from it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from hardprompt.catalogue import load_task, needs_data
from hardprompt.errors import RequestError, UnknownName, about
from hardprompt.lm import EMBEDDED, FrozenLM, load_lm
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.optimizers import Optimizer, load_optimizer
from hardprompt.study.point import told_apart
from hardprompt.task import Task

OPTIMIZERS = ("empty", "manual", "random", "soft", "pez", "rl")

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every library's generator of random numbers takes."""

LONGEST = 100_000
"""Tokens of a prompt; more than any model's context would only fill the memory."""

READERS = {"microworld": ("microworld-reader",)}
"""Which embedded models read what was optimized against another."""

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"seeds": (0, 1), "lm_tokens": 100_000},
    "default": {"seeds": (0, 1, 2), "lm_tokens": 600_000},
}
"""`quick` ends within two minutes on two cores; `default` is what figures are quoted from. Each field can be overridden."""


class StudyRequest(BaseModel):
    """Optimizers x weights x splits x seeds on one task and model.

    Attributes:
        task: name, folder with a `task.yaml`, that file, `path.py`, `path.py:name`, or a `.jsonl` file (with `template`).
        lm: embedded model, local folder or hub id.
        readers: models that judge readability and were not optimized against; by default the embedded reader for the embedded
            model, none for others.
        optimizers: names, or `path.py:name`.
        weights: nats of task loss that one nat per token of prompt NLL costs, for optimizers that sweep it.
        splits, seeds: data splits and random seeds.
        data: of a task on real data, the file or folder that holds them; by default they are fetched from the hub.
        shots: of a task on real data, examples per label that are drawn anew for each split, instead of a published one.
        lm_tokens: budget of every run, in logical LM tokens, forward and backward together; None for no limit.
        prompt_length: tokens of the prompts that are searched.
        vocabulary: which tokens hard prompts may use.
        template, match, reference_prompts: of a `.jsonl` task; refused for others.
        label_words: of a `.jsonl` task or one on real data; refused for others.
        options: per optimizer name, its options.
        device: where the model runs; by default CUDA where there is one.
        dtype: of the model's weights, "float32" or "bfloat16"; readers are in float32.
        memory: what scoring may take beside the weights, such as "512MB" or "4GB".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = "category"
    lm: str = "microworld"
    readers: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = OPTIMIZERS
    weights: tuple[float, ...] = (0.0, 0.1, 0.3)
    splits: tuple[str, ...] = ("default",)
    seeds: tuple[Seed, ...] = (0, 1)
    data: str | None = None
    shots: PositiveInt | None = None
    lm_tokens: PositiveInt | None = None
    prompt_length: Annotated[int, Field(gt=0, le=LONGEST)] = 5
    vocabulary: str = "words"
    template: str | None = None
    label_words: dict[str, str] = {}
    match: str = "exact"
    reference_prompts: tuple[str, ...] = ()
    options: dict[str, dict[str, Any]] = {}
    device: str | None = None
    dtype: str = "float32"
    memory: str = BUDGET

    @field_validator("memory")
    @classmethod
    def _size(cls, size: str) -> str:
        memory_bytes(size)
        return size

    @field_validator("task", "data", mode="before")
    @classmethod
    def _as_text(cls, path: object) -> object:
        return str(path) if isinstance(path, Path) else path

    @field_validator("task", "lm", "readers", "data", "vocabulary", "device")
    @classmethod
    def _named(cls, name: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if name == "" or (isinstance(name, tuple) and "" in name):
            raise ValueError("give a name, or leave it out")
        return name

    @field_validator("weights")
    @classmethod
    def _finite(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        for weight in weights:
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"a weight must be a finite number of at least 0, got {weight}")
        return weights

    @field_validator("optimizers", "weights", "splits", "seeds")
    @classmethod
    def _some(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("give at least one, and none twice")
        return values

    @classmethod
    def make(cls, preset: str = "quick", **fields: Any) -> "StudyRequest":
        """A request from a preset and the fields that override it.

        Raises:
            UnknownName: no such preset or field.
            RequestError: a value that cannot be used; the first problem in one line.

        Example:
            >>> StudyRequest.make("quick", task="plural", seeds=(3,)).seeds
            (3,)
        """
        if preset not in PRESETS:
            raise UnknownName("preset", preset, PRESETS)
        for name in fields:
            if name not in cls.model_fields:
                raise UnknownName("request field", name, cls.model_fields)
        try:
            return cls(**{**PRESETS[preset], **fields})
        except ValidationError as error:
            first = error.errors()[0]
            field = "-".join(str(part) for part in first["loc"][:1]).replace("_", "-")
            message = first["msg"].removeprefix("Value error, ")
            with about(*first["loc"]):
                raise RequestError(f"{field}: {message[0].lower()}{message[1:]} (got {first['input']!r})") from error

    def load_tasks(self) -> dict[str, Task]:
        """The task in each of the splits."""
        if Path(self.task).suffix == ".jsonl":
            if self.data is not None or self.shots is not None:
                raise RequestError(f"data and shots belong to tasks on real data; {self.task} holds its own examples")
            if self.template is None:
                raise RequestError(f"task file {self.task} needs a template; give --template '{{input}} {{prompt}}'")
            task = Task.from_jsonl(
                self.task,
                template=self.template,
                label_words=self.label_words,
                match=self.match,
                reference_prompts=self.reference_prompts,
            )
            if self.splits != ("default",):
                raise RequestError(f"task file {self.task} has one data split, 'default'; got {', '.join(self.splits)}")
            return {"default": task}
        refused = self.template is not None or self.match != "exact" or bool(self.reference_prompts)
        if refused or (self.label_words and not needs_data(self.task)):
            raise RequestError(
                f"template, label words, match and reference prompts belong to a .jsonl task, not to {self.task!r} "
                "(label words also to a task on real data)"
            )
        tasks = {split: load_task(self.task, split, self.data, self.shots) for split in self.splits}
        if self.label_words:
            tasks = {split: task.with_label_words(self.label_words) for split, task in tasks.items()}
        return tasks

    @property
    def reader_names(self) -> tuple[str, ...]:
        """The readers that were asked for, or those that belong to the model."""
        return self.readers or READERS.get(self.lm, ())

    def load_model(self) -> FrozenLM:
        """The frozen model, on its device, in its precision, with its memory."""
        return load_lm(self.lm, self.device, self.dtype, self.memory)

    def load_readers(self) -> Sequence[FrozenLM]:
        """The models that judge readability.

        Raises:
            RequestError: a reader is there twice or is the model itself, or two have one name in the record.
            LMError: a reader cannot be loaded.
        """
        for name in self.reader_names:
            if same_model(name, self.lm):
                raise RequestError(f"reader {name!r} is the task model, whose own figure is log_perplexity; choose another")
        for one, other in combinations(self.reader_names, 2):
            if same_model(one, other):
                raise RequestError(f"readers {one!r} and {other!r} are one model; name it once")
        return told_apart([load_lm(name, self.device, memory=self.memory) for name in self.reader_names])

    def load_optimizers(self) -> dict[str, tuple[Optimizer[Any], Any]]:
        """Each optimizer with its configuration, by the optimizer's own name.

        Raises:
            UnknownName: no such optimizer or option.
            RequestError: two optimizers of one name, options for one that is not there, or an option's bad value.
        """
        found: dict[str, tuple[Optimizer[Any], Any]] = {}
        for number, name in enumerate(self.optimizers):
            with about("optimizers", number):
                optimizer = load_optimizer(name)
                if optimizer.name in found:
                    raise RequestError(f"two of the optimizers are called {optimizer.name!r}")
            with about("options", optimizer.name):
                found[optimizer.name] = (optimizer, optimizer.configure(self.options.get(optimizer.name, {})))
        for name in self.options:
            if name not in found:
                with about("options", name):
                    raise RequestError(f"options are given for {name!r}, but the optimizers are: {', '.join(found)}")
        return found


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: embedded, a folder however it is written, or a hub id."""
    return _home(one) == _home(other)


def _home(name: str) -> str | Path:
    folder = Path(EMBEDDED.get(name, name)).expanduser()
    return folder.resolve() if folder.is_dir() else name


@dataclass(frozen=True)
class Run:
    """One optimizer, once.

    >>> print(Run("pez", "13", 0, 0.1))
    pez w=0.1 split 13 seed 0
    """

    optimizer: str
    split: str
    seed: int
    weight: float

    def __str__(self) -> str:
        of_split = "" if self.split == "default" else f" split {self.split}"
        return f"{self.optimizer} w={self.weight:g}{of_split} seed {self.seed}"

    @classmethod
    def of(cls, point: dict[str, Any]) -> "Run":
        """The run that a recorded point is of."""
        return cls(point["optimizer"], point["split"], point["seed"], point["weight"])


def plan(request: StudyRequest, optimizers: dict[str, tuple[Optimizer[Any], Any]]) -> Iterator[Run]:
    """The runs of a request, seed by seed, so that an interrupted study holds whole comparisons."""
    for split in request.splits:
        for seed in request.seeds:
            for name, (optimizer, _) in optimizers.items():
                for weight in request.weights if optimizer.sweeps else (0.0,):
                    yield Run(name, split, seed, weight)
