"""The optimizers of the core, the registry, and the problem that all optimizers solve.

`base.py` has the problem, the result and the registry; `baselines.py` the optimizers `empty`, `manual`, `random` and
`random-likely`; `soft.py` prompt tuning and `wayward.py` prompts that project to a given text, with the training loop of both
in `soft_training.py`; `pez.py` projected gradients; `gcg.py` and `autoprompt.py` searches that swap one token at a time, with
the predictions of `token_gradients.py` and the insertions and deletions of `edits.py`; `gbda.py` gradients of a distribution
over prompts; `beam.py` beam search and `race.py` a race of samples, with the model's own tokens from `proposals.py`; `epo.py` a
population with one fluency weight per slot, and `front.py` an archive for all weights (`archive.py`). The RL optimizers are in
`hardprompt.policies` and are found by an entry point, as are plug-ins.
"""

from hardprompt.optimizers.autoprompt import AutoPromptConfig, autoprompt
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
from hardprompt.optimizers.gbda import GbdaConfig, gbda
from hardprompt.optimizers.gcg import GcgConfig, gcg
from hardprompt.optimizers.pez import PezConfig, pez
from hardprompt.optimizers.race import RaceConfig, race
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.optimizers.wayward import WaywardConfig, wayward

OPTIMIZERS = [empty, manual, random, random_likely, soft, wayward, pez, front, gcg, autoprompt, gbda, epo, beam, race]

__all__ = [
    "OPTIMIZERS",
    "AutoPromptConfig",
    "BeamConfig",
    "Candidate",
    "Config",
    "EpoConfig",
    "FinalPrompts",
    "FrontConfig",
    "GbdaConfig",
    "GcgConfig",
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
