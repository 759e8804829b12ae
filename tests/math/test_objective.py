"""The objective: values computed by hand, and properties."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.objective import Objective, combine, gap_reward, label_correct, label_cross_entropy, label_margin, zscore


def test_cross_entropy_over_the_label_words_computed_by_hand() -> None:
    """The logits log 3 and log 1 give the probabilities 3/4 and 1/4."""
    logits = torch.tensor([[[math.log(3.0), 0.0], [math.log(3.0), 0.0]]])
    loss = label_cross_entropy(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, torch.tensor([[-math.log(0.75), -math.log(0.25)]]))


def test_gap_reward_computed_by_hand() -> None:
    """Gaps of +1/2 and -1/2 give the rewards 200 x 1/2 and 180 x -1/2, with mean 5."""
    logits = torch.tensor([[[math.log(3.0), 0.0], [math.log(3.0), 0.0]]])
    torch.testing.assert_close(gap_reward(logits, torch.tensor([0, 1])), torch.tensor([5.0]))


def test_a_tie_is_a_gap_of_zero_and_not_correct() -> None:
    logits = torch.zeros(1, 1, 3)
    assert gap_reward(logits, torch.tensor([1])).item() == 0.0
    assert not label_correct(logits, torch.tensor([1])).item()
    assert label_margin(logits, torch.tensor([1])).item() == 0.0


@given(seed=st.integers(0, 10_000), shift=st.floats(-20, 20), classes=st.integers(2, 5))
def test_a_constant_added_to_the_logits_changes_nothing(seed: int, shift: float, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, classes, generator=generator)
    labels = torch.randint(classes, (3,), generator=generator)
    for function in (label_cross_entropy, gap_reward):
        torch.testing.assert_close(function(logits + shift, labels), function(logits, labels), rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000))
def test_example_order_is_irrelevant(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(2, 7, 3, generator=generator), torch.randint(3, (7,), generator=generator)
    order = torch.randperm(7, generator=generator)
    torch.testing.assert_close(gap_reward(logits[:, order], labels[order]), gap_reward(logits, labels))


def test_zscore_uses_the_population_standard_deviation() -> None:
    torch.testing.assert_close(zscore(torch.tensor([1.0, 3.0])), torch.tensor([-1.0, 1.0]), rtol=1e-3, atol=1e-3)
    assert zscore(torch.tensor([2.0])).tolist() == [0.0]


def test_the_objective_adds_the_weighted_nll() -> None:
    parts = Objective(torch.tensor([1.0, 2.0]), torch.tensor([4.0, torch.nan]), torch.tensor([0.5, 0.5]), weight=0.25)
    assert parts.total.tolist() == [2.0, 2.0], "a prompt without a scored token has no fluency cost"
    assert combine(torch.tensor(1.0), torch.tensor(torch.nan), 0.0).item() == 1.0
