"""Every error that hardprompt raises on purpose. Each message is one line: what is wrong, what was expected, what to do.

HardpromptError
├── RequestError          the request is wrong (exit status 2)
│   ├── UnknownName       no task, model, optimizer or option has this name
│   ├── TaskError         a task cannot be used
│   │   └── DataError     a place in a file cannot be used
│   ├── LMError           a model cannot be loaded, or does not fit into memory
│   ├── ContextExceeded   an input is longer than the model's context
│   └── StudyError        an output folder cannot be used for this request
├── RunError              a run failed (exit status 1); the study continues without it
└── RecordError           the record cannot be written (exit status 1); finished runs stay recorded
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HardpromptError(Exception):
    """Base class of all errors that hardprompt raises on purpose."""


class RequestError(HardpromptError):
    """The request is wrong; the message explains what to change.

    Attributes:
        about: the field of a `StudyRequest` that is wrong, and the place inside it; empty where it is unknown.
    """

    about: tuple[str | int, ...] = ()


@contextmanager
def about(*place: str | int) -> Iterator[None]:
    """Set `about` of every request error that is raised in the block and has none yet.

    >>> with about("options", "pez"):
    ...     raise UnknownName("pez option", "step", ["steps"])
    Traceback (most recent call last):
    hardprompt.errors.UnknownName: no pez option 'step'; did you mean 'steps'? Available: steps
    """
    try:
        yield
    except RequestError as error:
        error.about = error.about or place
        raise


class UnknownName(RequestError):
    """A name that does not exist; the message gives the closest known name.

    Args:
        what: the kind of name, such as "task".
        name: the unknown name.
        known: all names of that kind.
        hint: text that follows the list of known names.

    >>> print(UnknownName("task", "plurel", ["plural", "category"]))
    no task 'plurel'; did you mean 'plural'? Available: category, plural
    """

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else "."
        super().__init__(f"no {what} {name!r}{guess} Available: {', '.join(known) or 'none'}{hint}")


class TaskError(RequestError):
    """A task, template, label word or example that cannot be used."""


class DataError(TaskError):
    """A place in a file that cannot be used.

    Args:
        file: the path of the file, as the user gave it.
        line: the line, counted from 1; None if the problem concerns the whole file.
        problem: what is wrong, and what to do.

    >>> print(DataError("mood.csv", 3, "text is empty"))
    mood.csv:3: text is empty
    """

    def __init__(self, file: object, line: int | None, problem: str) -> None:
        super().__init__(f"{file}: {problem}" if line is None else f"{file}:{line}: {problem}")
        self.file, self.line, self.problem = str(file), line, problem


class LMError(RequestError):
    """A language model that cannot be loaded or used."""


class ContextExceeded(RequestError):
    """An input that is longer than the model's context."""


class StudyError(RequestError):
    """An output folder that cannot be used for this request."""


class RunError(HardpromptError):
    """One run failed, for example because its loss became infinite."""


class RecordError(HardpromptError):
    """The record cannot be written, for example because the disk is full; finished runs stay recorded."""
