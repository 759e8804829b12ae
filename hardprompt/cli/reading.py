"""Reading the values of options that are lists or mappings.

Each function takes the name of the option, for messages, and its text or texts. It returns None if the option is not given.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from hardprompt.errors import RequestError


def words(option: str, text: str | None) -> tuple[str, ...] | None:
    """Comma-separated words.

    >>> words("--optimizers", "manual, pez")
    ('manual', 'pez')
    """
    if text is None:
        return None
    if not text.strip():
        raise RequestError(f"{option}: no value is given; give at least one, or leave the option out")
    found = tuple(word.strip() for word in text.split(","))
    if not all(found):
        raise RequestError(f"{option}: {text!r} has nothing before or after a comma; fill the gap or remove the comma")
    return found


def numbers(option: str, text: str | None, kind: type) -> tuple[Any, ...] | None:
    """Comma-separated numbers.

    >>> numbers("--seeds", "0,1", int)
    (0, 1)
    """
    try:
        return tuple(kind(word) for word in words(option, text) or ()) or None
    except ValueError as error:
        what = "integers, such as 0,1" if kind is int else "numbers, such as 0,0.1"
        hint = "; write out each number of a range" if re.fullmatch(r"\s*\d+\s*(-|\.\.|:)\s*\d+\s*", text or "") else ""
        raise RequestError(f"{option}: {text!r} is not a comma-separated list of {what}{hint}") from error


integers = partial(numbers, kind=int)
floats = partial(numbers, kind=float)


def pairs(option: str, text: str | None) -> dict[str, str] | None:
    """Comma-separated pairs.

    >>> pairs("--label-words", "0=terrible,1=great")
    {'0': 'terrible', '1': 'great'}
    """
    found = [pair.partition("=") for pair in words(option, text) or ()]
    if any(not equals or not label or not word for label, equals, word in found):
        raise RequestError(f"{option}: {text!r} is not a list of pairs such as 0=terrible,1=great")
    if len({label for label, _, _ in found}) < len(found):
        raise RequestError(f"{option}: {text!r} names a label twice")
    return {label: word for label, _, word in found} or None


def optimizer_options(option: str, texts: Iterable[str] | None) -> dict[str, dict[str, str]] | None:
    """Options of optimizers; the optimizer's configuration converts the values.

    >>> optimizer_options("-o", ["pez.steps=500"])
    {'pez': {'steps': '500'}}
    """
    found: dict[str, dict[str, str]] = {}
    for text in texts or ():
        path, equals, value = text.partition("=")
        optimizer, dot, name = path.rpartition(".")
        if not (equals and dot and optimizer and name):
            raise RequestError(f"{option}: {text!r} is not of the form optimizer.option=value, such as pez.steps=500")
        found.setdefault(optimizer, {})[name] = value
    return found or None


def repeated(option: str, texts: Iterable[str] | None) -> tuple[str, ...] | None:
    """The values of an option that can be repeated."""
    return tuple(texts or ()) or None
