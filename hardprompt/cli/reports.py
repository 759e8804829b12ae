"""The verb that draws reports from records: report."""

from pathlib import Path
from typing import Annotated

import typer

from hardprompt.cli.help import LOOK_UP
from hardprompt.cli.options import Json
from hardprompt.cli.output import print_frontier, print_geometry, print_json, print_line, print_points, print_table
from hardprompt.cli.verbs import verb
from hardprompt.errors import RequestError, StudyError


@verb(
    LOOK_UP,
    "hardprompt report my-study",
    "hardprompt report hardprompt-out/* --out comparison",
)
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of studies.")],
    out: Annotated[
        Path | None,
        typer.Option(help="With several studies: folder of the report.", show_default="hardprompt-out/report"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the report of a study, or of several side by side.

    The page, figures and tables come from the recorded runs; nothing is run again.
    """
    from hardprompt.experiments.geometry.run import measure_again
    from hardprompt.records.store import Store, recorded_request
    from hardprompt.report.studies import comparisons_sheet, group_studies, hypervolumes_sheet, means_sheet, statistics
    from hardprompt.report.write import write_combined_report, write_figures_and_tables, write_report
    from hardprompt.study.runner import ROOT

    if len(folders) == 1 and (folders[0] / "geometry.yaml").is_file():
        return print_geometry(measure_again(folders[0]), as_json)
    stores = [Store(folder) for folder in dict.fromkeys(folders)]
    for store in stores:
        if not store.points():
            raise StudyError(f"{store.folder} holds no finished run yet; rerun the command that started the study")
    shown = group_studies(stores)
    if len(shown) > 1 or len(stores) > 1:
        target = out or ROOT / "report"
        write_combined_report(shown, target)
        if as_json:
            return print_json(statistics(shown))
        for sheet in (means_sheet(shown), comparisons_sheet(shown), hypervolumes_sheet(shown)):
            print_table(sheet.as_rich())
        return print_line(f"report.html, figures and tables are in {target}")
    if out is not None:
        raise RequestError("--out needs several studies; the report of one study is written into its own folder")
    [store] = stores
    write_report(store)
    write_figures_and_tables(shown, store.folder)
    if as_json:
        return print_json(store.points())
    print_points(store.points(), recorded_request(store.study).weights)
    print_frontier(store.folder, store.points())
