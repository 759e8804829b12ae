"""The verbs for your own tasks: new-task and validate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli.help import TASKS
from hardprompt.cli.options import Json, request_options
from hardprompt.cli.output import print_json
from hardprompt.cli.verbs import verb


@verb(TASKS, "hardprompt new-task mood", "hardprompt new-task mood --out tasks", name="new-task")
def new_task(
    name: Annotated[str, typer.Argument(help="Name of the task and of its folder.")],
    out: Annotated[Path, typer.Option(help="Parent folder of the new folder.")] = Path("."),
) -> None:
    """Write a folder with a commented task.yaml and a data file.

    The task works as it is; replace its parts with your own.
    """
    from hardprompt.custom_task.scaffold import new_task as write

    print(f"wrote {write(name, out)}; edit it, then check it with: hardprompt validate {out / name}")


@verb(TASKS, "hardprompt validate mood", "hardprompt validate my_task.py --lm distilgpt2")
@request_options("chat", "prompt_turn", "lm", "start")
def validate(
    fields: dict[str, Any],
    path: Annotated[str, typer.Argument(help="A task.yaml or its folder, a .py file, or path.py:name.")],
    as_json: Json = False,
) -> None:
    """Check a task: errors, warnings, and what the model reads.

    If there is no error, the scores of trivial baselines follow.
    """
    from hardprompt.custom_task.report import checked_lines
    from hardprompt.custom_task.validate import validate as check

    checked = check(path, **fields)
    if as_json:
        print_json(checked.as_json())
    else:
        print("\n".join(checked_lines(checked)))
    if checked.errors:
        raise typer.Exit(2)
