"""The optimizers of the core, the registry, and the problem they are all given.

`baselines.py`: empty, manual, random. `soft.py`: vanilla prompt tuning. `pez.py`: projected gradient. The RL policy lives in
`hardprompt.policies` and is found through the same entry point as anyone's own.
"""

from hardprompt.optimizers.base import (
    Config,
    Optimizer,
    Problem,
    PromptResult,
    Visit,
    all_optimizers,
    load_optimizer,
    optimizer,
    run_optimizer,
)
from hardprompt.optimizers.baselines import empty, manual, random
from hardprompt.optimizers.pez import PezConfig, pez
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.projection import MEASURES, closeness, nearest, nearest_entries

OPTIMIZERS = [empty, manual, random, soft, pez]

__all__ = [
    "MEASURES",
    "OPTIMIZERS",
    "Config",
    "Optimizer",
    "PezConfig",
    "Problem",
    "PromptResult",
    "SoftConfig",
    "Visit",
    "all_optimizers",
    "closeness",
    "load_optimizer",
    "nearest",
    "nearest_entries",
    "optimizer",
    "run_optimizer",
]
