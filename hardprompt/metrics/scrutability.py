"""Can a person read the prompt? First measures of a hard prompt's text.

Perplexity under the model that was optimized against is the field's measure and an imperfect one (Patel et al. 2025): it is
gamed by repetition and by the model's own quirks. So the share of whole words and the repetition stand beside it.
"""

from collections.abc import Sequence
from typing import Any

import torch

from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import surprisals


def scrutability(lm: FrozenLM, ids: Sequence[int], text: str) -> dict[str, Any]:
    """All measures of one hard prompt by name; None where a measure has no value (an empty prompt).

    Returns:
        `log_perplexity` (nats per token, `hardprompt.lm.log_perplexity`), `nats_per_character` (total surprisal over the
        characters of the text), `max_surprisal` (nats, of the least expected token) and `max_surprisal_position` (where it is,
        from 1, the first of equal ones), `repetition`, `distinct_tokens`, `whole_word_share`.
    """
    surprisal = surprisals(lm, [ids])[0]
    scored = surprisal[~surprisal.isnan()]
    return {
        "log_perplexity": float(scored.mean()) if len(scored) else None,
        "nats_per_character": float(scored.sum()) / len(text) if len(scored) and text else None,
        "max_surprisal": float(scored.max()) if len(scored) else None,
        "max_surprisal_position": int(surprisal.nan_to_num(-torch.inf).argmax()) + 1 if len(scored) else None,
        "repetition": repetition(ids),
        "distinct_tokens": len(set(ids)) or None,
        "whole_word_share": whole_word_share([lm.decode([*_context(lm), i]) for i in ids], lm.decode(_context(lm))),
    }


def repetition(ids: Sequence[int]) -> float | None:
    """Share of tokens that occurred earlier in the prompt: 1 - distinct / L. None for an empty prompt.

    >>> repetition([7, 7, 7, 3])
    0.5
    """
    return 1 - len(set(ids)) / len(ids) if len(ids) else None


def whole_word_share(in_context: Sequence[str], context: str) -> float | None:
    """Share of tokens that are complete words: they begin with a blank, hold letters only, and the next begins a new word.

    Args:
        in_context: each token decoded after the context, so that a tokenizer which drops leading blanks keeps them.
        context: that context alone.

    Returns:
        A fraction, or None for an empty prompt.

    >>> whole_word_share(["a film", "as", "a good"], "a")
    0.3333333333333333
    """
    if not in_context:
        return None
    tokens = [text[len(context) :] for text in in_context]
    starts = [not token or not token[0].isalpha() for token in tokens]
    whole = [
        token.startswith(" ") and token[1:].isalpha() and (i + 1 == len(tokens) or starts[i + 1])
        for i, token in enumerate(tokens)
    ]
    return sum(whole) / len(whole)


def _context(lm: FrozenLM) -> list[int]:
    return lm.encode("a")
