"""How expected a prompt is to a language model: surprisal per token, and its differentiable form for gradient search.

Convention: the beginning-of-sequence token is fed, not scored, and all L tokens count. For a model without one the first
token has no prediction: it is fed, L - 1 tokens count, and a prompt of one token has no value (NaN).

A masked model has no p(x_t | x_<t). Its surprisal is that of the pseudo-log-likelihood (Salazar et al. 2020, Masked Language
Model Scoring, ACL): -log p(x_t | all other tokens), each token masked in turn between [CLS] and [SEP], so all L count. It sees
both sides of a token: figures of masked and causal models do not compare.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.masked import masked_nll, masked_states


@torch.no_grad()
def surprisals(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """-log p(x_t | bos, x_<t), of a masked model -log p(x_t | x_<t, x_>t), of each token of each prompt, in nats.

    Returns:
        One tensor (L,) per prompt. Of a causal model without a beginning-of-sequence token the first entry is NaN.
    """
    out = [torch.full((len(ids),), torch.nan, device=lm.device) for ids in prompts]
    filled = [i for i, ids in enumerate(prompts) if len(ids)]
    if filled:
        read = (masked_nll if lm.masked else _causal_nll)(lm, [prompts[i] for i in filled])
        for i, nll in zip(filled, read, strict=True):
            out[i][len(out[i]) - len(nll) :] = nll
    return out


def _causal_nll(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    rows = [torch.tensor([*lm.opening, *ids], device=lm.device) for ids in prompts]
    widest = max(len(row) for row in rows)
    at_once = lm.memory.rows(lm.footprint.of_pass(widest, reads=widest))
    nll: list[Tensor] = []
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        batch = pad_sequence(some, batch_first=True)
        read = own_nll(lm, lm.hidden(lm.embed(batch)), batch)
        nll += [row[: len(ids) - 1] for row, ids in zip(read, some, strict=True)]
    return nll


def own_nll(lm: FrozenLM, states: Tensor, ids: Tensor) -> Tensor:
    """-log p(x_t | x_<t) of all tokens but the first, (P, T - 1), of sequences (P, T) with these hidden states (P, T, d)."""
    log_probs = lm.head(states[:, :-1]).float().log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)


def log_perplexity(lm: FrozenLM, ids: Sequence[int]) -> float:
    """Mean negative log-likelihood of a prompt, in nats per token: -1/L sum_t log p(x_t | bos, x_<t).

    Of a masked model it is the pseudo-log-likelihood's, -1/L sum_t log p(x_t | x_<t, x_>t). Perplexity is exp of this. Over
    several prompts, weight by tokens, not by prompts. NaN for a prompt without a scored token.

    Example:
        >>> lm = load_lm("microworld")
        >>> log_perplexity(lm, lm.encode("give the plural")) < log_perplexity(lm, lm.encode("plural the give"))
        True
    """
    return float(surprisals(lm, [ids])[0].nanmean())


def projected_nll(lm: FrozenLM, embeds: Tensor, ids: Tensor, two_sided: bool = True) -> Tensor:
    """Mean NLL of the projected prompt in nats per token, differentiable in its embeddings.

    The value is that of `log_perplexity`. One-sided, as published for PEZ: the targets are hard ids, so the gradient says how
    token i helps to predict token i + 1 (under a masked model, all others), and nothing of how likely token i is itself.
    Two-sided: the target's logit is also a function of its own embedding. With logits E f + b, where f are the `features` of
    the hidden state, d(-log p(v | context)) / d(embedding of v) = -f; an untied output layer W is replaced in the gradient by
    its best linear image E A of the input embeddings (`FrozenLM.output_map`).

    Args:
        lm: the model that reads.
        embeds: (L, d), the vocabulary rows of `ids`, with gradient.
        ids: (L,), the projected tokens.
        two_sided: whether the gradient also flows through the targets.

    Returns:
        A scalar; NaN where no token is scored.
    """
    fed = embeds.to(lm.vocab_embeds.dtype)
    hidden = (masked_states if lm.masked else _causal_states)(lm, fed)
    first = len(ids) - len(hidden)
    targets = ids[first:]
    nll = torch.nn.functional.cross_entropy(lm.head(hidden).float(), targets)
    if not two_sided:
        return nll
    output = embeds[first:].float()
    if lm.output_map is not None:
        output = output @ lm.output_map
    own_logit = (output * lm.features(hidden).detach().float()).sum(-1).mean()
    return nll - (own_logit - own_logit.detach())


def nll_tokens(lm: FrozenLM, length: int) -> int:
    """Logical tokens that are read for the NLL of a prompt of L tokens: L, or L^2 by a masked model, which reads it L times."""
    return length**2 if lm.masked else length


def _causal_states(lm: FrozenLM, embeds: Tensor) -> Tensor:
    """The states from which the tokens of a prompt (L, d) are predicted: all L, or all but the first without a start."""
    return lm.hidden(torch.cat([lm.vocab_embeds[lm.opening], embeds])[None])[0, :-1]
