"""The optimizer `soft` and prompt tuning of peft have the same losses, step by step (runs/peft_side_by_side.py)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hardprompt import Template, load_lm, load_task
from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.optimizers import load_optimizer
from runs import peft_side_by_side
from tests.helpers.tiny import tiny_lm, tiny_task

ROOT = Path(__file__).parents[2]
CONFIG = load_optimizer("soft").configure({"steps": 3, "batch_size": 4})


@pytest.fixture(scope="module")
def lm() -> FrozenLM:
    """The embedded model without a start token, as peft reads texts."""
    return load_lm("microworld", device="cpu", start="none")


@pytest.mark.parametrize(("name", "template"), [("category", "{prompt}: {input} ="), ("review-sentiment", "{prompt} {input}:")])
def test_losses_agree_step_by_step(lm: FrozenLM, name: str, template: str) -> None:
    """For targets of several tokens with `labels=` of peft, and for label words."""
    task = short(load_task(name), template)
    ours, theirs = peft_side_by_side.compared(task, lm, CONFIG, 4, 0)
    assert len(ours.losses) == len(theirs.losses) == len(ours.seconds) == 3
    torch.testing.assert_close(torch.tensor(ours.losses), torch.tensor(theirs.losses), rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.embeds, theirs.embeds, rtol=0, atol=1e-4)
    assert abs(ours.losses[0] - ours.losses[-1]) > 1e-2


@pytest.mark.parametrize(
    ("family", "layout", "message"),
    [
        ("no-bos", "{input} {prompt} :", "the prompt is after the input"),
        ("gpt2", "{prompt} {input} :", "1 tokens come before the prompt.*--start none"),
        ("no-bos", "word {prompt} {input} :", "begins with {prompt}"),
    ],
)
def test_a_layout_that_peft_cannot_have_is_refused(family: str, layout: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        peft_side_by_side.compared(tiny_task(template=Template(layout)), tiny_lm(family), CONFIG, 4, 0)


@pytest.mark.slow
def test_the_script_prints_the_comparison_or_one_line() -> None:
    command = [sys.executable, "-m", "runs.peft_side_by_side", "--steps", "2", "--batch-size", "4"]
    good = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "largest difference of the losses" in good.stdout and "peak memory" in good.stdout
    bad = subprocess.run([*command, "--start", "bos"], cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1


def short(task: Task, template: str) -> Task:
    """The task with eight examples per split and another template."""
    return replace(task, template=Template(template), train=task.train[:8], dev=task.dev[:8], test=task.test[:8])
