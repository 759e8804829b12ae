"""Checks of a task beyond its fields and rows: label words and lengths on a model, repeated inputs, balance of labels.

Each check yields the problems that it finds.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hardprompt.data.datasets import DataTask, SourceExample
from hardprompt.data.languages import share_without_blanks
from hardprompt.data.task import SPLITS, Example, Split, Task
from hardprompt.data.yaml_lines import YamlLines
from hardprompt.errors import DataError
from hardprompt.lm import FrozenLM
from hardprompt.lm.chat import marker_in, start_ids, template_of
from hardprompt.prompt import HardPrompt
from hardprompt.records.request import StudyRequest
from hardprompt.scoring.answers import answer_tokens, label_word_problem

UNBALANCED = 3
"""Labels are unbalanced if one label has more than this many times the examples of another."""


@dataclass(frozen=True)
class TaskProblem:
    """A problem of a task, and its place.

    Attributes:
        level: "error", or "warning" if a study can run nevertheless.
        file: path of the file.
        line: line of the file, from 1; None if the problem concerns the whole file, or the file is a Python file.
        message: what is wrong, and what to do.

    Example:
        >>> print(TaskProblem("error", "mood/data.csv", 3, "text is empty"))
        error: mood/data.csv:3: text is empty
    """

    level: Literal["error", "warning"]
    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {DataError(self.file, self.line, self.message)}"

    @classmethod
    def of(cls, error: DataError) -> "TaskProblem":
        """The problem that a reader of fields or rows reports as an error."""
        return cls("error", error.file, error.line, error.problem)


def label_words(task: Task, lm: FrozenLM, lined: YamlLines) -> Iterator[TaskProblem]:
    """Find label words that are not one token, and label words with the same first token."""
    begins: dict[int, str] = {}
    encoded = answer_tokens(lm, task, list(task.label_words.values()))
    for (label, word), ids in zip(task.label_words.items(), encoded, strict=True):
        file, line = str(lined.file), lined.line("label_words", label)
        if len(ids) != 1:
            yield TaskProblem("error", file, line, label_word_problem(lm, task, word, len(ids)))
        if ids and ids[0] in begins:
            other = begins[ids[0]]
            yield TaskProblem("error", file, line, f"label words {other!r} and {word!r} begin with the same token of {lm.name}")
        begins |= {token: begins.get(token, word) for token in ids[:1]}


def lengths(task: Task, lm: FrozenLM, reads: Sequence[SourceExample]) -> Iterator[TaskProblem]:
    """Find examples that do not fit into the model's context: errors, or warnings if the task cuts such inputs.

    An example is counted with its answer and a prompt, which has the length of the longest reference prompt, but at least the
    default length of searched prompts.
    """
    template = template_of(lm, task)
    prompts = [
        StudyRequest().prompt_length,
        *(len(HardPrompt.in_place(lm, template, text).ids) for text in task.reference_prompts),
    ]
    texts = lm.encode_many([template.fill(read.example.input, "") for read in reads])
    answers = [0] * len(reads)
    if not task.label_words:
        answers = [len(ids) for ids in answer_tokens(lm, task, [read.example.answer for read in reads])]
    for read, text, answer in zip(reads, texts, answers, strict=True):
        size = len(start_ids(lm, template)) + len(lm.suffix_ids) + len(text) + max(prompts) + answer
        if size > lm.max_length:
            message = f"{_beginning(read.example)} is {size} tokens with a prompt of {max(prompts)}"
            message += f", but the context of {lm.name} is {lm.max_length}"
            if task.truncate_to:
                yield TaskProblem("warning", read.file, read.line, f"{message}; its {task.truncate_to} is kept")
            else:
                yield TaskProblem("error", read.file, read.line, message)


def special_tokens(task: Task, lm: FrozenLM, reads: Sequence[SourceExample]) -> Iterator[TaskProblem]:
    """Find inputs that contain a special token of the model, or a marker of its chat template."""
    template = template_of(lm, task)
    for read in reads:
        if token := marker_in(lm, template, read.example.input):
            message = f"{_beginning(read.example)} contains {token!r}, a special token of {lm.name}; write it in another way"
            yield TaskProblem("error", read.file, read.line, message)


def repetitions(reads: Sequence[SourceExample]) -> Iterator[TaskProblem]:
    """Find inputs that are in two parts (errors), or twice in one part (warnings)."""
    first: dict[str, SourceExample] = {}
    for read in reads:
        known = first.setdefault(read.example.input, read)
        if known is read:
            continue
        where = f"{known.file}:{known.line}" if known.line else known.part
        answer = "" if known.example.answer == read.example.answer else f", with another answer ({known.example.answer})"
        if known.part != read.part:
            message = f"{_beginning(read.example)} is in {read.part} and in {known.part} ({where}){answer}; remove one of them"
            yield TaskProblem("error", read.file, read.line, message)
        else:
            message = f"{_beginning(read.example)} repeats an input; it was first at {where}{answer}"
            yield TaskProblem("warning", read.file, read.line, message)


def labels_seen(form: DataTask, reads: Sequence[SourceExample], lined: YamlLines) -> Iterator[TaskProblem]:
    """Find labels without an example."""
    seen = {read.example.answer for read in reads}
    for label in form.label_words:
        if label not in seen:
            yield TaskProblem("error", str(lined.file), lined.line("label_words", label), f"no example has the label {label!r}")


def parts_seen(form: DataTask, reads: Sequence[SourceExample], lined: YamlLines) -> Iterator[TaskProblem]:
    """Find files without a usable example, such as a test file without labels."""
    seen = {read.part for read in reads}
    for part, file in form.data_files:
        if part and part not in seen:
            message = f"{file} has no example with an answer; {part} is drawn from the other files"
            yield TaskProblem("warning", str(lined.file), lined.line("data", part), message)


def balance(task: Task, lined: YamlLines) -> Iterator[TaskProblem]:
    """Find parts in which the labels have very different numbers of examples."""
    for part in SPLITS if task.label_words else ():
        count = _counts(task, part)
        if max(count.values()) > UNBALANCED * min(count.values()):
            numbers = ", ".join(f"{label} {number}" for label, number in count.items())
            message = f"the labels of {part} are unbalanced: {numbers}; always giving the most frequent one is very accurate"
            yield TaskProblem("warning", str(lined.file), lined.line("data", part), message)


def blanks(task: Task, lm: FrozenLM, reads: Sequence[SourceExample], lined: YamlLines) -> Iterator[TaskProblem]:
    """Find a template with a blank before the prompt for a language without blanks."""
    if template_of(lm, task).prompt_blank and share_without_blanks(read.example.input for read in reads) > 0.5:
        message = "a blank stands before {prompt}, but the inputs are in a script without blanks; leave it out"
        yield TaskProblem("warning", str(lined.file), lined.line("template"), message)


def references(form: DataTask, lined: YamlLines) -> Iterator[TaskProblem]:
    """Find tasks without a prompt that a person wrote."""
    if not form.reference_prompts:
        message = "no reference_prompts; add one, or leave out the optimizer manual"
        yield TaskProblem("warning", str(lined.file), lined.line("reference_prompts"), message)


def _counts(task: Task, part: Split) -> Counter[str]:
    count = Counter(dict.fromkeys(task.labels, 0))
    count.update(example.answer for example in task.examples(part))
    return count


def _beginning(example: Example) -> str:
    return f"{example.input[:40]!r}{'...' * (len(example.input) > 40)}"
