"""Reading `task.yaml`, which describes a user's task and names its data files.

    name: mood                          # by default the folder's name
    template: "{input} {prompt}:"       # required
    data: data.csv                      # required: one file, or train: ..., dev: ..., test: ...; relative to the folder
    columns: {input: text, answer: label}
    label_words: {positive: good, negative: bad}     # without them, the model generates the answers
    match: exact                        # for generation: exact, starts-with, or number (after a reasoning)
    max_answer_tokens: 128              # for match: number, the maximal length of the reasoning and the number
    separator: " "                      # between the template's text and the answer
    chat: true                          # for chat models: the template is the content of the user's turn
    prompt_turn: system                 # for chat: the prompt is the system's turn; by default (user) it stands in the template
    masked_template: "{mask} {prompt} {input}"       # for masked models, which predict {mask}
    reference_prompts: [was it good or bad]
    unusable: skip                      # leave unusable rows out and count them; by default (refuse) they are errors
    description, citation, licence, source: one line each

One file may have a column `split` with train, dev or test; `hardprompt.data.splits` makes the parts that are missing. The data
contain the names of the labels. The result is a `DataTask`, so that `--splits`, `--shots` and `--data` work with it.
"""

from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, ValidationInfo, field_validator

from hardprompt.data.datasets import ColumnLayout, DataTask, Files
from hardprompt.data.languages import caseless
from hardprompt.data.rows import OnError, checked_format, raise_error
from hardprompt.data.task import Split, Template
from hardprompt.data.yaml_lines import YamlLines, read_yaml
from hardprompt.errors import DataError, RequestError, TaskError
from hardprompt.field_problems import field_problems

TASK_FILE = "task.yaml"
ENDINGS = (".yaml", ".yml")

WHOLE = ""
"""The part of a file with all of the data."""

Text = Annotated[str, Field(min_length=1)]


class Columns(BaseModel):
    """The columns of input and answer.

    Attributes:
        input: the name of a column, or a text with names of columns in braces, such as "{title} {description}".
        answer: the name of a column.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Text = "{input}"
    answer: Text = "answer"

    @field_validator("input")
    @classmethod
    def _in_braces(cls, input: str) -> str:
        text = input if "{" in input or "}" in input else f"{{{input}}}"
        try:
            places = [place for place in Formatter().parse(text) if place[1] is not None]
        except ValueError as error:
            raise ValueError(f"{input!r} is not a text with columns in braces ({error})") from error
        for _, name, form, conversion in places or [("", "", "", "")]:
            if not name or form or conversion or name.isdigit() or set(name) & set(".[{}"):
                raise ValueError(f"{input!r} is neither a column's name nor a text like '{{title}} {{description}}'")
        return text


class TaskFile(BaseModel):
    """The fields of a `task.yaml`, as described in the module; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[^/\\\n]+$")]
    description: str = ""
    template: str
    masked_template: str = ""
    data: dict[Literal["", "train", "dev", "test"], Text]
    columns: Columns = Columns()
    label_words: dict[Text, Text] = {}
    match: Literal["exact", "starts-with", "number"] = "exact"
    max_answer_tokens: PositiveInt = 128
    reference_prompts: list[Text] = []
    separator: str = " "
    chat: bool = False
    prompt_turn: Literal["user", "system"] = "user"
    citation: str = ""
    licence: str = ""
    source: str = ""
    unusable: Literal["refuse", "skip"] = "refuse"

    @field_validator("template", "masked_template")
    @classmethod
    def _has_places(cls, template: str, field: ValidationInfo) -> str:
        try:
            has_mask = Template(template).masked
        except TaskError as error:
            raise ValueError(str(error)) from error
        if field.field_name == "masked_template" and not has_mask:
            raise ValueError(f"template {template!r} has no {{mask}}; put it in once")
        return template

    @field_validator("data", mode="before")
    @classmethod
    def _one_file(cls, data: object) -> object:
        return {WHOLE: data} if isinstance(data, str) else data

    @field_validator("data")
    @classmethod
    def _to_learn_from(cls, data: dict[str, str]) -> dict[str, str]:
        if WHOLE not in data and "train" not in data:
            raise ValueError("name one file, or at least 'train: FILE' under data")
        return data

    @field_validator("label_words")
    @classmethod
    def _a_choice(cls, words: dict[str, str]) -> dict[str, str]:
        if len(words) == 1:
            raise ValueError("a single label word; give at least two, or none for generation")
        if len({caseless(label) for label in words}) < len(words):
            raise ValueError("two labels differ only in upper and lower case, or in composed and decomposed form")
        return words

    @field_validator("match")
    @classmethod
    def _of_generation(cls, match: str, given: ValidationInfo) -> str:
        if match != "exact" and given.data.get("label_words"):
            raise ValueError(f"match {match!r} is for generation, and there are label words; leave it out")
        return match

    @field_validator("prompt_turn")
    @classmethod
    def _of_a_chat(cls, turn: str, given: ValidationInfo) -> str:
        if turn == "system" and given.data.get("chat") is False:
            raise ValueError("prompt_turn is for a chat; give chat: true as well, or leave it out")
        return turn

    @field_validator("reference_prompts")
    @classmethod
    def _some_words(cls, prompts: list[str]) -> list[str]:
        if not all(prompt.strip() for prompt in prompts):
            raise ValueError("a reference prompt is empty; the optimizer `empty` scores that one")
        return prompts


def is_task_path(name: str) -> bool:
    """Whether a name that is not in the catalogue is the path of a task's folder or `task.yaml`."""
    return Path(name).suffix.lower() in ENDINGS or "/" in name or Path(name).is_dir()


def task_file(path: str | Path) -> Path:
    """The `task.yaml` of a folder, or the file itself.

    Raises:
        RequestError: there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / TASK_FILE).is_file():
            raise RequestError(f"{path} is not a task: it has no {TASK_FILE}; `hardprompt new-task NAME` writes one")
        return path / TASK_FILE
    if not path.is_file():
        raise RequestError(f"no task {path}; give a folder with a {TASK_FILE}, the file itself, or a Python file")
    if path.suffix.lower() not in ENDINGS:
        raise RequestError(f"{path} is not a task; expected a folder with a {TASK_FILE}, the file itself, or a Python file")
    return path


def read_task_file(path: str | Path, on_error: OnError = raise_error) -> tuple[DataTask, YamlLines]:
    """Read a task from its folder.

    Args:
        path: a folder with a `task.yaml`, or that file.
        on_error: called with each error; by default the first error is raised. If it returns, an invalid field is left out, and
            with invalid data or columns the task has no files.

    Returns:
        The task, and the lines of all values in its `task.yaml`.

    Raises:
        RequestError: there is no such file, or it is not valid YAML.

    Example:
        >>> read_task_file("mood")[0].label_words
        {'positive': 'good', 'negative': 'bad'}
    """
    lined = read_yaml(task_file(path), on_error, truths=("chat",))
    given = {"name": lined.file.resolve().parent.name} | {k: v for k, v in lined.values.items() if v is not None}
    wrong: set[str] = set()
    try:
        spec = TaskFile.model_validate(given)
    except ValidationError as error:
        for place, message in field_problems(error, TaskFile):
            on_error(DataError(lined.file, lined.line(*place), message))
            wrong.add(str(place[0]))
        stand_in = {"name": "task", "template": "{input} {prompt}", "data": TASK_FILE}
        spec = TaskFile.model_validate(stand_in | {k: v for k, v in given.items() if k not in wrong})
    readable = not wrong & {"data", "columns"}
    return _task(spec, _files(spec, lined, on_error) if readable else ()), lined


def _task(spec: TaskFile, files: Files) -> DataTask:
    fields: dict[str, Any] = spec.model_dump(exclude={"data", "columns"})
    return DataTask(**fields, layouts=(ColumnLayout(spec.columns.input, spec.columns.answer, None),), data_files=files)


def _files(spec: TaskFile, lined: YamlLines, on_error: OnError) -> Files:
    """The data files that exist."""
    folder = lined.file.parent
    found: list[tuple[Split | None, Path]] = []
    for part, name in spec.data.items():
        line = lined.line("data", part)
        if not (folder / name).is_file():
            on_error(
                DataError(lined.file, line, f"no file {folder / name}; data files are relative to the folder of {TASK_FILE}")
            )
        else:
            try:
                checked_format(Path(name))
                found.append((part or None, folder / name))
            except TaskError as error:
                on_error(DataError(lined.file, line, str(error)))
    return found
