"""Masked models beyond the contract: how they are loaded, which texts they read, and which requests are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertLMHeadModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaModel,
)

from hardprompt import evaluate
from hardprompt.custom_task.validate import validate
from hardprompt.data.task import MASK, Example, Template
from hardprompt.errors import LMError, TaskError
from hardprompt.lm import FrozenLM, MaskedLM, allowed_vocabulary, load_lm, log_perplexity, surprisals
from hardprompt.lm.kinds import kind_of
from hardprompt.lm.memory import OVERHEAD
from hardprompt.optimizers import Problem
from hardprompt.records.request import StudyRequest
from hardprompt.report.listing import LISTINGS
from hardprompt.scoring import Scorer, TokenCount
from hardprompt.scoring.truncation import fit_to_context
from hardprompt.study.runner import compare
from tests.helpers.tiny import CAUSAL, DEEP, MASKED, WIDE, save_tiny, tiny_lm, tiny_task

SHORT = {"positive": "a", "negative": "b"}
"""Label words that are one token with and without a blank."""


@pytest.mark.parametrize("family", MASKED)
def test_a_saved_masked_model_is_loaded_as_a_masked_model(family: str, tmp_path: Path) -> None:
    lm = load_lm(str(save_tiny(tmp_path / family, family)), device="cpu")
    assert isinstance(lm, MaskedLM) and lm.mask_id == tiny_lm(family).mask_id
    ids = lm.encode("it was a lovely film")
    assert log_perplexity(lm, ids) == log_perplexity(tiny_lm(family), ids)
    config = tmp_path / family / "config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "architectures"}))
    assert load_lm(str(tmp_path / family), device="cpu").masked


def test_the_configuration_tells_masked_models_from_causal_ones() -> None:
    bert = BertConfig(architectures=["BertForPreTraining"])
    assert kind_of(bert) == kind_of(BertConfig()) == "masked" and kind_of(BertConfig(is_decoder=True)) == "causal"
    assert kind_of(BertConfig(architectures=["BertLMHeadModel"])) == "causal"
    assert kind_of(tiny_lm("gpt2").model.config) == "causal" and kind_of(tiny_lm("roberta").model.config) == "masked"


def test_a_causal_bert_stays_causal(tmp_path: Path) -> None:
    size = {"vocab_size": len(tiny_lm("bert").tokenizer), "max_position_embeddings": 64, "is_decoder": True}
    BertLMHeadModel(BertConfig(**DEEP, **size)).save_pretrained(tmp_path)
    tiny_lm("bert").tokenizer.save_pretrained(tmp_path)
    lm = load_lm(str(tmp_path), device="cpu")
    assert not lm.masked and lm.output_layer.bias is not None


def test_a_model_with_further_heads_is_loaded_without_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"vocab_size": len(tiny_lm("bert").tokenizer), "max_position_embeddings": 64}
    BertForPreTraining(BertConfig(**DEEP, **size)).save_pretrained(tmp_path)
    tiny_lm("bert").tokenizer.save_pretrained(tmp_path)
    assert load_lm(str(tmp_path), device="cpu").masked


def test_an_encoder_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    RobertaModel(tiny_lm("roberta").model.config, add_pooling_layer=False).save_pretrained(tmp_path)
    tiny_lm("roberta").tokenizer.save_pretrained(tmp_path)
    with pytest.raises(LMError, match=r"the weights of .* do not fit its config.json: lm_head\."):
        load_lm(str(tmp_path), device="cpu")


def test_a_masked_model_needs_a_mask_token() -> None:
    with pytest.raises(LMError, match=r"odd is a masked model \(RobertaForMaskedLM\), but its tokenizer has no mask token"):
        MaskedLM(tiny_lm("roberta").model, tiny_lm("gpt2").tokenizer, "odd")


@pytest.mark.parametrize(
    "make",
    [
        lambda size: DistilBertForMaskedLM(DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, **size)),
        lambda size: ModernBertForMaskedLM(ModernBertConfig(**WIDE, intermediate_size=32, **size)),
    ],
    ids=["distilbert", "modernbert"],
)
def test_other_families_agree_with_hugging_face(make: Callable[[Any], Any]) -> None:
    tokenizer = tiny_lm("bert").tokenizer
    torch.manual_seed(0)
    lm = MaskedLM(make({"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0}), tokenizer, "other")
    rows = [tokenizer("the cat sat [MASK] a mat")["input_ids"], tokenizer("a [MASK]")["input_ids"]]
    batch = torch.tensor([row + [0] * (len(rows[0]) - len(row)) for row in rows])
    together = lm.output_logits(lm.hidden(lm.embed(batch), lengths=[len(row) for row in rows]))
    for row, logits in zip(rows, together, strict=True):
        alone = lm.model(input_ids=torch.tensor([row])).logits[0]
        torch.testing.assert_close(logits[: len(row)], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", MASKED)
def test_the_longest_text_agrees_with_hugging_face(family: str) -> None:
    """RoBERTa's positions begin after that of padding, so that there are two fewer positions than rows in the table."""
    lm = tiny_lm(family)
    assert lm.max_length == 64 and lm.max_text_length == 62
    ids = torch.tensor([[*lm.prefix_ids, *[40] * lm.max_text_length, *lm.suffix_ids]])
    torch.testing.assert_close(lm.output_logits(lm.hidden(lm.embed(ids))), lm.model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
    with pytest.raises((IndexError, RuntimeError)):
        lm.hidden(lm.embed(torch.full((1, 65), 40)))


@pytest.mark.parametrize("family", MASKED)
def test_padding_does_not_change_the_scores(family: str) -> None:
    lm = tiny_lm(family)
    short = lm.embed(torch.tensor([[*lm.prefix_ids, 40, 50, *lm.suffix_ids]]))
    padded = torch.cat([short, lm.embed(torch.full((1, 5), 60))], 1)
    alone = lm.hidden(short)
    torch.testing.assert_close(lm.hidden(padded, lengths=[short.shape[1]])[:, : short.shape[1]], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(lm.hidden(padded)[:, : short.shape[1]], alone, atol=1e-2)


def test_batches_of_masked_prompts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("roberta")
    prompts = [[40, 50, 60], [], [70], [80, 90]]
    whole = surprisals(lm, prompts)
    monkeypatch.setattr(lm.memory, "budget", 2 * (lm.footprint.of_pass(2 * 6, reads=2) + OVERHEAD))
    for one, other in zip(whole, surprisals(lm, prompts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", MASKED)
def test_the_vocabulary_of_words_has_no_word_pieces(family: str) -> None:
    lm = tiny_lm(family)
    written = lm.tokenizer.convert_ids_to_tokens(allowed_vocabulary(lm).tolist())
    assert not any(piece.startswith("##") or piece in lm.tokenizer.all_special_tokens for piece in written)


def test_the_masked_log_perplexity_counts_its_tokens() -> None:
    problem = Problem(tiny_task(), tiny_lm("roberta"), weight=0.2)
    problem.prompt_nll([[40, 50, 60], [70]])
    assert problem.spent == 3 * 3 + 1


def test_special_tokens_around_a_text_are_not_counted() -> None:
    lm, counter = tiny_lm("roberta"), TokenCount()
    task = tiny_task()
    Scorer(lm, task, task.train, counter).score_ids([[40, 50]])
    texts = [lm.tokenizer(f"{example.input} : <mask>.", add_special_tokens=False)["input_ids"] for example in task.train]
    assert counter.forward == sum(len(ids) + 2 for ids in texts)


# Templates


def test_the_published_templates() -> None:
    """RLPrompt has the answer after the prompt, with a space and a full stop; for news it is before the text, without them."""
    tasks = {entry["name"]: entry["masked_template"] for entry in LISTINGS["tasks"]()}
    for name in ("sst2", "mr", "sst5", "boolq"):
        assert tasks[name] == "{input} {prompt} {mask}."
    assert tasks["agnews"] == "{mask} {prompt} {input}"
    assert tasks["review-sentiment"] == "{input} {prompt}: {mask}."
    assert tasks["country-capital"] is tasks["plural"] is None


def test_the_answer_comes_after_the_separator() -> None:
    task = tiny_task(template=Template("{prompt} : {input} ="), separator="\n")
    assert task.template_for(masked=True).text == "{prompt} : {input} =\n{mask}."
    assert task.template_for(masked=False) is task.template


def test_the_label_word_includes_the_space_before_the_mask() -> None:
    lm = tiny_lm("roberta")
    for template, words in (("{input} {prompt} {mask}.", ["Ġgood", "Ġyes"]), ("{mask} {prompt} {input}", ["good", "yes"])):
        task = tiny_task(masked_template=Template(template), label_words={"positive": "good", "negative": "yes"})
        assert lm.tokenizer.convert_ids_to_tokens(Scorer(lm, task, task.train).label_ids.tolist()) == words


def test_only_a_masked_template_changes_the_digest() -> None:
    plain = tiny_task()
    given = tiny_task(masked_template=Template("{mask} {prompt} {input}"))
    assert plain.digest == "110eee678a8de3ea7efc49bcd2767f59392e77859730d980cc6359aa8cff11b6"
    assert given.digest != plain.digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "{mask} {input} {mask} {prompt}"}, r"has \{mask\} 2 times; put it in at most once"),
        ({"masked_template": "{input} {prompt}"}, r"masked template '\{input\} \{prompt\}' has no \{mask\}; put it in once"),
    ],
)
def test_masked_templates_with_a_misplaced_mask_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        templates: dict[str, Any] = {name: Template(text) for name, text in fields.items()}
        tiny_task(**templates)


def test_a_template_with_a_mask_is_for_masked_models() -> None:
    task = tiny_task(template=Template("{input} {prompt} {mask} !"))
    assert task.template_for(masked=True) is task.template
    for family in CAUSAL:
        with pytest.raises(TaskError, match=r"task tiny-classification: only a masked model predicts the \{mask\}"):
            Problem(task, tiny_lm(family))
    literal = tiny_task(template=Template("{input} {prompt} <mask>."))
    with pytest.raises(TaskError, match=r"write \{mask\} for <mask> in the template"):
        Problem(literal, tiny_lm("roberta"))


@pytest.mark.parametrize("family", MASKED)
def test_generation_is_refused_before_anything_runs(family: str, tmp_path: Path) -> None:
    task = tiny_task("generation", truncate_to="start")
    for call in (lambda: Problem(task, tiny_lm(family)), lambda: evaluate("good", task, tiny_lm(family))):
        with pytest.raises(
            TaskError, match="task tiny-generation is a generation task, and a masked model cannot generate text"
        ):
            call()
    folder = save_tiny(tmp_path / family, family)
    with pytest.raises(TaskError, match="task plural is a generation task"):
        compare(StudyRequest.make(task="plural", lm=str(folder)), tmp_path / "study")
    assert not (tmp_path / "study").exists()


# Special tokens in texts


@pytest.mark.parametrize(
    ("family", "token"),
    [("roberta", "<mask>"), ("bert", "[MASK]"), ("bert", "[SEP]"), ("gpt2", "<|endoftext|>"), ("llama", "</s>")],
)
def test_an_input_with_a_special_token_is_refused_with_its_number(family: str, token: str) -> None:
    task = tiny_task(dev=[Example("the cat", "positive"), Example(f"a {token} film", "negative")])
    with pytest.raises(TaskError, match=r"task tiny-classification, example 2 .*reads as a special token") as error:
        Problem(task, tiny_lm(family))
    assert repr(token) in str(error.value)


@pytest.mark.parametrize("family", MASKED)
@pytest.mark.parametrize("input", ["{mask} or {prompt}", f"a {MASK} film", "[mask] < mask > unk"])
def test_a_mask_token_in_an_input_is_not_a_second_mask(family: str, input: str) -> None:
    lm = tiny_lm(family)
    for template in ("{input} {prompt} {mask}.", "{mask} {prompt} {input}"):
        task = tiny_task(
            train=[Example(input, "positive")],
            masked_template=Template(template),
            label_words=SHORT,
        )
        scorer = Scorer(lm, task, task.train)
        (row,) = scorer._rows.build_text("good")
        assert [i for i, token in enumerate(row.ids) if token == lm.mask_id] == [row.predict_from]


@pytest.mark.parametrize("template", ["{input} {prompt} {mask}.", "{mask} {prompt} {input}"])
def test_a_mask_token_in_the_prompt_is_not_the_answer(template: str) -> None:
    lm = tiny_lm("roberta")
    task = tiny_task(masked_template=Template(template), label_words=SHORT)
    scorer = Scorer(lm, task, task.train)
    assert lm.mask_id is not None
    by_ids = scorer._rows.build(0, 0, [lm.mask_id, 40])
    (by_text, *_) = scorer._rows.build_text("<mask> good")
    assert by_ids.predict_from == (1 if template.startswith("{mask}") else len(by_ids.ids) - 3)
    assert by_text.predict_from == (1 if template.startswith("{mask}") else len(by_text.ids) - 3)
    assert all(row.ids.count(lm.mask_id) == 2 for row in (by_ids, by_text))


# Around the scorer


@pytest.mark.parametrize("family", MASKED)
@pytest.mark.parametrize("keep", ["start", "end"])
def test_long_inputs_are_cut_to_fit(family: str, keep: str) -> None:
    lm = tiny_lm(family)
    long = Example("the cat sat on a mat " * 20, "positive")
    task = fit_to_context(tiny_task(train=[long], truncate_to=keep), lm, prompt_length=5)
    assert task.inputs_cut["train"] == 1 and task.train[0].input.strip() in long.input
    row = Scorer(lm, task, task.train)._rows.build(0, 0, [40] * 32)
    assert lm.max_length - 2 <= row.length <= lm.max_length


@pytest.mark.parametrize("family", MASKED)
def test_validate_shows_the_mask_and_refuses_what_a_masked_model_cannot_do(family: str, tmp_path: Path) -> None:
    lm = tiny_lm(family)
    (tmp_path / "data.csv").write_text("input,answer\nthe cat,positive\na dull film,negative\na film,positive\nred,negative\n")
    file = tmp_path / "task.yaml"
    lines = ['template: "{input} {prompt} :"', "data: data.csv", "reference_prompts: [was it good]"]
    words = ["label_words: {positive: good, negative: bad}"]
    file.write_text("\n".join(lines + words))
    shown = validate(tmp_path, lm).shown[0]
    token = lm.tokenizer.mask_token
    assert (shown.text, shown.answer) == (f"the cat was it good : {token}.", " good")
    assert shown.tokens.count(token) == 1 and len(shown.answer_tokens) == 1
    file.write_text("\n".join(lines))
    (finding,) = validate(tmp_path, lm).findings
    assert finding.line == 1 and "is a generation task, and a masked model cannot generate text" in finding.message
    file.write_text("\n".join([*lines, *words, 'masked_template: "{input} {prompt}"']))
    assert "task.yaml:5: masked_template: template '{input} {prompt}' has no {mask}" in str(validate(tmp_path, lm).findings[0])
    (tmp_path / "data.csv").write_text(
        f"input,answer\nthe cat,positive\na {token} film,negative\na film,positive\nred,negative\n"
    )
    file.write_text("\n".join(lines + words))
    (finding,) = (finding for finding in validate(tmp_path, lm).findings if finding.level == "error")
    assert finding.line == 3 and repr(token) in finding.message


def test_a_masked_reader_tokenizes_the_text_of_a_causal_model() -> None:
    found = evaluate("good or bad", tiny_task(), tiny_lm("gpt2"), readers=[tiny_lm("bert")])
    ids = tiny_lm("bert").encode("good or bad")
    assert found["reader_log_perplexity"] == pytest.approx(log_perplexity(tiny_lm("bert"), ids))


def test_added_special_tokens_are_special(tmp_path: Path) -> None:
    tiny_lm("gpt2").model.save_pretrained(tmp_path)
    tokenizer = tiny_lm("gpt2").tokenizer
    tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["<|turn|>"], special_tokens=True)
    lm = FrozenLM(tiny_lm("gpt2").model, tokenizer, "turns")
    assert lm.special_token_in("a <|turn|> b") == "<|turn|>" and tiny_lm("gpt2").special_token_in("a <|turn|> b") is None
