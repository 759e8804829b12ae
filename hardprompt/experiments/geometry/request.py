"""The request of a geometry study: soft prompts for tasks x initial words on one model."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator

from hardprompt.data.catalogue import load_task, needs_data
from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.field_problems import field_problems
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.records.request import MAX_PROMPT_LENGTH, Seed

WORDS = tuple("cat dog bird book house chair table pen paper water".split())
"""The published initial words."""

WORDS_OF = {"microworld": tuple("cat dog horse book house chair table pen bread river".split())}
"""For the embedded model, the published words that are one token of it, and for bird, paper and water the nearest that are."""

TASKS = ("first-letter", "first-letter-lower", "capital", "country-of-landmark", "past-tense", "plural")
"""The embedded tasks that ask what the six published ones ask."""


class GeometryRequest(BaseModel):
    """Soft prompts of `tokens` vectors for tasks x initial words on one model.

    Attributes:
        tasks: names, as `hardprompt.load_task` takes them.
        words: initial words, each a single token of the model as it stands in a text (after a blank); every vector of a prompt
            begins at its word. By default the ten published ones, or those of `WORDS_OF`.
        lm: embedded model, local folder or hub id.
        tokens: vectors of a prompt.
        epochs: an epoch is as many steps as batches cover train once.
        batch_size, weight_decay: of the training, as published.
        learning_rate: falls linearly to zero; by default that of the optimizer `soft`. Published: 0.001 on GPT-2 XL.
        seed: of all batches, and of the tokens drawn for comparison.
        split, data, shots: of the tasks, as `StudyRequest` has them; `data` goes to those that are on real data.
        device, dtype, memory: as `StudyRequest` has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = TASKS
    words: tuple[str, ...] = ()
    lm: str = "microworld"
    tokens: Annotated[int, Field(gt=0, le=MAX_PROMPT_LENGTH)] = 4
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 8
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    weight_decay: Annotated[NonNegativeFloat, Field(allow_inf_nan=False)] = 0.01
    seed: Seed = 0
    split: str = "default"
    data: str | None = None
    shots: PositiveInt | None = None
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
            raise ValueError("name each once, and none without a name")
        return names

    @classmethod
    def make(cls, **fields: Any) -> "GeometryRequest":
        """A request with these fields.

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
            RequestError: none is given, data are given and no task takes them, or two tasks have one name.
        """
        takes = {name: needs_data(name) for name in self.tasks}
        if not takes:
            raise RequestError("tasks: give at least one")
        if (self.data is not None or self.shots is not None) and not any(takes.values()):
            raise RequestError(f"data and shots belong to tasks on real data; none of {', '.join(self.tasks)} is one")
        tasks = [
            load_task(name, self.split, *((self.data, self.shots) if takes[name] else (None, None))) for name in self.tasks
        ]
        if len({task.name for task in tasks}) < len(tasks):
            raise RequestError(f"two of the tasks are called alike: {', '.join(task.name for task in tasks)}")
        return tasks

    def load_model(self) -> FrozenLM:
        """The frozen model, on its device, in its precision, with its memory."""
        return load_lm(self.lm, self.device, self.dtype, self.memory)
