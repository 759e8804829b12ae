"""One clear line for each problem that pydantic finds in a configuration, a request or a file."""

from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hardprompt.errors import UnknownName

_EXPECTED = {
    "bool": "true or false",
    "dict": "fields such as NAME: VALUE",
    "finite": "a finite number",
    "float": "a number",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "int": "an integer",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "list": "a list, such as [a, b]",
    "literal": "{expected}",
    "model": "fields such as NAME: VALUE",
    "string": "text",
    "string_pattern_mismatch": "text that matches the pattern {pattern}",
    "string_too_short": "text that is not empty",
    "too_short": "a list of at least {min_length}",
    "tuple": "a list, such as [a, b]",
}
"""Type of pydantic's error, or its first word -> what was expected, with values of the error's context."""


class FieldProblem(NamedTuple):
    """A problem and its place.

    Attributes:
        place: the keys and list positions that lead to the wrong value, from the top.
        message: one line that names the field, the expected value and the given value.
    """

    place: tuple[str | int, ...]
    message: str


def field_problems(error: ValidationError, form: type[BaseModel]) -> list[FieldProblem]:
    """All problems in a validation error; missing fields come last, because a misspelt field makes another one missing.

    Args:
        error: raised by pydantic.
        form: the model that refused the values; it holds the names of the known fields.

    Example:
        >>> from pydantic import Field
        >>> class Options(BaseModel, extra="forbid"):
        ...     steps: Annotated[int, Field(gt=0)] = 3
        >>> try:
        ...     Options(steps=0, seeed=1)
        ... except ValidationError as error:
        ...     for problem in field_problems(error, Options):
        ...         print(problem.message)
        steps: expected a number greater than 0; got 0
        no field 'seeed'. Available: steps
    """
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] == "missing")
    return [_problem(detail, form) for detail in details]


def _problem(detail: Any, form: type[BaseModel]) -> FieldProblem:
    place = tuple(part for part in detail["loc"] if part != "[key]")
    name, kind = ".".join(map(str, place)), detail["type"]
    before = f"{name}: " if name else ""
    if kind == "extra_forbidden":
        return FieldProblem(place, str(UnknownName("field", str(place[-1]), _fields_at(form, place[:-1]))))
    if kind == "missing":
        return FieldProblem(place, f"the field {name!r} is missing")
    given = f"got {_short(detail['input'])}"
    if kind == "value_error":  # raised by a validator of the model, with a message of its own
        return FieldProblem(place, f"{before}{detail['ctx']['error']}; {given}")
    expected = _EXPECTED.get(kind) or _EXPECTED.get(kind.split("_")[0])
    expected = expected.format(**detail.get("ctx", {})) if expected else detail["msg"].removeprefix("Input should be ")
    return FieldProblem(place, f"{before}expected {expected}; {given}")


def _fields_at(form: Any, place: tuple[str | int, ...]) -> list[str]:
    """The known fields at a place of a model."""
    for part in place:
        of_model = isinstance(form, type) and issubclass(form, BaseModel)
        form = form.model_fields[part].annotation if of_model else get_args(form)[-1]
        while get_origin(form) in (Annotated, Union, UnionType):
            form = next(kind for kind in get_args(form) if kind is not NoneType)
    return list(form.model_fields)


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
