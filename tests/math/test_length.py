"""The length weight: the objective by hand, and prompts that are short where further tokens are useless."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardprompt.errors import RequestError
from hardprompt.objective import Objective
from hardprompt.optimizers import Problem, PromptResult, load_optimizer, run_optimizer
from hardprompt.optimizers.edits import deletions, draw_edits, replaced_part, with_shortened
from hardprompt.policies.reward import prompt_reward
from hardprompt.policies.space import PromptSpace
from hardprompt.study.measure import measure
from tests.helpers import Ask
from tests.helpers.tiny import tiny_lm, tiny_task

FEW: dict[str, dict[str, Any]] = {
    "random": {"prompts": 20},
    "random-likely": {"prompts": 20},
    "pez": {"steps": 5},
    "gbda": {"steps": 5, "evaluate_every": 5},
    "gcg": {"steps": 6, "search_width": 4},
    "autoprompt": {"steps": 6, "candidates": 3},
    "beam": {"searches": 1},
    "epo": {"iterations": 5, "slots": 2, "children": 3},
    "race": {"races": 1, "samples": 16},
    "front": {"generations": 1},
    "rl": {"episodes": 64, "rollout": 32, "examples": 3},
    "rlprompt": {"episodes": 64, "rollout": 32, "examples": 3},
}


def problem_of(family: str = "gpt2", **fields: Any) -> Problem:
    return Problem(tiny_task(), tiny_lm(family), **{"prompt_length": 4, "length_weight": 3.0} | fields)


def run(name: str, problem: Problem, **options: Any) -> PromptResult:
    found = load_optimizer(name)
    return run_optimizer(found, problem, found.configure(FEW.get(name, {}) | options))


def test_the_objective_adds_the_length_computed_by_hand() -> None:
    parts = Objective(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 8.0]), torch.zeros(2), 0.25, 0.5 * torch.tensor([3, 1]))
    assert parts.total.tolist() == [3.5, 4.5]
    assert parts.at(1.0).tolist() == [6.5, 10.5]
    problem = problem_of(weight=0.5, length_weight=0.25)
    ids = problem.allowed[:7].tolist()
    found = problem.objective([ids[:1], ids[1:4]])
    expected = found.task_loss + 0.5 * found.prompt_nll + torch.tensor([0.25, 0.75])
    torch.testing.assert_close(found.total, expected)


@pytest.mark.parametrize("name", FEW)
def test_prompts_are_short_where_further_tokens_are_useless(name: str) -> None:
    """At 3 nats per token no further token of the tiny task pays; the objective of every prompt is that by hand."""
    problem = problem_of(weight=0.0 if load_optimizer(name).finds_front else 0.1)
    result = run(name, problem)
    assert len(result.best.prompt.ids) == 1  # type: ignore[union-attr]
    for each in result.candidates:
        length = len(each.prompt.ids)  # type: ignore[union-attr]
        assert 1 <= length <= 4
        nll = 0.0 if problem.weight == 0 else problem.weight * each.prompt_nll
        assert each.dev_objective == pytest.approx(each.dev_task_loss + nll + 3 * length, rel=1e-5)


@pytest.mark.parametrize("name", ["random", "gcg", "pez", "rl"])
def test_without_a_length_weight_the_length_is_fixed(name: str) -> None:
    result = run(name, problem_of(length_weight=0.0))
    assert {len(each.prompt.ids) for each in result.candidates} == {4}  # type: ignore[union-attr]
    assert "end" not in result.config or result.config["end"] is False


def test_a_model_without_a_start_token_reads_two_tokens_at_least() -> None:
    """A single token has no NLL there, so that it would be the best one at a high fluency weight."""
    for name in ("random", "gcg", "rl"):
        result = run(name, problem_of("no-bos"))
        assert min(len(each.prompt.ids) for each in result.candidates) == 2  # type: ignore[union-attr]


def test_soft_prompts_keep_their_length_and_pay_a_constant() -> None:
    free, weighed = (run("soft", problem_of(length_weight=weight), steps=2) for weight in (0.0, 0.5))
    assert load_optimizer("soft").fixed_length
    assert weighed.best.dev_objective == pytest.approx(free.best.dev_objective + 2.0)


def test_edits_of_one_token() -> None:
    problem = problem_of()
    one, other, token = problem.allowed[[1, 2, 5]].tolist()
    ids = (one, one, other)
    assert deletions(problem, ids) == [(one, other), (one, one)]
    assert deletions(problem, (one,)) == [] == deletions(problem_of(length_weight=0.0), ids)
    parts = {(part.start, part.stop) for part in (replaced_part(problem, ids, 1) for _ in range(60))}
    assert parts == {(1, 1), (1, 2), (2, 2)}
    assert replaced_part(problem, (*ids, other), 1) == slice(1, 2), "no room"
    predictions = torch.zeros(3, len(problem.allowed))
    predictions[:, 5] = -1.0
    drawn = draw_edits(problem, ids, predictions, 200, 1)
    assert {len(each) for each in drawn} == {2, 3, 4}
    assert {each for each in drawn if len(each) == 4} == {
        (token, one, one, other), (one, token, one, other), (one, one, token, other), (one, one, other, token),
    }  # fmt: skip
    assert {len(each) for each in draw_edits(problem_of(length_weight=0.0), ids, predictions, 50, 1)} == {3}


def test_greedy_deletion_lowers_the_objective_at_each_step() -> None:
    """With a weight that is not too high it stops where a deletion costs more loss than it saves."""
    for weight in (0.01, 0.2):
        problem = problem_of(length_weight=weight)
        ids = tuple(problem.allowed[[3, 50, 70, 4]].tolist())
        *_, short = with_shortened(problem, ids)
        totals = problem.objective([ids, short]).total  # all six train examples, as in the deletions
        assert totals[1] <= totals[0]
        assert all(float(problem.objective([each]).total) >= totals[1] for each in deletions(problem, short))


def test_the_end_action_by_hand() -> None:
    """A prompt that is shorter than allowed does not end; the end action then writes the first token."""
    space = PromptSpace(problem_of())
    first, second = space.actions[:2].tolist()
    end = len(space.actions)
    rows = np.array([[end, end, 1, 1], [1, 1, end, 0], [1, 1, 1, 1]])
    assert space.end and space.shortest == 1
    assert space.tokens(rows) == [[first], [second, second], [second] * 4]
    assert space.finished(rows[:, :1]).tolist() == [False, False, False]
    assert space.finished(rows[:, :2]).tolist() == [True, False, False]
    assert space.ended(rows).tolist() == [[False, True, True, True], [False, False, True, True], [False] * 4]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rl", {"observation": "light"}),
        ("rl", {"observation": "state"}),
        ("rl", {"observation": "state", "fluent": 8}),
        ("rlprompt", {"observation": "light"}),
        ("rlprompt", {"observation": "light", "top_k": 8}),
        ("rlprompt", {"observation": "state"}),
        ("rlprompt", {"observation": "state", "fluent": 20, "top_k": 8}),
    ],
)
def test_a_new_policy_writes_prompts_of_every_length(name: str, options: dict[str, Any]) -> None:
    """It ends a prompt at each step with probability 1 / (L + 1): the mean length of the first rollout is that by hand."""
    result = run(name, problem_of(), episodes=300, rollout=300, **options)
    assert result.config["end"] is True
    goes_on = 4 / 5
    assert result.curve[0]["prompt_tokens"] == pytest.approx(1 + goes_on + goes_on**2 + goes_on**3, abs=0.2)


def test_a_policy_learns_to_end_prompts() -> None:
    curve = run("rl", problem_of(), episodes=640).curve
    assert curve[-1]["prompt_tokens"] < 1.5 < curve[0]["prompt_tokens"]


def test_the_reward_has_the_term() -> None:
    problem = problem_of(weight=0.5, length_weight=0.25)
    ids = problem.allowed[:7].tolist()
    for reward in ("objective", "gap"):
        found = prompt_reward(problem, [ids[:1], ids[1:4]], reward)
        parts = found.parts
        np.testing.assert_allclose(found.value, parts["task_reward"] - 0.5 * parts["prompt_nll"] - [0.25, 0.75], rtol=1e-5)
    with pytest.raises(
        RequestError, match=r"the length weight is 0\.25, but the reward 'product' has no weights; use 'objective'"
    ):
        run("rl", problem, reward="product")


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_length_weight_that_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(RequestError, match="the length weight must be a finite number of at least 0; got"):
        problem_of(length_weight=weight)


def test_the_record_of_a_front_with_a_length_weight() -> None:
    """Each member has the lowest objective in its range of fluency weights, with the length, of all scored prompts."""
    problem = problem_of(length_weight=0.05)
    result = run("front", problem)
    point = measure(problem, result)
    assert point["length_weight"] == 0.05 and point["prompt_tokens"] == len(point["prompt_ids"])
    assert point["objective"].endswith("+ length weight x tokens")
    for member in [point, *(point | other for other in point["front"])]:
        own = member["dev_loss"] + 0.05 * member["prompt_tokens"] + member["weight"] * member["log_perplexity"]
        assert member["dev_objective"] == pytest.approx(own, abs=1e-4)
        if member["weight_range"]:
            others = (c.dev_task_loss + c.length_cost + member["weight"] * c.prompt_nll for c in result.candidates)
            assert own <= min(others) + 1e-4


def test_the_command_refuses_bad_numbers_in_one_line(ask: Ask, here: Path) -> None:
    for given, said in (
        (["--length-weight", "-1"], "--length-weight: expected a number of at least 0.0; got -1.0"),
        (["--length-weight", "nan"], "--length-weight: "),
        (["--length-weight", "0.1", "--prompt-length", "0"], "--prompt-length: expected a number greater than 0; got 0"),
    ):
        status, _, error = ask(["optimize", "random", "--task", "plural", *given])
        assert status == 2
        assert said in error
        assert len(error.strip().splitlines()) == 1
