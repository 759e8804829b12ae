"""A study that is ready to run: its task, model and readers are loaded and checked, and each of its runs can be made.

Nothing here is written to disk and nothing waits for anything else, so that it works alike in the process of the study, in
others, and on other machines. What is made of a run depends on the request and the run alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hardprompt.errors import about
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.memory import Memory, memory_bytes
from hardprompt.optimizers import Problem, run_optimizer
from hardprompt.prompt import SoftPrompt
from hardprompt.records.request import Run, StudyRequest
from hardprompt.study.loading import load_metrics, load_model, load_optimizers, load_readers, load_tasks
from hardprompt.study.measure import finite, measure
from hardprompt.study.planner import plan


@dataclass(frozen=True)
class StudyInfo:
    """What a record must know of its study's task and model before it can begin.

    Attributes:
        request: as it is recorded, with every option and reader by name.
        runs: all of them, in order.
        task, lm: their names.
        data: the digest of the task in each split.
        vocabulary_size: of the model.
        known_front: points of the task's true front for this model, where it is known.
        weight_bytes: of the model and its readers.
    """

    request: StudyRequest
    runs: tuple[Run, ...]
    task: str
    lm: str
    data: dict[str, str]
    vocabulary_size: int
    known_front: tuple[dict[str, Any], ...] = ()
    weight_bytes: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        share: of its work, 0 to 1.
        lm_tokens: logical LM tokens so far.
        dev_objective, dev_accuracy: of the best prompt so far, on dev; None where none was visited.
    """

    share: float
    lm_tokens: int
    dev_objective: float | None = None
    dev_accuracy: float | None = None


@dataclass(frozen=True)
class RunResult:
    """What came of a run: its line of the record, and the vectors of a soft prompt as a safetensors file."""

    point: dict[str, Any]
    soft: bytes | None = None


class LoadedStudy:
    """A study's task, models and optimizers, loaded.

    Args:
        request: what is asked for.
        lm: the model, where it is loaded already.

    Raises:
        RequestError: the request cannot be run; `about` says which of its fields is wrong.
    """

    def __init__(self, request: StudyRequest, lm: FrozenLM | None = None) -> None:
        self.request = request
        self.optimizers = load_optimizers(request)
        self.metrics = load_metrics(request)
        with about("task"):
            self.tasks = load_tasks(request)
        with about("lm"):
            self.lm = lm or load_model(request)
        with about("readers"):
            self.readers: Sequence[FrozenLM] = load_readers(request)
        with about("vocabulary"):
            self._allowed = allowed_vocabulary(self.lm, request.vocabulary)
        self.runs = tuple(plan(request, self.optimizers))
        for first in {run.split: run for run in reversed(self.runs)}.values():
            with about("task"):
                problem = self._problem(first)
            for name, (optimizer, config) in self.optimizers.items():
                with about("options", name):
                    optimizer.check(problem, config)

    @property
    def opened(self) -> StudyInfo:
        """What the record must know."""
        chosen = {name: config.model_dump(mode="json", exclude_unset=True) for name, (_, config) in self.optimizers.items()}
        options = {name: given for name, given in chosen.items() if given}
        task = next(iter(self.tasks.values()))
        return StudyInfo(
            request=self.request.model_copy(update={"options": options, "readers": self.request.reader_names}),
            runs=self.runs,
            task=task.name,
            lm=self.lm.name,
            data={split: task.digest for split, task in self.tasks.items()},
            vocabulary_size=self.lm.vocab_embeds.shape[0],
            known_front=tuple(asdict(each) for each in task.known_front if each.lm == self.lm.name),
            weight_bytes=sum(weight.nbytes for lm in (self.lm, *self.readers) for weight in lm.model.parameters()),
        )

    def make(self, run: Run, listen: Callable[[Progress], None] = lambda step: None) -> RunResult:
        """One run, made and measured; whatever goes wrong in it is a point with its error.

        Args:
            run: one of this study's.
            listen: told how far it has come, at every step; what it raises beside an `Exception` ends the run.
        """
        for lm in (self.lm, *self.readers):
            lm.memory.budget = memory_bytes(self.request.memory)  # a run before this one may have had to halve it
        optimizer, config = self.optimizers[run.optimizer]
        try:
            problem = self._problem(run, lambda share: listen(_step(problem, share)))
            result = run_optimizer(optimizer, problem, config)
            point = finite(measure(problem, result, self.readers, self.metrics))
            soft = _as_file(result.best.prompt) if isinstance(result.best.prompt, SoftPrompt) else None
            return RunResult(point, soft)
        except (Exception, SystemExit) as error:  # of a user's own code too
            return failed(run, self.tasks[run.split].name, self.lm.name, f"{type(error).__name__}: {error}")

    def forget(self) -> FrozenLM:
        """The model, without what it has kept for this study."""
        self.lm.memory = Memory(memory_bytes(self.request.memory))
        return self.lm

    def _problem(self, run: Run, progress: Callable[[float], None] | None = None) -> Problem:
        return Problem(
            self.tasks[run.split],
            self.lm,
            weight=run.weight,
            prompt_length=self.request.prompt_length,
            vocabulary=self._allowed,
            seed=run.seed,
            lm_tokens=self.request.lm_tokens,
            progress=progress,
        )


def failed(run: Run, task: str, lm: str, reason: str) -> RunResult:
    """The point of a run that came to nothing, with the reason in one line."""
    said = " ".join(reason.split()).encode(errors="backslashreplace").decode()
    of_run = {"optimizer": run.optimizer, "task": task, "lm": lm, "split": run.split, "seed": run.seed}
    return RunResult(of_run | {"weight": run.weight, "status": "failed", "error": said})


def _step(problem: Problem, share: float) -> Progress:
    best = problem.best
    return Progress(share, problem.spent, *((best.dev_objective, best.dev_accuracy) if best else ()))


def _as_file(prompt: SoftPrompt) -> bytes:
    from safetensors.torch import save

    return save({"embeds": prompt.embeds.detach().cpu().contiguous()})
