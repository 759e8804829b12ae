"""Every metric with a positive and a negative control."""

import pytest
import torch

from hardprompt.lm import log_perplexity, surprisals
from hardprompt.lm.memory import OVERHEAD, Memory
from hardprompt.metrics import ScoredPrompt, faithfulness, projection_ids, repetition, scrutability, whole_word_share
from hardprompt.metrics.faithfulness import agreement, distance_gap, mean_kl, output_gap
from hardprompt.metrics.scrutability import log_perplexity_in_place
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer
from hardprompt.study.measure import measure_prompt
from tests.helpers.tiny import CAUSAL, FAMILIES, pieces, tiny_lm, tiny_task


@pytest.mark.parametrize(("family", "kind"), [(f, "classification") for f in FAMILIES] + [(f, "generation") for f in CAUSAL])
def test_an_embedded_hard_prompt_is_faithful_and_a_far_one_is_not(family: str, kind: str) -> None:
    """Positive control: vocabulary rows have gaps of zero. Negative control: vectors far from all rows have larger gaps."""
    lm, task = tiny_lm(family), tiny_task(kind)
    allowed = torch.arange(10, lm.vocab_embeds.shape[0])
    scorer = Scorer(lm, task, task.test)
    same = faithfulness(
        ScoredPrompt(SoftPrompt(lm.vocab_embeds[[40, 50, 60]]), scorer, allowed=allowed, projection="euclidean")
    )
    assert same.pop("agreement") == 1.0
    assert all(abs(value) < 1e-3 for value in same.values()), same
    generator = torch.Generator().manual_seed(0)
    far = faithfulness(
        ScoredPrompt(SoftPrompt(5 * torch.randn(3, 16, generator=generator)), scorer, allowed=allowed, projection="euclidean")
    )
    assert far["distance_euclidean"] > 1 and far["distance_cosine"] > 0.01
    assert far["kl"] > 0.01 and far["output_gap"] > 0.01 and far["loss_gap"] > 0.001
    assert ("label_kl" in far) == (kind == "classification")


def test_gaps_computed_by_hand() -> None:
    """Two positions have Euclidean distances 1 and 0 to the closest row; one of two logits differs by one."""
    vocab = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert distance_gap(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), vocab, "euclidean").item() == 0.5
    assert distance_gap(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), vocab, "cosine").item() == 0.0
    assert output_gap(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])).item() == 0.5
    assert agreement(torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([[0.0, 9.0], [0.0, 1.0]])).item() == 0.5


def test_kl_ignores_a_constant_and_the_output_gap_does_not() -> None:
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert mean_kl(logits, logits + 3).item() == pytest.approx(0, abs=1e-6)
    assert output_gap(logits, logits + 3).item() == pytest.approx(9, rel=1e-4)
    assert mean_kl(logits, logits.flip(1)).item() > 0.1


def test_projection_ids_stay_in_the_allowed_vocabulary() -> None:
    lm = tiny_lm("gpt2")
    allowed = torch.tensor([30, 31, 32])
    assert set(projection_ids(SoftPrompt(lm.vocab_embeds[[40, 31]]), lm.vocab_embeds, allowed)) <= {30, 31, 32}
    assert projection_ids(SoftPrompt(lm.vocab_embeds[[31]]), lm.vocab_embeds, allowed) == [31]


def test_readability_is_that_of_the_deployed_text() -> None:
    """Letters that spell a word are deployed as the tokens of the word, so its log-perplexity is theirs."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    letters, scorer = pieces(lm), Scorer(lm, task, task.test)
    scored = ScoredPrompt(HardPrompt.from_ids(lm, letters, scorer.template), scorer)
    word = HardPrompt.in_place(lm, scorer.template, "good").ids
    assert not scored.roundtrip_ok and scored.hard.ids == tuple(letters) and scored.deployed.ids == word != tuple(letters)
    assert scored.surprisal.tolist() == surprisals(lm, [word])[0].tolist()
    point = measure_prompt(scored)
    assert point["log_perplexity"] == pytest.approx(log_perplexity(lm, word)) != pytest.approx(log_perplexity(lm, letters))
    assert point["log_perplexity_in_place"] == log_perplexity_in_place(scorer, word)
    assert [row["surprisal"] for row in point["tokens"]] == surprisals(lm, [letters])[0].tolist()
    kept = ScoredPrompt(HardPrompt.from_ids(lm, word, scorer.template), scorer)
    assert kept.roundtrip_ok and kept.deployed is kept.hard


def test_repetition_and_whole_words() -> None:
    assert repetition([1, 2, 3]) == 0 and repetition([1, 1, 1, 1]) == 0.75 and repetition([]) is None
    assert whole_word_share(["a good", "a film"], "a") == 1.0
    assert whole_word_share(["a won", "aderful"], "a") == 0.0
    assert whole_word_share(["a good", "a."], "a") == 0.5
    assert whole_word_share([], "a") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_scrutability_of_words_pieces_and_nothing(family: str) -> None:
    lm = tiny_lm(family)
    words = [ids[0] for ids in lm.encode_after([" good", " film"])]
    readable = scrutability(lm, words, lm.decode(words))
    assert readable["whole_word_share"] == 1.0 and readable["repetition"] == 0.0
    assert readable["max_surprisal"] >= readable["log_perplexity"]
    assert scrutability(lm, pieces(lm), "good")["whole_word_share"] == 0.0
    assert set(scrutability(lm, [], "").values()) == {None}


def test_gaps_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny_lm("llama"), tiny_task("generation")
    soft, allowed = SoftPrompt(lm.vocab_embeds[[40, 50]] + 0.3), torch.arange(lm.vocab_embeds.shape[0])
    whole = faithfulness(ScoredPrompt(soft, Scorer(lm, task, task.train), allowed=allowed))
    monkeypatch.setattr(lm, "memory", Memory(2 * (2 * 4 * lm.footprint.logits + OVERHEAD)))
    assert faithfulness(ScoredPrompt(soft, Scorer(lm, task, task.train), allowed=allowed)) == pytest.approx(
        whole, rel=1e-4, abs=1e-5
    )
