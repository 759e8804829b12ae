"""Published claims: the measures by hand, the data whole, and a recipe carried out and judged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from hardprompt.errors import StudyError, UnknownName
from hardprompt.experiments.claims import Estimate, Measure, claims
from hardprompt.experiments.claims.claim import PAPERS, Rule, judge
from hardprompt.experiments.claims.measurement import estimate, value_at
from hardprompt.experiments.claims.records import NotMeasured, Where, recipe_text, record_lines
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.wayward.pairs import WaywardPairs, wayward_pairs
from hardprompt.stats.statistics import bootstrap, mean
from hardprompt.study.planner import planned_studies
from hardprompt.study.recipe import read_recipe
from tests.helpers import Ask

# Measures


def line(**own: Any) -> dict[str, Any]:
    return {"task": "plural", "split": "default", "seed": 0, "optimizer": "pez", "weight": 0.0, "test_accuracy": 0.5} | own


def test_a_difference_is_taken_pair_by_pair() -> None:
    """Two seeds of one task and one of another; what has no partner is left out."""
    lines = [
        line(test_accuracy=0.9),
        line(test_accuracy=0.4, weight=0.4),
        line(test_accuracy=0.8, seed=1),
        line(test_accuracy=0.6, seed=1, weight=0.4),
        line(test_accuracy=1.0, seed=2),
        line(task="capital", test_accuracy=0.7),
        line(task="capital", test_accuracy=0.3, weight=0.4, deployed=0.2),
        line(task="capital", test_accuracy=0.0, weight=0.4, optimizer="rl"),
    ]
    of, minus = {"optimizer": "pez", "weight": 0.0}, {"optimizer": "pez", "weight": 0.4}
    measure = Measure(difference="test_accuracy", of=of, minus=minus)
    assert measure.values(lines) == {"plural": pytest.approx([0.5, 0.2]), "capital": pytest.approx([0.4])}
    found = measure.estimate(lines)
    assert found is not None and (found.tasks, found.n) == (2, 3) and found.value == pytest.approx((0.35 + 0.4) / 2)
    assert found.low == pytest.approx(0.275) and found.high == pytest.approx(0.45), "0.2 and 0.5 are one redraw in 64"
    other = Measure(difference="test_accuracy", of=of, minus=minus, minus_key="deployed")
    assert other.values(lines) == {"capital": pytest.approx([0.5])}
    either = Measure(mean="test_accuracy", of={"task": "capital", "weight": [0.0, 0.4], "optimizer": ["rl"]})
    assert either.values(lines) == {"capital": [0.0]}
    assert Measure(mean="test_accuracy", of={"optimizer": "soft"}).estimate(lines) is None


def test_keys_go_into_objects_and_lists() -> None:
    deep = {"a": {"b": {"c": 3}}, "tokens": [{"x": 1.0}, {"x": None}, {"x": 4.0}], "none": None}
    assert value_at(deep, "a.b.c") == 3 and value_at(deep, "tokens.x") == 2.5
    assert value_at(deep, "none") is value_at(deep, "a.z.c") is value_at(deep, "tokens.y") is None


def test_the_interval_shrinks_with_the_tasks_and_is_a_point_where_all_agree() -> None:
    few = estimate({str(n): [0.0, 1.0] for n in range(3)})
    many = estimate({str(n): [0.0, 1.0] for n in range(48)})
    assert 0 <= few.low < many.low < 0.5 < many.high < few.high <= 1
    assert estimate({"a": [0.25] * 3, "b": [0.25]}) == Estimate(0.25, 0.25, 0.25, 2, 4)
    assert estimate({"a": [0.0, 1.0]}) == estimate({"a": [0.0, 1.0]}), "the same resamples"


def test_the_interval_is_that_of_the_page() -> None:
    """Where every task has as many values, `metrics.statistics` says the same of tasks and values redrawn."""
    scores = np.random.default_rng(0).normal(size=(4, 3)) + np.arange(4)[:, None]
    found = estimate({str(number): row.tolist() for number, row in enumerate(scores)})
    page = bootstrap(mean, scores, tasks_too=True)
    assert found.value == pytest.approx(page.value)
    assert (found.low, found.high) == (pytest.approx(page.low, abs=0.06), pytest.approx(page.high, abs=0.06))


def test_a_finding_comes_with_its_own_interval() -> None:
    rows = [{"name": "one", "value": 0.5, "low": 0.25, "high": 0.75, "tasks": 6, "n": 60}]
    assert Measure(finding="one").estimate(rows) == Estimate(0.5, 0.25, 0.75, 6, 60)
    assert Measure(finding="one").estimate([rows[0] | {"low": None, "high": None}]) == Estimate(0.5, 0.5, 0.5, 6, 60)
    assert Measure(finding="two").estimate(rows) is None


@pytest.mark.parametrize(
    "fields", [{}, {"mean": "a", "difference": "b", "minus": {}}, {"difference": "a"}, {"mean": "a", "minus": {}}]
)
def test_a_measure_is_one_thing(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Measure(**fields)


# Verdicts


@pytest.mark.parametrize(
    ("rule", "low", "high", "n", "verdict"),
    [
        ({"above": 0}, 0.1, 0.3, 9, "holds"),
        ({"above": 0}, -0.1, 0.3, 9, "undecided"),
        ({"above": 0}, -0.3, 0.0, 9, "fails"),
        ({"above": 0.2}, 0.1, 0.3, 9, "undecided"),
        ({"below": 0.02}, -0.1, 0.01, 9, "holds"),
        ({"below": 0.02}, 0.02, 0.3, 9, "fails"),
        ({"below": 0.02}, 0.0, 0.3, 9, "undecided"),
        ({"above": 0}, 0.5, 0.5, 2, "undecided"),
    ],
)
def test_a_claim_holds_where_the_whole_interval_does(
    rule: dict[str, float], low: float, high: float, n: int, verdict: str
) -> None:
    assert Rule(**rule).verdict(Estimate((low + high) / 2, low, high, 3, n)) == verdict


def test_what_was_not_measured_says_why() -> None:
    [claim] = claims(("wayward-f1",))
    finding = judge(claim, None, "no record")
    assert (finding.verdict, finding.reason) == ("not measured", "no record") and finding.as_json()["found"] is None


# The data


def test_the_claims_are_whole() -> None:
    """At least twenty, over six sources, each about a recipe that is there and names what its measure asks for."""
    every = claims()
    assert len(every) >= 20 and {claim.paper for claim in every} == set(PAPERS)
    assert len({claim.name for claim in every}) == len(every)
    for claim in every:
        fields = yaml.safe_load(recipe_text(claim.recipe))
        variants = fields.get("studies", {})
        for wanted in (claim.measure.of, claim.measure.minus or {}):
            assert wanted.get("study", next(iter(variants), None)) in {*variants, None}, claim.name
            if "kind" in wanted:
                named = wanted["kind"] if isinstance(wanted["kind"], list) else [wanted["kind"]]
                assert set(named) <= set(fields["wayward"]["kinds"]), claim.name
            if "gamma" in wanted:
                assert wanted["gamma"] in fields["wayward"]["gammas"], claim.name


@pytest.mark.parametrize("recipe", sorted({claim.recipe for claim in claims()}))
def test_a_recipe_can_be_planned(recipe: str, tmp_path: Path) -> None:
    text = recipe_text(recipe).replace("$models", "models").replace("$data", "data")
    fields = yaml.safe_load(text)
    assert fields["about"] and fields["minutes"] > 0
    if "wayward" in fields:
        assert WaywardPairs(**fields["wayward"]).tasks
    elif "geometry" in fields:
        assert GeometryRequest.make(**fields["geometry"]).epochs
    else:
        (tmp_path / "recipe.yaml").write_text(text)
        assert planned_studies(read_recipe(tmp_path / "recipe.yaml"))


def test_claims_are_named_by_their_name_or_paper() -> None:
    assert [claim.paper for claim in claims(("wayward-f1", "bakalova"))] == ["khashabi"] + ["bakalova"] * 7
    with pytest.raises(UnknownName, match="no claim 'wayward-f2'; did you mean 'wayward-f1'"):
        claims(("wayward-f2",))


# Carried out

SMALL = """
about: small
minutes: 1
tasks: [category]
optimizers: [pez]
weights: [0]
seeds: [0, 1, 2]
lm_tokens: 4000
threads: 1
studies:
  pez: {options: {pez: {variant: pez}}}
  autoprompt-sgd: {options: {pez: {variant: projected-sgd}}}
"""


def test_a_recipe_is_run_once_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    """The verdict follows from the points of the record; asked again nothing is run; without a record nothing is measured."""
    monkeypatch.setattr("hardprompt.experiments.claims.records.recipe_text", lambda name: SMALL)
    command = ["reproduce", "pez-no-worse-than-autoprompt-sgd", "--out", str(tmp_path), "--jobs", "1", "--json"]
    status, out, _ = ask([*command, "--recorded"])
    assert status == 0 and json.loads(out)[0]["verdict"] == "not measured"
    status, out, _ = ask(command)
    [found] = json.loads(out)
    folder = tmp_path / "pez-variants"
    accuracy: dict[str, list[float]] = {}
    for variant in ("pez", "autoprompt-sgd"):
        file = folder / f"category-microworld-{variant}" / "points.jsonl"
        points = [json.loads(text) for text in file.read_text().splitlines()]
        accuracy[variant] = [point["deployed_test_accuracy"] for point in sorted(points, key=lambda point: point["seed"])]
    expected = [one - other for one, other in zip(accuracy["pez"], accuracy["autoprompt-sgd"], strict=True)]
    assert status == 0 and found["found"]["value"] == pytest.approx(sum(expected) / 3) and found["found"]["n"] == 3
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/points.jsonl")}
    status, out, said = ask([*command, "--recorded"])
    assert "not complete" not in said
    assert json.loads(out) == [found] and before == {file: file.stat().st_mtime_ns for file in before}
    assert "PEZ is no worse than AutoPrompt_SGD" in (tmp_path / "claims.md").read_text()
    assert json.loads((tmp_path / "claims.json").read_text()) == [found]
    cut = folder / "category-microworld-pez" / "points.jsonl"
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:2]))
    _, out, said = ask([*command, "--recorded"])
    assert json.loads(out)[0]["found"]["n"] == 2 and "pez-variants is not complete: 1 runs are not recorded" in said


def test_a_folder_that_a_recipe_needs_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="give the folder with --models"):
        record_lines("wayward-sizes", Where(tmp_path))


def test_wayward_pairs_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line per task and kind, and one per gamma besides; a torn line is trained again to the same numbers."""
    asked = WaywardPairs(
        tasks=("plural",), kinds=("prose", "own definition"), gammas=(0.0, 3.0), steps=2, batch_size=4, evaluate_every=2
    )
    wayward_pairs(asked, tmp_path / "wayward")
    file = tmp_path / "wayward" / "wayward.jsonl"
    whole = file.read_text()
    first, second = whole.splitlines(keepends=True)
    file.write_text(first + second[:50])
    wayward_pairs(asked, tmp_path / "wayward")
    assert file.read_text() == whole
    lines = record_lines("wayward", Where(tmp_path, recorded=True))
    assert [(row["row"], row["kind"]) for row in lines] == [
        (row, kind) for kind in ("prose", "own definition") for row in ("chosen", "gamma", "gamma")
    ]
    assert [row["gamma"] for row in lines if row["row"] == "gamma"] == [0.0, 3.0] * 2
    assert (tmp_path / "wayward" / json.loads(first)["file"]).is_file()
    with pytest.raises(StudyError, match=r"holds another study \(other steps\)"):
        wayward_pairs(asked.model_copy(update={"steps": 3}), tmp_path / "wayward")
