"""Do the optimizers learn? On the embedded model, where random search and a learning rate of 0 are known to fail.

Task `plural`: an empty prompt scores 0.0 and random prompts hardly more; its plain instructions score 1.0.
"""

from typing import Any

import pytest

from hardprompt import load_task
from hardprompt.lm import FrozenLM
from hardprompt.optimizers import Problem, PromptResult, load_optimizer, run_optimizer
from hardprompt.study.point import measure


def _run(lm: FrozenLM, name: str, **options: Any) -> tuple[dict[str, Any], PromptResult]:
    found = load_optimizer(name)
    problem = Problem(load_task("plural"), lm)
    result = run_optimizer(found, problem, found.configure(options))
    return measure(problem, result), result


@pytest.mark.parametrize(("learning_rate", "low", "high"), [(0.05, 0.95, 1.0), (0.0, 0.0, 0.5)])
def test_a_soft_prompt_solves_the_task(microworld: FrozenLM, learning_rate: float, low: float, high: float) -> None:
    point, _ = _run(microworld, "soft", steps=150, learning_rate=learning_rate)
    assert low <= point["test_accuracy"] <= high


@pytest.mark.parametrize(("learning_rate", "low", "high"), [(None, 0.6, 1.0), (0.0, 0.0, 0.3)])
def test_pez_solves_the_task_and_stays_there(
    microworld: FrozenLM, learning_rate: float | None, low: float, high: float
) -> None:
    """Of the last 20 projections, not of the best that was visited."""
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    point, _ = _run(microworld, "pez", steps=150, **options)
    assert low <= point["emitted"]["mean_test_accuracy"] <= high


@pytest.mark.parametrize(("learning_rate", "low", "high"), [(None, 0.15, 1.0), (0.0, -0.1, 0.1)])
def test_the_policy_emits_better_prompts_as_it_learns(
    microworld: FrozenLM, learning_rate: float | None, low: float, high: float
) -> None:
    """Gain in the training accuracy of what is emitted, from the first to the last tenth of the rollouts."""
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    _, result = _run(microworld, "rl", episodes=1600, **options)
    accuracy = [entry["train_accuracy"] for entry in result.curve]
    tenth = len(accuracy) // 10
    gain = sum(accuracy[-tenth:]) / tenth - sum(accuracy[:tenth]) / tenth
    assert low <= gain <= high
