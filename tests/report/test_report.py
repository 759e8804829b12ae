"""Tables as files and reports of several studies: all values follow from the records, and hostile text is escaped."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from hardprompt.errors import StudyError
from hardprompt.records.store import Store
from hardprompt.report.page import MAX_BYTES, report_page
from hardprompt.report.plot import draw
from hardprompt.report.studies import as_text, compare_optimizers, comparisons_sheet, group_studies, means_sheet, scores
from hardprompt.report.tables import Column, TableData
from hardprompt.report.tradeoff import mean_tradeoff
from hardprompt.stats.bootstrap import bootstrap
from hardprompt.stats.comparison import permutation_test
from hardprompt.stats.summaries import mean
from tests.helpers import Ask
from tests.helpers.pages import HOSTILE, QUICK, Reader

Point = dict[str, Any]
COSTS = ("log-perplexity", "reader", "characters", "length", "tokens")

FORMULAS = ("=HYPERLINK(1)", "+1", "-1+1", "@SUM(1)", "\t=1", " =1", "\uff1d1+1")


def study(folder: Path, task: str, shift: float = 0.0, **request: Any) -> Path:
    """The recorded quick study as a study of another task, with a shifted accuracy of the soft prompts' texts."""
    folder.mkdir()
    recorded = yaml.safe_load((QUICK / "study.yaml").read_text(encoding="utf-8"))
    recorded["request"] |= {"task": task, **request}
    (folder / "study.yaml").write_text(yaml.safe_dump(recorded), encoding="utf-8")
    points = [json.loads(line) | {"task": task} for line in (QUICK / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    for point in points:
        if point["optimizer"] == "soft":
            point["deployed_test_accuracy"] = shift + point["seed"] / 10
    keep = [p for p in points if p["optimizer"] in recorded["request"]["optimizers"]]
    (folder / "points.jsonl").write_text("".join(json.dumps(p) + "\n" for p in keep), encoding="utf-8")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Studies of three tasks, with a different accuracy of the soft prompts on each."""
    return [study(tmp_path / name, name, shift) for name, shift in (("one", 0.1), ("two", 0.4), ("three", 0.7))]


# Tables


def sheet_of(*texts: str) -> TableData:
    """A table with these texts."""
    columns = (
        Column("optimizer", "name"),
        Column("text", "text"),
        Column("gain", "interval", signed=True),
        Column("n", digits=0),
    )
    rows = [(text, text, (0.5, -0.25, 1 / 3), 1200) for text in texts]
    return TableData("mine", "mine", "What it is.", (*columns, Column("none")), [(*row, None) for row in rows])


@pytest.mark.parametrize("text", [*HOSTILE.values(), *FORMULAS])
def test_spreadsheets_do_not_run_a_prompt_as_a_formula(text: str, tmp_path: Path) -> None:
    """Reading back gives the text, or the text after an apostrophe.

    Numbers have all digits, and all characters are printable.
    """
    sheet_of(text).write(tmp_path)
    raw = (tmp_path / "mine.csv").read_text(encoding="utf-8")
    header, row = csv.reader(io.StringIO(raw))
    assert header == ["optimizer", "text", "gain", "gain low", "gain high", "n", "none"]
    assert row[2:] == ["0.5", "-0.25", repr(1 / 3), "1200", ""]
    shown = "".join(sign if sign.isprintable() else f"⟨U+{ord(sign):04X}⟩" for sign in text)
    assert row[0] == row[1] and row[1] in (shown, f"'{shown}")
    assert (row[1][0] == "'") == (text in FORMULAS[:4] + FORMULAS[5:] or text == HOSTILE["quotes"])
    assert all(sign.isprintable() or sign in "\r\n" for sign in raw)


@pytest.mark.parametrize("text", [*HOSTILE.values(), "a | b", "`code` **bold** [link](x) www.example.org", "# heading"])
def test_markdown_shows_a_prompt_verbatim(text: str, tmp_path: Path) -> None:
    """A row is one line with one cell per column, and every Markdown character is escaped with a backslash."""
    sheet_of(text).write(tmp_path)
    written = (tmp_path / "mine.md").read_text(encoding="utf-8")
    *_, head, rule, row = written.rstrip("\n").split("\n")
    bare = row.replace("\\\\", "").replace("\\|", "")
    assert head.count("|") == rule.count("|") == bare.count("|") == 6 and rule == "| :-- | :-- | --: | --: | --: |"
    assert "+0.500 (-0.250 to +0.333) | 1,200" in row
    cell = row.split(" | +0.500")[0]
    for i, sign in enumerate(cell):
        if sign in "<>*_`[]#":
            assert cell[i - 1] == "\\", cell


@pytest.mark.parametrize("text", [*HOSTILE.values(), "[/bold] [red]"])
def test_the_terminal_shows_a_prompt_verbatim(text: str) -> None:
    """Escape sequences are replaced, and the markup of rich is shown as text."""
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(sheet_of(text[:100]).as_rich())
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(sign.isprintable() or sign == "\n" for sign in written.replace("\x1b[3m", "").replace("\x1b[0m", ""))
    assert "[/bold]" not in text or "[/bold] [red]" in written


# Several studies on one page


def test_means_and_comparisons_agree_with_the_statistics(three: list[Path]) -> None:
    """The values in the tables equal those of the statistics functions on the matrix of tasks and seeds."""
    shown = group_studies([Store(folder) for folder in three])
    assert [each.task for each in shown] == ["one", "two", "three"]
    found = scores(shown, [("soft", 0.0), ("random", 0.0)], as_text)
    assert found is not None
    soft, random = found
    np.testing.assert_allclose(soft, [[0.1, 0.2], [0.4, 0.5], [0.7, 0.8]])
    row = next(row for row in means_sheet(shown).rows if row[0] == "soft")
    text = bootstrap(mean, soft)
    assert row[2:4] == (3, 2) and row[5] == (text.value, text.low, text.high) and row[5][0] == pytest.approx(0.45)
    assert row[6][2] - row[6][1] > row[5][2] - row[5][1], "tasks that differ: wider where they are redrawn"
    [pair] = [each for each in compare_optimizers(shown, tasks_too=True) if {each.first, each.second} == {"soft", "random"}]
    assert pair.first == "soft" and pair.p_value == permutation_test(soft, random, tasks_too=True) == 0.25
    line = next(row for row in comparisons_sheet(shown).rows if row[:2] == ("soft", "random"))
    assert line[2][0] == pytest.approx(float((soft - random).mean())) and line[5:7] == (3, 2) and line[-1] == "no"


def test_units_that_some_optimizers_lack_are_left_out(three: list[Path]) -> None:
    """A seed that failed with one optimizer is left out for all. Every task has as many units as the task with the fewest."""
    stores = [Store(folder) for folder in three]
    lines = [json.loads(line) for line in stores[0].lines_path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if (line["optimizer"], line["seed"]) == ("soft", 0):
            line |= {"status": "failed", "error": "no"}
    stores[0].lines_path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = scores(group_studies(stores), [("soft", 0.0), ("pez", 0.0)], as_text)
    assert found is not None
    np.testing.assert_allclose(found[0], [[0.2], [0.4], [0.7]])


def test_folders_of_the_same_request_are_shown_as_one_study(tmp_path: Path) -> None:
    """Folders that differ in weights or optimizers are combined; folders with another budget or the same run are not."""
    folders = [
        study(tmp_path / "a", "one", optimizers=["empty", "manual", "random"]),
        study(tmp_path / "b", "one", optimizers=["soft", "pez", "rl"], weights=[0.0, 0.1, 0.3]),
        study(tmp_path / "c", "one", optimizers=["soft"], lm_tokens=5),
        study(tmp_path / "d", "two"),
    ]
    shown = group_studies([Store(folder) for folder in folders])
    assert [(each.task, each.name, len(each.points)) for each in shown] == [
        ("one", "a + b", 20),
        ("one", "c", 2),
        ("two", "", 20),
    ]
    twice = group_studies([Store(folders[0]), Store(study(tmp_path / "e", "one", optimizers=["manual"]))])
    assert [each.name for each in twice] == ["a", "e"]


def test_report_puts_several_studies_on_one_page(
    three: list[Path], here: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page with every study on it, its tables and figures; the terminal and --json say the same."""
    monkeypatch.setattr("hardprompt.report.write.draw", lambda drawn, title, file: file.touch())
    status, out, err = ask(["report", *map(str, three), "--out", "side"])
    assert (status, err) == (0, "") and "means over 3 tasks" in out and "each optimizer against the others" in out
    assert "the front of each optimizer against the others" in out
    page = (here / "side" / "report.html").read_text(encoding="utf-8")
    read = Reader(page)
    assert read.open == [] and "".join(read.within("h1")) == "3 tasks on microworld"
    assert page.count("<h2>Means over the tasks</h2>") == page.count("<h2>Comparison of the fronts</h2>") == 1
    assert ["".join(piece.split()) for piece in read.within("summary", "h2")][::2] == ["one", "two", "three"]
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = {a[key] for _, a in read.elements for key in ("aria-labelledby",) if key in a}
    links = {str(a["href"])[1:] for _, a in read.elements if "href" in a}
    assert named <= set(ids) and links <= set(ids) and len(links) == 3
    assert sorted(path.name for path in (here / "side" / "tables").iterdir()) == [
        "comparisons.csv", "comparisons.md", "hypervolumes.csv", "hypervolumes.md", "means.csv", "means.md",
    ]  # fmt: skip
    figures = {path.name for path in (here / "side" / "figures").iterdir()}
    names = ["budget", *(f"{gain}-{cost}" for gain in ("accuracy", "loss") for cost in COSTS)]
    assert figures == {f"{name}{ending}" for name in names for ending in (".png", ".svg")}
    status, out, _ = ask(["report", *map(str, three), "--out", "side", "--json"])
    answer = json.loads(out)
    assert status == 0 and answer["tasks"] == ["one", "two", "three"]
    assert {"difference", "improvement", "p_value", "p_corrected", "shown"} <= set(answer["comparisons"][0])


def test_the_figure_over_tasks_is_drawn(three: list[Path], tmp_path: Path) -> None:
    """A picture and a vector file of the means, whatever a task is called."""
    tasks = [each.done for each in group_studies([Store(folder) for folder in three])]
    for ending, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        draw(mean_tradeoff(tasks, [0.0]), r"mean of $\frac{tasks$ \x1b", tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").read_bytes().startswith(begins)


def test_the_axis_in_place_has_figures(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """They and the tables of the files hold the values of `log_perplexity_in_place`."""
    monkeypatch.setattr("hardprompt.report.write.draw", lambda drawn, title, file: file.touch())
    monkeypatch.setattr("hardprompt.report.write.draw_tradeoff", lambda points, found, weights, file: file.touch())
    folder = study(tmp_path / "one", "one")
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [line | {"log_perplexity_in_place": line["log_perplexity"] and line["log_perplexity"] - 1} for line in lines]
    (folder / "points.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert ask(["report", str(folder)])[0] == 0
    assert {"accuracy-in-place.svg", "loss-in-place.png"} <= {path.name for path in (folder / "figures").iterdir()}
    header, *rows = csv.reader((folder / "tables" / "runs.csv").read_text(encoding="utf-8").splitlines())
    found = [row[header.index("in place")] for row in rows]
    assert found == ["" if line["log_perplexity"] is None else repr(line["log_perplexity"] - 1) for line in lines]


def test_a_report_does_not_replace_a_study(three: list[Path], ask: Ask) -> None:
    """A report of several studies is not written into a study's folder, and the report of one study only into its own."""
    before = (three[0] / "points.jsonl").read_bytes()
    status, _, err = ask(["report", *map(str, three), "--out", str(three[0])])
    assert status == 2 and "holds a study, whose page this would replace" in err
    status, _, err = ask(["report", str(three[0]), "--out", "elsewhere"])
    assert status == 2 and "is written into its own folder" in err
    assert (three[0] / "points.jsonl").read_bytes() == before and not (three[0] / "report.html").exists()


def test_a_study_from_another_version_is_reported(three: list[Path], tmp_path: Path) -> None:
    shutil.copytree(three[0], tmp_path / "new")
    text = (tmp_path / "new" / "study.yaml").read_text(encoding="utf-8")
    (tmp_path / "new" / "study.yaml").write_text(text.replace("request:", "request:\n  of_tomorrow: 1"), encoding="utf-8")
    with pytest.raises(StudyError, match=r"new: study\.yaml: no field 'of_tomorrow'"):
        group_studies([Store(three[1]), Store(tmp_path / "new")])


@pytest.mark.parametrize("runs", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_a_page_stays_small(runs: int, three: list[Path]) -> None:
    """With twelve times the runs and long prompts, it has less than two megabytes, and a note tells what is left out."""
    [shown] = group_studies([Store(three[0])])
    points = [
        p.model_copy(update={"seed": 2 * i + p.seed, "prompt_text": p.prompt_text + "x" * 2000 * (runs > 1)})
        for i in range(runs)
        for p in shown.done
    ]
    page = report_page([replace(shown, points=tuple(points)), replace(shown, points=tuple(points))])
    assert len(page.encode()) < MAX_BYTES and ("So that the page stays small" in page) == (runs > 1)
    assert Reader(page).open == []
