"""A recipe: many studies in one YAML file, as `hardprompt run` takes it.

    about: what it shows                # one line; it and the expected minutes are for people
    minutes: 2
    preset: quick                       # or default; what is named below replaces its values
    tasks: [category, {task: sst2, data: fewshot/sst-2, splits: [13, 21]}]
    models: [microworld, {lm: path/to/a/model, readers: [path/to/another], memory: 4GB}]
    optimizers: [empty, manual, pez]
    options: {pez: {steps: 500}}
    weights: [0, 0.1]
    seeds: [0, 1]
    threads: 1                          # of every run; another number may change the last bits of a result
    studies:                            # named variants, each of which replaces some of the above
      long: {lm_tokens: 600000}
      curves: {optimizers: [pez], weights: [0.05, 0.1, 0.2, 0.4]}

Each task with each model is one study, in each of the named variants where there are any. All other fields are those of a
`StudyRequest`, and a task's or model's own come first. Paths are relative to the current directory, as on the command line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, create_model
from pydantic import model_validator as checks_all

from hardprompt.data.rows import raise_error
from hardprompt.data.yaml_lines import Place, YamlLines, read_yaml
from hardprompt.errors import RequestError, UnknownName
from hardprompt.records.request import OPTIMIZERS, PRESETS, StudyRequest

OF_TASK = ("splits", "data", "shots", "template", "label_words", "match", "reference_prompts")
"""Fields of a request that a task may have of its own."""

OF_MODEL = ("readers", "device", "dtype", "memory")
"""Fields of a request that a model may have of its own."""

OF_SEARCH = ("optimizers", "options", "weights", "splits", "seeds", "lm_tokens", "prompt_length", "vocabulary")

LISTS = ("tasks", "models", "readers", "optimizers", "weights", "splits", "seeds", "reference_prompts")
"""Fields that `-o` takes with commas between their items."""

NULL = ("null", "~")
Text = Annotated[str, Field(min_length=1)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @checks_all(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        """Nothing counts as not given; but a budget of null is none."""
        if not isinstance(values, dict):
            return values
        said = {name: None if isinstance(value, str) and value in NULL else value for name, value in values.items()}
        return {name: value for name, value in said.items() if value is not None or (name == "lm_tokens" and values[name])}


@cache
def _descriptions() -> dict[str, str]:
    """What the docstring of `StudyRequest` says of each field."""
    said: dict[str, str] = {}
    for names, text in re.findall(r"^ {8}(\w[\w, ]*): (.+(?:\n {12}.+)*)", StudyRequest.__doc__ or "", re.MULTILINE):
        said |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return said


def _taken(names: Iterable[str]) -> dict[str, Any]:
    """Fields of a request with their types and descriptions; each may be left out."""
    known = {name: StudyRequest.model_fields[name] for name in names}
    return {
        name: (Annotated[info.annotation, Field(), *info.metadata] | None, Field(None, description=_descriptions().get(name)))
        for name, info in known.items()
    }


def _entry(kind: str) -> Any:
    """A name alone stands for an entry that has nothing of its own."""
    return BeforeValidator(lambda value: {kind: value} if isinstance(value, str) else value)


class TaskEntry(create_model("_OfTask", __base__=_Fields, **_taken(OF_TASK))):  # type: ignore[misc]
    """A task, and what it has of its own."""

    task: Text


class ModelEntry(create_model("_OfModel", __base__=_Fields, **_taken(OF_MODEL))):  # type: ignore[misc]
    """A model, and what it has of its own."""

    lm: Text


class Variant(create_model("_OfStudy", __base__=_Fields, **_taken(OF_SEARCH + OF_MODEL))):  # type: ignore[misc]
    """What a recipe and each of its named variants may say."""

    preset: Literal[*PRESETS] | None = None  # type: ignore[valid-type]
    tasks: list[Annotated[TaskEntry, _entry("task")]] | None = None
    models: list[Annotated[ModelEntry, _entry("lm")]] | None = None


class RecipeFile(Variant):
    """The fields of a recipe, as the module says; unknown ones are refused."""

    about: str | None = None
    minutes: PositiveFloat | None = None
    threads: PositiveInt = 1
    studies: dict[StudyName, Variant] = Field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and is well formed; what its values mean is checked when the studies are planned.

    Attributes:
        name: of the file, without its ending.
        fields: those that are given.
    """

    name: str
    fields: dict[str, Any]
    _lined: YamlLines = field(repr=False)
    _overrides: Mapping[Place, str] = field(repr=False)

    @property
    def threads(self) -> int:
        """Threads of every run."""
        return int(self.fields.get("threads", 1))

    def as_yaml(self) -> str:
        """The recipe as it is read, with what was put in its place."""
        fields = RecipeFile.model_validate(self._lined.values).model_dump(mode="json", exclude_unset=True)
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)

    def holds(self, place: Place) -> bool:
        """Whether something is said at a place."""
        return place in self._lined.lines or any(place == given[: len(place)] for given in self._overrides)

    def wrong(self, place: Place, message: str) -> RequestError:
        """An error with its place: file and line, or the option that says so."""
        return _wrong(self._lined, self._overrides, place, message)


def read_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file.

    Args:
        path: of the file.
        overrides: `a.b=c` puts the text c at the place a.b: `seeds=0,1`, `pez.steps=500` (short for `options.pez.steps`),
            `tasks.0.data=FOLDER`, `studies.long.weights=0`.

    Raises:
        RequestError: there is no such file, or something in it is wrong; the first problem, with its line.

    Example:
        >>> read_recipe("runs/quick.yaml", ["seeds=3"]).fields["seeds"]     # doctest: +SKIP
        (3,)
    """
    lined = read_yaml(Path(path), raise_error, only_texts=False)
    said: dict[Place, str] = {}
    named = lined.values.get("optimizers")
    for text in overrides:
        said[_override(lined.values, text)] = f"-o {text}"
    if ("optimizers",) in said and isinstance(options := lined.values.get("options"), dict):
        lined.values["options"] = options_left(options, named, lined.values["optimizers"])
    try:
        checked = RecipeFile.model_validate(lined.values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda problem: problem["type"] == "missing")  # a misspelt field comes first
        place = tuple(part for part in first["loc"] if part != "[key]")
        raise _wrong(lined, said, place, _message(first, place)) from error
    return Recipe(Path(path).stem, checked.model_dump(exclude_unset=True), lined, said)


def options_left(options: dict[str, Any], named: Any, others: Any) -> dict[str, Any]:
    """The options where optimizers give way to others: those of optimizers that are left out go with them."""
    before = OPTIMIZERS if named is None else named
    return {name: own for name, own in options.items() if name not in before or name in others}


def recipe_schema() -> dict[str, Any]:
    """The form of a recipe as a JSON schema, for editors: with the installed optimizers and their options.

    >>> recipe_schema()["properties"]["seeds"]["anyOf"][0]["items"]["minimum"]
    0
    """
    from hardprompt.optimizers.base import all_optimizers

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | RecipeFile.model_json_schema()
    schema["title"] = "A recipe of hardprompt"
    shared = schema["$defs"]
    options: dict[str, Any] = {}
    for name, optimizer in all_optimizers().items():
        options[name] = optimizer.config.model_json_schema()
        shared |= options[name].pop("$defs", {})
    named = {"anyOf": [{"enum": sorted(options)}, {"type": "string", "pattern": r"\.py:"}]}
    for each in (schema, shared["Variant"]):
        own = each["properties"]
        for entry in ("tasks", "models"):
            own[entry]["anyOf"][0]["items"] = {"anyOf": [{"type": "string"}, own[entry]["anyOf"][0]["items"]]}
        own["optimizers"]["anyOf"][0]["items"] = named
        own["options"] = {"type": "object", "properties": options, "description": own["options"]["description"]}
    for each in (schema, shared["Variant"], shared["TaskEntry"]):
        each["properties"]["splits"]["anyOf"][0]["items"] = {"type": ["string", "integer"]}
    return schema


def _override(values: dict[str, Any], text: str) -> Place:
    """Put what `a.b=c` says into the values; returns the place."""
    path, equals, value = text.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise RequestError(f"-o {text!r} is not of the form a.b=c, such as seeds=0,1 or pez.steps=500")
    if names[0] not in RecipeFile.model_fields:
        if len(names) == 1:
            raise UnknownName("field of a recipe", names[0], RecipeFile.model_fields)
        names = ["options", *names]
    at: Any = values
    place: list[str | int] = []
    for name, last in zip(names, [*[False] * (len(names) - 1), True], strict=True):
        key: str | int = name
        if isinstance(at, list):
            if not name.isdecimal() or int(name) >= len(at):
                raise RequestError(f"-o {text}: {'.'.join(map(str, place))} has {len(at)} items, from 0; got {name!r}")
            key = int(name)
            if not last and isinstance(at[key], str):  # a name alone gets something of its own
                at[key] = {"task" if place[-1] == "tasks" else "lm": at[key]}
        elif not isinstance(at, dict):
            raise RequestError(f"-o {text}: there is nothing below {'.'.join(map(str, place))}")
        place.append(key)
        if last:
            in_list = name in LISTS and place[0] != "options"
            at[key] = [item.strip() for item in value.split(",")] if in_list else value
        else:
            at = at[key] if isinstance(key, int) else _below(at, key)
    return tuple(place)


def _below(at: dict[str, Any], key: str) -> Any:
    if at.get(key) is None:
        at[key] = {}
    return at[key]


def _wrong(lined: YamlLines, overrides: Mapping[Place, str], place: Place, message: str) -> RequestError:
    asked = next((said for at, said in overrides.items() if place[: len(at)] == at or at[: len(place)] == place), None)
    line = lined.line(*place)
    where = asked or (str(lined.file) if line is None else f"{lined.file}:{line}")
    return RequestError(f"{where}: {message}")


def _message(problem: Any, place: Place) -> str:
    """A problem that pydantic found, in one line: what was expected and what is there."""
    name = ".".join(str(part) for part in place)
    kind, given = problem["type"], problem["input"]
    if kind == "missing":
        return f"{'.'.join(map(str, place[:-1]))} has no {place[-1]!r}; every entry names one"
    if kind == "extra_forbidden":
        return str(UnknownName("field", str(place[-1]), _known_at(place[:-1])))
    expected = {
        "list_type": "a list, such as [a, b]",
        "tuple_type": "a list, such as [a, b]",
        "dict_type": "lines like NAME: VALUE",
        "model_type": "a name, or lines like NAME: VALUE",
        "model_attributes_type": "a name, or lines like NAME: VALUE",
        "string_type": "a text",
        "string_too_short": "a name",
        "string_pattern_mismatch": "letters, digits, - and _",
    }.get(kind)
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{name}: expected {expected or message}; got {_short(given)}"


def _known_at(place: Place) -> Iterable[str]:
    """The fields that may stand at a place."""
    whole: type[BaseModel] = RecipeFile
    if place[:1] == ("studies",) and len(place) > 1:
        whole, place = Variant, place[2:]
    kinds: dict[str | int, type[BaseModel]] = {"tasks": TaskEntry, "models": ModelEntry}
    return (kinds[place[0]] if place else whole).model_fields


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
