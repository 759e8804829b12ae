"""The optimizers of the core, the registry, and the problem that all optimizers solve.

`base.py` has the problem, the result and the registry; `baselines.py` the optimizers `empty`, `manual`, `random` and
`random-likely`; `soft.py` prompt tuning and `wayward.py` prompts that project to a given text, with the training loop of both
in `soft_training.py`; `pez.py` projected gradients; `epo.py` a population with one fluency weight per slot, with the swaps of
`token_gradients.py`; `beam.py` beam search and `race.py` a race of samples, with the model's own tokens from `proposals.py`.
The RL optimizers are in `hardprompt.policies` and are found by an entry point, as are plug-ins.
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
from hardprompt.optimizers.beam import BeamConfig, beam
from hardprompt.optimizers.epo import EpoConfig, epo
from hardprompt.optimizers.front import FrontConfig, front
from hardprompt.optimizers.pez import PezConfig, pez
from hardprompt.optimizers.race import RaceConfig, race
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.optimizers.wayward import WaywardConfig, wayward

OPTIMIZERS = [empty, manual, random, random_likely, soft, wayward, pez, front, epo, beam, race]

__all__ = [
    "OPTIMIZERS",
    "BeamConfig",
    "Candidate",
    "Config",
    "EpoConfig",
    "FinalPrompts",
    "FrontConfig",
    "Optimizer",
    "PezConfig",
    "Problem",
    "PromptResult",
    "RaceConfig",
    "SoftConfig",
    "WaywardConfig",
    "all_optimizers",
    "load_optimizer",
    "optimizer",
    "run_optimizer",
]
