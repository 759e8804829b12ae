"""Every error that hardprompt raises on purpose, each one line that says what was wrong and what to do.

HardpromptError
├── RequestError          the request was wrong (exit status 2)
│   ├── UnknownName       no such task, model, optimizer or option; names the nearest
│   ├── TaskError         a task that cannot be used as it is
│   │   └── DataError     with the file, and the line where there is one
│   ├── LMError           a model that cannot be loaded or does not fit
│   ├── ContextExceeded   an input longer than the model's context
│   └── StudyError        an output folder that cannot be used for this request
├── RunError              a run failed (exit status 1); the study goes on without it
└── RecordError           the record cannot be written, as on a full disk (exit status 1); what is recorded is whole
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HardpromptError(Exception):
    """Root of all errors raised on purpose."""


class RequestError(HardpromptError):
    """The request was wrong; the message says what to change.

    Attributes:
        about: the field of a study's request that it is about, and the place in it; empty where nobody said.
    """

    about: tuple[str | int, ...] = ()


@contextmanager
def about(*place: str | int) -> Iterator[None]:
    """Say of request errors in the block what they are about, unless it has been said.

    >>> with about("options", "pez"):
    ...     raise UnknownName("pez option", "step", ["steps"])
    Traceback (most recent call last):
    hardprompt.errors.UnknownName: no pez option 'step'; did you mean 'steps'? There are: steps
    """
    try:
        yield
    except RequestError as error:
        error.about = error.about or place
        raise


class UnknownName(RequestError):
    """A name that nothing answers to.

    >>> print(UnknownName("task", "plurel", ["plural", "category"]))
    no task 'plurel'; did you mean 'plural'? There are: category, plural
    """

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else "."
        there = f" There are: {', '.join(known)}" if known else " There are none"
        super().__init__(f"no {what} {name!r}{guess}{there}{hint}")


class TaskError(RequestError):
    """A task, template, label word or example that cannot be used."""


class DataError(TaskError):
    """A place in a file that cannot be used.

    Args:
        file: as it was given.
        line: counted from 1; None where it is about the whole file.
        problem: what is wrong there, and what to do.

    >>> print(DataError("mood.csv", 3, "text is empty"))
    mood.csv:3: text is empty
    """

    def __init__(self, file: object, line: int | None, problem: str) -> None:
        super().__init__(f"{file}: {problem}" if line is None else f"{file}:{line}: {problem}")
        self.file, self.line, self.problem = str(file), line, problem


class LMError(RequestError):
    """A language model that cannot be loaded or cannot serve."""


class ContextExceeded(RequestError):
    """An input longer than the model's context."""


class StudyError(RequestError):
    """An output folder that cannot be used for this request."""


class RunError(HardpromptError):
    """One run failed, for example because a loss became non-finite."""


class RecordError(HardpromptError):
    """The record cannot be written; what is recorded already is whole."""
