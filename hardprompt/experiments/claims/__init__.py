"""Published claims as data, measured again and judged.

`claims.yaml` lists the claims, `recipes/` the studies whose records decide them. `claim.py` reads and judges claims,
`measurement.py` computes an estimate from a record, `records.py` makes or reads the record.
"""

from hardprompt.experiments.claims.claim import Claim, JudgedClaim, claims, judge
from hardprompt.experiments.claims.measurement import Measure

__all__ = ["Claim", "JudgedClaim", "Measure", "claims", "judge"]
