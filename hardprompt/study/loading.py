"""Load the task, model, readers and optimizers of a request."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from hardprompt.data.catalogue import load_task, needs_data
from hardprompt.data.given_prompts import GivenPrompt, read_prompts
from hardprompt.data.splits import draw_by_label
from hardprompt.data.task import Task, Template
from hardprompt.errors import RequestError, about
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.metrics import METRICS, Metric, load_metric
from hardprompt.optimizers import Optimizer, load_optimizer
from hardprompt.records.request import StudyRequest, model_names, same_model
from hardprompt.study.measure import check_unique_names

_logger = logging.getLogger(__name__)


def load_tasks(request: StudyRequest) -> dict[str, Task]:
    """Load the task of a request in each of its data splits, with as many test examples as the request's `limit` at most.

    Returns:
        The task by data split.

    Raises:
        RequestError: the task does not exist, or a field of the request does not apply to it.
    """
    tasks = _load_tasks(request)
    if request.chat or request.prompt_turn:
        tasks = {
            split: replace(task, chat=task.chat or request.chat, prompt_turn=request.prompt_turn or task.prompt_turn)
            for split, task in tasks.items()
        }
    if request.limit is None:
        return tasks
    return {split: replace(task, test=draw_by_label(task.test, request.limit, task.labels)) for split, task in tasks.items()}


def _load_tasks(request: StudyRequest) -> dict[str, Task]:
    if Path(request.task).suffix.lower() == ".jsonl":
        if request.data is not None or request.shots is not None:
            raise RequestError(f"data and shots belong to tasks on real data; {request.task} holds its own examples")
        if request.template is None:
            raise RequestError(f"task file {request.task} needs a template, such as --template '{{input}} {{prompt}}'")
        task = Task.from_jsonl(
            request.task,
            template=request.template,
            label_words=request.label_words,
            match=request.match,
            reference_prompts=request.reference_prompts,
            skip_unusable=request.skip_unusable,
        )
        if request.splits != ("default",):
            raise RequestError(f"task file {request.task} has one data split, 'default'; got {', '.join(request.splits)}")
        return {"default": task}
    on_data = needs_data(request.task)
    changed = request.template is not None or bool(request.label_words) or bool(request.reference_prompts)
    if request.match != "exact" or (changed and not on_data):
        raise RequestError(
            f"template, label words, match and reference prompts belong to a .jsonl task, not to {request.task!r} "
            "(all but match also to a task on real data)"
        )
    tasks = {
        split: load_task(request.task, split, request.data, request.shots, request.skip_unusable) for split in request.splits
    }
    return {split: _changed(task, request) for split, task in tasks.items()}


def _changed(task: Task, request: StudyRequest) -> Task:
    """The task with the template, label words and reference prompts of the request, where it has any."""
    if request.template is not None:
        task = replace(task, template=Template(request.template), masked_template=None)
    if request.reference_prompts:
        task = replace(task, reference_prompts=request.reference_prompts)
    return task.with_label_words(request.label_words) if request.label_words else task


def log_warnings(lines: Iterable[str]) -> None:
    """Log reasons to doubt results on the data of a task (`Task.warnings`), once the request has been checked."""
    for line in lines:
        _logger.warning("%s", line)


def load_model(request: StudyRequest) -> FrozenLM:
    """Load the frozen language model of a request; its name differs from those of the readers.

    Raises:
        RequestError: the request has several models.
    """
    if request.other_lms:
        with about("lm"):
            raise RequestError(
                f"expected one model, got {len(request.lms)} ({', '.join(request.lms)}); only compare, run and optimize take "
                "several"
            )
    return load_models(request)[0]


def load_models(request: StudyRequest) -> tuple[FrozenLM, ...]:
    """Load the frozen language models of a request, one or several; their names differ from each other and from the readers'.

    Raises:
        RequestError: a model is named twice, or there is only one and `over` is not "mean".
        LMError: a model cannot be loaded.
    """
    if request.over != "mean" and not request.other_lms:
        with about("over"):
            raise RequestError(f"over {request.over!r} needs several models, such as --lm A,B; got {request.lm}")
    for one, other in combinations(request.lms, 2):
        if same_model(one, other):
            raise RequestError(f"models {one!r} and {other!r} are the same; name each once")
    lms = tuple(load_lm(name, request.device, request.dtype, request.memory, request.start) for name in request.lms)
    name_models(lms, request)
    return lms


def name_models(lms: Sequence[FrozenLM], request: StudyRequest) -> None:
    """Give the models of a request their names in the record, which depend on those of its readers."""
    names = names_in_record(request)
    for lm, name in zip(lms, request.lms, strict=True):
        lm.name = names[name]


def names_in_record(request: StudyRequest) -> dict[str, str]:
    """The name in the record of each model and of each reader of a request."""
    return model_names((*request.lms, *request.reader_names))


def load_readers(request: StudyRequest) -> Sequence[FrozenLM]:
    """Load the language models that judge readability.

    Raises:
        RequestError: a reader is the model itself, is named twice, or is an encoder-decoder model.
        LMError: a reader cannot be loaded.
    """
    for name in request.reader_names:
        if any(same_model(name, lm) for lm in request.lms):
            raise RequestError(f"reader {name!r} is the task model, whose own measure is log_perplexity; choose another reader")
    for one, other in combinations(request.reader_names, 2):
        if same_model(one, other):
            raise RequestError(f"readers {one!r} and {other!r} are the same model; name it once")
    readers = [load_lm(name, request.device, memory=request.memory) for name in request.reader_names]
    for reader, name in zip(readers, request.reader_names, strict=True):
        if reader.kind == "encoder-decoder":
            raise RequestError(
                f"reader {name!r} is an encoder-decoder model, which assigns no probability to a text; use another"
            )
        reader.name = names_in_record(request)[name]
    return check_unique_names(readers)


def load_metrics(request: StudyRequest) -> tuple[Metric, ...]:
    """The metrics to compute in addition to the built-in ones.

    Raises:
        UnknownName: there is no such metric.
        RequestError: a file holds no such metric, or two metrics have the same name.
    """
    found: list[Metric] = []
    for number, name in enumerate(request.metrics):
        with about("metrics", number):
            found.append(load_metric(name))
            if found[-1].name in [each.name for each in (*METRICS, *found[:-1])]:
                raise RequestError(f"metric {found[-1].name!r} is computed already; leave {name} out, or rename the metric")
    return tuple(found)


def load_prompts(request: StudyRequest) -> list[GivenPrompt]:
    """Read the prompts that a request gives in a file.

    Raises:
        DataError: the file or one of its prompts cannot be used.
    """
    with about("prompts"):
        return [] if request.prompts is None else read_prompts(request.prompts)


def load_optimizers(request: StudyRequest) -> dict[str, tuple[Optimizer[Any], Any]]:
    """Load the optimizers of a request.

    Returns:
        Each optimizer with its configuration, by the optimizer's own name.

    Raises:
        UnknownName: an optimizer or option does not exist.
        RequestError: two optimizers have the same name, an option has a wrong value or belongs to an optimizer that is not
            part of the request.
    """
    found: dict[str, tuple[Optimizer[Any], Any]] = {}
    for number, name in enumerate(request.optimizers):
        with about("optimizers", number):
            optimizer = load_optimizer(name)
            if optimizer.name in found:
                raise RequestError(f"two of the optimizers have the name {optimizer.name!r}; rename one of them")
        with about("options", optimizer.name):
            found[optimizer.name] = (optimizer, optimizer.configure(request.options.get(optimizer.name, {})))
    for name in request.options:
        if name not in found:
            with about("options", name):
                raise RequestError(f"options are given for {name!r}, but the request has the optimizers {', '.join(found)}")
    return found
