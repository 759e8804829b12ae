"""Options that the RL optimizers share."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from hardprompt.optimizers.base import Config


class SearchConfig(Config):
    """Options of a search in which a policy writes prompts token by token and is rewarded at the end of each prompt."""

    episodes: PositiveInt | None = None
    """Number of prompts that the policy writes, rounded up to whole rollouts. By default as many as the budget allows, or 4096
    without a budget."""

    rollout: Annotated[int, Field(ge=2)] = 64
    """Prompts in each rollout. They are scored in one call and followed by one update of the policy."""

    scored: PositiveInt | None = None
    """Number of prompts of each rollout, those with the highest rewards, that are scored on dev. By default 1, or 4 in a
    search of fewer than 15 rollouts, from which a policy learns too little to choose its prompts itself."""

    examples: PositiveInt | None = 4
    """Number of train examples that are drawn for each rollout, the same for all its prompts. With null all are used."""

    reward: str = "objective"
    """Reward of a prompt: minus the objective, in nats ("objective"); the piecewise gap reward of RLPrompt, in points ("gap");
    the gap reward with one factor for right and wrong answers ("linear-gap"); a task score times a fluency score, both from 0
    to 1, whatever the weight ("product" and "hypervolume", after MORL-Prompt); or a Python function (path.py:name). The gap
    rewards need a classification task."""

    zscore: bool = True
    """Whether rewards are replaced by their z-scores within the rollout, as in RLPrompt."""

    policy_lm: str | None = None
    """The model that the policy reads and writes with, by name or folder. By default the model that solves the task."""

    fluent: PositiveInt | None = None
    """Number of actions: only the tokens that the policy LM finds most probable. With observation="state" they are the most
    probable next tokens at each step; with "light" they are the most probable first tokens, at all steps. By default all
    allowed tokens are actions, except in `rl` with more than 10,000 allowed tokens (see `observation`)."""

    label_words: bool = True
    """Whether prompts may contain the label words of the task."""

    end: bool = False
    """Whether the policy can end a prompt before its full length. With a length weight it always can."""

    patience: PositiveInt | None = None
    """The search stops after this number of rollouts without a better prompt on dev. By default it does not."""

    timeout: PositiveFloat | None = None
    """The search stops after this number of seconds. Two runs with one seed can then differ. By default there is no limit."""

    log: str | None = None
    """Folder for the learning curve, as CSV and, if tensorboard is installed, as event files. By default none is written."""
