"""The entry point of the console script, and its exit statuses.

Exit status: 0 done, 1 the job or some of its runs failed, 2 the request is wrong, 3 stopped before the end (a time limit or a
stop file), 130 interrupted.
"""

import logging
import sys

import typer

from hardprompt.cli import catalogue, experiments, prompts, reports, search, tasks  # noqa: F401  (they add their verbs)
from hardprompt.cli.output import print_error, print_message
from hardprompt.cli.verbs import GROUPS, app
from hardprompt.errors import HardpromptError, RequestError

FAILED, WRONG, INTERRUPTED = 1, 2, 130

app.registered_commands.sort(key=lambda command: GROUPS.index(str(command.rich_help_panel)))


def main() -> None:
    """Run the command line; every expected error and every warning of the library is one line on stderr."""
    logger, warnings = logging.getLogger("hardprompt"), _Warnings(logging.WARNING)
    logger.addHandler(warnings)
    try:
        status = app(_checked(sys.argv[1:]) or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        status = print_error(error.format_message(), WRONG)
    except RequestError as error:
        status = print_error(str(error), WRONG)
    except (HardpromptError, OSError) as error:  # OSError: a full disk, a path that is too long
        status = print_error(str(error), FAILED)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    finally:
        logger.removeHandler(warnings)
    if status == INTERRUPTED:  # typer also returns it
        print_error("interrupted; a study keeps its finished runs, and the same command resumes it", status)
    sys.exit(status if isinstance(status, int) else 0)


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
    """The arguments; the system may pass bytes that are not UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the argument {argument!r} is not UTF-8; write it, or rename the file, in UTF-8") from error
    return arguments
