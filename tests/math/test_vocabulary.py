"""The allowed vocabulary: its tokens survive the round trip."""

from pathlib import Path

import pytest

from hardprompt.errors import RequestError, UnknownName
from hardprompt.lm import allowed_vocabulary
from tests.helpers.tiny import tiny_lm


def test_the_vocabulary_all_has_every_token_except_special_ones() -> None:
    lm = tiny_lm("gpt2")
    assert len(allowed_vocabulary(lm, "all")) == len(lm.tokenizer) - 1
    assert lm.bos_id not in allowed_vocabulary(lm, "all").tolist()


def test_the_vocabulary_ascii_is_printable() -> None:
    lm = tiny_lm("gpt2")
    texts = [lm.decode([i]) for i in allowed_vocabulary(lm, "ascii").tolist()]
    assert texts and all(text.isascii() and text.isprintable() for text in texts)
    assert len(texts) < len(allowed_vocabulary(lm, "all"))


def test_a_vocabulary_from_a_file_of_words(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2")
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffgood\r\nfilm\r\n\r\n".encode())
    assert lm.decode(allowed_vocabulary(lm, str(file)).tolist()).split() in (["good", "film"], ["film", "good"])
    file.write_text("good\nwonderful\n")
    with pytest.raises(RequestError, match=r"words.txt:2: 'wonderful' is \d+ tokens"):
        allowed_vocabulary(lm, str(file))
    file.write_text("\n")
    with pytest.raises(RequestError, match="no token of tiny-gpt2"):
        allowed_vocabulary(lm, str(file))


def test_an_unknown_vocabulary_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'words'"):
        allowed_vocabulary(tiny_lm("gpt2"), "word")
