"""References to prompts: by text, by token ids, by a run of a study, or by a file with vectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hardprompt.adapter import read_vectors
from hardprompt.data.task import Task, Template
from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.lm import FrozenLM
from hardprompt.prompt import AFTER_INPUT, HardPrompt, SoftPrompt, as_prompt
from hardprompt.records.request import TASK_FIELDS, StudyRequest, same_model
from hardprompt.records.schema import members
from hardprompt.records.store import OF_PROMPT, Store, recorded_request

Point = dict[str, Any]


@dataclass(frozen=True)
class PromptRef:
    """A reference to a prompt, by exactly one of `text`, `ids`, `run` and `soft`.

    Attributes:
        text: the text; empty for no prompt.
        ids: the token ids.
        run: the folder of a study; the prompt is what one of its runs found.
        number: the number of that run's point, from 1: its line in `points.jsonl`, where each member of a front counts.
        optimizer, weight, seed: select the run instead of its number; they must fit exactly one run.
        soft: the folder of a PEFT adapter, or a file with one soft prompt (`hardprompt.adapter.read_vectors`).

    Raises:
        RequestError: if none or several of the four are given, or a run is selected without the folder of its study.
    """

    text: str | None = None
    ids: Sequence[int] | None = None
    run: Path | None = None
    number: int | None = None
    optimizer: str | None = None
    weight: float | None = None
    seed: int | None = None
    soft: Path | None = None

    def __post_init__(self) -> None:
        named = [name for name in ("text", "ids", "run", "soft") if getattr(self, name) is not None]
        if len(named) != 1:
            got = " and ".join(f"--{name}" for name in named) or "none of them"
            raise RequestError(f"give the prompt with one of --text, --ids, --run and --soft; got {got}")
        chosen = ["number"] * (self.number is not None) + list(self._selectors)
        if chosen and self.run is None:
            raise RequestError(f"--{chosen[0]} selects a run of a study; give its folder with --run")
        if self.number is not None and self._selectors:
            raise RequestError(f"select the run with --number or with --{next(iter(self._selectors))}, not with both")

    @property
    def _selectors(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("optimizer", "weight", "seed")}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def _store(self) -> Store | None:
        return None if self.run is None else Store(self.run)

    @cached_property
    def point(self) -> Point | None:
        """The line of the run; None if the prompt is not that of a run.

        Raises:
            StudyError: if the folder holds no study.
            RequestError: if the run does not exist or has failed, or several runs fit.
        """
        return None if self._store is None else self._chosen(self._store)

    @property
    def projection(self) -> str:
        """The distance measure with which the run projects soft prompts."""
        return str(self.point["config"].get("projection", "cosine")) if self.point else "cosine"

    def save_reading(self, reading: dict[str, Any], request: StudyRequest) -> bool:
        """Save what the prompt of a run was read as in the folder of its study, and say whether it was saved.

        A reading with another task, data split, model or start token than those of the run is not saved, and neither is that of
        another prompt. The number of test examples may differ.

        Args:
            reading: what `hardprompt read --json` prints.
            request: the request that the prompt was read with.
        """
        if self._store is None or self.point is None:
            return False
        own = recorded_request(self._store.study)
        same = all(
            getattr(own, name) == getattr(request, name) for name in {"task", "start", *TASK_FIELDS} - {"splits", "limit"}
        )
        if not same or request.splits != (self.point["split"],) or not same_model(request.lm, own.lm):
            return False
        self._store.save_reading(self.point, reading)
        return True

    @property
    def saved_reading(self) -> dict[str, Any] | None:
        """What the prompt of a run was read as (`save_reading`); None if it has not been read."""
        if self._store is None or self.point is None:
            return None
        for reading in self._store.readings():
            if all(reading.get(name) == self.point.get(name) for name in OF_PROMPT):
                return reading
        return None

    def request(self, given: dict[str, Any]) -> StudyRequest:
        """The request to measure the prompt with: the given fields, and for the others those of the run's study, or defaults.

        The model is the first of several. If another task is given, the fields of the study's task are dropped. If the given
        model is one of the study's readers, it is no longer a reader. The start tokens of the study are those of its own
        model only.

        Args:
            given: fields of a `StudyRequest`.
        """
        fields: dict[str, Any] = {}
        if self._store and self.point:
            fields = recorded_request(self._store.study).model_dump() | {"splits": (self.point["split"],)}
            if given.get("task", fields["task"]) != fields["task"]:
                fields = {name: value for name, value in fields.items() if name not in TASK_FIELDS}
            lm = given.get("lm", fields["lm"])
            if not same_model(lm, fields["lm"]):
                del fields["start"]
            del fields["other_lms"], fields["over"]
            fields["readers"] = tuple(name for name in fields["readers"] if not same_model(name, lm))
        return StudyRequest.make(**fields | given)

    def check_data(self, task: Task, given: dict[str, Any]) -> None:
        """Refuse the task of the run's study if its data have changed since the run.

        Nothing is checked if `given` has the task or one of its fields other than the split, or if the study has not recorded
        the split.

        Args:
            task: the task that was loaded.
            given: the fields given to `request`.

        Raises:
            StudyError: if the data have changed.
        """
        if self._store and not given.keys() & {"task", *TASK_FIELDS} - {"splits"}:
            made_on = self._store.study.get("data", {}).get(task.split)
            if made_on not in (None, task.digest):
                raise StudyError(
                    f"the data of task {task.name} have changed since {self.run} was created; "
                    f"give --task {self._store.study['request'].get('task')} to measure on the current data"
                )

    def prompt(self, lm: FrozenLM, template: Template = AFTER_INPUT) -> HardPrompt | SoftPrompt:
        """The prompt for a model.

        If the model has another tokenizer than that of the run, the text of the prompt is tokenized again. If a soft prompt was
        trained on another model, the prompt is the text of its projection.

        Args:
            lm: the model.
            template: the template that the prompt is used in.

        Raises:
            RequestError: if ids are not in the vocabulary, or the file does not hold exactly one soft prompt.
            StudyError: if the vectors of a soft prompt are not in the study's folder.
        """
        if self.soft is not None:
            found = read_vectors(self.soft)
            if len(found) != 1:
                raise RequestError(f"{self.soft} holds {len(found)} soft prompts ({', '.join(found)}); give a file with one")
            return as_prompt(lm, SoftPrompt(*found.values()))
        if self._store is None or self.point is None:
            given = self.text if self.text is not None else self.ids
            return as_prompt(lm, given if given is not None else "", template)
        point, text = self.point, str(self.point["prompt_text"])
        ids = tuple(point["prompt_ids"])
        same_tokenizer = all(token < lm.vocab_embeds.shape[0] for token in ids) and lm.decode(ids) == text
        trained_on = point.get("by_lm") or [point["lm"]]
        if same_tokenizer and any(_same_name(lm.name, name) for name in trained_on) and "reason" not in point["faithfulness"]:
            if "soft_prompt_file" not in point:
                raise StudyError(
                    f"{self.run} does not hold the vectors of this soft prompt; use its projection with --text {text!r}"
                )
            return as_prompt(lm, SoftPrompt(self._store.load_vectors(point["soft_prompt_file"])))
        return HardPrompt(ids, text) if same_tokenizer else HardPrompt.in_place(lm, template, text)

    def _chosen(self, store: Store) -> Point:
        lines = [point for line in store.lines() for point in members(line)]
        if self.number is not None:
            if not 1 <= self.number <= len(lines):
                raise RequestError(f"{self.run} has no run {self.number}; there are {len(lines)}, numbered from 1")
            point = lines[self.number - 1]
            if point["status"] != "ok":
                raise RequestError(f"run {self.number} of {self.run} failed and found no prompt: {point.get('error')}")
            return point
        done = [(number, point) for number, point in enumerate(lines, 1) if point["status"] == "ok"]
        if self.optimizer is not None and self.optimizer not in (names := {point["optimizer"] for _, point in done}):
            raise UnknownName(f"finished run in {self.run} of the optimizer", self.optimizer, names)
        fitting = [
            (number, point)
            for number, point in done
            if all(_fits(point, name, value) for name, value in self._selectors.items())
        ]
        if len(fitting) == 1:
            return fitting[0][1]
        if not fitting:
            asked = ", ".join(f"{name} {value}" for name, value in self._selectors.items())
            raise RequestError(f"{self.run} has no finished run" + (f" with {asked}" if asked else ""))
        numbers = ", ".join(str(number) for number, _ in fitting)
        raise RequestError(f"{len(fitting)} runs of {self.run} fit; select one with --number {numbers}")


def load_prompt(
    folder: str | Path,
    lm: FrozenLM,
    number: int | None = None,
    *,
    optimizer: str | None = None,
    weight: float | None = None,
    seed: int | None = None,
) -> HardPrompt | SoftPrompt:
    """Load the prompt that a run of a study found.

    Args:
        folder: the folder of the study.
        lm: the model to use the prompt with. If it has another tokenizer than the study's model, the text of the prompt is
            tokenized again; for a soft prompt that is the text of its projection.
        number: the number of the run's point, from 1: its line in `points.jsonl`, where each member of a front counts.
        optimizer, weight, seed: select the run instead of its number; they must fit exactly one run.

    Returns:
        The token ids and the text of a hard prompt, or the trained vectors of a soft prompt.

    Raises:
        StudyError: if the folder holds no study, or not the vectors of this soft prompt.
        RequestError: if the run does not exist or has failed, or several runs fit.

    Example:
        >>> from hardprompt import load_lm
        >>> load_prompt("runs/quick", load_lm("microworld"), optimizer="soft", seed=0).embeds.shape
        torch.Size([5, 160])
    """
    named = PromptRef(run=Path(folder), number=number, optimizer=optimizer, weight=weight, seed=seed)
    return named.prompt(lm)


def _fits(point: Point, name: str, value: Any) -> bool:
    """Whether a point has a value; a member of a front has every weight of its range."""
    if name != "weight" or "member" not in point:
        return bool(point[name] == value)
    low, high = point["weight_range"] or (math.inf, None)
    return bool(low <= value and (high is None or value < high))


def _same_name(one: str, other: str) -> bool:
    """Whether two names may be those of one model: other readers can make a name longer."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")
