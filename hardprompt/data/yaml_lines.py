"""YAML with the line of every value. Nothing is constructed, so nothing in a file can run: there are texts, lists and mappings.

Anchors, aliases and tags are refused, before anything follows them; so is a key that is there twice, and, where texts are
asked for, a value that YAML reads as something else than the text that stands there (`yes` is a truth value), unless it is
in quotes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hardprompt.data.rows import Report
from hardprompt.errors import DataError

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a value, from the top."""

MOST_DEEP = 20
"""Lists and mappings within one another; a task file needs three, a recipe five."""

_TEXTS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int")}
_NOTHING = "tag:yaml.org,2002:null"


@dataclass
class YamlLines:
    """The values of a file with their lines.

    Attributes:
        file: it was read from.
        values: of the top mapping.
        lines: line of each value's key, counted from 1.
        only_texts: as `read_yaml` has it.
    """

    file: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    only_texts: bool = True

    def line(self, *place: str | int) -> int | None:
        """The line of a value, or of the nearest thing around it that is there; None where nothing was read."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read_yaml(file: Path, report: Report, only_texts: bool = True) -> YamlLines:
    """The mapping in a YAML file, with lines; every value is the text that stands there.

    Args:
        file: UTF-8.
        report: told of each value that is refused, which is then left out.
        only_texts: refuse fractions, truth values and dates that are not in quotes.

    Raises:
        DataError: the file cannot be read, is no YAML, holds no mapping, or holds anchors, aliases or tags.

    Example:
        >>> read_yaml(Path("mood/task.yaml"), stop).lines[("template",)]     # doctest: +SKIP
        8
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(file, None, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(file, line, f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8") from error
    lined = YamlLines(file, only_texts=only_texts)
    try:
        _refuse_signs(file, text, report)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DataError(file, mark.line + 1 if mark else None, f"no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two of a sign that there is none, "\\UFFFFFFFF"
        raise DataError(file, None, f"no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise DataError(file, 1, "expected fields such as 'template: \"{input} {prompt}\"', one a line")
    lined.values = _value(root, (), lined, report)
    return lined


def _refuse_signs(file: Path, text: str, report: Report) -> None:
    """Report all anchors, aliases and tags, and raise the last: nothing behind them is looked at."""
    refused: list[DataError] = []
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEEP:
            raise DataError(file, line, f"more than {MOST_DEEP} lists and mappings within one another")
        if anchor := getattr(event, "anchor", None):
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            refused.append(DataError(file, line, f"{sign}{anchor}: a file like this has no anchors and aliases; write it out"))
        if tag := getattr(event, "tag", None):
            refused.append(DataError(file, line, f"{tag}: a file like this has no tags; write plain text, a list or fields"))
    for error in refused[:-1]:
        report(error)
    if refused:
        raise refused[-1]


def _value(node: yaml.Node, place: Place, lined: YamlLines, report: Report) -> Any:
    lined.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lined, report)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*place, number), lined, report) for number, each in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # the third and last kind
    return _text(node, lined, report)


def _mapping(node: yaml.MappingNode, place: Place, lined: YamlLines, report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = _text(key, lined, report) if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            report(DataError(lined.file, line, "the name of a field must be a text"))
        elif name in found:
            report(DataError(lined.file, line, f"{name!r} is there twice; the first is on line {lined.line(*place, name)}"))
        else:
            lined.lines[(*place, name)] = line
            found[name] = _value(value, (*place, name), lined, report)
    return found


def _text(node: yaml.ScalarNode, lined: YamlLines, report: Report) -> str | None:
    """What is written, or None where nothing is."""
    if node.tag == _NOTHING and node.value == "":
        return None
    if lined.only_texts and node.tag not in _TEXTS and node.style is None:
        kind = node.tag.rpartition(":")[2]
        written = f"{node.value} is no text to YAML but a {kind}; put it in quotes: '{node.value}'"
        report(DataError(lined.file, node.start_mark.line + 1, written))
    return str(node.value)
