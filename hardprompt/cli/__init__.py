"""The command line: it reads options, calls the library, prints the answer, and turns errors into one line and an exit status.

`start.py` is the console script, which prints `help.py` or calls `entry_point.py`. `verbs.py` holds the application.
`options.py` builds the options that are fields of a study request, `reading.py` reads their text, and `output.py` prints. The
other files hold one group of verbs each. Modules that import torch are imported inside a verb, so that its help is fast.
"""

from typing import Any

from hardprompt.cli.start import main

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:
    """`app`, the Typer application with all verbs, imported when it is used."""
    if name != "app":
        raise AttributeError(f"module 'hardprompt.cli' has no attribute {name!r}")
    from hardprompt.cli.entry_point import app

    return app
