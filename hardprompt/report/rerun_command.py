"""The command that repeats a study: a command line if the request can be written as one, otherwise Python."""

import shlex
from typing import Any

from hardprompt.records.request import StudyRequest

OUT = "again"
"""The output folder in the command. In the folder of the study itself all runs are recorded, so nothing would run."""


def rerun_command(request: StudyRequest, threads: int | None = None) -> list[str]:
    r"""The lines of a command that runs a study with this request, or of a Python program if no command can.

    The command line cannot express an unlimited budget, a comma in a name of a list, an option that is neither a number nor a
    text, and characters that are not printable.

    Args:
        request: the request of the study.
        threads: the number of threads of each run; None for the default of the machine.

    Example:
        >>> rerun_command(StudyRequest.make("quick", task="plural"))[:3]
        ['hardprompt compare \\', '    --task plural \\', '    --lm microworld \\']
    """
    return _command(request, threads) if _fits_a_command(request) else _program(request, threads)


def _command(request: StudyRequest, threads: int | None) -> list[str]:
    given: list[tuple[str, Any]] = [
        ("--task", request.task),
        ("--data", request.data),
        ("--shots", request.shots),
        ("--limit", request.limit),
        ("--skip-unusable", request.skip_unusable or None),
        ("--chat", request.chat or None),
        ("--prompt-turn", request.prompt_turn),
        ("--lm", ",".join(request.lms)),
        ("--over", None if request.over == StudyRequest().over else request.over),
        *(("--reader", reader) for reader in request.readers),
        ("--start", request.start),
        ("--optimizers", ",".join(request.optimizers)),
        ("--weights", ",".join(_number(weight) for weight in request.weights)),
        ("--splits", ",".join(request.splits)),
        ("--seeds", ",".join(str(seed) for seed in request.seeds)),
        ("--lm-tokens", request.lm_tokens),
        ("--prompt-length", request.prompt_length),
        ("--length-weight", _number(request.length_weight) if request.length_weight else None),
        ("--vocabulary", request.vocabulary),
        *(("-o", f"{name}.{key}={value}") for name, own in request.options.items() for key, value in own.items()),
        *(("--metric", metric) for metric in request.metrics),
        ("--template", request.template),
        ("--label-words", ",".join(f"{label}={word}" for label, word in request.label_words.items()) or None),
        ("--match", None if request.match == StudyRequest().match else request.match),
        *(("--reference-prompt", prompt) for prompt in request.reference_prompts),
        ("--prompts", request.prompts),
        ("--device", request.device),
        ("--dtype", None if request.dtype == StudyRequest().dtype else request.dtype),
        ("--memory", None if request.memory == StudyRequest().memory else request.memory),
        ("--out", OUT),
    ]
    words = [name if value is True else f"{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
    on = f"OMP_NUM_THREADS={threads} " if threads else ""
    return [f"{on}hardprompt compare \\", *(f"    {word} \\" for word in words[:-1]), f"    {words[-1]}"]


def _program(request: StudyRequest, threads: int | None) -> list[str]:
    fields = [f"    {key}={value!r}," for key, value in request if key == "lm_tokens" or value not in (None, False, {}, ())]
    on = ["import torch", "", f"torch.set_num_threads({threads})"] if threads else [""]
    return ["import hardprompt as hp", *on, "request = hp.StudyRequest(", *fields, ")", f'hp.compare(request, out="{OUT}")']


def _fits_a_command(request: StudyRequest) -> bool:
    values = [value for own in request.options.values() for value in own.values()]
    labels = request.label_words
    return (
        request.lm_tokens is not None
        and all(_is_item(name) for name in (*request.optimizers, *request.splits, *labels, *labels.values()))
        and not any("=" in label for label in labels)
        and all(isinstance(value, str | int | float) for value in values)
        and all(line.isprintable() for line in _command(request, None))
    )


def _is_item(name: str) -> bool:
    """Whether a name is unchanged after parsing a comma-separated list."""
    return bool(name) and name == name.strip() and "," not in name


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
