"""What a model does differently from others: start tokens, unused ids, windows, rotary factors; and the kept checks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, FalconH1Config, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from hardprompt.errors import LMError
from hardprompt.lm import FrozenLM, allowed_vocabulary, checks, load_lm
from hardprompt.lm.lengths import LengthRules, context_length
from hardprompt.lm.verdicts import cache_folder
from hardprompt.metrics import inspect
from hardprompt.scoring import Scorer
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task

SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.5}


def copied_tokenizer(folder: Path, family: str = "gpt2") -> Any:
    tiny_lm(family).tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def llama(tokenizer: Any, **fields: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return LlamaForCausalLM(
        LlamaConfig(**{**SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": 64, **ids, **fields})
    )


# Start tokens


def test_a_marker_of_turns_is_no_start_token(tmp_path: Path) -> None:
    tokenizer = copied_tokenizer(tmp_path)
    tokenizer.add_tokens(["<|turn|>"], special_tokens=True)
    tokenizer.bos_token = "<|turn|>"
    model = llama(tokenizer)
    assert FrozenLM(model, tokenizer, "base").prefix_ids == tokenizer.convert_tokens_to_ids(["<|turn|>"])
    tokenizer.chat_template = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}"
    lm = FrozenLM(model, tokenizer, "chat")
    assert lm.prefix_ids == tokenizer.convert_tokens_to_ids(["<|endoftext|>"])
    assert inspect("good film", lm)["start"] == ["<|endoftext|>"]


def test_the_tokens_that_the_tokenizer_puts_before_a_text_come_first() -> None:
    for family in ("roberta", "bart"):
        lm = tiny_lm(family)
        whole = lm.tokenizer("good film")["input_ids"]
        assert whole == [*lm.prefix_ids, *lm.encode("good film"), *lm.suffix_ids] and lm.prefix_ids


# Ids


def test_a_token_without_an_embedding_is_refused_where_it_occurs(tmp_path: Path) -> None:
    tokenizer = copied_tokenizer(tmp_path)
    model = llama(tokenizer)
    tokenizer.add_tokens(["[quote]"])
    lm = FrozenLM(model, tokenizer, "added")
    rows = model.get_input_embeddings().weight.shape[0]
    assert lm.encode("good film") and lm.vocab_embeds.shape[0] == rows
    with pytest.raises(
        LMError, match=rf"gives '\[quote\]' the id {rows}, but the model has embeddings only for ids below {rows}"
    ):
        lm.encode("a [quote] film")


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = copied_tokenizer(tmp_path)
    with pytest.raises(LMError, match="has embeddings only for ids below 300"):
        FrozenLM(llama(tokenizer, vocab_size=300), tokenizer, "other").encode("the cat sat on a mat and looked at the dog")


def test_ids_without_a_token_are_not_in_a_prompt(tmp_path: Path) -> None:
    """The id of an added token can be larger than the number of tokens; the ids between are unused."""
    import json

    tokenizer = copied_tokenizer(tmp_path)
    file, last = tmp_path / "tokenizer.json", len(tokenizer)
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"].append({**content["added_tokens"][0], "id": last + 5, "content": "quote", "special": False})
    content["model"]["vocab"]["quote"] = last + 5
    file.write_text(json.dumps(content), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids("quote") == last + 5
    lm = FrozenLM(llama(tokenizer, vocab_size=last + 20), tokenizer, "gaps")
    assert lm.vocab_embeds.shape[0] == last + 6 and lm.token_ids[-1] == last + 5 and last not in lm.token_ids
    assert set(allowed_vocabulary(lm, "all").tolist()) <= set(lm.token_ids)
    near = inspect("good film", lm, count=last + 6)["tokens"][0]["nearest"]["cosine"]
    assert {each["id"] for each in near} == set(lm.token_ids)


# Lengths


def windowed(**fields: Any) -> FrozenLM:
    tokenizer = tiny_lm("gpt2").tokenizer
    torch.manual_seed(0)
    ids = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "num_key_value_heads": 1}
    return FrozenLM(MistralForCausalLM(MistralConfig(**SIZE, **ids, **fields)), tokenizer, "windowed")


def fed_tokens(lm: FrozenLM, score: Any) -> int:
    fed: list[int] = []
    hook = lm.model.register_forward_pre_hook(
        lambda _, args, kwargs: fed.append(kwargs["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    try:
        score()
    finally:
        hook.remove()
    return sum(fed)


def test_prefixes_are_shared_within_the_window_and_not_beyond() -> None:
    """Prompts on the same examples read the inputs once if every row is within the window; scores are the same."""
    task, prompts = tiny_task(), [[40, 50], [60, 41], [42, 43]]
    wide, narrow = windowed(sliding_window=40), windowed(sliding_window=7)
    assert (wide.rules.shared, narrow.rules.shared) == (40, 7) and wide.shares_prefixes and narrow.shares_prefixes
    for lm in (wide, narrow):
        scorer = Scorer(lm, task, task.train)
        alone = [Scorer(lm, task, [example]) for example in task.train]
        expected = torch.cat([scorer_of_one.score_ids(prompts).loss for scorer_of_one in alone], 1)
        torch.testing.assert_close(scorer.score_ids(prompts).loss, expected, rtol=1e-4, atol=1e-4)
    tokens = []
    for window in (None, 40, 7):
        lm = windowed(sliding_window=window)
        tokens.append(fed_tokens(lm, lambda: Scorer(lm, task, task.train).score_ids(prompts)))  # noqa: B023
    assert tokens[0] == tokens[1] < tokens[2]


def test_rows_that_would_change_each_other_are_in_different_groups() -> None:
    tokenizer = tiny_lm("gpt2").tokenizer
    plain = LengthRules(llama(tokenizer))
    assert plain.groups([3, 60, 9]) == [plain.groups([1])[0]] * 3
    factors = {"rope_theta": 1e4, "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    longrope = llama(tokenizer, rope_parameters={"rope_type": "longrope", "original_max_position_embeddings": 16, **factors})
    short, long, longer = LengthRules(longrope).groups([16, 17, 40])
    assert long == longer != short and LengthRules(longrope).shared == 16
    dynamic = llama(
        tokenizer, max_position_embeddings=16, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    )
    assert context_length(dynamic.config) == 64
    first, second, third, fourth = LengthRules(dynamic).groups([3, 16, 17, 18])
    assert first == second != third != fourth


def test_the_frequencies_of_dynamic_rotary_positions_do_not_depend_on_earlier_texts() -> None:
    tokenizer = tiny_lm("gpt2").tokenizer
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    lm = FrozenLM(llama(tokenizer, max_position_embeddings=16, rope_parameters=rope), tokenizer, "dynamic")
    ids = torch.arange(30, 48)[None]
    with torch.no_grad():
        before = lm.hidden(lm.embed(ids))
        lm.hidden(lm.embed(torch.arange(30, 70)[None]))
        assert torch.equal(lm.hidden(lm.embed(ids)), before)


def test_a_configuration_without_lengths_has_no_limit() -> None:
    assert LengthRules(llama(tiny_lm("gpt2").tokenizer)).shared > 10**8
    assert context_length(FalconH1Config(max_position_embeddings=128)) == 128


# The kept checks


def test_a_model_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    folder = save_tiny(tmp_path / "model", "llama")
    first = load_lm(str(folder), device="cpu")
    counted: list[int] = []
    monkeypatch.setattr(checks, "_check_embeddings", lambda *given: counted.append(1))
    again = load_lm(str(folder), device="cpu")
    assert not counted and again.shares_prefixes and (again.last_layer is None) == (first.last_layer is None)
    assert again.cache_bytes_per_token == first.cache_bytes_per_token > 0
    with torch.no_grad():
        first.model.get_input_embeddings().weight[5] += 1.0
    first.model.save_pretrained(folder)
    load_lm(str(folder), device="cpu")
    assert counted, "other weights are checked again"


@pytest.mark.parametrize("damage", ["not JSON", "no folder"])
def test_a_cache_that_cannot_be_used_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    folder = save_tiny(tmp_path / "model")
    if damage == "no folder":
        (tmp_path / "cache").write_text("a file", encoding="utf-8")
    else:
        load_lm(str(folder), device="cpu")
        for file in (cache_folder() / "checks").iterdir():
            file.write_text("{", encoding="utf-8")
    assert load_lm(str(folder), device="cpu").shares_prefixes
