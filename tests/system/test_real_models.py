"""Small real models, stored next to the project, read English; the tests are skipped where the models are absent."""

from pathlib import Path

import pytest
import torch

from hardprompt.data.catalogue import load_task
from hardprompt.lm import FrozenLM, load_lm, log_perplexity
from hardprompt.metrics import scrutability
from hardprompt.study.evaluation import evaluate

TEXT = "once upon a time there was a little girl who wanted to play with her friend in the park"


@pytest.fixture(scope="module", params=["stories260k", "english-mini", "english-mini-reader"])
def real_lm(request: pytest.FixtureRequest, shared: Path) -> FrozenLM:
    return load_lm(str(shared / "models" / request.param), device="cpu")


def test_english_reads_better_than_its_words_shuffled(real_lm: FrozenLM) -> None:
    words = TEXT.split()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()
    plain, shuffled = real_lm.encode(TEXT), real_lm.encode(" ".join(words[i] for i in order))
    assert log_perplexity(real_lm, plain) + 0.5 < log_perplexity(real_lm, shuffled)


def test_each_reader_scores_the_text_with_its_own_tokenizer(microworld: FrozenLM, shared: Path) -> None:
    """Two real readers with different vocabularies: to both, English reads better than the same words in another order."""
    words = TEXT.split()
    mixed_text = " ".join(words[1::2] + words[::2])
    readers = [load_lm(str(shared / "models" / name), device="cpu") for name in ("english-mini-reader", "stories260k")]
    plain, mixed = (evaluate(text, load_task("category"), microworld, readers=readers) for text in (TEXT, mixed_text))
    for reader in readers:
        ids = reader.encode(TEXT)
        by_hand = scrutability(reader, ids, TEXT)
        expected = {name: by_hand[name] for name in ("log_perplexity", "nats_per_character", "max_surprisal")}
        gap = by_hand["nats_per_character"] - plain["scrutability"]["nats_per_character"]
        assert plain["readers"][reader.name] == expected | {"tokens": len(ids), "gap_nats_per_character": gap}
        assert plain["readers"][reader.name]["log_perplexity"] + 0.5 < mixed["readers"][reader.name]["log_perplexity"]
    assert len({reading["tokens"] for reading in plain["readers"].values()}) == 2
