"""One run of one optimizer, from names or objects, without a record."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, UnknownName
from hardprompt.lm import FrozenLM
from hardprompt.lm.kinds import LM_CLASSES, kind_of
from hardprompt.optimizers import Optimizer, Problem, PromptResult, load_optimizer, run_optimizer
from hardprompt.records.request import StudyRequest, model_names
from hardprompt.scoring.joint import Over
from hardprompt.study.loading import load_model, load_tasks, log_warnings

Model = str | Path | FrozenLM | tuple[Any, Any]
"""A model by name or folder, a loaded one, or a Hugging Face model and its tokenizer."""


def optimize(
    task: str | Path | Task,
    lm: Model | list[Model] | list[FrozenLM] | list[str] = "microworld",
    optimizer: str | Optimizer[Any] = "pez",
    *,
    weight: float = 0.0,
    length_weight: float = 0.0,
    seed: int = 0,
    prompt_length: int = 5,
    vocabulary: str = "words",
    lm_tokens: int | None = None,
    split: str | None = None,
    data: str | Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    skip_unusable: bool | None = None,
    chat: bool | None = None,
    prompt_turn: Literal["user", "system"] | None = None,
    start: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    memory: str | None = None,
    over: Over = "mean",
    **options: Any,
) -> PromptResult:
    """Search a prompt for a task and a language model with one optimizer.

    Args:
        task: a name, a folder or a file, as in `hardprompt compare --task`, or a `Task`.
        lm: a name or a folder, a `FrozenLM`, or a Hugging Face model and its tokenizer, `(model, tokenizer)`. During the search
            such a model is in evaluation mode and its parameters require no gradients; afterwards both are restored. With a
            list of these, one prompt is searched for several models.
        optimizer: a name, `path.py:name`, or an `Optimizer`.
        weight: weight of the prompt NLL in the objective: nats of task loss for each nat per token of prompt NLL.
        length_weight: nats of the objective for each token of the prompt. If it is above 0, hard prompts may be shorter than
            `prompt_length`.
        seed: seed of the random numbers.
        prompt_length: length of the prompt, in tokens (or vectors of a soft prompt).
        vocabulary: the tokens that hard prompts may use, as in `hardprompt compare --vocabulary`.
        lm_tokens: budget in logical LM tokens, forward and backward together; by default the options of the optimizer end it.
        split, data, shots, limit, skip_unusable: the data of a task that is given by name, as in `hardprompt compare`.
        chat, prompt_turn: whether such a task is a chat, and the turn of its prompt.
        start, device, dtype, memory: the tokens before every text, the device, the data type and the memory of a model that is
            given by name, as in `hardprompt compare`.
        over: the task loss over several models: the "mean" of their losses, or the "worst".
        options: options of the optimizer.

    Returns:
        The result. Its best candidate is `result.best`.

    Raises:
        UnknownName: there is no task, model, optimizer or option of this name; the message names the closest name.
        RequestError: a value cannot be used.
        RunError: the search failed.

    Example:
        >>> result = optimize("plural", "microworld", "pez", weight=0.1, steps=20)
        >>> len(result.best.prompt.ids), result.config["steps"]
        (5, 20)
        >>> joint = optimize("review-sentiment", ["microworld", "microworld-reader"], "random", prompts=2)
        >>> len(joint.candidates)
        2
    """
    found = optimizer if isinstance(optimizer, Optimizer) else load_optimizer(optimizer)
    for name in options:
        if name not in found.config.model_fields:
            raise UnknownName(f"argument or {found.name} option", name, [*ARGUMENTS, *found.config.model_fields])
    config = found.configure(options)
    of_data = {"split": split, "data": data, "shots": shots, "limit": limit, "skip_unusable": skip_unusable}
    of_task = _given("task", task, isinstance(task, Task), **of_data, chat=chat, prompt_turn=prompt_turn)
    lms: list[Model] = [*lm] if isinstance(lm, list) else [lm]
    loading = {"start": start, "device": device, "dtype": dtype, "memory": memory}
    of_models = [_given("lm", each, isinstance(each, FrozenLM | tuple), **loading) for each in lms]
    if not lms:
        raise RequestError("lm is an empty list; give at least one model")
    request = StudyRequest.make(
        weights=(weight,),
        length_weight=length_weight,
        seeds=(seed,),
        prompt_length=prompt_length,
        vocabulary=vocabulary,
        lm_tokens=lm_tokens,
        splits=(of_task.pop("split", "default"),),
        **of_task,
    )
    [loaded_task] = [task] if isinstance(task, Task) else load_tasks(request).values()
    with ExitStack() as stack:
        loaded = [stack.enter_context(_loaded_model(each, of_model)) for each, of_model in zip(lms, of_models, strict=True)]
        by_name = {str(each): lm for each, lm in zip(lms, loaded, strict=True) if isinstance(each, str | Path)}
        for name, short in model_names(list(by_name)).items():
            by_name[name].name = short
        problem = Problem(
            loaded_task,
            loaded,
            weight=weight,
            length_weight=length_weight,
            prompt_length=prompt_length,
            vocabulary=vocabulary,
            seed=seed,
            lm_tokens=lm_tokens,
            over=over,
        )
        found.check(problem, config)
        log_warnings(loaded_task.warnings)
        return run_optimizer(found, problem, config)


ARGUMENTS = tuple(name for name in inspect.signature(optimize).parameters if name != "options")
"""The names of the arguments of `optimize` that are not options of the optimizer."""


def _given(kind: str, value: object, is_loaded: bool, **fields: object) -> dict[str, Any]:
    """The fields of a request that describe a task or a model that is given by name."""
    given = {name: field for name, field in fields.items() if field is not None}
    if is_loaded:
        if given:
            raise RequestError(f"{', '.join(given)}: only for a {kind} that is given by name")
        return {}
    if not isinstance(value, str | Path):
        objects = {"task": "a hardprompt.Task", "lm": "a hardprompt.FrozenLM or (model, tokenizer)"}[kind]
        raise RequestError(f"{kind} must be a name, a folder, {objects}; got {type(value).__name__}")
    return {kind: str(value)} | given


@contextmanager
def _loaded_model(lm: Model, fields: dict[str, Any]) -> Iterator[FrozenLM]:
    if isinstance(lm, FrozenLM):
        yield lm
    elif isinstance(lm, tuple):
        if len(lm) != 2:
            raise RequestError(f"lm must be a model and its tokenizer, (model, tokenizer); got {len(lm)} objects")
        model, tokenizer = lm
        gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        modes = [(module, module.training) for module in model.modules()]
        lm_class = LM_CLASSES[kind_of(model.config, type(model).__name__)]
        try:
            yield lm_class(model, tokenizer, model.name_or_path or type(model).__name__)
        finally:
            for parameter, requires_grad in gradients:
                parameter.requires_grad_(requires_grad)
            for module, training in modes:
                module.training = training
    else:
        yield load_model(StudyRequest.make(**fields))
