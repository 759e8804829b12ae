"""The published claims as data, and what measuring them again says.

`claims.yaml` has them, `recipes/` the studies whose records show them; `claim.py` reads and judges them, `measure.py` takes a
figure with its interval from a record, `records.py` makes the record or reads it.
"""

from hardprompt.claims.claim import Claim, Finding, claims, judge
from hardprompt.claims.measure import Estimate, Measure

__all__ = ["Claim", "Estimate", "Finding", "Measure", "claims", "judge"]
