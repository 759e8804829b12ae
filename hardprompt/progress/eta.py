"""How fast studies go: logical LM tokens per second, and the time that is left. Times are given, never read from a clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress


@dataclass
class Eta:
    """What was seen so far.

    Attributes:
        left: jobs that are not finished, those at work among them.
        at_work: when each of them began, in seconds, and how far it has come.
    """

    left: list[Job] = field(default_factory=list)
    at_work: dict[Job, tuple[float, Progress]] = field(default_factory=dict)
    _began: float | None = None
    _tokens: int = 0
    _took: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    _at_once: int = 1

    def planned(self, jobs: Sequence[Job]) -> None:
        """These are to be made."""
        self.left = list(jobs)

    def started(self, job: Job, now: float) -> None:
        """A run begins."""
        self._began = now if self._began is None else self._began
        self.at_work[job] = now, Progress(0.0, 0)
        self._at_once = max(self._at_once, len(self.at_work))

    def advanced(self, job: Job, step: Progress) -> None:
        """A run has come so far."""
        self.at_work[job] = self.at_work[job][0], step

    def finished(self, job: Job, point: dict[str, Any], now: float) -> None:
        """A run is recorded."""
        began, step = self.at_work.pop(job)
        self.left.remove(job)
        self._tokens += point.get("lm_tokens_forward", step.lm_tokens) + point.get("lm_tokens_backward", 0)
        self._took.setdefault(_kind(job), []).append(now - began)

    def tokens_per_second(self, now: float) -> float:
        """Logical LM tokens of all processes together, since the first run began; 0 before."""
        if self._began is None or now <= self._began:
            return 0.0
        return (self._tokens + sum(step.lm_tokens for _, step in self.at_work.values())) / (now - self._began)

    def seconds_left(self, now: float) -> float | None:
        """What the runs that are left will take, as those of the same optimizer, task and model did, or else as all did.

        None where nothing is known yet.
        """
        known = {kind: sum(took) / len(took) for kind, took in self._took.items()}
        for job, (began, step) in self.at_work.items():
            if step.share >= 0.05:
                known.setdefault(_kind(job), (now - began) / step.share)
        if not known:
            return None
        total = sum(_expected(job, known) for job in self.left)
        total -= sum(step.share * _expected(job, known) for job, (_, step) in self.at_work.items())
        return total / self._at_once


def _kind(job: Job) -> tuple[str, str, str]:
    return job.run.optimizer, job.lm, job.task


def _expected(job: Job, known: dict[tuple[str, str, str], float]) -> float:
    """Seconds of a run: the mean over those that are most like it."""
    kind = _kind(job)
    for alike in range(len(kind), -1, -1):
        if fitting := [seconds for other, seconds in known.items() if other[:alike] == kind[:alike]]:
            return sum(fitting) / len(fitting)
    raise AssertionError("all are alike in nothing")
