"""Tasks, optimizers and metrics from entry points of installed packages (also the built-in ones) and from Python files."""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from hardprompt.errors import RequestError, UnknownName

T = TypeVar("T")


def installed_plugins(group: str, attribute: str) -> list[tuple[str, Any]]:
    """Load an attribute from the module of every entry point in a group.

    A plug-in that cannot be imported gives a warning, so that it does not stop a study that does not need it.

    Args:
        group: the group of entry points, such as "hardprompt.tasks".
        attribute: the name of a list in their modules.

    Returns:
        The module's name and its attribute, sorted by the name of the entry point.
    """
    found = []
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            found.append((entry.value, getattr(entry.load(), attribute)))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(f"plug-in {entry.name} ({entry.value}) of {group} cannot be loaded: {reason}", stacklevel=4)
    return found


def plugins_by_name(group: str, attribute: str, kind: str) -> dict[str, Any]:
    """All installed plug-ins of a group by name, in the order of their entry points.

    Args:
        group: the group of entry points, such as "hardprompt.tasks".
        attribute: the name of a dictionary by name, or of a list of objects with a `name`, in their modules.
        kind: what messages call such a plug-in, such as "task".

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    found: dict[str, Any] = {}
    for source, offered in installed_plugins(group, attribute):
        named = offered if isinstance(offered, Mapping) else {each.name: each for each in offered}
        if repeated := found.keys() & named.keys():
            raise RequestError(f"two plug-ins offer {_article(kind)} {kind} {min(repeated)!r}; the second is {source}")
        found |= named
    return found


def load_plugin(name: str, known: Callable[[], Mapping[str, T]], of: type[T], kind: str) -> T:
    """A plug-in by name, or from a Python file as `path.py:attribute`; the file is run.

    Args:
        name: the name, or the reference to the file.
        known: returns the installed plug-ins by name.
        of: the type of such plug-ins.
        kind: what messages call such a plug-in; also the name of its decorator in `hardprompt`.

    Raises:
        UnknownName: there is no plug-in of this name.
        RequestError: the file or the attribute does not exist, or is not such a plug-in.
    """
    if is_file_reference(name):
        found = load_attribute(name)
        if not isinstance(found, of):
            raise RequestError(f"{name} is not {_article(kind)} {kind}; decorate the function with @hardprompt.{kind}(...)")
        return found
    plugins = known()
    if name not in plugins:
        raise UnknownName(kind, name, plugins, " (or path.py:name)")
    return plugins[name]


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def is_file_reference(name: str) -> bool:
    """Whether a name has the form `path.py:attribute`.

    >>> is_file_reference("my_task.py:task"), is_file_reference("plural")
    (True, False)
    """
    path, colon, _ = name.rpartition(":")
    return bool(colon) and path.endswith(".py")


def load_attribute(reference: str) -> Any:
    """Run a Python file and return one of its attributes.

    Args:
        reference: `path.py:attribute`.

    Raises:
        RequestError: the file does not exist, fails, or does not define the attribute.
    """
    path, _, attribute = reference.rpartition(":")
    module = _run(path)
    if not hasattr(module, attribute):
        raise RequestError(f"{path} does not define {attribute!r}")
    return getattr(module, attribute)


def load_only(path: str, kinds: tuple[type, ...], called: str) -> Any:
    """Run a Python file and return the only object of certain types that it defines.

    Args:
        path: the file.
        kinds: the types.
        called: the name of such an object in messages.

    Raises:
        RequestError: the file does not exist, fails, or defines no such object or several.
    """
    found = {name: value for name, value in vars(_run(path)).items() if isinstance(value, kinds)}
    if len({id(value) for value in found.values()}) != 1:
        several = f"several ({', '.join(found)}); choose one with {path}:name" if found else f"none; name it with {path}:name"
        raise RequestError(f"{path} should define one {called}, but defines {several}")
    return next(iter(found.values()))


def _run(path: str) -> ModuleType:
    file = Path(path)
    spec = importlib.util.spec_from_file_location(f"_hardprompt_file_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise RequestError(f"there is no file {path}; expected path.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and pydantic look up textual annotations there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RequestError(f"{path} fails: {' '.join(f'{type(error).__name__}: {error}'.split())}") from error
    return module
