"""What a study is asked for, checked before anything runs, and the list of runs that follows from it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from hardprompt.errors import RequestError, UnknownName, about
from hardprompt.lm.loading import EMBEDDED
from hardprompt.lm.memory import BUDGET, memory_bytes

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
        metrics: metrics to compute beside those of the toolkit: names, or `path.py:name`.
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
    metrics: tuple[str, ...] = ()
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

    @field_validator("task", "lm", "readers", "metrics", "data", "vocabulary", "device")
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

    @property
    def reader_names(self) -> tuple[str, ...]:
        """The readers that were asked for, or those that belong to the model."""
        return self.readers or READERS.get(self.lm, ())


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
