"""The optimizer `soft`: prompt tuning (Lester et al. 2021), L free vectors that are trained by gradient on the task loss.

Their number is fixed, so that a length weight adds the same constant to every objective.
"""

from typing import Literal

from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer
from hardprompt.optimizers.soft_training import SoftTrainingConfig, check_init, check_soft, initial_embeds, train_soft_prompt


class SoftConfig(SoftTrainingConfig):
    """Options of prompt tuning."""

    init: Literal["vocabulary", "noise", "text"] = "vocabulary"
    """Initial prompt: embeddings of random allowed tokens ("vocabulary"), normal noise with the mean and the standard deviation
    of the vocabulary embeddings ("noise"), or the embeddings of init_text ("text")."""

    init_text: str = ""
    """Text for init="text". Its tokens are repeated or cut to the prompt length."""


def _check(problem: Problem, config: SoftConfig) -> None:
    check_init(config.init, config.init_text)
    check_soft(problem, config)


@optimizer("soft", config=SoftConfig, uses_weight=False, check=_check, fixed_length=True)
def soft(problem: Problem, config: SoftConfig) -> FinalPrompts:
    """Prompt tuning: free vectors, trained by gradient. They reach a high accuracy, but have no readable text."""
    return train_soft_prompt(problem, initial_embeds(problem, config.init, config.init_text), config)
