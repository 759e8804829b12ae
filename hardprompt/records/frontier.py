"""The trade-off in a set of points: the Pareto front and its measures (`hardprompt.stats.pareto`).

The axes are the accuracy of the deployed text and its log-perplexity. Members of a front are chosen on dev, and the values
shown are those on test. All functions are pure functions of the points in `points.jsonl`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardprompt.data.given_prompts import method_of
from hardprompt.records.schema import AnyRun, RunRecord, at_weights
from hardprompt.stats.bootstrap import bootstrap_mean
from hardprompt.stats.pareto import (
    ATTAINMENT_LEVELS,
    R2_WEIGHTS,
    attainment,
    hypervolume,
    noisy_r2,
    non_dominated,
    pessimistic_hypervolume,
)

BASELINES = ("empty", "manual")


def frontier(
    points: Sequence[AnyRun],
    worst_log_perplexity: float,
    known: Sequence[dict[str, Any]] = (),
    weights: Sequence[float] = (0.0,),
) -> dict[str, Any]:
    """The contents of `frontier.json`: the fronts per optimizer and of all, and their measures.

    Args:
        points: recorded points; failed runs, and prompts without text (the empty prompt), are left out.
        worst_log_perplexity: the reference of the hypervolume, in nats per token: the logarithm of the vocabulary size. A
            uniform guess predicts text of this log-perplexity equally well.
        known: the points of the true front, with `test_accuracy` and `log_perplexity`, if it is known. They are the best of
            many wordings that the model was trained on, not of all texts. So a share of their hypervolume may exceed 1, and a
            regret may be negative.
        weights: the fluency weights at which the members of fronts are compared with the baselines.

    Returns:
        `axes`, `reference`, `noisy_r2_weights`, `known` (`front` and `hypervolume`, or None), `optimizers` (by name; all
        given prompts are one), `overall` (the same for all optimizers together) and `differences` (see `differences`). For each
        optimizer there are:

        - `front`: the members of the front of all its points.
        - `hypervolume`, the share of the plane that the front of a (split, seed) unit dominates on test;
          `pessimistic_hypervolume`, the share below the test accuracy of the member that is best on dev up to each cost;
          `hypervolume_gap`, the first minus the second; and `noisy_r2`, smaller is better. Each is the mean over units with a
          95 % bootstrap interval over units.
        - `attainment`: the test accuracy that the fronts of at least 25, 50 and 75 % of the units attain, from each
          `log_perplexity` on, by the share of units.
        - if the true front is known, `regret`, the best accuracy on the true front minus that of the unit's best text (chosen
          on dev), and, if the true front has several points, `share_of_known_hypervolume`.
    """
    placed = [p for p in points if p.status == "ok" and p.log_perplexity is not None]
    names = list(dict.fromkeys(method_of(p.optimizer) for p in placed))
    truth = _known(known, worst_log_perplexity) if known else None

    def summary(group: list[RunRecord]) -> dict[str, Any]:
        return _summary(group, worst_log_perplexity, truth)

    return {
        "axes": {
            "gain": "deployed_test_accuracy",
            "cost": "log_perplexity",
            "members_chosen_by": "deployed_dev_accuracy",
        },
        "reference": {"deployed_test_accuracy": 0.0, "log_perplexity": worst_log_perplexity},
        "noisy_r2_weights": list(R2_WEIGHTS),
        "known": truth,
        "optimizers": {name: summary([p for p in placed if method_of(p.optimizer) == name]) for name in names},
        "overall": summary(placed) if placed else None,
        "differences": differences(at_weights(points, weights)),
    }


def differences(points: Sequence[AnyRun]) -> list[dict[str, Any]]:
    """The differences in test accuracy between each optimizer and the baselines, paired by example.

    For each test example, the difference is the mean over (split, seed) units of (1 if the optimizer's prompt is right, else 0)
    minus the same for the baseline. The mean over examples has a 95 % bootstrap interval over examples, which does not cover
    the variation between seeds. Units with different numbers of examples are taken to have different examples and are
    concatenated.

    Args:
        points: recorded runs.

    Returns:
        A row per optimizer and weight, without the baselines: `optimizer`, `weight`, and for each of `empty` and `manual` (the
        best reference prompt on dev) `mean`, `low`, `high` (differences of accuracies, as fractions) and `n` (examples), or
        None if that baseline has no run with the same split and seed. An optimizer without any such baseline has no row.
    """
    done = [p for p in points if p.status == "ok" and p.test_correct]
    right = {(p.optimizer, p.weight, p.split, p.seed): np.array([*p.test_correct], dtype=float) for p in done}
    rows: list[dict[str, Any]] = []
    for name, weight in dict.fromkeys((p.optimizer, p.weight) for p in done if p.optimizer not in BASELINES):
        row: dict[str, Any] = {"optimizer": name, "weight": weight}
        for baseline in BASELINES:
            gains = [
                right[key] - right[baseline, 0.0, *key[2:]]
                for key in right
                if key[:2] == (name, weight) and (baseline, 0.0, *key[2:]) in right
            ]
            alike = len({len(gain) for gain in gains}) == 1
            row[baseline] = _mean(np.mean(gains, axis=0) if alike else np.concatenate(gains)) if gains else None
        if any(row[baseline] for baseline in BASELINES):
            rows.append(row)
    return rows


def front(points: Sequence[RunRecord]) -> list[RunRecord]:
    """The points of the Pareto front, chosen on dev, by increasing log-perplexity.

    Args:
        points: successful runs with a `log_perplexity`.
    """
    chosen = non_dominated([p.deployed_dev_accuracy for p in points], [_cost(p) for p in points])
    return [points[i] for i in chosen]


def unit_hypervolumes(points: Sequence[RunRecord], worst: float) -> dict[tuple[str, int], float]:
    """The hypervolume of the front of each (split, seed) unit, a share of the plane.

    Args:
        points: successful runs of one optimizer with a `log_perplexity`.
        worst: the reference, in nats per token.
    """
    return {unit: hypervolume(*_on_test(front(own)), worst) for unit, own in _units(points).items()}


def _units(points: Sequence[RunRecord]) -> dict[tuple[str, int], list[RunRecord]]:
    units: dict[tuple[str, int], list[RunRecord]] = {}
    for p in points:
        units.setdefault((p.split, p.seed), []).append(p)
    return units


def _known(known: Sequence[dict[str, Any]], worst: float) -> dict[str, Any]:
    volume = hypervolume([p["test_accuracy"] for p in known], [p["log_perplexity"] for p in known], worst)
    return {"front": [dict(p) for p in known], "hypervolume": volume}


def _summary(points: Sequence[RunRecord], worst: float, truth: dict[str, Any] | None) -> dict[str, Any]:
    units = list(_units(points).values())
    members = [front(unit) for unit in units]
    covered = [hypervolume(*_on_test(own), worst) for own in members]
    pessimistic = [pessimistic_hypervolume(*_on_test(own), worst) for own in members]
    kept = ("optimizer", "split", "seed", "weight", "prompt_text", "log_perplexity", "deployed_test_accuracy")
    found = {
        "front": [{key: getattr(p, key) for key in kept} for p in front(points)],
        "hypervolume": _mean(covered),
        "pessimistic_hypervolume": _mean(pessimistic),
        "hypervolume_gap": _mean(np.subtract(covered, pessimistic)),
        "noisy_r2": _mean([noisy_r2([p.deployed_dev_accuracy for p in own], *_on_test(own), worst) for own in members]),
        "attainment": _attainment(members),
    }
    if truth:
        best = max(p["test_accuracy"] for p in truth["front"])
        chosen = [max(unit, key=lambda p: p.deployed_dev_accuracy) for unit in units]
        found["regret"] = _mean([best - p.deployed_test_accuracy for p in chosen])
        if len(truth["front"]) > 1:
            found["share_of_known_hypervolume"] = _mean([share / truth["hypervolume"] for share in covered])
    return found


def _mean(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    return bootstrap_mean(values).as_mean()


def _on_test(members: Sequence[RunRecord]) -> tuple[list[float], list[float]]:
    """The test accuracies and the costs of points."""
    return [p.deployed_test_accuracy for p in members], [_cost(p) for p in members]


def _attainment(fronts: Sequence[Sequence[RunRecord]]) -> dict[str, Any]:
    places, accuracies = attainment([_on_test(own) for own in fronts])
    shares = (f"{level:g}" for level in ATTAINMENT_LEVELS)
    return {
        "log_perplexity": places.tolist(),
        "deployed_test_accuracy": dict(zip(shares, accuracies.tolist(), strict=True)),
    }


def _cost(point: RunRecord) -> float:
    assert point.log_perplexity is not None
    return point.log_perplexity
