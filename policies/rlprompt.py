"""The optimizer `rlprompt`: RLPrompt (Deng et al. 2022).

On-policy soft Q-learning of a network on the last hidden state of the policy LM, with the LM's output layer and the published
hyperparameters. There are two differences from the publication: the reward is minus the objective unless `reward` is "gap", and
prompts consist of the allowed tokens.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from hardprompt.optimizers.base import FinalPrompts, Problem, optimizer

from .options import SearchConfig
from .reward import check_reward, shaped

if TYPE_CHECKING:
    from .soft_q import SoftQ
    from .vec_env import PromptVecEnv

DEFAULT_POLICY_LM = "microworld"
"""The policy LM if the task LM is a masked model, which predicts no next token."""


class RlpromptConfig(SearchConfig):
    """Options of RLPrompt. The defaults are those of Deng et al. (2022)."""

    rollout: Annotated[int, Field(ge=2)] = 16
    """Prompts in each rollout. They are scored in one call and followed by one update of the policy."""

    scored: PositiveInt = 1
    """Number of prompts of each rollout, those with the highest rewards, that are scored on dev."""

    examples: PositiveInt | None = None
    """Number of train examples that are drawn for each rollout, the same for all its prompts. With null all are used."""

    observation: Literal["light", "state"] = "state"
    """What the policy observes: the last hidden state of the policy LM ("state"), or the position and the last token
    ("light")."""

    loss: Literal["v1", "v2", "v3", "v2_v3"] = "v2_v3"
    """Loss of soft Q-learning; "v2_v3" is the mean of v2 and v3 (`hardprompt.policies.losses`)."""

    learning_rate: NonNegativeFloat = 5e-5
    """Learning rate of Adam, constant over the run."""

    top_k: PositiveInt = 256
    """At each step, only this number of actions can be sampled: those with the highest Q. The published value for style
    transfer is 50."""

    polyak: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Weight of the Q network in each update of the target network."""

    shape: tuple[float, float] = (0.0, 5.0)
    """Interval to which the interval [0, 1] of rewards is mapped. The published one for style transfer is (-20, 80)."""

    bias: float = 0.0
    """Constant that is added to all values of Q. The published one for style transfer is -10."""

    max_grad_norm: PositiveFloat = 5.0
    """Norm to which gradients are clipped."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer. By default 8/3 of the width of the policy LM, and with observation="light" 64."""


@optimizer("rlprompt", config=RlpromptConfig, check=lambda problem, config: check_reward(problem, config.reward))
def rlprompt(problem: Problem, config: RlpromptConfig) -> FinalPrompts:
    """RLPrompt: a policy on the hidden states of a frozen LM, trained with soft Q-learning."""
    from .search import search
    from .soft_q import SoftQ

    if problem.lm.kind != "causal" and config.policy_lm is None and config.observation == "state":
        config = config.model_copy(update={"policy_lm": DEFAULT_POLICY_LM})
        problem.resolved_options["policy_lm"] = DEFAULT_POLICY_LM

    def make(env: "PromptVecEnv") -> "SoftQ":
        return SoftQ(
            "SoftQPolicy",
            env,
            learning_rate=config.learning_rate,
            loss=config.loss,
            polyak=config.polyak,
            max_grad_norm=config.max_grad_norm,
            policy_kwargs={
                "head": env.head,
                "hidden": config.hidden,
                "bias": config.bias,
                "top_k": config.top_k,
                "end_bias": env.space.end_bias,
            },
            seed=problem.seed,
            device=problem.lm.device if env.head is not None else "cpu",
        )

    return search(
        problem,
        config,
        make,
        config.observation,
        shape=lambda values: shaped(values, *config.shape),
        sampled=config.top_k,
    )
