"""Log-perplexity against Hugging Face's own loss, and the two gradients of the projected prompt."""

import math

import pytest
import torch

from hardprompt.lm import log_perplexity, projected_nll, surprisals
from tests.tiny import FAMILIES, tiny_lm


@pytest.mark.parametrize("family", FAMILIES)
def test_log_perplexity_is_the_models_own_loss(family: str) -> None:
    lm = tiny_lm(family)
    ids = lm.encode("the cat sat on a mat")
    fed = torch.tensor([[*([] if lm.bos_id is None else [lm.bos_id]), *ids]])
    with torch.no_grad():
        expected = lm.model(input_ids=fed, labels=fed).loss
    assert log_perplexity(lm, ids) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_changes_no_surprisal(family: str) -> None:
    lm = tiny_lm(family)
    prompts = [lm.encode(text) for text in ("the cat", "it was a lovely film", "", "no")]
    together = surprisals(lm, prompts)
    for ids, surprisal in zip(prompts, together, strict=True):
        torch.testing.assert_close(surprisal, surprisals(lm, [ids])[0], equal_nan=True, rtol=1e-4, atol=1e-5)
        assert surprisal.shape == (len(ids),)


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large() -> None:
    lm = tiny_lm("gpt2")
    original = lm.model.transformer.ln_f.weight.clone(), lm.model.transformer.ln_f.bias.clone()
    lm.model.transformer.ln_f.weight.zero_()
    lm.model.transformer.ln_f.bias.zero_()
    try:
        assert log_perplexity(lm, [5, 7, 300]) == pytest.approx(math.log(len(lm.tokenizer)), rel=1e-5)
    finally:
        lm.model.transformer.ln_f.weight.copy_(original[0])
        lm.model.transformer.ln_f.bias.copy_(original[1])


def test_without_a_start_token_the_first_token_is_not_scored() -> None:
    lm = tiny_lm("no-bos")
    assert surprisals(lm, [[5, 7, 9]])[0].isnan().tolist() == [True, False, False]
    assert math.isnan(log_perplexity(lm, [5]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("two_sided", [False, True])
def test_projected_nll_has_the_value_of_log_perplexity(family: str, two_sided: bool) -> None:
    lm = tiny_lm(family)
    ids = torch.tensor([40, 41, 50, 60])
    value = projected_nll(lm, lm.vocab_embeds[ids], ids, two_sided)
    assert float(value) == pytest.approx(log_perplexity(lm, ids.tolist()), rel=1e-4)


@pytest.mark.parametrize("two_sided", [False, True])
def test_the_gradient_is_that_of_the_relaxed_prompt(two_sided: bool) -> None:
    """Against finite differences of the NLL with each token a mixture of vocabulary rows.

    For a tied head a mixture e = w E has logit e . h, so the two-sided gradient is that of -sum(w . log p); the one-sided one
    holds the targets at their ids.
    """
    lm = tiny_lm("gpt2")
    ids = torch.tensor([40, 41, 50])
    embeds = lm.vocab_embeds[ids].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(projected_nll(lm, embeds, ids, two_sided), embeds)

    def relaxed(moved: torch.Tensor) -> float:
        with torch.no_grad():
            hidden = lm.hidden(torch.cat([lm.vocab_embeds[lm.bos_id][None], moved])[None])[0, :-1]
            logits = lm.head(hidden)
            own = (hidden * moved).sum(-1) if two_sided else logits.gather(1, ids[:, None])[:, 0]
            return float((logits.logsumexp(-1) - own).mean())

    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(embeds.shape, generator=generator)
        step = 1e-2 * direction
        slope = (relaxed(embeds.detach() + step) - relaxed(embeds.detach() - step)) / 2e-2
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-2, abs=2e-2)


def test_one_sided_says_nothing_of_the_last_token() -> None:
    """The last token helps to predict nothing, so the published gradient is zero there; the complete one is not."""
    lm = tiny_lm("gpt2")
    ids = torch.tensor([40, 41, 50])
    embeds = lm.vocab_embeds[ids].clone().requires_grad_()
    one, two = (torch.autograd.grad(projected_nll(lm, embeds, ids, sides), embeds)[0] for sides in (False, True))
    assert one[-1].abs().max() == 0
    assert two[-1].abs().max() > 0
