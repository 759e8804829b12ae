"""The request of a geometry study: soft prompts for tasks x initial words on one model."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator

from hardprompt.data.catalogue import load_task, needs_data
from hardprompt.data.splits import draw_by_label
from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.field_problems import field_problems
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.records.request import MAX_PROMPT_LENGTH, Seed

WORDS = tuple("cat dog bird book house chair table pen paper water".split())
"""The published initial words."""

WORDS_OF = {"microworld": tuple("cat dog horse book house chair table pen bread river".split())}
"""For the embedded model, the published words, with single-token words for bird, paper and water."""

TASKS = ("first-letter", "first-letter-lower", "capital", "country-of-landmark", "past-tense", "plural")
"""The embedded tasks that correspond to the six published ones."""


class GeometryRequest(BaseModel):
    """Soft prompts of `tokens` vectors for every pair of a task and an initial word, on one model.

    Attributes:
        tasks: names that `hardprompt.load_task` accepts.
        words: initial words, each a single token of the model inside a text (after a blank); all vectors of a prompt start
            at the embedding of its word. By default, the ten published words, or those of `WORDS_OF`.
        lm: the name of the model, as in `StudyRequest`.
        tokens: the number of vectors of a prompt.
        epochs: the number of passes over the train split.
        batch_size: the number of examples per step, as published.
        weight_decay: the weight decay of AdamW, as published.
        learning_rate: the initial learning rate, which decreases linearly to zero; by default that of the optimizer `soft`. The
            published one is 0.001 on GPT-2 XL.
        seed: the seed of all batches, and of the tokens drawn for comparison.
        split, data, shots: the data of the tasks, as in `StudyRequest`; `data` and `shots` apply to the tasks on real data.
        limit: the largest number of test examples of a task, as in `StudyRequest`.
        start, device, dtype, memory: as in `StudyRequest`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = TASKS
    words: tuple[str, ...] = ()
    lm: str = "microworld"
    start: str | None = None
    tokens: Annotated[int, Field(gt=0, le=MAX_PROMPT_LENGTH)] = 4
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 8
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    weight_decay: Annotated[NonNegativeFloat, Field(allow_inf_nan=False)] = 0.01
    seed: Seed = 0
    split: str = "default"
    data: str | None = None
    shots: PositiveInt | None = None
    limit: PositiveInt | None = None
    device: str | None = None
    dtype: str = "float32"
    memory: str = BUDGET

    @field_validator("memory")
    @classmethod
    def _size(cls, size: str) -> str:
        memory_bytes(size)
        return size

    @field_validator("tasks", "words")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise ValueError("every name must be given once, and must not be blank")
        return names

    @classmethod
    def make(cls, **fields: Any) -> "GeometryRequest":
        """A request with the given fields, and defaults for the others.

        Raises:
            RequestError: a field does not exist, or its value cannot be used.

        Example:
            >>> GeometryRequest.make(words=("cat",)).tokens
            4
        """
        try:
            request = cls(**fields)
        except ValidationError as error:
            raise RequestError(field_problems(error, cls)[0].message) from error
        return request.model_copy(update={"words": request.words or WORDS_OF.get(request.lm, WORDS)})

    def load_tasks(self) -> list[Task]:
        """The tasks, in order.

        Raises:
            RequestError: if there are no tasks, if no task takes the given data, or if two tasks have the same name.
        """
        takes = {name: needs_data(name) for name in self.tasks}
        if not takes:
            raise RequestError("tasks: expected at least one task")
        if (self.data is not None or self.shots is not None) and not any(takes.values()):
            raise RequestError(f"data and shots are for tasks on real data; none of {', '.join(self.tasks)} is one")
        tasks = [
            load_task(name, self.split, *((self.data, self.shots) if takes[name] else (None, None))) for name in self.tasks
        ]
        if len({task.name for task in tasks}) < len(tasks):
            raise RequestError(f"two of the tasks have the same name: {', '.join(task.name for task in tasks)}")
        if self.limit is None:
            return tasks
        return [replace(task, test=draw_by_label(task.test, self.limit, task.labels)) for task in tasks]

    def load_model(self) -> FrozenLM:
        """Load the frozen model with the device, precision and memory of the request."""
        return load_lm(self.lm, self.device, self.dtype, self.memory, self.start)
