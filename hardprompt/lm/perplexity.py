"""Perplexity of a prompt under a language model: surprisal per token, and its differentiable form for gradient-based search.

The beginning-of-sequence token is fed but not scored, and all L tokens of a prompt count. A model without such a token does not
predict the first token of the prompt: L - 1 tokens count, and a prompt of one token has no value (NaN).

A masked model has no p(x_t | x_<t). Its surprisal is that of the pseudo-log-likelihood (Salazar et al. 2020, Masked Language
Model Scoring, ACL): -log p(x_t | all other tokens), with each token masked in turn between [CLS] and [SEP], so that all L
tokens count. It sees both sides of a token, so the values of masked and causal models are not comparable.

An encoder-decoder model assigns no probability to the text that its encoder reads, so a prompt has no value under it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.masked import masked_nll, masked_states


@torch.no_grad()
def surprisals(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Surprisal of each token of each prompt, in nats: -log p(x_t | bos, x_<t), or -log p(x_t | x_<t, x_>t) for a masked one.

    Args:
        lm: the model.
        prompts: token ids of the prompts.

    Returns:
        One tensor (L,) per prompt. Its first entry is NaN for a causal model without a beginning-of-sequence token. All entries
        are NaN for an encoder-decoder model.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> [len(nats) for nats in surprisals(lm, [lm.encode("give the plural"), []])]
        [3, 0]
    """
    found = [torch.full((len(ids),), torch.nan, device=lm.device) for ids in prompts]
    not_empty = [i for i, ids in enumerate(prompts) if len(ids)]
    if not_empty and lm.kind != "encoder-decoder":
        scored = (masked_nll if lm.masked else _causal_nll)(lm, [prompts[i] for i in not_empty])
        for i, nll in zip(not_empty, scored, strict=True):
            found[i][len(found[i]) - len(nll) :] = nll
    return found


def _causal_nll(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    rows = [torch.tensor([*lm.prefix_ids, *ids], device=lm.device) for ids in prompts]
    widest = max(len(row) for row in rows)
    at_once = lm.memory.rows(lm.footprint.of_pass(widest, reads=widest))
    unscored = max(0, len(lm.prefix_ids) - 1)
    nll: list[Tensor] = []
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        batch = pad_sequence(some, batch_first=True)
        padded = next_token_nll(lm, lm.hidden(lm.embed(batch), lengths=[len(row) for row in some]), batch)
        nll += [row[unscored : len(ids) - 1] for row, ids in zip(padded, some, strict=True)]
    return nll


def next_token_nll(lm: FrozenLM, states: Tensor, ids: Tensor) -> Tensor:
    """-log p(x_t | x_<t) of all tokens except the first, in nats, (P, T - 1).

    Args:
        lm: a causal model.
        states: hidden states (P, T, d) of the sequences.
        ids: token ids (P, T) of the sequences.
    """
    log_probs = lm.output_logits(states[:, :-1]).float().log_softmax(-1)
    return -log_probs.gather(-1, ids[:, 1:, None]).squeeze(-1)


def log_perplexity(lm: FrozenLM, ids: Sequence[int]) -> float:
    """Mean negative log-likelihood of a prompt, in nats per token: -1/L sum_t log p(x_t | bos, x_<t).

    For a masked model the log-likelihood is the pseudo-log-likelihood: -1/L sum_t log p(x_t | x_<t, x_>t). Perplexity is exp of
    this value. A mean over several prompts is weighted by tokens, not by prompts.

    Args:
        lm: the model.
        ids: token ids of the prompt.

    Returns:
        Nats per token; NaN for a prompt without a scored token.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> log_perplexity(lm, lm.encode("give the plural")) < log_perplexity(lm, lm.encode("plural the give"))
        True
    """
    return float(surprisals(lm, [ids])[0].nanmean())


def projected_nll(lm: FrozenLM, embeds: Tensor, ids: Tensor, two_sided: bool = True) -> Tensor:
    """Mean NLL of the projected prompt in nats per token, differentiable in its embeddings.

    The value is that of `log_perplexity`; the two options differ in the gradient. One-sided, as published for PEZ (Wen et al.
    2023), the targets are token ids: the gradient shows how token i helps to predict token i + 1 (under a masked model, all
    other tokens), but not how likely token i is itself. Two-sided, the logit of a target is also a function of its own
    embedding. With logits E f + b, where f are the features of a state,

        d(-log p(v | context)) / d(embedding of v) = -f.

    A model that scales or caps its logits (`OutputLayer`) has the derivative of this function as a factor. For an untied output
    layer W, the gradient uses the best linear image E A of the input embeddings (`FrozenLM.output_map`).

    Args:
        lm: the model.
        embeds: rows of the vocabulary (L, d) for `ids`, with gradient.
        ids: the projected tokens, (L,).
        two_sided: whether the gradient also flows through the targets.

    Returns:
        A scalar in nats per token; NaN if no token is scored.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> ids = torch.tensor(lm.encode("give the plural"))
        >>> nll = projected_nll(lm, lm.embed(ids).requires_grad_(), ids)
        >>> abs(nll.item() - log_perplexity(lm, ids.tolist())) < 1e-4
        True
    """
    hidden = _prompt_states(lm, embeds.to(lm.vocab_embeds.dtype))
    first = len(ids) - len(hidden)
    targets = ids[first:]
    nll = torch.nn.functional.cross_entropy(lm.output_logits(hidden).float(), targets)
    if not two_sided:
        return nll
    output = embeds[first:].float()
    if lm.output_map is not None:
        output = output @ lm.output_map
    products = (output * hidden.detach().float()).sum(-1)
    target_logit = lm.output_layer.transformed(products).mean()
    return nll - (target_logit - target_logit.detach())


def expected_nll(
    lm: FrozenLM, embeds: Float[Tensor, "L d"], probabilities: Float[Tensor, "L A"], allowed: Int[Tensor, "A"]
) -> Float[Tensor, ""]:
    """Mean NLL of soft tokens in nats per token, differentiable in the embeddings and in the probabilities.

    A soft token is a distribution pi_t over tokens, read as its expected embedding (Guo et al. 2021, Gradient-based
    Adversarial Attacks against Text Transformers, EMNLP):

        -1/L sum_t sum_v pi_t(v) log p(v | soft tokens before t)

    Under a masked model, the soft tokens on both sides are read. For one-hot distributions it is `log_perplexity`.

    Args:
        lm: the model.
        embeds: the expected embeddings, (L, d).
        probabilities: the distributions, (L, A).
        allowed: ids of the A tokens, (A,).

    Returns:
        A scalar in nats per token; NaN if no token is scored.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> ids = torch.tensor(lm.encode("give the plural"))
        >>> nll = expected_nll(lm, lm.embed(ids), torch.eye(3), ids)
        >>> abs(nll.item() - log_perplexity(lm, ids.tolist())) < 1e-4
        True
    """
    states = _prompt_states(lm, embeds.to(lm.vocab_embeds.dtype))
    log_probs = lm.output_logits(states).float().log_softmax(-1)[:, allowed]
    return -(probabilities[len(embeds) - len(states) :] * log_probs).sum(-1).mean()


def scored_tokens(lm: FrozenLM, length: int) -> int:
    """The number of tokens that the NLL of a prompt of this many tokens sums.

    Example:
        >>> from hardprompt import load_lm
        >>> scored_tokens(load_lm("microworld"), 3)
        3
    """
    if lm.kind == "encoder-decoder" or not length:
        return 0
    return length if lm.masked or lm.prefix_ids else length - 1


def has_nll(lm: FrozenLM, length: int) -> bool:
    """Whether a prompt of this many tokens has an NLL.

    An encoder-decoder model assigns no probability to a prompt, and nothing predicts the first token without a start token.

    Example:
        >>> from hardprompt import load_lm
        >>> has_nll(load_lm("microworld"), 1)
        True
    """
    return scored_tokens(lm, length) > 0


def nll_tokens(lm: FrozenLM, length: int) -> int:
    """Logical LM tokens for the NLL of a prompt of L tokens: L, or L^2 for a masked model, which reads the prompt L times."""
    return {"causal": length, "masked": length**2, "encoder-decoder": 0}[lm.kind]


def _prompt_states(lm: FrozenLM, embeds: Tensor) -> Tensor:
    """The states that predict the tokens of a prompt (L, d): all L, or L - 1 without a beginning-of-sequence token."""
    if lm.masked:
        return masked_states(lm, embeds)
    return lm.hidden(torch.cat([lm.vocab_embeds[lm.prefix_ids], embeds])[None])[0, max(0, len(lm.prefix_ids) - 1) : -1]
