"""Measuring published claims again: the record of each recipe is created or read once, and all claims on it are judged."""

import json
from collections.abc import Callable, Sequence

from hardprompt.errors import HardpromptError, RecordError
from hardprompt.experiments.claims.claim import PAPERS, Claim, JudgedClaim, judge
from hardprompt.experiments.claims.measurement import Line
from hardprompt.experiments.claims.records import NotMeasured, Where, record_lines
from hardprompt.records.atomic import remove_temporary_files, replacing
from hardprompt.records.lock import locked
from hardprompt.study.engine import Listener


def reproduce(
    claims: Sequence[Claim],
    where: Where,
    listener: Listener | None = None,
    announce: Callable[[str], None] = lambda recipe: None,
) -> list[JudgedClaim]:
    """The verdict on every claim, recipe by recipe; `claims.json` and `claims.md` in the folder hold the same.

    If a recipe cannot be run, its claims are not measured, with the reason, and the other recipes are run.

    Args:
        claims: the claims.
        where: where the records are.
        listener: receives the progress of studies.
        announce: receives the name of each recipe when it starts.

    Returns:
        The claims with their verdicts, in the order of `claims`.

    Raises:
        StudyError: if another process writes to the folder.
        RecordError: if a record cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from hardprompt.experiments.claims import claims
        >>> [judged] = reproduce(claims(("wayward-f1",)), Where(Path("claims"), recorded=True))
        >>> judged.verdict
        'not measured'
    """
    with locked(where.out, stop_file=False):
        remove_temporary_files(where.out)
        by_recipe: dict[str, list[Line] | str] = {}
        for recipe in dict.fromkeys(claim.recipe for claim in claims):
            announce(recipe)
            try:
                by_recipe[recipe] = record_lines(recipe, where, listener)
            except NotMeasured as error:
                by_recipe[recipe] = str(error)
            except RecordError:
                raise
            except HardpromptError as error:
                by_recipe[recipe] = f"{type(error).__name__}: {error}"
        judged = [_judged(claim, by_recipe[claim.recipe]) for claim in claims]
        for name, text in (
            ("claims.json", json.dumps([each.as_json() for each in judged], ensure_ascii=False, indent=2) + "\n"),
            ("claims.md", as_markdown(judged)),
        ):
            with replacing(where.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    return judged


def as_markdown(found: Sequence[JudgedClaim]) -> str:
    """Markdown with a table for each paper."""
    parts = []
    for paper, title in PAPERS.items():
        own = [each for each in found if each.claim.paper == paper]
        if own:
            rows = "\n".join(f"| {' | '.join(cells(each))} |" for each in own)
            parts.append(f"### {title}\n\n| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n{rows}\n")
    return "\n".join(parts)


HEADINGS = ("claim", "verdict", "measured", "95 % interval", "n", "holds if", "published", "measure")


def cells(finding: JudgedClaim) -> tuple[str, ...]:
    """The cells of a claim's row, in the order of `HEADINGS`."""
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
