"""The record of a study: what was requested, one line per finished run, and the prompts that the runs found.

`request.py` is the request, and `schema.py` has the form of a record, from which `reference.py` generates its
reference. `store.py` is the folder of a study, written by one process at a time (`lock.py`) through temporary files
(`atomic.py`). `prompt_ref.py` finds a prompt in a record, and
`frontier.py` derives the trade-off from it.
"""

from hardprompt.records.frontier import frontier
from hardprompt.records.prompt_ref import PromptRef, load_prompt
from hardprompt.records.request import PRESETS, Run, StudyRequest
from hardprompt.records.schema import FailedRun, RunRecord, run_records
from hardprompt.records.store import Store, load_points

__all__ = [
    "PRESETS",
    "FailedRun",
    "PromptRef",
    "Run",
    "RunRecord",
    "Store",
    "StudyRequest",
    "frontier",
    "load_points",
    "load_prompt",
    "run_records",
]
