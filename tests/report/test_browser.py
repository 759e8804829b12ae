"""The page in a real browser: there are no requests and no console messages, and tooltips and the choice of axes work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardprompt.records.schema import run_records
from hardprompt.records.store import Store
from hardprompt.report.page import report_page
from hardprompt.report.studies import StudyRuns
from tests.helpers.browser import Browser, chromium
from tests.helpers.pages import HOSTILE, QUICK, planted

SHOWN = "[...document.querySelectorAll('.plot')].filter(plot => plot.getClientRects().length)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def with_curve(point: dict[str, Any]) -> dict[str, Any]:
    """A point whose search found its prompt after half of the budget."""
    spent = point["lm_tokens_forward"] + point["lm_tokens_backward"]
    steps = ((spent // 4, 0.0), (spent // 2, point["dev_accuracy"]))
    return point | {"curve": [{"lm_tokens": max(tokens, 1), "dev_accuracy": accuracy} for tokens, accuracy in steps]}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of the quick study, a page of two tasks, and the page of a study full of hostile text."""
    folder, store = tmp_path_factory.mktemp("pages"), Store(QUICK)
    points = [with_curve(p) for p in store.points()]
    one = StudyRuns((store.study,), tuple(run_records(points)))
    other = StudyRuns((store.study,), tuple(run_records(p | {"task": "other"} for p in points)))
    study, lines = planted(store.study, points, " ".join(list(HOSTILE.values())[:6]))
    hostile = StudyRuns((study,), tuple(run_records(lines)))
    written = {}
    for name, shown in (("one", [one]), ("two", [one, other]), ("hostile", [hostile])):
        written[name] = folder / f"{name}.html"
        written[name].write_text(report_page(shown), encoding="utf-8")
    return written


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["one", "two", "hostile"])
def test_the_page_makes_no_requests_and_fits_the_window(
    name: str, width: int, dark: bool, pages: dict[str, Path], browser: Browser
) -> None:
    """The only request is for the page, the console is empty, nothing is wider than the window, and dark mode is supported."""
    browser.open(pages[name], width, dark)
    assert browser.requested() == [pages[name].as_uri()] and browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    ground = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) < 3 * 128) == dark
    assert browser.run("document.scripts.length + document.images.length") == 0


def test_the_axes_of_the_chart_can_be_chosen(pages: dict[str, Path], browser: Browser) -> None:
    """Each choice shows one chart of each study, with these axes; the arrow keys choose as well."""
    browser.open(pages["one"])
    assert browser.run("[...document.querySelectorAll('input')].map(i => i.id)") == [
        "gain-0", "gain-1", "cost-0", "cost-1", "cost-2", "cost-3", "cost-4",
    ]  # fmt: skip
    label = f"{SHOWN}.map(plot => plot.querySelector('svg').getAttribute('aria-label').split('. The')[0])"
    seen = []
    for cost in range(5):
        for gain in range(2):
            browser.run(f"document.querySelector('#cost-{cost}').click(), document.querySelector('#gain-{gain}').click()")
            [of_tradeoff, of_curves, of_attained] = browser.run(label)
            assert of_attained.startswith(
                "test accuracy of the deployed text against log-perplexity of the prompt under the task"
            )
            assert of_curves.startswith("dev accuracy of the best prompt so far against LM tokens")
            seen.append(of_tradeoff)
    assert len(set(seen)) == 10 and seen[3] == (
        "test loss of the deployed text, nats per example against log-perplexity of the prompt under the held-out reader, "
        "nats per token"
    )
    browser.open(pages["one"])
    browser.run("document.querySelector('#cost-0').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert "held-out reader" in browser.run(label)[0]
    assert browser.complaints() == []


def test_the_choice_of_axes_applies_to_all_studies(pages: dict[str, Path], browser: Browser) -> None:
    """The plot over all tasks and the plot of each study change together."""
    browser.open(pages["two"])
    browser.run("document.querySelector('#cost-4').click()")
    labels = browser.run(f"{SHOWN}.map(plot => plot.querySelector('svg').getAttribute('aria-label'))")
    assert sum("LM tokens of the search" in label for label in labels) == 3


@pytest.mark.parametrize("width", [400, 1000])
def test_pointing_at_a_mark_shows_its_prompt(width: int, pages: dict[str, Path], browser: Browser) -> None:
    """The tooltip works with mouse and keyboard, stays in the window, has a name for screen readers, and disappears again."""
    browser.open(pages["one"], width)
    tip = "[...document.querySelectorAll('.tip')].filter(tip => tip.getClientRects().length).map(tip => tip.innerText)"
    assert browser.run(tip) == []
    spot = f"{SHOWN}[0].querySelectorAll('.spot')[0]"
    browser.run(f"{spot}.scrollIntoView({{block: 'center'}})")
    x, y = browser.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({spot}.getBoundingClientRect())")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    [pointed] = browser.run(tip)
    assert "give the category of the word" in pointed and "manual, w=0, seed 0" in pointed
    shown_tip = "[...document.querySelectorAll('.tip')].find(tip => tip.getClientRects().length)"
    box = browser.run(f"(box => [box.left, box.right])({shown_tip}.getBoundingClientRect())")
    assert box[0] >= 0 and box[1] <= width
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert browser.run(tip) == []
    browser.run(f"{spot}.focus()")
    assert browser.run(tip) == [pointed]
    browser.call("Accessibility.enable")
    found = browser.call("Runtime.evaluate", expression=spot)["result"]["objectId"]
    [node] = browser.call("Accessibility.getPartialAXTree", objectId=found, fetchRelatives=False)["nodes"]
    assert node["role"]["value"] == "note" and "give the category of the word" in node["name"]["value"]


def test_the_page_can_be_printed(pages: dict[str, Path], browser: Browser) -> None:
    """The printed page is black on white, without controls, and all sections are open."""
    browser.open(pages["one"], dark=True, media="print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("[...document.querySelectorAll('.choice, .spot')].filter(e => e.getClientRects().length).length") == 0
    assert browser.run("document.querySelector('details code').checkVisibility({contentVisibilityAuto: true})")


def test_a_missing_browser_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.helpers.browser.CHROMIUM", None)
    with pytest.raises(pytest.skip.Exception, match="no Chromium is installed"), chromium(tmp_path):
        pass
