"""Scoring prompts on the examples of a task: the only place where the frozen model meets a task.

`scorer.py` is the engine, `packing.py` chooses which rows go through the model together, `answers.py` tokenizes answers, and
`truncation.py` shortens inputs that are too long for the model.
"""

from hardprompt.scoring.scorer import Scorer, Scores, TokenCount

__all__ = ["Scorer", "Scores", "TokenCount"]
