"""Tasks whose inputs and answers are the lines of two text files, as in the corpora of style transfer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from hardprompt.data.datasets import PARTS, DataTask, Files, SourceExample
from hardprompt.data.rows import OnError, Rows, answer_text, raise_error, read_lines
from hardprompt.data.task import Example, Split
from hardprompt.errors import DataError

PART_NAMES: Mapping[str, Split] = {**PARTS, "tune": "dev"}
"""The parts of the data by their names in the names of files; GYAFC calls its dev part "tune"."""


@dataclass(frozen=True, kw_only=True)
class ParallelTask(DataTask):
    """A `DataTask` that also reads pairs of text files, in which line i of one file is the answer to line i of the other.

    Args:
        pairs: paths of the files with the inputs and with the answers, in the folder of the data; "{part}" stands for the name
            of a part, such as "train". Of several pairs for a part, the first one that exists is read.
        labelled: the labels of inputs and of answers in a table with the columns `text` and `label`, in which the texts of the
            one label correspond to those of the other in order; empty if the data are not published in this form.

    Example:
        >>> task = ParallelTask(name="polite", template="{prompt}: {input} =", layouts=(), pairs=[("{part}.a", "{part}.b")])
        >>> task.describe()["kind"]
        'generation'
    """

    pairs: Sequence[tuple[str, str]]
    labelled: tuple[str, ...] = ()

    def read(self, files: Files, on_error: OnError = raise_error) -> Iterator[SourceExample]:
        """All examples of the files, as in `DataTask.read`.

        Raises:
            DataError: also if two files of a pair do not have the same number of lines.
        """
        for part, file in files:
            answers = self._answers_of(file)
            if answers is None:
                yield from super().read([(part, file)], on_error)
            else:
                yield from _lines(part or "train", file, answers, on_error)

    def _files(self, path: Path, split: str, shots: int | None) -> Files:
        return self._inputs_in(path) or super()._files(path, split, shots)

    def _is_published_split(self, files: Files, data: Path) -> bool:
        return super()._is_published_split(files, data) and all(self._answers_of(file) is None for _, file in files)

    @property
    def _expected(self) -> list[str]:
        return [pattern.format(part="train") for pattern in self.pairs[0]]

    def _inputs_in(self, folder: Path) -> Files:
        """The file with the inputs of each part."""
        found: dict[Split, Path] = {}
        for name, part in PART_NAMES.items():
            for inputs, answers in self.pairs:
                one, other = (folder / pattern.format(part=name) for pattern in (inputs, answers))
                if part not in found and one.is_file() and other.is_file():
                    found[part] = one
        return list(found.items())

    def _answers_of(self, file: Path) -> Path | None:
        """The file with the answers to the inputs in a file; None if it is not one of a pair."""
        for inputs, answers in self.pairs:
            for name in PART_NAMES:
                own = Path(inputs.format(part=name)).parts
                if file.parts[-len(own) :] == own:
                    other = Path(*file.parts[: -len(own)], answers.format(part=name))
                    if other.is_file():
                        return other
        return None

    def _examples(
        self,
        source: str,
        rows: Rows | Iterable[tuple[int, dict[str, Any]]],
        part: Split | None,
        on_error: OnError = raise_error,
    ) -> Iterator[SourceExample]:
        rows = iter(rows)
        first = next(rows, None)
        if first is None:
            return
        rows = chain([first], rows)
        if self.labelled and first[1].keys() >= {"text", "label"}:
            yield from self._paired_by_label(source, rows, part)
        else:
            yield from super()._examples(source, rows, part, on_error)

    def _paired_by_label(
        self, source: str, rows: Iterable[tuple[int, dict[str, Any]]], part: Split | None
    ) -> Iterator[SourceExample]:
        texts: dict[str, list[tuple[int, str]]] = {label: [] for label in self.labelled}
        for line, row in rows:
            label, text = answer_text(row["label"]), row["text"]
            if label not in texts or not isinstance(text, str) or not text.strip():
                raise DataError(source, line, f"expected a text with one of the labels {', '.join(texts)}; got {row!r:.80}")
            texts[label].append((line, text.strip()))
        inputs, answers = texts.values()
        if len(inputs) != len(answers):
            counts = " and ".join(f"{len(found)} texts with label {label}" for label, found in texts.items())
            raise DataError(source, None, f"{counts}; expected as many of each, in the same order")
        for (line, text), (_, answer) in zip(inputs, answers, strict=True):
            yield SourceExample(part or "train", Example(text, answer), source, line)


def _lines(part: Split, inputs: Path, answers: Path, on_error: OnError) -> Iterator[SourceExample]:
    """The examples of two files, line by line; blank lines at the end of a file are ignored."""
    pairs = zip_longest(_texts(inputs, on_error), _texts(answers, on_error))
    for number, (text, answer) in enumerate(pairs, 1):
        if text is None or answer is None:
            shorter, longer = (inputs, answers) if text is None else (answers, inputs)
            raise DataError(
                longer, number, f"a line more than {shorter.name}; line i of one file must belong to line i of the other"
            )
        if not text or not answer:
            empty = inputs if not text else answers
            on_error(
                DataError(
                    empty,
                    number,
                    "the line is empty, but that of the other file is not" if text or answer else "the line is empty",
                )
            )
            continue
        yield SourceExample(part, Example(text, answer), str(inputs), number)


def _texts(file: Path, on_error: OnError) -> Iterator[str]:
    """The lines of a text file without its blank lines at the end."""
    blank = 0
    for _, line in read_lines(file, on_error):
        text = line.strip()
        if not text:
            blank += 1
            continue
        yield from [""] * blank
        blank = 0
        yield text
