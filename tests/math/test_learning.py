"""Do the optimizers learn? On the embedded model, where random search and a learning rate of 0 are known to fail.

Task `plural`: an empty prompt scores 0.0 and random prompts hardly more; its plain instructions score 0.97.
"""

from typing import Any

import pytest

from hardprompt import load_task
from hardprompt.lm import FrozenLM
from hardprompt.optimizers import Problem, PromptResult, load_optimizer, run_optimizer
from hardprompt.study.measure import measure


def _run(lm: FrozenLM, name: str, **options: Any) -> tuple[dict[str, Any], PromptResult]:
    found = load_optimizer(name)
    problem = Problem(load_task("plural"), lm)
    result = run_optimizer(found, problem, found.configure(options))
    return measure(problem, result), result


@pytest.mark.parametrize(("learning_rate", "steps", "low", "high"), [(None, 150, 0.9, 1.0), (0.0, 20, 0.0, 0.5)])
def test_a_soft_prompt_solves_the_task(
    microworld: FrozenLM, learning_rate: float | None, steps: int, low: float, high: float
) -> None:
    """Without a learning rate the vectors stay as they are, whatever the number of steps."""
    point, _ = _run(microworld, "soft", steps=steps, learning_rate=learning_rate)
    assert low <= point["test_accuracy"] <= high


@pytest.mark.parametrize(
    ("learning_rate", "steps", "low", "high"), [pytest.param(0.1, 300, 0.8, 1.0, marks=pytest.mark.slow), (0.0, 40, 0.0, 0.3)]
)
def test_pez_solves_the_task(microworld: FrozenLM, learning_rate: float, steps: int, low: float, high: float) -> None:
    """The best visited prompt solves the task.

    If PEZ oscillates, the last projections are worse, and the point reports by how much.
    """
    point, result = _run(microworld, "pez", steps=steps, learning_rate=learning_rate)
    assert low <= point["test_accuracy"] <= high
    assert len(result.final_prompts) == point["emitted"]["count"] == 20


@pytest.mark.parametrize(
    ("learning_rate", "episodes", "low", "high"),
    [pytest.param(0.01, 1600, 2.0, 10.0, marks=pytest.mark.slow), (0.0, 800, -0.7, 0.7)],
)
def test_the_policy_emits_better_prompts_as_it_learns(
    microworld: FrozenLM, learning_rate: float, episodes: int, low: float, high: float
) -> None:
    """Gain in the reward (nats per example) of all that is emitted, from the first to the last fifth of the rollouts."""
    _, result = _run(microworld, "rl", episodes=episodes, learning_rate=learning_rate)
    reward = [entry["reward"] for entry in result.curve]
    fifth = len(reward) // 5
    gain = sum(reward[-fifth:]) / fifth - sum(reward[:fifth]) / fifth
    assert low <= gain <= high
