"""Measuring published claims again: the record of each recipe is created or read once, and all claims on it are judged."""

import json
from collections.abc import Callable, Sequence

from hardprompt.errors import HardpromptError, RecordError
from hardprompt.experiments.claims.claim import PAPERS, Claim, JudgedClaim, judge
from hardprompt.experiments.claims.measurement import Line
from hardprompt.experiments.claims.records import NotMeasured, Where, record_lines
from hardprompt.experiments.claims.report import draw_claims
from hardprompt.records.atomic import remove_temporary_files, replacing
from hardprompt.records.lock import locked
from hardprompt.study.engine import Listener


def reproduce(
    claims: Sequence[Claim],
    where: Where,
    listener: Listener | None = None,
    announce: Callable[[str], None] = lambda recipe: None,
) -> list[JudgedClaim]:
    """The verdict on every claim, recipe by recipe.

    `claims.json`, `claims.md` and a picture for each paper in the folder of `where` show the same.
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
        for paper, own in by_paper(judged).items():
            with replacing(where.out / picture_of(paper)) as temporary:
                draw_claims(own, temporary)
    return judged


def as_markdown(found: Sequence[JudgedClaim]) -> str:
    """Markdown with a picture and a table for each paper."""
    parts = []
    for paper, own in by_paper(found).items():
        rows = "\n".join(f"| {' | '.join(cells(each))} |" for each in own)
        picture = f"![Distance of each estimate from the bound of its claim]({picture_of(paper)})"
        parts.append(f"### {PAPERS[paper]}\n\n{picture}\n\n| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}\n{rows}\n")
    return "\n".join(parts)


def by_paper(found: Sequence[JudgedClaim]) -> dict[str, list[JudgedClaim]]:
    """The judged claims of each paper that has some, in the order of `PAPERS`."""
    papers = {paper: [each for each in found if each.claim.paper == paper] for paper in PAPERS}
    return {paper: own for paper, own in papers.items() if own}


def picture_of(paper: str) -> str:
    """The name of the file with the picture of a paper's claims."""
    return f"claims-{paper}.png"


HEADINGS = ("claim", "model", "verdict", "measured", "95 % interval", "n", "holds if", "detectable", "published", "measure")


def cells(finding: JudgedClaim) -> tuple[str, ...]:
    """The cells of a claim's row, in the order of `HEADINGS`; "detectable" is `Estimate.half_width`."""
    claim, found = finding.claim, finding.found
    measured, detectable = ("-", finding.reason, "-"), "-"
    if found is not None:
        measured = (_number(found.value), f"{_number(found.low)} to {_number(found.high)}", f"{found.n} ({found.tasks} tasks)")
        detectable = _number(found.half_width)
    unit = f" ({claim.unit})" if claim.unit else ""
    published = "-" if claim.published is None else f"{claim.published:g}"
    judged = (claim.says, claim.lm, f"**{finding.verdict}**", *measured, str(claim.holds))
    return (*judged, detectable, published, f"{claim.measure}{unit}")


def _number(value: float) -> str:
    return f"{value:.3f}"


def _judged(claim: Claim, record: list[Line] | str) -> JudgedClaim:
    if isinstance(record, str):
        return judge(claim, None, record)
    return judge(claim, claim.measure.estimate(record))
