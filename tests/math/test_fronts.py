"""Measures of fronts compared with slow plain versions on random points, and with values computed by hand."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from hardprompt.records.frontier import frontier
from hardprompt.records.schema import RunRecord
from hardprompt.stats.pareto import (
    ATTAINMENT_LEVELS,
    R2_WEIGHTS,
    attainment,
    hypervolume,
    noisy_r2,
    non_dominated,
    pessimistic_hypervolume,
)

WORST = 8.0
CELLS = 80
"""Cells of the grid that the slow versions integrate over. The costs are at their borders, so the integrals are exact."""


@dataclass(frozen=True)
class Points:
    """Points with accuracies on dev and test, and costs."""

    dev: list[float]
    test: list[float]
    cost: list[float]

    def members(self) -> "Points":
        """The front that is chosen on dev, by a comparison of every point with every other one; of equal points the first."""
        chosen = []
        for i in range(len(self.dev)):
            beaten = False
            for j in range(len(self.dev)):
                as_good = self.dev[j] >= self.dev[i] and self.cost[j] <= self.cost[i]
                equal = self.dev[j] == self.dev[i] and self.cost[j] == self.cost[i]
                beaten |= as_good and (not equal or j < i)
            if not beaten:
                chosen.append(i)
        chosen.sort(key=lambda i: self.cost[i])
        return Points(*([of[i] for i in chosen] for of in (self.dev, self.test, self.cost)))


def random_points(seed: int) -> Points:
    """Up to ten points, some with equal values and some beyond the reference; accuracies are eighths and costs grid borders."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 11))
    dev, test = (generator.integers(9, size=count) / 8 for _ in range(2))
    cost = generator.integers(int(CELLS * 1.3), size=count) * WORST / CELLS
    return Points(dev.tolist(), test.tolist(), cost.tolist())


SEEDS = range(60)
EDGES = {
    "one member": Points([0.5], [0.25], [2.0]),
    "equal costs": Points([0.5, 1.0, 1.0], [1.0, 0.5, 0.25], [2.0, 2.0, 2.0]),
    "the only member is beyond the reference": Points([1.0], [1.0], [9.0]),
    "the last member is beyond the reference": Points([0.5, 1.0], [0.75, 1.0], [2.0, 9.0]),
    "a member at the reference": Points([1.0], [1.0], [8.0]),
    "a member without cost": Points([0.5, 1.0], [1.0, 0.5], [0.0, 4.0]),
    "every member is worse on test than a cheaper one": Points([0.25, 0.5, 1.0], [0.75, 0.5, 0.25], [1.0, 3.0, 5.0]),
    "no points": Points([], [], []),
}


CASES = EDGES | {f"random points {seed}": random_points(seed) for seed in SEEDS}
every_case = pytest.mark.parametrize("points", CASES.values(), ids=CASES)


def middles() -> list[float]:
    """The middles of the cells, which are no point's cost."""
    return [(cell + 0.5) * WORST / CELLS for cell in range(CELLS)]


def best_up_to(cost: float, points: Points) -> float:
    """Test accuracy of the point that is best on test within a cost."""
    best = 0.0
    for accuracy, own in zip(points.test, points.cost, strict=True):
        if own <= cost and accuracy > best:
            best = accuracy
    return best


def recommended_up_to(cost: float, points: Points) -> float:
    """Test accuracy of the point that is best on dev within a cost, the cheapest of equal ones, or the first of them."""
    found: tuple[float, float, float] | None = None
    for dev, test, own in zip(points.dev, points.test, points.cost, strict=True):
        if own <= cost and (found is None or dev > found[0] or (dev == found[0] and own < found[1])):
            found = dev, own, test
    return 0.0 if found is None else found[2]


@every_case
def test_hypervolumes_are_integrals_over_the_budgets_of_users(points: Points) -> None:
    """The optimistic user takes the member that is best on test within the budget, the pessimistic one asks dev, which needs no
    front: the best of all points on dev is a member."""
    members = points.members()
    optimistic = sum(best_up_to(cost, members) for cost in middles()) / CELLS
    pessimistic = sum(recommended_up_to(cost, points) for cost in middles()) / CELLS
    assert hypervolume(members.test, members.cost, WORST) == pytest.approx(optimistic)
    assert pessimistic_hypervolume(members.test, members.cost, WORST) == pytest.approx(pessimistic)
    assert pessimistic <= optimistic + 1e-12
    assert [points.dev[i] for i in non_dominated(points.dev, points.cost)] == members.dev


def test_the_pessimistic_hypervolume_computed_by_hand() -> None:
    """(0.75 x 2 + 0.5 x 2 + 0.25 x 3) / 8; sorted by the cost, the order of the members does not count."""
    of = EDGES["every member is worse on test than a cheaper one"]
    assert pessimistic_hypervolume(of.test, of.cost, WORST) == pytest.approx(3.25 / 8)
    assert pessimistic_hypervolume(of.test[::-1], of.cost[::-1], WORST) == pytest.approx(3.25 / 8)
    assert hypervolume(of.test, of.cost, WORST) == pytest.approx(0.75 * 7 / 8)
    assert pessimistic_hypervolume([], [], WORST) == pessimistic_hypervolume([1.0], [9.0], WORST) == 0.0


def test_without_noise_both_hypervolumes_are_equal() -> None:
    """If accuracies on test are those on dev, nobody loses by choosing on dev."""
    for points in map(random_points, SEEDS):
        own = points.members()
        assert pessimistic_hypervolume(own.dev, own.cost, WORST) == pytest.approx(hypervolume(own.dev, own.cost, WORST))


@every_case
def test_noisy_r2_agrees_with_exact_arithmetic(points: Points) -> None:
    """Loops over weights and points in fractions, so that ties are ties; the mean loss is 1 without points."""

    def loss(weight: Fraction, gain: float, cost: float) -> Fraction:
        return (1 - weight) * (1 - Fraction(gain)) + weight * Fraction(cost) / Fraction(WORST)

    weights = [Fraction(quarters, 4) for quarters in range(5)]
    chosen: list[Fraction] = []
    for weight in weights:
        best: int | None = None
        for i in range(len(points.dev)):
            own = loss(weight, points.dev[i], points.cost[i]), points.cost[i]
            if best is None or own < (loss(weight, points.dev[best], points.cost[best]), points.cost[best]):
                best = i
            elif own == (loss(weight, points.dev[best], points.cost[best]), points.cost[best]) and (
                points.dev[i] > points.dev[best]
            ):
                best = i
        chosen.append(Fraction(1) if best is None else loss(weight, points.test[best], points.cost[best]))
    found = noisy_r2(points.dev, points.test, points.cost, WORST, [float(weight) for weight in weights])
    assert found == pytest.approx(float(sum(chosen) / len(chosen)))


def test_noisy_r2_of_a_front_is_that_of_all_points() -> None:
    """A user never chooses a point that is dominated on dev. The weights are 0, 0.1, ..., 1."""
    assert pytest.approx([tenths / 10 for tenths in range(11)]) == R2_WEIGHTS
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        points = Points(*generator.uniform(0, (1, 1, WORST), size=(7, 3)).T.tolist())
        own = points.members()
        assert noisy_r2(own.dev, own.test, own.cost, WORST) == noisy_r2(points.dev, points.test, points.cost, WORST)


def test_noisy_r2_computed_by_hand() -> None:
    """The loss of a lone point is linear in the weight, so its mean is that at 0.5. A perfect, free prompt has no loss."""
    assert noisy_r2([0.9], [0.5], [2.0], WORST) == pytest.approx(0.5 * 0.5 + 0.5 * 0.25)
    assert noisy_r2([1.0, 0.5], [1.0, 0.5], [0.0, 0.0], WORST) == 0.0
    assert noisy_r2([1.0, 1.0], [0.25, 0.5], [4.0, 2.0], WORST, [0.0]) == 0.5, "of equal losses the cheapest point"
    assert noisy_r2([0.0], [0.0], [WORST], WORST) == noisy_r2([], [], [], WORST) == 1.0


@pytest.mark.parametrize("count", range(1, 9))
def test_attainment_agrees_with_counting(count: int) -> None:
    """At each cost, some accuracy in eighths is the largest that enough fronts attain; counting fronts finds it."""
    fronts = [random_points(100 * count + number).members() for number in range(count)]
    places, gains = attainment([(own.test, own.cost) for own in fronts])
    assert gains.shape == (len(ATTAINMENT_LEVELS), len(places)) and (np.diff(places) > 0).all()
    for cost in np.arange(0, 1.4 * WORST, WORST / CELLS / 2).tolist():
        last = int((places <= cost).sum()) - 1
        for level, row in zip(ATTAINMENT_LEVELS, gains, strict=True):
            attained = 0.0
            for eighths in range(9):
                those = [own for own in fronts if best_up_to(cost, own) >= eighths / 8]
                if len(those) >= level * count:
                    attained = eighths / 8
            assert (row[last] if last >= 0 else 0.0) == attained, (cost, level)


def test_attainment_computed_by_hand() -> None:
    """Of four fronts, two attain 0.5 from cost 2 on, a third one 0.25 from 4 on, and one has no point."""
    fronts: list[tuple[list[float], list[float]]] = [
        ([0.5], [2.0]),
        ([0.5, 0.5], [2.0, 3.0]),
        ([0.25, 0.125], [4.0, 4.0]),
        ([], []),
    ]
    places, gains = attainment(fronts)
    assert places.tolist() == [2.0, 4.0]
    assert gains.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.25]]
    assert [each.tolist() for each in attainment([])] == [[], [[], [], []]]
    hundredths = attainment([([of / 100], [1.0]) for of in range(1, 101)], levels=[0.07, 1.0])[1]
    assert hundredths.tolist() == [[0.94], [0.01]], "seven of the fronts attain 0.94, all attain 0.01"


# frontier.json


def run(seed: int, dev: float, test: float, cost: float, name: str = "a") -> RunRecord:
    """A point with the fields that `frontier` uses."""
    return RunRecord.model_construct(
        optimizer=name, split="default", seed=seed, weight=0.0, prompt_text="", status="ok",
        deployed_dev_accuracy=dev, deployed_test_accuracy=test, log_perplexity=cost,
    )  # fmt: skip


def test_frontier_measures_each_unit_and_averages() -> None:
    """Each (split, seed) is a unit with any number of points, also several of one optimizer, weight, split and seed."""
    units = [random_points(seed) for seed in range(5)]
    points = [run(seed, *each) for seed, of in enumerate(units) for each in zip(of.dev, of.test, of.cost, strict=True)]
    found = frontier(points, WORST)
    own = found["optimizers"]["a"]
    assert own == found["overall"]
    fronts = [of.members() for of in units]
    optimistic = [hypervolume(of.test, of.cost, WORST) for of in fronts]
    pessimistic = [pessimistic_hypervolume(of.test, of.cost, WORST) for of in fronts]
    losses = [noisy_r2(of.dev, of.test, of.cost, WORST) for of in fronts]
    gaps = [a - b for a, b in zip(optimistic, pessimistic, strict=True)]
    assert max(gaps) > 0
    measures = {
        "hypervolume": optimistic, "pessimistic_hypervolume": pessimistic, "hypervolume_gap": gaps, "noisy_r2": losses
    }  # fmt: skip
    for key, values in measures.items():
        assert own[key]["mean"] == pytest.approx(math.fsum(values) / 5) and own[key]["n"] == 5
        assert min(values) - 1e-12 <= own[key]["low"] <= own[key]["mean"] <= own[key]["high"] <= max(values) + 1e-12
    assert found["noisy_r2_weights"] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    places, gains = attainment([(of.test, of.cost) for of in fronts])
    assert own["attainment"]["log_perplexity"] == places.tolist()
    assert own["attainment"]["deployed_test_accuracy"] == dict(zip(("0.25", "0.5", "0.75"), gains.tolist(), strict=True))
