"""The contract of metrics: every installed metric passes these tests, and a metric of your own is added with

HARDPROMPT_METRICS=path.py:name python -m pytest tests/contract/test_metrics_contract.py
"""

import math
import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import Task
from hardprompt.lm import FrozenLM
from hardprompt.metrics import Metric, ScoredPrompt, all_metrics, load_metric
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.scoring import Scorer
from tests.helpers.tiny import tiny_lm, tiny_task

METRICS = [*all_metrics(), *os.environ.get("HARDPROMPT_METRICS", "").split()]
of_each_metric = pytest.mark.parametrize("name", METRICS)


def prompts_of(lm: FrozenLM) -> list[HardPrompt | SoftPrompt]:
    """A text, the empty prompt, and vectors between tokens."""
    ids = lm.encode_after([" good film a"])[0]
    embeds = lm.vocab_embeds[ids]
    noise = torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)) * lm.vocab_embeds.std()
    return [HardPrompt.from_ids(lm, ids), HardPrompt((), ""), SoftPrompt(embeds + noise)]


def numbers(value: Any) -> list[float]:
    """The numbers of a value, without those that are None."""
    inner = list(value.values()) if isinstance(value, dict) else [value]
    assert all(each is None or isinstance(each, int | float) for each in inner), f"{value!r} is not flat"
    return [each for each in inner if each is not None]


@of_each_metric
def test_its_declaration_is_complete(name: str) -> None:
    metric = load_metric(name)
    assert isinstance(metric, Metric)
    assert metric.name and metric.unit and metric.group and "\n" not in metric.description + metric.unit
    assert len(metric.description) > 10, "one sentence"
    assert metric.better in ("higher", "lower", "none") and metric.prompts in ("hard", "soft", "any")


@of_each_metric
@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta"])
def test_it_is_finite_and_deterministic_on_every_prompt(name: str, family: str, kind: str) -> None:
    """It is finite or None, the same twice whatever random numbers were drawn in between, and None where it does not apply."""
    lm, metric = tiny_lm(family), load_metric(name)
    if lm.masked and kind == "generation":
        pytest.skip("a masked model only classifies")
    task = tiny_task(kind)
    for prompt in prompts_of(lm):
        first = metric(ScoredPrompt(prompt, Scorer(lm, task, task.test)))
        torch.rand(3)
        assert metric(ScoredPrompt(prompt, Scorer(lm, task, task.test))) == first
        assert all(math.isfinite(each) for each in numbers(first))
        if metric.prompts != "any" and isinstance(prompt, SoftPrompt) != (metric.prompts == "soft"):
            assert first is None


def classification(task: Task) -> Task:
    """The task with its answers as label words."""
    answers = {example.answer: example.answer for example in (*task.train, *task.dev, *task.test)}
    return replace(task, label_words=answers)


@of_each_metric
def test_it_orders_its_controls(name: str, microworld: FrozenLM) -> None:
    """The positive control has the higher value; a metric without a value in generation is checked with label words."""
    metric = load_metric(name)
    for task in (load_task("category"), classification(load_task("category"))):
        prompts = [as_prompt(microworld, prompt, task.template) for prompt in metric.controls(microworld, task)]
        values = [metric(ScoredPrompt(prompt, Scorer(microworld, task, task.test[:24]))) for prompt in prompts]
        higher, lower = (numbers(value) for value in values)
        if higher and lower:
            break
    assert higher and lower, "a metric has a value for its own controls"
    assert sum(higher) > sum(lower)
