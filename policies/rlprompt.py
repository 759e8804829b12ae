"""The optimizer `rlprompt`: RLPrompt (Deng et al. 2022) as published, on maintained libraries.

On-policy soft Q-learning, a network on the policy LM's last hidden state whose output layer is the LM's, and the published
numbers: 16 prompts an update, scored on all train examples; Adam at 5e-5; the mean of the losses v2 and v3; Polyak 0.001;
gradients clipped to 5; sampling from the top 256 of Q; rewards z-scored within their batch and shaped to [0, 5]. Not as
published: the reward is the shared objective unless `rlprompt.reward=gap`, and prompts are made of the allowed vocabulary.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer

from .options import SearchConfig
from .reward import check_reward, shaped

if TYPE_CHECKING:
    from .soft_q import SoftQ
    from .vec_env import PromptVecEnv

WRITER = "microworld"
"""Writes for a task LM that cannot, a masked one."""


class RlpromptConfig(SearchConfig):
    """Options of RLPrompt, beside those of every search here; the defaults are the published ones.

    Attributes:
        observation: "state" (the policy LM's last hidden state) or "light" (the position and the last token, without an LM).
        loss: "v1", "v2", "v3", or "v2_v3", their published mean.
        top_k: actions that may be sampled at each step (256; 50 for style transfer).
        shape: rewards in [0, 1] become rewards in this interval: (0, 5), for style transfer (-20, 80).
        bias: added to all of Q (0; -10 for style transfer).
        hidden: width of the hidden layer; by default 8/3 of the LM's, with "light" 64.
    """

    rollout: Annotated[int, Field(ge=2)] = 16
    examples: PositiveInt | None = None
    observation: Literal["light", "state"] = "state"
    loss: Literal["v1", "v2", "v3", "v2_v3"] = "v2_v3"
    learning_rate: NonNegativeFloat = 5e-5
    top_k: PositiveInt = 256
    polyak: Annotated[float, Field(ge=0, le=1)] = 0.001
    shape: tuple[float, float] = (0.0, 5.0)
    bias: float = 0.0
    max_grad_norm: PositiveFloat = 5.0
    hidden: PositiveInt | None = None


@optimizer("rlprompt", config=RlpromptConfig, check=lambda problem, config: check_reward(problem, config.reward))
def rlprompt(problem: Problem, config: RlpromptConfig) -> FinalPrompts:
    """RLPrompt as published: soft Q-learning on a frozen LM's hidden state."""
    from .search import search
    from .soft_q import SoftQ

    if problem.lm.masked and config.policy_lm is None and config.observation == "state":
        config = config.model_copy(update={"policy_lm": WRITER})
        problem.resolved_options["policy_lm"] = WRITER

    def make(env: "PromptVecEnv") -> "SoftQ":
        return SoftQ(
            "SoftQPolicy",
            env,
            learning_rate=config.learning_rate,
            loss=config.loss,
            polyak=config.polyak,
            max_grad_norm=config.max_grad_norm,
            policy_kwargs={"head": env.head, "hidden": config.hidden, "bias": config.bias, "top_k": config.top_k},
            seed=problem.seed,
            device=problem.lm.device if env.head is not None else "cpu",
        )

    return search(problem, config, make, config.observation, shape=lambda values: shaped(values, *config.shape))
