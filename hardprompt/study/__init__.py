"""Studies: optimizers x weights x splits x seeds on one task and model, and what they leave behind.

`request.py` says what is asked for, `recipe.py` says it of many studies in one file, `planner.py` makes requests of that.
`prepared.py` makes single runs and `point.py` measures each prompt found; `engine.py` makes them in this process, `workers.py`
in several, as many as `machine.py` has room for. `runner.py` asks for what is missing and keeps the record (`store.py`), one
process at a time (`lock.py`), until it is done or is to end (`stop.py`). `record.py` says what can be read of a record,
`frontier.py` finds the trade-off in it. `named.py` finds a prompt again, and `evaluation.py` measures that or any other.
"""

from hardprompt.study.evaluation import evaluate
from hardprompt.study.frontier import frontier, hypervolume, non_dominated
from hardprompt.study.named import NamedPrompt, load_prompt
from hardprompt.study.recipe import read_recipe
from hardprompt.study.request import PRESETS, Run, StudyRequest
from hardprompt.study.runner import compare, run
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
    "read_recipe",
    "run",
]
