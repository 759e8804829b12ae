"""Measuring published claims again: each recipe's record is made or read once, and every claim on it is judged."""

import json
from collections.abc import Callable, Sequence

from hardprompt.errors import HardpromptError
from hardprompt.experiments.claims.claim import PAPERS, Claim, JudgedClaim, judge
from hardprompt.experiments.claims.measurement import Line
from hardprompt.experiments.claims.records import NotMeasured, Where, record_lines
from hardprompt.records.atomic import replacing
from hardprompt.study.engine import Listener


def reproduce(
    asked: Sequence[Claim], where: Where, listener: Listener | None = None, told: Callable[[str], None] = lambda line: None
) -> list[JudgedClaim]:
    """The verdict on every claim, recipe by recipe; `claims.json` and `claims.md` in the folder say the same.

    A recipe that cannot be run leaves its claims not measured, with the reason, and the others go on.

    Args:
        asked: the claims.
        where: where the records are.
        listener: of the studies.
        told: hears of each recipe as it begins.

    Example:
        >>> from pathlib import Path
        >>> from hardprompt.experiments.claims import claims
        >>> nowhere = Where(Path("nowhere"), recorded=True)
        >>> reproduce(claims(("wayward-f1",)), nowhere)[0].verdict      # doctest: +SKIP
        'not measured'
    """
    by_recipe: dict[str, list[Line] | str] = {}
    for recipe in dict.fromkeys(claim.recipe for claim in asked):
        told(recipe)
        try:
            by_recipe[recipe] = record_lines(recipe, where, listener)
        except NotMeasured as error:
            by_recipe[recipe] = str(error)
        except HardpromptError as error:
            by_recipe[recipe] = f"{type(error).__name__}: {error}"
    found = [_judged(claim, by_recipe[claim.recipe]) for claim in asked]
    where.out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("claims.json", json.dumps([each.as_json() for each in found], ensure_ascii=False, indent=2) + "\n"),
        ("claims.md", as_markdown(found)),
    ):
        with replacing(where.out / name) as aside:
            aside.write_text(text, encoding="utf-8")
    return found


def as_markdown(found: Sequence[JudgedClaim]) -> str:
    """A table per paper."""
    parts = []
    for paper, title in PAPERS.items():
        own = [each for each in found if each.claim.paper == paper]
        if own:
            rows = "\n".join(f"| {' | '.join(cells(each))} |" for each in own)
            parts.append(f"### {title}\n\n| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n{rows}\n")
    return "\n".join(parts)


HEADINGS = ("claim", "verdict", "measured", "95 % interval", "n", "holds if", "published", "measure")


def cells(finding: JudgedClaim) -> tuple[str, ...]:
    """A row of the table."""
    claim, found = finding.claim, finding.found
    measured: tuple[str, ...] = ("-", finding.reason, "-")
    if found is not None:
        measured = (_number(found.value), f"{_number(found.low)} to {_number(found.high)}", f"{found.n} ({found.tasks} tasks)")
    unit = f" ({claim.unit})" if claim.unit else ""
    published = "-" if claim.published is None else f"{claim.published:g}"
    return (claim.says, f"**{finding.verdict}**", *measured, str(claim.holds), published, f"{claim.measure}{unit}")


def _number(value: float) -> str:
    return f"{value:.3f}"


def _judged(claim: Claim, record: list[Line] | str) -> JudgedClaim:
    if isinstance(record, str):
        return judge(claim, None, record)
    return judge(claim, claim.measure.estimate(record))
