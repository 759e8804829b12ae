"""The contract of metrics: every installed metric passes these tests. Custom metrics are added with

HARDPROMPT_METRICS=path.py:name python -m pytest tests/contract/test_metrics_contract.py
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.data.catalogue import load_task
from hardprompt.data.task import Task
from hardprompt.errors import RequestError, RunError, UnknownName
from hardprompt.lm import FrozenLM
from hardprompt.metrics import Metric, ScoredPrompt, all_metrics, load_metric, metric
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.records.request import StudyRequest
from hardprompt.records.schema import run_record
from hardprompt.scoring import Scorer
from hardprompt.study.evaluation import evaluate
from hardprompt.study.loading import load_metrics
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
def test_the_declaration_of_a_metric_is_complete(name: str) -> None:
    metric = load_metric(name)
    assert isinstance(metric, Metric)
    assert metric.name and metric.unit and metric.group and "\n" not in metric.description + metric.unit
    assert len(metric.description) > 10, "one sentence"
    assert metric.better in ("higher", "lower", "none") and metric.prompts in ("hard", "soft", "any")


@of_each_metric
@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta"])
def test_a_metric_is_finite_and_deterministic_on_every_prompt(name: str, family: str, kind: str) -> None:
    """A value is finite or None, independent of the random generator's state, and None for prompts of other kinds."""
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
def test_a_metric_orders_its_controls(name: str, microworld: FrozenLM) -> None:
    """The positive control has the higher value, on words, on words with label words, or on longer inputs."""
    metric = load_metric(name)
    for task in (load_task("category"), classification(load_task("category")), load_task("review-sentiment")):
        prompts = [as_prompt(microworld, prompt, task.template) for prompt in metric.controls(microworld, task)]
        values = [metric(ScoredPrompt(prompt, Scorer(microworld, task, task.test[:24]))) for prompt in prompts]
        higher, lower = (numbers(value) for value in values)
        if higher and lower:
            break
    assert higher and lower, "a metric has a value for its own controls"
    assert sum(higher) > sum(lower)


OWN_METRIC = Path(__file__).parents[2] / "runs" / "own_metric.py"
INPUT_OVERLAP = f"{OWN_METRIC}:input_overlap"


def test_a_metric_in_a_users_file_is_recorded() -> None:
    """The metric is computed if the request names it, and the record holds it under its name."""
    lines = OWN_METRIC.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30 and sum("import" in line for line in lines) == 1
    task = tiny_task()
    [own] = load_metrics(StudyRequest.make(metrics=(INPUT_OVERLAP,)))
    found = evaluate(f"{task.test[0].input} xyz", task, tiny_lm("gpt2"), metrics=[own])
    assert found["metrics"] == {"input-overlap": pytest.approx(1 - 1 / (1 + len(task.test[0].input.split())))}
    assert evaluate("the cat", task, tiny_lm("gpt2"))["metrics"] == {}


def test_metrics_that_cannot_be_computed_are_refused() -> None:
    for names, error, said in (
        (("perplexty",), UnknownName, "no metric 'perplexty'"),
        ((f"{OWN_METRIC}:inside_and_outside",), RequestError, "is not a metric; decorate the function"),
        ((INPUT_OVERLAP, INPUT_OVERLAP), RequestError, "metric 'input-overlap' is computed already"),
        (("kl",), RequestError, "metric 'kl' is computed already"),
    ):
        with pytest.raises(error, match=said):
            load_metrics(StudyRequest.make(metrics=names))


def test_the_values_of_a_metric_are_numbers() -> None:
    """Text is refused in one line that names the metric."""
    words = metric("words", unit="words", better="none", prompts="any", controls=lambda lm, task: ("a", "b"))(shouted)
    with pytest.raises(RunError, match="metric words returned 'A FILM'; return a number, None or a flat dict of these"):
        evaluate("a film", tiny_task(), tiny_lm("gpt2"), metrics=[words])


def shouted(scored: Any) -> Any:
    """The text in upper case."""
    return scored.hard.text.upper()


def test_unknown_keys_of_a_record_are_kept() -> None:
    """Keys that another version wrote are kept unchanged, in the order of the fields."""
    line = {
        "optimizer": "pez",
        "task": "t",
        "lm": "m",
        "split": "13",
        "seed": 0,
        "weight": 0.5,
        "status": "failed",
        "error": "x",
    }
    run = run_record(line | {"added": {"later": 1}})
    assert run.as_json() == line | {"added": {"later": 1}} and list(run.as_json())[:6] == list(line)[:6]
