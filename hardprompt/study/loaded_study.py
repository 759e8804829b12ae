"""A study that is ready to run: its task, model, readers and optimizers are loaded and checked.

Nothing here writes to disk or waits for another process, so a loaded study works in the same way in the main process, in worker
processes and on other machines. The result of a run depends only on the request and the run.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hardprompt.data.task import Task
from hardprompt.errors import about
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.chat import template_of
from hardprompt.lm.memory import Memory, memory_bytes
from hardprompt.optimizers import Problem, run_optimizer
from hardprompt.optimizers.base import check_weight
from hardprompt.optimizers.baselines import BaselineConfig, given
from hardprompt.prompt import SoftPrompt
from hardprompt.records.folder import as_safetensors
from hardprompt.records.request import Run, StudyRequest
from hardprompt.study.loading import (
    load_metrics,
    load_models,
    load_optimizers,
    load_prompts,
    load_readers,
    load_tasks,
    name_models,
)
from hardprompt.study.measure import finite, joint_name, measure
from hardprompt.study.planner import plan


@dataclass(frozen=True)
class StudyInfo:
    """The facts about a study that its record needs before the first run.

    Attributes:
        request: the request as it is recorded, with all given options and the names of the readers.
        runs: all runs, in order.
        task: name of the task.
        lm: name of the model, or the names of several, separated by commas.
        data: digest of the task's data in each split.
        lm_source: where the weights of the model come from (`FrozenLM.origin`); for several models, the keys begin with their
            names.
        start: the special tokens that the model reads before every text.
        chat: for a chat, the rendered template with "{input}" and "{prompt}"; otherwise empty.
        prompts: the texts of given prompts, by the name of their optimizer.
        vocabulary_size: number of tokens of the model.
        known_front: points of the task's true trade-off for this model, where it is known.
        weight_bytes: bytes of the weights of the models and the readers.
    """

    request: StudyRequest
    runs: tuple[Run, ...]
    task: str
    lm: str
    data: dict[str, str]
    start: tuple[str, ...]
    vocabulary_size: int
    known_front: tuple[dict[str, Any], ...] = ()
    weight_bytes: int = 0
    lm_source: dict[str, str] = field(default_factory=dict)
    chat: str = ""
    prompts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        share: the completed share of its work, 0 to 1.
        lm_tokens: logical LM tokens spent so far.
        dev_objective: objective of the best prompt so far on dev, in nats per example; None before the first prompt.
        dev_accuracy: accuracy of that prompt on dev, a fraction.
        curve: the values that were added to the learning curve (`Problem.curve`) since the last report.
    """

    share: float
    lm_tokens: int
    dev_objective: float | None = None
    dev_accuracy: float | None = None
    curve: tuple[dict[str, float], ...] = ()

    def after(self, earlier: "Progress | None") -> "Progress":
        """This report with the learning curve of an earlier one that was not passed on."""
        return replace(self, curve=earlier.curve + self.curve) if earlier else self


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        point: its line of the record.
        soft: the vectors of a soft prompt, as the bytes of a safetensors file.
    """

    point: dict[str, Any]
    soft: bytes | None = None


class LoadedStudy:
    """The task, models and optimizers of a study.

    Args:
        request: the request of the study.
        lms: the models, if they are loaded already.

    Raises:
        RequestError: the request cannot be run; `about` gives the field that is wrong.
    """

    def __init__(self, request: StudyRequest, lms: Sequence[FrozenLM] = ()) -> None:
        self.request = request
        self.prompts = load_prompts(request)
        self.optimizers = load_optimizers(request)
        self.optimizers |= {each.optimizer: (given(each), BaselineConfig()) for each in self.prompts}
        self.metrics = load_metrics(request)
        with about("task"):
            self.tasks = load_tasks(request)
        with about("lm"):
            self.lms = tuple(lms) or load_models(request)
            name_models(self.lms, request)  # an earlier study may have had other readers
            self.lm = self.lms[0]
        with about("task"):
            task = next(iter(self.tasks.values()))
            for lm in self.lms:
                template_of(lm, task)
        with about("weights"):
            check_weight(self.lm, max(request.weights))
        with about("readers"):
            self.readers: Sequence[FrozenLM] = load_readers(request)
        with about("vocabulary"):
            self._allowed = allowed_vocabulary(self.lm, request.vocabulary, task)
        self.runs = tuple(plan(request, self.optimizers))
        for first in {run.split: run for run in reversed(self.runs)}.values():
            with about("task"):
                problem = self.problem(first)
            for name, (optimizer, config) in self.optimizers.items():
                with about("options", name):
                    optimizer.check(problem, config)

    @property
    def opened(self) -> StudyInfo:
        """The facts that the record needs."""
        chosen = {name: config.model_dump(mode="json", exclude_unset=True) for name, (_, config) in self.optimizers.items()}
        options = {name: given for name, given in chosen.items() if given}
        task = next(iter(self.tasks.values()))
        template = template_of(self.lm, task)
        return StudyInfo(
            request=self.request.model_copy(update={"options": options, "readers": self.request.reader_names}),
            runs=self.runs,
            task=task.name,
            lm=self._name,
            data={split: task.digest for split, task in self.tasks.items()},
            start=tuple(self.lm.tokenizer.convert_ids_to_tokens(self.lm.prefix_ids)),
            vocabulary_size=self.lm.vocab_embeds.shape[0],
            known_front=tuple(asdict(each) for each in task.known_front if each.lm == self._name),
            weight_bytes=sum(weight.nbytes for lm in (*self.lms, *self.readers) for weight in lm.model.parameters()),
            lm_source=self.lm.origin if len(self.lms) == 1 else _origins(self.lms),
            chat=template.fill("{input}", "{prompt}") if template.chat else "",
            prompts={each.optimizer: each.text for each in self.prompts},
        )

    def make(self, run: Run, listen: Callable[[Progress], None] = lambda step: None) -> RunResult:
        """Carry out and measure a run. An exception in the run gives a point with status "failed" and the error.

        Args:
            run: a run of this study.
            listen: receives the progress at every step. A `BaseException` that is not an `Exception`, raised by it, ends the
                run and is passed on.
        """
        for lm in (*self.lms, *self.readers):
            lm.memory.budget = memory_bytes(self.request.memory)  # an earlier run may have halved it
        try:
            optimizer, config = self.optimizers[run.optimizer]
            problem = self.problem(run, reports(lambda: problem, listen))
            result = run_optimizer(optimizer, problem, config)
            point = finite(measure(problem, result, self.readers, self.metrics))
            soft = as_safetensors(result.best.prompt.embeds) if isinstance(result.best.prompt, SoftPrompt) else None
            return RunResult(point, soft)
        except (Exception, SystemExit) as error:  # an optimizer may be user code that calls sys.exit
            return failed(run, self.tasks[run.split].name, self._name, f"{type(error).__name__}: {error}")

    def forget(self) -> tuple[FrozenLM, ...]:
        """Return the models without the keys and values that they kept for this study."""
        for lm in self.lms:
            lm.memory = Memory(memory_bytes(self.request.memory))
        return self.lms

    @property
    def _name(self) -> str:
        return joint_name(self.lms)

    def problem(self, run: Run, progress: Callable[[float], None] | None = None, task: Task | None = None) -> Problem:
        """The problem that a run solves.

        Args:
            run: a run of this study.
            progress: receives the finished share of the search.
            task: a task in place of that of the run.
        """
        return Problem(
            task or self.tasks[run.split],
            self.lms,
            weight=run.weight,
            length_weight=self.request.length_weight,
            prompt_length=self.request.prompt_length,
            vocabulary=self._allowed,
            seed=run.seed,
            lm_tokens=self.request.lm_tokens,
            progress=progress,
            over=self.request.over,
        )


def _origins(lms: Sequence[FrozenLM]) -> dict[str, str]:
    return {f"{lm.name}.{key}": value for lm in lms for key, value in lm.origin.items()}


def failed(run: Run, task: str, lm: str, reason: str) -> RunResult:
    """The result of a failed run, with the reason in one line."""
    error = " ".join(reason.split()).encode(errors="backslashreplace").decode()
    point = {"optimizer": run.optimizer, "task": task, "lm": lm, "split": run.split, "seed": run.seed, "weight": run.weight}
    return RunResult(point | {"status": "failed", "error": error})


def reports(solved: Callable[[], Problem], listen: Callable[[Progress], None]) -> Callable[[float], None]:
    """What a problem calls with the finished share of its search: it passes a report of the progress on.

    Args:
        solved: returns the problem, which does not exist yet.
        listen: receives the reports.
    """
    reported = 0

    def report(share: float) -> None:
        nonlocal reported
        problem, best = solved(), solved().best
        added, reported = tuple(problem.curve[reported:]), len(problem.curve)
        objective, accuracy = (best.dev_objective, best.dev_accuracy) if best else (None, None)
        listen(Progress(share, problem.spent, objective, accuracy, added))

    return report
