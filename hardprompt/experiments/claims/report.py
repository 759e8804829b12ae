"""The table of verdicts on claims that is shown in the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hardprompt.experiments.claims import JudgedClaim

COLORS = {"holds": "green", "fails": "red"}


def claims_table(found: Sequence[JudgedClaim]) -> Table:
    """A row per claim: verdict, new estimate with its interval, and the published figure."""
    table = Table(title="published claims, measured again", title_justify="left", pad_edge=False)
    for heading in ("paper", "claim", "verdict", "measured", "95 % interval", "n", "holds if", "published"):
        table.add_column(heading, justify="left" if heading in ("paper", "claim", "verdict") else "right", overflow="fold")
    for each in found:
        claim, measured = each.claim, each.found
        figures = ("-", each.reason, "-")
        if measured is not None:
            figures = (f"{measured.value:.3f}", f"{measured.low:.3f} to {measured.high:.3f}", str(measured.n))
        table.add_row(
            claim.paper,
            Text(claim.says),
            Text(each.verdict, style=COLORS.get(each.verdict, "")),
            *map(Text, figures),
            str(claim.holds),
            "-" if claim.published is None else f"{claim.published:g}",
        )
    return table
