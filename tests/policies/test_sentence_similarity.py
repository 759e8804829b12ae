"""The content that a rewrite keeps, by the sentence encoder; skipped before `hardprompt download minilm`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hardprompt.errors import LMError
from hardprompt.lm.packaged import ENCODERS
from hardprompt.policies.sentence_similarity import EncoderContent
from hardprompt.policies.style import chrf

MINILM = ENCODERS["minilm"]
needs_minilm = pytest.mark.skipif(not MINILM.origin, reason=MINILM.missing)


@pytest.fixture(scope="module")
def content() -> EncoderContent:
    return EncoderContent("minilm")


@needs_minilm
def test_embeddings_are_means_of_states(content: EncoderContent) -> None:
    """One text at a time, so that nothing is padded."""
    texts = ["the food was great", "could you please tell me where he is?", "x"]
    tokenizer, model = AutoTokenizer.from_pretrained(MINILM.folder), AutoModel.from_pretrained(MINILM.folder)
    with torch.no_grad():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    expected = torch.stack([mean / mean.norm() for mean in means])
    assert torch.allclose(content.embed(texts), expected, atol=1e-5)
    similar = content(texts, texts[::-1])
    assert similar == pytest.approx([float(expected[0] @ expected[2].clamp(min=-2)), 1.0, similar[0]], abs=1e-5)


@needs_minilm
def test_synonyms_keep_the_content(content: EncoderContent) -> None:
    source = ["the food was great"] * 3
    outputs = ["the meal was excellent", "the weather is cold", ""]
    same, other, empty = content(outputs, source)
    assert same > 0.7 > 0.3 > max(other, empty)
    assert np.diff(chrf(outputs, source))[0] > 0  # by letters, the weather is closer to the food than the meal
    assert content([], []).shape == (0,)


def test_an_encoder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LMError, match=r"^no folder nowhere of a sentence encoder; give an existing folder, or one of: minilm$"):
        EncoderContent("nowhere")
    with pytest.raises(LMError, match=r"^no sentence encoder in "):
        EncoderContent(str(tmp_path))
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path))
    shutil.rmtree(tmp_path / "models", ignore_errors=True)
    with pytest.raises(LMError, match=r"^minilm is not downloaded; run: hardprompt download minilm$"):
        EncoderContent("minilm")
