"""Naming a prompt: by its text, by its token ids, as what a run of a study found, or as vectors in a file."""

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
from hardprompt.records.request import StudyRequest, same_model
from hardprompt.records.store import Store, recorded_request

Point = dict[str, Any]

OF_TASK = ("splits", "data", "shots", "template", "label_words", "match", "reference_prompts")
"""Fields of a request that mean nothing for another task."""


@dataclass(frozen=True)
class PromptRef:
    """A prompt as it is asked for on the command line: exactly one of a text, ids, a study's folder and a soft prompt's file.

    Attributes:
        text: the text; empty for no prompt.
        ids: the token ids.
        run: the folder of a study.
        number: of the run: its line in `points.jsonl`, from 1.
        optimizer, weight, seed: of the run, instead of its number; as many as make it the only one.
        soft: a peft adapter's folder, or a file that holds one soft prompt (`hardprompt.adapter.read_vectors`).

    Raises:
        RequestError: none of the four or several, or what chooses a run without a folder.
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
            raise RequestError(f"name the prompt by one of --text, --ids, --run and --soft; got {got}")
        chosen = ["number"] * (self.number is not None) + list(self._selectors)
        if chosen and self.run is None:
            raise RequestError(f"--{chosen[0]} chooses a run of a study; give its folder with --run")
        if self.number is not None and self._selectors:
            raise RequestError(f"choose the run by --number or by --{next(iter(self._selectors))}, not by both")

    @property
    def _selectors(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("optimizer", "weight", "seed")}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def _store(self) -> Store | None:
        return None if self.run is None else Store(self.run)

    @cached_property
    def point(self) -> Point | None:
        """The recorded run; None for a text or ids.

        Raises:
            StudyError: the folder holds no study.
            RequestError: there is no such run, it failed, or several fit.
        """
        return None if self._store is None else self._chosen(self._store)

    @property
    def projection(self) -> str:
        """The measure by which the run projects a soft prompt."""
        return str(self.point["config"].get("projection", "cosine")) if self.point else "cosine"

    def request(self, given: dict[str, Any]) -> StudyRequest:
        """Task, model and readers: those of the run's study, or the defaults, where `given` has no others.

        A task other than the study's comes without the study's data, split, template and label words, and a model that was
        one of the study's readers is none now.
        """
        fields: dict[str, Any] = {}
        if self._store and self.point:
            fields = recorded_request(self._store.study).model_dump() | {"splits": (self.point["split"],)}
            if given.get("task", fields["task"]) != fields["task"]:
                fields = {name: value for name, value in fields.items() if name not in OF_TASK}
            lm = given.get("lm", fields["lm"])
            fields["readers"] = tuple(name for name in fields["readers"] if not same_model(name, lm))
        return StudyRequest.make(**fields | given)

    def check_data(self, task: Task, given: dict[str, Any]) -> None:
        """Refuse the task of the run's study where its data are no longer those that the run was made on.

        A request that says itself what to measure on (`given` has the task, or a field of it other than the split) is taken at
        its word, and so is a split that the study has not recorded.

        Raises:
            StudyError: they have changed.
        """
        if self._store and not given.keys() & {"task", *OF_TASK} - {"splits"}:
            made_on = self._store.study.get("data", {}).get(task.split)
            if made_on not in (None, task.digest):
                raise StudyError(
                    f"the data of task {task.name} are not those that {self.run} was made on; "
                    f"give --task {self._store.study['request'].get('task')} to measure on what they are now"
                )

    def prompt(self, lm: FrozenLM, template: Template = AFTER_INPUT) -> HardPrompt | SoftPrompt:
        """The prompt for a model; what a run found under another model's tokenizer is its text, tokenized afresh.

        Vectors belong to the model that they were trained on: for another one it is the text of their projection that counts.

        Raises:
            RequestError: ids out of the vocabulary, or a file without one soft prompt that fits the model.
            StudyError: the vectors of a soft prompt are not in the study's folder.
        """
        if self.soft is not None:
            found = read_vectors(self.soft)
            if len(found) != 1:
                raise RequestError(f"{self.soft} holds {len(found)} soft prompts ({', '.join(found)}); name a file of one")
            return as_prompt(lm, SoftPrompt(*found.values()))
        if self._store is None or self.point is None:
            given = self.text if self.text is not None else self.ids
            return as_prompt(lm, given if given is not None else "", template)
        point, text = self.point, str(self.point["prompt_text"])
        ids = tuple(point["prompt_ids"])
        same = all(token < lm.vocab_embeds.shape[0] for token in ids) and lm.decode(ids) == text
        if same and lm.name == point["lm"] and "reason" not in point["faithfulness"]:
            if "soft_prompt_file" not in point:
                raise StudyError(f"{self.run} holds no vectors of this soft prompt; name its projection with --text {text!r}")
            return as_prompt(lm, SoftPrompt(self._store.load_vectors(point["soft_prompt_file"])))
        return HardPrompt(ids, text) if same else HardPrompt.in_place(lm, template, text)

    def _chosen(self, store: Store) -> Point:
        lines = store.lines()
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
            (number, point) for number, point in done if all(point[name] == value for name, value in self._selectors.items())
        ]
        if len(fitting) == 1:
            return fitting[0][1]
        if not fitting:
            asked = ", ".join(f"{name} {value}" for name, value in self._selectors.items())
            raise RequestError(f"{self.run} has no finished run" + (f" with {asked}" if asked else ""))
        numbers = ", ".join(str(number) for number, _ in fitting)
        raise RequestError(f"{len(fitting)} runs of {self.run} fit; choose one with --number {numbers}")


def load_prompt(
    folder: str | Path,
    lm: FrozenLM,
    number: int | None = None,
    *,
    optimizer: str | None = None,
    weight: float | None = None,
    seed: int | None = None,
) -> HardPrompt | SoftPrompt:
    """The prompt that a run of a study found: its ids and text, or its vectors as they were trained.

    Args:
        folder: of the study.
        lm: the model that is to read it; with another tokenizer than the study's the text is tokenized afresh, and of a soft
            prompt it is the text of its projection.
        number: the run's line in `points.jsonl`, from 1.
        optimizer, weight, seed: of the run, instead of its number; as many as make it the only one.

    Raises:
        StudyError: the folder holds no study, or no vectors of this soft prompt.
        RequestError: there is no such run, it failed, or several fit.

    Example:
        >>> soft = load_prompt("hardprompt-out/category-microworld", load_lm("microworld"), 4)      # doctest: +SKIP
        >>> soft.embeds.shape      # doctest: +SKIP
        torch.Size([5, 128])
    """
    named = PromptRef(run=Path(folder), number=number, optimizer=optimizer, weight=weight, seed=seed)
    return named.prompt(lm)
