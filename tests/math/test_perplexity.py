"""Log-perplexity of a uniform model and without a start (against Hugging Face's: test_contract.py), and the two gradients."""

import math

import pytest
import torch

from hardprompt.lm import log_perplexity, projected_nll, surprisals
from tests.helpers.tiny import MASKED, tiny_lm


def test_the_perplexity_of_a_uniform_model_is_its_vocabulary_size() -> None:
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


@pytest.mark.parametrize("family", ["gpt2", *MASKED])
@pytest.mark.parametrize("two_sided", [False, True])
def test_the_two_sided_gradient_is_that_of_the_relaxed_prompt(family: str, two_sided: bool) -> None:
    """Against finite differences of the NLL with each token a mixture of vocabulary rows.

    For a tied head a mixture e = w E has logit e . f + w . b, so the two-sided gradient is that of -sum(w . log p) without the
    bias, which is no function of e; the one-sided one holds the targets at their ids.
    """
    lm = tiny_lm(family)
    ids = torch.tensor([40, 41, 50])
    embeds = lm.vocab_embeds[ids].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(projected_nll(lm, embeds, ids, two_sided), embeds)

    def states(moved: torch.Tensor) -> torch.Tensor:
        opening, closing = lm.vocab_embeds[lm.prefix_ids], lm.vocab_embeds[lm.suffix_ids]
        if not lm.masked:
            return lm.hidden(torch.cat([opening, moved])[None])[0, :-1]
        mask = lm.vocab_embeds[lm.mask_id][None]
        rows = [torch.cat([opening, moved[:t], mask, moved[t + 1 :], closing]) for t in range(len(moved))]
        return torch.stack([lm.hidden(row[None])[0, 1 + t] for t, row in enumerate(rows)])

    def relaxed(moved: torch.Tensor) -> float:
        with torch.no_grad():
            hidden = states(moved)
            logits = lm.output_logits(hidden)
            own = (hidden * moved).sum(-1) if two_sided else logits.gather(1, ids[:, None])[:, 0]
            return float((logits.logsumexp(-1) - own).mean())

    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(embeds.shape, generator=generator)
        step = 1e-3 * direction
        slope = (relaxed(embeds.detach() + step) - relaxed(embeds.detach() - step)) / 2e-3
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-2, abs=2e-2)


@pytest.mark.parametrize(("family", "length"), [("gpt2", 3), ("roberta", 1), ("bert", 1)])
def test_the_one_sided_gradient_of_a_token_that_predicts_nothing_is_zero(family: str, length: int) -> None:
    """The published gradient is zero at the last token of a causal model and at the only token of a masked model."""
    lm = tiny_lm(family)
    ids = torch.tensor([40, 41, 50])[:length]
    embeds = lm.vocab_embeds[ids].clone().requires_grad_()
    one, two = (torch.autograd.grad(projected_nll(lm, embeds, ids, sides), embeds)[0] for sides in (False, True))
    assert one[-1].abs().max() == 0
    assert two[-1].abs().max() > 0
