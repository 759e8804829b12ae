"""The Typer application, and the decorator that adds a verb to it."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from hardprompt import __version__
from hardprompt.cli.help import ABOUT, MORE, VERBS, VERSION

GROUPS = tuple(VERBS)
"""Headings in `hardprompt --help`, in order."""

Verb = TypeVar("Verb", bound=Callable[..., Any])

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=MORE,
)


def verb(group: str, *examples: str, name: str | None = None) -> Callable[[Verb], Verb]:
    """Add a function to the command line as a verb.

    Args:
        group: one of `GROUPS`.
        examples: complete command lines.
        name: name of the verb; by default that of the function.
    """
    epilog = "\n\n".join(["[bold]Examples[/bold]", *examples])
    return app.command(name, rich_help_panel=group, epilog=epilog)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hardprompt {__version__}")
        raise typer.Exit


@app.callback(help=ABOUT)
def _program(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help=VERSION)
    ] = False,
) -> None:
    """The options of the program itself."""
