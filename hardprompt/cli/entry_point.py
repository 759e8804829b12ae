"""Running a verb, and the exit statuses.

Exit status: 0 done, 1 the job or some of its runs failed, 2 the request is wrong, 3 stopped before the end (a time limit or a
stop file), 130 interrupted.
"""

import logging
import os
import sys

import typer
import typer.rich_utils

from hardprompt.cli import catalogue, experiments, prompts, reports, search, tasks, transfer  # noqa: F401  (they add their verbs)
from hardprompt.cli.output import print_error, print_message, readable_width
from hardprompt.cli.verbs import GROUPS, app
from hardprompt.errors import HardpromptError, RequestError

FAILED, WRONG, INTERRUPTED = 1, 2, 130

app.registered_commands.sort(key=lambda command: GROUPS.index(str(command.rich_help_panel)))


def run(arguments: list[str]) -> int:
    """Run the command line, and return the exit status; every expected error and every warning is one line on stderr."""
    logger, warnings = logging.getLogger("hardprompt"), _Warnings(logging.WARNING)
    logger.addHandler(warnings)
    typer.rich_utils.MAX_WIDTH = readable_width(sys.stdout)
    try:
        status = app(_checked(arguments), standalone_mode=False)
    except typer.TyperException as error:
        status = print_error(error.format_message(), WRONG)
    except RequestError as error:
        status = print_error(str(error), WRONG)
    except (HardpromptError, OSError) as error:  # OSError: a full disk, a path that is too long
        status = print_error(str(error), FAILED)
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8" or error.encoding != sys.getfilesystemencoding():
            raise
        what = f"a path with {error.object[error.start : error.end]!r} cannot be opened, since paths are {error.encoding} here"
        status = print_error(f"{what}; set PYTHONUTF8=1", WRONG)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    finally:
        logger.removeHandler(warnings)
    if status == INTERRUPTED:  # typer also returns it
        print_error("interrupted; a study keeps its finished runs, and the same command resumes it", status)
    return status if isinstance(status, int) else 0


class _Warnings(logging.Handler):
    """Prints each distinct warning once."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._printed:
            self._printed.add(message)
            print_message(message)


def _checked(arguments: list[str]) -> list[str]:
    """The arguments as text. They are UTF-8 even if the locale has another encoding that cannot read them."""
    checked = []
    for argument in arguments:
        try:
            argument.encode()
            checked.append(argument)
        except UnicodeEncodeError as surrogates:
            try:
                checked.append(os.fsencode(argument).decode())
            except UnicodeError:
                message = f"the argument {argument!r} is not UTF-8; write it, or rename the file, in UTF-8"
                raise RequestError(message) from surrogates
    return checked
