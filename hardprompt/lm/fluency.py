"""How expected a prompt is to a language model: surprisal per token, and its differentiable form for gradient search.

Convention: the beginning-of-sequence token is fed, not scored, and all L tokens count. For a model without one the first
token has no prediction: it is fed, L - 1 tokens count, and a prompt of one token has no value (NaN).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.lm.frozen import FrozenLM


@torch.no_grad()
def surprisals(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """-log p(x_t | bos, x_<t) of each token of each prompt, in nats; one tensor (L,) per prompt.

    Without a beginning-of-sequence token the first entry is NaN.
    """
    start = [] if lm.bos_id is None else [lm.bos_id]
    rows = [torch.tensor([*start, *ids], device=lm.device) for ids in prompts]
    filled = [i for i, ids in enumerate(prompts) if len(ids)]
    out = [torch.full((len(ids),), torch.nan, device=lm.device) for ids in prompts]
    if not filled:
        return out
    batch = pad_sequence([rows[i] for i in filled], batch_first=True)
    log_probs = lm.head(lm.hidden(lm.embed(batch))[:, :-1]).float().log_softmax(-1)
    nll = -log_probs.gather(-1, batch[:, 1:, None]).squeeze(-1)  # (B, T - 1)
    for row, i in enumerate(filled):
        length = len(prompts[i])
        scored = length if start else length - 1
        out[i][length - scored :] = nll[row, :scored]
    return out


def log_perplexity(lm: FrozenLM, ids: Sequence[int]) -> float:
    """Mean negative log-likelihood of a prompt, in nats per token: -1/L sum_t log p(x_t | bos, x_<t).

    Perplexity is exp of this. Over several prompts, weight by tokens, not by prompts. NaN for a prompt without a scored token.

    Example:
        >>> lm = load_lm("microworld")
        >>> log_perplexity(lm, lm.encode("give the plural")) < log_perplexity(lm, lm.encode("plural the give"))
        True
    """
    return float(surprisals(lm, [ids])[0].nanmean())


def projected_nll(lm: FrozenLM, embeds: Tensor, ids: Tensor, two_sided: bool = True) -> Tensor:
    """Mean NLL of the projected prompt in nats per token, differentiable in its embeddings.

    The value is that of `log_perplexity`. One-sided, as published for PEZ: the targets are hard ids, so the gradient says how
    token i helps to predict token i + 1, and nothing of how likely token i is itself. Two-sided: the target's logit is also a
    function of its own embedding. With logits E h, d(-log p(v | prefix)) / d(embedding of v) = -h; an untied output layer W is
    replaced in the gradient by its best linear image E A of the input embeddings (`FrozenLM.output_map`).

    Args:
        lm: the model that reads.
        embeds: (L, d), the vocabulary rows of `ids`, with gradient.
        ids: (L,), the projected tokens.
        two_sided: whether the gradient also flows through the targets.

    Returns:
        A scalar; NaN where no token is scored.
    """
    fed = embeds.to(lm.vocab_embeds.dtype)
    start = fed[:0] if lm.bos_id is None else lm.vocab_embeds[lm.bos_id][None]
    first = 0 if lm.bos_id is not None else 1
    hidden = lm.hidden(torch.cat([start, fed])[None])[0, :-1]  # (L - first, d)
    targets = ids[first:]
    nll = torch.nn.functional.cross_entropy(lm.head(hidden).float(), targets)
    if not two_sided:
        return nll
    output = embeds[first:].float()
    if lm.output_map is not None:
        output = output @ lm.output_map
    own_logit = (output * hidden.detach().float()).sum(-1).mean()
    return nll - (own_logit - own_logit.detach())
