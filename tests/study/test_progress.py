"""Progress of studies: the remaining time, the display on a terminal, and plain lines without a terminal."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hardprompt.progress.eta import Eta
from hardprompt.progress.live_display import LiveDisplay
from hardprompt.records.request import Run, StudyRequest
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress


def job(optimizer: str, seed: int = 0, task: str = "t", study: int = 0) -> Job:
    return Job(study, StudyRequest(), Run(optimizer, "default", seed, 0.0), task, "m")


def point(tokens: int, accuracy: float = 0.5, text: str = "some words") -> dict[str, Any]:
    return {
        "status": "ok",
        "lm_tokens_forward": tokens,
        "lm_tokens_backward": 0,
        "deployed_dev_accuracy": accuracy,
        "deployed_test_accuracy": accuracy,
        "test_accuracy": accuracy,
        "log_perplexity": 3.0,
        "prompt_text": text,
    }


def test_the_remaining_time_is_estimated_by_optimizer() -> None:
    """Two slow runs take 10 s, one of them half done, two fast runs take 2 s, and an unknown run takes the mean of both."""
    pace = Eta()
    pace.planned([job(name, seed) for seed in (0, 1, 2) for name in ("slow", "fast")] + [job("new")])
    assert pace.seconds_left(0.0) is None and pace.tokens_per_second(0.0) == 0
    pace.started(job("slow"), 0.0)
    pace.advanced(job("slow"), Progress(0.5, 30))
    assert pace.seconds_left(4.0) == pytest.approx(7 * 8 - 4), "all as the one that is known by its share"
    assert pace.tokens_per_second(4.0) == pytest.approx(7.5)
    pace.finished(job("slow"), point(100), 10.0)
    pace.started(job("fast"), 10.0)
    pace.finished(job("fast"), point(20), 12.0)
    pace.started(job("slow", 1), 12.0)
    pace.advanced(job("slow", 1), Progress(0.5, 40))
    assert pace.seconds_left(17.0) == pytest.approx(2 * 10 - 5 + 2 * 2 + 6)
    assert pace.tokens_per_second(16.0) == pytest.approx((100 + 20 + 40) / 16)
    pace.started(job("fast", 1), 17.0)
    assert pace.seconds_left(17.0) == pytest.approx(25 / 2), "two at once"


def shown(terminal: bool) -> tuple[str, str]:
    """The output of two studies while one run of the second is in progress, and the contents of the display."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    display = LiveDisplay(console)
    with display:
        jobs = [job("pez"), job("rl"), job("pez", task="other", study=1), job("rl", task="other", study=1)]
        display.planned(Path("out"), jobs, recorded=3)
        display.noted("[bold] is no markup")
        display.started(jobs[0])
        display.advanced(jobs[0], Progress(0.5, 10, 1.2, 0.25))
        display.finished(jobs[0], point(20, 0.75, "[red]\u001b[31m words"))
        display.started(jobs[1])
        display.finished(jobs[1], {"status": "failed", "error": "ValueError: [/bold]"})
        display.started(jobs[2])
        display.finished(jobs[2], point(20, 0.625))
        display.started(jobs[3])
        display.advanced(jobs[3], Progress(0.25, 10, 1.2, 0.125))
        picture = Console(file=io.StringIO(), width=120)
        picture.print(display._render())
    assert isinstance(console.file, io.StringIO) and isinstance(picture.file, io.StringIO)
    return console.file.getvalue(), picture.file.getvalue()


def test_the_progress_display_on_a_terminal() -> None:
    """It shows finished runs, remaining time, the current run with its best value on dev, and each optimizer's best text."""
    _, picture = shown(terminal=True)
    assert "6/7 runs" in picture and " left" in picture and "LM tokens/s" in picture
    assert "other rl w=0 seed 0" in picture and "dev 0.125" in picture
    assert "best text on dev, other: pez 0.625" in picture


def test_progress_without_a_terminal_is_one_line_per_run() -> None:
    """There is one line per run, without cursor movements, and texts are not interpreted as markup."""
    said, _ = shown(terminal=False)
    lines = said.splitlines()
    assert lines[:2] == ["7 runs in out, 3 of them already recorded", "[bold] is no markup"] and len(lines) == 5
    assert lines[2].startswith("t pez w=0 seed 0") and lines[2].endswith("[red]⟨U+001B⟩[31m words")
    assert lines[3].endswith("failed: ValueError: [/bold]") and "\u001b" not in said
