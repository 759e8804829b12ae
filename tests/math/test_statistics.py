"""Statistics compared with SciPy and with plain implementations, and their properties."""

import math
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hardprompt.experiments.claims.measurement import Measure
from hardprompt.metrics.geometry import crossed_interval
from hardprompt.records.frontier import differences
from hardprompt.records.schema import RunRecord
from hardprompt.stats.bootstrap import bootstrap, bootstrap_band, bootstrap_mean, resample, times_drawn
from hardprompt.stats.comparison import EXACT, comparisons, holm, permutation_test, probability_of_improvement
from hardprompt.stats.estimate import Estimate, verdict
from hardprompt.stats.summaries import interquartile_mean, mean, score_at

ACCURACY = st.integers(0, 8).map(lambda right: right / 8)
"""Accuracies on eight examples, so that ties are common."""

MATRICES = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(lambda shape: arrays(float, shape, elements=ACCURACY))


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, size=shape)


# Summaries


@given(MATRICES)
def test_the_interquartile_mean_agrees_with_sorting(scores: np.ndarray) -> None:
    """A quarter of all values, rounded down, is dropped at each end."""
    values = sorted(scores.ravel())
    cut = len(values) // 4
    assert interquartile_mean(scores) == pytest.approx(np.mean(values[cut : len(values) - cut]))


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_statistics_accept_a_stack_of_matrices(statistic: object) -> None:
    """For a stack of matrices they return the statistic of each."""
    stack = normal(5, 4, 3)
    assert callable(statistic)
    np.testing.assert_allclose(statistic(stack), [statistic(each) for each in stack])


def test_one_failed_task_moves_the_mean_but_not_the_interquartile_mean() -> None:
    scores = np.full((8, 1), 0.9)
    scores[0] = 0.0
    assert interquartile_mean(scores) == pytest.approx(0.9) and mean(scores) == pytest.approx(0.7875)


def test_the_mean_of_tasks_with_different_numbers_of_units() -> None:
    """Tasks have the same weight: (0.5 + 0.25) / 2."""
    assert mean(np.array([[1.0, 0.0], [0.25, np.nan]])) == 0.375


# Estimates and verdicts


def test_an_estimate_as_json() -> None:
    """NaN becomes None, so that the JSON is valid. The estimate of a mean has the keys of frontier.json."""
    assert Estimate(0.5, 0.25, 0.75, 4, 8).as_mean() == {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    nothing = Estimate.from_draws(math.nan, np.full(3, math.nan), tasks=2, n=0)
    assert nothing.as_json() == {"value": None, "low": None, "high": None, "tasks": 2, "n": 0, "half_width": None}


def test_an_interval_leaves_out_draws_without_a_value() -> None:
    found = Estimate.from_draws(1.0, np.array([0.0, np.nan, 2.0]), 1, 3, level=1.0)
    assert (found.low, found.high, found.half_width) == (0.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("bound", "low", "high", "n", "expected"),
    [
        ({"above": 0.0}, 0.1, 0.3, 9, "holds"),
        ({"above": 0.0}, -0.1, 0.3, 9, "undecided"),
        ({"above": 0.0}, -0.3, 0.0, 9, "fails"),
        ({"above": 0.0}, 0.0, 0.3, 9, "undecided"),
        ({"above": 0.2}, 0.1, 0.3, 9, "undecided"),
        ({"below": 0.02}, -0.1, 0.01, 9, "holds"),
        ({"below": 0.02}, 0.02, 0.3, 9, "fails"),
        ({"below": 0.02}, 0.0, 0.02, 9, "undecided"),
        ({"above": 0.0}, 0.5, 0.5, 2, "undecided"),
        ({"above": 0.0}, math.nan, math.nan, 9, "undecided"),
        ({"below": 0.0}, math.nan, math.nan, 9, "undecided"),
    ],
)
def test_a_verdict_depends_on_the_whole_interval(
    bound: dict[str, float], low: float, high: float, n: int, expected: str
) -> None:
    assert verdict(Estimate((low + high) / 2, low, high, 3, n), **bound) == expected


@pytest.mark.parametrize("bounds", [{}, {"above": 0.0, "below": 1.0}])
def test_a_verdict_needs_exactly_one_bound(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one bound"):
        verdict(Estimate(0.5, 0.4, 0.6, 3, 9), **bounds)


# Intervals


@given(MATRICES, st.booleans(), st.integers(0, 3))
def test_an_interval_contains_the_mean_and_is_reproducible(scores: np.ndarray, tasks_too: bool, seed: int) -> None:
    """Its ends are within the values, the same seed gives the same interval, and n counts the values."""
    found = bootstrap(mean, scores, tasks_too=tasks_too, draws=300, seed=seed)
    assert found == bootstrap(mean, scores, tasks_too=tasks_too, draws=300, seed=seed)
    assert scores.min() - 1e-9 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= scores.max() + 1e-9
    assert found.value == pytest.approx(scores.mean()) and (found.tasks, found.n) == (len(scores), scores.size)


DESIGNS = [{}, {"tasks_too": True}, {"crossed": True}]


@pytest.mark.parametrize("design", DESIGNS)
def test_constant_scores_have_an_interval_without_width(design: dict[str, bool]) -> None:
    assert bootstrap(mean, np.full((4, 3), 0.25), **design) == Estimate(0.25, 0.25, 0.25, 4, 12)


@pytest.mark.parametrize("design", DESIGNS)
def test_adding_a_constant_shifts_the_interval(design: dict[str, bool]) -> None:
    scores = normal(4, 3)
    one, other = bootstrap(mean, scores, **design), bootstrap(mean, scores + 10, **design)
    assert [other.value, other.low, other.high] == pytest.approx([one.value + 10, one.low + 10, one.high + 10])


def test_each_bootstrap_design_draws_its_own_units() -> None:
    """Rows are the drawn tasks. A task that is drawn twice has different units each time, unless the design is crossed."""
    generator = np.random.default_rng(0)
    rows, columns = resample([5] * 4, 50, generator)
    assert rows.ravel().tolist() == [0, 1, 2, 3] and columns.shape == (50, 4, 5)
    rows, columns = resample([5] * 4, 50, generator, tasks_too=True)
    assert rows.shape == (50, 4, 1) and columns.shape == (50, 4, 5)
    twice = [columns[draw][rows[draw, :, 0] == task] for draw in range(50) for task in range(4)]
    assert any((units != units[0]).any() for units in twice if len(units) > 1)
    rows, columns = resample([5] * 4, 50, generator, crossed=True)
    assert rows.shape == (50, 4, 1) and columns.shape == (50, 1, 5)


def test_shorter_tasks_are_resampled_among_their_own_units() -> None:
    """Padding is resampled to padding, so that a drawn task has as many units as the task itself."""
    scores = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    rows, columns = resample([3, 2], 200, np.random.default_rng(0), tasks_too=True)
    drawn = scores[rows, columns]
    short = rows[:, :, 0] == 1
    assert np.isnan(drawn[short]).sum(-1).tolist() == [1] * int(short.sum()) and not np.isnan(drawn[~short]).any()
    assert set(drawn[short][:, :2].ravel()) == {4.0, 5.0}


@given(arrays(int, (3, 4), elements=st.integers(0, 2)))
def test_times_drawn_agrees_with_counting(indices: np.ndarray) -> None:
    assert times_drawn(indices, 3).tolist() == [[list(row).count(i) for i in range(3)] for row in indices]


def test_all_intervals_of_one_value_per_task_agree() -> None:
    """Test examples of a record, tasks of a claim and tasks of a geometry study have equal intervals, up to sampling error."""
    values = np.random.default_rng(1).integers(2, size=40)
    run: dict[str, Any] = {"split": "default", "seed": 0, "weight": 0.0, "status": "ok"}
    points = [
        RunRecord.model_construct(**run, optimizer="empty", test_correct=[0] * 40),
        RunRecord.model_construct(**run, optimizer="pez", test_correct=values.tolist()),
    ]
    frontier = differences(points)[0]["empty"]
    found = Measure(mean="x", of={}).estimate([{"task": str(task), "x": float(x)} for task, x in enumerate(values)])
    grid = crossed_interval(torch.tensor(values, dtype=torch.double)[:, None])
    assert found is not None and frontier["n"] == found.n == grid.n == 40
    assert frontier["mean"] == pytest.approx(found.value) == pytest.approx(grid.value)
    ends = np.array([(frontier["low"], frontier["high"]), (found.low, found.high), (grid.low, grid.high)])
    assert (np.ptp(ends, axis=0) <= 1 / 40 + 1e-9).all(), "at most one value apart"


def test_the_interval_of_one_task_agrees_with_scipy() -> None:
    scores = normal(1, 40)
    found = bootstrap(mean, scores, draws=20_000)
    theirs = stats.bootstrap((scores[0],), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_an_interval_of_two_tasks_computed_by_hand() -> None:
    """With equal units in each task, the interval on these tasks has no width; over tasks it spans the 2^2 possible draws."""
    scores = np.array([[0.2, 0.2], [0.8, 0.8]])
    within, over = (bootstrap(mean, scores, tasks_too=too, draws=4000) for too in (False, True))
    assert (within.low, within.high) == (0.5, 0.5)
    every = [np.mean([scores[i], scores[j]]) for i, j in product(range(2), repeat=2)]
    assert (over.low, over.high) == pytest.approx((min(every), max(every)))


@pytest.mark.parametrize("tasks_too", [False, True])
def test_intervals_cover_the_true_mean(tasks_too: bool) -> None:
    """About 95 % of 200 intervals contain the true mean, 0; with 20 values a percentile interval is a little short."""
    shape = (20, 1) if tasks_too else (1, 20)
    found = [bootstrap(mean, normal(*shape, seed=i), tasks_too=tasks_too, draws=400) for i in range(200)]
    assert 0.88 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.98


def test_the_crossed_interval_covers_the_true_mean() -> None:
    """With random task effects, word effects and noise, about 95 % or more of 150 intervals contain the true mean."""
    found = []
    for i in range(150):
        scores = normal(20, 1, seed=i) + normal(1, 20, seed=1000 + i) + normal(20, 20, seed=2000 + i)
        found.append(bootstrap(mean, scores, crossed=True, draws=400))
    assert 0.88 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 1.0


def test_differing_tasks_widen_the_interval_only_if_tasks_are_resampled() -> None:
    scores = np.linspace(0, 1, 8)[:, None] + 0.01 * normal(8, 3)
    within, over = (bootstrap(mean, scores, tasks_too=too) for too in (False, True))
    assert over.high - over.low > 10 * (within.high - within.low)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(0, 3))
def test_the_interval_of_a_sample_contains_the_mean(values: list[float], seed: int) -> None:
    """Its ends are within the values, and the same seed gives the same interval."""
    found = bootstrap_mean(values, seed=seed)
    assert (found.tasks, found.n) == (1, len(values)) and found == bootstrap_mean(values, seed=seed)
    assert min(values) - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-9
    assert found.value == pytest.approx(math.fsum(values) / len(values), abs=1e-9)


def test_the_interval_of_a_sample_narrows_with_more_values() -> None:
    """For zeros and ones in equal parts it is 0 to 1 with four values, and 0.4 to 0.6 with a hundred (0.5 -+ 1.96 x 0.05)."""
    few, many = bootstrap_mean([0.0, 1.0] * 2), bootstrap_mean([0.0, 1.0] * 50)
    assert (few.low, few.high) == (0.0, 1.0)
    assert 0.39 <= many.low <= 0.41 and 0.59 <= many.high <= 0.61


def test_drawing_equal_values_together_changes_no_interval() -> None:
    """The ends for sixty values of four kinds, drawn together or one by one, differ by less than the error of 20,000 draws."""
    values = np.random.default_rng(0).choice([-1.0, 0.0, 0.5, 1.0], size=60)
    together, apart = bootstrap_mean(values, draws=20_000), bootstrap(mean, values[None], draws=20_000)
    assert together.value == apart.value and together.n == apart.n
    assert (together.low, together.high) == pytest.approx((apart.low, apart.high), abs=0.01)


@pytest.mark.parametrize("tasks_too", [False, True])
def test_a_band_is_the_interval_at_each_position(tasks_too: bool) -> None:
    """With the same seed it uses the same draws, so that its ends equal those of `bootstrap` at that position."""
    curves = normal(4, 5, 3)
    band = bootstrap_band(curves, tasks_too=tasks_too, draws=4000)
    for place in range(3):
        found = bootstrap(mean, curves[..., place], tasks_too=tasks_too, draws=4000)
        assert band[:, place] == pytest.approx([found.value, found.low, found.high])


# Comparisons


@given(MATRICES, st.integers(1, 4), st.data())
def test_probability_of_improvement_is_the_mann_whitney_u(scores: np.ndarray, others: int, data: st.DataObject) -> None:
    baseline = data.draw(arrays(float, (len(scores), others), elements=ACCURACY))
    shares = [stats.mannwhitneyu(x, y).statistic / (len(x) * others) for x, y in zip(scores, baseline, strict=True)]
    assert probability_of_improvement(scores, baseline) == pytest.approx(np.mean(shares))
    assert probability_of_improvement(baseline, scores) == pytest.approx(1 - np.mean(shares))


def test_the_interval_of_an_improvement_resamples_both_optimizers() -> None:
    """For equally good optimizers the interval contains 0.5. If one is far better, it is exactly 1."""
    a, b = normal(5, 6), normal(5, 6, seed=1)
    same = bootstrap(probability_of_improvement, a, b)
    assert same.low < 0.5 < same.high and same.high - same.low > 0.2
    assert bootstrap(probability_of_improvement, a + 100, b) == Estimate(1.0, 1.0, 1.0, 5, 30)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 3)), elements=ACCURACY))
def test_the_exact_permutation_test_uses_all_sign_flips(differences: np.ndarray) -> None:
    """The reference is a plain implementation in exact arithmetic."""
    given_ = [Fraction(value) for value in differences.ravel()]
    observed = abs(sum(given_))
    sums: list[Any] = [
        abs(sum(sign * value for sign, value in zip(signs, given_, strict=True)))
        for signs in product((1, -1), repeat=len(given_))
    ]
    expected = sum(value >= observed for value in sums) / len(sums)
    assert permutation_test(differences, np.zeros_like(differences)) == expected


def test_the_permutation_test_agrees_with_scipy() -> None:
    """The p-values are equal for ten pairs, and for thirty pairs within the error of 10,000 draws."""
    for n, tolerance in ((10, 1e-12), (30, 0.02)):
        a, b = normal(1, n, shift=0.4), normal(1, n, seed=1)
        theirs = stats.permutation_test(
            (a[0], b[0]),
            lambda x, y, axis: np.mean(x - y, axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=10_000,
            rng=1,
        )
        assert permutation_test(a, b) == pytest.approx(theirs.pvalue, abs=tolerance)


def test_the_permutation_test_keeps_its_level_and_has_power() -> None:
    """Without a difference about 5 % of 400 p-values are at most 0.05; with a large difference most are."""
    zeros = np.zeros((3, 4))
    assert np.mean([permutation_test(normal(3, 4, seed=i), zeros) <= 0.05 for i in range(400)]) <= 0.08
    assert np.mean([permutation_test(normal(3, 4, seed=i, shift=1.5), zeros) <= 0.05 for i in range(100)]) > 0.9


def test_rounding_errors_do_not_change_the_p_value() -> None:
    """Sums that differ only by rounding, such as 0.1 + 0.2 - 0.3 and 0, count as equal."""
    differences = np.array([[0.1, 0.2, -0.3]])
    assert permutation_test(differences, np.zeros((1, 3))) == 1.0


def test_a_test_over_tasks_flips_whole_tasks() -> None:
    """With many seeds on two tasks, a difference is significant on these tasks, but the smallest p over tasks is 1/2."""
    better = normal(2, 30, shift=2.0)
    assert permutation_test(better, np.zeros((2, 30))) < 0.001
    assert permutation_test(better, np.zeros((2, 30)), tasks_too=True) == 0.5
    assert EXACT < 60, "the first p-value comes from drawn patterns"


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.3, 1.0]), max_size=6))
def test_holm_agrees_with_the_step_down_procedure(p_values: list[float]) -> None:
    """At every level, go up from the smallest p and stop at the first p above level / (number of remaining p-values)."""
    found = holm(p_values)
    assert len(found) == len(p_values) and all(p <= q <= 1 for p, q in zip(p_values, found, strict=True))
    for level in (0.005, 0.03, 0.0801, 0.5):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda i: p_values[i])
        while left and p_values[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        assert {i for i, p in enumerate(found) if p <= level} == rejected


def test_comparisons_name_the_better_optimizer_first() -> None:
    """One of three optimizers is best on all ten tasks: its differences are significant, the third difference is not."""
    noise = normal(10, 3) / 50
    scores = {"random": 0.2 + noise, "pez": 0.9 + noise[::-1], "twin": 0.2 + noise[:, ::-1]}
    found = comparisons([(a, scores[a], b, scores[b]) for a, b in combinations(scores, 2)], tasks_too=True)
    assert (
        len(found) == 3 and {each.first for each in found if each.shown} == {"pez"} and sum(each.shown for each in found) == 2
    )
    by_pair = {frozenset((each.first, each.second)): each for each in found}
    assert set(by_pair) == {frozenset(pair) for pair in combinations(scores, 2)}
    pez = by_pair[frozenset(("pez", "random"))]
    assert pez.improvement.value == 1.0 and pez.p_corrected == pytest.approx(3 * pez.p_value)
    assert str(pez).startswith("pez beats random: 0.") and "n = 30 in 10 tasks, p = 0.0059 after Holm" in str(pez)
    assert "not shown: " in str(by_pair[frozenset(("twin", "random"))])


# Search curves


@given(st.lists(st.tuples(st.integers(1, 20), ACCURACY), max_size=5), st.lists(st.integers(0, 25), max_size=5))
def test_the_score_at_a_budget_is_a_step_function(steps: list[tuple[int, float]], places: list[int]) -> None:
    """The reference is a plain loop that looks for the last improvement within the budget."""
    steps.sort(key=lambda step: step[0])
    spent, best = (np.array([step[i] for step in steps], dtype=float) for i in (0, 1))
    found = score_at(spent, best, np.array(places, dtype=float))
    for at, value in zip(places, found, strict=True):
        reached = [score for tokens, score in steps if tokens <= at]
        assert value == reached[-1] if reached else math.isnan(value)
