"""Tasks whose data are not in the package: they are read from what is given with `--data`, or fetched from the hub.

A `DataTask` says what the task is, and in which columns its published forms keep input and answer. Loaded with a file or a
folder it is an ordinary `Task`. A folder may hold

- published splits, a folder each (`16-13/train.tsv`, `16-13/dev.tsv`), with `test.tsv` beside them or in them,
- `train`, `dev` (or `validation`, `valid`, `val`) and `test`, of which test may lack labels or be absent,
- or one file in one of the names that the task knows; a file may also be given itself, with or without a column `split`.

How train, dev and test follow from these is in `hardprompt.splits`; how files are read, in `hardprompt.data`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from hardprompt.data import FORMATS, Rows, read_rows
from hardprompt.errors import TaskError
from hardprompt.hub import fetch
from hardprompt.splits import make_splits
from hardprompt.task import SPLITS, Example, Split, Task, Template

PARTS: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
}
"""What files, and values of a column `split`, call the parts."""

UNLABELLED = "-1"
"""What the hub has in place of labels that were not published."""

Files = list[tuple[Split | None, Path]]
"""Files with the part that each is; None for data in one piece."""


@dataclass(frozen=True)
class Layout:
    """Where one published form of the data keeps an input and its answer.

    Args:
        input: a text with columns as places, such as "{title} {description}".
        answer: the column of the answer.
        first: what number the first label has, where labels are numbers.

    Example:
        >>> Layout("{title} {description}", "label").columns
        ('title', 'description', 'label')
    """

    input: str
    answer: str = "label"
    first: int = 0

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the input is made of."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.input) if name)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns that a row must have."""
        return (*self.inputs, self.answer)


OWN = Layout("{input}", "answer")
"""The form of the project's own task files, which every task reads too."""


@dataclass(frozen=True, kw_only=True)
class DataTask:
    """A task without its data: call it with a split and a file or folder to get the `Task`.

    Args:
        name, template, label_words, match, reference_prompts, description, citation, licence, source, keep: as `Task` has them.
            Labels are numbered in the order of the label words, and may stand in the data as numbers or by name.
        layouts: the forms that the data come in.
        files: names of a file that holds all of the data, looked for in a folder.
        headerless: columns of a csv file without a header.
        hub: id on the hub, and the configuration's name where it has one; empty where the data are not there.

    Example:
        >>> films = DataTask(name="films", template="{input} {prompt}", layouts=(Layout("{sentence}"),),
        ...                  label_words={"negative": "bad", "positive": "good"})
        >>> films.describe()["labels"]
        {'negative': 'bad', 'positive': 'good'}
    """

    name: str
    template: str
    layouts: Sequence[Layout]
    label_words: Mapping[str, str] = field(default_factory=dict)
    match: Literal["exact", "starts-with"] = "exact"
    reference_prompts: Sequence[str] = ()
    description: str = ""
    citation: str = ""
    licence: str = ""
    source: str = ""
    keep: Literal["", "start", "end"] = ""
    files: Sequence[str] = ()
    headerless: Sequence[str] = ()
    hub: Sequence[str] = ()

    def __call__(self, split: str = "default", data: str | Path | None = None, shots: int | None = None) -> Task:
        """The task with its data.

        Args:
            split: a published split, or one whose number is the seed of what is drawn.
            data: a file or a folder; by default the data are fetched from the hub.
            shots: draw so many examples per label for train, and again for dev, instead of a published split.

        Raises:
            TaskError: with file and line where there is one: no data, or data that cannot be used.
        """
        files = None if data is None else self._files(Path(data), split, shots)
        found: dict[Split, list[Example]] = {}
        for part, example in self._from_hub() if files is None else self._from_files(files):
            found.setdefault(part, []).append(example)
        if not found:
            raise TaskError(f"task {self.name}: {data or self.hub[0]} holds no example with its answer")
        present = {example.answer for examples in found.values() for example in examples}
        if absent := [label for label in self.label_words if label not in present]:
            raise TaskError(
                f"task {self.name}: {data or self.hub[0]} has no example of {', '.join(absent)}; give the task's own data"
            )
        published = shots is None and any(part and file.parent != Path(str(data)) for part, file in files or ())
        try:
            parts = make_splits(found, split, shots, tuple(self.label_words), published)
        except TaskError as error:
            raise TaskError(f"task {self.name}, split {split!r}: {error}") from error
        return self._task(split, parts)

    def describe(self) -> dict[str, Any]:
        """What `hardprompt ls tasks --json` says of it; `sizes` is null, since the data are not at hand."""
        stand_in = [Example("an input", next(iter(self.label_words), "an answer"))]
        described = self._task("default", {split: stand_in for split in SPLITS}).describe()
        data = {"source": self.source, "hub": "/".join(self.hub), "citation": self.citation, "licence": self.licence}
        return described | {"sizes": None, "data": data}

    def _task(self, split: str, parts: Mapping[Split, Sequence[Example]]) -> Task:
        return Task(
            name=self.name,
            template=Template(self.template),
            train=parts["train"],
            dev=parts["dev"],
            test=parts["test"],
            label_words=self.label_words,
            match=self.match,
            reference_prompts=self.reference_prompts,
            description=self.description,
            citation=self.citation,
            licence=self.licence,
            source=self.source,
            keep=self.keep,
            split=split,
        )

    def _files(self, path: Path, split: str, shots: int | None) -> Files:
        """The files that one split is made from."""
        if not os.path.exists(path):  # which any odd name is no error to
            raise TaskError(f"task {self.name}: no file or folder {path}; give --data one that is there")
        if not path.is_dir():
            return [(None, path)]
        for name in self.files:
            if (path / name).is_file():
                return [(None, path / name)]
        beside = _parts_in(path)
        published = {sub.name: parts for sub in _listing(path) if "train" in (parts := _parts_in(sub))}
        if not beside and not published:
            wanted = ", ".join([*self.files, "train.tsv", "16-13/train.tsv"])
            raise TaskError(f"task {self.name}: {path} holds no data; expected files such as {wanted} ({', '.join(FORMATS)})")
        if not published or (split == "default" and shots is None and "train" in beside):
            return list(beside.items())
        if shots is not None:
            test = beside.get("test") or next((parts["test"] for parts in published.values() if "test" in parts), None)
            pools = [beside] if "train" in beside else list(published.values())
            drawn: Files = [(part, file) for parts in pools for part, file in parts.items() if part != "test"]
            return [*drawn, ("test", test)] if test else drawn
        chosen = [parts for name, parts in published.items() if split in (name, name.rpartition("-")[2])]
        if len(chosen) != 1:
            why = "several splits that end in" if chosen else "no split"
            raise TaskError(
                f"task {self.name}: {path} has {why} {split!r}; choose with --splits from: {', '.join(published)}, "
                "or draw others with --shots N"
            )
        return list((beside | chosen[0]).items())

    def _from_files(self, files: Files) -> Iterator[tuple[Split, Example]]:
        for part, file in files:
            yield from self._examples(str(file), read_rows(file, headerless=self.headerless), part)

    def _from_hub(self) -> Iterator[tuple[Split, Example]]:
        """Every labelled example that the hub has; one line where it cannot be had."""
        give = f"task {self.name} needs its data: give --data PATH, a folder with train, dev and test, or one file"
        if not self.hub:
            raise TaskError(f"{give} ({', '.join(FORMATS)}); they come from {self.source}")
        try:
            fetched = fetch(self.hub)
        except TaskError as error:
            raise TaskError(f"{give} ({', '.join(FORMATS)}); {error}") from error
        for name, rows in fetched.items():
            if name in PARTS:
                yield from self._examples("/".join([*self.hub, name]), enumerate(rows, 1), PARTS[name])

    def _examples(
        self, source: str, rows: Rows | Iterable[tuple[int, dict[str, Any]]], part: Split | None
    ) -> Iterator[tuple[Split, Example]]:
        """The examples of one file with their parts; none of a test part that has no labels."""
        layout: Layout | None = None
        for line, row in rows:
            where = f"{source}:{line}"
            if layout is None:
                layout = next((each for each in (*self.layouts, OWN) if row.keys() >= set(each.columns)), None)
                if part == "test" and self._unlabelled(row, layout):
                    return
                if layout is None:
                    wanted = " or ".join(", ".join(each.columns) for each in (*self.layouts, OWN))
                    raise TaskError(f"{where}: columns {', '.join(row)}, but task {self.name} reads {wanted}")
                answers = self._answers(layout)
                names_parts = part is None and "split" in row
            yield _named_part(row, where) if names_parts else part or "train", self._example(row, layout, answers, where)

    def _unlabelled(self, row: Mapping[str, Any], layout: Layout | None) -> bool:
        if layout is not None:
            return bool(self.label_words) and str(row[layout.answer]) == UNLABELLED
        return any(row.keys() >= set(each.inputs) and each.answer not in row for each in self.layouts)

    def _answers(self, layout: Layout) -> dict[str, str]:
        """Label of whatever stands for it in the data, in lower case."""
        numbered = {str(number): label for number, label in enumerate(self.label_words, layout.first)}
        return numbered | {label.lower(): label for label in self.label_words}

    def _example(self, row: Mapping[str, Any], layout: Layout, answers: Mapping[str, str], where: str) -> Example:
        for name in layout.columns:
            if name not in row:
                raise TaskError(f"{where}: missing {name}")
            if not isinstance(row[name], str) and (name in layout.inputs or not isinstance(row[name], int)):
                raise TaskError(f"{where}: {name} is no text but {row[name]!r:.60}")
        input, answer = layout.input.format_map(row).strip(), str(row[layout.answer]).strip()
        if not any(row[name].strip() for name in layout.inputs):
            raise TaskError(f"{where}: {', '.join(layout.inputs)} is empty")
        if answers and answer.lower() not in answers:
            raise TaskError(f"{where}: {layout.answer} {answer!r:.60} is none of {', '.join(answers)}")
        if not answer or "\n" in answer:
            raise TaskError(f"{where}: {layout.answer} is empty or has a line break")
        return Example(input, answers[answer.lower()] if answers else answer)


def _named_part(row: Mapping[str, Any], where: str) -> Split:
    """The part that a row says it belongs to."""
    name = str(row.get("split", ""))
    if name not in PARTS:
        raise TaskError(f"{where}: split {name!r} is none of {', '.join(PARTS)}")
    return PARTS[name]


def _listing(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none."""
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
        if file.suffix in FORMATS and file.stem in PARTS:
            part = PARTS[file.stem]
            if part in found:
                raise TaskError(f"{folder} holds both {found[part].name} and {file.name}; leave one of them")
            found[part] = file
    return found
