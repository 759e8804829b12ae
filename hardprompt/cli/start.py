"""The console script. It prints the help of the program itself, and imports the verbs only where one is wanted.

Output never ends a verb (`hardprompt.streams`): a study goes on when nobody reads its output any more.
"""

import sys

from hardprompt.cli.help import help_text
from hardprompt.streams import tolerated_output


def main() -> None:
    """Run the command line; every expected error and every warning of the library is one line on stderr."""
    with tolerated_output() as (output, _):
        if sys.argv[1:] in ([], ["-h"], ["--help"]):
            print(help_text())
            status = 0
        else:
            from hardprompt.cli.entry_point import run

            status = run(sys.argv[1:])
        output.flush()
        if output.failure and not status:
            from hardprompt.cli.entry_point import FAILED
            from hardprompt.cli.output import print_error

            status = print_error(f"the output could not be written: {output.failure.strerror}", FAILED)
    sys.exit(status)
