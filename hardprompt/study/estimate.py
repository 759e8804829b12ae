"""What the studies of a recipe cost, estimated before anything runs: time, LM tokens, memory and disk.

Each model is measured for about ten seconds on its first study: every optimizer runs for a share of this time, and its
progress gives the time and the LM tokens of a whole run. The time of a GPU is computed from the LM tokens and the published
speed of that GPU (`gpus.py`); it is not measured.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hardprompt.errors import RequestError, RunError
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.optimizers.archive import front_of
from hardprompt.records.request import Run
from hardprompt.study.cancellation import Cancellation
from hardprompt.study.engine import InProcess, limited_threads
from hardprompt.study.gpus import GPU, flops
from hardprompt.study.loaded_study import LoadedStudy
from hardprompt.study.measure import joint_name, measure
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import Recipe, read_recipe
from hardprompt.study.resources import PROCESS_BYTES, MachineResources, process_count, scoring_bytes
from hardprompt.study.runner import folder_of, open_planned

CALIBRATION_SECONDS = 10.0
"""Seconds for which the optimizers of a model run in a calibration."""

RUN_BYTES = 6_000
"""Bytes of a line of the record (`runs/quick`: 99,183 bytes for 22 runs, of which two have a front)."""

REPORT_BYTES = 500_000
"""Bytes of the report and the pictures of a study, rounded up (`runs/plan.md`)."""


@dataclass(frozen=True)
class RunCost:
    """The expected cost of a run.

    Attributes:
        forward, backward: logical LM tokens of the search.
        search_seconds: time of the search on this machine.
        measure_seconds: time to measure what it finds.
    """

    forward: float
    backward: float
    search_seconds: float
    measure_seconds: float

    @property
    def seconds(self) -> float:
        """Time of the run on this machine."""
        return self.search_seconds + self.measure_seconds

    def times(self, factor: float) -> "RunCost":
        """The cost of a run whose search is longer by a factor."""
        return RunCost(self.forward * factor, self.backward * factor, self.search_seconds * factor, self.measure_seconds)

    def gpu_seconds(self, gpu: GPU, parameters: int, dtype: str) -> float:
        """Time on a GPU; measuring takes the same share of it as on this machine."""
        search = flops(self.forward, self.backward, parameters) / gpu.flops_per_second(dtype)
        return search * self.seconds / self.search_seconds if self.search_seconds else search


@dataclass(frozen=True)
class StudyEstimate:
    """The expected cost of the runs of a study that are not recorded yet.

    Attributes:
        folder: the folder of the study.
        task, lm: names of the task and the model.
        runs: number of runs of the study.
        recorded: how many of them are recorded already.
        lm_tokens: logical LM tokens of the others.
        hours: their time on this machine, one after another.
        gpu_hours: their time on the GPU, one after another; None if no GPU is given.
        disk_bytes: what they add to the record.
    """

    folder: str
    task: str
    lm: str
    runs: int
    recorded: int
    lm_tokens: int
    hours: float
    gpu_hours: float | None
    disk_bytes: int


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a recipe on this machine, and on a GPU if one is given.

    Attributes:
        studies: each study.
        processes: the number of runs at the same time on this machine.
        hours: the time on this machine, with all processes.
        gpu: the name of the GPU, or None.
        gpu_hours: the time on one such GPU: an estimate from its published speed.
        memory_bytes: memory of all processes on this machine: weights, budgets for scoring and libraries.
        gpu_memory_bytes: memory of the GPU that one run needs, or None.
        lm_tokens_per_second: by model, the measured logical LM tokens per second of searches without gradients (`forward`) and
            with gradients (`with_gradients`) in one process; None if no optimizer of the recipe searches in this way.
    """

    studies: tuple[StudyEstimate, ...]
    processes: int
    hours: float
    gpu: str | None
    gpu_hours: float | None
    memory_bytes: int
    gpu_memory_bytes: int | None
    lm_tokens_per_second: dict[str, dict[str, float | None]]

    @property
    def runs(self) -> int:
        """Number of runs that are not recorded yet."""
        return sum(study.runs - study.recorded for study in self.studies)

    @property
    def disk_bytes(self) -> int:
        """What the runs add to the records."""
        return sum(study.disk_bytes for study in self.studies)

    @property
    def lm_tokens(self) -> int:
        """Logical LM tokens of these runs."""
        return sum(study.lm_tokens for study in self.studies)

    def as_json(self) -> dict[str, Any]:
        """The attributes and totals, for `hardprompt plan --json`."""
        totals = {"runs": self.runs, "lm_tokens": self.lm_tokens, "disk_bytes": self.disk_bytes}
        return totals | asdict(self) | {"studies": [asdict(study) for study in self.studies]}

    def refuse_above(self, max_hours: float) -> None:
        """Raise RequestError if the runs take longer: on the GPU if one is given, otherwise on this machine."""
        hours, where = (self.hours, "on this machine") if self.gpu_hours is None else (self.gpu_hours, f"on a {self.gpu}")
        if hours > max_hours:
            raise RequestError(
                f"the {self.runs} runs take about {hours:.3g} hours {where}, more than --max-hours {max_hours:g}; "
                "allow more hours, or reduce lm_tokens, seeds or weights"
            )


def estimate(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    gpu: str | None = None,
    retry_failed: bool = False,
) -> Estimate:
    """Estimate what the runs of a recipe cost that are not recorded yet.

    Everything is loaded and checked as by `run`, nothing is written, and each model is measured for about ten seconds.

    Args:
        recipe: the file, or what `read_recipe` returns.
        out: the folder of the studies, as for `run`; runs that are recorded there are not counted.
        jobs: the number of runs at the same time; by default as many as cores and memory allow.
        gpu: the name of a GPU (`hardprompt.study.gpus.GPUS`), whose time is computed from its published speed.
        retry_failed: count the runs that are recorded as failed.

    Raises:
        RequestError: if a part of the recipe cannot be run, a folder cannot be used, or there is no such GPU; also if no budget
            limits a run.
        RunError: if an optimizer fails in the calibration.

    Example:
        >>> found = estimate("runs/quick.yaml", jobs=1)     # doctest: +SKIP
        >>> found.runs, round(found.hours * 60)             # doctest: +SKIP
        (20, 2)
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    chosen = GPU.named(gpu) if gpu else None
    planned = planned_studies(recipe)
    engine, costs = InProcess(recipe.threads), Calibration()
    estimates: list[StudyEstimate] = []
    infos, longest, peak = [], 0.0, 0
    with Cancellation() as cancellation:
        for opened in open_planned(recipe, planned, folder_of(recipe, out), engine, cancellation):
            request, info = opened.request, opened.info
            done = opened.recorded_runs(recipe.threads, retry_failed)
            missing = [run for run in info.runs if run not in done]
            with cancellation.interruptible(), limited_threads(recipe.threads):
                study = engine.load(request)
                each = [costs.of(study, run) for run in missing]
            size = sum(weight.numel() for lm in study.lms for weight in lm.model.parameters()) // len(study.lms)
            longest = max([longest, *(cost.seconds for cost in each)])
            infos.append(info)
            peak = max(peak, info.weight_bytes + scoring_bytes(request))
            soft_bytes = 4 * request.prompt_length * study.lm.vocab_embeds.shape[1]
            estimates.append(
                StudyEstimate(
                    folder=str(opened.folder),
                    task=info.task,
                    lm=info.lm,
                    runs=len(info.runs),
                    recorded=len(info.runs) - len(missing),
                    lm_tokens=round(sum(cost.forward + cost.backward for cost in each)),
                    hours=sum(cost.seconds for cost in each) / 3600,
                    gpu_hours=None
                    if chosen is None
                    else sum(cost.gpu_seconds(chosen, size, request.dtype) for cost in each) / 3600,
                    disk_bytes=len(missing) * (RUN_BYTES + soft_bytes) + (REPORT_BYTES if missing else 0),
                )
            )
    runs = sum(study.runs - study.recorded for study in estimates)
    processes, _ = process_count(jobs, MachineResources.detect(), infos, max(1, runs), recipe.threads)
    return Estimate(
        studies=tuple(estimates),
        processes=processes,
        hours=max(sum(study.hours for study in estimates) / processes, longest / 3600),
        gpu=None if chosen is None else chosen.name,
        gpu_hours=None if chosen is None else sum(study.gpu_hours or 0.0 for study in estimates),
        memory_bytes=processes * (peak + PROCESS_BYTES),
        gpu_memory_bytes=None if chosen is None else peak,
        lm_tokens_per_second=costs.speeds,
    )


class Calibration:
    """Measures what the runs of studies cost.

    Attributes:
        speeds: by model, the logical LM tokens per second of searches without and with gradients.
    """

    def __init__(self) -> None:
        self.speeds: dict[str, dict[str, float | None]] = {}
        self._costs: dict[tuple[Any, ...], tuple[int | None, RunCost]] = {}

    def of(self, study: LoadedStudy, run: Run) -> RunCost:
        """The expected cost of a run of a study.

        A run is like another with the same model, optimizer and options. Its search is as many times longer as its budget is
        larger.
        """
        request = study.request
        model = tuple(getattr(request, name) for name in ("lm", "other_lms", "start", "device", "dtype", "memory"))
        key = (*model, run.optimizer, study.optimizers[run.optimizer][1].model_dump_json())
        if key not in self._costs:
            self._measure(study, key)
        budget, cost = self._costs[key]
        return cost.times(request.lm_tokens / budget) if request.lm_tokens and budget else cost

    def _measure(self, study: LoadedStudy, key: tuple[Any, ...]) -> None:
        *model, name, _ = key
        run = max((run for run in study.runs if run.optimizer == name), key=lambda run: run.weight)
        measuring = self._costs.get((*model, "measuring"))
        if measuring is None:
            measuring = None, RunCost(0, 0, 0, _measure_seconds(study, run))
            self._costs[*model, "measuring"] = measuring
        cost, members = _search_cost(study, run, CALIBRATION_SECONDS / len(study.optimizers))
        self._costs[key] = study.request.lm_tokens, replace(cost, measure_seconds=members * measuring[1].measure_seconds)
        speeds = self.speeds.setdefault(joint_name(study.lms), {"forward": None, "with_gradients": None})
        kind, speed = "with_gradients" if cost.backward else "forward", (cost.forward + cost.backward) / cost.search_seconds
        speeds[kind] = max(speed, speeds[kind] or 0.0)


class _EnoughMeasured(BaseException):
    """Ends a search; it is not an `Exception`, so that no optimizer takes it for a failure of its own."""


def _search_cost(study: LoadedStudy, run: Run, seconds: float) -> tuple[RunCost, int]:
    """The expected cost of the search of a run, measured for some seconds, and the number of prompts to measure after it."""
    began = time.perf_counter()
    marks: list[tuple[float, RunCost]] = []

    def spent() -> RunCost:
        return RunCost(problem.counter.forward, problem.counter.backward, time.perf_counter() - began, 0.0)

    def listen(share: float) -> None:
        marks.append((share, spent()))
        if len(marks) >= 3 and marks[-1][1].search_seconds >= seconds:
            raise _EnoughMeasured

    problem = study.problem(run, listen)
    optimizer, config = study.optimizers[run.optimizer]
    try:
        run_optimizer(optimizer, problem, config)
        return spent(), _members(study, problem, run)
    except _EnoughMeasured:
        return _extrapolated(run, marks), _members(study, problem, run)
    except (Exception, SystemExit) as error:  # an optimizer may be user code
        raise RunError(" ".join(f"{run} fails when it is measured: {type(error).__name__}: {error}".split())) from error


def _members(study: LoadedStudy, problem: Problem, run: Run) -> int:
    return max(1, len(front_of(problem.candidates))) if study.optimizers[run.optimizer][0].finds_front else 1


def _extrapolated(run: Run, marks: Sequence[tuple[float, RunCost]]) -> RunCost:
    """The cost of a whole search from its progress.

    What comes before the first report is counted once; the rest grows with the finished share of the search.

    Args:
        run: the run, for messages.
        marks: the finished share and the cost so far at each report.
    """
    (first, before), (share, cost) = marks[0], marks[-1]
    if share <= first:
        first, before = 0.0, RunCost(0, 0, 0, 0)
    if share <= 0:
        raise RequestError(
            f"no budget limits {run}, so its time cannot be estimated; give lm_tokens, or an option for its steps"
        )
    factor = (1.0 - first) / (share - first)
    return RunCost(
        before.forward + factor * (cost.forward - before.forward),
        before.backward + factor * (cost.backward - before.backward),
        before.search_seconds + factor * (cost.search_seconds - before.search_seconds),
        0.0,
    )


def _measure_seconds(study: LoadedStudy, run: Run) -> float:
    """The expected time to measure one prompt, from growing numbers of test examples: linear in their number."""
    whole = study.tasks[run.split]
    sizes, seconds = [0], [0.0]
    while sizes[-1] < len(whole.test) and (len(sizes) < 3 or seconds[-1] < CALIBRATION_SECONDS / 10):
        sizes.append(min(max(2, 4 * sizes[-1]), len(whole.test)))
        problem = study.problem(run, task=replace(whole, test=whole.test[: sizes[-1]]))
        random = load_optimizer("random")
        result = run_optimizer(random, problem, random.configure({"prompts": 1}))
        began = time.perf_counter()
        measure(problem, result, study.readers, study.metrics)
        seconds.append(time.perf_counter() - began)
    growth = (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2])
    return seconds[-1] + max(0.0, growth) * (len(whole.test) - sizes[-1])
