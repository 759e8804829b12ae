"""The page of a study contains the record, loads no other files, and escapes hostile text."""

import json
import shlex
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure
from typer.testing import CliRunner

from hardprompt import cli
from hardprompt.errors import StudyError
from hardprompt.records.frontier import frontier
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import CurveStep, FrontStep, RunRecord, run_records
from hardprompt.records.store import Store
from hardprompt.report import chart
from hardprompt.report.chart import attainment_chart, tradeoff_chart
from hardprompt.report.page import _in_the_dark, report_page
from hardprompt.report.plot import _label_weights
from hardprompt.report.rerun_command import rerun_command
from hardprompt.report.studies import StudyRuns
from hardprompt.report.study_tables import GAPS, best_runs, coverage_sheet, prompts_sheet, results_sheet
from hardprompt.report.tradeoff import (
    COSTS,
    GAINS,
    LENGTH,
    Axis,
    Mean,
    available_axes,
    band,
    budget_curves,
    front_stairs,
    hypervolume_curves,
    mean_tradeoff,
    optimizer_marks,
    tradeoff,
    weight_means,
)
from hardprompt.report.write import write_report
from tests.helpers.pages import HOSTILE, QUICK, Reader, failure, finished_runs, planted

Point = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the recorded quick study, without its figures and its page."""
    for name in ("study.yaml", "points.jsonl"):
        shutil.copy(QUICK / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def quick() -> tuple[dict[str, Any], list[Point]]:
    """The recorded quick study: the contents of its study.yaml and its points."""
    store = Store(QUICK)
    return store.study, store.points()


def page_of(study: dict[str, Any], points: list[Point]) -> str:
    """The page of these points."""
    return report_page([StudyRuns((study,), tuple(run_records(points)))])


def in_place(points: list[Point], share: float = 0.5) -> list[Point]:
    """The points with this share of their log-perplexity as that in place; those of the quick study are without it."""
    return [p | {"log_perplexity_in_place": p["log_perplexity"] and share * p["log_perplexity"]} for p in points]


def strings(value: Any) -> Iterator[str]:
    """Every string in nested dicts and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


# Contents of the page


@pytest.mark.slow
def test_the_report_is_reproducible(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hardprompt report` writes the same bytes for the same study, independent of the location of its folder."""
    monkeypatch.chdir(folder.parent)
    assert CliRunner().invoke(cli.app, ["report", folder.name]).exit_code == 0
    first = (folder / "report.html").read_bytes()
    other = folder.parent / f"{folder.name}-moved"
    shutil.copytree(folder, other)
    write_report(Store(other.resolve()))
    assert (other / "report.html").read_bytes() == first
    assert str(folder.parent).encode() not in first


def test_the_page_contains_the_record(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The request, the tables, every prompt, the costs, versions and data are on the page, in valid HTML with table headers."""
    study, points = quick
    read = Reader(page_of(study, points))
    text = " ".join("".join(piece for _, piece in read.texts).split())
    assert read.open == [] and "".join(read.within("title")).startswith("category on microworld")
    for point in points:
        assert point["prompt_text"] in text
    for said in ["100,000 LM tokens", "microworld-reader", "0, 0.1, 0.3", *study["versions"].values(), *study["data"].values()]:
        assert said in text
    headings = read.within("thead", "th")
    results = results_sheet(run_records(points))
    assert headings[: len(results.columns)] == [column.heading for column in results.columns]
    assert all(attributes.get("scope") for tag, attributes in read.elements if tag == "th")
    cells = read.within("tbody", "td")
    for row in results.rows:
        assert {column.shown(value) for column, value in zip(results.columns[1:-1], row[1:-1], strict=True)} <= set(cells)
    ids = read.within("details", "code")
    assert {" ".join(map(str, p.prompt_ids)) for p in best_runs(run_records(points))} == set(ids)
    spent = sum(p["lm_tokens_forward"] for p in points)
    assert f"{spent:,}" in read.within("tfoot", "td")
    assert "hardprompt compare \\\n    --task category \\\n" in "".join(read.within("pre"))
    assert "known optimum" in text and "regret" in headings and "share of the known hypervolume" not in headings


def test_the_page_shows_a_known_front(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """With several known points there are their prompts, one star for each, and the share of their hypervolume."""
    study, points = quick
    known = [
        {"prompt": f"wording {cost}", "lm": "microworld", "test_accuracy": cost / 6, "log_perplexity": cost}
        for cost in (2.0, 4.0, 6.0)
    ]
    read = Reader(page_of(study | {"known_front": known}, points))
    assert {p["prompt"] for p in known} <= set(read.within("tbody", "bdi"))
    stars = [a for tag, a in read.elements if tag == "path" and a.get("class") == "star" and "transform" in a]
    assert len(stars) == 3 and "share of the known hypervolume" in read.within("thead", "th")


def test_failed_runs_are_shown_with_their_error(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """A failed run is a row with its error and is excluded from the means. If all runs failed, the page has no plot."""
    study, points = quick
    some = Reader(page_of(study, [*points[:-1], failure(points[-1], "RuntimeError: out of luck")]))
    assert some.within("tbody", "td", "div").count("RuntimeError: out of luck") == 1
    assert "1/2" in some.within("tbody", "td") and "1 of them failed" in "".join(some.within("header"))
    every = Reader(page_of(study, [failure(p, "ValueError: no") for p in points]))
    assert every.open == [] and "figure" not in {tag for tag, _ in every.elements}
    assert every.within("tbody", "td", "div").count("ValueError: no") == len(points)


def test_a_study_of_only_the_empty_prompt_has_no_plot(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The empty prompt has no log-perplexity to plot, but the table contains its results."""
    study, points = quick
    read = Reader(page_of(study, [p for p in points if p["optimizer"] == "empty"]))
    assert read.count("figure") == 0 and "no text" in read.within("tbody", "td", "span")


def test_the_best_prompts_show_the_values_of_each_reader(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """Every reader has its nats per token and per character, or a dash for a missing value.

    Without readers there are no lines.
    """
    study, points = quick
    one = {"log_perplexity": 12.346, "nats_per_character": 6.789, "max_surprisal": 20.0, "tokens": 4}
    two = dict.fromkeys(one) | {"tokens": 400}
    read = Reader(page_of(study, [p | {"readers": {"one": one, "two": two}} for p in points]))
    cards = read.count("article")
    assert read.within("dt", "bdi") == ["one", "one", "two", "two"] * cards
    shown = " ".join(" ".join(read.within("article", "dl")).split())
    line = "nats per token, one 12.35 nats per character, one 6.79 nats per token, two \u2013 nats per character, two \u2013"
    assert cards == 9 and shown.count(line) == cards
    bare = Reader(page_of(study, [p | {"readers": {}} for p in points]))
    assert bare.within("dt", "bdi") == [] and "nats per character" not in "".join(bare.within("dt"))


def test_the_best_prompts_are_shown_token_by_token(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """Each token has its surprisal and the loss without it, and marked tokens an asterisk. Older records have no such table."""
    study, points = quick
    rows = [
        {"token": " so", "surprisal": None, "loss_added": 2.0, "accuracy_lost": 0.25, "marked": True},
        {"token": "<b>", "surprisal": 3.456, "loss_added": -0.5, "accuracy_lost": 0.0, "marked": False},
    ]
    read = Reader(page_of(study, [p | {"tokens": rows} for p in points]))
    assert read.within("article", "th", "bdi") == ["so", "<b>"] * 9 and "".join(read.within("article", "th")).count("*") == 9
    assert read.within("article", "td")[:6] == ["\u2013", "+2.00", "-0.25", "3.46", "-0.50", "0.00"]
    assert [a["style"] for tag, a in read.elements if tag == "td" and "style" in a][:2] == ["--share: 100.0%", "--share: 0.0%"]
    assert "gives another token here" in "".join(read.within("article", "p"))
    assert Reader(page_of(study, [{k: v for k, v in p.items() if k != "tokens"} for p in points])).within("article", "td") == []


def test_soft_prompts_are_compared_with_their_text(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """There is a row per soft prompt with its gaps, and no such table if all prompts are hard."""
    study, points = quick
    headings = [heading for _, heading in GAPS]
    soft = [p for p in points if p["optimizer"] == "soft"]
    read = Reader(page_of(study, points))
    assert set(headings) <= set(read.within("thead", "th"))
    cells = read.within("tbody", "td")
    for point in soft:
        assert f"{point['faithfulness']['kl']:.3f}" in cells
    assert not set(headings) & set(Reader(page_of(study, [p for p in points if p not in soft])).within("thead", "th"))


def test_the_log_perplexity_in_place_is_shown_beside_the_other(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """On the cards, in two tables and as an axis. Older records have none; the axis and columns also need other values."""
    study, recorded = quick
    points = [{key: value for key, value in p.items() if key != "log_perplexity_in_place"} for p in recorded]
    shown, equal, old = (Reader(page_of(study, each)) for each in (in_place(points), in_place(points, 1.0), points))
    choice, heading, term = "log-perplexity in place", "in place", "nats per token in its place"
    assert shown.within("label").count(choice) == 1 and shown.within("dt").count(term) == shown.count("article") == 9
    assert shown.within("thead", "th").count(heading) == 1
    best = best_runs(run_records(in_place(points)))
    assert {f"{p.log_perplexity_in_place:.2f}" for p in best} <= set(shown.within("article", "dd"))
    assert {f"{p.log_perplexity_in_place:.2f}" for p in best} <= set(shown.within("tbody", "td"))
    assert equal.within("dt").count(term) == 9 and old.within("dt").count(term) == 0
    for read in (equal, old):
        assert choice not in read.within("label") and heading not in read.within("thead", "th")
    half = run_records([*points[:10], *in_place(points[10:])])
    written = prompts_sheet(half)
    at = [column.heading for column in written.columns].index(heading)
    assert {row[at] for row in written.rows} == {p.log_perplexity_in_place for p in best_runs(half)}
    kept = run_records(points)[1].as_json()
    assert kept == points[1] and "log_perplexity_in_place" not in kept


def test_a_request_from_another_version_is_refused(quick: tuple[dict[str, Any], list[Point]]) -> None:
    study, points = quick
    with pytest.raises(StudyError, match=r"study\.yaml: no field 'request of tomorrow'"):
        page_of(study | {"request": study["request"] | {"request of tomorrow": 1}}, points)


# Hostile text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_escaped(text: str, quick: tuple[dict[str, Any], list[Point]]) -> None:
    """Hostile text in any field of a record adds no script, no handler and no element to the page."""
    harmless = Reader(page_of(*planted(*quick, "harmless")))
    page = page_of(*planted(*quick, text))
    read = Reader(page)
    assert read.open == []
    assert read.count("script") == read.count("img") == 0 and "49" not in "".join(read.within("h1"))
    tags = {tag for tag, _ in read.elements}
    assert tags == {tag for tag, _ in harmless.elements}
    assert all(read.count(tag) == harmless.count(tag) for tag in tags - {"text", "bdi"})  # labels may find no room
    for tag, attributes in read.elements:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    assert all(sign.isprintable() or sign == "\n" for sign in page)
    shown = "".join(sign if sign.isprintable() else f"⟨U+{ord(sign):04X}⟩" for sign in text[:4000])
    assert shown in "".join(read.within("td", "bdi")) and shown in "".join(read.within("h1"))
    page.encode("utf-8")


def test_the_page_loads_no_other_files(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The content security policy comes first and allows only inline styles; the page contains no address."""
    page = page_of(*quick)
    read = Reader(page)
    [policy] = [a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [tag for tag, _ in read.elements[:4]] == ["html", "head", "meta", "meta"]
    assert {"link", "script", "iframe", "object", "img"} & {tag for tag, _ in read.elements} == set()
    assert "://" not in page and "url(" not in page and "@import" not in page


# The plot


@pytest.mark.parametrize("gain", GAINS, ids=lambda axis: axis.name)
@pytest.mark.parametrize("cost", COSTS, ids=lambda axis: axis.name)
def test_the_chart_shows_every_run_on_every_axis(cost: Axis, gain: Axis, quick: tuple[dict[str, Any], list[Point]]) -> None:
    """Every mean and run has a mark in the frame, with lower costs on the right and higher gains on top, and its prompt."""
    runs = finished_runs(in_place(quick[1]))
    shown = tradeoff(runs, frontier(runs, 7.74), [0.0], cost, gain)
    drawn = tradeoff_chart(shown)
    assert [series.name for series in drawn.series] == list(optimizer_marks(runs))
    means = {name: weight_means(runs, name, cost, gain) for name in shown.marks}
    for series in drawn.series:
        own = means[series.name]
        assert len(series.marks) == len(own) and series.runs.count("M") == sum(len(mean.runs) for mean in own)
        for mark in series.marks:
            assert chart.LEFT <= mark.x <= chart.RIGHT and chart.TOP <= mark.y <= chart.BOTTOM
    placed = [(mark, mean) for series in drawn.series for mark, mean in zip(series.marks, means[series.name], strict=True)]
    for (a, x), (b, y) in pairwise(sorted(placed, key=lambda pair: pair[1].cost["mean"])):
        assert a.x >= b.x and x.cost["mean"] <= y.cost["mean"]
    for (a, x), (b, y) in pairwise(sorted(placed, key=lambda pair: pair[1].gain["mean"])):
        assert a.y >= b.y if gain.up else a.y <= b.y
        assert x.gain["mean"] <= y.gain["mean"]
    texts = {p.prompt_text for p in runs if p.log_perplexity is not None}
    assert texts <= {entry.prompt for spot in drawn.spots for entry in spot.entries}
    assert bool(drawn.stairs) == bool(shown.bands) == gain.up and drawn.empty


def test_the_length_is_an_axis_with_its_own_front(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The stairs are the front of accuracy and length, chosen on dev; records without `prompt_tokens` have it too."""
    lengths, accuracies = [1, 3, 2, 4, 4], [0.2, 0.6, 0.1, 0.5, 0.9]
    made = [
        quick[1][8]
        | {"prompt_ids": [7] * length, "deployed_dev_accuracy": right, "deployed_test_accuracy": right, "seed": seed}
        for seed, (length, right) in enumerate(zip(lengths, accuracies, strict=True))
    ]
    runs = finished_runs(made)
    assert LENGTH in available_axes(runs, COSTS)
    assert LENGTH not in available_axes(runs[3:], COSTS), "texts of one length"
    drawn = tradeoff(runs, frontier(runs, 7.74), [0.0], LENGTH)
    assert drawn.stairs == [(1.0, 0.2), (3.0, 0.6), (4.0, 0.9), (4.0, 0.9)]
    [mean] = drawn.means[runs[0].optimizer]
    assert mean.cost["mean"] == pytest.approx(2.8)
    over_tasks = mean_tradeoff([runs, finished_runs(p | {"prompt_ids": [7] * 6} for p in made)], [0.0], LENGTH)
    [mean] = over_tasks.means[runs[0].optimizer]
    assert mean.cost["mean"] == pytest.approx((2.8 + 6) / 2)
    assert [run.length for run in mean.runs] == pytest.approx([2.8, 6])


def test_the_first_chart_shows_the_fronts_and_the_loss_from_projection(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The soft prompt falls from 1 to 0, the known optimum has a star, and tooltips describe them."""
    study, points = quick
    runs = finished_runs(points)
    drawn = tradeoff_chart(tradeoff(runs, frontier(runs, 7.74, study["known_front"]), [0.0]))
    by_name = {series.name: series for series in drawn.series}
    soft = by_name["soft"].marks[0]
    assert soft.trained is not None and soft.trained < soft.y and by_name["pez"].marks[0].trained is None
    assert [bool(by_name[name].band) for name in ("random", "soft", "pez", "rl")] == [False, False, True, True]
    assert len(drawn.stairs) == len(front_stairs(runs, worst=7.74)) and len(drawn.known) == 1
    entries = [entry for spot in drawn.spots for entry in spot.entries]
    assert len(entries) == 18 + 9 + 1 + 1  # texts, means of two runs, soft as trained, known optimum
    assert any(entry.heading == "pez, w=0.1, seed 1" and "as text" in entry.figures for entry in entries)


def test_the_front_of_frontier_json_is_drawn(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The stairs go through the members of the front, except those that are not better on test than a cheaper member."""
    _, points = quick
    runs = finished_runs(points)
    found = frontier(runs, 7.74)
    members = [(p["log_perplexity"], p["deployed_test_accuracy"]) for p in found["overall"]["front"]]
    stairs = front_stairs(runs, worst=7.74)
    assert stairs[0] == members[0] and set(stairs[:-1]) <= set(members) and stairs[-1] == (7.74, max(a for _, a in members))


def test_means_that_are_close_have_one_label() -> None:
    """Three means at 2, 5 and 5.1 nats per token on axes from 0 to 10."""
    axes = Figure().add_subplot()
    axes.set_xlim(0, 10)
    means = [Mean(weight, {"mean": cost}, {"mean": 0.5}, None, (), "") for weight, cost in ((0.0, 2.0), (0.1, 5.0), (0.3, 5.1))]
    _label_weights(axes, means, "black", (0, 0))
    assert [label.get_text() for label in axes.texts] == ["w=0", "w=0.1, 0.3"]


def test_a_band_is_the_mean_of_the_fronts() -> None:
    """One seed has 0.5 from 2 nats on and 1 from 4, another 0.7 from 3 on. A seed without one of the weights is left out."""

    def run(seed: int, weight: float, cost: float, accuracy: float) -> RunRecord:
        of: dict[str, Any] = {"optimizer": "pez", "split": "default", "seed": seed, "weight": weight, "log_perplexity": cost}
        return RunRecord.model_construct(**of, deployed_dev_accuracy=accuracy, deployed_test_accuracy=accuracy)

    points = [run(0, 0, 4, 1.0), run(0, 1, 2, 0.5), run(1, 0, 3, 0.7), run(1, 1, 3.5, 0.6), run(2, 0, 1, 1.0)]
    found = band([points], "pez")
    assert found is not None
    assert found[:2].tolist() == [[2, 3, 4], [0.25, pytest.approx(0.6), pytest.approx(0.85)]]
    assert (found[2] <= found[1]).all() and (found[1] <= found[3]).all() and found[3, 0] == 0.5
    assert band([points, points[-1:]], "pez") is None, "the other task has no unit with both weights"


def test_means_over_tasks_need_a_run_on_every_task(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """An optimizer that ran on both tasks has their mean and a mark per task; one that ran on a single task is left out."""
    _, points = quick
    other = [
        p | {"task": "other", "deployed_test_accuracy": 0.0} for p in points if p["weight"] == 0 and p["optimizer"] != "rl"
    ]
    shown = mean_tradeoff([finished_runs(points), finished_runs(other)], [0.0])
    assert {name: [mean.weight for mean in own] for name, own in shown.means.items()} == {
        "manual": [0.0], "random": [0.0], "soft": [0.0], "pez": [0.0], "rl": [],
    }  # fmt: skip
    [pez] = shown.means["pez"]
    assert pez.gain["mean"] == pytest.approx(0.5) and (pez.gain["low"], pez.gain["high"]) == (0.0, 1.0)
    assert [run.task for run in pez.runs] == ["category", "other"] and pez.units == "2 tasks, 2 runs each"
    entries = [entry.heading for spot in tradeoff_chart(shown, several=True).spots for entry in spot.entries]
    assert "pez, w=0, other" in entries and "pez, w=0: mean of 2 tasks, 2 runs each" in entries


def test_curves_begin_where_all_runs_have_a_prompt() -> None:
    """One seed has 0.2 from 10 and 0.8 from 100 tokens on, another 0.6 from 50 on, and the longest run spends 200."""

    def run(seed: int, *steps: tuple[int, float], weight: float = 0.0) -> RunRecord:
        curve = [CurveStep(lm_tokens=tokens, dev_accuracy=accuracy) for tokens, accuracy in steps]
        of: dict[str, Any] = {"optimizer": "pez", "split": "default", "seed": seed, "weight": weight, "curve": curve}
        return RunRecord.model_construct(**of, lm_tokens_forward=100 + 50 * seed, lm_tokens_backward=50)

    runs = [run(0, (10, 0.2), (100, 0.8)), run(1, (50, 0.6)), run(0, (10, 0.0), weight=0.3)]
    curve = budget_curves([runs])["pez"]
    tokens, mean, low, high = curve.band
    assert (tokens[0], tokens[-1], curve.counts, curve.weight) == (50, 200, "1 task x 2 runs", 0.0)
    assert mean[0] == pytest.approx(0.4) and mean[-1] == pytest.approx(0.7) and (low[-1], high[-1]) == (0.6, 0.8)
    assert all(a <= b for a, b in pairwise(mean))
    assert budget_curves([runs, []]) == {} and budget_curves([[runs[0].model_copy(update={"curve": []})]]) == {}


def test_hypervolume_curves_are_means_over_runs_at_one_weight() -> None:
    """One seed covers 0.1 from 10 and 0.5 from 100 tokens on, another 0.3 from 50 on. Several points of a run count once."""

    def run(seed: int, *steps: tuple[int, float], weight: float = 0.0, name: str = "pez") -> RunRecord:
        growth = [FrontStep(lm_tokens=tokens, hypervolume=volume) for tokens, volume in steps]
        of: dict[str, Any] = {"optimizer": name, "split": "default", "seed": seed, "weight": weight, "front_curve": growth}
        return RunRecord.model_construct(**of, lm_tokens_forward=100 + 50 * seed, lm_tokens_backward=50)

    runs = [run(0, (10, 0.1), (100, 0.5)), run(1, (50, 0.3)), run(0, (10, 0.9), weight=0.3), run(0, name="soft")]
    curves = hypervolume_curves([[*runs, *(runs[0].model_copy(update={"member": number}) for number in (2, 3))]])
    assert set(curves) == {"pez"} and budget_curves([runs]) == {}
    tokens, mean, low, high = curves["pez"].band
    assert (tokens[0], tokens[-1], curves["pez"].counts, curves["pez"].weight) == (50, 200, "1 task x 2 runs", 0.0)
    assert mean[0] == pytest.approx(0.2) and mean[-1] == pytest.approx(0.4) and (low[-1], high[-1]) == (0.3, 0.5)


def test_the_page_shows_the_growth_of_the_fronts(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """A second figure at equal budgets, for the optimizers that recorded it, on the page of one study and of two."""
    study, points = quick
    steps = [{"lm_tokens": 100, "hypervolume": 0.125}, {"lm_tokens": 1000, "hypervolume": 0.25}]
    curve = [{"lm_tokens": 100, "dev_accuracy": 0.5}]
    grown = [p | {"curve": curve, "front_curve": steps if p["optimizer"] in ("pez", "rl") else []} for p in points]
    of_one, of_two = (
        Reader(report_page([StudyRuns((study,), tuple(run_records(grown)), name) for name in names]))
        for names in ([""], ["a", "b"])
    )
    label = "hypervolume on dev of the prompts so far against LM tokens spent, forward and backward"
    for read, charts in ((of_one, 1), (of_two, 3)):
        shown = [a["aria-label"] for tag, a in read.elements if tag == "svg" and (a.get("aria-label") or "").startswith(label)]
        assert len(shown) == charts
        tips = [text for text in read.within("b") if "hypervolume on dev" in text]
        assert tips and {tip.split(",")[0] for tip in tips} == {"pez", "rl"}
    assert "hypervolume on dev" not in page_of(study, points)


def test_the_page_draws_the_attainment_of_several_runs(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The three levels are at their places: the line is that of half of the runs. One run has no attainment to show."""
    levels = {"0.25": [0.5, 1.0], "0.5": [0.25, 0.75], "0.75": [0.0, 0.5]}
    attained = {"attainment": {"log_perplexity": [2.0, 4.0], "deployed_test_accuracy": levels}, "hypervolume": {"n": 4}}
    chart = attainment_chart({"optimizers": {"pez": attained}}, {"pez": ("#0072b2", "o")})
    assert chart is not None and [spot.entries[0].figures for spot in chart.spots] == [
        "0.250 for half of the runs, 0.500 for a quarter and 0.000 for three quarters",
        "0.750 for half of the runs, 1.000 for a quarter and 0.500 for three quarters",
    ]
    [series] = chart.series
    (low, high), tall = (spot.x for spot in chart.spots), {label: y for y, label in chart.y_ticks}
    assert high < low, "the more readable prompts are on the right"
    assert series.marks[0].along == (tall["1"], round((tall["0.4"] + tall["0.6"]) / 2, 1))
    assert attainment_chart({"optimizers": {"pez": attained | {"hypervolume": {"n": 1}}}}, {"pez": ("#0072b2", "o")}) is None
    study, points = quick
    title = "How the fronts of the runs differ"
    assert title in page_of(study, points)
    assert title not in page_of(study, [point for point in points if point["seed"] == 0])


def test_the_table_of_hypervolumes_shows_what_a_choice_on_dev_costs(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """The pessimistic hypervolume and the noisy R2 of frontier.json; a dash in place of those that an old file lacks."""
    study, points = quick
    runs = run_records(points)
    found = frontier(runs, 7.74, study["known_front"])
    sheet = coverage_sheet(found, runs)
    headings = [column.heading for column in sheet.columns]
    assert headings == ["optimizer", "hypervolume", "pessimistic", "gap", "noisy R2", "regret", "runs"]
    brief = coverage_sheet(found, runs, brief=True)
    assert [column.heading for column in brief.columns] == ["optimizer", "hypervolume", "pessimistic", "regret", "runs"]
    rows = {row[0]: row for row in sheet.rows}
    for name, own in found["optimizers"].items():
        for key, at in (("pessimistic_hypervolume", 2), ("hypervolume_gap", 3), ("noisy_r2", 4)):
            assert rows[name][at] == (own[key]["mean"], own[key]["low"], own[key]["high"])
    assert {"pessimistic", "gap", "noisy R2"} <= set(Reader(page_of(study, points)).within("thead", "th"))
    old = found | {"optimizers": {"pez": {key: found["optimizers"]["pez"][key] for key in ("hypervolume", "regret")}}}
    assert coverage_sheet(old, runs).rows[0][2:5] == (None, None, None)


def test_a_single_run_has_a_chart(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """With one run the range of the axis is not empty, and the mark is inside the frame."""
    runs = finished_runs(in_place(quick[1]))
    for cost in COSTS:
        drawn = tradeoff_chart(tradeoff(runs[1:2], frontier(runs[1:2], 0.5), [0.0], cost))
        assert 1 <= len(drawn.x_ticks) <= 14 and chart.LEFT <= drawn.series[0].marks[0].x <= chart.RIGHT


def test_labels_do_not_cover_each_other(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """For forty weights at nearly the same position, some labels are left out, and no two labels overlap."""
    _, points = quick
    places = [{"optimizer": "mine", "weight": i / 100, "log_perplexity": 4 + i / 50} for i in range(40)]
    many = finished_runs(points[8] | place for place in places)
    labels = [mark.label for mark in tradeoff_chart(tradeoff(many, frontier(many, 7.7), [0.0])).series[0].marks if mark.label]
    assert 3 <= len(labels) < 40
    starts = {"start": 0.0, "end": 1.0, "middle": 0.5}
    boxes = [(x - starts[side] * 6.4 * len(text), y, 6.4 * len(text)) for x, y, side, text in labels]
    for i, (x, y, width) in enumerate(boxes):
        assert not any(abs(y - v) < 13 - 1e-6 and x + 0.2 < u + w and u + 0.2 < x + width for u, v, w in boxes[:i])


def test_custom_optimizers_differ_in_color_and_shape(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """Successive ones of six custom optimizers have different colors and different markers with an outline."""
    _, points = quick
    marks = list(optimizer_marks(run_records(points[1] | {"optimizer": f"mine-{i}"} for i in range(6))).values())
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(marks))
    assert {marker for _, marker in marks} <= {*chart.CORNERS, "o"}


def test_colors_are_lighter_in_dark_mode() -> None:
    """The near black of `manual` becomes near white, and blue keeps its hue."""
    assert _in_the_dark("#222222") == "#dddddd"
    lit = _in_the_dark("#0072b2")
    assert lit[5:7] > lit[3:5] > lit[1:3]


# The command to rerun a study

ASKED: dict[str, dict[str, Any]] = {
    "quick": {},
    "everything": {
        "start": "<|endoftext|>",
        "task": "my tasks/mood.jsonl",
        "lm": "some/model",
        "readers": ("other", "a model, with a comma", "some/model's"),
        "optimizers": ("empty", "pez", "mine.py:mine"),
        "weights": (0.0, 1 / 3, 1e-05),
        "splits": ("13", "21"),
        "seeds": (3, 4294967295),
        "lm_tokens": 1,
        "prompt_length": 7,
        "length_weight": 0.05,
        "vocabulary": "all",
        "template": '-{input} it\'s "$HOME" {prompt} :',
        "label_words": {"0": "bad", "1": "a = b"},
        "match": "starts-with",
        "reference_prompts": ("it was", "", "-x"),
        "options": {"pez": {"steps": "500", "init_text": "it's `so` = $(this)"}},
        "device": "cpu",
    },
    "real data": {
        "task": "sst2",
        "data": Path("my data") / "sst-2",
        "shots": 4,
        "limit": 300,
        "label_words": {"0": "bad", "1": "good"},
    },
    "unusable rows": {"task": "sst2", "data": "sst-2", "skip_unusable": True},
    "no budget": {"lm_tokens": None},
    "comma": {"optimizers": ("a,b.py:mine",)},
    "space at an end": {"label_words": {"0": " bad", "1": "good"}},
    "equals": {"label_words": {"a=b": "bad", "1": "good"}},
    "list": {"options": {"mine": {"sizes": [1, 2]}}},
    "nothing": {"options": {"mine": {"sizes": None}}},
    "unprintable": {"template": "{input}\n\u202e{prompt}\x00"},
    "empty template": {"template": "", "reference_prompts": ("",)},
}
ONLY_IN_PYTHON = {"no budget", "comma", "space at an end", "equals", "list", "nothing", "unprintable"}


@pytest.mark.parametrize("case", ASKED)
def test_the_rerun_command_gives_the_same_request(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, parsed as a shell and the command line parse it, or the Python program gives an equal request."""
    request = StudyRequest.make("quick", **ASKED[case])
    text = "\n".join(rerun_command(request))
    asked: list[tuple[StudyRequest, str]] = []
    assert (case in ONLY_IN_PYTHON) == text.startswith("import hardprompt") and text.replace("\n", "").isprintable()
    if case in ONLY_IN_PYTHON:
        monkeypatch.setattr("hardprompt.compare", lambda request, out: asked.append((request, out)), raising=False)
        exec(text, {})
    else:
        monkeypatch.setattr(
            "hardprompt.study.runner.run_study", lambda request, out, *_, **options: asked.append((request, str(out)))
        )
        monkeypatch.setattr("hardprompt.cli.search.print_studies", lambda *_: None)
        program, *words = shlex.split(text.replace("\\\n", ""))
        answer = CliRunner().invoke(cli.app, words)
        assert (program, answer.exit_code) == ("hardprompt", 0), answer.output
    assert asked == [(request, "again")]


@pytest.mark.parametrize("case", ["quick", "no budget"])
def test_the_rerun_command_sets_the_recorded_number_of_threads(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits of a result depend on the number of threads, which is otherwise torch's default."""
    first, *lines = rerun_command(StudyRequest.make("quick", **ASKED[case]), 7)
    if case in ONLY_IN_PYTHON:
        asked: list[int] = []
        monkeypatch.setattr("hardprompt.compare", lambda request, out: None, raising=False)
        monkeypatch.setattr("torch.set_num_threads", asked.append)
        exec("\n".join([first, *lines]), {})
        assert asked == [7]
    else:
        assert first == "OMP_NUM_THREADS=7 hardprompt compare \\"


def test_the_rerun_command_of_a_recorded_study(folder: Path) -> None:
    """The request read from study.yaml equals the recorded one, and the command contains its seeds."""
    recorded = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))["request"]
    request = StudyRequest.model_validate(recorded)
    assert request.model_dump(mode="json") == StudyRequest().model_dump(mode="json") | recorded
    assert json.dumps(recorded["seeds"])[1:-1].replace(" ", "") in "\n".join(rerun_command(request))


def test_the_page_marks_prompts_that_copy(quick: tuple[dict[str, Any], list[Point]]) -> None:
    """A card and the table say what a prompt copies; a study without such prompts has neither line nor column."""
    study, points = quick
    copying = {"quoted_words": {"train": 4, "test": 1}, "label_words": {"<b>great</b>": 2, "bad": 0}}
    marked = [p | {"copying": copying if p["optimizer"] == "manual" else {}} for p in points]
    lines = ["names the label word <b>great</b>", "quotes 4 words of train inputs (of as many test inputs: 1)"]
    read = Reader(page_of(study, marked))
    assert [text for text in read.within("article", "bdi") if text in lines] == lines and "great" not in read.within("b")
    sheet = prompts_sheet(run_records(marked))
    place = [column.heading for column in sheet.columns].index("copies")
    assert {row[0]: row[place] for row in sheet.rows} == {
        row[0]: "; ".join(lines) if row[0] == "manual" else "" for row in sheet.rows
    }
    assert "copies" not in [column.heading for column in prompts_sheet(run_records(points)).columns]
    assert not [text for text in Reader(page_of(study, points)).within("article") if "quotes" in text]
