"""Tasks whose data are outside the package: read from a file or folder (`--data`), or fetched from the hub.

A `DataTask` describes the task and the columns of input and answer in the published forms of its data. Called with a file or a
folder, it returns an ordinary `Task`. A folder contains one of

- published splits, each a folder (`16-13/train.tsv`, `16-13/dev.tsv`), with `test.tsv` next to them or in them;
- the files `train`, `dev` (or `validation`, `valid`, `val`) and `test`, of which test may lack labels or be missing;
- one file whose name the task knows. Such a file may also be given directly, with or without a column `split`.

`hardprompt.data.splits` makes train, dev and test from these parts, and `hardprompt.data.rows` reads the files.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from hardprompt.data.languages import difference, same_text
from hardprompt.data.rows import FORMATS, OnError, Rows, SkippedRows, answer_text, raise_error, read_rows
from hardprompt.data.splits import make_splits
from hardprompt.data.task import SPLITS, Example, Split, Task, Template, is_number
from hardprompt.errors import DataError, TaskError
from hardprompt.hub import fetch

PARTS: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
}
"""The parts of the data by the names of files and by the values of a column `split`."""

UNLABELLED = "-1"
"""The value on the hub for labels that are not published."""

Files = Sequence[tuple[Split | None, Path]]
"""Files, each with its part of the data; None for a file with all of the data."""


@dataclass(frozen=True)
class SourceExample:
    """An example as it was read, with its source.

    Attributes:
        part: train, dev or test.
        example: the example.
        file: name of the file, or of the data set on the hub.
        line: line in the file, or number of the row on the hub.
    """

    part: Split
    example: Example
    file: str
    line: int | None


@dataclass(frozen=True)
class ColumnLayout:
    """The columns of input and answer in one published form of the data.

    Args:
        input: a text with names of columns in braces, such as "{title} {description}".
        answer: the column of the answer.
        first_label: the number of the first label if labels may be numbers; None if labels are names only.
        after: a mark in the column of the answer; the answer is what follows the last one.
        numbered: the labels in the order of their numbers; by default that of the label words.

    Example:
        >>> ColumnLayout("{title} {description}", "label").columns
        ('title', 'description', 'label')
    """

    input: str
    answer: str = "label"
    first_label: int | None = 0
    numbered: tuple[str, ...] = ()
    after: str = ""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the input consists of."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.input) if name)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns that a row needs."""
        return (*self.inputs, self.answer)


PROJECT_LAYOUT = ColumnLayout("{input}", "answer")
"""The columns of the project's own task files, which every task can read."""


@dataclass(frozen=True, kw_only=True)
class DataTask:
    """A task without its data. Call it with a split and a file or folder to get the `Task`.

    Args:
        name, template, masked_template, label_words, match, max_answer_tokens, separator, chat, prompt_turn, reference_prompts,
            description, citation, licence, source, truncate_to: as in `Task`. In the data, labels are names or numbers, in the
            order of the label words.
        layouts: the forms in which the data are published.
        files: possible names of a file with all of the data, in a given folder.
        headerless: columns of a csv file without a header.
        hub: id on the hub, and name of the configuration if it has one; empty if the data are not on the hub.
        data_files: files of the task, read by default, in the layout of the task only.
        unusable: "refuse" to raise an error at the first unusable row, or "skip" to leave such rows out and count them.

    Example:
        >>> films = DataTask(name="films", template="{input} {prompt}", layouts=(ColumnLayout("{sentence}"),),
        ...                  label_words={"negative": "bad", "positive": "good"})
        >>> films.describe()["labels"]
        {'negative': 'bad', 'positive': 'good'}
    """

    name: str
    template: str
    masked_template: str = ""
    layouts: Sequence[ColumnLayout]
    label_words: Mapping[str, str] = field(default_factory=dict)
    match: Literal["exact", "starts-with", "number"] = "exact"
    max_answer_tokens: int = 128
    separator: str = " "
    chat: bool = False
    prompt_turn: Literal["user", "system"] = "user"
    reference_prompts: Sequence[str] = ()
    description: str = ""
    citation: str = ""
    licence: str = ""
    source: str = ""
    truncate_to: Literal["", "start", "end"] = ""
    files: Sequence[str] = ()
    headerless: Sequence[str] = ()
    hub: Sequence[str] = ()
    data_files: Files = ()
    unusable: Literal["refuse", "skip"] = "refuse"

    def __call__(
        self,
        split: str = "default",
        data: str | Path | None = None,
        shots: int | None = None,
        skip_unusable: bool = False,
    ) -> Task:
        """The task with its data.

        Args:
            split: a published split, or a name that ends in the seed for drawing one.
            data: a file or a folder; by default the task's own data files, or the data on the hub.
            shots: how many examples per label to draw for train, and for dev; by default a published split is used.
            skip_unusable: leave unusable rows out, as with `unusable="skip"`.

        Raises:
            TaskError: there are no data, or they cannot be used; with file and line if the data have them.
        """
        files = (self.data_files or None) if data is None else self._files(Path(data), split, shots)
        published = data is not None and shots is None and self._is_published_split(files or (), Path(data))
        skipped = SkippedRows(skip_unusable or self.unusable == "skip")
        examples = [*(self._from_hub(skipped) if files is None else self.read(files, skipped))]
        task = self.make_task(examples, split, shots, published, f"{data or self._home}{skipped}")
        return replace(task, rows_skipped=skipped.counts)

    def read(self, files: Files, on_error: OnError = raise_error) -> Iterator[SourceExample]:
        """All labelled examples of files.

        Args:
            files: the files with their parts.
            on_error: called with the error of each invalid row, which is skipped; by default the first error is raised.

        Raises:
            DataError: an invalid row, if `on_error` raises it, or a file that cannot be read at all.
        """
        for part, file in files:
            needed = self.layouts[0].columns if self.data_files and part != "test" else ()
            broken = 0

            def note(error: DataError) -> None:
                nonlocal broken
                on_error(error)
                broken = error.line or 0

            rows = read_rows(file, needed, self.headerless, note)
            whole = ((line, row) for line, row in rows if line > broken)  # a line with invalid bytes is read nevertheless
            yield from self._examples(str(file), whole, part, on_error)

    def make_task(
        self,
        examples: Iterable[SourceExample],
        split: str = "default",
        shots: int | None = None,
        published: bool = False,
        source: str = "",
    ) -> Task:
        """Make the task from its examples.

        Args:
            examples: the examples with their parts.
            split, shots, published: as in `make_splits`.
            source: name of the data in messages.

        Raises:
            TaskError: there are no examples, none of some label, or too few for `shots`.
        """
        found: dict[Split, list[Example]] = {}
        for each in examples:
            found.setdefault(each.part, []).append(each.example)
        if not found:
            raise TaskError(f"task {self.name}: {source} has no example with an answer")
        present = {example.answer for part in found.values() for example in part}
        if absent := [label for label in self.label_words if label not in present]:
            raise TaskError(f"task {self.name}: {source} has no example of {', '.join(absent)}; give the task's own data")
        try:
            parts = make_splits(found, split, shots, tuple(self.label_words), published)
        except TaskError as error:
            raise TaskError(f"task {self.name}, split {split!r}: {error}") from error
        return self._task(split, parts)

    def describe(self) -> dict[str, Any]:
        """The entry of the task in `hardprompt ls tasks --json`; `sizes` is null, since the data are not loaded."""
        described = self.without_data().describe()
        data = {"source": self.source, "hub": "/".join(self.hub), "citation": self.citation, "licence": self.licence}
        return described | {"sizes": None, "data": data}

    def without_data(self) -> Task:
        """The task with a placeholder example in each split."""
        answer = "1" if self.match == "number" else next(iter(self.label_words), "an answer")
        placeholder = [Example("an input", answer)]
        return self._task("default", {split: placeholder for split in SPLITS})

    def _task(self, split: str, parts: Mapping[Split, Sequence[Example]]) -> Task:
        return Task(
            name=self.name,
            template=Template(self.template),
            masked_template=Template(self.masked_template) if self.masked_template else None,
            train=parts["train"],
            dev=parts["dev"],
            test=parts["test"],
            label_words=self.label_words,
            match=self.match,
            max_answer_tokens=self.max_answer_tokens,
            separator=self.separator,
            chat=self.chat,
            prompt_turn=self.prompt_turn,
            reference_prompts=self.reference_prompts,
            description=self.description,
            citation=self.citation,
            licence=self.licence,
            source=self.source,
            truncate_to=self.truncate_to,
            split=split,
        )

    def _files(self, path: Path, split: str, shots: int | None) -> Files:
        """The files that one split is made from."""
        if not os.path.exists(path):  # unlike `Path.exists`, this raises no error for any name
            raise TaskError(f"task {self.name}: no file or folder {path}; give --data one that exists")
        if not path.is_dir():
            return [(None, path)]
        for name in self.files:
            if (path / name).is_file():
                return [(None, path / name)]
        beside = _parts_in(path)
        published = {sub.name: parts for sub in _listing(path) if "train" in (parts := _parts_in(sub))}
        if not beside and not published:
            wanted = ", ".join([*self._expected, "train.tsv", "16-13/train.tsv"])
            raise TaskError(f"task {self.name}: {path} has no data; expected files such as {wanted} ({', '.join(FORMATS)})")
        if not published or (split == "default" and shots is None and "train" in beside):
            return list(beside.items())
        if shots is not None:
            test = beside.get("test") or next((parts["test"] for parts in published.values() if "test" in parts), None)
            pools = [beside] if "train" in beside else list(published.values())
            drawn: list[tuple[Split | None, Path]] = [
                (part, file) for parts in pools for part, file in parts.items() if part != "test"
            ]
            return [*drawn, ("test", test)] if test else drawn
        chosen = [parts for name, parts in published.items() if split in (name, name.rpartition("-")[2])]
        if len(chosen) != 1:
            why = "several splits that end in" if chosen else "no split"
            raise TaskError(
                f"task {self.name}: {path} has {why} {split!r}; choose with --splits from: {', '.join(published)}, "
                "or draw others with --shots N"
            )
        return list((beside | chosen[0]).items())

    def _is_published_split(self, files: Files, data: Path) -> bool:
        """Whether files are those of one of several published splits in a folder."""
        return any(part and file.parent != data for part, file in files)

    @property
    def _expected(self) -> Sequence[str]:
        """Names of files that a folder may have, for messages."""
        return self.files

    @property
    def _home(self) -> str:
        """Where the data are by default."""
        return ", ".join(str(file) for _, file in self.data_files) or "/".join(self.hub)

    @property
    def _accepted_layouts(self) -> tuple[ColumnLayout, ...]:
        return tuple(self.layouts) if self.data_files else (*self.layouts, PROJECT_LAYOUT)

    def _from_hub(self, on_error: OnError) -> Iterator[SourceExample]:
        """All labelled examples on the hub."""
        give = f"task {self.name} needs its data: give --data PATH, a folder with train, dev and test, or one file"
        if not self.hub:
            raise TaskError(f"{give} ({', '.join(FORMATS)})" + f"; they come from {self.source}" * bool(self.source))
        try:
            fetched = fetch(self.hub)
        except TaskError as error:
            raise TaskError(f"{give} ({', '.join(FORMATS)}); {error}") from error
        for name, rows in fetched.items():
            if name in PARTS:
                yield from self._examples("/".join([*self.hub, name]), enumerate(rows, 1), PARTS[name], on_error)

    def _examples(
        self,
        source: str,
        rows: Rows | Iterable[tuple[int, dict[str, Any]]],
        part: Split | None,
        on_error: OnError = raise_error,
    ) -> Iterator[SourceExample]:
        """The examples of one file; none if it is a test part without labels."""
        layout: ColumnLayout | None = None
        for line, row in rows:
            if layout is None:
                layout = next((each for each in self._accepted_layouts if row.keys() >= set(each.columns)), None)
                if part == "test" and self._unlabelled(row, layout):
                    return
                if layout is None:
                    wanted = " or ".join(", ".join(each.columns) for each in self._accepted_layouts)
                    raise DataError(source, line, f"columns {', '.join(row)}, but task {self.name} reads {wanted}")
                answers = self._answers(layout)
                names_parts = part is None and "split" in row
            problems = list(self._problems(row, layout, answers))
            named = str(row.get("split", ""))
            if names_parts and named.strip().lower() not in PARTS:
                problems.append(f"split {named!r:.60} is none of {', '.join(PARTS)}")
            for problem in problems:
                on_error(DataError(source, line, problem))
            if not problems:
                of = PARTS[named.strip().lower()] if names_parts else part or "train"
                yield SourceExample(of, self._example(row, layout, answers), source, line)

    def _unlabelled(self, row: Mapping[str, Any], layout: ColumnLayout | None) -> bool:
        if layout is not None:
            return bool(self.label_words) and str(row[layout.answer]) == UNLABELLED
        return any(row.keys() >= set(each.inputs) and each.answer not in row for each in self.layouts)

    def _answers(self, layout: ColumnLayout) -> dict[str, str]:
        """The label for each answer in the data."""
        labels = {label: label for label in self.label_words}
        if layout.first_label is None:
            return labels
        return {str(number): label for number, label in enumerate(layout.numbered or labels, layout.first_label)} | labels

    def _problems(self, row: Mapping[str, Any], layout: ColumnLayout, answers: Mapping[str, str]) -> Iterator[str]:
        """The problems of a row, except those of its split."""
        unusable = False
        for name in layout.columns:
            if name not in row:
                unusable = True
                yield f"missing {name}"
            elif answer_text(row[name]) is None or (name in layout.inputs and not isinstance(row[name], str)):
                unusable = True
                yield f"{name} is not a text but {row[name]!r:.60}"
        if unusable:
            return
        answer = str(answer_text(row[layout.answer]))
        if layout.after:
            _, mark, answer = (part.strip() for part in answer.rpartition(layout.after))
            if not mark:
                yield f"{layout.answer} has no {layout.after!r}, which the answer follows"
                return
        if not any(row[name].strip() for name in layout.inputs):
            yield f"{', '.join(layout.inputs)} is empty"
        if answers and same_text(answer, answers) is None:
            hint = difference(answer, answers)
            yield f"{layout.answer} {answer!r:.60} is none of {', '.join(answers).lower()}" + f"; {hint}" * bool(hint)
        elif not answer or "\n" in answer:
            yield f"{layout.answer} is empty or has a line break"
        elif self.match == "number" and not is_number(answer):
            yield f"{layout.answer} {answer!r:.60} is not a number"

    def _example(self, row: Mapping[str, Any], layout: ColumnLayout, answers: Mapping[str, str]) -> Example:
        input, answer = layout.input.format_map(row).strip(), str(answer_text(row[layout.answer]))
        answer = answer.rpartition(layout.after)[2].strip() if layout.after else answer
        known = same_text(answer, answers)
        return Example(input, answer if known is None else answers[known])


def _listing(folder: Path) -> list[Path]:
    """The entries of a folder; nothing if it is not a folder."""
    try:
        return sorted(folder.iterdir())
    except NotADirectoryError:
        return []
    except OSError as error:
        raise TaskError(f"cannot read the folder {folder}: {error.strerror}") from error


def _parts_in(folder: Path) -> dict[Split, Path]:
    """The file of each part in a folder."""
    found: dict[Split, Path] = {}
    for file in _listing(folder):
        name = file.stem.lower().removesuffix("-00000-of-00001")  # as on the Hugging Face hub
        if file.suffix.lower() in FORMATS and name in PARTS:
            part = PARTS[name]
            if part in found:
                raise TaskError(f"{folder} contains both {found[part].name} and {file.name}; keep one of them")
            found[part] = file
    return found
