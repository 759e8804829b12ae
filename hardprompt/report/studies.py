"""Studies that are shown together, and their statistics over tasks."""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hardprompt.data.given_prompts import GIVEN, method_of
from hardprompt.errors import StudyError
from hardprompt.records.frontier import frontier, unit_hypervolumes
from hardprompt.records.request import StudyRequest, path_names
from hardprompt.records.schema import AnyRun, RunRecord, at_weights, one_per_run, run_records
from hardprompt.records.store import Store, recorded_request
from hardprompt.report.plot import draw_tradeoff
from hardprompt.report.study_tables import OPTIMIZER, WEIGHT, readings_sheet, results_sheet, study_sheets
from hardprompt.report.tables import Column, TableData
from hardprompt.report.tradeoff import test_examples
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.comparison import Comparison, Pair, comparisons
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import interquartile_mean, mean

Key = tuple[str, float]
"""Optimizer and weight."""

MAY_DIFFER = {"optimizers", "prompts", "weights", "splits", "seeds", "options", "metrics"}
"""Fields that may differ between requests whose runs are shown as one study: they choose runs, and do not change them."""


@dataclass(frozen=True)
class StudyRuns:
    """A task on a model: the runs of one study, or of several that belong together.

    Attributes:
        studies: the contents of their `study.yaml` files.
        points: the records of the runs, with failed ones.
        name: distinguishes these runs from others of the same task and model; empty if there are none.
        readings: what prompts of these runs were read as (`Store.readings`).
    """

    studies: tuple[dict[str, Any], ...]
    points: tuple[AnyRun, ...]
    name: str = ""
    readings: tuple[dict[str, Any], ...] = ()

    @property
    def task(self) -> str:
        return str(self.points[0].task)

    @property
    def lm(self) -> str:
        return str(self.points[0].lm)

    @property
    def runs(self) -> list[AnyRun]:
        """One point for each run."""
        return one_per_run(self.points)

    @property
    def weights(self) -> list[float]:
        """The fluency weights of the requests."""
        return sorted({weight for request in self.requests for weight in request.weights})

    @property
    def compared(self) -> list[AnyRun]:
        """The points for comparisons at one weight (`at_weights`)."""
        return at_weights(self.points, self.weights)

    @property
    def done(self) -> list[RunRecord]:
        """The points of finished runs."""
        return [p for p in self.points if p.status == "ok"]

    @property
    def placed(self) -> list[RunRecord]:
        """The points of finished runs with a text, whose prompt is not empty."""
        return [p for p in self.done if p.log_perplexity is not None]

    @cached_property
    def requests(self) -> list[StudyRequest]:
        return [recorded_request(study) for study in self.studies]

    @cached_property
    def found(self) -> dict[str, Any]:
        """The result of `frontier`."""
        study = self.studies[0]
        return frontier(self.points, math.log(study["vocabulary_size"]), study.get("known_front", ()), self.weights)

    @cached_property
    def sheets(self) -> dict[str, TableData]:
        """Its tables, and the comparison of its optimizers over splits and seeds."""
        compared = (comparisons_sheet([self]), hypervolumes_sheet([self]))
        every = (*compared, readings_sheet(self.readings))
        return study_sheets(self.points, self.found, self.weights) | {each.name: each for each in every}

    def _repr_html_(self) -> str:
        """The tables of `hardprompt compare` and the trade-off for notebooks."""
        sheets = [results_sheet(self.compared), self.sheets["baselines"], self.sheets["coverage"]]
        tables = "".join(sheet.as_html() for sheet in sheets if sheet.rows)
        if not self.placed:
            return tables
        with TemporaryDirectory() as folder:
            draw_tradeoff(self.done, self.found, self.weights, file := Path(folder, "tradeoff.svg"))
            picture = base64.b64encode(file.read_bytes()).decode()
        return f'{tables}<img alt="accuracy against log-perplexity" src="data:image/svg+xml;base64,{picture}">'

    @property
    def hypervolumes(self) -> dict[str, dict[tuple[str, int], float]]:
        """The hypervolume of the front of each (split, seed) unit, by optimizer; given prompts have one front together."""
        worst = math.log(self.studies[0]["vocabulary_size"])
        names = dict.fromkeys(method_of(p.optimizer) for p in self.placed)
        return {name: unit_hypervolumes([p for p in self.placed if method_of(p.optimizer) == name], worst) for name in names}


def load_study(folder: str | Path) -> StudyRuns:
    """The recorded runs of a study; a notebook shows its tables and its trade-off.

    Args:
        folder: the folder of the study.

    Raises:
        StudyError: the folder holds no study, or no finished run yet.

    Example:
        >>> study = load_study("runs/quick")
        >>> study.task, study.lm, len(study.runs)
        ('category', 'microworld', 22)
    """
    store = Store(folder)
    found = group_studies([store])
    if not found:
        raise StudyError(f"{store.folder} holds no finished run yet; rerun the command that started the study")
    return found[0]


def group_studies(stores: Sequence[Store]) -> list[StudyRuns]:
    """The studies that are shown side by side; the runs of studies that could have been one study are shown as one.

    This is the case if their requests agree in everything but the choice of runs, with the same options for the optimizers of
    both, and no run is in both.

    Raises:
        StudyError: a request is not valid in this version.
    """
    groups: list[list[tuple[Store, list[AnyRun]]]] = []
    for store in stores:
        points = run_records(store.points())
        if not points:
            continue
        try:
            recorded_request(store.study)
        except StudyError as error:
            raise StudyError(f"{store.folder}: {error}") from error
        for group in groups:
            if all(_one(store, points, *other) for other in group):
                group.append((store, points))
                break
        else:
            groups.append([(store, points)])
    _tell_models_apart(groups)
    of_task = [(group[0][1][0].task, group[0][1][0].lm) for group in groups]
    return [
        StudyRuns(
            tuple(store.study for store, _ in group),
            tuple(point for _, points in group for point in points),
            " + ".join(store.folder.name for store, _ in group) if of_task.count(named) > 1 else "",
            tuple(reading for store, _ in group for reading in store.readings()),
        )
        for group, named in zip(groups, of_task, strict=True)
    ]


def _tell_models_apart(groups: list[list[tuple[Store, list[AnyRun]]]]) -> None:
    """Give models that are recorded under one name, but come from folders that differ, names that differ.

    Studies of several models keep their names.
    """
    paths: dict[str, dict[str, Path]] = {}
    for group in groups:
        for store, points in group:
            request = recorded_request(store.study)
            if request.other_lms:
                continue
            lm = request.lm
            paths.setdefault(points[0].lm, {})[lm] = Path(lm)
    for recorded, own in paths.items():
        for lm in own:  # one model may be named by a path and by its end
            own[lm] = max((path for path in own.values() if _ends_with(path, own[lm])), key=lambda path: len(path.parts))
        if len(set(own.values())) == 1:
            continue
        names = path_names(own)
        for group in groups:
            for number, (store, points) in enumerate(group):
                if points[0].lm == recorded:
                    name = names[recorded_request(store.study).lm]
                    group[number] = store, [point.model_copy(update={"lm": name}) for point in points]


def _ends_with(path: Path, end: Path) -> bool:
    return path == end or (len(end.parts) > 1 and path.parts[-len(end.parts) :] == end.parts)


def _one(store: Store, points: list[AnyRun], other: Store, others: list[AnyRun]) -> bool:
    requests = [recorded_request(each.study).model_dump() for each in (store, other)]
    a, b = ({key: value for key, value in request.items() if key not in MAY_DIFFER} for request in requests)
    shared = set(requests[0]["optimizers"]) & set(requests[1]["optimizers"])
    options = [{name: request["options"].get(name) for name in shared} for request in requests]
    data = [each.study.get("data", {}) for each in (store, other)]
    given = [each.study.get("prompts", {}) for each in (store, other)]
    same = all(one[key] == two[key] for one, two in (data, given) for key in set(one) & set(two))
    runs = [{(p.optimizer, p.split, p.seed, p.weight) for p in own} for own in (points, others)]
    return a == b and options[0] == options[1] and same and not runs[0] & runs[1]


def scores(
    shown: Sequence[StudyRuns], keys: Sequence[Key], value: Callable[[RunRecord], float | None]
) -> list[np.ndarray] | None:
    """A matrix (tasks, units) for each optimizer and weight, of the tasks, splits and seeds on which all of them finished.

    Every task has as many units as the task with the fewest, in the order of splits and seeds. The result is None if no task
    has a unit.
    """
    rows: list[list[list[float]]] = []
    for each in shown:
        of_key = [
            {_unit(p): value(p) for p in each.compared if p.status == "ok" and (p.optimizer, p.weight) == key} for key in keys
        ]
        units = sorted(set.intersection(*(set(own) for own in of_key)))
        whole = [[own[unit] for own in of_key] for unit in units if all(own[unit] is not None for own in of_key)]
        if whole:
            rows.append(whole)  # type: ignore[arg-type]
    if not rows:
        return None
    count = min(map(len, rows))
    return list(np.moveaxis(np.array([row[:count] for row in rows], dtype=float), 2, 0))


def keys_of(shown: Sequence[StudyRuns]) -> list[Key]:
    """The optimizers and weights that ran, in order."""
    found = dict.fromkeys((p.optimizer, p.weight) for each in shown for p in each.compared if p.status == "ok")
    order = list(dict.fromkeys(name for name, _ in found))
    return sorted(found, key=lambda key: (order.index(key[0]), key[1]))


def as_text(point: RunRecord) -> float | None:
    """Test accuracy of the deployed text."""
    return point.deployed_test_accuracy


def means_sheet(shown: Sequence[StudyRuns]) -> TableData:
    """Means over tasks: a row per optimizer and weight."""
    columns = (
        OPTIMIZER, WEIGHT, Column("tasks", digits=0), Column("runs of each", digits=0), Column("test acc.", "interval"),
        Column("as text", "interval"), Column("as text, tasks like these", "interval"),
        Column("as text, interquartile mean", "interval"), Column("nats/token", digits=2),
    )  # fmt: skip
    rows = []
    for key in keys_of(shown):
        trained, text = _matrix(shown, key, lambda p: p.test_accuracy), _matrix(shown, key, as_text)
        nats = _matrix(shown, key, lambda p: p.log_perplexity)
        if trained is None or text is None:
            continue
        estimates = (
            bootstrap(mean, trained),
            bootstrap(mean, text),
            bootstrap(mean, text, tasks_too=True),
            bootstrap(interquartile_mean, text),
        )
        rows.append((*key, *text.shape, *map(_interval, estimates), None if nats is None else float(mean(nats))))
    caption = (
        "Every task has the same weight; rows with fewer tasks are not comparable with others. 95 % bootstrap intervals: runs "
        f"are resampled within each task, and for tasks like these also the tasks. {_measured_on(shown)}"
    )
    return TableData("means", f"means over {len(shown)} tasks{_counts(shown)}", caption, columns, rows)


def compare_optimizers(shown: Sequence[StudyRuns], tasks_too: bool) -> list[Comparison]:
    """Every pair of optimizers, each at its lowest weight, on tasks and units where both finished.

    The empty prompt is left out, and so are pairs of two given prompts.
    """
    least = {name: min(weight for other, weight in keys_of(shown) if other == name) for name, _ in keys_of(shown)}
    pairs: list[Pair] = []
    for a, b in combinations((name for name in least if name != "empty"), 2):
        if method_of(a) == method_of(b) == GIVEN:
            continue
        both = scores(shown, [(a, least[a]), (b, least[b])], as_text)
        if both and both[0].size > 1:
            pairs.append((a, both[0], b, both[1]))
    return comparisons(pairs, tasks_too=tasks_too)


def compare_hypervolumes(shown: Sequence[StudyRuns], tasks_too: bool) -> list[Comparison]:
    """Every pair of optimizers by the hypervolumes of their fronts, on tasks and units where both have a text."""
    of_study = [each.hypervolumes for each in shown]
    pairs: list[Pair] = []
    for a, b in combinations(dict.fromkeys(name for volumes in of_study for name in volumes), 2):
        both = [(volumes[a], volumes[b]) for volumes in of_study if a in volumes and b in volumes]
        rows = [[(one[unit], other[unit]) for unit in sorted(set(one) & set(other))] for one, other in both]
        rows = [row for row in rows if row]
        count = min(map(len, rows), default=0)
        if count * len(rows) > 1:
            matrix = np.array([row[:count] for row in rows])
            pairs.append((a, matrix[..., 0], b, matrix[..., 1]))
    return comparisons(pairs, tasks_too=tasks_too)


def comparisons_sheet(shown: Sequence[StudyRuns]) -> TableData:
    """A row per pair of optimizers: the difference between the accuracies of their texts, with its interval and n."""
    what = "Test accuracy of the deployed text, each optimizer at its lowest weight"
    return _compared(shown, "comparisons", "each optimizer against the others", what, compare_optimizers)


def hypervolumes_sheet(shown: Sequence[StudyRuns]) -> TableData:
    """A row per pair of optimizers: the difference between the hypervolumes of their fronts, with its interval and n."""
    what = "Hypervolume of the front of all weights of an optimizer"
    return _compared(shown, "hypervolumes", "the front of each optimizer against the others", what, compare_hypervolumes)


def _compared(
    shown: Sequence[StudyRuns],
    name: str,
    title: str,
    what: str,
    compare: Callable[[Sequence[StudyRuns], bool], list[Comparison]],
) -> TableData:
    several = len(shown) > 1
    own = compare(shown, False)
    like = compare(shown, True) if several else own
    wider = {(each.first, each.second): each for each in like}
    columns = (
        Column("better", "name"), Column("than", "name"), Column("by", "interval", signed=True),
        *([Column("by, on tasks like these", "interval", signed=True)] if several else []),
        Column("a run is better with probability", "interval"), Column("tasks", digits=0), Column("runs of each", digits=0),
        Column("p"), Column("p after Holm"), Column("shown"),
    )  # fmt: skip
    rows = []
    for each in own:
        over = wider[each.first, each.second]
        by = (_interval(each.difference), _interval(over.difference)) if several else (_interval(each.difference),)
        counts = (each.difference.tasks, _units(each.difference))
        verdict = "yes" if over.shown else "no"
        rows.append(
            (each.first, each.second, *by, _interval(each.improvement), *counts, over.p_value, over.p_corrected, verdict)
        )
    like_these = " on tasks like these" if several else ""
    caption = (
        f"{what}, on the same tasks, splits and seeds, with 95 % bootstrap intervals. p is the p-value of the paired "
        f"permutation test, which flips the signs of the differences of {'whole tasks' if several else 'splits and seeds'}; it "
        "is then corrected for all these pairs by Holm's method. A difference is shown if its "
        f"interval{like_these} is above 0 and the corrected p is below 0.05. {_measured_on(shown)}"
    )
    return TableData(name, f"{title}{_counts(shown)}", caption, columns, rows)


def _counts(shown: Sequence[StudyRuns]) -> str:
    """The end of a title: the number of test examples of each task."""
    n = test_examples([p for each in shown for p in each.points])
    return n and f", {n} test examples{' of each task' if len(shown) > 1 else ''}"


def _measured_on(shown: Sequence[StudyRuns]) -> str:
    """The sentence of a caption about the test examples of each task."""
    done = [each for each in shown if each.done]
    counts = {(each.task, each.lm, each.name): test_examples(each.points) for each in done}
    same = len(set(counts.values())) == 1
    listed = (
        next(iter(counts.values())) if same else ", ".join(f"{_distinct(key, list(counts))}: {n}" for key, n in counts.items())
    )
    return f"Test examples{' of each task' if same and len(shown) > 1 else ''}: {listed}." if any(counts.values()) else ""


def _distinct(key: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> str:
    """The task of a study, with its model and name if other studies are about the same task.

    >>> _distinct(("plural", "a", ""), [("plural", "a", ""), ("plural", "b", "")])
    'plural on a'
    """
    task, lm, name = key
    alone = sum(other[0] == task for other in keys) == 1
    return task if alone else f"{task} on {lm}" + (f", {name}" if name else "")


def statistics(shown: Sequence[StudyRuns]) -> dict[str, Any]:
    """The rows of `means_sheet` and the comparisons over tasks like these, as JSON."""
    sheet = means_sheet(shown)
    return {
        "tasks": [each.task for each in shown],
        "means": [dict(zip((column.heading for column in sheet.columns), row, strict=True)) for row in sheet.rows],
        "comparisons": [_as_json(each) for each in compare_optimizers(shown, tasks_too=len(shown) > 1)],
        "hypervolumes": [_as_json(each) for each in compare_hypervolumes(shown, tasks_too=len(shown) > 1)],
    }


def _matrix(shown: Sequence[StudyRuns], key: Key, value: Callable[[RunRecord], float | None]) -> np.ndarray | None:
    found = scores(shown, [key], value)
    return found[0] if found else None


def _unit(point: RunRecord) -> tuple[str, int]:
    return point.split, point.seed


def _as_json(found: Comparison) -> dict[str, Any]:
    parts = {"difference": found.difference, "improvement": found.improvement}
    estimates = {name: each.as_json() | {"units": _units(each)} for name, each in parts.items()}
    return asdict(found) | estimates | {"shown": found.shown}


def _units(found: Estimate) -> int:
    """Number of runs of each task; it is the same for all."""
    return found.n // found.tasks


def _interval(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high
