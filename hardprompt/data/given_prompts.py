"""Prompts of your own in a file: one per line of a text file, or one per row of a table with a column `prompt`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hardprompt.data.rows import FORMATS, checked_format, read_lines, read_rows
from hardprompt.errors import DataError, TaskError

GIVEN = "given"
"""The name in tables of the method that found given prompts: their author."""

COMMENT = "#"


@dataclass(frozen=True)
class GivenPrompt:
    """A prompt from a file.

    Attributes:
        name: its name: the column `name`, or the number of its line.
        text: the text, without blanks around it.
        file: the file.
        line: the line on which it begins, from 1.
    """

    name: str
    text: str
    file: str
    line: int

    @property
    def optimizer(self) -> str:
        """The name in records of what found the prompt.

        >>> GivenPrompt("short", "give the plural", "prompts.csv", 2).optimizer
        'given:short'
        """
        return f"{GIVEN}:{self.name}"

    def problem(self, what: str) -> DataError:
        """An error about this prompt, which begins with its place."""
        return DataError(self.file, self.line, what)


def method_of(optimizer: str) -> str:
    """The name of an optimizer in a record, or "given" for all given prompts, which are one method together.

    >>> method_of("given:short"), method_of("pez")
    ('given', 'pez')
    """
    return GIVEN if optimizer.startswith(f"{GIVEN}:") else optimizer


def read_prompts(path: str | Path) -> list[GivenPrompt]:
    """Read prompts from a file, in UTF-8, or in UTF-16 with a byte-order mark.

    A text file (`.txt`, or no extension) has one prompt per line; empty lines and lines that begin with `#` are skipped. A
    table (`hardprompt.data.rows`) has a column `prompt`, whose texts may have line breaks, and may have a column `name`.

    Raises:
        DataError: the file cannot be read or holds no prompt, or a prompt is empty, has the text or name of another one, or a
            name that cannot be printed.
        TaskError: the format is unknown.

    Example:
        >>> _ = Path("prompts.txt").write_text("# plain\\ngive the plural\\n\\nwrite the plural\\n", encoding="utf-8")
        >>> [(prompt.name, prompt.text) for prompt in read_prompts("prompts.txt")]
        [('2', 'give the plural'), ('4', 'write the plural')]
    """
    path = Path(path)
    of_lines = path.suffix.lower() in ("", ".txt")
    if not of_lines:
        try:
            checked_format(path)
        except TaskError as error:
            raise TaskError(f"{error}, or .txt with one prompt per line") from error
    found: list[GivenPrompt] = []
    for prompt in _lines(path) if of_lines else _rows(path):
        for other in found:
            if prompt.text == other.text:
                raise prompt.problem(f"the prompt of line {other.line} again; give each prompt once")
            if prompt.name == other.name:
                raise prompt.problem(
                    f"the name {prompt.name!r:.60} is that of line {other.line}; give each prompt its own name"
                )
        found.append(prompt)
    if not found:
        raise DataError(path, None, f"holds no prompt; expected one per line, or a column prompt in {', '.join(FORMATS)}")
    return found


def _lines(path: Path) -> Iterator[GivenPrompt]:
    for number, line in read_lines(path):
        text = line.strip()
        if text and not text.startswith(COMMENT):
            yield GivenPrompt(str(number), text, str(path), number)


def _rows(path: Path) -> Iterator[GivenPrompt]:
    for number, row in read_rows(path, ("prompt",)):
        text, name = row["prompt"], row.get("name")
        prompt = GivenPrompt(str(number) if name in (None, "") else str(name).strip(), str(text).strip(), str(path), number)
        if not isinstance(text, str) or not prompt.text:
            raise prompt.problem("the prompt is empty or no text; the optimizer `empty` measures the empty prompt")
        if not prompt.name or not prompt.name.isprintable():
            raise prompt.problem(f"the name {prompt.name!r:.60} cannot be printed; expected letters, digits and signs")
        yield prompt
