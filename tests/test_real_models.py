"""The small real models beside the project read English (their contract: tests/test_contract.py); skipped where absent."""

from pathlib import Path

import pytest
import torch

from hardprompt.lm import FrozenLM, load_lm, log_perplexity

TEXT = "once upon a time there was a little girl who wanted to play with her friend in the park"


@pytest.fixture(scope="module", params=["stories260k", "english-mini", "english-mini-reader"])
def real_lm(request: pytest.FixtureRequest, shared: Path) -> FrozenLM:
    return load_lm(str(shared / "models" / request.param), device="cpu")


def test_english_reads_better_than_its_words_shuffled(real_lm: FrozenLM) -> None:
    words = TEXT.split()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()
    plain, shuffled = real_lm.encode(TEXT), real_lm.encode(" ".join(words[i] for i in order))
    assert log_perplexity(real_lm, plain) + 0.5 < log_perplexity(real_lm, shuffled)
