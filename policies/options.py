"""Options that the optimizers of this package share."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from hardprompt.optimizers.base import Config


class SearchConfig(Config):
    """What is common to all that write prompts token by token and are rewarded at their end.

    Attributes:
        episodes: prompts that are emitted and scored in all; by default as many as the budget allows, or 4096 without one.
            Rounded up to whole rollouts.
        rollout: prompts per rollout, scored in one call.
        examples: train examples drawn per rollout, the same for all its prompts; null for all.
        reward: "objective" (nats), "gap" (RLPrompt's, points; classification only), "linear-gap" (without its pieces), or a
            function of one's own, `path.py:name`.
        zscore: whether rewards are z-scored within their rollout, as RLPrompt does; without, they are learnt from as they are.
        policy_lm: the model that writes, if it is not the one that solves the task.
        fluent: only so many actions, those most probable to the policy LM: next tokens of a policy that reads its state, first
            tokens of the light one.
        label_words: whether prompts may hold label words.
        end: whether the policy may end a prompt before its full length.
        patience: rollouts without a better prompt on dev after which the search ends.
        timeout: seconds after which it ends; the one option with which two runs of one seed may differ.
        log: a folder for the learning curve as CSV, and for TensorBoard where that is installed.
    """

    episodes: PositiveInt | None = None
    rollout: Annotated[int, Field(ge=2)] = 64
    examples: PositiveInt | None = 4
    reward: str = "objective"
    zscore: bool = True
    policy_lm: str | None = None
    fluent: PositiveInt | None = None
    label_words: bool = True
    end: bool = False
    patience: PositiveInt | None = None
    timeout: PositiveFloat | None = None
    log: str | None = None
