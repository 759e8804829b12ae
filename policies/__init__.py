"""The RL optimizers: a gymnasium environment in which a policy emits a prompt token by token, and algorithms that learn to.

`env.py` is the environment for one prompt at a time, `vec_env.py` the same for many, scored in one call; what they share is
`space.py`, with `actions.py` (what may be chosen) and `observers.py` (what is seen). `networks.py` has the policies,
`soft_q.py` soft Q-learning as a stable-baselines3 algorithm with `losses.py`, `reward.py` and `style.py` the rewards,
`checkpoint.py` loading with care. `ppo.py` is the optimizer `rl`, `rlprompt.py` the optimizer `rlprompt`, and `search.py` what
they share.
Importing this package registers the environment `hardprompt/Prompt-v0`.
"""

import gymnasium

from .ppo import PpoConfig, rl
from .rlprompt import RlpromptConfig, rlprompt

gymnasium.register(id="hardprompt/Prompt-v0", entry_point="hardprompt.policies.env:PromptEnv")

OPTIMIZERS = [rl, rlprompt]

__all__ = ["OPTIMIZERS", "PpoConfig", "RlpromptConfig", "rl", "rlprompt"]
