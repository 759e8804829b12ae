"""Published claims, and the verdict on a claim after it is measured again."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hardprompt.errors import UnknownName
from hardprompt.experiments.claims.measurement import Measure
from hardprompt.stats.estimate import Estimate, Verdict, verdict

PAPERS = {
    "patel": "Patel et al. 2025, Towards Interpretable Soft Prompts",
    "khashabi": "Khashabi et al. 2022, Prompt Waywardness",
    "bakalova": "Bakalova 2024, Are soft prompts actually not interpretable?",
    "learn-prompting": "Learn Prompting, on interpretable soft prompts",
    "pez": "Wen et al. 2023, Hard Prompts Made Easy",
    "rlprompt": "Deng et al. 2022, RLPrompt",
    "gcg": "Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models",
    "beast": "Sadasivan et al. 2024, Fast Adversarial Attacks on Language Models In One GPU Minute",
    "ape": "Zhou et al. 2023, Large Language Models Are Human-Level Prompt Engineers",
    "morl-prompt": "Jafari et al. 2024, MORL-Prompt",
    "pareto-prompt": "Zhao et al. 2025, Pareto Prompt Optimization",
    "inspect": "Ramati et al. 2024, Eliciting Textual Descriptions from Representations of Continuous Prompts",
    "evil-twins": "Melamed et al. 2024, Prompts Have Evil Twins",
    "unnatural": "Duan et al. 2025, Unnatural Languages Are Not Bugs but Features for LLMs",
    "soda": "Skapars et al. 2025, GPT, But Backwards",
}


class Rule(BaseModel):
    """The bound above or below which the whole interval must be for a claim to hold, as in `stats.estimate.verdict`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Rule":
        if (self.above is None) == (self.below is None):
            raise ValueError("a rule needs exactly one of above and below")
        return self

    def __str__(self) -> str:
        """The rule in words."""
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"

    def verdict(self, found: Estimate) -> Verdict:
        """The verdict on an estimate.

        >>> Rule(above=0).verdict(Estimate(0.5, 0.25, 0.75, 4, 4)), Rule(above=0).verdict(Estimate(0.5, -0.25, 0.75, 4, 4))
        ('holds', 'undecided')
        """
        return verdict(found, above=self.above, below=self.below)


class Claim(BaseModel):
    """A published statement, and how it is measured again.

    Attributes:
        name: identifies the claim on the command line.
        paper: a key of `PAPERS`.
        says: the statement in our words.
        published: the published figure in the unit of the measure, if one is known.
        lm: the model that the claim is measured on.
        recipe: the study whose record decides the claim, a file in `recipes/`.
        measure: the quantity that is computed from that record.
        unit: the unit of the measure, if its key does not name it.
        holds: the rule for the verdict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    paper: Literal[*PAPERS]  # type: ignore[valid-type]
    says: str
    published: float | None = None
    lm: str = "microworld"
    recipe: str
    measure: Measure
    unit: str = ""
    holds: Rule


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its new estimate and the verdict.

    Attributes:
        claim: the published claim.
        found: the new estimate; None where nothing was measured.
        verdict: the verdict, or "not measured".
        reason: why nothing was measured.
    """

    claim: Claim
    found: Estimate | None
    verdict: Verdict | Literal["not measured"]
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """All fields in one object; the estimate is an object of its own under `found`."""
        published = self.claim.model_dump(include={"name", "paper", "says", "published", "lm", "recipe"})
        words = {"measure": str(self.claim.measure), "unit": self.claim.unit, "holds_if": str(self.claim.holds)}
        measured = None if self.found is None else self.found.as_json()
        return published | words | {"found": measured, "verdict": self.verdict, "reason": self.reason}


def judge(claim: Claim, found: Estimate | None, reason: str = "") -> JudgedClaim:
    """The verdict on a claim; without an estimate it is "not measured", for the given reason."""
    if found is None:
        return JudgedClaim(claim, None, "not measured", reason or "no line of the record matches the measure")
    return JudgedClaim(claim, found, claim.holds.verdict(found))


@cache
def all_claims() -> dict[str, Claim]:
    """All claims by name, in the order of the file.

    An entry with `again` makes one more claim for each model that is named there. It has the fields of the entry, except for
    those that are given for the model, and the name of the model is appended to its name.
    """
    listed = yaml.safe_load(files("hardprompt.experiments.claims").joinpath("claims.yaml").read_text(encoding="utf-8"))
    found = []
    for entry in listed:
        again = entry.pop("again", {})
        found.append(Claim.model_validate(entry))
        for lm, fields in again.items():
            found.append(Claim.model_validate(entry | {"name": f"{entry['name']}-{lm}", "lm": lm} | fields))
    return {claim.name: claim for claim in found}


def claims(names: tuple[str, ...] = ()) -> list[Claim]:
    """The claims with the given names, or all claims.

    Args:
        names: names of claims, keys of `PAPERS` for all claims of a paper, or models for all claims that are measured on them.

    Raises:
        UnknownName: there is no claim, paper or model of a claim with a given name.

    Example:
        >>> [claim.name for claim in claims(("wayward-f1",))]
        ['wayward-f1']
    """
    every = all_claims()
    lms = {claim.lm for claim in every.values()}
    for name in names:
        if name not in every and name not in PAPERS and name not in lms:
            raise UnknownName("claim", name, [*every, *PAPERS, *sorted(lms)])
    return [claim for claim in every.values() if not names or {claim.name, claim.paper, claim.lm} & set(names)]
