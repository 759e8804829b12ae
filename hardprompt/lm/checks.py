"""Comparison of a model with its plain forward pass, made when it is loaded for the first time, on a few short sequences.

The plain pass of a sequence of token ids is the standard. The embeddings of the tokens, padded sequences in a batch, shared
prefixes and the last layer at some positions only must give the same numbers. A faster way that does not is not used. A model
whose embeddings do not is refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hardprompt.errors import HardpromptError, LMError
from hardprompt.lm.last_layer import LastLayer
from hardprompt.lm.memory import out_of_memory
from hardprompt.lm.output_layer import same
from hardprompt.lm.verdicts import keep_verdict, model_digest, read_verdict

LENGTH = 9
"""Tokens of the longer of the two sequences; the shorter one has three fewer."""


@torch.no_grad()
def check(lm: Any) -> None:
    """Compare a model with its plain forward pass, and set what it supports.

    This sets the bias, scale and cap of `lm.output_layer`, and `lm.rules`, `lm.embedding_scale`, `lm.shares_prefixes`,
    `lm.cache_bytes_per_token` and `lm.last_layer`.

    Args:
        lm: a `FrozenLM`, which calls this while it is constructed.

    Raises:
        LMError: the logits are not finite, or are no function of the features that is supported; the embeddings of tokens give
            other numbers than the tokens; or a causal model reads later tokens.
    """
    digest = model_digest(lm)
    if verdict := read_verdict(digest):
        _set(lm, **verdict)
        return
    ids = _ordinary_ids(lm)
    with _explained(lm, "fails to read a text"):
        long, logits = lm.output_layer.plain(lambda: lm.plain(ids[:1]))
    if not logits.isfinite().all():
        raise LMError(f"the logits of {lm.name} are not finite: its weights are damaged")
    lm.output_layer.fit(long, logits)
    with _explained(lm, "needs more than the embeddings of a text, such as its token ids, which a soft prompt does not have"):
        _check_embeddings(lm, ids, long)
    if lm.kind == "causal" and lm.rules.batches:
        _check_prefixes(lm, ids[:, : lm.rules.shared])
    keep_verdict(digest, _verdict(lm))


def _verdict(lm: Any) -> dict[str, Any]:
    """The result of the checks."""
    output, rules = lm.output_layer, lm.rules
    return {
        "output": {"further_bias": output.further_bias, "scale": output.scale, "cap": output.cap},
        "rules": {"padding": rules.padding, "batches": rules.batches},
        "embedding_scale": lm.embedding_scale,
        "shares_prefixes": lm.shares_prefixes,
        "cache_bytes_per_token": lm.cache_bytes_per_token,
        "last_layer": lm.last_layer is not None,
    }


def _set(lm: Any, output: dict[str, Any], rules: dict[str, bool], last_layer: bool, **values: Any) -> None:
    """Set a result of earlier checks."""
    lm.output_layer.set(**output)
    vars(lm.rules).update(rules)
    vars(lm).update(values)
    lm.last_layer = LastLayer(lm.model) if last_layer else None


@contextmanager
def _explained(lm: Any, problem: str) -> Iterator[None]:
    """Turn every error of a forward pass, which may be anything, into a line that says what is wrong with the model."""
    try:
        yield
    except HardpromptError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise LMError(f"{lm.name} ({type(lm.model).__name__}) {problem} ({reason}); use another model") from error


def _ordinary_ids(lm: Any) -> Tensor:
    """Two sequences (2, T) of tokens from all over the vocabulary, without special ones and without unused ids."""
    special = {*lm.tokenizer.all_special_ids, getattr(lm.model.config, "pad_token_id", None)}
    ids = [i for i in lm.token_ids if i not in special] or lm.token_ids
    length = min(LENGTH, lm.max_length)
    chosen = [ids[n * len(ids) // (2 * length)] for n in range(2 * length)]
    return torch.tensor(chosen, device=lm.device).view(2, length)


def _check_embeddings(lm: Any, ids: Tensor, long: Tensor) -> None:
    """Find the scale of the embeddings, and which sequences can be in one batch."""
    lm.hidden(1.25 * lm.embed(ids[:1]))  # vectors of no token, which a model that searches for their tokens refuses
    lengths = [ids.shape[1], max(1, ids.shape[1] - 3)]
    short = _plain(lm, ids[1:, : lengths[1]])

    def agrees(rows: Tensor, lengths: list[int], expected: list[Tensor]) -> bool:
        found = lm.hidden(lm.embed(rows), lengths=lengths)
        return all(same(row[:length], wanted[0]) for row, length, wanted in zip(found, lengths, expected, strict=True))

    if agrees(ids, lengths, [long, short]):
        return
    if not agrees(ids[:1], lengths[:1], [long]):
        lm.embedding_scale = lm.model.get_input_embeddings().weight.shape[1] ** 0.5
        if not agrees(ids[:1], lengths[:1], [long]):
            raise LMError(
                f"{lm.name} ({type(lm.model).__name__}) gives other logits for the embeddings of tokens than for the tokens "
                "themselves, because it also reads the ids or draws random numbers; soft prompts are not defined for it"
            )
        if agrees(ids, lengths, [long, short]):
            return
    if lm.kind == "causal" and not same(_plain(lm, ids[:1, : lengths[1]]), long[:, : lengths[1]]):
        raise LMError(
            f"{lm.name} ({type(lm.model).__name__}) is loaded as a causal model, but its logits depend on later tokens; "
            "use a causal model or a masked one"
        )
    lm.rules.padding = False
    pair = ids.flip(0)[:, : lengths[1]]
    if not agrees(pair, [lengths[1]] * 2, [short, _plain(lm, pair[1:])]):
        lm.rules.batches = False


def _plain(lm: Any, ids: Tensor) -> Tensor:
    return lm.output_layer.plain(lambda: lm.plain(ids))[0]


def _check_prefixes(lm: Any, ids: Tensor) -> None:
    """Whether two prefixes, shortened and reordered, are continued with the features of the whole pass.

    The last layer is computed at some positions only, with and without a prefix.
    """
    length = ids.shape[1]
    if length < 5:
        return
    embeds = lm.embed(ids)
    whole = lm.hidden(embeds)
    tails = torch.stack([embeds[1, 2:], embeds[1, 1:-1], embeds[0, 2:]])
    expected = torch.stack([whole[1, 2:], whole[1, 1:-1], whole[0, 2:]])
    some = torch.tensor([[2, -1], [0, 2], [1, -1]], device=lm.device)

    def continues() -> bool:
        prefix = lm.prefill(embeds[:, :3])
        lm.cache_bytes_per_token = prefix.bytes_per_token
        return same(lm.hidden(tails, prefix.take([1, 1, 0], [2, 1, 2])), expected)

    def shortens() -> bool:
        prefix, lm.last_layer = lm.prefill(embeds[:, :3]), LastLayer(lm.model)
        return (
            _same_at(lm.hidden(tails, prefix.take([1, 1, 0], [2, 1, 2]), positions=some), expected, some)
            and _same_at(lm.hidden(embeds[:, 3:], prefix, positions=some[:2]), whole[:, 3:], some[:2])
            and _same_at(lm.hidden(embeds, positions=some[:2]), whole, some[:2])
        )

    lm.shares_prefixes = _succeeds(continues)
    if not (lm.shares_prefixes and _succeeds(shortens)):
        lm.last_layer = None


def _succeeds(comparison: Callable[[], bool]) -> bool:
    """Whether a comparison holds. A model that lacks what it needs, such as a cache of keys and values, may raise anything."""
    try:
        return comparison()
    except Exception as error:
        if out_of_memory(error):
            raise
        return False


def _same_at(found: Tensor, expected: Tensor, positions: Tensor) -> bool:
    """Whether features (B, T, d) are the same at positions (B, R), where -1 is none."""
    row, column = (positions >= 0).nonzero(as_tuple=True)
    at = positions[row, column]
    return same(found[row, at], expected[row, at])
