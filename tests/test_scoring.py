"""The scorer against a slow plain reference: one pair at a time, whole sequences, Hugging Face's own logits and generate."""

import pytest
import torch

from hardprompt import scoring
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.lm import FrozenLM
from hardprompt.scoring import Scorer, TokenCount
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


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny_lm("gpt2"), tiny_task("generation")
    prompts = [[40, 50], [60], [], [70, 80, 90]]
    whole = Scorer(lm, task, task.train).score_ids(prompts)
    monkeypatch.setattr(scoring, "TOKENS_PER_BATCH", 30)
    parts = Scorer(lm, task, task.train).score_ids(prompts)
    torch.testing.assert_close(whole.loss, parts.loss, rtol=1e-4, atol=1e-5)
    assert torch.equal(whole.correct, parts.correct)


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
