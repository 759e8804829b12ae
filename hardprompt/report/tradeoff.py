"""The trade-off as numbers, on any of several axes, for the page and the figures.

On every axis, better values are to the right and on top, so a front always ends in the upper right corner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardprompt.data.given_prompts import GIVEN, method_of
from hardprompt.records.schema import AnyRun, CurveStep, FrontStep, RunRecord, at_weights, one_per_run
from hardprompt.stats.bootstrap import bootstrap, bootstrap_band, bootstrap_mean
from hardprompt.stats.pareto import non_dominated
from hardprompt.stats.summaries import mean, score_at

COLORS = {
    "manual": "#222222",
    "random": "#999999",
    "soft": "#cc79a7",
    "pez": "#0072b2",
    "rl": "#d55e00",
    "front": "#009e73",
    GIVEN: "#7a5c00",
}
OTHERS = ("#e69f00", "#56b4e9", "#8c564b", "#6a3d9a", "#b22222")
MARKERS = {"manual": "*", "random": "X", "soft": "D", "pez": "o", "rl": "s", "front": "P", GIVEN: "d"}
OTHER_MARKERS = ("^", "v", "<", ">", "P")

PLACES = 60
"""Maximum number of places of a band."""

BEST_SO_FAR = "dev accuracy of the best prompt so far"
FRONT_SO_FAR = "hypervolume on dev of the prompts so far"
"""The quantities of `budget_curves` and `hypervolume_curves`, as labels of an axis."""


@dataclass(frozen=True)
class Axis:
    """A cost or a gain of a run.

    Attributes:
        name: the name of the axis in file names.
        choice: the text of the button that chooses the axis.
        label: the label of the axis, with its unit.
        unit: the unit after a value.
        value: returns the value of a run, or None.
        digits: digits of a value after the point.
        better: the meaning of a lower cost, such as "cheaper".
        log: whether the scale is logarithmic.
        trained: returns the value of the prompt as optimized; None if that cannot differ from the value of its text.
        visible: the smallest difference between the two values that is drawn.
        limits: the range that is always shown.
        up: whether higher is better.
    """

    name: str
    choice: str
    label: str
    unit: str
    value: Callable[[RunRecord], float | None]
    digits: int = 2
    better: str = ""
    log: bool = False
    trained: Callable[[RunRecord], float | None] | None = None
    visible: float = 0.0
    limits: tuple[float, float] | None = None
    up: bool = False

    def of(self, point: RunRecord) -> float:
        """The value of a run that has one."""
        value = self.value(point)
        assert value is not None
        return float(value)


IN_PLACE = Axis(
    "in-place",
    "log-perplexity in place",
    "log-perplexity of the prompt in its place in the template, nats per token",
    "nats/token in place",
    lambda p: p.log_perplexity_in_place,
    better="more readable",
)

LENGTH = Axis(
    "length",
    "length",
    "length of the prompt, tokens",
    "tokens",
    lambda p: p.length,
    digits=1,
    better="shorter",
)

COSTS = (
    Axis(
        "log-perplexity",
        "log-perplexity",
        "log-perplexity of the prompt under the task model, nats per token",
        "nats/token",
        lambda p: p.log_perplexity,
        better="more readable",
    ),
    IN_PLACE,
    Axis(
        "reader",
        "log-perplexity of the reader",
        "log-perplexity of the prompt under the held-out reader, nats per token",
        "nats/token (reader)",
        lambda p: p.reader_log_perplexity,
        better="more readable",
    ),
    Axis(
        "characters",
        "nats per character of the reader",
        "surprisal of the prompt under the held-out reader, nats per character",
        "nats/character (reader)",
        lambda p: p.reader_nats_per_character,
        better="more readable",
    ),
    LENGTH,
    Axis(
        "tokens",
        "LM tokens",
        "LM tokens of the search, forward and backward",
        "LM tokens",
        lambda p: p.lm_tokens_forward + p.lm_tokens_backward,
        digits=0,
        better="cheaper",
        log=True,
    ),
)
"""Costs of a prompt; lower is better."""

GAINS = (
    Axis(
        "accuracy",
        "accuracy",
        "test accuracy of the deployed text",
        "",
        lambda p: p.deployed_test_accuracy,
        digits=3,
        trained=lambda p: p.test_accuracy,
        visible=0.02,
        limits=(0.0, 1.0),
        up=True,
    ),
    Axis(
        "loss",
        "loss",
        "test loss of the deployed text, nats per example",
        "nats/example",
        lambda p: p.deployed_test_loss,
        trained=lambda p: p.test_loss,
        visible=0.05,
        limits=(0.0, 0.0),
    ),
)
"""Gains of a prompt."""


@dataclass(frozen=True)
class Mean:
    """Finished runs of one optimizer at one weight.

    Attributes:
        weight: the fluency weight.
        cost, gain: the mean, low and high of the texts.
        as_trained: mean gain of the prompts as optimized, if it differs visibly from that of the texts, otherwise None.
        runs: the runs; over several tasks, one run per task with the means of the task.
        units: the numbers of tasks and runs that the mean is over.
    """

    weight: float
    cost: dict[str, float]
    gain: dict[str, float]
    as_trained: float | None
    runs: tuple[RunRecord, ...]
    units: str


@dataclass(frozen=True)
class Tradeoff:
    """The content of a trade-off plot.

    Attributes:
        cost, gain: the axes.
        marks: (color, marker) of each optimizer.
        means: the means of each optimizer, in the order of the weights.
        bands: the `band` of each optimizer that ran with several weights or finds fronts.
        stairs: the (cost, gain) at the steps of the front of all texts; empty without a front.
        known: points of the true front, if it is known.
        empty: mean gain of the empty prompt; None if it did not run.
        members: by optimizer, the members of fronts that are best at none of the weights.
    """

    cost: Axis
    gain: Axis
    marks: dict[str, tuple[str, str]]
    means: dict[str, list[Mean]]
    bands: dict[str, np.ndarray]
    stairs: list[tuple[float, float]]
    known: list[dict[str, Any]]
    empty: float | None
    members: dict[str, list[RunRecord]]


def tradeoff(
    points: Sequence[RunRecord], found: dict[str, Any], weights: Sequence[float], cost: Axis = COSTS[0], gain: Axis = GAINS[0]
) -> Tradeoff:
    """The trade-off of finished runs.

    Args:
        points: the points of finished runs of one task and model.
        found: the result of `frontier` for them.
        weights: the weights at which the members of fronts are compared.
        cost, gain: the axes. There are fronts only if the gain is accuracy, which chooses their members on dev.
    """
    marks = optimizer_marks(points)
    compared = at_weights(points, weights)
    means = {name: weight_means(compared, name, cost, gain) for name in marks}
    chosen = {(p.optimizer, p.split, p.seed, p.member) for p in compared}
    left = [p for p in points if p.member and (p.optimizer, p.split, p.seed, p.member) not in chosen and _placed(p, cost, gain)]
    members = {name: [p for p in left if p.optimizer == name] for name in marks}
    stairs: list[tuple[float, float]] = []
    if gain is GAINS[0] and found["overall"]:
        stairs = front_stairs(points, cost, found["reference"]["log_perplexity"] if cost is COSTS[0] else 0.0)
    known = found["known"]["front"] if found["known"] and (cost, gain) == (COSTS[0], GAINS[0]) else []
    bands = _bands([points], means, cost, gain)
    return Tradeoff(cost, gain, marks, means, bands, stairs, known, empty_gain(points, gain), members)


def mean_tradeoff(
    tasks: Sequence[Sequence[RunRecord]], weights: Sequence[float], cost: Axis = COSTS[0], gain: Axis = GAINS[0]
) -> Tradeoff:
    """The trade-off averaged over tasks, for the optimizers and weights that ran on all of them.

    Args:
        tasks: the points of the finished runs of each task.
        weights: the weights at which the members of fronts are compared.
        cost, gain: the axes.
    """
    compared = [at_weights(points, weights) for points in tasks]
    every = [p for points in compared for p in points]
    marks = optimizer_marks(every)
    means: dict[str, list[Mean]] = {name: [] for name in marks}
    for name, weight in sorted({(p.optimizer, p.weight) for p in every if p.optimizer in marks}):
        own = [weight_means([p for p in points if p.weight == weight], name, cost, gain) for points in compared]
        if all(own):
            means[name].append(_mean_of_tasks(weight, [mean for [mean] in own], cost, gain))
    empties = [empty_gain(points, gain) for points in tasks]
    empty = None if None in empties else float(np.mean([value for value in empties if value is not None]))
    return Tradeoff(cost, gain, marks, means, _bands(tasks, means, cost, gain), [], [], empty, {})


def available_axes(points: Sequence[RunRecord], axes: Sequence[Axis]) -> list[Axis]:
    """The axes on which at least one text has a value.

    That in place is one only if it shows something else than the first cost, and the length only if texts differ in it.
    """
    placed = [p for p in points if p.log_perplexity is not None]
    useless = [] if differs_in_place(placed) else [IN_PLACE]
    useless += [] if len({p.length for p in placed}) > 1 else [LENGTH]
    return [axis for axis in axes if axis not in useless and any(axis.value(p) is not None for p in placed)]


def differs_in_place(points: Sequence[AnyRun]) -> bool:
    """Whether a text has another log-perplexity in its place than as the beginning of a document, to two digits."""
    done = [p for p in points if p.status == "ok"]
    pairs = [(p.log_perplexity, p.log_perplexity_in_place) for p in done]
    return any(a is not None and b is not None and abs(a - b) >= 0.005 for a, b in pairs)


def weight_means(points: Sequence[RunRecord], optimizer: str, cost: Axis = COSTS[0], gain: Axis = GAINS[0]) -> list[Mean]:
    """The means of an optimizer in the order of the weights; runs without a text (the empty prompt) are left out."""
    own = [p for p in points if p.optimizer == optimizer and _placed(p, cost, gain)]
    means = []
    for weight in sorted({p.weight for p in own}):
        runs = tuple(p for p in own if p.weight == weight)
        gains = bootstrap_mean([gain.of(p) for p in runs]).as_mean()
        trained = _as_trained([gain.trained(p) for p in runs] if gain.trained else [], gains["mean"], gain)
        costs = bootstrap_mean([cost.of(p) for p in runs]).as_mean()
        means.append(Mean(weight, costs, gains, trained, runs, _plural(len(runs), "run")))
    return means


def band(tasks: Sequence[Sequence[RunRecord]], optimizer: str, cost: Axis = COSTS[0]) -> np.ndarray | None:
    """The mean front of an optimizer, as rows (cost; mean, low, high) of accuracies of texts up to that cost, (4, places).

    The front of each task, split and seed is chosen on dev; its value is the test accuracy of its member, and 0 below the
    lowest cost. Means are over tasks and over the units that ran at all weights, or found a whole front in one run; every
    task has as many units as the task with the fewest. The result is None if a task has none. Over several tasks the interval
    resamples the tasks too.
    """
    own = [[p for p in points if p.optimizer == optimizer] for points in tasks]
    weights = {p.weight for points in own for p in points if p.member is None}
    fronts = []
    for points in own:
        units = [[p for p in points if (p.split, p.seed) == at] for at in dict.fromkeys((p.split, p.seed) for p in points)]
        fronts.append([_front(unit, cost) for unit in units if {p.weight for p in unit if p.member is None} == weights])
    count = min(map(len, fronts))
    places = np.unique([x for each in fronts for costs, _ in each[:count] for x in costs])
    if not len(places):
        return None
    if len(places) > PLACES:
        places = np.quantile(places, np.linspace(0, 1, PLACES))
    curves = np.array([[score_at(*each, places) for each in of_task[:count]] for of_task in fronts])
    return np.concatenate([places[None], bootstrap_band(np.nan_to_num(curves), tasks_too=len(tasks) > 1)])


def front_stairs(points: Sequence[RunRecord], cost: Axis = COSTS[0], worst: float = 0.0) -> list[tuple[float, float]]:
    """(cost, test accuracy) at the steps of the front of all texts, up to the reference; empty without a front.

    Members are chosen on dev; a member whose test accuracy is not higher than those before is left out.
    """
    costs, accuracies = _front(points, cost)
    stairs: list[tuple[float, float]] = []
    for step in zip(costs.tolist(), accuracies.tolist(), strict=True):
        if not stairs or step[1] > stairs[-1][1]:
            stairs.append(step)
    return [*stairs, (max(worst, costs[-1]), stairs[-1][1])] if stairs else []


def empty_gain(points: Sequence[RunRecord], gain: Axis = GAINS[0]) -> float | None:
    """Mean gain of the empty prompt; None if it did not run."""
    values = [gain.value(p) for p in points if p.optimizer == "empty"]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def test_examples(points: Sequence[AnyRun]) -> str:
    """The number of test examples of the finished runs, such as "n = 300", or "n = 200 to 300"; "" without any."""
    counts = sorted({len(p.test_correct) for p in points if p.status == "ok"} - {0})
    return f"n = {' to '.join(f'{count:,}' for count in dict.fromkeys((counts[0], counts[-1])))}" if counts else ""


def repeats(points: Sequence[AnyRun]) -> str:
    """The number of splits and seeds, such as "2 splits, 1 seed"."""
    splits, seeds = ({getattr(p, key) for p in points} for key in ("split", "seed"))
    counts = {"split": len(splits)} if len(splits) > 1 else {}
    counts["seed"] = len(seeds)
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items())


def optimizer_marks(points: Sequence[AnyRun]) -> dict[str, tuple[str, str]]:
    """(color, marker) of every optimizer but `empty`; markers are those of matplotlib. Given prompts share theirs."""
    names = [name for name in dict.fromkeys(p.optimizer for p in points) if name != "empty"]
    spare = iter(list(zip(OTHERS, OTHER_MARKERS, strict=True)) * len(names))
    methods = {name: method_of(name) for name in names}
    return {name: (COLORS[own], MARKERS[own]) if own in COLORS else next(spare) for name, own in methods.items()}


@dataclass(frozen=True)
class Curve:
    """A quantity of the search of one optimizer against LM tokens, such as the best accuracy so far on dev.

    Attributes:
        band: (LM tokens; mean, low, high of the quantity), (4, places).
        counts: the numbers of tasks and runs.
        weight: the fluency weight, the lowest that ran.
    """

    band: np.ndarray
    counts: str
    weight: float


def budget_curves(tasks: Sequence[Sequence[RunRecord]]) -> dict[str, Curve]:
    """Accuracy on dev of the best prompt so far (by the objective on dev) against LM tokens, per optimizer.

    Each curve begins when all of its runs have a prompt and ends with the longest run. An optimizer that did not run on all
    tasks, or whose records have no `curve`, has no curve.
    """
    return _curves(tasks, "curve", "dev_accuracy")


def hypervolume_curves(tasks: Sequence[Sequence[RunRecord]]) -> dict[str, Curve]:
    """Hypervolume on dev of the prompts so far of a run against LM tokens, per optimizer.

    Each is the mean over the runs at one weight, the lowest, as in `budget_curves`: the runs of an optimizer at other weights
    spend a budget of their own, so their hypervolumes cannot be added. An optimizer whose records have no `front_curve`, such
    as one of soft prompts, has no curve.
    """
    return _curves(tasks, "front_curve", "hypervolume")


def _curves(tasks: Sequence[Sequence[RunRecord]], steps: str, quantity: str) -> dict[str, Curve]:
    """The curves of a quantity that the records hold in a list of steps. A front counts once."""
    curves = {}
    for name in dict.fromkeys(p.optimizer for points in tasks for p in points if p.optimizer != "empty"):
        own = [[p for p in one_per_run(points) if p.optimizer == name and getattr(p, steps)] for points in tasks]
        if not all(own):
            continue
        weight = min(p.weight for runs in own for p in runs)
        own = [[p for p in runs if p.weight == weight] for runs in own]
        count = min(len(runs) for runs in own)
        if not count:
            continue
        kept = [p for runs in own for p in runs[:count]]
        first = max(getattr(p, steps)[0].lm_tokens for p in kept)
        last = max(p.lm_tokens_forward + p.lm_tokens_backward for p in kept)
        places = np.unique(np.geomspace(first, max(first, last), PLACES).round())
        read = np.array([[score_at(*_steps(getattr(p, steps), quantity), places) for p in runs[:count]] for runs in own])
        found = bootstrap_band(read, tasks_too=len(tasks) > 1)
        counts = f"{_plural(len(tasks), 'task')} x {_plural(count, 'run')}"
        curves[name] = Curve(np.concatenate([places[None], found]), counts, weight)
    return curves


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _steps(steps: Sequence[CurveStep | FrontStep], quantity: str) -> tuple[np.ndarray, np.ndarray]:
    spent, values = (np.array([float(getattr(step, key)) for step in steps]) for key in ("lm_tokens", quantity))
    return spent, values


def _placed(point: RunRecord, cost: Axis, gain: Axis) -> bool:
    return None not in (point.log_perplexity, cost.value(point), gain.value(point))


def _front(points: Sequence[RunRecord], cost: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Ascending costs and test accuracies of the texts that are not dominated on dev."""
    own = [p for p in points if _placed(p, cost, GAINS[0])]
    costs = [cost.of(p) for p in own]
    chosen = non_dominated([p.deployed_dev_accuracy for p in own], costs)
    return np.array([costs[i] for i in chosen]), np.array([GAINS[0].of(own[i]) for i in chosen])


def _bands(tasks: Sequence[Sequence[RunRecord]], means: dict[str, list[Mean]], cost: Axis, gain: Axis) -> dict[str, np.ndarray]:
    if gain is not GAINS[0]:
        return {}
    whole = {p.optimizer for points in tasks for p in points if p.member}
    bands = {name: band(tasks, name, cost) for name, own in means.items() if len(own) > 1 or (own and name in whole)}
    return {name: found for name, found in bands.items() if found is not None}


def _as_trained(values: Sequence[float | None], of_text: float, gain: Axis) -> float | None:
    known = [value for value in values if value is not None]
    trained = sum(known) / len(known) if known else of_text
    return trained if abs(trained - of_text) >= gain.visible else None


def _mean_of_tasks(weight: float, own: Sequence[Mean], cost: Axis, gain: Axis) -> Mean:
    """The mean over the runs of each task, with an interval over tasks and over the runs of each task."""
    count = min(len(each.runs) for each in own)

    def over(axis: Axis) -> dict[str, float]:
        scores = np.array([[axis.of(p) for p in each.runs[:count]] for each in own])
        return bootstrap(mean, scores, tasks_too=True).as_mean() | {"n": len(own)}

    gains = over(gain)
    trained = [gain.trained(p) for each in own for p in each.runs[:count]] if gain.trained else []
    runs = tuple(_typical(each) for each in own)
    units = f"{len(own)} tasks, {_plural(count, 'run')} each"
    return Mean(weight, over(cost), gains, _as_trained(trained, gains["mean"], gain), runs, units)


def _typical(of_task: Mean) -> RunRecord:
    """One run for the runs of a task, with their means and the text that has the highest accuracy on dev."""
    best = max(of_task.runs, key=lambda p: p.deployed_dev_accuracy)
    keys = ("deployed_test_accuracy", "test_accuracy", "deployed_test_loss", "test_loss", "log_perplexity",
            "log_perplexity_in_place", "reader_log_perplexity", "reader_nats_per_character", "lm_tokens_forward",
            "lm_tokens_backward")  # fmt: skip
    known = {key: [getattr(p, key) for p in of_task.runs if getattr(p, key) is not None] for key in keys}
    known["prompt_tokens"] = [p.length for p in of_task.runs]
    return best.model_copy(update={key: sum(values) / len(values) for key, values in known.items() if values})
