"""The request of a study. It is checked before anything runs."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from hardprompt.errors import RequestError, UnknownName, about
from hardprompt.field_problems import field_problems

OPTIMIZERS = ("empty", "manual", "random", "soft", "pez", "rl", "front")

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A random seed that every library accepts."""

MAX_PROMPT_LENGTH = 100_000
"""Tokens; longer than the context of any model."""

READERS = {"microworld": ("microworld-reader",)}
"""The readers of a model that a request uses if it names none."""

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"seeds": (0, 1), "lm_tokens": 100_000},
    "default": {"seeds": (0, 1, 2), "lm_tokens": 600_000},
}
"""`quick` takes two to three minutes on two cores; `default` is for results to report. Each value can be replaced."""

TASK_FIELDS = (
    *("splits", "data", "shots", "limit", "skip_unusable"),
    *("chat", "prompt_turn", "template", "label_words", "match", "reference_prompts", "prompts"),
)
"""Fields of a request that belong to its task."""

MODEL_FIELDS = ("over", "readers", "start", "device", "dtype", "memory")
"""Fields of a request that belong to its model."""

SEARCH_FIELDS = (
    "optimizers",
    "options",
    "weights",
    "splits",
    "limit",
    "chat",
    "prompt_turn",
    "prompts",
    "seeds",
    "lm_tokens",
    "prompt_length",
    "length_weight",
    "vocabulary",
    "metrics",
)
"""Fields of a request that describe its runs."""


class StudyRequest(BaseModel):
    """Optimizers x weights x splits x seeds on one task and model.

    The command line, recipes and their JSON schema take the fields, defaults and descriptions from here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    task: str = "category"
    """Name from `hardprompt ls tasks`, a folder with a task.yaml, a .jsonl file, a .py file, or path.py:name."""

    lm: str = "microworld"
    """Name from `hardprompt ls lms`, a local folder or GGUF file, or an id on the Hugging Face hub; several, separated by
    commas, where one prompt is searched for all of them."""

    other_lms: tuple[str, ...] = ()
    """The other models, if one prompt is searched for several; a list of names as `lm` gives both fields."""

    over: Literal["mean", "worst"] = "mean"
    """For several models: the task loss is the mean of their losses, or the worst of them (mean, worst)."""

    readers: tuple[str, ...] = ()
    """Other language models that judge how readable a prompt is; by default microworld-reader for microworld."""

    optimizers: tuple[str, ...] = OPTIMIZERS
    """Names from `hardprompt ls optimizers`, or path.py:name."""

    weights: tuple[float, ...] = (0.0, 0.1, 0.3)
    """Fluency weights: weights of the prompt NLL (nats per token) in the objective; higher values favour readable text."""

    splits: tuple[str, ...] = ("default",)
    """Data splits of the task."""

    seeds: tuple[Seed, ...] = (0, 1)
    """Random seeds."""

    data: str | None = None
    """For a task on real data: its file or folder. By default the data are downloaded from the Hugging Face hub."""

    shots: PositiveInt | None = None
    """For a task on real data: draw this number of examples per label, and do not use a published split."""

    limit: PositiveInt | None = None
    """Measure on this number of test examples, drawn by label and the same for every run; by default all of them."""

    skip_unusable: bool = False
    """For a task with data files: leave unusable rows out, such as one without text, and count them; by default an error."""

    chat: bool = False
    """For chat models: the template is the user's turn, as the model's own chat template renders it; the assistant answers."""

    prompt_turn: Literal["user", "system"] | None = None
    """For chat: the turn of the prompt. user: the prompt stands in the template; system: it alone is the system's turn."""

    lm_tokens: PositiveInt | None = None
    """Budget of each run: number of LM tokens in forward and backward passes together."""

    prompt_length: Annotated[int, Field(gt=0, le=MAX_PROMPT_LENGTH)] = 5
    """Number of tokens of the prompts that are searched; with a length weight, their maximum."""

    length_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Nats of the objective for each token of a prompt. With a length weight, prompts may be shorter than the prompt length."""

    vocabulary: str = "words"
    """Tokens that a hard prompt may contain: words, ascii, all, or a file with one word per line."""

    template: str | None = None
    """For a .jsonl task or a task on real data: the text around an example, with {prompt} and {input}."""

    label_words: dict[str, str] = {}
    """For a .jsonl task or a task on real data: the word that the model predicts for each label."""

    match: str = "exact"
    """For a .jsonl generation task: when an answer is correct. exact: it equals the target; starts-with: it starts with the
    target; number: the number that it ends with equals the target."""

    reference_prompts: tuple[str, ...] = ()
    """For a .jsonl task or a task on real data: prompts that a person would write."""

    prompts: str | None = None
    """A file with prompts of your own, each of which is measured as a run of its own: one per line, or a .csv file with a
    column prompt and, if you like, a column name."""

    options: dict[str, dict[str, Any]] = {}
    """Options of the optimizers, such as pez.steps=500; `hardprompt ls optimizers NAME` lists them."""

    metrics: tuple[str, ...] = ()
    """Metrics to compute in addition to the built-in ones: names, or path.py:name."""

    start: str | None = None
    """Tokens before every text: none, bos or their text, such as '<|endoftext|>'; by default those of the tokenizer."""

    device: str | None = None
    """Device of the models: cpu, cuda, cuda:1 for one GPU of several, or mps; by default CUDA if it is available."""

    dtype: str = "float32"
    """Data type of the model's weights, float32 or bfloat16; readers always use float32."""

    memory: str = "2GB"
    """Memory for scoring, without the weights, such as 512MB or 4GB; less memory is slower."""

    @model_validator(mode="before")
    @classmethod
    def _several_models(cls, values: Any) -> Any:
        """Split `lm` into the first model and the others."""
        if not isinstance(values, dict):
            return values
        named = values.get("lm")
        if isinstance(named, str) and "," in named and not Path(named).exists():
            named = [name.strip() for name in named.split(",")]
        if not isinstance(named, list | tuple) or not named or not all(named):
            return values
        first, *others = named
        return {**values, "lm": first, **({"other_lms": tuple(others)} if others else {})}

    @field_validator("memory")
    @classmethod
    def _is_size(cls, size: str) -> str:
        from hardprompt.lm.memory import memory_bytes  # imports torch

        memory_bytes(size)
        return size

    @field_validator("task", "data", "prompts", mode="before")
    @classmethod
    def _path_as_text(cls, path: object) -> object:
        return str(path) if isinstance(path, Path) else path

    @field_validator("task", "lm", "other_lms", "readers", "metrics", "data", "prompts", "vocabulary", "device", "start")
    @classmethod
    def _is_named(cls, name: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if name == "" or (isinstance(name, tuple) and "" in name):
            raise ValueError("give a name, or leave it out")
        return name

    @field_validator("weights")
    @classmethod
    def _are_weights(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        for weight in weights:
            if not math.isfinite(weight) or weight < 0:
                raise ValueError("a weight must be a finite number of at least 0")
        return weights

    @field_validator("optimizers", "weights", "splits", "seeds")
    @classmethod
    def _are_distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("give at least one value, and each value once")
        return values

    @classmethod
    def make(cls, preset: str = "quick", **fields: Any) -> "StudyRequest":
        """Make a request from a preset and the fields that replace its values.

        Args:
            preset: "quick" or "default".
            fields: fields of the request.

        Raises:
            UnknownName: the preset does not exist.
            RequestError: a field does not exist or its value cannot be used; the message names the first problem.

        Example:
            >>> StudyRequest.make("quick", task="plural", seeds=(3,)).seeds
            (3,)
        """
        if preset not in PRESETS:
            raise UnknownName("preset", preset, PRESETS)
        try:
            return cls(**{**PRESETS[preset], **fields})
        except ValidationError as error:
            place, message = field_problems(error, cls)[0]
            with about(*place):
                raise RequestError(message) from error

    @property
    def lms(self) -> tuple[str, ...]:
        """All models, the one that names the study first."""
        return (self.lm, *self.other_lms)

    @property
    def reader_names(self) -> tuple[str, ...]:
        """The requested readers, or those that belong to the model and are not searched for."""
        return self.readers or tuple(name for name in READERS.get(self.lm, ()) if name not in self.other_lms)


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model.

    A model is named by an embedded or downloadable name, a path or a hub id; a path can be written in several ways.

    >>> same_model("microworld", "microworld-reader")
    False
    """
    return _source(one) == _source(other)


def model_names(names: Iterable[str]) -> dict[str, str]:
    """The name in the record of each model: that of its folder or file, with as many folders above it as tell the models apart.

    Args:
        names: names of embedded and downloadable models, paths and hub ids.

    >>> model_names(["microworld", "someone/tiny"])
    {'microworld': 'microworld', 'someone/tiny': 'someone/tiny'}
    """
    from hardprompt.lm.sources import NAMES  # imports torch

    return path_names({name: name if name in NAMES else _source(name) for name in names})


def path_names(paths: Mapping[str, str | Path]) -> dict[str, str]:
    """The shortest ends of paths that are distinct where the paths are; a path that is a text is kept as it is.

    >>> path_names({"x": Path("/one/model"), "y": Path("/two/model"), "z": Path("/two/other")})
    {'x': 'one/model', 'y': 'two/model', 'z': 'other'}
    """
    lengths = dict.fromkeys(paths.values(), 1)

    def end(path: str | Path) -> str:
        return path if isinstance(path, str) else Path(*path.parts[-lengths[path] :]).as_posix()

    while True:
        count = Counter(map(end, lengths))
        longer = [
            path for path in lengths if count[end(path)] > 1 and isinstance(path, Path) and lengths[path] < len(path.parts)
        ]
        if not longer:
            return {name: end(path) for name, path in paths.items()}
        for path in longer:
            lengths[path] += 1


def _source(name: str) -> str | Path:
    from hardprompt.lm.sources import named_path  # imports torch

    return named_path(name) or name


@dataclass(frozen=True)
class Run:
    """One run of one optimizer.

    >>> print(Run("pez", "13", 0, 0.1))
    pez w=0.1 split 13 seed 0
    """

    optimizer: str
    split: str
    seed: int
    weight: float

    def __str__(self) -> str:
        split = "" if self.split == "default" else f" split {self.split}"
        return f"{self.optimizer} w={self.weight:g}{split} seed {self.seed}"

    @classmethod
    def of(cls, point: dict[str, Any]) -> "Run":
        """The run of a recorded point."""
        return cls(point["optimizer"], point["split"], point["seed"], point["weight"])
