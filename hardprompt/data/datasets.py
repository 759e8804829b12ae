"""Tasks whose data are not in the package: they are read from what is given with `--data`, or fetched from the hub.

A `DataTask` says what the task is, and in which columns its published forms keep input and answer. Loaded with a file or a
folder it is an ordinary `Task`. A folder may hold

- published splits, a folder each (`16-13/train.tsv`, `16-13/dev.tsv`), with `test.tsv` beside them or in them,
- `train`, `dev` (or `validation`, `valid`, `val`) and `test`, of which test may lack labels or be absent,
- or one file in one of the names that the task knows; a file may also be given itself, with or without a column `split`.

How train, dev and test follow from these is in `hardprompt.data.splits`; how files are read, in `hardprompt.data.rows`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from hardprompt.data.rows import FORMATS, Report, Rows, read_rows, stop
from hardprompt.data.splits import make_splits
from hardprompt.data.task import SPLITS, Example, Split, Task, Template
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
"""What files, and values of a column `split`, call the parts."""

UNLABELLED = "-1"
"""What the hub has in place of labels that were not published."""

Files = Sequence[tuple[Split | None, Path]]
"""Files with the part that each is; None for data in one piece."""


@dataclass(frozen=True)
class Read:
    """An example that was read, with its part and the place where it stands (of the hub: the row's number)."""

    part: Split
    example: Example
    file: str
    line: int | None


@dataclass(frozen=True)
class Layout:
    """Where one published form of the data keeps an input and its answer.

    Args:
        input: a text with columns as places, such as "{title} {description}".
        answer: the column of the answer.
        first: what number the first label has, where labels are numbers; None where labels stand by their names only.

    Example:
        >>> Layout("{title} {description}", "label").columns
        ('title', 'description', 'label')
    """

    input: str
    answer: str = "label"
    first: int | None = 0

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
        name, template, masked_template, label_words, match, separator, reference_prompts, description, citation, licence,
            source, keep: as `Task` has them. Labels are numbered in the order of the label words; in the data, they are numbers
            or names.
        layouts: the forms that the data come in.
        files: names of a file that holds all of the data, looked for in a folder.
        headerless: columns of a csv file without a header.
        hub: id on the hub, and the configuration's name where it has one; empty where the data are not there.
        own: files that the task brings along, read where no others are given, in no layout but the task's.

    Example:
        >>> films = DataTask(name="films", template="{input} {prompt}", layouts=(Layout("{sentence}"),),
        ...                  label_words={"negative": "bad", "positive": "good"})
        >>> films.describe()["labels"]
        {'negative': 'bad', 'positive': 'good'}
    """

    name: str
    template: str
    masked_template: str = ""
    layouts: Sequence[Layout]
    label_words: Mapping[str, str] = field(default_factory=dict)
    match: Literal["exact", "starts-with"] = "exact"
    separator: str = " "
    reference_prompts: Sequence[str] = ()
    description: str = ""
    citation: str = ""
    licence: str = ""
    source: str = ""
    keep: Literal["", "start", "end"] = ""
    files: Sequence[str] = ()
    headerless: Sequence[str] = ()
    hub: Sequence[str] = ()
    own: Files = ()

    def __call__(self, split: str = "default", data: str | Path | None = None, shots: int | None = None) -> Task:
        """The task with its data.

        Args:
            split: a published split, or one whose number is the seed of what is drawn.
            data: a file or a folder; by default the data that the task brings along, or else those of the hub.
            shots: draw so many examples per label for train, and again for dev, instead of a published split.

        Raises:
            TaskError: with file and line where there is one: no data, or data that cannot be used.
        """
        files = (self.own or None) if data is None else self._files(Path(data), split, shots)
        published = data is not None and shots is None and any(part and file.parent != Path(data) for part, file in files or ())
        reads = self._from_hub() if files is None else self.read(files)
        return self.assembled(reads, split, shots, published, str(data or self._home))

    def read(self, files: Files, report: Report = stop) -> Iterator[Read]:
        """Every labelled example of files, with its part and place.

        Args:
            files: with the part that each is.
            report: told of each wrong row, which is left out; by default the first one is raised.

        Raises:
            DataError: a wrong row, as `report` has it; a file of which nothing can be read.
        """
        for part, file in files:
            needed = self.layouts[0].columns if self.own and part != "test" else ()
            rows = read_rows(file, needed, self.headerless, report)
            yield from self._examples(str(file), rows, part, report)

    def assembled(
        self, reads: Iterable[Read], split: str = "default", shots: int | None = None, published: bool = False, source: str = ""
    ) -> Task:
        """The task made of examples that were read.

        Args:
            reads: the examples with their parts.
            split, shots, published: as `make_splits` has them.
            source: what messages call the data.

        Raises:
            TaskError: no example, none of a label, or too few for what is asked.
        """
        found: dict[Split, list[Example]] = {}
        for read in reads:
            found.setdefault(read.part, []).append(read.example)
        if not found:
            raise TaskError(f"task {self.name}: {source} holds no example with its answer")
        present = {example.answer for examples in found.values() for example in examples}
        if absent := [label for label in self.label_words if label not in present]:
            raise TaskError(f"task {self.name}: {source} has no example of {', '.join(absent)}; give the task's own data")
        try:
            parts = make_splits(found, split, shots, tuple(self.label_words), published)
        except TaskError as error:
            raise TaskError(f"task {self.name}, split {split!r}: {error}") from error
        return self._task(split, parts)

    def describe(self) -> dict[str, Any]:
        """What `hardprompt ls tasks --json` says of it; `sizes` is null, since the data are not at hand."""
        described = self.without_data().describe()
        data = {"source": self.source, "hub": "/".join(self.hub), "citation": self.citation, "licence": self.licence}
        return described | {"sizes": None, "data": data}

    def without_data(self) -> Task:
        """The task with a stand-in for each split."""
        stand_in = [Example("an input", next(iter(self.label_words), "an answer"))]
        return self._task("default", {split: stand_in for split in SPLITS})

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
            separator=self.separator,
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

    @property
    def _home(self) -> str:
        """Where the data are that the task has without being given any."""
        return ", ".join(str(file) for _, file in self.own) or "/".join(self.hub)

    @property
    def _forms(self) -> tuple[Layout, ...]:
        return tuple(self.layouts) if self.own else (*self.layouts, OWN)

    def _from_hub(self) -> Iterator[Read]:
        """Every labelled example that the hub has; one line where it cannot be had."""
        give = f"task {self.name} needs its data: give --data PATH, a folder with train, dev and test, or one file"
        if not self.hub:
            raise TaskError(f"{give} ({', '.join(FORMATS)})" + f"; they come from {self.source}" * bool(self.source))
        try:
            fetched = fetch(self.hub)
        except TaskError as error:
            raise TaskError(f"{give} ({', '.join(FORMATS)}); {error}") from error
        for name, rows in fetched.items():
            if name in PARTS:
                yield from self._examples("/".join([*self.hub, name]), enumerate(rows, 1), PARTS[name])

    def _examples(
        self, source: str, rows: Rows | Iterable[tuple[int, dict[str, Any]]], part: Split | None, report: Report = stop
    ) -> Iterator[Read]:
        """The examples of one file with their parts; none of a test part that has no labels."""
        layout: Layout | None = None
        for line, row in rows:
            if layout is None:
                layout = next((each for each in self._forms if row.keys() >= set(each.columns)), None)
                if part == "test" and self._unlabelled(row, layout):
                    return
                if layout is None:
                    wanted = " or ".join(", ".join(each.columns) for each in self._forms)
                    raise DataError(source, line, f"columns {', '.join(row)}, but task {self.name} reads {wanted}")
                answers = self._answers(layout)
                names_parts = part is None and "split" in row
            problems = list(self._problems(row, layout, answers))
            if names_parts and str(row.get("split", "")) not in PARTS:
                problems.append(f"split {str(row.get('split', ''))!r:.60} is none of {', '.join(PARTS)}")
            for problem in problems:
                report(DataError(source, line, problem))
            if not problems:
                named = PARTS[str(row["split"])] if names_parts else part or "train"
                yield Read(named, self._example(row, layout, answers), source, line)

    def _unlabelled(self, row: Mapping[str, Any], layout: Layout | None) -> bool:
        if layout is not None:
            return bool(self.label_words) and str(row[layout.answer]) == UNLABELLED
        return any(row.keys() >= set(each.inputs) and each.answer not in row for each in self.layouts)

    def _answers(self, layout: Layout) -> dict[str, str]:
        """Label of whatever stands for it in the data, in lower case."""
        labels = {label.lower(): label for label in self.label_words}
        if layout.first is None:
            return labels
        return {str(number): label for number, label in enumerate(self.label_words, layout.first)} | labels

    def _problems(self, row: Mapping[str, Any], layout: Layout, answers: Mapping[str, str]) -> Iterator[str]:
        """What is wrong with a row, its split excepted."""
        unusable = False
        for name in layout.columns:
            if name not in row:
                unusable = True
                yield f"missing {name}"
            elif not isinstance(row[name], str) and (name in layout.inputs or not isinstance(row[name], int)):
                unusable = True
                yield f"{name} is no text but {row[name]!r:.60}"
        if unusable:
            return
        answer = str(row[layout.answer]).strip()
        if not any(row[name].strip() for name in layout.inputs):
            yield f"{', '.join(layout.inputs)} is empty"
        if answers and answer.lower() not in answers:
            yield f"{layout.answer} {answer!r:.60} is none of {', '.join(answers)}"
        elif not answer or "\n" in answer:
            yield f"{layout.answer} is empty or has a line break"

    def _example(self, row: Mapping[str, Any], layout: Layout, answers: Mapping[str, str]) -> Example:
        input, answer = layout.input.format_map(row).strip(), str(row[layout.answer]).strip()
        return Example(input, answers[answer.lower()] if answers else answer)


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
