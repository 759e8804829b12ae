"""The published claims as data, and what measuring them again says.

`claims.yaml` has them, `recipes/` the studies whose records show them; `claim.py` reads and judges them, `measure.py` takes a
figure with its interval from a record, `records.py` makes the record or reads it.
"""

from hardprompt.experiments.claims.claim import Claim, JudgedClaim, claims, judge
from hardprompt.experiments.claims.measurement import Estimate, Measure

__all__ = ["Claim", "Estimate", "JudgedClaim", "Measure", "claims", "judge"]
