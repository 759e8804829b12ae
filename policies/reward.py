"""Rewards of finished prompts: pure functions of what the problem reports, raw values and their parts kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from hardprompt.errors import RequestError
from hardprompt.objective import combine, gap_reward
from hardprompt.optimizers.base import Problem

RewardName = Literal["objective", "gap"]


@dataclass(frozen=True)
class Reward:
    """One value per prompt, (P,), and its parts by name, (P,) each."""

    value: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)


RewardFunction = Callable[[Tensor], Reward]
"""From finished prompts as token ids (P, L) to their rewards."""


def prompt_reward(
    problem: Problem, ids: Tensor, name: RewardName = "objective", indices: Sequence[int] | None = None
) -> Reward:
    """The reward of prompts on train examples.

    "objective" is minus the shared objective, in nats: -(task loss + weight x prompt NLL). "gap" is RLPrompt's piecewise gap
    reward minus weight x prompt NLL, in points; the perplexity term enters before any normalization.

    Raises:
        RequestError: "gap" on a generation task.
    """
    if name == "objective":
        found = problem.objective(ids, indices)
        value, nll, accuracy = -found.total, found.prompt_nll, found.accuracy
    else:
        scores = problem.train.score_ids(ids.tolist(), indices)
        if scores.label_logits is None:
            raise RequestError(f"the gap reward needs label words, and task {problem.task.name} generates")
        labels = problem.train.labels if indices is None else problem.train.labels[list(indices)]
        nll, accuracy = problem.prompt_nll(ids), scores.correct.float().mean(-1)
        value = -combine(-gap_reward(scores.label_logits, labels), nll, problem.weight)
    return Reward(_numpy(value), {"accuracy": _numpy(accuracy), "prompt_nll": _numpy(nll)})


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
