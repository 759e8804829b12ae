"""Models in the GGUF format give the numbers of the same weights in transformers; other files give one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, quants

from hardprompt import load_lm
from hardprompt.errors import LMError
from hardprompt.records.request import model_names, same_model
from tests.helpers import Ask
from tests.helpers.gguf_files import TEMPLATE, tiny_llama, write_gguf


@pytest.mark.parametrize(("quantization", "shown"), [("F32", "F32"), ("F16", "F16"), ("Q8_0", "Q8_0, dequantized")])
def test_logits_are_those_of_the_weights(tmp_path: Path, quantization: str, shown: str) -> None:
    model, kind = tiny_llama(), GGMLQuantizationType[quantization]
    for weight in model.parameters():
        if weight.ndim == 2:
            rounded = quants.dequantize(quants.quantize(weight.detach().numpy(), kind), kind)
            weight.data = torch.tensor(rounded)
    lm = load_lm(str(write_gguf(tmp_path / "tiny.gguf", model, quantization)), device="cpu")
    ids = torch.tensor([lm.encode("the 12 of them")])
    with torch.no_grad():
        difference = (lm.plain(ids).logits - model(ids).logits).abs().max()
    assert difference < 1e-4
    assert lm.name == "tiny.gguf" and lm.origin == {"file": "tiny.gguf", "quantization": shown}
    assert lm.model.dtype == torch.float32


def test_tokenizer_and_chat_template_are_those_of_the_file(tmp_path: Path) -> None:
    lm = load_lm(str(write_gguf(tmp_path / "tiny.gguf", tiny_llama())), device="cpu")
    assert [lm.decode([i]) for i in lm.encode("of the")] == ["o", "f", " the"]
    assert lm.tokenizer.chat_template == TEMPLATE
    assert lm.tokenizer.convert_ids_to_tokens(lm.prefix_ids) == ["<|endoftext|>"]


def test_numbers_are_split_as_the_file_says(tmp_path: Path) -> None:
    """Blanks before a number belong together only if the number is split off first."""
    lm = load_lm(str(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), tokenizer__ggml__pre="smollm")), device="cpu")
    words = lm.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [word for word, _ in words] == ["a", "ĠĠ", "1", "2"]


def test_a_file_of_the_same_name_in_the_current_folder_is_not_read(here: Path) -> None:
    (here / "models").mkdir()
    write_gguf(here / "tiny.gguf", tiny_llama(1))
    write_gguf(here / "models" / "tiny.gguf", tiny_llama(2))
    one, two = (load_lm(name, device="cpu") for name in ("tiny.gguf", "models/tiny.gguf"))
    assert not torch.equal(one.vocab_embeds, two.vocab_embeds)


def test_names_of_files_are_distinct(tmp_path: Path) -> None:
    one, two = (str(write_gguf(tmp_path / name, tiny_llama())) for name in ("a.gguf", "b.gguf"))
    assert list(model_names([one, two]).values()) == ["a.gguf", "b.gguf"]
    assert not same_model(one, two) and same_model(one, str(tmp_path / "." / "a.gguf"))


CUT = "the file is cut off"
DAMAGED = "is cut off or damaged; fetch it again"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"general__type": "mmproj"}, "is the projector of a vision model (mmproj); give the GGUF file of the language model"),
        ({"general__type": "adapter"}, "is of the type 'adapter' and not a model"),
        ({"split__count": 3}, "is one of the 3 parts of a model; merge them with `llama-gguf-split --merge`"),
    ],
)
def test_a_file_that_is_no_language_model(tmp_path: Path, metadata: dict[str, Any], expected: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), **metadata)
    with pytest.raises(LMError, match="^" + str(file)) as refused:
        load_lm(str(file), device="cpu")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("start", "end", "filler", "expected"),
    [
        (0, 0, b"", "is empty"),
        (0, 0, b"<!doctype html>", "is a web page (HTML)"),
        (0, 0, b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer; run `git lfs pull`"),
        (0, 0, b"something else", "is not in that format"),
        (0, 20, b"", DAMAGED),
        (0, 3000, b"", DAMAGED),
        (0, -1000, b"", CUT),
        (0, 16, b"\xff" * 8, DAMAGED),
        (0, 8, b"\xff" * 8, DAMAGED),
        (0, 24, b"\xff" * 8, DAMAGED),
    ],
)
def test_a_damaged_file(tmp_path: Path, start: int, end: int, filler: bytes, expected: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    whole = file.read_bytes()
    rest = whole[end + len(filler) :] if filler[:1] == b"\xff" else b""
    file.write_bytes(whole[start:end] + filler + rest)
    with pytest.raises(LMError) as refused:
        load_lm(str(file), device="cpu")
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_an_architecture_that_transformers_does_not_read(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    file.write_bytes(file.read_bytes().replace(b"llama", b"lamma"))
    with pytest.raises(LMError, match=r"the architecture 'lamma'\): transformers .* does not read it"):
        load_lm(str(file), device="cpu")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    monkeypatch.setattr("hardprompt.lm.gguf.find_spec", lambda name: None if name == "gguf" else name)
    with pytest.raises(LMError, match=r"is a GGUF file, which needs gguf; run: pip install gguf$"):
        load_lm(str(file), device="cpu")


def test_the_record_says_the_quantization(here: Path, ask: Ask, no_plot: None) -> None:
    file = write_gguf(here / "tiny.gguf", tiny_llama(), "Q8_0")
    arguments = ["--optimizers", "empty", "--weights", "0", "--seeds", "0", "--device", "cpu", "--out", "out"]
    status, _, errors = ask(["compare", "--lm", file.name, "--task", "plural", "--start", "bos", *arguments])
    assert (status, errors) == (0, "")
    written = (here / "out" / "study.yaml").read_text()
    assert "lm_source:\n  file: tiny.gguf\n  quantization: Q8_0, dequantized\nstart:\n- <|im_start|>\n" in written


def test_a_folder_with_a_gguf_file_names_it(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    with pytest.raises(LMError, match=rf"did you mean {file}\?$"):
        load_lm(str(tmp_path), device="cpu")
    with pytest.raises(LMError, match=r"^no file .*other\.gguf; give an existing GGUF file"):
        load_lm(str(tmp_path / "other.gguf"), device="cpu")
