"""The form of a record: `RunRecord` and `FailedRun` are the lines of `points.jsonl`; `check_study` checks `study.yaml`.

The writer, the reader, `hardprompt ls metrics`, the headings of the tables and the reference page (`reference.py`) use these
fields. Fields with a default may be missing in a record, and keys that are not fields are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt
from pydantic.fields import FieldInfo

from hardprompt.records.folder import check_form


def _value(
    description: str,
    unit: str = "",
    better: Literal["higher", "lower", "none"] = "none",
    prompts: Literal["hard", "soft", "any"] = "any",
    *,
    heading: str = "",
    digits: int | None = 3,
    **options: Any,
) -> Any:
    """A field with the information that its values need; `heading` and `digits` are those of its column in a table."""
    known: Any = {"unit": unit, "better": better, "prompts": prompts, "heading": heading, "digits": digits}
    return Field(description=description, json_schema_extra=known, **options)


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow", frozen=True)


class ReaderRecord(_Recorded):
    """The text in the tokenization of a reader, a model that the prompt was not optimized for."""

    log_perplexity: float | None = _value(
        "Mean surprisal of the tokens of the text under the reader.", "nats per token", "lower"
    )
    nats_per_character: float | None = _value(
        "Total surprisal under the reader, divided by the characters of the text.", "nats per character", "lower"
    )
    max_surprisal: float | None = _value("Surprisal of the token that the reader expects least.", "nats", "lower", default=None)
    gap_nats_per_character: float | None = _value(
        "The reader's nats per character minus those of the task's model. A positive value: the text suits the model that it "
        "was optimized for better than the reader.",
        "nats per character",
        "lower",
        default=None,
    )
    tokens: int | None = _value(
        "Number of tokens of the text for the reader. If they exceed its context, the other values of this reader are null.",
        "tokens",
        default=None,
    )


class LmRecord(_Recorded):
    """The prompt under one of the models that it was searched for."""

    train_accuracy: float = _value(
        "Accuracy of the prompt as this model read it in the search, on train.", "fraction", "higher"
    )
    dev_accuracy: float = _value("The same on dev.", "fraction", "higher")
    test_accuracy: float = _value("The same on test.", "fraction", "higher")
    train_loss: float = _value("Task loss of the prompt as this model read it, on train.", "nats per example", "lower")
    dev_loss: float = _value("The same on dev.", "nats per example", "lower")
    test_loss: float = _value("The same on test.", "nats per example", "lower")
    deployed_test_accuracy: float = _value("Accuracy of the text on test.", "fraction", "higher")
    deployed_test_loss: float = _value("Task loss of the text on test.", "nats per example", "lower")


class TokenRecord(_Recorded):
    """One token of the text."""

    token: str = _value("The token as text.", default="")
    surprisal: float | None = _value("Surprisal of the token under the task's model.", "nats", default=None)
    loss_added: float = _value(
        "Dev loss of the text without this token minus that of the text.", "nats per example", default=0.0
    )
    accuracy_lost: float = _value("Dev accuracy of the text minus that without this token.", "fraction", default=0.0)
    marked: bool | None = _value(
        "Whether another similarity measure, or a little noise, gives another token of the soft prompt here.",
        "yes or no",
        prompts="soft",
        default=None,
    )


class CurveStep(_Recorded):
    """The best prompt so far, at the time when it was visited."""

    lm_tokens: int = _value("LM tokens that were spent before, forward and backward.", "tokens", "lower")
    dev_objective: float | None = _value("Objective of the prompt on dev.", "nats per example", "lower", default=None)
    dev_accuracy: float = _value("Accuracy of the prompt on dev.", "fraction", "higher")


class FrontStep(_Recorded):
    """The front of the prompts so far, at the time when a prompt improved it."""

    lm_tokens: int = _value("LM tokens that were spent before, forward and backward.", "tokens", "lower", "hard")
    hypervolume: float = _value(
        "Share of the plane of accuracy on dev and prompt NLL that the prompts so far dominate, with the reference point of "
        "`frontier.json`.",
        "fraction",
        "higher",
        "hard",
    )


class EmittedRecord(_Recorded):
    """The prompts that the optimizer returned (its last iterates), in contrast to the best prompt that it visited."""

    count: int | None = _value("Number of returned prompts.", "prompts", default=None)
    prompts_scored: int | None = _value("Number of returned prompts that were scored.", "prompts", default=None)
    examples_scored: int | None = _value("Number of test examples that each of them was scored on.", "examples", default=None)
    mean_test_accuracy: float = _value(
        "Mean test accuracy of the returned prompts.", "fraction", "higher", heading="last prompts"
    )
    final_test_accuracy: float | None = _value("Test accuracy of the last returned prompt.", "fraction", "higher", default=None)
    distinct: int | None = _value(
        "Number of different texts among the returned prompts.", "prompts", prompts="hard", default=None
    )
    final_prompt_ids: list[int] | None = _value("Token ids of the last returned prompt.", prompts="hard", default=None)
    final_prompt_text: str | None = _value("Text of the last returned prompt.", prompts="hard", default=None)
    final_log_perplexity: float | None = _value(
        "Mean surprisal of the tokens of the last returned prompt under the task's model.",
        "nats per token",
        "lower",
        "hard",
        default=None,
    )


class _Run(_Recorded):
    optimizer: str = _value("Name of the optimizer.")
    task: str = _value("Name of the task.")
    lm: str = _value(
        "Name of the task's model; if one prompt is searched for several, their names, separated by commas. All keys are then "
        "those of the first model, but for `by_lm`, `dev_objective`, `curve`, `front_curve` and the LM tokens."
    )
    split: str = _value("Data split of the task.")
    seed: int = _value("Random seed.", digits=0)
    weight: float = _value(
        "Fluency weight: the weight of the prompt NLL (nats per token) in the objective.",
        digits=None,
    )
    member: Annotated[int, Field(ge=1)] | None = _value(
        "For an optimizer that serves all weights in one run: the number of the prompt in the front of the run. The first has "
        "the lowest task loss on dev.",
        default=None,
    )
    weight_range: list[float | None] | None = _value(
        "The fluency weights, from low to high, at which this member of a front has the lowest objective on dev; a high end of "
        "null is infinity. It is null if another member is better at every weight.",
        default=None,
    )

    def as_json(self) -> dict[str, Any]:
        """The record as it is written: the given keys in the order of the fields, then the others."""
        return self.model_dump(exclude_unset=True)


class FailedRun(_Run):
    """A run that ended with an error."""

    status: Literal["failed"] = _value("`failed`.")
    error: str = _value("Type and message of the error.")


class RunRecord(_Run):
    """A finished run: its best prompt on dev, all measurements of it, and the cost of the search."""

    objective: str = _value("What the optimizer minimized, with its unit.")
    length_weight: float = _value(
        "Length weight: nats of the objective for each token of the prompt. Above 0, prompts may be shorter than the "
        "prompt length.",
        "nats per token",
        default=0.0,
    )
    prompt_ids: list[NonNegativeInt] = _value("Token ids of the text.")
    prompt_text: str = _value("The text; for a soft prompt, the text of its projection.", heading="text")
    prompt_tokens: int | float | None = _value(
        "Number of tokens of the text: of `prompt_ids`.", "tokens", heading="tokens", digits=0, default=None
    )
    roundtrip_ok: bool = _value(
        "Whether the text, tokenized again in the template, gives the same ids on every test example.",
        "yes or no",
        "higher",
        heading="round trip",
    )
    train_accuracy: float | None = _value(
        "Accuracy of the prompt as optimized, on the train examples.", "fraction", "higher", default=None
    )
    train_loss: float | None = _value(
        "Task loss of the prompt as optimized, on the train examples.",
        "nats per example",
        "lower",
        default=None,
    )
    dev_accuracy: float | None = _value(
        "Accuracy of the prompt as optimized, on the dev examples.", "fraction", "higher", default=None
    )
    dev_loss: float | None = _value(
        "Task loss of the prompt as optimized, on the dev examples.",
        "nats per example",
        "lower",
        default=None,
    )
    test_accuracy: float = _value(
        "Accuracy of the prompt as optimized (for a soft prompt, of its vectors), on the test examples.",
        "fraction",
        "higher",
        heading="test acc.",
    )
    test_correct: Annotated[str, Field(pattern="^[01]+$")] = _value(
        "One digit per test example: 1 if the prompt as optimized is right, otherwise 0.", "0 or 1", "higher", default=""
    )
    test_loss: float | None = _value(
        "Task loss of the prompt as optimized, on the test examples.", "nats per example", "lower", default=None
    )
    deployed_dev_accuracy: float = _value(
        "Accuracy of the text on the dev examples. It decides which prompts are on a front.", "fraction", "higher"
    )
    deployed_test_accuracy: float = _value(
        "Accuracy of the text, tokenized again in the template, on the test examples.", "fraction", "higher", heading="as text"
    )
    deployed_test_loss: float | None = _value(
        "Task loss of the text, tokenized again in the template, on the test examples.",
        "nats per example",
        "lower",
        default=None,
    )
    log_perplexity: float | None = _value(
        "Mean surprisal of the tokens of the text under the task's model.",
        "nats per token",
        "lower",
        heading="nats/token",
        digits=2,
    )
    log_perplexity_in_place: float | None = _value(
        "Mean surprisal of the tokens of the text in its place in the template, behind all that stands before it, over at most "
        "100 test inputs, evenly spread.",
        "nats per token",
        "lower",
        heading="in place",
        digits=2,
        default=None,
    )
    reader: str | None = _value("Name of the first reader.", default=None)
    reader_log_perplexity: float | None = _value(
        "`readers.NAME.log_perplexity` of the first reader.", "nats per token", "lower", default=None
    )
    reader_nats_per_character: float | None = _value(
        "`readers.NAME.nats_per_character` of the first reader.", "nats per character", "lower", default=None
    )
    readers: dict[str, ReaderRecord] = _value(
        "Values by name of the reader, a model that was not optimized against.", default={}
    )
    by_lm: dict[str, LmRecord] = _value(
        "If one prompt is searched for several models: values by name of the model.", default={}
    )
    inputs_cut: dict[str, int] = _value("By split, the number of inputs that were cut to fit the context.", default={})
    overlap: dict[str, dict[str, int]] = _value(
        "By pair of splits, such as `test_in_train`, the number of examples of the first whose input is also in the second "
        "(`inputs`), and how many of these have the same answer (`same_answer`).",
        default={},
    )
    rows_skipped: dict[str, int] = _value("By file, the number of unusable rows that were left out.", default={})
    scrutability: dict[str, Any] = _value(
        "Metrics of the text. Under an encoder-decoder model those of its surprisal are null, and `reason` tells why.",
        default={},
    )
    copying: dict[str, dict[str, int | float | None] | int | float | None] = _value(
        "Words that the text shares with inputs, and label words that it names. `train` is over the train inputs, and `test`, "
        "the level of chance, over as many test inputs.",
        default={},
    )
    tokens: list[TokenRecord] = _value("The text token by token.", default=[])
    faithfulness: dict[str, Any] = _value(
        "Metrics that compare a soft prompt with its projection. For a hard prompt they are null, and `reason` tells why."
    )
    metrics: dict[str, Any] = _value("The values of the metrics that the request names, by name.", default={})
    dev_objective: float | None = _value(
        "Objective of the prompt on dev; over several models, with the mean or the worst of their task losses.",
        "nats per example",
        "lower",
        default=None,
    )
    curve: list[CurveStep] = _value(
        "Learning curve: an entry for each prompt that is better on dev than all before.", default=[]
    )
    front_curve: list[FrontStep] = _value(
        "Growth of the front on dev: an entry for each prompt that increases the hypervolume, at most 50 evenly spread ones. "
        "Prompts without an NLL do not count.",
        prompts="hard",
        default=[],
    )
    emitted: EmittedRecord = _value("The prompts that the optimizer returned.")
    lm_tokens_forward: int = _value(
        "Logical LM tokens of the search in forward passes: for each pair of a prompt and an example, the tokens of both.",
        "tokens",
        "lower",
        heading="tokens forward",
        digits=0,
    )
    lm_tokens_backward: int = _value(
        "Logical LM tokens of the search in backward passes.", "tokens", "lower", heading="tokens backward", digits=0
    )
    prompts_visited: int = _value(
        "Number of prompts that the optimizer scored on dev.", "prompts", heading="prompts visited", digits=0
    )
    seconds: float = _value("Wall-clock time of the search.", "seconds", "lower", heading="seconds", digits=1)
    config: dict[str, Any] = _value("The options of the optimizer.")
    front: list[dict[str, Any]] = _value(
        "The other members of the front of the run, each with the keys in which it differs from the first.", default=[]
    )
    status: Literal["ok"] = _value("`ok`.")
    soft_prompt_file: str = _value("Path of the vectors inside the study's folder.", prompts="soft", default="")

    @property
    def length(self) -> float:
        """Number of tokens of the text, also in a record without `prompt_tokens`."""
        return len(self.prompt_ids) if self.prompt_tokens is None else self.prompt_tokens


AnyRun = RunRecord | FailedRun


class Entry(NamedTuple):
    """A value in a record.

    Attributes:
        name: the dotted path of keys, in which `NAME` is the name of a reader or a model.
        unit: the unit; empty for texts and objects.
        description: the description, one sentence.
        better: which direction is better: "higher", "lower" or "none".
        prompts: which prompts have it: "hard", "soft" or "any".
    """

    name: str
    unit: str
    description: str
    better: str
    prompts: str


def entries(model: type[BaseModel] = RunRecord, prefix: str = "") -> Iterator[Entry]:
    """The fields of a record in their order, each followed by those of the objects that it holds."""
    for name, info in model.model_fields.items():
        known = _known(info)
        yield Entry(prefix + name, known["unit"], info.description or "", known["better"], known["prompts"])
        for inner in (info.annotation, *get_args(info.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                below = "NAME." if name in ("readers", "by_lm") else ""
                yield from entries(inner, f"{prefix}{name}.{below}")


def heading(name: str, model: type[BaseModel] = RunRecord) -> tuple[str, int | None]:
    """The heading of the column of a field, and the digits that it shows after the point."""
    known = _known(model.model_fields[name])
    return known["heading"] or name, known["digits"]


def run_record(point: dict[str, Any]) -> AnyRun:
    """A line of `points.jsonl`, which has been checked, as an object.

    Example:
        >>> line = {"optimizer": "pez", "task": "plural", "lm": "m", "split": "default", "seed": 0, "weight": 0.1}
        >>> run_record(line | {"status": "failed", "error": "RunError: no prompt"}).error
        'RunError: no prompt'
    """
    return _form(point).model_validate(point)


def run_records(points: Iterable[dict[str, Any]]) -> list[AnyRun]:
    """Lines of `points.jsonl`, which have been checked, as objects."""
    return [run_record(point) for point in points]


def members(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a line of `points.jsonl`: one, or one for each member of the front of its run.

    Example:
        >>> line = {"optimizer": "front", "weight": 0.0, "test_accuracy": 0.9, "front": [{"weight": 0.2, "test_accuracy": 0.8}]}
        >>> [(point["weight"], point["test_accuracy"]) for point in members(line)]
        [(0.0, 0.9), (0.2, 0.8)]
    """
    first = {key: value for key, value in line.items() if key != "front"}
    return [first, *(first | other for other in line.get("front", []))]


P = TypeVar("P", bound=_Run)


def one_per_run(points: Iterable[P]) -> list[P]:
    """The points without the further members of fronts."""
    return [p for p in points if p.member in (None, 1)]


def at_weights(points: Iterable[P], weights: Sequence[float]) -> list[P]:
    """The points for a comparison at given weights: of the members of a front, the one that is best on dev at each weight."""
    found: list[P] = []
    for p in points:
        if p.member is None:
            found.append(p)
        elif p.weight_range is not None:
            low, high = p.weight_range
            inside = [w for w in weights if (low or 0.0) <= w and (high is None or w < high)]
            found += [p.model_copy(update={"weight": w}) for w in inside]
    return found


class _KnownPrompt(_Recorded):
    prompt: str
    test_accuracy: float
    log_perplexity: float


class _Study(_Recorded):
    request: dict[str, Any]
    vocabulary_size: Annotated[int, Field(ge=2)]
    data: dict[str, str] = {}
    lm_source: dict[str, str] = {}
    start: list[str] = []
    chat: str = ""
    prompts: dict[str, str] = {}
    known_front: list[_KnownPrompt] = []
    threads: Annotated[int, Field(ge=1)] | None = None
    versions: dict[str, str] = {}


def check_study(study: object, what: str) -> None:
    """Refuse a value that is not the content of a `study.yaml`; `what` begins the message."""
    check_form(_Study, study, what)


def check_point(point: object, what: str) -> None:
    """Refuse a value that is not a line of `points.jsonl`; `what` begins the message."""
    check_form(_form(point), point, what)
    assert isinstance(point, dict)
    if point.get("front"):
        for member in members(point)[1:]:
            check_form(RunRecord, member, what)


def _form(point: object) -> type[RunRecord] | type[FailedRun]:
    return FailedRun if isinstance(point, dict) and point.get("status") == "failed" else RunRecord


def _known(info: FieldInfo) -> dict[str, Any]:
    known = info.json_schema_extra
    return dict(known) if isinstance(known, dict) else {"unit": "", "better": "none", "prompts": "any"}
