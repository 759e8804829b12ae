"""Standard output and standard error that never end a program.

A character that the encoding of the output does not have is written as an escape sequence (`\\u65e5`), output to a pipe that
nobody reads any more is dropped, and so is output to a full disk. A long study therefore goes on and keeps its record.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class ToleratedStream:
    """A text stream that drops what cannot be written.

    Attributes:
        failure: the error of the first text that was dropped, for example of a full disk; None if there was none, or if the
            reader of a pipe has gone, as in `hardprompt ls tasks | head -1`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        with self._failures_dropped():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, or drop them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        with self._failures_dropped():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _failures_dropped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and self.failure is None:
                self.failure = error
            with suppress(OSError, ValueError):  # a stream without a file
                _discard(self._stream.fileno())


@contextmanager
def tolerated_output() -> Iterator[tuple[ToleratedStream, ToleratedStream]]:
    """Make standard output and standard error tolerant in the block.

    Yields:
        Standard output and standard error.

    Example:
        >>> with tolerated_output() as (output, _):
        ...     print("never an error")
        never an error
        >>> output.failure is None
        True
    """
    _open_missing_files()
    before = sys.stdout, sys.stderr
    output, errors = (ToleratedStream(_escaping(stream, number)) for number, stream in enumerate(before, start=1))
    sys.stdout, sys.stderr = output, errors
    try:
        yield output, errors
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def _open_missing_files() -> None:
    """Open the null device in place of standard files that are closed; otherwise another file would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)


def _discard(number: int) -> None:
    """Make a file descriptor one of the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number, inheritable=True)
        os.close(null)
    else:
        os.set_inheritable(number, True)


def _escaping(stream: Any, number: int) -> Any:
    """The stream, which escapes the characters that its encoding does not have; a new one if there is none."""
    if stream is None:
        return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream
