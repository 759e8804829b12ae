"""A recipe: one YAML file that describes many studies, for `hardprompt run`.

    about: what it shows                # one line; `about` and the expected minutes are for people
    minutes: 2
    preset: quick                       # or default; the fields below replace its values
    tasks: [category, {task: sst2, data: fewshot/sst-2, splits: [13, 21]}]
    models: [microworld, {lm: path/to/a/model, readers: [path/to/another], memory: 4GB}, {lm: [microworld, path/to/a/model]}]
    optimizers: [empty, manual, pez]
    options: {pez: {steps: 500}}
    weights: [0, 0.1]
    seeds: [0, 1]
    threads: 1                          # of each run; another number can change the last bits of a result
    studies:                            # named variants; each replaces some of the fields above
      long: {lm_tokens: 600000}
      curves: {optimizers: [pez], weights: [0.05, 0.1, 0.2, 0.4]}

There is one study for each pair of a task and a model (or a list of models, for which one prompt is searched), and, if the
recipe has variants, for each variant. All other fields are
those of `StudyRequest`. The fields of a task or model replace those of the recipe. `lm_tokens: null` means no budget. Paths are
relative to the current directory, as on the command line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, create_model
from pydantic import model_validator as checks_all

from hardprompt.data.rows import raise_error
from hardprompt.data.yaml_lines import Place, YamlLines, read_yaml
from hardprompt.errors import RequestError, UnknownName
from hardprompt.field_problems import field_problems
from hardprompt.records.request import MODEL_FIELDS, OPTIMIZERS, PRESETS, SEARCH_FIELDS, TASK_FIELDS, StudyRequest

LISTS = ("tasks", "models", "readers", "metrics", "optimizers", "weights", "splits", "seeds", "reference_prompts")
"""Fields whose items are separated by commas in `-o`."""

NULL = ("null", "~")
Text = Annotated[str, Field(min_length=1)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @checks_all(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        """Drop fields whose value is null, except `lm_tokens`, where null means no budget."""
        if not isinstance(values, dict):
            return values
        read = {name: None if isinstance(value, str) and value in NULL else value for name, value in values.items()}
        return {name: value for name, value in read.items() if value is not None or (name == "lm_tokens" and values[name])}


def _request_fields(names: Iterable[str]) -> dict[str, Any]:
    """Fields of a request with their types and descriptions, all of them optional."""
    known = {name: StudyRequest.model_fields[name] for name in names}
    return {
        name: (Annotated[info.annotation, Field(), *info.metadata] | None, Field(None, description=info.description))
        for name, info in known.items()
    }


def _entry(kind: str) -> Any:
    """A name alone is an entry without fields."""
    return BeforeValidator(lambda value: {kind: value} if isinstance(value, str) else value)


class TaskEntry(create_model("_TaskFields", __base__=_Fields, **_request_fields(TASK_FIELDS))):  # type: ignore[misc]
    """A task with its own fields."""

    task: Annotated[Text, Field(description=StudyRequest.model_fields["task"].description)]


class ModelEntry(create_model("_ModelFields", __base__=_Fields, **_request_fields(MODEL_FIELDS))):  # type: ignore[misc]
    """A language model with its own fields."""

    lm: Annotated[Text | list[Text], Field(description=StudyRequest.model_fields["lm"].description)]


_StudyFields = create_model("_StudyFields", __base__=_Fields, **_request_fields(SEARCH_FIELDS + MODEL_FIELDS))


class Variant(_StudyFields):  # type: ignore[misc, valid-type]
    """The fields of a recipe that each of its named variants can replace."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    preset: Literal[*PRESETS] | None = None  # type: ignore[valid-type]
    """Values of the fields that are not given."""

    tasks: list[Annotated[TaskEntry, _entry("task")]] | None = None
    """Tasks of the studies: names, or fields with `task: NAME`."""

    models: list[Annotated[ModelEntry, _entry("lm")]] | None = None
    """Language models of the studies: names, or fields with `lm: NAME`; by default microworld."""


class RecipeFile(Variant):
    """The fields of a recipe; unknown fields are refused."""

    about: str | None = None
    """What the recipe shows, in one line."""

    minutes: PositiveFloat | None = None
    """Expected run time in minutes."""

    threads: PositiveInt = 1
    """CPU threads of each run; another number can change the last bits of a result."""

    studies: dict[StudyName, Variant] = Field(default_factory=dict)
    """Named variants of the recipe; each replaces some of its fields."""


@dataclass(frozen=True)
class Recipe:
    """A well-formed recipe. The meaning of its values is checked when the studies are planned.

    Attributes:
        name: the name of the file without its suffix.
        fields: the fields that the recipe gives.
    """

    name: str
    fields: dict[str, Any]
    _lined: YamlLines = field(repr=False)
    _overrides: Mapping[Place, str] = field(repr=False)

    @property
    def threads(self) -> int:
        """CPU threads of each run."""
        return int(self.fields.get("threads", 1))

    def as_yaml(self) -> str:
        """The recipe as YAML, with the overrides in place."""
        fields = RecipeFile.model_validate(self._lined.values).model_dump(mode="json", exclude_unset=True)
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)

    def holds(self, place: Place) -> bool:
        """Whether the recipe gives a value at a place."""
        return place in self._lined.lines or any(place == given[: len(place)] for given in self._overrides)

    def wrong(self, place: Place, message: str) -> RequestError:
        """An error whose message begins with the place: file and line, or the option `-o`."""
        return _wrong(self._lined, self._overrides, place, message)


def read_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: the file.
        overrides: texts of the form `a.b=c`, each of which sets the value at `a.b` to `c`: `seeds=0,1`, `pez.steps=500` (short
            for `options.pez.steps=500`), `tasks.0.data=FOLDER`, `studies.long.weights=0`.

    Raises:
        RequestError: the file does not exist or is wrong; the message names the first problem and its line.

    Example:
        >>> read_recipe("runs/quick.yaml", ["seeds=3"]).fields["seeds"]
        (3,)
    """
    lined = read_yaml(Path(path), raise_error, only_texts=False)
    overridden: dict[Place, str] = {}
    before = lined.values.get("optimizers")
    for text in overrides:
        overridden[_override(lined.values, text)] = f"-o {text}"
    if ("optimizers",) in overridden and isinstance(options := lined.values.get("options"), dict):
        lined.values["options"] = remaining_options(options, before, lined.values["optimizers"])
    try:
        checked = RecipeFile.model_validate(lined.values)
    except ValidationError as error:
        raise _wrong(lined, overridden, *field_problems(error, RecipeFile)[0]) from error
    return Recipe(Path(path).stem, checked.model_dump(exclude_unset=True), lined, overridden)


def remaining_options(options: dict[str, Any], before: Any, after: Any) -> dict[str, Any]:
    """The options that remain when other optimizers replace those of a recipe.

    Options of optimizers that are no longer there are dropped. Options of unknown optimizers are kept; a later check refuses
    them.

    Args:
        options: options by the name of the optimizer.
        before: the replaced names; None for the default ones.
        after: the names that replace them.
    """
    replaced = OPTIMIZERS if before is None else before
    return {name: own for name, own in options.items() if name not in replaced or name in after}


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors; it contains the installed optimizers with their options.

    >>> recipe_schema()["properties"]["seeds"]["anyOf"][0]["items"]["minimum"]
    0
    """
    from hardprompt.optimizers.base import all_optimizers

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | RecipeFile.model_json_schema()
    schema["title"] = "hardprompt recipe"
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
    """Set a value of the recipe by a text `a.b=c`, and return its place."""
    path, equals, value = text.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise RequestError(f"-o {text!r} is not of the form a.b=c, such as seeds=0,1 or pez.steps=500")
    if names[0] not in RecipeFile.model_fields:
        if len(names) == 1:
            raise UnknownName("recipe field", names[0], RecipeFile.model_fields)
        names = ["options", *names]
    at: Any = values
    place: list[str | int] = []
    for name, last in zip(names, [*[False] * (len(names) - 1), True], strict=True):
        key: str | int = name
        if isinstance(at, list):
            if not name.isdecimal() or int(name) >= len(at):
                raise RequestError(f"-o {text}: {'.'.join(map(str, place))} has {len(at)} items, numbered from 0; got {name!r}")
            key = int(name)
            if not last and isinstance(at[key], str):  # a name alone becomes an entry with fields
                at[key] = {"task" if place[-1] == "tasks" else "lm": at[key]}
        elif not isinstance(at, dict):
            raise RequestError(f"-o {text}: {'.'.join(map(str, place))} has no fields")
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
    override = next((text for at, text in overrides.items() if place[: len(at)] == at or at[: len(place)] == place), None)
    line = lined.line(*place)
    where = override or (str(lined.file) if line is None else f"{lined.file}:{line}")
    return RequestError(f"{where}: {message}")
