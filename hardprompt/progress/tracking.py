"""A listener that passes the progress of studies on to trackers (`hardprompt.progress.trackers`)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hardprompt.errors import RequestError, UnknownName
from hardprompt.progress.trackers import TRACKERS, TrackedRun, Tracker
from hardprompt.report.prompt_tables import flat
from hardprompt.study.engine import Job, Listener, SilentListener
from hardprompt.study.loaded_study import Progress
from hardprompt.study.loading import log_warnings

ROOT = Path("hardprompt-tracking")
"""The parent of the default folders of trackers."""

NOT_RESULTS = ("weight", "seed", "config", "overlap", "inputs_cut", "rows_skipped")
"""Keys of a record that are settings or facts about the data; the other numbers are the final metrics."""


class Tracking:
    """A listener that records runs with trackers and passes all events on to another listener; use it as a context manager.

    A run has the curves `dev/objective` (nats per example) and `dev/accuracy` of its best prompt so far, and `search/NAME` for
    each value of its learning curve (`Problem.note`), over logical LM tokens. At its end it has `test/accuracy`,
    `test/accuracy_as_text`, and every number of its record as `final/KEY`. At the end of the block the pages of the studies
    follow. A tracker that fails is left out from then on, with a warning; the studies go on.

    Args:
        targets: trackers, each as NAME or NAME=FOLDER, with a name of `TRACKERS`. The default folder is
            `hardprompt-tracking/NAME`.
        other: the listener that receives all events as well.

    Raises:
        UnknownName: there is no tracker of a name.
        RequestError: the package of a tracker is not installed, or its folder cannot be written to.

    Example:
        >>> import hardprompt as hp
        >>> request = hp.StudyRequest.make(task="plural", optimizers=("manual",), seeds=(0,))
        >>> with Tracking(["csv=curves"]) as listener:
        ...     _ = hp.compare(request, "plural-study", listener)
        >>> sorted(file.name for file in Path("curves/plural-study/0-plural-microworld/manual,0,default,0").iterdir())
        ['curves.csv', 'run.csv']
    """

    def __init__(self, targets: Sequence[str], other: Listener | None = None) -> None:
        self._other = other or SilentListener()
        self._trackers = {target: open_tracker(target) for target in dict.fromkeys(targets)}
        self._runs: dict[Job, dict[str, TrackedRun]] = {}
        self._folder: Path | None = None

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *exception: object) -> None:
        for job in list(self._runs):
            self._finish(job, 0, {}, {"status": "stopped"})
        if self._folder is None:
            return
        experiment = self._experiment
        for page in sorted([*self._folder.glob("report.html"), *self._folder.glob("*/report.html")]):
            name = page.resolve().parent.name
            for target in list(self._trackers):
                self._attempt(target, partial(self._trackers[target].page, experiment, name, page))

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        """Remember the folder, which names the experiment."""
        self._folder = folder
        self._other.planned(folder, jobs, recorded)

    def noted(self, text: str) -> None:
        """Pass the event on."""
        self._other.noted(text)

    def started(self, job: Job) -> None:
        """Start to record a run."""
        self._other.started(job)
        self._runs[job] = runs = {}
        names = self._experiment, _name(f"{job.study}-{job.task}-{job.lm}"), _name(_run_name(job))
        for target in list(self._trackers):
            run = self._attempt(target, partial(self._trackers[target].start, *names, _config(job)))
            if run is not None:
                runs[target] = run

    def advanced(self, job: Job, step: Progress) -> None:
        """Add to the curves of a run."""
        self._other.advanced(job, step)
        points = [(round(each["lm_tokens"]), _search_values(each)) for each in step.curve]
        if step.dev_accuracy is not None and step.dev_objective is not None:
            points.append((step.lm_tokens, {"dev/objective": step.dev_objective, "dev/accuracy": step.dev_accuracy}))
        for target, run in list(self._runs[job].items()):
            for lm_tokens, values in points:
                self._attempt(target, partial(run.log, lm_tokens, values))

    def finished(self, job: Job, point: dict[str, Any]) -> None:
        """Record the results of a run."""
        self._other.finished(job, point)
        if point["status"] != "ok":
            self._finish(job, 0, {}, {"status": point["status"], "error": point["error"]})
            return
        as_text = {"test/accuracy": point["test_accuracy"], "test/accuracy_as_text": point["deployed_test_accuracy"]}
        spent = point["lm_tokens_forward"] + point["lm_tokens_backward"]
        self._finish(job, spent, as_text | final_metrics(point), {"status": "ok", "prompt_text": point["prompt_text"]})

    def _finish(self, job: Job, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        for target, run in self._runs.pop(job).items():
            self._attempt(target, partial(run.finish, lm_tokens, values, texts))

    def _attempt(self, target: str, call: Callable[[], TrackedRun | None]) -> TrackedRun | None:
        """Call a tracker unless it has failed; if it fails now, it is left out from now on."""
        if target not in self._trackers:
            return None
        try:
            return call()
        except Exception as error:  # whatever happens in a tracker, the runs go on
            del self._trackers[target]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log_warnings([f"tracking with {target} stops, and the runs go on: {reason}"])
            return None

    @property
    def _experiment(self) -> str:
        """The name of the folder of the studies."""
        return self._folder.resolve().name if self._folder else "optimize"


def open_tracker(target: str) -> Tracker:
    """A tracker that is given as NAME or NAME=FOLDER; its folder is created.

    Raises:
        UnknownName: there is no tracker of this name.
        RequestError: its package is not installed or does not start, or its folder cannot be written to.

    Example:
        >>> open_tracker("tensorbord")
        Traceback (most recent call last):
        hardprompt.errors.UnknownName: no tracker 'tensorbord'; did you mean 'tensorboard'? Available: csv, mlflow, ...
    """
    name, _, given = target.partition("=")
    if name not in TRACKERS:
        raise UnknownName("tracker", name, TRACKERS)
    folder = Path(given or ROOT / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(f"cannot write to the folder {folder} ({reason}); choose another one: {name}=FOLDER") from error
    try:
        return TRACKERS[name](folder)
    except ImportError as error:
        raise RequestError(f"{name} is not installed; install it with: pip install 'hardprompt[{name}]'") from error
    except Exception as error:  # of the package, for example because of its settings in the environment
        raise RequestError(f"{name} does not start: {' '.join(str(error).split())}") from error


def final_metrics(point: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in the record of a run, as `final/KEY`.

    >>> final_metrics({"test_accuracy": 0.5, "seed": 1, "prompt_text": "a", "faithfulness": {"kl": 2.0, "reason": "b"}})
    {'final/test_accuracy': 0.5, 'final/faithfulness.kl': 2.0}
    """
    numbers = flat({key: value for key, value in point.items() if key not in NOT_RESULTS})
    return {f"final/{key}": value for key, value in numbers.items() if type(value) in (int, float)}


def _search_values(point: Mapping[str, float]) -> dict[str, float]:
    return {f"search/{name}": value for name, value in point.items() if name != "lm_tokens"}


def _config(job: Job) -> dict[str, Any]:
    request, run = job.request, job.run
    of_request = {name: getattr(request, name) for name in ("prompt_length", "lm_tokens", "vocabulary")}
    options = {f"options.{name}": value for name, value in request.options.get(run.optimizer, {}).items()}
    of_run = {"optimizer": run.optimizer, "weight": run.weight, "split": run.split, "seed": run.seed}
    return {"task": job.task, "lm": job.lm} | of_run | of_request | options


def _run_name(job: Job) -> str:
    return f"{job.run.optimizer},{job.run.weight:g},{job.run.split},{job.run.seed}"


def _name(text: str) -> str:
    """A name that is one part of a path."""
    return text.replace("/", "--")
