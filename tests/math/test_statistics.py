"""Statistics against SciPy, slow plain versions, and what is known of them."""

import math
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hardprompt.stats.statistics import (
    EXACT,
    Estimate,
    bootstrap,
    bootstrap_band,
    bootstrap_mean,
    comparisons,
    holm,
    interquartile_mean,
    mean,
    permutation_test,
    probability_of_improvement,
    score_at,
    spearman,
)

ACCURACY = st.integers(0, 8).map(lambda right: right / 8)
"""Accuracies on a few examples: ties are the rule."""

MATRICES = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(lambda shape: arrays(float, shape, elements=ACCURACY))


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, size=shape)


# Of one optimizer


@given(MATRICES)
def test_interquartile_mean_is_scipys_trimmed_mean(scores: np.ndarray) -> None:
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_statistics_take_draws_at_once(statistic: object) -> None:
    """Of a stack of matrices: the statistic of each."""
    stack = normal(5, 4, 3)
    assert callable(statistic)
    np.testing.assert_allclose(statistic(stack), [statistic(each) for each in stack])


def test_the_interquartile_mean_ignores_what_the_mean_does_not() -> None:
    """One task of eight gone wrong moves the mean, not the middle."""
    scores = np.full((8, 1), 0.9)
    scores[0] = 0.0
    assert interquartile_mean(scores) == pytest.approx(0.9) and mean(scores) == pytest.approx(0.7875)


@given(MATRICES, st.booleans(), st.integers(0, 3))
def test_an_interval_holds_the_mean_and_repeats(scores: np.ndarray, tasks_too: bool, seed: int) -> None:
    """It lies within the values; one seed gives one interval; the counts are those of the matrix."""
    found = bootstrap(mean, scores, tasks_too=tasks_too, draws=300, seed=seed)
    assert found == bootstrap(mean, scores, tasks_too=tasks_too, draws=300, seed=seed)
    assert scores.min() - 1e-9 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= scores.max() + 1e-9
    assert found.value == pytest.approx(scores.mean()) and (found.tasks, found.units) == scores.shape


def test_the_interval_is_scipys_on_one_task() -> None:
    scores = normal(1, 40)
    found = bootstrap(mean, scores, draws=20_000)
    theirs = stats.bootstrap((scores[0],), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_a_bootstrap_is_the_slow_one() -> None:
    """Tasks that differ and seeds that do not: nothing to redraw within tasks, and every one of 2^2 draws of two tasks."""
    scores = np.array([[0.2, 0.2], [0.8, 0.8]])
    within, over = (bootstrap(mean, scores, tasks_too=too, draws=4000) for too in (False, True))
    assert (within.low, within.high) == (0.5, 0.5)
    every = [np.mean([scores[i], scores[j]]) for i, j in product(range(2), repeat=2)]
    assert (over.low, over.high) == pytest.approx((min(every), max(every)))


@pytest.mark.parametrize("tasks_too", [False, True])
def test_intervals_cover_the_truth(tasks_too: bool) -> None:
    """Of 200 experiments about 95 % hold the true mean, 0; of 20 values a percentile interval is a little short."""
    shape = (20, 1) if tasks_too else (1, 20)
    found = [bootstrap(mean, normal(*shape, seed=i), tasks_too=tasks_too, draws=400) for i in range(200)]
    assert 0.88 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.98


def test_tasks_that_differ_widen_the_interval_only_where_they_are_redrawn() -> None:
    scores = np.linspace(0, 1, 8)[:, None] + 0.01 * normal(8, 3)
    within, over = (bootstrap(mean, scores, tasks_too=too) for too in (False, True))
    assert over.high - over.low > 10 * (within.high - within.low)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(0, 3))
def test_bootstrap_interval_holds_the_mean(values: list[float], seed: int) -> None:
    """The interval contains the mean, lies within the values, and one seed gives one interval."""
    found = bootstrap_mean(values, seed)
    assert found["n"] == len(values) and found == bootstrap_mean(values, seed)
    assert min(values) - 1e-9 <= found["low"] <= found["mean"] + 1e-9
    assert found["mean"] - 1e-9 <= found["high"] <= max(values) + 1e-9
    assert found["mean"] == pytest.approx(math.fsum(values) / len(values), abs=1e-9)


def test_bootstrap_interval_narrows_with_more_units() -> None:
    """Of 0 and 1 in equal parts: four units reach from 0 to 1 at 95 %, a hundred to 0.1 (1.96 x 0.05) beside the half."""
    few, many = bootstrap_mean([0.0, 1.0] * 2), bootstrap_mean([0.0, 1.0] * 50)
    assert (few["low"], few["high"]) == (0.0, 1.0)
    assert 0.39 <= many["low"] <= 0.41 and 0.59 <= many["high"] <= 0.61


@pytest.mark.parametrize("tasks_too", [False, True])
def test_a_band_is_the_interval_at_each_place(tasks_too: bool) -> None:
    """Its mean is exact; its ends are those of `bootstrap` at that place, within what 4,000 draws leave open."""
    curves = normal(4, 5, 3)
    band = bootstrap_band(curves, tasks_too=tasks_too, draws=4000)
    for place in range(3):
        found = bootstrap(mean, curves[..., place], tasks_too=tasks_too, draws=4000, seed=1)
        assert band[0, place] == pytest.approx(found.value)
        assert band[1:, place] == pytest.approx([found.low, found.high], abs=0.06)


# Of two


@given(MATRICES, st.integers(1, 4), st.data())
def test_probability_of_improvement_is_the_mann_whitney_u(scores: np.ndarray, others: int, data: st.DataObject) -> None:
    baseline = data.draw(arrays(float, (len(scores), others), elements=ACCURACY))
    shares = [stats.mannwhitneyu(x, y).statistic / (len(x) * others) for x, y in zip(scores, baseline, strict=True)]
    assert probability_of_improvement(scores, baseline) == pytest.approx(np.mean(shares))
    assert probability_of_improvement(baseline, scores) == pytest.approx(1 - np.mean(shares))


def test_the_interval_of_an_improvement_redraws_both() -> None:
    """Two optimizers of the same kind: a half within the interval. One far better: 1, without doubt."""
    a, b = normal(5, 6), normal(5, 6, seed=1)
    same = bootstrap(probability_of_improvement, a, b)
    assert same.low < 0.5 < same.high and same.high - same.low > 0.2
    assert bootstrap(probability_of_improvement, a + 100, b) == Estimate(1.0, 1.0, 1.0, 5, 6)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 3)), elements=ACCURACY))
def test_the_exact_test_goes_through_all_signs(differences: np.ndarray) -> None:
    """The slow version in exact arithmetic."""
    given_ = [Fraction(value) for value in differences.ravel()]
    observed = abs(sum(given_))
    sums: list[Any] = [
        abs(sum(sign * value for sign, value in zip(signs, given_, strict=True)))
        for signs in product((1, -1), repeat=len(given_))
    ]
    expected = sum(value >= observed for value in sums) / len(sums)
    assert permutation_test(differences, np.zeros_like(differences)) == expected


def test_the_test_is_scipys() -> None:
    """Exact on ten pairs; drawn on thirty, within what 10,000 draws leave open."""
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


def test_equal_optimizers_are_told_apart_no_more_often_than_they_may_be() -> None:
    """Of 400 pairs without a difference at most about 5 % have p <= 0.05; with one, most have."""
    zeros = np.zeros((3, 4))
    assert np.mean([permutation_test(normal(3, 4, seed=i), zeros) <= 0.05 for i in range(400)]) <= 0.08
    assert np.mean([permutation_test(normal(3, 4, seed=i, shift=1.5), zeros) <= 0.05 for i in range(100)]) > 0.9


def test_rounding_makes_no_difference_significant() -> None:
    """0.1 + 0.2 against 0.3: sums that are equal but for rounding count as equal."""
    differences = np.array([[0.1, 0.2, -0.3]])
    assert permutation_test(differences, np.zeros((1, 3))) == 1.0


def test_whole_tasks_are_flipped_for_what_is_said_of_other_tasks() -> None:
    """Many seeds on two tasks: sure on these, nothing on others (1/2 is the least that two tasks can give)."""
    better = normal(2, 30, shift=2.0)
    assert permutation_test(better, np.zeros((2, 30))) < 0.001
    assert permutation_test(better, np.zeros((2, 30)), tasks_too=True) == 0.5
    assert EXACT < 60, "the first was drawn"


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.3, 1.0]), max_size=6))
def test_holm_is_the_step_down_test(p_values: list[float]) -> None:
    """At every level: go from the smallest p on, and stop at the first above level / (what is left)."""
    found = holm(p_values)
    assert len(found) == len(p_values) and all(p <= q <= 1 for p, q in zip(p_values, found, strict=True))
    for level in (0.005, 0.03, 0.0801, 0.5):
        rejected, left = set(), sorted(range(len(p_values)), key=lambda i: p_values[i])
        while left and p_values[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        assert {i for i, p in enumerate(found) if p <= level} == rejected


def test_comparisons_are_of_every_pair_the_better_first() -> None:
    """Three optimizers, one of them best on all of ten tasks: two are shown to be beaten by it, the others not apart."""
    noise = normal(10, 3) / 50
    scores = {"random": 0.2 + noise, "pez": 0.9 + noise[::-1], "twin": 0.2 + noise[:, ::-1]}
    found = comparisons(scores, tasks_too=True)
    assert (
        len(found) == 3 and {each.first for each in found if each.shown} == {"pez"} and sum(each.shown for each in found) == 2
    )
    by_pair = {frozenset((each.first, each.second)): each for each in found}
    assert set(by_pair) == {frozenset(pair) for pair in combinations(scores, 2)}
    pez = by_pair[frozenset(("pez", "random"))]
    assert pez.improvement.value == 1.0 and pez.p_corrected == pytest.approx(3 * pez.p_value)
    assert str(pez).startswith("pez beats random: 0.") and "10 tasks x 3 runs, p = 0.0059 after Holm" in str(pez)
    assert "not shown: " in str(by_pair[frozenset(("twin", "random"))])


# Of a search, and of ranks


@given(st.lists(st.tuples(st.integers(1, 20), ACCURACY), max_size=5), st.lists(st.integers(0, 25), max_size=5))
def test_a_search_is_a_step_function(steps: list[tuple[int, float]], places: list[int]) -> None:
    """The slow version looks for the last improvement that was paid for."""
    steps.sort(key=lambda step: step[0])
    spent, best = (np.array([step[i] for step in steps], dtype=float) for i in (0, 1))
    found = score_at(spent, best, np.array(places, dtype=float))
    for at, value in zip(places, found, strict=True):
        reached = [score for tokens, score in steps if tokens <= at]
        assert value == reached[-1] if reached else math.isnan(value)


@given(st.lists(st.tuples(ACCURACY, ACCURACY), min_size=3, max_size=8))
def test_rank_correlation_is_scipys(pairs: list[tuple[float, float]]) -> None:
    """NaN where one of them is constant, without SciPy's warning."""
    x, y = np.array(pairs).T
    constant = len(set(x)) == 1 or len(set(y)) == 1
    expected = math.nan if constant else stats.spearmanr(x, y).statistic
    assert spearman(x, y) == pytest.approx(expected, nan_ok=True)
