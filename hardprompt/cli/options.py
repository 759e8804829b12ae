"""Options that several verbs share. Those that are fields of a study request take help, type and default from its model."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from hardprompt.cli import reading
from hardprompt.errors import RequestError
from hardprompt.records.request import MODEL_FIELDS, TASK_FIELDS, StudyRequest

TASK, MODEL, SEARCH, TRAINING, PROMPT = "Task", "Language model", "Search", "Training", "Prompt"
"""Headings of groups of options."""

ONE_LM = (StudyRequest.model_fields["lm"].description or "").partition(";")[0] + "."
"""Description of `--lm` where it names a single model."""

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print the answer as JSON.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", metavar="", help="Repeat runs that are recorded as failed.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Send curves and results to csv, tensorboard, wandb, mlflow or trackio, as NAME or NAME=FOLDER; "
        "by default in hardprompt-tracking/NAME. Can be repeated.",
    ),
]

# A prompt

Text = Annotated[str | None, typer.Option("--text", help="The prompt as text; '' is the empty prompt.", rich_help_panel=PROMPT)]
Ids = Annotated[
    str | None, typer.Option("--ids", metavar="ID,...", help="The prompt as comma-separated token ids.", rich_help_panel=PROMPT)
]
RunFolder = Annotated[
    Path | None, typer.Option("--run", help="A prompt that a run found: the folder of the study.", rich_help_panel=PROMPT)
]
SoftFile = Annotated[
    Path | None,
    typer.Option(
        "--soft",
        help="A soft prompt: the folder of a peft adapter, or a file .npy, .npz or .safetensors.",
        rich_help_panel=PROMPT,
    ),
]
Number = Annotated[
    int | None,
    typer.Option(
        "--number",
        help="Select the prompt by its number: those of points.jsonl in order, counted from 1; each member of a front counts.",
        rich_help_panel=PROMPT,
    ),
]
RunOptimizer = Annotated[
    str | None, typer.Option("--optimizer", help="Select the run by its optimizer.", rich_help_panel=PROMPT)
]
RunWeight = Annotated[
    float | None, typer.Option("--weight", help="Select the run by its fluency weight.", rich_help_panel=PROMPT)
]
RunSeed = Annotated[int | None, typer.Option("--seed", help="Select the run by its random seed.", rich_help_panel=PROMPT)]


_PROMPT_OPTIONS = {
    "text": Text,
    "ids": Ids,
    "run": RunFolder,
    "soft": SoftFile,
    "number": Number,
    "optimizer": RunOptimizer,
    "weight": RunWeight,
    "seed": RunSeed,
}


def prompt_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that name a prompt; it takes the named prompt, a `PromptRef`, as its second argument."""

    @wraps(verb)
    def command(fields: dict[str, Any], **values: Any) -> None:
        from hardprompt.records.prompt_ref import PromptRef

        given = {name: values.pop(name) for name in _PROMPT_OPTIONS}
        if given["ids"] == "":
            raise RequestError("--ids names no token; the empty prompt is --text ''")
        verb(fields, PromptRef(**given | {"ids": reading.integers("--ids", given["ids"])}), **values)

    fields, _, *own = inspect.signature(verb).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _PROMPT_OPTIONS.items()
    ]
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    command.__signature__ = inspect.Signature([fields, *options, *own])  # type: ignore[attr-defined]
    return command


# Fields of a study request


@dataclass(frozen=True)
class _Form:
    """The form of a field of a request on the command line.

    Attributes:
        flags: names of the option.
        field: name of the field.
        help: description of the option.
        default: its default value, as Typer reads it.
        type: the type that Typer reads.
        metavar: how the value is written; by default its type.
        read: computes the value of the field from the name of the option and what Typer read; None if it is not given.
    """

    flags: tuple[str, ...]
    field: str
    help: str
    default: Any
    type: Any
    metavar: str | None = None
    read: Callable[[str, Any], Any] = lambda option, value: value

    @property
    def group(self) -> str:
        """Heading of the option in `--help`."""
        return TASK if self.field in ("task", *TASK_FIELDS) else MODEL if self.field in ("lm", *MODEL_FIELDS) else SEARCH


def _plain(name: str) -> _Form:
    """A field that is one text or number."""
    info = StudyRequest.model_fields[name]
    kind = info.annotation
    while kind not in (str, int, float):  # inside `PositiveInt | None`
        kind = str if get_origin(kind) is Literal else get_args(kind)[0]
    return _Form((f"--{name.replace('_', '-')}",), name, info.description or "", info.default, kind)


def _flag(name: str) -> _Form:
    """A field that is true if its option is given."""
    help = StudyRequest.model_fields[name].description or ""
    return _Form((f"--{name.replace('_', '-')}",), name, help, None, bool, "", lambda option, given: given or None)


def _listed(name: str, metavar: str, read: Callable[[str, Any], Any]) -> _Form:
    """A field whose items are separated by commas."""
    info = StudyRequest.model_fields[name]
    default = ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in info.default)
    return _Form((f"--{name.replace('_', '-')}",), name, info.description or "", default or None, str, metavar, read)


def _repeated(name: str, flags: tuple[str, ...], metavar: str, read: Callable[[str, Any], Any]) -> _Form:
    """A field with one option for each of its items."""
    help = f"{StudyRequest.model_fields[name].description} Can be repeated."
    return _Form(flags, name, help, None, list[str], metavar, read)


def _single(name: str, field: str, help: str, kind: type) -> _Form:
    """An option for a single value of a field that is a list."""
    [default, *_] = StudyRequest.model_fields[field].default
    return _Form((f"--{name}",), field, help, default, kind, read=lambda option, value: None if value is None else (value,))


_FORMS = {
    "skip_unusable": _flag("skip_unusable"),
    "chat": _flag("chat"),
    "readers": _repeated("readers", ("--reader",), "NAME", reading.repeated),
    "reader_lms": _repeated("readers", ("--reader-lm",), "NAME", reading.repeated),
    "metrics": _repeated("metrics", ("--metric",), "NAME", reading.repeated),
    "optimizers": _listed("optimizers", "NAME,...", reading.words),
    "weights": _listed("weights", "NUMBER,...", reading.floats),
    "splits": _listed("splits", "NAME,...", reading.words),
    "seeds": _listed("seeds", "INTEGER,...", reading.integers),
    "label_words": _listed("label_words", "LABEL=WORD,...", reading.pairs),
    "reference_prompts": _repeated("reference_prompts", ("--reference-prompt",), "TEXT", reading.repeated),
    "options": _repeated("options", ("-o", "--option"), "KEY=VALUE", reading.optimizer_options),
    "weight": _single(
        "weight",
        "weights",
        "Fluency weight: the weight of the prompt NLL (nats per token) in the objective; higher values favour readable text.",
        float,
    ),
    "split": _single("split", "splits", "Data split of the task.", str),
    "seed": _single("seed", "seeds", "Random seed.", int),
}


def request_options(
    *names: str, of_run: bool = False, defaults: Mapping[str, str] = {}, help: Mapping[str, str] = {}
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options for fields of a study request.

    The verb takes as its first argument the fields that are given, by name; an error about one of them names the option.

    Args:
        names: fields of `StudyRequest`; "weight", "split" and "seed" stand for a single value.
        of_run: whether the default values are those of a recorded run.
        defaults: descriptions of defaults that depend on other options; these options may be left out.
        help: descriptions that replace those of the fields, by name.
    """
    forms = {name: _FORMS.get(name) or _plain(name) for name in names}
    help = help if "over" in names else {"lm": ONE_LM, **help}
    flags = {form.field: form.flags[-1] for form in forms.values()}

    def parameter(name: str, form: _Form) -> inspect.Parameter:
        default, shown = form.default, defaults.get(name)
        if of_run and shown is None:
            shown = "with --run, the value of the run" + (f"; otherwise {default}" if default else "")
        option = typer.Option(
            *form.flags,
            help=help.get(name, form.help),
            metavar=form.metavar,
            show_default=shown or bool(default is not None and default != ""),
            rich_help_panel=form.group,
        )
        default = None if shown else default
        kind: Any = form.type | None if default is None else form.type
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        @wraps(verb)
        def command(**values: Any) -> None:
            read = {form.field: form.read(form.flags[-1], values.pop(name)) for name, form in forms.items()}
            try:
                verb({field: value for field, value in read.items() if value is not None}, **values)
            except RequestError as error:
                field, *_ = error.about or ("",)
                if str(field) in flags:
                    error.args = (re.sub(rf"^{field}[.\w]*: ", f"{flags[str(field)]}: ", str(error)),)
                raise

        _, *own = inspect.signature(verb).parameters.values()
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        added = [parameter(name, form) for name, form in forms.items()]
        command.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        return command

    return decorate
