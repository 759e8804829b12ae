"""What `study.yaml` and the lines of `points.jsonl` must hold to be read again; they hold more, which is left as it is."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from hardprompt.errors import StudyError
from hardprompt.field_problems import field_problems


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Known(_Recorded):
    prompt: str
    test_accuracy: float
    log_perplexity: float


class _Study(_Recorded):
    request: dict[str, Any]
    vocabulary_size: Annotated[int, Field(ge=2)]
    data: dict[str, str] = {}
    known_front: list[_Known] = []
    threads: Annotated[int, Field(ge=1)] | None = None
    versions: dict[str, str] = {}


class _Run(_Recorded):
    optimizer: str
    task: str
    lm: str
    split: str
    seed: int
    weight: float


class _Failed(_Run):
    status: Literal["failed"]
    error: str


class _Reading(_Recorded):
    log_perplexity: float | None
    nats_per_character: float | None


class _Emitted(_Recorded):
    mean_test_accuracy: float


class _Step(_Recorded):
    lm_tokens: int
    dev_accuracy: float


class _Done(_Run):
    status: Literal["ok"]
    objective: str
    prompt_ids: list[NonNegativeInt]
    prompt_text: str
    roundtrip_ok: bool
    test_accuracy: float
    test_correct: Annotated[str, Field(pattern="^[01]+$")] = ""
    deployed_dev_accuracy: float
    deployed_test_accuracy: float
    log_perplexity: float | None
    readers: dict[str, _Reading] = {}
    faithfulness: dict[str, Any]
    curve: list[_Step] = []
    emitted: _Emitted
    config: dict[str, Any]
    lm_tokens_forward: int
    lm_tokens_backward: int
    prompts_visited: int
    seconds: float
    soft_prompt_file: str = ""


def check_study(study: object, what: str) -> None:
    """Refuse what is no study; `what` begins the message."""
    _check(_Study, study, what)


def check_point(point: object, what: str) -> None:
    """Refuse what is no point of a study; `what` begins the message."""
    failed = isinstance(point, dict) and point.get("status") == "failed"
    _check(_Failed if failed else _Done, point, what)


def _check(form: type[BaseModel], value: object, what: str) -> None:
    try:
        form.model_validate(value)
    except ValidationError as error:
        raise StudyError(f"{what} ({field_problems(error, form)[0].message})") from error
