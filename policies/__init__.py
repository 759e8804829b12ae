"""The RL optimizer: a gymnasium environment in which a policy emits a prompt token by token, and SB3's PPO that learns to.

`env.py` is the environment for one prompt at a time, `vec_env.py` the same for many, scored in one call; `ppo.py` is the
optimizer `rl`. Importing this package registers the environment `hardprompt/Prompt-v0`.
"""

import gymnasium

from .ppo import PpoConfig, rl

gymnasium.register(id="hardprompt/Prompt-v0", entry_point="hardprompt.policies.env:PromptEnv")

OPTIMIZERS = [rl]

__all__ = ["OPTIMIZERS", "PpoConfig", "rl"]
