"""Relations between words, given as lists of pairs: six by name, and `relation` for any file of this form.

The tasks come from the study of function vectors (Todd et al. 2024). The study of the geometry of soft prompts (Bakalova 2024)
trains on four fifths of the pairs and tests on the others, which it draws with seed 42. The split "default" has the same test
pairs; its dev pairs are a fifth of the remaining pairs.

An answer is correct if the generated text begins with the target, as published. In the two tasks about letters, the generated
text must equal the target, since many words begin with the right letter.

`relation` reads one file of the collection, which `--data` names. The task has the name of the file. The generated text must
equal the target if a tenth of the targets or more are single letters or numbers, and otherwise begin with it. An input with
several outputs occurs in one part, once.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardprompt.data.datasets import ColumnLayout, DataTask, SourceExample
from hardprompt.data.rows import OnError, Rows, raise_error
from hardprompt.data.splits import without_repeats
from hardprompt.data.task import Split, Task
from hardprompt.errors import TaskError


@dataclass(frozen=True, kw_only=True)
class RelationTask(DataTask):
    """A relation that is read from a file of pairs, and named after it."""

    def __call__(
        self, split: str = "default", data: str | Path | None = None, shots: int | None = None, skip_unusable: bool = False
    ) -> Task:
        """The task with its data, as in `DataTask`; `data` is a file."""
        if data is not None and Path(data).is_dir():
            raise TaskError(f"task {self.name} reads one file of pairs, and {data} is a folder; give --data {data}/NAME.json")
        named = self if data is None else replace(self, name=Path(data).stem)
        task = super(RelationTask, named).__call__(split, data, shots, skip_unusable)
        answers = [example.answer for part in (task.train, task.dev, task.test) for example in part]
        short = sum(bool(re.fullmatch(r"\w|[+-]?[0-9.,]+", answer)) for answer in answers)
        exact = short >= len(answers) / 10
        return replace(task, test=without_repeats(task.test), match="exact" if exact else "starts-with")

    def _examples(
        self,
        source: str,
        rows: Rows | Iterable[tuple[int, dict[str, Any]]],
        part: Split | None,
        on_error: OnError = raise_error,
    ) -> Iterator[SourceExample]:
        texts = ((line, {name: _number_as_text(value) for name, value in row.items()}) for line, row in rows)
        yield from super()._examples(source, texts, part, on_error)


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _relation(file: str, description: str, *reference_prompts: str, **fields: Any) -> DataTask:
    return DataTask(
        name=file.replace("_", "-"),
        description=description,
        template="{prompt}\nInput: {input}\nLabel:",
        reference_prompts=reference_prompts,
        layouts=(ColumnLayout("{input}", "output"),),
        files=(f"{file}.json",),
        citation="Todd et al. 2024, Function Vectors in Large Language Models, ICLR; split by Bakalova 2024",
        licence="MIT",
        source="https://github.com/ericwtodd/function_vectors",
        **fields,
    )


TASKS = [
    RelationTask(
        name="relation",
        description="Give the word that is related to a word, for any relation in a file of pairs (--data FILE).",
        template="{prompt}\nInput: {input}\nLabel:",
        reference_prompts=(
            "Write the label of the input.",
            "Give the word that belongs to the input.",
            "Say what the input is matched with.",
        ),
        match="starts-with",
        truncate_to="end",
        layouts=(ColumnLayout("{input}", "output"),),
        citation="Todd et al. 2024, Function Vectors in Large Language Models, ICLR",
        licence="MIT",
        source="https://github.com/ericwtodd/function_vectors (dataset_files)",
    ),
    _relation(
        "capitalize_first_letter",
        "Write the first letter of a word as a capital.",
        "Write the first letter of the word as a capital.",
        "The first letter, in upper case.",
        "Say with which capital letter the word begins.",
    ),
    _relation(
        "lowercase_first_letter",
        "Write the first letter of a word in capitals as a small letter.",
        "Write the first letter of the word as a small letter.",
        "The first letter, in lower case.",
        "Say with which small letter the word begins.",
    ),
    _relation(
        "country-capital",
        "Name the capital of a country.",
        "Name the capital of the country.",
        "The capital city of each country.",
        "Say which city is the capital.",
        match="starts-with",
    ),
    _relation(
        "landmark-country",
        "Name the country that a landmark is in.",
        "Name the country of the landmark.",
        "The country in which each place is located.",
        "Say in which country it is.",
        match="starts-with",
    ),
    _relation(
        "present-past",
        "Give the past tense of a verb.",
        "Write the past tense of the verb.",
        "The past form of each verb.",
        "Say the verb in the past.",
        match="starts-with",
    ),
    _relation(
        "singular-plural",
        "Give the plural of a noun.",
        "Write the plural of the noun.",
        "The plural form of each noun.",
        "Say the word for several of them.",
        match="starts-with",
    ),
]
