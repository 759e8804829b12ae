"""A published claim and the verdict on it."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hardprompt.errors import UnknownName
from hardprompt.experiments.claims.measurement import Estimate, Measure

Verdict = Literal["holds", "fails", "undecided", "not measured"]

PAPERS = {
    "patel": "Patel et al. 2025, Towards Interpretable Soft Prompts",
    "khashabi": "Khashabi et al. 2022, Prompt Waywardness",
    "bakalova": "Bakalova 2024, Are soft prompts actually not interpretable?",
    "learn-prompting": "Learn Prompting, on interpretable soft prompts",
    "pez": "Wen et al. 2023, Hard Prompts Made Easy",
    "rlprompt": "Deng et al. 2022, RLPrompt",
}

LEAST_VALUES = 3
"""An interval over fewer values says nothing."""


class Rule(BaseModel):
    """When a claim holds: where the whole interval lies above, or below, a bound. It fails where all of it lies beyond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Rule":
        if (self.above is None) == (self.below is None):
            raise ValueError("a rule has either above or below")
        return self

    def __str__(self) -> str:
        """In words."""
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"

    def verdict(self, found: Estimate) -> Verdict:
        """What follows from an estimate.

        >>> Rule(above=0).verdict(Estimate(0.5, 0.25, 0.75, 4, 4)), Rule(above=0).verdict(Estimate(0.5, -0.25, 0.75, 4, 4))
        ('holds', 'undecided')
        """
        if found.n < LEAST_VALUES:
            return "undecided"
        bound = self.above if self.above is not None else self.below
        assert bound is not None
        beyond = {True: found.low > bound, False: found.high <= bound}
        if self.below is not None:
            beyond = {True: found.high < bound, False: found.low >= bound}
        return "holds" if beyond[True] else "fails" if beyond[False] else "undecided"


class Claim(BaseModel):
    """What was published, and how it is measured again.

    Attributes:
        name: to ask for it by.
        paper: a key of `PAPERS`.
        says: the claim in our words.
        published: the figure, where one is known, in the unit of the measure.
        recipe: the study whose record shows it, a file in `recipes/`.
        measure: what is measured on that record.
        unit: of the measure, where its key does not say it.
        holds: when it holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    paper: Literal[*PAPERS]  # type: ignore[valid-type]
    says: str
    published: float | None = None
    recipe: str
    measure: Measure
    unit: str = ""
    holds: Rule


@dataclass(frozen=True)
class JudgedClaim:
    """A claim measured again: the figure, and the verdict, with the reason where nothing was measured."""

    claim: Claim
    found: Estimate | None
    verdict: Verdict
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Everything, flat but for the interval."""
        said = self.claim.model_dump(include={"name", "paper", "says", "published", "recipe"})
        words = {"measure": str(self.claim.measure), "unit": self.claim.unit, "holds_if": str(self.claim.holds)}
        measured = None if self.found is None else vars(self.found)
        return said | words | {"found": measured, "verdict": self.verdict, "reason": self.reason}


def judge(claim: Claim, found: Estimate | None, reason: str = "") -> JudgedClaim:
    """The verdict on a claim; where there is no estimate, the reason says why."""
    if found is None:
        return JudgedClaim(claim, None, "not measured", reason or "no lines of the record fit")
    return JudgedClaim(claim, found, claim.holds.verdict(found))


@cache
def all_claims() -> dict[str, Claim]:
    """Every claim by name, in the order of the file."""
    listed = yaml.safe_load(files("hardprompt.experiments.claims").joinpath("claims.yaml").read_text(encoding="utf-8"))
    found = [Claim.model_validate(entry) for entry in listed]
    return {claim.name: claim for claim in found}


def claims(names: tuple[str, ...] = ()) -> list[Claim]:
    """The named claims, or all; a paper's name stands for all of its claims.

    Raises:
        UnknownName: no claim or paper of that name.

    Example:
        >>> [claim.name for claim in claims(("wayward-f1",))]
        ['wayward-f1']
    """
    every = all_claims()
    for name in names:
        if name not in every and name not in PAPERS:
            raise UnknownName("claim", name, [*every, *PAPERS])
    return [claim for claim in every.values() if not names or claim.name in names or claim.paper in names]
