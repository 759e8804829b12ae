"""The RL optimizers: a gymnasium environment in which a policy writes a prompt token by token, and algorithms that train it.

`env.py` is the environment for one prompt, and `vec_env.py` the environment for many prompts that are scored in one call. Both
use `space.py`, with the actions from `actions.py` and the observations from `observers.py`; `reward.py` and `style.py` compute
rewards. `networks.py` has the policies, `soft_q.py` is soft Q-learning as a stable-baselines3 algorithm, `losses.py` has its
losses, and `checkpoint.py` saves and loads policies. `ppo.py` is the optimizer `rl` and `rlprompt.py` the optimizer `rlprompt`;
both use `options.py` and `search.py`.

Importing this package registers the environment `hardprompt/Prompt-v0`.
"""

import gymnasium

from .ppo import PpoConfig, rl
from .rlprompt import RlpromptConfig, rlprompt

gymnasium.register(id="hardprompt/Prompt-v0", entry_point="hardprompt.policies.env:PromptEnv")

OPTIMIZERS = [rl, rlprompt]

__all__ = ["OPTIMIZERS", "PpoConfig", "RlpromptConfig", "rl", "rlprompt"]
