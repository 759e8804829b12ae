"""Published claims: measures by hand, completeness of the data, and a recipe that is run and judged."""

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.experiments.claims import Measure, claims
from hardprompt.experiments.claims.claim import PAPERS, Claim, Rule, judge
from hardprompt.experiments.claims.measurement import RESAMPLES, estimate, value_at
from hardprompt.experiments.claims.records import NotMeasured, Where, recipe_cost, recipe_text, record_lines, study_lines
from hardprompt.experiments.claims.report import FARTHEST, _distances, draw_claims
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.reading.evaluate import BenchmarkRequest
from hardprompt.experiments.wayward.pairs import WaywardPairs, wayward_pairs
from hardprompt.records.store import Store
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.estimate import Estimate
from hardprompt.stats.summaries import mean
from hardprompt.study.loading import load_optimizers
from hardprompt.study.planner import plan, planned_studies
from hardprompt.study.recipe import read_recipe
from tests.helpers import Ask

# Measures


def line(**own: Any) -> dict[str, Any]:
    return {"task": "plural", "split": "default", "seed": 0, "optimizer": "pez", "weight": 0.0, "test_accuracy": 0.5} | own


def test_a_difference_is_taken_pair_by_pair() -> None:
    """There are two seeds of one task and one of another. A line without a partner is left out."""
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


def test_keys_reach_into_objects_and_lists() -> None:
    deep = {"a": {"b": {"c": 3}}, "tokens": [{"x": 1.0}, {"x": None}, {"x": 4.0}], "none": None}
    assert value_at(deep, "a.b.c") == 3 and value_at(deep, "tokens.x") == 2.5
    assert value_at(deep, "none") is value_at(deep, "a.z.c") is value_at(deep, "tokens.y") is None


def test_the_interval_shrinks_with_more_tasks_and_is_a_point_for_equal_values() -> None:
    few = estimate({str(n): [0.0, 1.0] for n in range(3)})
    many = estimate({str(n): [0.0, 1.0] for n in range(48)})
    assert 0 <= few.low < many.low < 0.5 < many.high < few.high <= 1
    assert estimate({"a": [0.25] * 3, "b": [0.25]}) == Estimate(0.25, 0.25, 0.25, 2, 4)
    assert estimate({"a": [0.0, 1.0]}) == estimate({"a": [0.0, 1.0]}), "the draws have a fixed seed"


def test_the_interval_agrees_with_that_of_the_page() -> None:
    """If every task has the same number of values, it equals the interval of `bootstrap` with the same number of draws."""
    scores = np.random.default_rng(0).normal(size=(4, 3)) + np.arange(4)[:, None]
    found = estimate({str(number): row.tolist() for number, row in enumerate(scores)})
    assert found == bootstrap(mean, scores, tasks_too=True, draws=RESAMPLES)


def test_a_finding_has_its_own_interval() -> None:
    rows = [{"name": "one", "value": 0.5, "low": 0.25, "high": 0.75, "tasks": 6, "n": 60}]
    assert Measure(finding="one", of={}).estimate(rows) == Estimate(0.5, 0.25, 0.75, 6, 60)
    assert Measure(finding="one", of={}).estimate([rows[0] | {"low": None, "high": None}]) == Estimate(0.5, 0.5, 0.5, 6, 60)
    assert Measure(finding="two", of={}).estimate(rows) is None


@pytest.mark.parametrize(
    "fields", [{}, {"mean": "a", "difference": "b", "minus": {}}, {"difference": "a"}, {"mean": "a", "minus": {}}]
)
def test_a_measure_has_exactly_one_of_three_kinds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Measure(**fields)


# Verdicts


def test_a_rule_is_the_bound_of_the_verdict() -> None:
    found = Estimate(0.2, 0.1, 0.3, 3, 9)
    assert (Rule(above=0).verdict(found), Rule(above=0.3).verdict(found)) == ("holds", "fails")
    assert (Rule(below=0.4).verdict(found), Rule(below=0.1).verdict(found)) == ("holds", "fails")
    assert Rule(below=0.2).verdict(found) == "undecided"
    with pytest.raises(ValidationError, match="exactly one of above and below"):
        Rule(above=0, below=1)


def test_the_picture_shows_distances_from_the_bound_in_half_widths(tmp_path: Path) -> None:
    """The right side is where a claim holds, for bounds from above and from below; far values are drawn at the edge."""
    above, below = (claims((name,))[0] for name in ("soft-is-unfaithful", "wayward-at-two-percent"))
    found = [
        judge(above, Estimate(0.2, 0.1, 0.3, 3, 9)),
        judge(below, Estimate(0.01, 0.005, 0.015, 3, 9)),
        judge(above, Estimate(0.5, 0.5, 0.5, 3, 9)),
        judge(above, None, "no record"),
    ]
    assert _distances(found[0]) == pytest.approx([2, 1, 3]) and _distances(found[1]) == pytest.approx([2, 3, 1])
    assert _distances(found[2]) == [FARTHEST] * 3
    draw_claims(found, tmp_path / "claims.svg")
    drawn = (tmp_path / "claims.svg").read_text()
    assert drawn.count('id="ytick_') == 3, "a claim that is not measured has no row"


def test_a_claim_is_measured_again_on_another_model() -> None:
    """The second claim has the fields of the first, except for its name, its model and those that are given for the model."""
    first, again = claims(("gcg-beats-pez", "gcg-beats-pez-smollm2"))
    assert (first.lm, again.lm, again.recipe) == ("microworld", "smollm2", "smollm2-fronts")
    assert (again.says, again.paper, again.published, again.holds) == (first.says, first.paper, first.published, first.holds)
    assert {claim.lm for claim in claims(("smollm2",))} == {"smollm2"} and again in claims(("smollm2",))


def test_a_claim_that_is_not_measured_has_a_reason() -> None:
    [claim] = claims(("wayward-f1",))
    finding = judge(claim, None, "no record")
    assert (finding.verdict, finding.reason) == ("not measured", "no record") and finding.as_json()["found"] is None


# The data


@cache
def planned_lines(recipe: str) -> tuple[dict[str, Any], ...]:
    """For each run of a recipe's studies, the values of the keys that claims select by; empty for other kinds of recipes."""
    text = recipe_text(recipe).replace("$models", "models").replace("$data", "data")
    if {"wayward", "geometry", "transfer", "readings"} & yaml.safe_load(text).keys():
        return ()
    with TemporaryDirectory() as folder:
        file = Path(folder, "recipe.yaml")
        file.write_text(text, encoding="utf-8")
        studies = planned_studies(read_recipe(file))
    return tuple(
        asdict(run) | {"task": study.request.task, "study": study.variant}
        for study in studies
        for run in plan(study.request, load_optimizers(study.request))
    )


def wrong_filters(measure: Measure, recipe: str) -> list[str]:
    """The filters of a measure that match no run of its recipe, or runs of several variants."""
    fields = yaml.safe_load(recipe_text(recipe))
    wrong = []
    for wanted in [measure.of] if measure.minus is None else [measure.of, measure.minus]:
        if "wayward" in fields:
            for key, offered in (("kind", fields["wayward"]["kinds"]), ("gamma", fields["wayward"]["gammas"])):
                named = wanted.get(key, [])
                missing = set(named if isinstance(named, list) else [named]) - set(offered)
                wrong += [f"no {key} {value}" for value in missing]
        elif "readings" in fields:
            known = {"kind": fields["readings"]["kinds"], "reader": [*fields["readings"]["readers"], "truth"]}
            wrong += [f"no {key} {value}" for key, value in wanted.items() if value not in known[key]]
        elif "transfer" in fields:
            variants = fields["transfer"]["recipe"]["studies"]
            known = {
                "measured_on": ["own", "other"],
                "study": list(variants),
                "optimizer": [name for each in variants.values() for name in each["optimizers"]],
            }
            known["lm"] = known["source_lm"] = [Path(name).name for name in fields["transfer"]["lms"]]
            wrong += [f"no {key} {value}" for key, value in wanted.items() if value not in known[key]]
        elif "geometry" not in fields:
            of_front = wanted.get("row") == "front"  # of the runs of an optimizer with all weights
            of_runs = {key: value for key, value in wanted.items() if key != "row"}
            chosen = [line for line in planned_lines(recipe) if of_runs.items() <= line.items()]
            if of_front:
                chosen = list({(line["task"], line["split"], line["seed"], line["study"]): line for line in chosen}.values())
            units = {(line["task"], line["split"], line["seed"]) for line in chosen}
            if not chosen:
                wrong.append(f"no run fits {wanted}")
            elif len(units) < len(chosen):
                wrong.append(f"several runs of one seed fit {wanted}")
    return wrong


def test_there_are_claims_of_every_paper() -> None:
    every = claims()
    assert len(every) >= 20 and {claim.paper for claim in every} == set(PAPERS)
    assert len({claim.name for claim in every}) == len(every)


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.name)
def test_a_claim_is_about_runs_that_its_recipe_makes(claim: Claim) -> None:
    assert wrong_filters(claim.measure, claim.recipe) == []


@pytest.mark.parametrize(
    ("recipe", "wanted", "problem"),
    [
        ("lengths", {"optimizer": "pez", "study": "three"}, "no run fits"),
        ("lengths", {"optimizer": "pez"}, "several runs of one seed fit"),
        ("pez-variants", {}, "several runs of one seed fit"),
        ("trade-off", {"optimizer": "pez", "weight": 0.3}, "no run fits"),
        ("trade-off", {"optimizer": "pez"}, "several runs of one seed fit"),
        ("sst2", {"optimizer": "ppo"}, "no run fits"),
        ("wayward", {"kind": ["prose", "verse"]}, "no kind verse"),
        ("wayward", {"gamma": 7.5}, "no gamma 7.5"),
        ("transfer", {"study": "slow"}, "no study slow"),
        ("transfer", {"lm": "microworld-huge"}, "no lm microworld-huge"),
        ("readings", {"reader": "epo"}, "no reader epo"),
    ],
)
def test_a_filter_without_its_runs_is_reported(recipe: str, wanted: dict[str, Any], problem: str) -> None:
    [found] = wrong_filters(Measure(mean="test_accuracy", of=wanted), recipe)
    assert found.startswith(problem)


def test_a_front_has_one_line_for_each_weight() -> None:
    """The member that is best on dev there, and not every member."""
    runs = Path(__file__).parents[2] / "runs"
    assert sum(point["optimizer"] == "front" for point in Store(runs / "quick").points()) == 5
    lines = [line for line in study_lines(runs) if line["optimizer"] == "front"]
    found = [(line["seed"], line["weight"]) for line in lines if line.get("row") != "front"]
    assert sorted(found) == [(seed, weight) for seed in (0, 1) for weight in (0.0, 0.1, 0.3)]


def test_a_front_has_its_hypervolume() -> None:
    """It is that of `frontier.json`, for each split and seed."""
    runs = Path(__file__).parents[2] / "runs"
    fronts = [line for line in study_lines(runs) if line.get("row") == "front" and line["optimizer"] == "front"]
    recorded = json.loads((runs / "quick" / "frontier.json").read_text())["optimizers"]["front"]["hypervolume"]
    assert [line["seed"] for line in fronts] == [0, 1]
    assert sum(line["hypervolume"] for line in fronts) / 2 == pytest.approx(recorded["mean"])


@pytest.mark.parametrize("recipe", sorted({claim.recipe for claim in claims()}))
def test_a_recipe_can_be_planned(recipe: str, tmp_path: Path) -> None:
    text = recipe_text(recipe).replace("$models", "models").replace("$data", "data")
    fields = yaml.safe_load(text)
    cost = re.fullmatch(r"about \d+ minutes and (\d+\.\d) million LM tokens", recipe_cost(recipe))
    assert fields["about"] and cost and float(cost[1]) > 0
    if "wayward" in fields:
        assert WaywardPairs(**fields["wayward"]).tasks
    elif "geometry" in fields:
        assert GeometryRequest.make(**fields["geometry"]).epochs
    elif "readings" in fields:
        assert BenchmarkRequest(**fields["readings"]).readers
    else:
        if "transfer" in fields:
            text = yaml.safe_dump(fields["transfer"]["recipe"])
        (tmp_path / "recipe.yaml").write_text(text)
        assert planned_studies(read_recipe(tmp_path / "recipe.yaml"))


def test_claims_are_named_by_their_name_or_paper() -> None:
    assert [claim.paper for claim in claims(("wayward-f1", "bakalova"))] == ["khashabi"] + ["bakalova"] * 13
    with pytest.raises(UnknownName, match="no claim 'wayward-f2'; did you mean 'wayward-f1'"):
        claims(("wayward-f2",))


# Running a recipe

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


@pytest.mark.slow
def test_a_recipe_is_run_once_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    """The verdict follows from the recorded points. A second call runs nothing, and without a record nothing is measured."""
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
    assert "PEZ is not worse than AutoPrompt_SGD" in (tmp_path / "claims.md").read_text()
    assert (tmp_path / "claims-pez.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "claims.json").read_text()) == [found]
    cut = folder / "category-microworld-pez" / "points.jsonl"
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:2]))
    _, out, said = ask([*command, "--recorded"])
    assert json.loads(out)[0]["found"]["n"] == 2 and "pez-variants is not complete: 1 runs are not recorded" in said


def test_a_missing_folder_of_a_recipe_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="give the folder with --models"):
        record_lines("wayward-sizes", Where(tmp_path))


@pytest.mark.slow
def test_a_study_of_wayward_pairs_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are lines per task, kind and gamma. An incomplete line is trained again to the same results."""
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


@pytest.mark.slow
def test_wayward_pairs_of_own_tasks(tmp_path: Path) -> None:
    """A task that is given by its fields has its own name and template; its targets are its own definition and the other's."""
    asked = []
    for name, definition in (("colors", "give the color of the word"), ("sounds", "give the sound of the word")):
        file = tmp_path / f"{name}.jsonl"
        lines = [
            {"input": f"{word} {name} {part}", "answer": "cat", "split": part}
            for part in ("train", "dev", "test")
            for word in "abcd"
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        asked.append(
            {"task": str(file), "template": "{prompt} : {input} =", "reference_prompts": [definition, f"{definition} :"]}
        )
    request = WaywardPairs(
        tasks=tuple(asked), kinds=("other inputs", "own definition"), gammas=(0.0, 3.0), steps=2, batch_size=4
    )
    wayward_pairs(request, tmp_path / "wayward")
    lines = [json.loads(text) for text in (tmp_path / "wayward" / "wayward.jsonl").read_text().splitlines()]
    assert [(line["task"], line["kind"], line["target"]) for line in lines] == [
        ("colors", "other inputs", "give the sound of the word"),
        ("sounds", "other inputs", "give the color of the word"),
        ("colors", "own definition", "give the color of the word"),
        ("sounds", "own definition", "give the sound of the word"),
    ]
    with pytest.raises(RequestError, match="colors has no target of the kind 'same inputs'; use other inputs, contradiction"):
        wayward_pairs(request.model_copy(update={"kinds": ("same inputs",)}), tmp_path / "other")


CROSSED = """
about: small
minutes: 1
transfer:
  lms: [microworld, microworld-reader]
  recipe:
    tasks: [category]
    models: [{lm: microworld, readers: [microworld-reader]}]
    weights: [0]
    seeds: [0, 1, 2]
    limit: 8
    lm_tokens: 2000
    threads: 1
    studies:
      searched: {optimizers: [empty, pez]}
      autoprompt-sgd: {optimizers: [pez], options: {pez: {variant: projected-sgd}}}
"""


@pytest.mark.slow
def test_a_transfer_matrix_is_made_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    monkeypatch.setattr("hardprompt.experiments.claims.records.recipe_text", lambda name: CROSSED)
    command = ["reproduce", "pez-moves-better-than-autoprompt-sgd", "--out", str(tmp_path), "--jobs", "1", "--json"]
    status, out, _ = ask([*command, "--recorded"])
    assert status == 0 and json.loads(out)[0]["verdict"] == "not measured"
    [found] = json.loads(ask(command)[1])
    cells = json.loads((tmp_path / "transfer" / "matrix" / "transfer.json").read_text(encoding="utf-8"))["cells"]
    moved = [cell for cell in cells if (cell["lm"], cell["optimizer"]) == ("microworld-reader", "pez")]
    sign = [1 if "searched" in cell["study"] else -1 for cell in moved]
    expected = sum(side * cell["accuracy"] for side, cell in zip(sign, moved, strict=True)) / 3
    assert len(moved) == 6 and found["found"]["value"] == pytest.approx(expected) and found["found"]["n"] == 3
    assert json.loads(ask([*command, "--recorded"])[1]) == [found]


READ = """
about: small
minutes: 1
readings: {divisions: [report], kinds: [planted], readers: [nearest, samples], lm_tokens: 1000}
"""


@pytest.mark.slow
def test_readings_are_made_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    """The nearest tokens of planted vectors are the text that the vectors come from."""
    monkeypatch.setattr("hardprompt.experiments.claims.records.recipe_text", lambda name: READ)
    command = ["reproduce", "soda", "--out", str(tmp_path), "--json"]
    status, out, _ = ask([*command, "--recorded"])
    assert status == 0 and json.loads(out)[0]["verdict"] == "not measured"
    status, out, _ = ask(command)
    assert status == 0 and "no line of the record matches" in json.loads(out)[0]["reason"], "gradient-search was not asked"
    lines = record_lines("readings", Where(tmp_path, recorded=True))
    nearest = [line for line in lines if line["reader"] == "nearest"]
    assert len(nearest) == 10 and all(line["is_truth"] and line["is_faithful"] for line in nearest)
    planted = Measure(mean="is_truth", of={"kind": "planted", "reader": "nearest"})
    assert planted.estimate(lines) == Estimate(1.0, 1.0, 1.0, 10, 10)
    truths = {line["name"]: line for line in lines if line["reader"] == "truth"}
    assert {name: line["kl"] for name, line in truths.items()} == {line["name"]: line["kl"] for line in nearest}
    own = Measure(difference="kl", of={"reader": "samples"}, minus={"reader": "truth"}).estimate(lines)
    assert own is not None and own.value > 0
