"""Studies: optimizers x weights x splits x seeds on one task and model, and what they leave behind.

`request.py` says what is asked for, `runner.py` runs it, `point.py` measures each prompt found, `store.py` keeps the record,
`record.py` says what can be read of one, `frontier.py` finds the trade-off in it. `named.py` finds a prompt again, and
`evaluation.py` measures that or any other.
"""

from hardprompt.study.evaluation import evaluate
from hardprompt.study.frontier import frontier, hypervolume, non_dominated
from hardprompt.study.named import NamedPrompt, load_prompt
from hardprompt.study.request import PRESETS, Run, StudyRequest
from hardprompt.study.runner import compare
from hardprompt.study.store import Store, load_points

__all__ = [
    "PRESETS",
    "NamedPrompt",
    "Run",
    "Store",
    "StudyRequest",
    "compare",
    "evaluate",
    "frontier",
    "hypervolume",
    "load_points",
    "load_prompt",
    "non_dominated",
]
