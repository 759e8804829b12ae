"""The scorer beyond the contract (test_contract.py): greedy decoding, batches, shared prefixes, counting and refused input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from hardprompt.data.task import Example, Task, Template
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.lm import FrozenLM, memory
from hardprompt.lm.memory import Memory
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.scoring import Scorer, Scores, TokenCount, passes
from tests.helpers.plain import plain_score, sequence
from tests.helpers.tiny import CAUSAL, DEEP, tiny_lm, tiny_task


@pytest.mark.parametrize("family", CAUSAL)
def test_correctness_follows_greedy_decoding(family: str) -> None:
    """If the targets are the model's own outputs under the prompt, all of them are correct, however they are tokenized."""
    lm, task = tiny_lm(family), tiny_task("generation", match="starts-with")
    prompt = lm.encode_after([" the cat"])[0]
    said = []
    for example in task.train:
        ids = sequence(lm, task, example, prompt)
        for _ in range(4):
            with torch.no_grad():
                ids = [*ids, int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        text = lm.decode(ids[-4:]).strip().split("\n")[0].strip()
        said.append(Example(example.input, text if text and "\ufffd" not in text else "never said"))
    task = tiny_task("generation", match="starts-with", train=said)
    correct = Scorer(lm, task, task.train).score_ids([prompt]).correct[0]
    assert correct.tolist() == [example.answer != "never said" for example in said]


@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize("pass_tokens", [0, 1000])
def test_scores_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch, prompt_first: bool, pass_tokens: int) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task("generation", prompt_first)
    prompts = [[40, 50], [60], [], [70, 80, 90]]
    whole = Scorer(lm, task, task.train).score_ids(prompts)
    monkeypatch.setattr(passes, "TOKENS_PER_PASS", 30)
    monkeypatch.setattr(passes, "PASS_TOKENS", pass_tokens)
    parts = Scorer(lm, task, task.train).score_ids(prompts)
    torch.testing.assert_close(whole.loss, parts.loss, rtol=1e-4, atol=1e-5)
    assert torch.equal(whole.correct, parts.correct)


TEMPLATES = {
    "input first": "{input} {prompt} :",
    "input first, nothing after the prompt": "{input} {prompt}",
    "prompt first": "{prompt} : {input} is",
    "text, then the prompt": "the film : {prompt} {input} is",
}


def _fed(lm: FrozenLM, call: Callable[[], Any]) -> tuple[Any, int]:
    """The result of the call, and the number of padded tokens that went through the model's body."""
    fed = []
    counting = lm.model.register_forward_pre_hook(
        lambda module, args, given: fed.append(given["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    try:
        return call(), sum(fed)
    finally:
        counting.remove()


def _everything(lm: FrozenLM, task: Task) -> tuple[Scores, Scores, torch.Tensor, torch.Tensor, tuple[int, int]]:
    """The scores of hard prompts and of a soft prompt, its gradient, the next-token logits, and the counted tokens."""
    counter = TokenCount()
    scorer = Scorer(lm, task, task.train, counter)
    hard = scorer.score_ids([[40, 50], [60], [], [70, 80, 90]], [4, 0, 3, 1])
    embeds = lm.vocab_embeds[[40, 50, 60]].clone().requires_grad_()
    soft = scorer.score_embeds(embeds, [5, 2, 0, 1])
    (gradient,) = torch.autograd.grad(soft.loss.mean(), embeds)
    return hard, soft, gradient, scorer.next_token_logits([40, 50]), (counter.forward, counter.backward)


def _assert_same(one: Any, other: Any) -> None:
    for a, b in zip(one[:2], other[:2], strict=True):
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-5, atol=1e-5)
        assert torch.equal(a.correct, b.correct)
        if a.label_logits is not None:
            torch.testing.assert_close(a.label_logits, b.label_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one[2], other[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one[3], other[3], rtol=1e-5, atol=1e-5)
    assert one[4] == other[4]


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("kept", [True, False])
def test_shared_prefixes_change_no_score(
    monkeypatch: pytest.MonkeyPatch, family: str, template: str, kind: str, kept: bool
) -> None:
    lm, task = tiny_lm(family), tiny_task(kind, template=Template(template))
    assert lm.shares_prefixes
    monkeypatch.setattr(passes, "PASS_TOKENS", 0)
    monkeypatch.setattr(memory, "CACHE_SHARE", 0.5 if kept else 0.0)
    monkeypatch.setattr(lm, "memory", Memory(1 << 30))
    shared, few = _fed(lm, lambda: _everything(lm, task))
    monkeypatch.setattr(lm, "shares_prefixes", False)
    plain, many = _fed(lm, lambda: _everything(lm, task))
    _assert_same(shared, plain)
    assert few < many


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_scores_do_not_depend_on_earlier_scores(template: str, kind: str) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task(kind, template=Template(template))
    first, later = _everything(lm, task), Scorer(lm, task, task.train)
    later.score_ids([[70]], [2])
    later.score_embeds(lm.vocab_embeds[[40, 50]].clone().requires_grad_(), [1, 5]).loss.sum().backward()
    later.next_token_logits([80])
    hard = later.score_ids([[40, 50], [60], [], [70, 80, 90]], [4, 0, 3, 1])
    assert torch.equal(hard.loss, first[0].loss)
    embeds = lm.vocab_embeds[[40, 50, 60]].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(later.score_embeds(embeds, [5, 2, 0, 1]).loss.mean(), embeds)
    assert torch.equal(gradient, first[2])


def test_scorers_share_the_prefixes_of_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    monkeypatch.setattr(lm, "memory", Memory(1 << 30))
    _, first = _fed(lm, lambda: Scorer(lm, task, task.train).score_ids([[40, 50]]))
    _, again = _fed(lm, lambda: Scorer(lm, task, task.train).score_ids([[60, 70]]))
    heads = 1 + max(len(lm.encode(example.input)) for example in task.train)
    assert first == again + len(task.train) * heads


def test_prefixes_used_once_are_not_cached() -> None:
    lm, task = tiny_lm("gpt2"), tiny_task(prompt_first=True)
    scorer = Scorer(lm, task, task.train)
    _, fed = _fed(lm, lambda: scorer.score_ids([[40, 50], [60, 70]], [1]))
    assert fed == 2 * len(sequence(lm, task, task.train[1], [40, 50]))


OTHERS: dict[str, Callable[[Any], Any]] = {
    "window": lambda ids: MistralForCausalLM(MistralConfig(**DEEP, **ids, num_key_value_heads=2, sliding_window=4)),
    "state": lambda ids: MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, **ids)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_models_that_drop_keys_do_not_share_prefixes(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    tokenizer = tiny_lm("gpt2").tokenizer
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    ids = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    lm = FrozenLM(OTHERS[other](ids), tokenizer, other)
    assert not lm.shares_prefixes
    monkeypatch.setattr(passes, "PASS_TOKENS", 0)
    for template in TEMPLATES.values():
        task = tiny_task(template=Template(template))
        scores = Scorer(lm, task, task.train).score_ids([[40, 50], [60]])
        for n, example in enumerate(task.train):
            assert float(scores.loss[0, n]) == pytest.approx(plain_score(lm, task, example, [40, 50])[0], rel=1e-3, abs=1e-3)


def test_a_model_that_continues_at_the_wrong_position_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path))  # without the result of the unchanged model

    def from_zero(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        embeds = given.get("inputs_embeds")
        return None if embeds is None else (args, given | {"position_ids": torch.arange(embeds.shape[1])[None]})

    hook = lm.model.register_forward_pre_hook(from_zero, with_kwargs=True)
    try:
        assert not FrozenLM(lm.model, lm.tokenizer, lm.name).shares_prefixes
    finally:
        hook.remove()


def test_cached_keys_can_be_used_in_several_passes() -> None:
    lm = tiny_lm("llama")
    embeds = lm.embed(torch.arange(40, 48).view(2, 4))
    head = lm.prefill(embeds[:, :2])
    first, second = (lm.hidden(embeds[:, 2:], head) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, lm.hidden(embeds)[:, 2:])


def test_scores_of_selected_examples_are_rows_of_all_scores() -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    scorer = Scorer(lm, task, task.train)
    whole, some = scorer.score_ids([[40, 50]]), scorer.score_ids([[40, 50]], [3, 1])
    torch.testing.assert_close(some.loss, whole.loss[:, [3, 1]])


def test_logical_tokens_are_counted() -> None:
    """Every pair of prompt and example counts its prompt and example tokens, with repetitions.

    The start token does not count.
    """
    lm, task, counter = tiny_lm("gpt2"), tiny_task(), TokenCount()
    scorer = Scorer(lm, task, task.train, counter)
    example_tokens = sum(len(sequence(lm, task, example, [])) - 1 for example in task.train)
    scorer.score_ids([[40, 50], [40, 50]])
    assert (counter.forward, counter.backward) == (2 * (example_tokens + 2 * len(task.train)), 0)
    scorer.score_embeds(lm.vocab_embeds[[40, 50]].clone().requires_grad_())
    assert counter.backward == example_tokens + 2 * len(task.train)


def test_a_repeated_prompt_is_counted_but_not_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    first, second = lm.encode("good or bad"), lm.encode("the cat sat")
    counter = TokenCount()
    scorer = Scorer(lm, task, task.dev, counter)
    once = scorer.score_ids([first, second])
    spent = counter.forward
    rows: list[int] = []
    plain = Scorer._score

    def counted(self: Scorer, given: Any, *rest: Any) -> Any:
        rows.append(len(given))
        return plain(self, given, *rest)

    monkeypatch.setattr(Scorer, "_score", counted)
    again = scorer.score_ids([second, first, second])
    assert not rows and counter.forward == spent + spent * 3 // 2
    assert torch.equal(again.loss, once.loss[[1, 0, 1]]) and torch.equal(again.correct, once.correct[[1, 0, 1]])
    some = scorer.score_ids([first, first, second], [0, 2])
    assert rows == [4] and some.loss.shape == (3, 2) and torch.equal(some.loss[0], some.loss[1])
    torch.testing.assert_close(some.loss, once.loss[[0, 0, 1]][:, [0, 2]])


def test_label_words_must_be_different_single_tokens() -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(TaskError, match=r"'wonderful' is . tokens of tiny-gpt2, expected one"):
        task = tiny_task(label_words={"positive": "wonderful", "negative": "bad"})
        Scorer(lm, task, task.train)
    with pytest.raises(TaskError, match="the same token"):
        task = tiny_task(label_words={"positive": "bad", "negative": "bad"})
        Scorer(lm, task, task.train)


def test_inputs_longer_than_the_context_are_refused_with_their_number() -> None:
    lm = tiny_lm("gpt2")
    task = tiny_task(train=[Example("the cat", "positive"), Example("the cat " * 40, "negative")])
    with pytest.raises(ContextExceeded, match=r"example 2 .* the context of tiny-gpt2 is 64"):
        Scorer(lm, task, task.train).check_context(5)


def test_an_answer_without_a_token_before_it_is_refused() -> None:
    lm = tiny_lm("no-bos")
    task = tiny_task(template=Template("{prompt}{input}"), train=[Example("", "positive")])
    with pytest.raises(TaskError, match="no beginning-of-sequence token"):
        Scorer(lm, task, task.train).score_ids([[]])


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_the_last_layer_is_computed_only_at_the_positions_read(family: str, kind: str) -> None:
    lm, task = tiny_lm(family), tiny_task(kind)
    last = max((part for part in lm.model.base_model.modules() if isinstance(part, torch.nn.ModuleList)), key=len)[-1]
    widest = [part for part in last.modules() if len(getattr(part, "weight", torch.empty(0)).shape) == 2][-1]
    fed: list[int] = []
    hook = widest.register_forward_pre_hook(lambda module, args: fed.append(args[0].shape[:-1].numel()))
    try:
        Scorer(lm, task, task.train).next_token_logits([40, 50])
        fed.clear()
        Scorer(lm, task, task.train).score_ids([[40, 50]])
    finally:
        hook.remove()
    answers = [lm.encode_after([" " + example.answer])[0] for example in task.train]
    reads = [1 if kind == "classification" else len(ids) + 1 for ids in answers]
    assert fed[0] == len(reads) * max(reads)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_nll_of_a_prompt_comes_from_the_scoring_pass(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    lm, task = tiny_lm(family), tiny_task(prompt_first=True)
    monkeypatch.setattr(passes, "PASS_TOKENS", 0)
    prompts = [(40, 50), (60,), (), (70, 80, 90)]
    found: dict[tuple[int, ...], torch.Tensor] = {}
    Scorer(lm, task, task.train, prompt_nll=found).score_ids(prompts)
    scored = [ids for ids in prompts if len(ids) + len(lm.prefix_ids) > 1]
    assert set(scored) <= set(found)
    for ids in scored:
        assert float(found[ids]) == pytest.approx(log_perplexity(lm, ids), rel=1e-4)
