"""Bring the tables and pictures of `runs/claims.md` up to date.

    python runs/claims_page.py OUT/claims.json [...]

`hardprompt reproduce` writes `claims.json` into its folder. Claims that are measured there replace those of `runs/claims.json`,
from which the tables between the two marks of `claims.md` and a picture for each paper are made.
"""

import json
import sys
from pathlib import Path

from hardprompt.experiments.claims import JudgedClaim, claims, judge
from hardprompt.experiments.claims.report import draw_claims
from hardprompt.experiments.claims.reproduce import as_markdown, by_paper, picture_of
from hardprompt.stats.estimate import Estimate

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def judged(found: dict[str, dict]) -> list[JudgedClaim]:
    """The claims with their recorded estimates, judged by today's rules."""
    fields = ("value", "low", "high", "tasks", "n")
    return [
        judge(claim, Estimate(**{name: found[claim.name][name] for name in fields}) if claim.name in found else None)
        for claim in claims()
    ]


def main(files: list[str]) -> None:
    """Merge the given files into `claims.json`, and write the tables and pictures."""
    store = HERE / "claims.json"
    found = json.loads(store.read_text()) if store.exists() else {}
    for file in files:
        found |= {each["name"]: each["found"] for each in json.loads(Path(file).read_text()) if each["found"]}
    known = [each for each in judged(found) if each.found]
    order = [each.claim.name for each in known]
    store.write_text(json.dumps({name: found[name] for name in order}, indent=1) + "\n")
    page = HERE / "claims.md"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{as_markdown(known)}\n{END}{after}")
    for paper, own in by_paper(known).items():
        draw_claims(own, HERE / picture_of(paper))
    by_verdict = {verdict: sum(each.verdict == verdict for each in known) for verdict in ("holds", "fails", "undecided")}
    print(f"{len(known)} of {len(claims())} claims are measured: {by_verdict}")


if __name__ == "__main__":
    main(sys.argv[1:])
