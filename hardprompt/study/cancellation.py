"""Stopping a study before all of it is done: by a signal, by a time limit, or by a file in its folder."""

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hardprompt.errors import RunError
from hardprompt.records.lock import STOP_FILE

SIGNALS = (signal.SIGINT, signal.SIGTERM)

POLL_SECONDS = 0.2
"""Seconds between two checks for the stop file."""


class Cancelled(BaseException):
    """Raised where a study must stop now. It is not an `Exception`, so that no run takes it for a failure of its own."""


class Cancellation:
    """Knows whether a study must stop; as a context manager it handles Ctrl-C and SIGTERM.

    The first signal ends the current computation, but never interrupts the writing of a record. A second signal raises
    KeyboardInterrupt at once. In threads other than the main one no signals are handled.

    Args:
        timeout: seconds from now after which the study must stop; None for no limit.

    Attributes:
        reason: why the study must stop; empty while it may continue.
        interrupted: whether the reason is a signal.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.reason = ""
        self.interrupted = False
        self._folders: list[Path] = []
        self._timeout = timeout
        self._started = self._polled = time.monotonic()
        self._interruptible = False
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Cancellation":
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # a background job ignores SIGINT
                try:
                    self._previous_handlers[number] = signal.signal(number, self._handle_signal)
                except ValueError:  # not in the main thread
                    break
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    def watch(self, folders: Iterable[Path]) -> None:
        """Look for the stop file in these folders. A file that is already there is deleted: it was for an earlier study."""
        self._folders = list(folders)
        for folder in self._folders:
            (folder / STOP_FILE).unlink(missing_ok=True)

    def check(self) -> None:
        """Raise Cancelled if the study must stop."""
        now = time.monotonic()
        if self._timeout is not None and now - self._started >= self._timeout:
            self.reason = self.reason or f"the time limit of {self._timeout:g} s is reached"
        if now - self._polled >= POLL_SECONDS:
            for file in (folder / STOP_FILE for folder in self._folders):
                if file.exists():
                    file.unlink(missing_ok=True)
                    self.reason = self.reason or f"stopped by the file {file}"
            self._polled = time.monotonic()
        if self.reason:
            raise Cancelled(self.reason)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal raise Cancelled at any point of the block."""
        self.check()
        self._interruptible = True
        try:
            if self.interrupted:  # between the check and here
                raise Cancelled(self.reason)
            yield
        finally:
            self._interruptible = False

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.reason, self.interrupted = "interrupted", True
        if self._interruptible:
            raise Cancelled(self.reason)


@contextmanager
def stoppable(folder: Path) -> Iterator[Cancellation]:
    """Handle signals and the stop file of one folder, for a study that runs in this process.

    Args:
        folder: the folder of the study.

    Raises:
        KeyboardInterrupt: if a signal ended the block.
        RunError: if the stop file ended it.
    """
    with Cancellation() as cancellation:
        cancellation.watch([folder])
        try:
            yield cancellation
        except Cancelled:
            if not cancellation.interrupted:
                raise RunError(f"{cancellation.reason}; the same command continues from there") from None
        if cancellation.interrupted:
            raise KeyboardInterrupt
