"""What is measured of every prompt that was found: can it be read, and does what is read do what was trained?

`scrutability.py` looks at a hard prompt alone, `faithfulness.py` compares a soft prompt with its projection, `tokens.py` shows
either token by token.
"""

from hardprompt.metrics.faithfulness import FAITHFULNESS, NOT_FOR_HARD, faithfulness, projection_ids
from hardprompt.metrics.scrutability import repetition, scrutability, whole_word_share
from hardprompt.metrics.tokens import inspect

__all__ = [
    "FAITHFULNESS",
    "NOT_FOR_HARD",
    "faithfulness",
    "inspect",
    "projection_ids",
    "repetition",
    "scrutability",
    "whole_word_share",
]
