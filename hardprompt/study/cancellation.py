"""Why a study ends before its time: a signal, a time limit, or a file that somebody puts into its folder."""

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hardprompt.records.lock import STOP_FILE

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_EVERY = 0.2
"""Seconds between two looks for the file."""


class Cancelled(BaseException):
    """A study is to end now; no `Exception`, so that no run takes it for a failure of its own."""


class Cancellation:
    """Says when a study is to end; as a context manager it listens to Ctrl-C and SIGTERM.

    The first signal drops what is being computed, but never cuts the writing of a record; a second one ends the program at
    once, as usual. In other threads than the main one there are no signals.

    Args:
        timeout: seconds, counted from now.

    Attributes:
        reason: why it is to end; empty as long as it is not.
        interrupted: whether that was a signal.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.reason = ""
        self.interrupted = False
        self._folders: list[Path] = []
        self._timeout = timeout
        self._started = self._looked = time.monotonic()
        self._droppable = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Cancellation":
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a job in the background has it
                try:
                    self._before[number] = signal.signal(number, self._signalled)
                except ValueError:  # not in the main thread
                    break
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def watch(self, folders: Iterable[Path]) -> None:
        """Look for the file in these folders; one that is there already is of an earlier study, and is taken away."""
        self._folders = list(folders)
        for folder in self._folders:
            (folder / STOP_FILE).unlink(missing_ok=True)

    def check(self) -> None:
        """Raise Cancelled where it is time."""
        now = time.monotonic()
        if self._timeout is not None and now - self._started >= self._timeout:
            self.reason = self.reason or f"the time limit of {self._timeout:g} s is reached"
        if now - self._looked >= LOOK_EVERY:
            for file in (folder / STOP_FILE for folder in self._folders):
                if file.exists():
                    file.unlink(missing_ok=True)
                    self.reason = self.reason or f"{file} was there"
            self._looked = time.monotonic()
        if self.reason:
            raise Cancelled(self.reason)

    @contextmanager
    def droppable(self) -> Iterator[None]:
        """What is done in the block may be dropped by a signal at any point."""
        self.check()
        self._droppable = True
        try:
            if self.interrupted:  # between the check and here
                raise Cancelled(self.reason)
            yield
        finally:
            self._droppable = False

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.reason, self.interrupted = "interrupted", True
        if self._droppable:
            raise Cancelled(self.reason)
