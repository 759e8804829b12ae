"""Scoring prompts on the examples of a task, the only place where the frozen model meets a task.

- `scorer.py`: the `Scorer` and its `Scores`.
- `rows.py`: the token sequences that are scored.
- `passes.py`: forward passes over them; `packing.py` chooses which rows go through the model together.
- `answers.py`: token ids of answers; `targets.py`: loss and correctness of generated answers.
- `imitation.py`: a scorer whose loss is the distance from the answers under another prompt.
- `truncation.py`: cuts inputs that are too long for the model.
"""

from hardprompt.scoring.scorer import Scorer, Scores, TokenCount

__all__ = ["Scorer", "Scores", "TokenCount"]
