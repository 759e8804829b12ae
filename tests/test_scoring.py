"""The scorer against a slow plain reference: one pair at a time, whole sequences, Hugging Face's own logits and generate."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from hardprompt import scoring
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.lm import FrozenLM
from hardprompt.scoring import Scorer, Scores, TokenCount
from hardprompt.task import Example, Task, Template
from tests.tiny import FAMILIES, tiny_lm, tiny_task

PROMPTS = ["good or bad", "the cat sat", "", "write"]


def _sequence(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> list[int]:
    before, after = task.template.around(example.input)
    start = [] if lm.bos_id is None else [lm.bos_id]
    anchored = lm.encode("a" + after)[len(lm.encode("a")) :] if before or prompt else lm.encode(after)
    return start + lm.encode(before) + prompt + anchored


@torch.no_grad()
def _plain(lm: FrozenLM, task: Task, example: Example, prompt: list[int]) -> tuple[float, bool]:
    ids = _sequence(lm, task, example, prompt)
    if task.label_words:
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1]
        words = [lm.encode("a " + word)[-1] for word in task.label_words.values()]
        values, gold = logits[words], task.labels.index(example.answer)
        return float(-values.log_softmax(-1)[gold]), int(values.argmax()) == gold
    answer = lm.encode("a " + example.answer)[len(lm.encode("a")) :]
    log_probs = lm.model(input_ids=torch.tensor([ids + answer])).logits[0, len(ids) - 1 :].log_softmax(-1)
    loss = -sum(float(log_probs[t, token]) for t, token in enumerate(answer))
    if task.match == "exact":
        loss -= float(log_probs[len(answer), lm.end_ids].logsumexp(-1))
    made = list(ids)
    while len(made) < lm.max_length:
        made.append(int(lm.model(input_ids=torch.tensor([made])).logits[0, -1].argmax()))
        text = lm.decode(made[len(ids) :]).lstrip(" ")
        if made[-1] in lm.end_ids.tolist() or "\n" in text:
            break
    line = text.split("\n")[0].strip()
    return loss, line == example.answer if task.match == "exact" else line.startswith(example.answer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "match"), [("classification", "exact"), ("generation", "exact"), ("generation", "starts-with")]
)
def test_scores_are_those_of_one_pair_at_a_time(family: str, prompt_first: bool, kind: str, match: str) -> None:
    lm, task = tiny_lm(family), tiny_task(kind, prompt_first, match=match)
    prompts = [lm.encode_after([" " + text])[0] if text else [] for text in PROMPTS]
    scores = Scorer(lm, task, task.train).score_ids(prompts)
    for p, prompt in enumerate(prompts):
        for n, example in enumerate(task.train):
            loss, right = _plain(lm, task, example, prompt)
            assert float(scores.loss[p, n]) == pytest.approx(loss, rel=1e-3, abs=1e-3)
            assert bool(scores.correct[p, n]) == right


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_decides_what_is_right(family: str) -> None:
    """Targets set to what the model really says under the prompt are all right, by whichever tokens it spells them."""
    lm, task = tiny_lm(family), tiny_task("generation", match="starts-with")
    prompt = lm.encode_after([" the cat"])[0]
    said = []
    for example in task.train:
        ids = _sequence(lm, task, example, prompt)
        for _ in range(4):
            with torch.no_grad():
                ids = [*ids, int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        text = lm.decode(ids[-4:]).strip().split("\n")[0].strip()
        said.append(Example(example.input, text if text and "\ufffd" not in text else "never said"))
    task = tiny_task("generation", match="starts-with", train=said)
    correct = Scorer(lm, task, task.train).score_ids([prompt]).correct[0]
    assert correct.tolist() == [example.answer != "never said" for example in said]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_a_hard_prompt_as_embeddings_scores_the_same(family: str, prompt_first: bool, kind: str) -> None:
    lm, task = tiny_lm(family), tiny_task(kind, prompt_first)
    ids = lm.encode_after([" good or bad"])[0]
    scorer = Scorer(lm, task, task.train)
    by_ids, by_embeds = scorer.score_ids([ids]), scorer.score_embeds(lm.vocab_embeds[ids])
    torch.testing.assert_close(by_ids.loss, by_embeds.loss)
    assert torch.equal(by_ids.correct, by_embeds.correct)
    torch.testing.assert_close(scorer.next_token_logits(ids), scorer.next_token_logits(lm.vocab_embeds[ids]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_the_gradient_is_that_of_finite_differences(family: str, kind: str) -> None:
    lm, task = tiny_lm(family), tiny_task(kind)
    scorer = Scorer(lm, task, task.train)
    embeds = lm.vocab_embeds[[40, 50, 60]].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scorer.score_embeds(embeds).loss.mean(), embeds)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(embeds.shape, generator=generator)
        up, down = (float(scorer.score_embeds(embeds.detach() + s * direction).loss.mean()) for s in (1e-3, -1e-3))
        assert float((gradient * direction).sum()) == pytest.approx((up - down) / 2e-3, rel=3e-2, abs=5e-3)
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize("pass_tokens", [0, 1000])
def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, prompt_first: bool, pass_tokens: int) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task("generation", prompt_first)
    prompts = [[40, 50], [60], [], [70, 80, 90]]
    whole = Scorer(lm, task, task.train).score_ids(prompts)
    monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", 30)
    monkeypatch.setattr(scoring, "PASS_TOKENS", pass_tokens)
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
    """What the call returned, and how many padded tokens went through the model's body."""
    fed = []
    counting = lm.model.base_model.register_forward_pre_hook(
        lambda module, args, given: fed.append(given["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    try:
        return call(), sum(fed)
    finally:
        counting.remove()


def _everything(lm: FrozenLM, task: Task) -> tuple[Scores, Scores, torch.Tensor, torch.Tensor, tuple[int, int]]:
    """Scores of hard prompts and of a soft one, its gradient, next-token logits, and the tokens counted."""
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("kept", [True, False])
def test_heads_read_once_change_nothing(
    monkeypatch: pytest.MonkeyPatch, family: str, template: str, kind: str, kept: bool
) -> None:
    lm, task = tiny_lm(family), tiny_task(kind, template=Template(template))
    assert lm.shares_beginnings
    monkeypatch.setattr(scoring, "PASS_TOKENS", 0)
    monkeypatch.setattr(scoring, "KEPT_TOKENS", 16_384 if kept else 0)
    shared, few = _fed(lm, lambda: _everything(lm, task))
    monkeypatch.setattr(lm, "shares_beginnings", False)
    plain, many = _fed(lm, lambda: _everything(lm, task))
    _assert_same(shared, plain)
    assert few < many


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_scores_are_the_same_bits_whatever_was_scored_before(template: str, kind: str) -> None:
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


def test_heads_of_examples_are_read_once_for_all_calls() -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    scorer = Scorer(lm, task, task.train)
    _, first = _fed(lm, lambda: scorer.score_ids([[40, 50]]))
    _, again = _fed(lm, lambda: scorer.score_ids([[60, 70]]))
    heads = 1 + max(len(lm.encode(example.input)) for example in task.train)
    assert first == again + len(task.train) * heads


def test_one_row_per_head_takes_the_plain_pass() -> None:
    lm, task = tiny_lm("gpt2"), tiny_task(prompt_first=True)
    scorer = Scorer(lm, task, task.train)
    _, fed = _fed(lm, lambda: scorer.score_ids([[40, 50], [60, 70]], [1]))
    assert fed == 2 * len(_sequence(lm, task, task.train[1], [40, 50]))


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "max_position_embeddings": 64}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32, "initializer_range": 0.5}
OTHERS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "opt": (
        lambda ids: OPTForCausalLM(
            OPTConfig(**SIZES, **ids, num_attention_heads=2, ffn_dim=32, word_embed_proj_dim=16, init_std=0.5)
        ),
        True,
    ),
    "neox": (lambda ids: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **HEADS, **ids)), True),
    "window": (lambda ids: MistralForCausalLM(MistralConfig(**SIZES, **HEADS, **ids, sliding_window=4)), False),
    "state": (lambda ids: MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, **ids)), False),
}


@pytest.mark.parametrize("other", OTHERS)
def test_models_that_keep_less_than_all_keys_take_the_plain_pass(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    tokenizer = tiny_lm("gpt2").tokenizer
    make, shares = OTHERS[other]
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    ids = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    lm = FrozenLM(make(ids), tokenizer, other)
    assert lm.shares_beginnings == shares
    monkeypatch.setattr(scoring, "PASS_TOKENS", 0)
    for template in TEMPLATES.values():
        task = tiny_task(template=Template(template))
        scores = Scorer(lm, task, task.train).score_ids([[40, 50], [60]])
        for n, example in enumerate(task.train):
            assert float(scores.loss[0, n]) == pytest.approx(_plain(lm, task, example, [40, 50])[0], rel=1e-3, abs=1e-3)


def test_a_model_that_goes_on_at_the_wrong_position_is_found_out() -> None:
    lm = tiny_lm("gpt2")

    def from_zero(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        embeds = given.get("inputs_embeds")
        return None if embeds is None else (args, given | {"position_ids": torch.arange(embeds.shape[1])[None]})

    hook = lm.model.base_model.register_forward_pre_hook(from_zero, with_kwargs=True)
    try:
        assert not FrozenLM(lm.model, lm.tokenizer, lm.name).shares_beginnings
    finally:
        hook.remove()


def test_a_past_serves_many_passes() -> None:
    lm = tiny_lm("llama")
    embeds = lm.embed(torch.arange(40, 48).view(2, 4))
    head = lm.prefill(embeds[:, :2])
    first, second = (lm.hidden(embeds[:, 2:], head) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, lm.hidden(embeds)[:, 2:])


def test_chosen_examples_are_those_rows() -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    scorer = Scorer(lm, task, task.train)
    whole, some = scorer.score_ids([[40, 50]]), scorer.score_ids([[40, 50]], [3, 1])
    torch.testing.assert_close(some.loss, whole.loss[:, [3, 1]])


def test_logical_tokens_are_counted() -> None:
    """Every (prompt, example) pair counts its prompt and example tokens, repeats included; the start token does not."""
    lm, task, counter = tiny_lm("gpt2"), tiny_task(), TokenCount()
    scorer = Scorer(lm, task, task.train, counter)
    example_tokens = sum(len(_sequence(lm, task, example, [])) - 1 for example in task.train)
    scorer.score_ids([[40, 50], [40, 50]])
    assert (counter.forward, counter.backward) == (2 * (example_tokens + 2 * len(task.train)), 0)
    scorer.score_embeds(lm.vocab_embeds[[40, 50]].clone().requires_grad_())
    assert counter.backward == example_tokens + 2 * len(task.train)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompt_first", [False, True])
def test_whole_words_survive_as_text_and_pieces_do_not(family: str, prompt_first: bool) -> None:
    lm, task = tiny_lm(family), tiny_task(prompt_first=prompt_first)
    scorer = Scorer(lm, task, task.train)
    good, film = lm.encode_after([" good", " film"])
    words = [*good, *film]
    assert scorer.survives(words, lm.decode(words))
    torch.testing.assert_close(scorer.score_text(lm.decode(words)).loss, scorer.score_ids([words]).loss)
    letters = [lm.tokenizer.convert_tokens_to_ids(letter) for letter in "good"]
    assert not scorer.survives(letters, lm.decode(letters))
    assert scorer.survives([], "")


def test_a_prompt_asked_for_again_is_counted_and_not_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task()
    first, second = lm.encode("good or bad"), lm.encode("the cat sat")
    counter = TokenCount()
    scorer = Scorer(lm, task, task.dev, counter)
    once = scorer.score_ids([first, second])
    spent = counter.forward
    rows: list[int] = []
    plain = Scorer._score
    monkeypatch.setattr(Scorer, "_score", lambda self, given, *rest: rows.append(len(given)) or plain(self, given, *rest))
    again = scorer.score_ids([second, first, second])
    assert not rows and counter.forward == spent + spent * 3 // 2
    assert torch.equal(again.loss, once.loss[[1, 0, 1]]) and torch.equal(again.correct, once.correct[[1, 0, 1]])
    some = scorer.score_ids([first, first, second], [0, 2])
    assert rows == [4] and some.loss.shape == (3, 2) and torch.equal(some.loss[0], some.loss[1])
    torch.testing.assert_close(some.loss, once.loss[[0, 0, 1]][:, [0, 2]])


def test_label_words_are_single_tokens_and_differ() -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(TaskError, match=r"'wonderful' is . tokens of tiny-gpt2, expected one"):
        task = tiny_task(label_words={"positive": "wonderful", "negative": "bad"})
        Scorer(lm, task, task.train)
    with pytest.raises(TaskError, match="the same token"):
        task = tiny_task(label_words={"positive": "bad", "negative": "bad"})
        Scorer(lm, task, task.train)


def test_inputs_over_the_context_are_refused_with_their_number() -> None:
    lm = tiny_lm("gpt2")
    task = tiny_task(train=[Example("the cat", "positive"), Example("the cat " * 40, "negative")])
    with pytest.raises(ContextExceeded, match=r"example 2 .* the context of tiny-gpt2 is 64"):
        Scorer(lm, task, task.train).check_context(5)


def test_nothing_before_the_answer_is_refused() -> None:
    lm = tiny_lm("no-bos")
    task = tiny_task(template=Template("{prompt}{input}"), train=[Example("", "positive")])
    with pytest.raises(TaskError, match="no beginning-of-sequence token"):
        Scorer(lm, task, task.train).score_ids([[]])
