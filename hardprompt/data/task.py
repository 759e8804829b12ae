"""The contract of a task: examples in three splits, a template with a place for the prompt, and what counts as correct.

A classification task has label words, each a single token of the model, and the most probable one is the prediction. A
generation task has target texts, and an answer is correct if the greedily decoded text equals the target (`match`). For a
causal model, the answer follows the text of the template after `separator`. A masked model predicts it at `{mask}` in its
template.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from hardprompt.data.languages import difference, has_no_blanks, same_text
from hardprompt.data.rows import SkippedRows, answer_text, read_rows
from hardprompt.errors import DataError, TaskError

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
PLACES = ("input", "prompt", "mask")
OVERLAPS: tuple[tuple[Split, Split], ...] = (("test", "train"), ("dev", "train"), ("test", "dev"))
"""Pairs of splits that should have no input in common."""

MATCHES = ("exact", "starts-with", "number")
TRUNCATE_TO = ("", "start", "end")
PROMPT_TURNS = ("user", "system")

MASK = "\ufdd0"
"""Marks the place of the mask token in a filled template: a noncharacter of Unicode, which occurs in no text."""


@dataclass(frozen=True)
class Example:
    """An input and its answer, which is the name of a label or a target text."""

    input: str
    answer: str


@dataclass(frozen=True)
class Template:
    """A text with `{input}` and `{prompt}`, once each and in any order. The template of a masked model also has `{mask}`.

    A blank before `{prompt}` belongs to the first token of the prompt, and a blank before `{mask}` to the answer. Without a
    blank there, as in Chinese, the prompt follows directly on the text before it (`blank_before`).

    Args:
        text: the text.

    Attributes:
        chat: whether a chat template renders it (`hardprompt.lm.chat.ChatTemplate`).
        markers: the markers of turns in a chat.

    Raises:
        TaskError: `{input}` or `{prompt}` does not occur exactly once, or `{mask}` occurs more than once, or a place is written
            in another way, such as `{{input}}`.

    Example:
        >>> Template("{input} {prompt}:").around("a lovely film.")
        ('a lovely film.', ':')
    """

    text: str
    chat: ClassVar[bool] = False
    markers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self._refuse_other_braces()
        for place in ("{prompt}", "{input}"):
            if (count := self.text.count(place)) != 1:
                named = [name for name in re.findall(r"{(\w+)}", self.text) if name not in PLACES]
                hint = f" in the place of {{{named[0]}}}" if named and not count else ""
                raise TaskError(f"template {self.text!r} has {place} {count} times; put it in exactly once{hint}")
        if (count := self.text.count("{mask}")) > 1:
            raise TaskError(f"template {self.text!r} has {{mask}} {count} times; put it in at most once")

    def _refuse_other_braces(self) -> None:
        """Refuse a place with double braces, as Jinja writes it, with blanks in the braces, or in other letters."""
        for written in re.findall(r"{+[^{}]*}+", self.text):
            name = written.strip("{} \t").lower()
            if name in PLACES and written != f"{{{name}}}":
                raise TaskError(f"template {self.text!r} has {written}; write {{{name}}}, with single braces and no blanks")

    @property
    def masked(self) -> bool:
        """Whether the template has a place for the answer of a masked model."""
        return "{mask}" in self.text

    @property
    def blank(self) -> str:
        """The blank before `{mask}`, which belongs to the answer; "" if there is none."""
        return " " if self.text.partition("{mask}")[0].endswith(" ") else ""

    @property
    def prompt_blank(self) -> str:
        """The blank before `{prompt}`; "" if there is none, or if the prompt comes first.

        Example:
            >>> Template("{input} {prompt}:").prompt_blank, Template("{input}。{prompt}：").prompt_blank
            (' ', '')
        """
        before = self.text.partition("{prompt}")[0]
        return " " if before.endswith(" ") and before.strip(" ") else ""

    def blank_before(self, prompt: str) -> str:
        """The blank to put before a prompt: that of the template, or one after a line break; "" if the prompt comes first.

        After a line break, a prompt in a script without blanks gets none, and neither does one that begins with a blank.
        """
        if not prompt or prompt[0].isspace() or self.prompt_first:
            return ""
        after_line = self.text.partition("{prompt}")[0].endswith("\n") and not has_no_blanks(prompt[0])
        return " " if after_line else self.prompt_blank

    @property
    def line_before_input(self) -> str:
        """The text in the line of `{input}` before it, without blanks around it.

        Example:
            >>> Template("{prompt}\\nQuestion: {input}\\nAnswer:").line_before_input
            'Question:'
        """
        return self.text.partition("{input}")[0].rpartition("\n")[2].replace("{prompt}", "").strip()

    @property
    def prompt_first(self) -> bool:
        """Whether no text precedes the prompt."""
        return not self.text.partition("{prompt}")[0].strip(" ")

    def around(self, input: str) -> tuple[str, str]:
        """The texts before and after the prompt for an input, with `MASK` in the place of `{mask}`."""
        if self.masked:
            input = input.replace(MASK, "")
        before, after = (text.replace("{mask}", MASK) for text in self.text.split("{prompt}"))
        return before.replace("{input}", input).rstrip(" "), after.replace("{input}", input).rstrip(" ")

    def fill(self, input: str, prompt: str) -> str:
        """The whole text as it would be deployed, without the answer and with `MASK` in the place of `{mask}`.

        Example:
            >>> Template("{input} {prompt}:").fill("a lovely film.", " good or bad")
            'a lovely film. good or bad:'
            >>> Template("{input}。{prompt}：").fill("电影好看", "评价")
            '电影好看。评价：'
        """
        before, after = self.around(input)
        blank = self.blank_before(prompt) if before else ""
        return before + blank + prompt + after


@dataclass(frozen=True)
class KnownPrompt:
    """A prompt of a task with known scores, because the model was trained on it.

    Args:
        prompt: its text.
        lm: the name of the model.
        test_accuracy: its measured accuracy, a fraction.
        log_perplexity: its log-perplexity under the model, in nats per token.
    """

    prompt: str
    lm: str
    test_accuracy: float
    log_perplexity: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples, template and correct answers: everything that an optimizer knows about a task.

    Args:
        name: its name in records.
        template: the text around input and prompt.
        masked_template: the template for a masked model, with the answer as `{mask}`. By default it is `template`, followed, if
            that has no `{mask}`, by `separator`, "{mask}" and a full stop.
        train, dev, test: examples, which should be disjoint. Optimizers learn on train, prompts are selected on dev, and the
            selected ones are measured on test.
        label_words: the word for each label; empty for generation.
        match: for generation, "exact" (the decoded text up to the first line break or end equals the target), "starts-with", or
            "number" (the text may have a reasoning, and the number that it ends with equals the target, a number).
        max_answer_tokens: for `match="number"`, the maximal length of the decoded text, in tokens.
        separator: the text between the template's text and the answer.
        chat: whether the template's text is the user's turn in a chat, which the chat template of the model renders, and the
            answer is that of the assistant (`hardprompt.lm.chat`). The separator is then that of the chat template.
        prompt_turn: for a chat, the turn of the prompt: "user", or "system" for the prompt alone in the system's turn.
        reference_prompts: prompts that a person would write, the rows `manual` of all tables.
        description, citation, licence, source: one line each.
        truncate_to: which part of an input that is too long for the model is kept: its "start" or its "end". With "", such an
            input is an error.
        inputs_cut: for each split, how many inputs were cut by `hardprompt.scoring.truncation`.
        rows_skipped: by file, the number of unusable rows that were left out.
        split: the published split of the data.
        embedded: whether the task is one of the microworld's.
        division: "tune" (defaults may be chosen on it, on dev), "report" (its results are reported, on test), or "".
        known_front: prompts on the true trade-off, the most readable first; more than one if readability costs accuracy.

    Raises:
        TaskError: an empty split, an unknown label, a masked template without `{mask}`, or another invalid field.

    Example:
        >>> examples = [Example("a lovely film.", "positive"), Example("a dull film.", "negative")]
        >>> task = Task(name="tiny", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples,
        ...             label_words={"positive": "good", "negative": "bad"})
        >>> task.kind
        'classification'
    """

    name: str
    template: Template
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    masked_template: Template | None = None
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
    inputs_cut: Mapping[Split, int] = field(default_factory=dict)
    rows_skipped: Mapping[str, int] = field(default_factory=dict)
    split: str = "default"
    embedded: bool = False
    division: Literal["", "tune", "report"] = ""
    known_front: Sequence[KnownPrompt] = ()

    def __post_init__(self) -> None:
        for split in SPLITS:
            object.__setattr__(self, split, tuple(getattr(self, split)))
        object.__setattr__(self, "label_words", dict(self.label_words))
        for name in ("reference_prompts", "known_front"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.masked_template and not self.masked_template.masked:
            raise TaskError(f"task {self.name}: masked template {self.masked_template.text!r} has no {{mask}}; put it in once")
        if self.truncate_to not in TRUNCATE_TO:
            raise TaskError(f"task {self.name}: truncate_to {self.truncate_to!r} is none of start, end, or nothing")
        if self.prompt_turn not in PROMPT_TURNS:
            raise TaskError(f"task {self.name}: prompt_turn {self.prompt_turn!r} is none of {', '.join(PROMPT_TURNS)}")
        if self.prompt_turn == "system" and not self.chat:
            raise TaskError(f"task {self.name}: prompt_turn 'system' is for a chat; give --chat as well, or leave it out")
        if self.match not in MATCHES:
            raise TaskError(f"task {self.name}: match {self.match!r} is none of {', '.join(MATCHES)}")
        if self.max_answer_tokens < 1:
            raise TaskError(f"task {self.name}: max_answer_tokens must be at least 1, got {self.max_answer_tokens}")
        if len(self.label_words) == 1:
            raise TaskError(f"task {self.name}: a single label word; give at least two, or none for generation")
        if self.label_words and self.match != "exact":
            raise TaskError(
                f"task {self.name}: match {self.match!r} is for generation, and this task has label words; leave it out"
            )
        if not all(prompt.strip() for prompt in self.reference_prompts):
            raise TaskError(f"task {self.name}: a reference prompt is empty; the optimizer `empty` scores that one")
        for split in SPLITS:
            self._check(split)

    def _check(self, split: Split) -> None:
        examples = self.examples(split)
        if not examples:
            raise TaskError(f"task {self.name}: the {split} split is empty; give it at least one example")
        for number, example in enumerate(examples, 1):
            if problem := _problem(example, self.label_words):
                raise TaskError(f"task {self.name}, {split} example {number}: {problem}")
            if self.match == "number" and not is_number(example.answer):
                raise TaskError(f"task {self.name}, {split} example {number}: answer {example.answer!r:.60} is not a number")

    @property
    def kind(self) -> Literal["classification", "generation"]:
        """Classification if there are label words."""
        return "classification" if self.label_words else "generation"

    @property
    def answer_ends(self) -> bool:
        """Whether the loss of a target contains that of the end of the answer."""
        return self.match != "starts-with"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the label words; empty for generation."""
        return tuple(self.label_words)

    def template_for(self, masked: bool) -> Template:
        """The template for a masked or a causal model.

        Raises:
            TaskError: the model is causal and the template has `{mask}`, or it is masked and the task is a generation task.

        Example:
            >>> from hardprompt import load_task
            >>> load_task("review-sentiment").template_for(masked=True).text
            '{input} {prompt}: {mask}.'
        """
        if not masked:
            if self.template.masked:
                raise TaskError(
                    f"task {self.name}: only a masked model predicts the {{mask}} of a template; use one or remove {{mask}}"
                )
            return self.template
        if self.kind == "generation":
            raise TaskError(f"task {self.name} is a generation task, and a masked model cannot generate text; use a causal one")
        if self.masked_template or self.template.masked:
            return self.masked_template or self.template
        return Template(f"{self.template.text}{self.separator}{{mask}}.")

    def with_label_words(self, words: Mapping[str, str]) -> "Task":
        """The task with other label words.

        Raises:
            TaskError: there is not exactly one word for each label.
        """
        if set(words) != set(self.label_words):
            raise TaskError(
                f"task {self.name}: give one label word for each of {', '.join(self.labels)}; got {', '.join(words)}"
            )
        return replace(self, label_words={label: words[label] for label in self.labels})

    def examples(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split."""
        return tuple(getattr(self, split))

    @property
    def overlap(self) -> dict[str, dict[str, int]]:
        """How many examples of one split have an input that is also in another, and how many of these have the same answer.

        Example:
            >>> from hardprompt import load_task
            >>> load_task("plural").overlap["test_in_train"]
            {'inputs': 0, 'same_answer': 0}
        """
        inputs = {split: {example.input for example in self.examples(split)} for split in SPLITS}
        answered = {split: {*self.examples(split)} for split in SPLITS}
        return {
            f"{of}_in_{other}": {
                "inputs": sum(example.input in inputs[other] for example in self.examples(of)),
                "same_answer": sum(example in answered[other] for example in self.examples(of)),
            }
            for of, other in OVERLAPS
        }

    @property
    def warnings(self) -> list[str]:
        """The lines of `data_warnings`, with the name of the task."""
        name = f"task {self.name}" + f", split {self.split}" * (self.split != "default")
        return [f"{name}: {line}" for line in data_warnings(self.overlap, self.rows_skipped)]

    @property
    def digest(self) -> str:
        """A hash of everything that determines scores, such as examples, templates, answers and reference prompts."""
        parts = (self.template, self.train, self.dev, self.test, self.label_words, self.match, self.separator)
        length = self.max_answer_tokens if self.match == "number" else 0
        turn = f"chat: {self.prompt_turn}" if self.chat else ""
        given = [each for each in (self.truncate_to, self.masked_template, length, turn) if each]
        return sha256(repr((*parts, self.reference_prompts, *given)).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The entry of the task in `hardprompt ls tasks --json`."""
        return {
            "name": self.name,
            "embedded": self.embedded,
            "kind": self.kind,
            "classes": len(self.label_words) or None,
            "description": self.description,
            "labels": dict(self.label_words),
            "sizes": {split: len(self.examples(split)) for split in SPLITS},
            "template": self.template.text,
            "masked_template": self.template_for(masked=True).text if self.kind == "classification" else None,
            "reference_prompts": list(self.reference_prompts),
            "division": self.division,
            "citation": self.citation,
            "licence": self.licence,
            "known_front": [asdict(known) for known in self.known_front],
        }

    @classmethod
    def from_jsonl(
        cls, path: str | Path, *, template: str, name: str | None = None, skip_unusable: bool = False, **fields: Any
    ) -> "Task":
        """Read a task from a UTF-8 file with one JSON object per line: `input`, `answer` and `split` (train, dev or test).

        Args:
            path: the file.
            template: a text with `{input}` and `{prompt}`.
            name: the name of the task; by default the file's name without its extension.
            skip_unusable: leave unusable lines out instead of raising an error.
            fields: other fields of `Task`, such as `label_words`.

        Raises:
            TaskError: a line is not such an object or not a valid example; the message names file and line.
        """
        path = Path(path)
        parts: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        skipped = SkippedRows(skip_unusable)
        label_words = fields.get("label_words", {})
        for line, row in read_rows(path, ("input", "answer", "split"), on_error=skipped):
            if skipped.has(line):
                continue
            if problem := _row_problem(row, label_words):
                skipped(DataError(path, line, problem))
                continue
            answer = row["answer"] if isinstance(row["answer"], str) else str(answer_text(row["answer"]))
            parts[_split(row)].append(Example(row["input"], same_text(answer, label_words) or answer))
        train, dev, test = parts.values()
        name, rows_skipped = name or path.stem, skipped.counts
        return cls(name=name, template=Template(template), train=train, dev=dev, test=test, rows_skipped=rows_skipped, **fields)


def is_number(text: str) -> bool:
    """Whether a text is a number, as an answer is written.

    Example:
        >>> is_number("1,080"), is_number("-2.5"), is_number("$3"), is_number("3 eggs")
        (True, True, True, False)
    """
    return bool(re.fullmatch(r"[+-]?\$?[0-9][0-9,]*(\.[0-9]+)?", text.strip()))


def data_warnings(overlap: Mapping[str, Mapping[str, int]], rows_skipped: Mapping[str, int]) -> list[str]:
    """Reasons to doubt results on data: a line for each two splits that overlap, and for each file with unusable rows.

    Args:
        overlap: as in `Task.overlap`.
        rows_skipped: by file, the number of unusable rows that were left out.

    Example:
        >>> data_warnings({}, {"data.csv": 2})
        ['2 unusable rows are left out of data.csv']
    """
    lines = []
    for pair, count in overlap.items():
        of, _, other = pair.partition("_in_")
        if count["inputs"]:
            examples = f"1 {of} example is" if count["inputs"] == 1 else f"{count['inputs']} {of} examples are"
            lines.append(
                f"{of} and {other} overlap: {examples} also in {other} ({count['same_answer']} with the same answer), "
                f"so {of} results are not on new inputs only; remove repeated inputs"
            )
    for file, number in rows_skipped.items():
        rows = "1 unusable row is" if number == 1 else f"{number} unusable rows are"
        lines.append(f"{rows} left out of {file}")
    return lines


def _row_problem(row: Mapping[str, Any], label_words: Mapping[str, str]) -> str | None:
    """Why a row of a task file cannot be used; None if it can."""
    if not isinstance(row["input"], str) or answer_text(row["answer"]) is None:
        return "expected a text as input, and a text or a whole number as answer"
    if _split(row) not in SPLITS:
        return f"split {row['split']!r} is none of {', '.join(SPLITS)}"
    if not row["input"].strip():
        return "input is empty"
    answer = str(answer_text(row["answer"]))
    return _problem(Example(row["input"], same_text(answer, label_words) or answer), label_words)


def _split(row: Mapping[str, Any]) -> Any:
    return str(row["split"]).strip().lower()


def _problem(example: Example, label_words: Mapping[str, str]) -> str | None:
    """Why an example does not fit a task with these label words; None if it does."""
    if label_words and example.answer not in label_words:
        hint = difference(example.answer, label_words)
        return f"label {example.answer!r} is none of {', '.join(label_words)}" + f"; {hint}" * bool(hint)
    if not example.answer.strip() or "\n" in example.answer.strip():
        return "the target text is empty or has a line break"
    return None
