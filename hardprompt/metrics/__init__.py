"""What is measured of every prompt that was found: can it be read, and does what is read do what was trained?

`scrutability.py` looks at a hard prompt alone, `faithfulness.py` compares a soft prompt with its projection.
"""

from hardprompt.metrics.faithfulness import FAITHFULNESS, NOT_FOR_HARD, faithfulness, projection_ids
from hardprompt.metrics.scrutability import repetition, scrutability, whole_word_share

__all__ = ["FAITHFULNESS", "NOT_FOR_HARD", "faithfulness", "projection_ids", "repetition", "scrutability", "whole_word_share"]
