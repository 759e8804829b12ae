"""A prompt that an optimizer scored on dev."""

from dataclasses import dataclass

from hardprompt.prompt import HardPrompt, SoftPrompt


@dataclass(frozen=True)
class Candidate:
    """A prompt that was scored on dev.

    Attributes:
        prompt: the prompt.
        dev_objective: the objective on dev, by which the best candidate is selected.
        dev_task_loss: nats per example.
        dev_accuracy: a fraction.
        prompt_nll: nats per token; NaN for a soft prompt and for an empty one.
        lm_tokens: logical LM tokens that the search had used when the prompt was scored.
        length_cost: length weight x tokens of the prompt, in nats.
    """

    prompt: HardPrompt | SoftPrompt
    dev_objective: float
    dev_task_loss: float
    dev_accuracy: float
    prompt_nll: float
    lm_tokens: int
    length_cost: float = 0.0
