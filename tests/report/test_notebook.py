"""What notebooks show: tables of every result, in which a hostile prompt is only text."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

import hardprompt as hp
from hardprompt.errors import RequestError
from hardprompt.metrics.tokens import TokenTable
from hardprompt.notebook import html_table
from hardprompt.optimizers.archive import FrontMember
from hardprompt.optimizers.candidate import Candidate
from hardprompt.progress.notebook_display import NotebookProgress
from hardprompt.records.request import Run
from hardprompt.report.studies import StudyRuns
from hardprompt.report.tables import rich_as_html
from hardprompt.study.engine import Job
from hardprompt.study.evaluation import Evaluation
from hardprompt.study.loaded_study import Progress
from tests.helpers.tiny import tiny_lm, tiny_task

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert('1')</script><img src=x onerror=\"a\"> & &amp; \x00\x1b[31m\u202e\u200f\u2066 ${7*7} `b`"


class Tags(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value) for name, value in attrs if not str(value).startswith("data:image/svg+xml;base64,")}

    def handle_data(self, data: str) -> None:
        self.text += data


def check_harmless(page: str) -> None:
    """There is no tag but those of tables, the text is readable, and no character hides or reorders it."""
    found = Tags(page)
    assert found.tags <= {"table", "tr", "th", "td", "p", "b", "br", "img"}
    assert found.attributes <= {("style", "text-align:left"), ("alt", "accuracy against log-perplexity")}
    assert page.isprintable() and "<script>alert(" in found.text


def test_texts_and_numbers_in_cells() -> None:
    page = html_table(["a"], [[1], [0.12345], [None], ["x\ny"]], title=HOSTILE, below=HOSTILE)
    check_harmless(page)
    assert ">1</td>" in page and ">0.123</td>" in page and ">\N{EN DASH}</td>" in page and "x<br>y" in page


def test_a_table_of_the_terminal_is_escaped() -> None:
    table = Table(title=Text(HOSTILE), caption=Text(HOSTILE))
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE))
    table.add_row("plain")
    page = rich_as_html(table)
    check_harmless(page)
    assert page.count("&lt;script&gt;") == 4 and "plain" in page


def candidate(text: str) -> Candidate:
    return Candidate(hp.HardPrompt((1,), text), 0.5, 0.5, 0.75, 3.0, 10)


def result(text: str) -> hp.PromptResult:
    best = candidate(text)
    front = (FrontMember(best, (0.0, 1.0), 0.0),)
    return hp.PromptResult("front", 0.1, 0, {}, best, (best.prompt,), (best,), (), 10, 5, 1.25, front)


def test_a_result_shows_its_front() -> None:
    check_harmless(result(HOSTILE)._repr_html_())
    assert result(HOSTILE)._repr_html_().count("&lt;script") == 2


def test_the_answers_about_one_prompt_are_dictionaries_with_a_table() -> None:
    """`evaluate` and `inspect` return what they printed before, and a hostile text in it is only text."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    inspected = hp.inspect("the cat", lm, scorer=hp.Scorer(lm, task, task.dev))
    assert type(inspected) is TokenTable and dict(inspected)["tokens"][0]["position"] == 1
    inspected["prompt_text"] = inspected["tokens"][0]["token"] = HOSTILE
    inspected["tokens"][0]["nearest"]["cosine"][0]["token"] = HOSTILE
    page = inspected._repr_html_()
    check_harmless(page)
    assert page.count("&lt;script") == 3 and "accuracy lost" in page
    soft = hp.inspect(hp.SoftPrompt(lm.vocab_embeds[:2]), lm)._repr_html_()
    assert "a soft prompt" in soft and "accuracy lost" not in soft
    evaluated = hp.evaluate("the cat", task, lm)
    assert type(evaluated) is Evaluation and "nats per token" in evaluated._repr_html_()
    evaluated["prompt_text"] = HOSTILE
    check_harmless(evaluated._repr_html_())


def test_a_study_shows_its_tables_and_the_trade_off() -> None:
    study = hp.load_study(ROOT / "runs" / "quick")
    hostile = {"prompt_text": HOSTILE, "optimizer": "<script>alert()"}
    shown = replace(study, points=tuple(each.model_copy(update=hostile) for each in study.done[:2]))
    page = shown._repr_html_()
    check_harmless(page)
    assert "data:image/svg+xml;base64," in page and isinstance(shown, StudyRuns)


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="study") as caught:
        hp.load_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run has a row, and the display is updated when a run ends."""
    pages: list[str] = []

    class Handle:
        def update(self, shown: Any) -> None:
            pages.append(shown._repr_html_())

    display = pytest.importorskip("IPython.display", reason="IPython is not installed; it is in the extra `dev`")
    monkeypatch.setattr(display, "display", lambda shown, display_id: Handle())
    jobs = [Job(0, hp.StudyRequest(), Run(name, "default", 0, 0.0), "t", "m") for name in ("pez", "rl")]
    progress = NotebookProgress()
    progress.planned(Path("out"), jobs, recorded=2)
    progress.started(jobs[0])
    progress.advanced(jobs[0], Progress(0.5, 10, 1.0, 0.25))
    values = {"lm_tokens_forward": 1, "deployed_test_accuracy": 0.5, "log_perplexity": None, "prompt_text": HOSTILE}
    progress.finished(jobs[0], {"status": "ok", **values})
    progress.started(jobs[1])
    progress.finished(jobs[1], {"status": "failed", "error": HOSTILE})
    progress.noted(HOSTILE)
    assert "4 runs in out: 2 done" in pages[0] and "running" in pages[1]
    assert "4 done" in pages[-1] and pages[-1].count("&lt;script") == 3
    for page in pages[2:]:
        assert Tags(page).tags <= {"p", "table", "tr", "th", "td", "br"} and page.isprintable()


def test_without_ipython_the_progress_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(RequestError, match="NotebookProgress needs IPython"):
        NotebookProgress()
