"""Properties of the projection."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt import projection
from hardprompt.errors import UnknownName
from hardprompt.projection import SIMILARITY_MEASURES, nearest, nearest_entries, similarity


def _random(seed: int, length: int, size: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(length, width, generator=generator), torch.randn(size, width, generator=generator)


@given(seed=st.integers(0, 10_000), length=st.integers(1, 6), size=st.integers(1, 40), width=st.integers(1, 8))
def test_nearest_agrees_with_an_exhaustive_search(seed: int, length: int, size: int, width: int) -> None:
    embeds, vocab = _random(seed, length, size, width)
    for measure in SIMILARITY_MEASURES:
        values = similarity(embeds, vocab, measure)
        found = nearest(embeds, vocab, measure)
        assert torch.equal(values.gather(1, found[:, None])[:, 0], values.amax(1))


@given(seed=st.integers(0, 10_000), size=st.integers(2, 40))
def test_a_vocabulary_row_projects_to_itself(seed: int, size: int) -> None:
    _, vocab = _random(seed, 1, size, 8)
    for measure in ("cosine", "euclidean"):
        assert torch.equal(vocab[nearest(vocab, vocab, measure)], vocab)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_cosine_ignores_length(seed: int, scale: float) -> None:
    embeds, vocab = _random(seed, 3, 20, 8)
    assert torch.equal(nearest(embeds * scale, vocab), nearest(embeds, vocab))


def test_the_similarity_measures_choose_different_tokens() -> None:
    """For the vector (1, 0) the candidates are one in the same direction but far, one near it, and a long one."""
    vocab = torch.tensor([[0.1, 0.0], [1.0, 0.5], [9.0, 9.0]])
    embeds = torch.tensor([[1.0, 0.0]])
    assert [nearest(embeds, vocab, measure).item() for measure in SIMILARITY_MEASURES] == [0, 1, 2]


def test_the_projection_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    embeds, vocab = _random(0, 5, 50, 4)
    vocab[40] = vocab[3]
    whole = nearest(vocab[[3, 7, 40]], vocab)
    monkeypatch.setattr(projection, "_CHUNK", 7)
    assert torch.equal(nearest(vocab[[3, 7, 40]], vocab), whole)
    assert whole.tolist() == [3, 7, 3], "the first of equal rows"
    assert nearest(embeds, vocab).shape == (5,)


@given(seed=st.integers(0, 10_000), length=st.integers(0, 4), size=st.integers(1, 30), count=st.integers(1, 6))
def test_nearest_entries_agree_with_a_plain_loop(seed: int, length: int, size: int, count: int) -> None:
    """The reference is a plain loop over all rows, some of which are equal. Chunks have seven rows."""
    embeds, vocab = _random(seed, length, size, 3)
    vocab[-1] = vocab[0]
    plain: dict[str, Callable[[torch.Tensor, torch.Tensor], float]] = {
        "cosine": lambda e, v: float(e @ v / (e.norm() * v.norm())),
        "euclidean": lambda e, v: float((e - v).square().sum().sqrt()),
        "dot": lambda e, v: float(e @ v),
    }
    for measure in SIMILARITY_MEASURES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(projection, "_CHUNK", 7)
            values, rows = nearest_entries(embeds, vocab, measure, count)
        assert rows.shape == (length, min(count, size))
        for vector, own_values, own_rows in zip(embeds, values.tolist(), rows.tolist(), strict=True):
            every = [plain[measure](vector, row) for row in vocab]
            expected = sorted(every, reverse=measure != "euclidean")[:count]
            assert own_values == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert [every[row] for row in own_rows] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            assert len(set(own_rows)) == len(own_rows)


def test_nearest_entries_of_a_row_begin_with_itself() -> None:
    """The distance is exactly zero, also if many vectors are compared at once, and the first of equal rows comes first."""
    _, vocab = _random(1, 1, 200, 16)
    vocab[150] = vocab[20]
    values, rows = nearest_entries(vocab, vocab, "euclidean", 2)
    assert values[:, 0].tolist() == [0.0] * 200
    assert rows[150].tolist() == rows[20].tolist() == [20, 150]
    assert torch.equal(
        nearest_entries(vocab, vocab.bfloat16(), "dot", 3)[1], nearest_entries(vocab, vocab.bfloat16().float(), "dot", 3)[1]
    )


def test_an_unknown_measure_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosine'"):
        nearest(torch.ones(1, 2), torch.ones(1, 2), "cosin")
