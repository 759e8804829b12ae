"""Reading YAML with the line of every value. Values are texts, lists and mappings; no objects are constructed from a file.

Anchors, aliases and tags are errors, and so are repeated keys. If only texts are allowed, a value without quotes that YAML
reads as another type is also an error (`yes` is a truth value).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hardprompt.data.rows import OnError
from hardprompt.errors import DataError

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a value, from the top."""

MAX_DEPTH = 20
"""Largest depth of nested lists and mappings; a task file needs three, a recipe five."""

_TEXTS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int")}
_NOTHING = "tag:yaml.org,2002:null"


@dataclass
class YamlLines:
    """The values of a file with their lines.

    Attributes:
        file: the file.
        values: the values of the top mapping.
        lines: the line of each value's key, counted from 1.
        only_texts, truths: as in `read_yaml`.
    """

    file: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    only_texts: bool = True
    truths: Collection[str] = ()

    def line(self, *place: str | int) -> int | None:
        """The line of a value, or of the nearest value that contains it; None if nothing was read."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read_yaml(file: Path, on_error: OnError, only_texts: bool = True, truths: Collection[str] = ()) -> YamlLines:
    """The mapping in a YAML file, with lines. Every value is read as text.

    Args:
        file: a UTF-8 file.
        on_error: called with the error of each invalid value, which is skipped.
        only_texts: whether fractions, truth values and dates without quotes are errors.
        truths: the fields of the top mapping whose value is true or false.

    Raises:
        DataError: the file cannot be read, is not YAML, is not a mapping, or contains anchors, aliases or tags.

    Example:
        >>> from hardprompt.data.rows import raise_error
        >>> read_yaml(Path("mood/task.yaml"), raise_error).line("template")
        9
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(file, None, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(file, line, f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8") from error
    lined = YamlLines(file, only_texts=only_texts, truths=truths)
    try:
        _refuse_anchors_and_tags(file, text, on_error)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DataError(file, mark.line + 1 if mark else None, f"not valid YAML: {error.problem or error.context}") from error
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
    ) as error:  # the last two for "\\UFFFFFFFF"
        raise DataError(file, None, f"not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise DataError(file, 1, "expected fields such as 'template: \"{input} {prompt}\"', one per line")
    lined.values = _value(root, (), lined, on_error)
    return lined


def _refuse_anchors_and_tags(file: Path, text: str, on_error: OnError) -> None:
    """Report all anchors, aliases and tags; the last one is raised, so that the file is not read any further."""
    refused: list[DataError] = []
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DataError(file, line, f"more than {MAX_DEPTH} nested lists and mappings")
        if anchor := getattr(event, "anchor", None):
            mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
            refused.append(DataError(file, line, f"{mark}{anchor}: anchors and aliases are not allowed; write the value out"))
        if tag := getattr(event, "tag", None):
            refused.append(DataError(file, line, f"{tag}: tags are not allowed; write plain text, a list or fields"))
    for error in refused[:-1]:
        on_error(error)
    if refused:
        raise refused[-1]


def _value(node: yaml.Node, place: Place, lined: YamlLines, on_error: OnError) -> Any:
    lined.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lined, on_error)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*place, number), lined, on_error) for number, each in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # the third and last kind
    return str(node.value) if len(place) == 1 and place[0] in lined.truths else _text(node, lined, on_error)


def _mapping(node: yaml.MappingNode, place: Place, lined: YamlLines, on_error: OnError) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = _text(key, lined, on_error) if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            on_error(DataError(lined.file, line, "the name of a field must be a text"))
        elif name in found:
            on_error(DataError(lined.file, line, f"{name!r} is repeated; the first is on line {lined.line(*place, name)}"))
        else:
            lined.lines[(*place, name)] = line
            found[name] = _value(value, (*place, name), lined, on_error)
    return found


def _text(node: yaml.ScalarNode, lined: YamlLines, on_error: OnError) -> str | None:
    """The text of a value, or None if it is empty."""
    if node.tag == _NOTHING and node.value == "":
        return None
    if lined.only_texts and node.tag not in _TEXTS and node.style is None:
        kind = node.tag.rpartition(":")[2]
        written = f"{node.value} is not a text in YAML but a {kind}; put it in quotes: '{node.value}'"
        on_error(DataError(lined.file, node.start_mark.line + 1, written))
    return str(node.value)
