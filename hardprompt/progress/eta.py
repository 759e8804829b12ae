"""The speed of studies, in logical LM tokens per second, and the estimated time left. Callers pass the time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress


@dataclass
class Eta:
    """Estimates the time left from the events of a listener.

    Attributes:
        unfinished: the jobs that are not finished, including the running ones.
        running: by running job, the time when it started (in seconds) and its progress.
    """

    unfinished: list[Job] = field(default_factory=list)
    running: dict[Job, tuple[float, Progress]] = field(default_factory=dict)
    _started: float | None = None
    _tokens: int = 0
    _durations: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    _most_running: int = 1

    def planned(self, jobs: Sequence[Job]) -> None:
        """Register the jobs that follow."""
        self.unfinished = list(jobs)

    def started(self, job: Job, now: float) -> None:
        """Register that a run has started."""
        self._started = now if self._started is None else self._started
        self.running[job] = now, Progress(0.0, 0)
        self._most_running = max(self._most_running, len(self.running))

    def advanced(self, job: Job, step: Progress) -> None:
        """Register the progress of a run."""
        self.running[job] = self.running[job][0], step

    def finished(self, job: Job, point: dict[str, Any], now: float) -> None:
        """Register that a run has been recorded."""
        started, step = self.running.pop(job)
        self.unfinished.remove(job)
        self._tokens += point.get("lm_tokens_forward", step.lm_tokens) + point.get("lm_tokens_backward", 0)
        self._durations.setdefault(_kind(job), []).append(now - started)

    def tokens_per_second(self, now: float) -> float:
        """Logical LM tokens per second of all processes together since the first run started; 0 before that."""
        if self._started is None or now <= self._started:
            return 0.0
        return (self._tokens + sum(step.lm_tokens for _, step in self.running.values())) / (now - self._started)

    def seconds_left(self, now: float) -> float | None:
        """The estimated time until all runs are finished, in seconds; None if there is nothing to estimate it from.

        The expected duration of a run is the mean duration of the runs with the same optimizer, model and task, or, if there
        are none, with fewer of these in common.
        """
        known = {kind: sum(seconds) / len(seconds) for kind, seconds in self._durations.items()}
        for job, (started, step) in self.running.items():
            if step.share >= 0.05:
                known.setdefault(_kind(job), (now - started) / step.share)
        if not known:
            return None
        total = sum(_expected(job, known) for job in self.unfinished)
        total -= sum(step.share * _expected(job, known) for job, (_, step) in self.running.items())
        return total / self._most_running


def _kind(job: Job) -> tuple[str, str, str]:
    return job.run.optimizer, job.lm, job.task


def _expected(job: Job, known: dict[tuple[str, str, str], float]) -> float:
    """The expected duration of a run in seconds: the mean over the most similar kinds of runs."""
    kind = _kind(job)
    for shared in range(len(kind), -1, -1):
        if similar := [seconds for other, seconds in known.items() if other[:shared] == kind[:shared]]:
            return sum(similar) / len(similar)
    raise AssertionError("there is no known kind")
