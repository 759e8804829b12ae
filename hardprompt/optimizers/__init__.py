"""The optimizers of the core, the registry, and the problem that all optimizers solve.

`base.py` has the problem, the result and the registry; `baselines.py` the optimizers `empty`, `manual`, `random` and
`random-likely`; `soft.py` prompt tuning and `wayward.py` prompts that project to a given text, with the training loop of both
in `soft_training.py`; and `pez.py` projected gradients. The RL optimizers are in `hardprompt.policies` and are found by an
entry point, as are plug-ins.
"""

from hardprompt.optimizers.base import (
    Candidate,
    Config,
    FinalPrompts,
    Optimizer,
    Problem,
    PromptResult,
    all_optimizers,
    load_optimizer,
    optimizer,
    run_optimizer,
)
from hardprompt.optimizers.baselines import empty, manual, random, random_likely
from hardprompt.optimizers.front import FrontConfig, front
from hardprompt.optimizers.pez import PezConfig, pez
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.optimizers.wayward import WaywardConfig, wayward

OPTIMIZERS = [empty, manual, random, random_likely, soft, wayward, pez, front]

__all__ = [
    "OPTIMIZERS",
    "Candidate",
    "Config",
    "FinalPrompts",
    "FrontConfig",
    "Optimizer",
    "PezConfig",
    "Problem",
    "PromptResult",
    "SoftConfig",
    "WaywardConfig",
    "all_optimizers",
    "load_optimizer",
    "optimizer",
    "run_optimizer",
]
