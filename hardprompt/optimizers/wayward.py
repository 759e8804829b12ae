"""The optimizer `wayward`: a soft prompt that solves a task and projects to a given text (Khashabi et al. 2022).

The prompt has the length of the target text, is initialized at its embeddings, and is trained with a penalty on the distance
to them (`train_soft_prompt`). In the published code gamma is never passed on; here the penalty is part of the loss. Since the
text can be chosen freely, it does not explain what the prompt does: wayward prompts are a negative control for methods that
read soft prompts.
"""

from pydantic import NonNegativeFloat
from torch import Tensor

from hardprompt.data.task import Template
from hardprompt.errors import RequestError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer
from hardprompt.optimizers.soft_training import SoftTrainingConfig, check_soft, train_soft_prompt
from hardprompt.projection import SimilarityMeasure
from hardprompt.prompt import AFTER_INPUT, HardPrompt


class WaywardConfig(SoftTrainingConfig):
    """Options of wayward prompts."""

    target: str = ""
    """The text that the prompt projects to. It is required, and must have as many tokens as the prompt."""

    gamma: NonNegativeFloat = 0.3
    """Weight of the distance to the target, in nats per squared embedding unit. With 0 the prompt only starts at the target."""

    projection: SimilarityMeasure = "euclidean"
    """Similarity measure by which the prompt is projected to tokens, as in Khashabi et al. (2022)."""


def target_prompt(lm: FrozenLM, template: Template, text: str) -> HardPrompt:
    """The target text, tokenized as in a template.

    Raises:
        RequestError: it is empty, or its tokens do not decode to it.

    Example:
        >>> from hardprompt import Template, load_lm
        >>> len(target_prompt(load_lm("microworld"), Template("{prompt}: {input} ="), "give the plural").ids)
        3
    """
    target = HardPrompt.in_place(lm, template, text.strip())
    if not target.ids:
        raise RequestError("the target text is empty; give a text of at least one word")
    decoded = lm.decode(target.ids).strip()
    if decoded != target.text:
        raise RequestError(
            f"the tokens of the target {target.text!r} decode to {decoded!r} for {lm.name}; use a text that they decode to"
        )
    return target


def target_embeds(problem: Problem, target: HardPrompt) -> Tensor:
    """The embeddings of the target, (L, d).

    Raises:
        RequestError: the target is longer or shorter than the prompts of the problem.
    """
    length = len(target.ids)
    if length != problem.prompt_length:
        raise RequestError(
            f"the length of the target {target.text!r} is {length}, but the prompt length is {problem.prompt_length}; "
            f"set the prompt length to {length}"
        )
    return problem.lm.vocab_embeds.float()[list(target.ids)]


def _target(problem: Problem, config: WaywardConfig) -> HardPrompt:
    return target_prompt(problem.lm, AFTER_INPUT, config.target)  # the allowed tokens are those that follow a blank


def _check(problem: Problem, config: WaywardConfig) -> None:
    check_soft(problem, config)
    if not config.target.strip():
        raise RequestError("wayward needs the option target: the text that the prompt projects to; it is empty")
    target = _target(problem, config)
    target_embeds(problem, target)
    if outside := set(target.ids) - set(problem.allowed.tolist()):
        raise RequestError(
            f"the vocabulary does not allow {problem.lm.decode([min(outside)])!r}, a token of the target {target.text!r}; "
            "use the vocabulary 'all' or another target"
        )


@optimizer("wayward", config=WaywardConfig, uses_weight=False, check=_check, fixed_length=True)
def wayward(problem: Problem, config: WaywardConfig) -> FinalPrompts:
    """A soft prompt that solves the task and projects to a target text. It needs the option target."""
    goal = target_embeds(problem, _target(problem, config))
    return train_soft_prompt(problem, goal, config, goal, config.gamma)
