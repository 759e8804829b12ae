"""Finding what is on offer: built-in and foreign tasks and optimizers alike come through entry points, or from a named file."""

import importlib.util
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from hardprompt.errors import RequestError


def offers(group: str, attribute: str) -> list[tuple[str, Any]]:
    """(entry point, its module's `attribute`) of every installed family in a group, by name.

    A plug-in that cannot be imported is one warning, so that a broken stranger does not stop a study.
    """
    found = []
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            found.append((entry.value, getattr(entry.load(), attribute)))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(f"plug-in {entry.name} ({entry.value}) of {group} cannot be loaded: {reason}", stacklevel=3)
    return found


def is_file_reference(name: str) -> bool:
    """Whether a name is `path.py:attribute`."""
    path, colon, _ = name.rpartition(":")
    return bool(colon) and path.endswith(".py")


def load_attribute(reference: str) -> Any:
    """The attribute of a Python file given as `path.py:attribute`; the file is run for it.

    Raises:
        RequestError: no such file, it does not run, or it has no such attribute.
    """
    path, _, attribute = reference.rpartition(":")
    module = _run(path)
    if not hasattr(module, attribute):
        raise RequestError(f"{path} has no {attribute!r}")
    return getattr(module, attribute)


def load_only(path: str, kinds: tuple[type, ...], called: str) -> Any:
    """The one object of some kinds that a Python file holds; the file is run for it.

    Args:
        path: of the file.
        kinds: what to look for.
        called: what messages call it.

    Raises:
        RequestError: no such file, it does not run, or it holds none or several.
    """
    found = {name: value for name, value in vars(_run(path)).items() if isinstance(value, kinds)}
    if len({id(value) for value in found.values()}) != 1:
        several = f"several ({', '.join(found)}); choose one with {path}:name" if found else f"none; give {path}:name"
        raise RequestError(f"{path} should hold one {called}, but holds {several}")
    return next(iter(found.values()))


def _run(path: str) -> ModuleType:
    file = Path(path)
    spec = importlib.util.spec_from_file_location(f"_hardprompt_file_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise RequestError(f"no file {path}; expected path.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses and pydantic look up annotations given as text
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"{path} does not run: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    return module
