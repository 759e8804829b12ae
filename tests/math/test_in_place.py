"""The log-perplexity of a prompt in its place equals that of plain forward passes, one row at a time."""

import json
import math
from typing import Any

import pytest
import torch

from hardprompt import evaluate
from hardprompt.data.task import Example, Task, Template
from hardprompt.lm import FrozenLM, log_perplexity
from hardprompt.metrics import inspect, log_perplexity_in_place
from hardprompt.prompt import SoftPrompt
from hardprompt.report.prompt_tables import evaluation_table, inspection_table
from hardprompt.scoring import Scorer
from tests.helpers.plain import sequence
from tests.helpers.tiny import CAUSAL, ENCODER_DECODER, MASKED, tiny_lm, tiny_task

PLACES = {
    "last": "{input}\n{prompt}",
    "middle": "say {input} {prompt} :",
    "behind a fixed text": "the word : {prompt} {input} is",
    "first": "{prompt} : {input} is",
}


def placed(place: str, kind: str = "classification") -> Task:
    """The tiny task with the prompt in this place of its template."""
    return tiny_task(kind, template=Template(PLACES[place]))


@torch.no_grad()
def plain_causal(lm: FrozenLM, task: Task, example: Example, ids: list[int]) -> list[float]:
    """-log p of each token of the prompt, from a pass over the whole row; NaN for a first token."""
    row = sequence(lm, task, example, ids)
    start = (lm.bos_id is not None) + len(lm.encode(task.template.around(example.input)[0]))
    assert row[start : start + len(ids)] == ids
    log_probs = lm.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
    return [-float(log_probs[at - 1, row[at]]) if at else math.nan for at in range(start, start + len(ids))]


@torch.no_grad()
def plain_masked(lm: FrozenLM, task: Task, example: Example, ids: list[int]) -> list[float]:
    """-log p of each token of the prompt, masked in the whole row, in which the mask of the answer stays."""
    template, mask = task.template_for(masked=True), lm.tokenizer.mask_token
    text = template.fill(example.input, lm.decode(ids)).replace("\ufdd0", mask)
    row = lm.tokenizer(text)["input_ids"]
    start = 1 + len(lm.encode(template.around(example.input)[0]))
    assert row[start : start + len(ids)] == ids and row.count(lm.mask_id) == 1
    nats = []
    for at in range(start, start + len(ids)):
        fed = torch.tensor([[*row[:at], lm.mask_id, *row[at + 1 :]]])
        nats.append(-float(lm.model(input_ids=fed).logits[0, at].log_softmax(-1)[row[at]]))
    return nats


@pytest.mark.parametrize(
    ("kind", "kept"), [("classification", True), ("generation", False)], ids=["kept prefixes", "whole rows"]
)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("family", CAUSAL)
def test_causal_values_are_those_of_plain_passes(
    family: str, place: str, kind: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, task = tiny_lm(family), placed(place, kind)
    if not kept:
        monkeypatch.setattr("hardprompt.lm.memory.CACHE_SHARE", 0)
    scorer = Scorer(lm, task, task.train)
    for ids in (lm.encode_after([" good film is bad"])[0], [41]):
        plain = torch.tensor([plain_causal(lm, task, example, ids) for example in task.train])
        torch.testing.assert_close(scorer.prompt_surprisals(ids), plain, rtol=1e-4, atol=1e-4, equal_nan=True)
        some = scorer.prompt_surprisals(ids, [4, 1])
        torch.testing.assert_close(some, plain[[4, 1]], rtol=1e-4, atol=1e-4, equal_nan=True)
        expected = float(plain.nanmean())
        assert log_perplexity_in_place(scorer, ids) == (None if math.isnan(expected) else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize("place", ["last", "middle", "first"])
@pytest.mark.parametrize("family", MASKED)
def test_masked_values_are_those_of_plain_passes(family: str, place: str) -> None:
    lm, task = tiny_lm(family), placed(place)
    ids = lm.encode_after([" good film"])[0] if place != "first" else lm.encode("good film")
    plain = torch.tensor([plain_masked(lm, task, example, ids) for example in task.train])
    found = Scorer(lm, task, task.train).prompt_surprisals(ids)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)
    assert len({round(float(value), 3) for value in found[:, 0]}) == len(task.train), "a masked model reads the input"


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prompt_at_the_beginning_has_its_log_perplexity(family: str) -> None:
    """The rows of all examples then begin with the same tokens, and one pass is enough."""
    lm, task = tiny_lm(family), placed("first")
    ids = lm.encode("good film is bad")
    assert log_perplexity_in_place(Scorer(lm, task, task.train), ids) == pytest.approx(log_perplexity(lm, ids), rel=1e-4)
    other = log_perplexity_in_place(Scorer(lm, placed("last"), task.train), ids)
    assert other is not None and abs(other - log_perplexity(lm, ids)) > 0.01


def test_a_token_that_nothing_predicts_has_no_value() -> None:
    """Without a start token, a single token has a value behind an input only."""
    lm, task = tiny_lm("no-bos"), tiny_task()
    assert log_perplexity_in_place(Scorer(lm, placed("first"), task.test), [41]) is None
    behind = log_perplexity_in_place(Scorer(lm, placed("last"), task.test), [41])
    assert behind is not None and behind > 0


def test_texts_before_the_prompt_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring keeps their keys and values; only the token before the prompt is read again, with the prompt up to its last."""
    lm, task = tiny_lm("gpt2"), placed("last")
    scorer, hidden, read = Scorer(lm, task, task.train), lm.hidden, []
    scorer.score_ids([[43]])

    def noted(embeds: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(embeds.shape[1])
        return hidden(embeds, *rest)

    monkeypatch.setattr(lm, "prefill", lambda embeds: pytest.fail("a prefix is read again"))
    monkeypatch.setattr(lm, "hidden", noted)
    assert scorer.prompt_surprisals([41, 42, 43]).isfinite().all() and set(read) == {3}


def test_the_inputs_are_spread_evenly() -> None:
    """Of 250 examples, 100 are read."""
    lm, examples = tiny_lm("gpt2"), [Example(f"the cat sat on {n}", "positive") for n in range(250)]
    scorer = Scorer(lm, placed("last"), examples)
    nats = scorer.prompt_surprisals([41, 42])[[n * 250 // 100 for n in range(100)]]
    assert log_perplexity_in_place(scorer, [41, 42]) == pytest.approx(float(nats.mean()), rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_the_value_of_a_soft_prompt_is_that_of_its_text(family: str) -> None:
    lm, task = tiny_lm(family), placed("middle")
    soft = evaluate(SoftPrompt(lm.vocab_embeds[[41, 42]] + 0.01), task, lm, vocabulary="all")
    hard = evaluate(soft["prompt_ids"], task, lm)
    assert soft["log_perplexity_in_place"] == pytest.approx(hard["log_perplexity_in_place"], rel=1e-5)
    assert hard["log_perplexity_in_place"] == hard["scrutability"]["log_perplexity_in_place"] != hard["log_perplexity"]


@pytest.mark.parametrize("family", ENCODER_DECODER)
def test_an_encoder_gives_no_probability_to_a_prompt(family: str) -> None:
    found = evaluate("good film", placed("middle", "generation"), tiny_lm(family))
    assert found["log_perplexity_in_place"] is None and "encoder-decoder" in found["scrutability"]["reason"]


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_the_empty_prompt_has_no_value(family: str) -> None:
    assert evaluate("", placed("middle"), tiny_lm(family))["log_perplexity_in_place"] is None


def test_a_continuation_is_probable_in_its_place_only(microworld: FrozenLM) -> None:
    """Control: what follows in the training text is probable behind it, the same words shuffled are not."""
    examples = [Example(text, "plural") for text in ("give the", "write the", "what is the")]
    task = tiny_task("generation", template=Template("{input} {prompt}"), test=examples)
    scorer = Scorer(microworld, task, examples)
    fits, shuffled = microworld.encode_after([" plural of the word"])[0], microworld.encode_after([" word the of plural"])[0]
    values: list[Any] = [log_perplexity_in_place(scorer, fits), log_perplexity_in_place(scorer, shuffled)]
    assert values[0] + 1 < values[1] and values[0] + 1 < log_perplexity(microworld, fits)


def test_the_tables_of_a_prompt_show_both_values() -> None:
    lm, task = tiny_lm("gpt2"), placed("middle")
    found = evaluate("good film", task, lm)
    cells = [list(map(str, column.cells)) for column in evaluation_table(found).columns]
    at = cells[0].index("log_perplexity_in_place")
    assert cells[1][at] == f"{found['log_perplexity_in_place']:.4f}" and cells[2][at] == "nats per token"
    shown = inspect("good film", lm, scorer=Scorer(lm, task, task.test))
    assert shown["log_perplexity_in_place"] == found["log_perplexity_in_place"]
    assert f"{found['log_perplexity_in_place']:.3f} in its place" in str(inspection_table(shown).caption)
    assert inspect("good film", lm)["log_perplexity_in_place"] is None
    json.dumps(shown, allow_nan=False)
