"""Runs that find a whole front: their record, and how the members are shown, compared, selected and exported."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hardprompt import load_lm, load_points
from hardprompt.errors import RequestError, StudyError
from hardprompt.optimizers.archive import Archive, Member, front_of, weight_ranges
from hardprompt.prompt import HardPrompt
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import AnyRun, RunRecord, at_weights, members, one_per_run, run_records
from hardprompt.records.store import Store
from hardprompt.report.studies import compare_hypervolumes, group_studies
from hardprompt.report.tradeoff import tradeoff
from hardprompt.stats.pareto import hypervolume, non_dominated
from hardprompt.study.runner import run_study

WEIGHTS = (0.0, 0.1, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one optimizer that finds fronts and others that do not."""
    out = tmp_path_factory.mktemp("fronts") / "study"
    request = StudyRequest.make(
        task="past-tense", optimizers=("empty", "manual", "front"), weights=WEIGHTS, seeds=(0, 1), lm_tokens=12_000, readers=()
    )
    run_study(request, out)
    return out


def test_one_line_holds_the_whole_front(folder: Path) -> None:
    store = Store(folder)
    lines = [line for line in store.runs() if line["optimizer"] == "front"]
    assert [(line["seed"], line["weight"], line["member"]) for line in lines] == [(0, 0.0, 1), (1, 0.0, 1)]
    points = [p for p in store.points() if p["optimizer"] == "front"]
    assert len(points) == sum(1 + len(line["front"]) for line in lines) > 2
    for seed in (0, 1):
        own = [p for p in points if p["seed"] == seed]
        assert [p["member"] for p in own] == [*range(1, len(own) + 1)]
        assert len({tuple(p["prompt_ids"]) for p in own}) == len(own)


def _objective(point: AnyRun, weight: float) -> float:
    assert isinstance(point, RunRecord)
    assert point.dev_loss is not None
    assert point.log_perplexity is not None
    return point.dev_loss + weight * point.log_perplexity


def test_the_ranges_of_weights_are_those_of_the_objectives_on_dev(folder: Path) -> None:
    points = [p for p in run_records(Store(folder).points()) if p.optimizer == "front"]
    for seed in (0, 1):
        own = [p for p in points if p.seed == seed]
        for weight in (0.0, 0.01, 0.1, 0.5, 2.0):
            [chosen] = at_weights(own, [weight])
            assert chosen.weight == weight
            assert _objective(chosen, weight) == pytest.approx(min(_objective(p, weight) for p in own), abs=1e-5)


def test_each_member_counts_in_the_hypervolume(folder: Path) -> None:
    found = json.loads((folder / "frontier.json").read_text())
    study, points = Store(folder).study, Store(folder).points()
    worst = math.log(study["vocabulary_size"])
    shares = []
    for seed in (0, 1):
        own = [p for p in points if p["optimizer"] == "front" and p["seed"] == seed]
        kept = [own[i] for i in non_dominated([p["deployed_dev_accuracy"] for p in own], [p["log_perplexity"] for p in own])]
        shares.append(hypervolume([p["deployed_test_accuracy"] for p in kept], [p["log_perplexity"] for p in kept], worst))
    assert found["optimizers"]["front"]["hypervolume"]["mean"] == pytest.approx(sum(shares) / 2)
    assert {(row["optimizer"], row["weight"]) for row in found["differences"]} == {("front", weight) for weight in WEIGHTS}


def test_the_page_the_tables_and_the_plot_have_the_members(folder: Path) -> None:
    [shown] = group_studies([Store(folder)])
    assert [row[:3] for row in shown.sheets["results"].rows if row[0] == "front"] == [("front", w, "2") for w in WEIGHTS]
    [cost] = [row for row in shown.sheets["cost"].rows if row[0] == "front"]
    assert cost[1] == 2  # runs, not members
    drawn = tradeoff(shown.done, shown.found, shown.weights)
    chosen = {(p.seed, p.member) for mean in drawn.means["front"] for p in mean.runs}
    left = {(p.seed, p.member) for p in drawn.members["front"]}
    assert chosen.isdisjoint(left)
    assert chosen | left == {(p.seed, p.member) for p in shown.placed if p.optimizer == "front"}
    assert "front" in drawn.bands
    page = (folder / "report.html").read_text()
    for point in shown.placed:
        assert point.prompt_text in page


def test_fronts_are_compared_by_their_hypervolumes(folder: Path) -> None:
    [shown] = group_studies([Store(folder)])
    [pair] = compare_hypervolumes([shown], tasks_too=False)
    volumes = {name: [own[unit] for unit in sorted(own)] for name, own in shown.hypervolumes.items()}
    assert {pair.first, pair.second} == {"manual", "front"}
    gains = [a - b for a, b in zip(volumes[pair.first], volumes[pair.second], strict=True)]
    assert pair.difference.value == pytest.approx(sum(gains) / 2)
    assert [row[:2] for row in shown.sheets["hypervolumes"].rows] == [(pair.first, pair.second)]


def test_a_member_is_selected_by_number_or_weight(folder: Path) -> None:
    lm, points = load_lm("microworld"), Store(folder).points()
    lines = [p for line in Store(folder).lines() for p in members(line)]
    for number, point in enumerate(lines, 1):
        if point["optimizer"] == "front":
            prompt = PromptRef(run=folder, number=number).prompt(lm)
            assert isinstance(prompt, HardPrompt)
            assert list(prompt.ids) == point["prompt_ids"]
    chosen = PromptRef(run=folder, optimizer="front", weight=0.1, seed=1).point
    own = run_records(p for p in points if p["optimizer"] == "front" and p["seed"] == 1)
    [expected] = at_weights(own, [0.1])
    assert chosen is not None
    assert isinstance(expected, RunRecord)
    assert tuple(chosen["prompt_ids"]) == tuple(expected.prompt_ids)
    with pytest.raises(RequestError, match="numbered from 1"):
        _ = PromptRef(run=folder, number=len(lines) + 1).point


def test_a_table_has_a_row_for_each_member(folder: Path) -> None:
    table = load_points(folder)
    assert (table.optimizer == "front").sum() == len([p for p in Store(folder).points() if p["optimizer"] == "front"])


@pytest.mark.slow
def test_a_rerun_finds_nothing_left_and_a_lost_line_is_found_again(folder: Path, tmp_path: Path) -> None:
    before = Store(folder).runs()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "study.yaml").write_text((folder / "study.yaml").read_text())
    kept = [
        line for line in (folder / "points.jsonl").read_text().splitlines() if not ('"front"' in line and '"seed": 1' in line)
    ]
    (copy / "points.jsonl").write_text("".join(line + "\n" for line in kept))
    request = StudyRequest.model_validate(Store(folder).study["request"])
    run_study(request, copy)
    again = Store(copy).runs()

    def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    assert without_time(again) == without_time(before)


def test_a_damaged_member_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text((folder / "study.yaml").read_text())
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    damaged = next(line for line in lines if line.get("front"))
    damaged["front"][0]["test_accuracy"] = "high"
    (tmp_path / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StudyError, match="test_accuracy"):
        Store(tmp_path).points()


def test_points_without_a_front_are_left_alone(folder: Path) -> None:
    points = run_records(p for p in Store(folder).points() if p["optimizer"] == "manual")
    assert at_weights(points, WEIGHTS) == one_per_run(points) == points


def test_an_archive_admits_what_no_member_dominates() -> None:
    archive = Archive()
    assert archive.add(Member((1,), 0.5, 5.0, 0.8))
    assert not archive.add(Member((2,), 0.5, 5.0, 0.8))  # an equal one
    assert not archive.add(Member((3,), 0.6, 6.0, 0.8))
    assert archive.add(Member((4,), 0.6, 6.0, 0.9))  # more accurate
    assert archive.add(Member((5,), 0.4, 4.0, 0.9))  # dominates all
    assert [member.ids for member in archive.members] == [(5,)]
    assert archive.seen == {(1,), (2,), (3,), (4,), (5,)}


def test_ranges_of_weights_equal_a_search_over_a_grid() -> None:
    import random

    draw = random.Random(0)
    for _ in range(50):
        own = [Member((i,), draw.random(), 10 * draw.random(), draw.random()) for i in range(draw.randint(1, 8))]
        ranges = weight_ranges(own)
        ends = [each for each in ranges if each]
        assert min(low for low, _ in ends) == 0
        assert max(high for _, high in ends) == math.inf
        for weight in (0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 1.0, 5.0):
            best = min(range(len(own)), key=lambda i: own[i].objective(weight))
            low, high = ranges[best] or (math.inf, 0)
            assert low - 1e-12 <= weight <= high + 1e-12


def test_a_front_of_nothing_is_empty() -> None:
    assert front_of([]) == []


def test_studies_without_a_common_unit_are_not_compared(folder: Path) -> None:
    """A second study in which the two fronts share no split and seed does not count as another task."""
    [shown] = group_studies([Store(folder)])
    unit = next(iter(shown.hypervolumes["front"]))
    one = SimpleNamespace(hypervolumes={name: {unit: 0.5} for name in ("manual", "front")})
    apart = SimpleNamespace(hypervolumes={"manual": {(unit, 1): 0.5}, "front": {(unit, 2): 0.5}})
    assert compare_hypervolumes([one, apart], tasks_too=False) == []  # type: ignore[list-item]
