"""What is measured of every prompt that was found: can it be read, and does what is read do what was trained?

`scrutability.py` looks at a hard prompt alone, `sensitivity.py` at what its tokens and their order are worth, `faithfulness.py`
compares a soft prompt with its projection, `behaviour.py` what any two prompts do, `overlap.py` two texts; `tokens.py` shows a
prompt token by token, `stability.py` says how firm such a reading is, `says.py` what a text says. `statistics.py` says what
means of all these are worth.
"""

from hardprompt.metrics.continuation_kl import continuation_kl
from hardprompt.metrics.faithfulness import FAITHFULNESS, NOT_FOR_HARD, faithfulness, projection_ids
from hardprompt.metrics.interpretation import Interpretation, TaskJudge, is_flagged
from hardprompt.metrics.scrutability import repetition, scrutability, whole_word_share
from hardprompt.metrics.sensitivity import deletion_map, order_sensitivity
from hardprompt.metrics.stability import stability
from hardprompt.metrics.token_f1 import token_f1
from hardprompt.metrics.tokens import inspect, token_map

__all__ = [
    "FAITHFULNESS",
    "NOT_FOR_HARD",
    "Interpretation",
    "TaskJudge",
    "continuation_kl",
    "deletion_map",
    "faithfulness",
    "inspect",
    "is_flagged",
    "order_sensitivity",
    "projection_ids",
    "repetition",
    "scrutability",
    "stability",
    "token_f1",
    "token_map",
    "whole_word_share",
]
