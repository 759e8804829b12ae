"""The verb that measures the prompts of studies on other models: transfer."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hardprompt.cli.help import PROMPT
from hardprompt.cli.options import MODEL, Json, request_options
from hardprompt.cli.output import console, print_json, print_line, print_table
from hardprompt.cli.verbs import verb


@verb(
    PROMPT,
    "hardprompt transfer my-study",
    "hardprompt transfer study-a study-b --lm microworld --lm path/to/a/model --limit 100",
    "hardprompt transfer my-study --lm smollm2 --chat smollm2",
)
@request_options(
    *("limit", "device", "dtype", "memory"),
    help={"limit": "Measure on this number of test examples, drawn by label; by default those of each study."},
)
def transfer(
    fields: dict[str, Any],
    studies: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of studies.")],
    lm: Annotated[
        list[str] | None,
        typer.Option(
            "--lm",
            metavar="NAME",
            rich_help_panel=MODEL,
            help="A model, named as for compare. Can be repeated. The model of each study is always one.",
            show_default="every embedded and every downloaded model",
        ),
    ] = None,
    chat: Annotated[
        list[str] | None,
        typer.Option(
            "--chat",
            metavar="NAME",
            rich_help_panel=MODEL,
            help="A model that reads the tasks through its chat template. Can be repeated.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the record.", show_default="hardprompt-out/transfer-DIR")] = None,
    as_json: Json = False,
) -> None:
    """Measure the prompts of studies on other models.

    Each model reads each prompt as text, in its own tokens. Rerun the same command to resume.
    """
    from hardprompt.experiments.transfer.report import as_json as described
    from hardprompt.experiments.transfer.report import correlations_sheet, matrix_sheet, reasons_sheet
    from hardprompt.experiments.transfer.run import transfer as measure

    screen = console(stderr=as_json)
    found = measure(
        studies, lm or (), chat=chat or (), out=out, announce=lambda line: screen.print(line, markup=False), **fields
    )
    if as_json:
        print_json(described(found))
    else:
        for sheet in (matrix_sheet(found, intervals=False), correlations_sheet(found), reasons_sheet(found)):
            if sheet.rows:
                print_table(sheet.as_rich())
        print_line(f"report.html, matrix.png, transfer.json and the tables are in {found.folder}")
    if found.not_measured:
        raise typer.Exit(1)
