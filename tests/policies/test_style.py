"""The style reward: the published arithmetic, and its parts on the available models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertForSequenceClassification

from hardprompt.data.task import Example
from hardprompt.errors import LMError, RequestError
from hardprompt.lm import FrozenLM
from hardprompt.policies.style import (
    BertScoreContent,
    ClassifierStyle,
    LMStyle,
    StyleReward,
    bootstrap_maxima,
    chrf,
    zscore_by_input,
)
from hardprompt.scoring.rows import RowBuilder
from tests.helpers.chat import chat_lm, chat_task
from tests.helpers.tiny import save_tiny, tiny_lm

JUDGE = ("positive", "negative"), "{text} the sentiment is"


@pytest.fixture(scope="module")
def published(reference_values: dict[str, Any]) -> Any:
    return reference_values["style_reward"]


def test_bootstraps_agree_with_the_published_code(published: Any) -> None:
    """There are 128 outputs in 4 parts of 32."""
    found = bootstrap_maxima(np.array(published["sum_rewards"]), published["num_bootstraps"])
    assert found.tolist() == published["bootstrap_max"]


def test_zscores_by_input_agree_with_the_published_code(published: Any) -> None:
    names = list(published["zs_per_source"])
    maxima = [np.array(published["zs_per_source"][name]) for name in names]
    inputs = [names.index(source) for source in published["zs_sources"]]
    found = zscore_by_input(np.array(published["zs_rewards"]), maxima, inputs)
    np.testing.assert_allclose(found, published["zscores"], rtol=1e-4, atol=1e-5)


def test_the_content_score_falls_with_lost_words() -> None:
    source = "the food was good"
    whole, part, other, none = chrf([source, "the food was awful", "we left early", ""], [source] * 4)
    assert whole == 1 and 1 > part > other >= none == 0


def test_the_reward_of_a_prompt_is_that_of_its_best_outputs(microworld: FrozenLM) -> None:
    reward = StyleReward(microworld, LMStyle(microworld, *JUDGE), samples=3, bootstraps=2)
    examples = [Example("the soup was awful.", "-"), Example("the hotel was bad.", "-")]
    prompts = ["make it good", "x"]
    found = reward(prompts, examples)
    assert found.shape == (2, 2) and (found >= 0).all() and (found <= 100).all()
    np.testing.assert_array_equal(reward(prompts, examples), found, "the same samples")
    outputs = reward.rewrite([("make it good", examples[1].input)], 6)
    sums = reward.judge(outputs, [examples[1].input] * 6)["sum"]
    alone = StyleReward(microworld, LMStyle(microworld, *JUDGE), samples=3, bootstraps=2)(prompts[:1], examples[1:])
    assert alone[0, 0] == pytest.approx(sums.reshape(2, 3).max(1).mean())
    assert len(set(outputs)) > 1 and all('"' not in output and output == output.lower() for output in outputs)


def test_samples_follow_the_models_own_distribution(microworld: FrozenLM) -> None:
    """With one candidate per position it is greedy decoding, as in Hugging Face."""
    reward = StyleReward(microworld, LMStyle(microworld, *JUDGE), top_k=1, lower=False)
    ids = torch.tensor([microworld.prefix_ids + microworld.encode('make it good "the soup was awful." "')])
    drawn = reward._sampled(ids, 6, [torch.Generator()])
    expected = microworld.model.generate(ids, do_sample=False, max_new_tokens=6, min_new_tokens=6, pad_token_id=0)
    assert drawn.tolist() == expected[:, ids.shape[1] :].tolist()


def test_the_outputs_of_a_pair_do_not_depend_on_the_other_pairs(microworld: FrozenLM) -> None:
    reward = StyleReward(microworld, LMStyle(microworld, *JUDGE))
    inputs = ("the soup was awful.", "the hotel was bad.", "the film, which we saw at the old house, was bad.")
    pairs = [(prompt, source) for prompt in ("make it good", "x", "") for source in inputs]
    together = reward.rewrite(pairs, 4)
    assert together == [output for pair in pairs for output in reward.rewrite([pair], 4)]
    assert len(set(together)) > len(pairs)


def test_an_empty_output_has_a_reward_of_zero(microworld: FrozenLM) -> None:
    judged = StyleReward(microworld, LMStyle(microworld, *JUDGE)).judge(["", "good"], ["good", "good"])
    assert judged["sum"][0] == 0 and judged["content"][1] == pytest.approx(100) and judged["sum"][1] >= 50


def test_the_style_of_a_text_does_not_depend_on_its_batch(microworld: FrozenLM) -> None:
    style = LMStyle(microworld, *JUDGE)
    texts = ["the soup was wonderful.", "bad", "it was a very long and awful evening."]
    np.testing.assert_allclose(style(texts), [style([text])[0] for text in texts], atol=1e-5)
    with pytest.raises(RequestError, match="tokens of microworld, expected one"):
        LMStyle(microworld, ("qqqq", "bad"), "{text}")


def test_a_classifier_gives_the_probability_of_its_label(tmp_path: Path) -> None:
    tokenizer = tiny_lm("bert").tokenizer
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_labels=3, id2label={0: "bad", 1: "fair", 2: "good"}, label2id={"bad": 0, "fair": 1, "good": 2},
        initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["good food", "a dull film is bad and the cat sat"]
    each = np.stack([ClassifierStyle(str(tmp_path), label)(texts) for label in ("bad", 1, "good")])
    np.testing.assert_allclose(each.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(ClassifierStyle(str(tmp_path), "good")(texts[:1]), each[2, :1], atol=1e-5)
    with pytest.raises(RequestError, match="has no label 'great'; it has bad, fair, good"):
        ClassifierStyle(str(tmp_path), "great")
    with pytest.raises(LMError, match="no classifier"):
        ClassifierStyle(str(tmp_path / "none"), "good")


def test_bertscore_matches_hidden_states_greedily(tmp_path: Path) -> None:
    """It is the F1 of the mean best cosines without special tokens, and an identical text scores 1."""
    pytest.importorskip("bert_score", reason="bert-score is not installed (the extra `bertscore`)")
    save_tiny(tmp_path, "roberta")
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 60}))
    found = BertScoreContent(str(tmp_path), layers=1)(["the cat sat", "good film"], ["the cat sat", "a bad day"])
    model, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), tiny_lm("roberta").tokenizer
    with torch.no_grad():
        batches = [tokenizer(text, return_tensors="pt") for text in ("good film", "a bad day")]
        out, source = (
            torch.nn.functional.normalize(model(**batch, output_hidden_states=True).hidden_states[1][0], dim=-1)
            for batch in batches
        )
    cosines = out @ source.T
    precision, recall = cosines.max(1).values[1:-1].mean(), cosines.max(0).values[1:-1].mean()
    assert found == pytest.approx([1.0, float(2 * precision * recall / (precision + recall))], abs=1e-4)
    with pytest.raises(LMError, match="a local folder needs layers="):
        BertScoreContent(str(tmp_path))


def test_bertscore_without_its_model_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bert_score", reason="bert-score is not installed (the extra `bertscore`)")
    monkeypatch.setattr("hardprompt.policies.style.hub_answers", lambda: False)
    with pytest.raises(LMError, match="roberta-large is not a local folder, and the hub cannot be reached"):
        BertScoreContent()


def test_an_output_ends_at_the_end_of_the_sequence() -> None:
    lm = tiny_lm("gpt2")
    reward = StyleReward(lm, LMStyle(lm, ("good", "bad"), "{text}"))
    assert lm.eos_id is not None
    assert reward._text([*lm.encode("good food"), lm.eos_id, *lm.encode(" bad film")]) == "good food"


def test_a_chat_is_that_of_the_task_and_may_answer_in_quotes() -> None:
    lm, task = chat_lm("chatml"), chat_task("generation")
    reward = StyleReward(lm, LMStyle(lm, ("a", "b"), "{text}"), template=task.template.text, chat=True)
    [row] = RowBuilder(lm, task, task.test[:1]).build_text("be good")
    assert row.ids[: len(reward._row("be good", task.test[0].input)[0])] == reward._row("be good", task.test[0].input)[0]
    assert reward._text(lm.encode('\n"Good food," he said.')) == "good food,"
