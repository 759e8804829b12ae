"""The trade-off in a set of points: the Pareto front, and the hypervolume that it dominates.

The axes are the accuracy of the deployed text and its log-perplexity. Members of a front are chosen on dev, and the values
shown are those on test. All functions are pure functions of the points in `points.jsonl`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardprompt.records.schema import AnyRun, RunRecord
from hardprompt.stats.bootstrap import bootstrap_mean
from hardprompt.stats.pareto import hypervolume, non_dominated

BASELINES = ("empty", "manual")


def frontier(points: Sequence[AnyRun], worst_log_perplexity: float, known: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What `frontier.json` holds: fronts per optimizer and overall, their hypervolumes with bootstrap intervals.

    Args:
        points: finished runs; those without a text to read (the empty prompt) and failed ones are left out.
        worst_log_perplexity: the reference, ln V of the model: text that a uniform guess predicts as well.
        known: points of the true front, with `test_accuracy` and `log_perplexity`, where it is known. They are the best of many
            wordings that were taught, not of all: a share of their hypervolume may pass 1, and a regret be negative.

    Returns:
        `axes`, `reference`, `known` (`front`, `hypervolume`; None where nothing is), `optimizers` (name -> `front`,
        `hypervolume`) and `overall` (the same). A hypervolume is the mean over (split, seed) units of the share covered by that
        unit's front, with a 95 % interval over those units. Where the true front is known there is also the `regret`, its best
        accuracy minus that of the unit's best text (chosen on dev), and where that front has several points,
        `share_of_known_hypervolume`. `differences` are those of `differences()`.
    """
    placed = [p for p in points if p.status == "ok" and p.log_perplexity is not None]
    names = list(dict.fromkeys(p.optimizer for p in placed))
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
        "known": truth,
        "optimizers": {name: summary([p for p in placed if p.optimizer == name]) for name in names},
        "overall": summary(placed) if placed else None,
        "differences": differences(points),
    }


def differences(points: Sequence[AnyRun]) -> list[dict[str, Any]]:
    """How many more of the test examples each optimizer has right than a baseline, example by example, split and seed by seed.

    Per example n the difference d_n is the mean over (split, seed) units of right_n - right_n(baseline); its mean over examples
    comes with a 95 % bootstrap interval over examples, which says nothing of other seeds. Units with other numbers of examples
    are taken to have other examples, one after another.

    Returns:
        A row per optimizer and weight, the baselines left out: `optimizer`, `weight`, and for `empty` and `manual` (the best
        reference prompt on dev) `mean`, `low`, `high` (differences of accuracies, fractions) and `n` (examples), or None where
        that baseline did not run beside it; no row where neither did.
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
    """The points of the front, chosen on dev, from the most readable to the least."""
    chosen = non_dominated([p.deployed_dev_accuracy for p in points], [_cost(p) for p in points])
    return [points[i] for i in chosen]


def _known(known: Sequence[dict[str, Any]], worst: float) -> dict[str, Any]:
    volume = hypervolume([p["test_accuracy"] for p in known], [p["log_perplexity"] for p in known], worst)
    return {"front": [dict(p) for p in known], "hypervolume": volume}


def _summary(points: Sequence[RunRecord], worst: float, truth: dict[str, Any] | None) -> dict[str, Any]:
    units = [[p for p in points if (p.split, p.seed) == unit] for unit in dict.fromkeys((p.split, p.seed) for p in points)]
    covered = [_covered(unit, worst) for unit in units]
    kept = ("optimizer", "split", "seed", "weight", "prompt_text", "log_perplexity", "deployed_test_accuracy")
    found = {"front": [{key: getattr(p, key) for key in kept} for p in front(points)], "hypervolume": _mean(covered)}
    if truth:
        best = max(p["test_accuracy"] for p in truth["front"])
        chosen = [max(unit, key=lambda p: p.deployed_dev_accuracy) for unit in units]
        found["regret"] = _mean([best - p.deployed_test_accuracy for p in chosen])
        if len(truth["front"]) > 1:
            found["share_of_known_hypervolume"] = _mean([share / truth["hypervolume"] for share in covered])
    return found


def _mean(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    return bootstrap_mean(values).as_mean()


def _covered(points: Sequence[RunRecord], worst: float) -> float:
    members = front(points)
    return hypervolume([p.deployed_test_accuracy for p in members], [_cost(p) for p in members], worst)


def _cost(point: RunRecord) -> float:
    assert point.log_perplexity is not None
    return point.log_perplexity
