"""The effect of a prompt's tokens and their order, and distances between behaviours, with positive and negative controls."""

import math
from typing import Any

import pytest
import torch

from hardprompt import HardPrompt, Scorer, SoftPrompt, load_task
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.metrics import continuation_kl, deletion_map, order_sensitivity, scrutability, token_f1
from hardprompt.metrics.continuation_kl import stepwise_kl
from hardprompt.metrics.sensitivity import TOKENS, other_orders
from hardprompt.scoring.imitation import sample_answers
from tests.helpers.tiny import CAUSAL, FAMILIES, tiny_lm, tiny_task


def test_token_f1_computed_by_hand() -> None:
    """With two shared words of three and of four: 2 * 2/3 * 2/4 / (2/3 + 2/4). Articles and punctuation are not words."""
    assert token_f1("The plural, of WORDS", "plural words: a give now") == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert token_f1("good good", "good") == pytest.approx(2 / 3), "a bag: the second has nothing to match"
    assert token_f1("give the plural", "plural the give") == 1.0, "deaf to the order"
    assert token_f1("", "") == token_f1("a", "an") == token_f1("word", "") == 0.0


def test_the_position_of_the_largest_surprisal(microworld: FrozenLM) -> None:
    ids = microworld.encode("give the zub of the word")
    found = scrutability(microworld, ids, "give the zub of the word")
    assert microworld.decode(ids[: found["max_surprisal_position"]]).startswith("give the z")
    assert found["distinct_tokens"] == len(set(ids)) < len(ids)


def test_the_deletion_map_of_a_long_prompt_uses_fewer_examples(microworld: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same examples, at least eight, are used for the full prompt and for the shortened prompts."""
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.dev)
    ids = microworld.encode("give the plural of the word")
    counts = []
    for tokens in (TOKENS, len(ids) * scorer.tokens(len(ids)) // 4, 1):
        monkeypatch.setattr("hardprompt.metrics.sensitivity.TOKENS", tokens)
        seen: list[Any] = []

        def score(prompts: Any, some: Any = None, seen: list[Any] = seen) -> Any:
            seen.append(some)
            return Scorer.score_ids(scorer, prompts, some)

        monkeypatch.setattr(scorer, "score_ids", score)
        worth = deletion_map(scorer, ids)
        [some] = seen
        counts.append(len(task.dev) if some is None else len(some))
        scores = Scorer.score_ids(scorer, [ids, ids[1:]], some)
        assert worth[0]["loss_added"] == pytest.approx(float(scores.loss[1].mean() - scores.loss[0].mean()), abs=1e-5)
    assert counts == [len(task.dev), len(task.dev) // 4, 8]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_deletion_map_agrees_with_scores_of_the_shortened_prompts(family: str) -> None:
    """Each entry equals the score of the prompt without that token. Removing either of two equal tokens has the same effect."""
    lm, task = tiny_lm(family), tiny_task()
    scorer = Scorer(lm, task, task.test)
    ids = [40, 41, 41]
    whole, *shorter = (Scorer(lm, task, task.test).score_ids([each]) for each in (ids, [41, 41], [40, 41], [40, 41]))
    worth = deletion_map(scorer, ids)
    for row, one in zip(worth, shorter, strict=True):
        assert row["loss_added"] == pytest.approx(float(one.mean_loss - whole.mean_loss), abs=1e-5)
        assert row["accuracy_lost"] == float(whole.accuracy - one.accuracy)
    assert worth[1] == worth[2]
    assert deletion_map(scorer, []) == []


def test_the_deletion_map_finds_the_word_that_carries_the_instruction(microworld: FrozenLM) -> None:
    """Positive control: without "plural" the accuracy is lost. Negative control: filler words have no effect."""
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.dev)
    asked = deletion_map(scorer, microworld.encode("give the plural"))
    assert asked[2]["accuracy_lost"] > 0.9 and asked[2]["loss_added"] == max(row["loss_added"] for row in asked)
    nothing = deletion_map(scorer, microworld.encode("sky plum drums"))
    assert all(row["accuracy_lost"] == 0 for row in nothing)


def test_order_matters_for_an_instruction_and_not_for_a_repeated_word(microworld: FrozenLM) -> None:
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.dev)
    ids = microworld.encode("write the plural of the word")
    found = order_sensitivity(scorer, ids)
    assert found["accuracy_lost"] > 0.5 and found["loss_added"] > 1
    assert found == order_sensitivity(scorer, ids) and found["accuracy_lost"] == pytest.approx(1 - found["shuffled_accuracy"])
    assert set(order_sensitivity(scorer, [ids[0]] * 3).values()) == {None}
    orders = other_orders(ids, 0, 5)
    assert len(orders) == 5 and all(sorted(order) == sorted(ids) and order != ids for order in orders)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_given_answers_agree_with_their_scores(family: str) -> None:
    """The log-probabilities of the target tokens from the logits add up to the losses, for hard and soft prompts."""
    lm = tiny_lm(family)
    task = tiny_task("classification" if lm.masked else "generation", match="exact")
    scorer = Scorer(lm, task, task.test)
    if lm.masked:
        [logits] = {tuple(each.shape) for each in scorer.answer_logits([40, 41], [[]] * len(task.test))}
        assert logits == (1, lm.model.config.vocab_size)
        return
    targets = lm.encode_after([" " + example.answer for example in task.test])
    hard = scorer.answer_logits([40, 41], targets)
    soft = scorer.answer_logits(lm.vocab_embeds[[40, 41]], targets)
    for given, same, target, loss in zip(hard, soft, targets, scorer.score_ids([[40, 41]]).loss[0], strict=True):
        log_probs = given.log_softmax(-1)
        by_hand = sum(float(log_probs[t, token]) for t, token in enumerate(target))
        by_hand += float(log_probs[-1, lm.end_ids].logsumexp(-1))
        assert by_hand == pytest.approx(-float(loss), abs=1e-4)
        torch.testing.assert_close(given, same, rtol=1e-4, atol=1e-4)


def test_stepwise_kl_computed_by_hand() -> None:
    """KL of (1/4, 3/4) from (1/2, 1/2) is 1/4 ln 1/2 + 3/4 ln 3/2, and from itself 0.

    A constant added to logits has no effect.
    """
    one, even = torch.tensor([[1.0, 3.0]]).log(), torch.zeros(1, 2)
    assert stepwise_kl(one, even).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)
    assert stepwise_kl(one, one + 5).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_distance_of_a_prompt_to_its_own_embeddings_is_zero(family: str) -> None:
    lm = tiny_lm(family)
    task = tiny_task("classification" if lm.masked else "generation")
    scorer = Scorer(lm, task, task.test)
    hard, other = HardPrompt.from_ids(lm, [40, 41]), HardPrompt.from_ids(lm, [50, 51])
    same = continuation_kl(hard, SoftPrompt(lm.vocab_embeds[[40, 41]]), scorer, tokens=3)
    assert same["distance"] == pytest.approx(0, abs=1e-5)
    apart = continuation_kl(hard, other, scorer, tokens=3)
    assert apart["distance"] > 1e-3 and apart == continuation_kl(hard, other, scorer, tokens=3)
    first = continuation_kl(hard, other, scorer, tokens=1)
    by_hand = stepwise_kl(scorer.next_token_logits(hard.ids), scorer.next_token_logits(other.ids)).mean()
    assert first["distance"] == pytest.approx(float(by_hand), abs=1e-5)


def test_the_distance_is_the_mean_log_ratio_of_sampled_continuations(microworld: FrozenLM) -> None:
    """The reference is the mean of log p(y) - log q(y) over many sampled continuations, within its standard error."""
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.dev[:8])
    one, two = (HardPrompt.from_text(microworld, text) for text in ("give the plural", "write plural of it the"))
    generator = torch.Generator().manual_seed(1)
    ratios = []
    for _ in range(30):
        answers = sample_answers(scorer, one.ids, 3, generator)
        for logits, other, answer in zip(
            scorer.answer_logits(one.ids, answers), scorer.answer_logits(two.ids, answers), answers, strict=True
        ):
            last = int(torch.multinomial(logits[-1].softmax(-1), 1, generator=generator))
            own, its = (
                sum(float(each.log_softmax(-1)[t, token]) for t, token in enumerate([*answer, last]))
                for each in (logits, other)
            )
            ratios.append(own - its)
    sampled = torch.tensor(ratios)
    exact = continuation_kl(one, two, scorer, tokens=4, samples=30)["distance"]
    assert exact == pytest.approx(float(sampled.mean()), abs=4 * float(sampled.std()) / len(ratios) ** 0.5)
    assert exact > 1


@pytest.mark.parametrize("family", CAUSAL)
def test_continuations_stop_at_the_end_of_the_context(family: str) -> None:
    """If the inputs leave room for two tokens, three are predicted, the last of them from the last position."""
    lm = tiny_lm(family)
    task = tiny_task("classification")
    scorer = Scorer(lm, task, task.test[:1])
    length = 1 + scorer.tokens_left(1) - 2
    assert scorer.tokens_left(length) == 2
    one, two = (HardPrompt.from_ids(lm, [token] * length) for token in (40, 50))
    found = continuation_kl(one, two, scorer, tokens=20)
    assert found == continuation_kl(one, two, scorer, tokens=3) and found["distance"] > 0


@pytest.mark.parametrize("family", CAUSAL)
def test_a_distance_needs_tokens_and_samples(family: str) -> None:
    lm, task = tiny_lm(family), tiny_task("generation")
    hard = HardPrompt.from_ids(lm, [40])
    with pytest.raises(RequestError, match="at least one token and one sample, got 0 and 1"):
        continuation_kl(hard, hard, Scorer(lm, task, task.test), tokens=0)
