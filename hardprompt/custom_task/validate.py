"""Check a task before a long run: list all problems at once, then show what the model reads, and score trivial baselines.

Errors make a study impossible or its result wrong: wrong fields, rows that cannot be used, label words that are not one token
or have the same first token, labels without an example, examples longer than the model's context, inputs with a special token
of the model, inputs in two parts, and a template that does not suit the model (masked or causal). Warnings are repeated inputs
within a part, unusable rows that are left out, unbalanced labels, a part without labels, and a task without reference prompts.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from hardprompt.custom_task import checks
from hardprompt.custom_task.checks import TaskProblem
from hardprompt.custom_task.trivial_baselines import baselines
from hardprompt.data.catalogue import load_task, needs_data
from hardprompt.data.datasets import DataTask, SourceExample
from hardprompt.data.rows import OnError
from hardprompt.data.task import MASK, SPLITS, Task
from hardprompt.data.task_file import read_task_file
from hardprompt.data.yaml_lines import YamlLines
from hardprompt.errors import DataError, TaskError
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.chat import ChatTemplate, start_ids, template_of
from hardprompt.plugins import is_file_reference
from hardprompt.scoring.answers import answer_tokens

SHOWN = 3
"""Number of examples that are shown with their tokens."""


@dataclass(frozen=True)
class ShownExample:
    """An example as the model reads it.

    Attributes:
        text: the input and the prompt in the template, without the answer; a masked model has its mask token there.
        tokens: the tokens of the text, as the tokenizer writes them.
        answer: the expected answer after the text or in place of the mask token, with the separator before it.
        answer_tokens: the tokens of the answer.
    """

    text: str
    tokens: list[str]
    answer: str
    answer_tokens: list[str]


@dataclass(frozen=True)
class CheckedTask:
    """The result of `validate`.

    Attributes:
        task: name of the task.
        lm: name of the model.
        prompt: the prompt of the shown examples: the first reference prompt, or "".
        findings: the problems, errors first, by file and line.
        shown: the first three examples; empty if fields are wrong.
        scores: the scores of `baselines`; empty if there are errors.
    """

    task: str
    lm: str
    prompt: str = ""
    findings: list[TaskProblem] = field(default_factory=list)
    shown: list[ShownExample] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Number of errors among the findings."""
        return sum(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values, with the number of errors."""
        return {"errors": self.errors} | asdict(self)


def validate(
    path: str | Path,
    lm: FrozenLM | str = "microworld",
    start: str | None = None,
    chat: bool = False,
    prompt_turn: Literal["user", "system"] | None = None,
) -> CheckedTask:
    """Check a task with a model. Nothing is written to disk.

    Args:
        path: a folder with a `task.yaml`, that file, or a Python file (`path.py` or `path.py:name`), which is run.
        lm: the model, or its name; its tokens and its context decide what fits.
        start: the tokens before every text, as for `load_lm`, if the model is given by its name.
        chat: check the task as a chat, even if it is none by itself.
        prompt_turn: for a chat, the turn of the prompt, "user" or "system"; by default that of the task.

    Returns:
        All problems, the first examples as the model reads them, and the scores of trivial baselines.

    Raises:
        RequestError: the task or the model does not exist, or the Python file defines no task.

    Example:
        >>> import tempfile
        >>> from hardprompt import new_task
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     validate(new_task("mood", folder)).errors
        0
    """
    name = str(path)
    lm = load_lm(lm, start=start) if isinstance(lm, str) else lm
    found: list[TaskProblem] = []
    task: Task | None = None

    def note(error: DataError) -> None:
        found.append(TaskProblem.of(error))

    def note_skipped(error: DataError) -> None:
        left_out = TaskProblem("warning", error.file, error.line, f"{error.problem} (this row is left out)")
        found.append(left_out if error.line is not None else TaskProblem.of(error))

    if is_file_reference(name) or Path(name).suffix == ".py":
        if needs_data(name):
            raise TaskError(f"{name} is a task whose data are given with --data; check a folder with a task.yaml and the data")
        lined, task = YamlLines(Path(name)), load_task(name)
        form, fields_fit = _form(task), True
        reads = [SourceExample(part, example, name, None) for part in SPLITS for example in task.examples(part)]
    else:
        try:
            form, lined = read_task_file(path, note)
        except DataError as error:
            note(error)
            return CheckedTask(name, lm.name, findings=found)
        fields_fit = not found
        reads = _read(form, note if form.unusable == "refuse" else note_skipped) if form.data_files else []
        if reads and fields_fit:
            found += [*checks.labels_seen(form, reads, lined), *checks.parts_seen(form, reads, lined)]
    found += [*checks.repetitions(reads), *checks.references(form, lined)]
    turns: dict[str, Any] = {"chat": form.chat or chat, "prompt_turn": prompt_turn or form.prompt_turn}
    try:
        form, task = replace(form, **turns), task and replace(task, **turns)
        bare = form.without_data()
        template_of(lm, bare)
    except TaskError as error:
        if fields_fit:
            found.append(TaskProblem("error", str(lined.file), lined.line("chat" if form.chat else "template"), str(error)))
        return CheckedTask(form.name, lm.name, findings=_sorted(found))
    found += checks.blanks(bare, lm, reads, lined)
    found += [*checks.label_words(bare, lm, lined), *checks.lengths(bare, lm, reads), *checks.special_tokens(bare, lm, reads)]
    scores: dict[str, Any] = {}
    if not any(finding.level == "error" for finding in found):
        try:
            made = task or form.make_task(reads, source=str(lined.file))
            found += checks.balance(made, lined)
            scores = baselines(made, lm)
        except TaskError as error:
            found.append(TaskProblem("error", str(lined.file), lined.line("data"), str(error)))
    shown = _shown(bare, lm, reads[:SHOWN]) if fields_fit else []
    return CheckedTask(form.name, lm.name, next(iter(form.reference_prompts), ""), _sorted(found), shown, scores)


def _sorted(found: list[TaskProblem]) -> list[TaskProblem]:
    return sorted(found, key=lambda finding: (finding.level, finding.file, finding.line or 0))


def _form(task: Task) -> DataTask:
    """The task without its data."""
    shared = {each.name for each in fields(DataTask)} & {each.name for each in fields(Task)}
    given = {name: getattr(task, name) for name in shared - {"template", "masked_template"}}
    masked_template = task.masked_template.text if task.masked_template else ""
    return DataTask(template=task.template.text, masked_template=masked_template, layouts=(), **given)


def _read(form: DataTask, report: OnError) -> list[SourceExample]:
    """The examples of a task's files, as far as they can be read."""
    reads: list[SourceExample] = []
    for file in form.data_files:
        try:
            reads += form.read([file], report)
        except DataError as error:
            report(error)
    return reads


def _shown(task: Task, lm: FrozenLM, reads: list[SourceExample]) -> list[ShownExample]:
    template, prompt = template_of(lm, task), next(iter(task.reference_prompts), "")
    shown = []
    for read in reads:
        text = template.fill(read.example.input, prompt)
        answer = task.label_words.get(read.example.answer, read.example.answer)
        [answer_ids] = answer_tokens(lm, task, [answer])
        chat_blank = template.answer_blank if isinstance(template, ChatTemplate) else None
        before = template.blank if lm.masked else task.separator if chat_blank is None else chat_blank
        seen = text.replace(MASK, lm.tokenizer.mask_token) if lm.masked else text
        fed = [*start_ids(lm, template), *lm.encode(text), *lm.suffix_ids]
        shown.append(ShownExample(seen, _tokens(lm, fed), before + answer, _tokens(lm, answer_ids)))
    return shown


def _tokens(lm: FrozenLM, ids: list[int]) -> list[str]:
    return [str(token) for token in lm.tokenizer.convert_ids_to_tokens(ids)]
