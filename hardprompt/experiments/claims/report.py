"""The verdicts on claims as a table for the terminal, and as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.experiments.claims import JudgedClaim

COLORS = {"holds": "green", "fails": "red"}

DRAWN = {"holds": "#2a7f3f", "undecided": "#8a8a8a", "fails": "#c03a2b"}
"""The color of each verdict in the picture."""

MARKERS = ("o", "D", "s", "^", "v", "P")
"""The marker of each model in the picture, in the order in which they occur."""

FARTHEST = 8.0
"""The picture shows distances up to this many half-widths."""

WIDTH = 62
"""Characters of a line of the picture's labels."""

STYLE: Any = {"svg.hashsalt": "hardprompt", "font.size": 9}


def claims_table(found: Sequence[JudgedClaim]) -> Table:
    """A row per claim: model, verdict, new estimate with its interval, and the published figure."""
    table = Table(title="published claims, measured again", title_justify="left", pad_edge=False)
    for heading in ("paper", "claim", "model", "verdict"):
        table.add_column(heading, overflow="fold")
    for heading in ("measured", "95 % interval", "n", "holds if", "published"):
        table.add_column(heading, justify="right", overflow="fold")
    for each in found:
        claim, measured = each.claim, each.found
        figures = ("-", each.reason, "-")
        if measured is not None:
            figures = (f"{measured.value:.3f}", f"{measured.low:.3f} to {measured.high:.3f}", str(measured.n))
        table.add_row(
            claim.paper,
            Text(claim.says),
            claim.lm,
            Text(each.verdict, style=COLORS.get(each.verdict, "")),
            *map(Text, figures),
            str(claim.holds),
            "-" if claim.published is None else f"{claim.published:g}",
        )
    return table


def draw_claims(found: Sequence[JudgedClaim], file: Path) -> None:
    """Draw the estimates of measured claims with their intervals to a .png or .svg file, one row per claim.

    The claims have different units, so each row shows how far its estimate is from the bound, in half-widths of its own
    interval. Positive values are on the side where the claim holds. Distances above `FARTHEST` are drawn there.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [each for each in found if each.found is not None]
    lms = list(dict.fromkeys(each.claim.lm for each in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 1.3 + 0.42 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="#999999", linewidth=1)
        for row, each in enumerate(rows):
            at, *ends = _distances(each)
            axes.plot(ends, [row, row], color=DRAWN[each.verdict], linewidth=2)
            marker = MARKERS[lms.index(each.claim.lm) % len(MARKERS)]
            axes.plot([at], [row], marker, color=DRAWN[each.verdict], markersize=7)
        axes.set_yticks(range(len(rows)), [fill(f"{each.claim.says} ({each.claim.lm})", WIDTH) for each in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(-FARTHEST - 1.5, FARTHEST + 1.5)
        axes.set_xlabel("distance from the bound, in half-widths of the 95 % interval (right: the claim holds)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            handles=[axes.plot([], [], color=color, linewidth=2, label=verdict)[0] for verdict, color in DRAWN.items()],
            loc="upper center",
            bbox_to_anchor=(0.5, 1.0 + 0.5 / max(1, len(rows))),
            ncols=len(DRAWN),
            frameon=False,
        )
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)


def _distances(each: JudgedClaim) -> list[float]:
    """How far the estimate and the ends of its interval are from the bound, in half-widths, at most `FARTHEST`.

    With an interval that is a point, everything beyond the bound is `FARTHEST` away.
    """
    rule, found = each.claim.holds, each.found
    assert found is not None
    bound, sign = (rule.above, 1.0) if rule.above is not None else (rule.below or 0.0, -1.0)
    beyond = [sign * (value - bound) / (found.half_width or math.ulp(1.0)) for value in (found.value, found.low, found.high)]
    return [min(max(distance, -FARTHEST), FARTHEST) for distance in beyond]
