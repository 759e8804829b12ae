"""hardprompt: discrete prompt optimization, and the trade-off between the accuracy and the readability of prompts.

    task --> objective --> optimizer (soft | pez | rl | plug-in) --> prompt --> metrics --> record --> trade-off

`optimize` runs one optimizer, `compare` a study of several, `evaluate` measures a prompt, and `read` reads it. Names are
imported when they are first used, so that importing the package is fast.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

logging.getLogger("hardprompt").addHandler(logging.NullHandler())

_MODULES = {
    "Config": "hardprompt.optimizers",
    "Example": "hardprompt.data.task",
    "FrozenLM": "hardprompt.lm",
    "HardPrompt": "hardprompt.prompt",
    "HardpromptError": "hardprompt.errors",
    "NotebookProgress": "hardprompt.progress.notebook_display",
    "Problem": "hardprompt.optimizers",
    "PromptResult": "hardprompt.optimizers",
    "Scorer": "hardprompt.scoring",
    "ScoredPrompt": "hardprompt.metrics",
    "SoftPrompt": "hardprompt.prompt",
    "StudyRequest": "hardprompt.records.request",
    "Task": "hardprompt.data.task",
    "Template": "hardprompt.data.task",
    "compare": "hardprompt.study.runner",
    "estimate": "hardprompt.study.estimate",
    "evaluate": "hardprompt.study.evaluation",
    "inspect": "hardprompt.metrics",
    "load_lm": "hardprompt.lm",
    "load_metric": "hardprompt.metrics",
    "load_optimizer": "hardprompt.optimizers",
    "load_points": "hardprompt.records.store",
    "load_prompt": "hardprompt.records.prompt_ref",
    "load_study": "hardprompt.report.studies",
    "load_task": "hardprompt.data.catalogue",
    "metric": "hardprompt.metrics",
    "new_task": "hardprompt.custom_task.scaffold",
    "optimize": "hardprompt.study.single_run",
    "optimizer": "hardprompt.optimizers",
    "read": "hardprompt.readings.read",
    "run": "hardprompt.study.runner",
    "run_optimizer": "hardprompt.optimizers",
    "transfer": "hardprompt.experiments.transfer.run",
    "validate": "hardprompt.custom_task.validate",
    "wrap": "hardprompt.prompted_model",
}

__all__ = [
    "Config",
    "Example",
    "FrozenLM",
    "HardPrompt",
    "HardpromptError",
    "NotebookProgress",
    "Problem",
    "PromptResult",
    "ScoredPrompt",
    "Scorer",
    "SoftPrompt",
    "StudyRequest",
    "Task",
    "Template",
    "__version__",
    "compare",
    "estimate",
    "evaluate",
    "inspect",
    "load_lm",
    "load_metric",
    "load_optimizer",
    "load_points",
    "load_prompt",
    "load_study",
    "load_task",
    "metric",
    "new_task",
    "optimize",
    "optimizer",
    "read",
    "run",
    "run_optimizer",
    "transfer",
    "validate",
    "wrap",
]

if TYPE_CHECKING:
    from hardprompt.custom_task.scaffold import new_task
    from hardprompt.custom_task.validate import validate
    from hardprompt.data.catalogue import load_task
    from hardprompt.data.task import Example, Task, Template
    from hardprompt.errors import HardpromptError
    from hardprompt.experiments.transfer.run import transfer
    from hardprompt.lm import FrozenLM, load_lm
    from hardprompt.metrics import ScoredPrompt, inspect, load_metric, metric
    from hardprompt.optimizers import Config, Problem, PromptResult, load_optimizer, optimizer, run_optimizer
    from hardprompt.progress.notebook_display import NotebookProgress
    from hardprompt.prompt import HardPrompt, SoftPrompt
    from hardprompt.prompted_model import wrap
    from hardprompt.readings.read import read
    from hardprompt.records.prompt_ref import load_prompt
    from hardprompt.records.request import StudyRequest
    from hardprompt.records.store import load_points
    from hardprompt.report.studies import load_study
    from hardprompt.scoring import Scorer
    from hardprompt.study.estimate import estimate
    from hardprompt.study.evaluation import evaluate
    from hardprompt.study.runner import compare, run
    from hardprompt.study.single_run import optimize


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hardprompt' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
