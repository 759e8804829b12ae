"""hardprompt: how well can a prompt do, and how readable can it stay while doing it?

    task --> objective --> optimizer (soft | pez | rl | yours) --> prompt --> metrics --> record --> trade-off

Names are loaded when they are first used, so that importing the package and `hardprompt --help` cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Config": "hardprompt.optimizers",
    "Example": "hardprompt.data.task",
    "FrozenLM": "hardprompt.lm",
    "HardPrompt": "hardprompt.prompt",
    "HardpromptError": "hardprompt.errors",
    "Problem": "hardprompt.optimizers",
    "PromptResult": "hardprompt.optimizers",
    "Scorer": "hardprompt.scoring",
    "ScoredPrompt": "hardprompt.metrics",
    "SoftPrompt": "hardprompt.prompt",
    "StudyRequest": "hardprompt.records",
    "Task": "hardprompt.data.task",
    "Template": "hardprompt.data.task",
    "compare": "hardprompt.study",
    "evaluate": "hardprompt.study",
    "inspect": "hardprompt.metrics",
    "load_lm": "hardprompt.lm",
    "load_metric": "hardprompt.metrics",
    "load_optimizer": "hardprompt.optimizers",
    "load_points": "hardprompt.records",
    "load_prompt": "hardprompt.records",
    "load_task": "hardprompt.data.catalogue",
    "metric": "hardprompt.metrics",
    "new_task": "hardprompt.custom_task.scaffold",
    "optimizer": "hardprompt.optimizers",
    "run": "hardprompt.study",
    "run_optimizer": "hardprompt.optimizers",
    "validate": "hardprompt.custom_task.validate",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from hardprompt.custom_task.scaffold import new_task
    from hardprompt.custom_task.validate import validate
    from hardprompt.data.catalogue import load_task
    from hardprompt.data.task import Example, Task, Template
    from hardprompt.errors import HardpromptError
    from hardprompt.lm import FrozenLM, load_lm
    from hardprompt.metrics import ScoredPrompt, inspect, load_metric, metric
    from hardprompt.optimizers import Config, Problem, PromptResult, load_optimizer, optimizer, run_optimizer
    from hardprompt.prompt import HardPrompt, SoftPrompt
    from hardprompt.records import StudyRequest, load_points, load_prompt
    from hardprompt.scoring import Scorer
    from hardprompt.study import compare, evaluate, run


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hardprompt' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
