"""The contract that tasks fill in: examples in three splits, a template with the prompt's place, and what a right answer is.

A classification task has label words, each a single token of the model, and the most probable one is the prediction. A
generation task has target texts, and is right when the greedy decode equals the target (`match`). To a causal model the answer
follows the template's text after `separator`, a blank unless stated; a masked one fills it in where its template has `{mask}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from hardprompt.data.rows import read_rows
from hardprompt.errors import TaskError

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
MATCHES = ("exact", "starts-with")
KEEPS = ("", "start", "end")

MASK = "\ufdd0"
"""What stands in a filled text where a masked model fills in the answer: a noncharacter of Unicode, which no text holds."""


@dataclass(frozen=True)
class Example:
    """One input and its answer: the name of a label, or a target text."""

    input: str
    answer: str


@dataclass(frozen=True)
class Template:
    """A text with `{input}` and `{prompt}`, once each; the order is free. That of a masked model has `{mask}` too.

    Everything before `{prompt}` does not depend on the prompt. A blank before `{prompt}` belongs to the prompt's first token,
    and one before `{mask}` to the answer.

    Raises:
        TaskError: a place that is not there, or is there twice.

    Example:
        >>> Template("{input} {prompt}:").around("a lovely film.")
        ('a lovely film.', ':')
    """

    text: str

    def __post_init__(self) -> None:
        for place in ("{prompt}", "{input}"):
            if (count := self.text.count(place)) != 1:
                raise TaskError(f"template {self.text!r} has {place} {count} times; put it in exactly once")
        if (count := self.text.count("{mask}")) > 1:
            raise TaskError(f"template {self.text!r} has {{mask}} {count} times; there is one answer")

    @property
    def masked(self) -> bool:
        """Whether it has a place for the answer, which masked models fill in."""
        return "{mask}" in self.text

    @property
    def blank(self) -> str:
        """The blank before `{mask}`, which belongs to the answer; "" where there is none."""
        return " " if self.text.partition("{mask}")[0].endswith(" ") else ""

    def around(self, input: str) -> tuple[str, str]:
        """The texts before and after the prompt for one input, with `MASK` for `{mask}`."""
        if self.masked:
            input = input.replace(MASK, "")
        before, after = (text.replace("{mask}", MASK) for text in self.text.split("{prompt}"))
        return before.replace("{input}", input).rstrip(" "), after.replace("{input}", input).rstrip(" ")

    def fill(self, input: str, prompt: str) -> str:
        """The whole text as it would be deployed, the answer excepted, with `MASK` for `{mask}`.

        Example:
            >>> Template("{input} {prompt}:").fill("a lovely film.", " good or bad")
            'a lovely film. good or bad:'
        """
        before, after = self.around(input)
        blank = " " if before and prompt and not prompt[0].isspace() else ""
        return before + blank + prompt + after


@dataclass(frozen=True)
class KnownPrompt:
    """A prompt of a task whose worth is known, because the model was taught it.

    Args:
        prompt: its text.
        lm: the model that it is known for, by name.
        test_accuracy: a fraction, measured.
        log_perplexity: under that model, in nats per token.
    """

    prompt: str
    lm: str
    test_accuracy: float
    log_perplexity: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples, template, answers and metric; everything an optimizer may know of what is asked.

    Args:
        name: how records call it.
        template: where input and prompt stand.
        masked_template: where input, prompt and answer (`{mask}`) stand for a masked model; by default `template`, and behind
            it, unless it has `{mask}`, `separator`, "{mask}" and a full stop.
        train, dev, test: examples, disjoint for a result to mean anything. Optimizers learn on train, everything is selected
            on dev, test is read once.
        label_words: label -> the word that stands for it; empty for generation.
        match: of generation: "exact" (the decoded text up to the first line break or end equals the target) or "starts-with".
        separator: what stands between the template's text and the answer.
        reference_prompts: prompts a person would write, the rows `manual` of every table.
        description, citation, licence, source: one line each.
        keep: what is kept of an input that is too long for the model, its start or its end; "" refuses it.
        inputs_cut: how many inputs of each split were cut, once they are (`hardprompt.scoring.truncation`).
        split: which published split of the data this is.
        embedded: whether it is one of the microworld's.
        division: "tune" (defaults may be chosen on it, on dev) or "report" (figures are quoted on it, on test); "" for neither.
        known_front: prompts on the true trade-off, the most readable first; several where plain wordings have a price.

    Raises:
        TaskError: an empty split, an unknown label, a masked template without `{mask}`, a bad match.

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
    match: Literal["exact", "starts-with"] = "exact"
    separator: str = " "
    reference_prompts: Sequence[str] = ()
    description: str = ""
    citation: str = ""
    licence: str = ""
    source: str = ""
    keep: Literal["", "start", "end"] = ""
    inputs_cut: Mapping[Split, int] = field(default_factory=dict)
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
        if self.keep not in KEEPS:
            raise TaskError(f"task {self.name}: keep {self.keep!r} is none of start, end, or nothing")
        if self.match not in MATCHES:
            raise TaskError(f"task {self.name}: match {self.match!r} is none of {', '.join(MATCHES)}")
        if len(self.label_words) == 1:
            raise TaskError(f"task {self.name}: one label word is no choice; give at least two, or none for generation")
        if self.label_words and self.match != "exact":
            raise TaskError(
                f"task {self.name}: match {self.match!r} is of generation, and this task has label words; leave it out"
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

    @property
    def kind(self) -> Literal["classification", "generation"]:
        """Classification where there are label words."""
        return "classification" if self.label_words else "generation"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of their word columns; empty for generation."""
        return tuple(self.label_words)

    def template_for(self, masked: bool) -> Template:
        """The template that a causal or a masked model reads.

        Raises:
            TaskError: a causal model and a template with `{mask}`, or a masked one and texts to generate.

        Example:
            >>> from hardprompt import load_task
            >>> load_task("review-sentiment").template_for(masked=True).text
            '{input} {prompt}: {mask}.'
        """
        if not masked:
            if self.template.masked:
                raise TaskError(
                    f"task {self.name}: only a masked model fills in the {{mask}} of its template; take one, or it out"
                )
            return self.template
        if self.kind == "generation":
            raise TaskError(f"task {self.name} asks for texts, which a masked model cannot write; take a causal one")
        if self.masked_template or self.template.masked:
            return self.masked_template or self.template
        return Template(f"{self.template.text}{self.separator}{{mask}}.")

    def with_label_words(self, words: Mapping[str, str]) -> "Task":
        """The task with other label words.

        Raises:
            TaskError: they are not one for each of its labels.
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
    def digest(self) -> str:
        """A fingerprint of everything that decides a score: examples, template, answers, reference prompts, and what is cut."""
        parts = (self.template, self.train, self.dev, self.test, self.label_words, self.match, self.separator)
        given = [each for each in (self.keep, self.masked_template) if each]
        return sha256(repr((*parts, self.reference_prompts, *given)).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What `hardprompt ls tasks --json` says of it."""
        return {
            "name": self.name,
            "embedded": self.embedded,
            "kind": self.kind,
            "description": self.description,
            "labels": dict(self.label_words),
            "sizes": {split: len(self.examples(split)) for split in SPLITS},
            "template": self.template.text,
            "masked_template": self.template_for(masked=True).text if self.kind == "classification" else None,
            "reference_prompts": list(self.reference_prompts),
            "division": self.division,
            "known_front": [asdict(known) for known in self.known_front],
        }

    @classmethod
    def from_jsonl(cls, path: str | Path, *, template: str, name: str | None = None, **fields: Any) -> "Task":
        """A task from a UTF-8 file with one JSON object a line: `input`, `answer` and `split` (train, dev or test).

        Args:
            path: the file.
            template: text with `{input}` and `{prompt}`.
            name: by default the file's name without its ending.
            fields: further fields of `Task`, such as `label_words`.

        Raises:
            TaskError: with file and line, for a line that is no such object or no example of the task.
        """
        path = Path(path)
        parts: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        for line, row in read_rows(path, needed=("input", "answer", "split")):
            if not isinstance(row["input"], str) or not isinstance(row["answer"], str | int):
                raise TaskError(f"{path}:{line}: expected a text as input, and a text or a whole number as answer")
            if row["split"] not in SPLITS:
                raise TaskError(f"{path}:{line}: split {row['split']!r} is none of {', '.join(SPLITS)}")
            example = Example(row["input"], str(row["answer"]))
            if problem := "input is empty" if not example.input.strip() else _problem(example, fields.get("label_words", {})):
                raise TaskError(f"{path}:{line}: {problem}")
            parts[row["split"]].append(example)
        train, dev, test = parts.values()
        return cls(name=name or path.stem, template=Template(template), train=train, dev=dev, test=test, **fields)


def _problem(example: Example, label_words: Mapping[str, str]) -> str | None:
    """Why an example is none of a task with these label words."""
    if label_words and example.answer not in label_words:
        return f"label {example.answer!r} is none of {', '.join(label_words)}"
    if not example.answer.strip() or "\n" in example.answer.strip():
        return "the target text is empty or has a line break"
    return None
