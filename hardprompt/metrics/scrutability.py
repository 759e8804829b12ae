"""Can a person read the prompt? Metrics of the text of a prompt.

Perplexity under the optimized model is the standard measure of readability, and an imperfect one (Patel et al. 2025):
repetition and the model's own preferences lower it. Repetition and the share of whole words complement it.

The log-perplexity is that of the prompt as the beginning of a document. A prompt that continues its input well, such as
"Overall, the film is" behind a review, is more probable in its place (`log_perplexity_in_place`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import surprisals
from hardprompt.metrics.base import Better, Controls, Metric, metric
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer

IN_PLACE_EXAMPLES = 100
"""The log-perplexity in place is a mean over at most this many examples, evenly spread."""


def scrutability(lm: FrozenLM, ids: Sequence[int], text: str) -> dict[str, Any]:
    """The metrics of the text of a hard prompt alone by name; None where a metric has no value (the empty prompt).

    Args:
        lm: the model that reads the prompt.
        ids: token ids (L,).
        text: the text of these ids.

    Returns:
        `log_perplexity` (nats per token), `nats_per_character`, `max_surprisal` (nats), `max_surprisal_position` (from 1),
        `repetition` (fraction), `distinct_tokens`, `whole_word_share` (fraction).

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> scrutability(lm, lm.encode("give the plural"), "give the plural")["distinct_tokens"]
        3
    """
    return readability(surprisals(lm, [ids])[0], text) | {
        "repetition": repetition(ids),
        "distinct_tokens": len(set(ids)) or None,
        "whole_word_share": whole_word_share(*_decoded_in_context(lm, ids)),
    }


def readability(surprisal: Tensor, text: str) -> dict[str, Any]:
    """The metrics of a text that depend on the model that reads it; all None where no token has a surprisal.

    Args:
        surprisal: the surprisal of each token in nats, (L,), NaN without context.
        text: the text of the tokens.

    Returns:
        `log_perplexity` (mean, nats per token), `nats_per_character` (sum over the characters of the text),
        `max_surprisal` (nats) and `max_surprisal_position` (from 1, the first of equal ones).

    Example:
        >>> readability(torch.tensor([torch.nan, 1.0, 2.0]), "a film")["nats_per_character"]
        0.5
    """
    scored = surprisal[~surprisal.isnan()]
    if not len(scored):
        return dict.fromkeys(("log_perplexity", "nats_per_character", "max_surprisal", "max_surprisal_position"))
    return {
        "log_perplexity": float(scored.mean()),
        "nats_per_character": float(scored.sum()) / len(text) if text else None,
        "max_surprisal": float(scored.max()),
        "max_surprisal_position": int(surprisal.nan_to_num(-torch.inf).argmax()) + 1,
    }


def log_perplexity_in_place(scorer: Scorer, ids: Sequence[int]) -> float | None:
    """Log-perplexity of a hard prompt in its place in the filled template, in nats per token.

        1/N sum_n 1/L sum_t -log p(x_t | start, before_n, x_<t)

    Here `before_n` is all that stands before the prompt in the row of example n that is scored. For a masked model a term is
    -log p(x_t | all other tokens of the row), as in `Scorer.prompt_surprisals`. Under a causal model, the value is that of
    `log_perplexity` if nothing stands before the prompt.

    Args:
        scorer: the scorer of the examples; of more than `IN_PLACE_EXAMPLES` it takes that many, evenly spread.
        ids: token ids of the prompt, (L,).

    Returns:
        Nats per token, or None where no token is scored: for an empty prompt, under an encoder-decoder model, or for a single
        token with nothing before it.

    Raises:
        ContextExceeded: the prompt with an example is longer than the model's context.

    Example:
        >>> from hardprompt import Example, Scorer, Task, Template, load_lm
        >>> lm, examples = load_lm("microworld"), [Example("give the", "plural")]
        >>> task = Task(name="t", template=Template("{input} {prompt}"), train=examples, dev=examples, test=examples)
        >>> ids = lm.encode("plural")
        >>> log_perplexity_in_place(Scorer(lm, task, examples), ids) < scrutability(lm, ids, "plural")["log_perplexity"]
        True
    """
    total = len(scorer.examples)
    count = min(total, IN_PLACE_EXAMPLES)
    nats = scorer.prompt_surprisals(ids, [n * total // count for n in range(count)])
    value = float(nats.nanmean(-1).nanmean())
    return None if math.isnan(value) else value


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
        context: the decoded context alone.

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


def _decoded_in_context(lm: FrozenLM, ids: Sequence[int]) -> tuple[list[str], str]:
    context = lm.encode("a")
    return [lm.decode([*context, i]) for i in ids], lm.decode(context)


def _instruction(task: Task) -> str:
    return task.reference_prompts[0]


def _reversed_words(lm: FrozenLM, task: Task) -> tuple[str, str]:
    """An instruction with its words in reverse order, which surprises the model more, and the instruction."""
    return " ".join(reversed(_instruction(task).split())), _instruction(task)


def _repeated_word(lm: FrozenLM, task: Task) -> tuple[str, str]:
    """One word four times, and an instruction."""
    return " ".join([_instruction(task).split()[0]] * 4), _instruction(task)


def _distinct_words(lm: FrozenLM, task: Task) -> tuple[str, str]:
    return _repeated_word(lm, task)[::-1]


def _unlikely_word_last(lm: FrozenLM, task: Task) -> tuple[HardPrompt, HardPrompt]:
    """The same words with the least expected one at the end and at the beginning."""
    ids = lm.encode(_instruction(task))
    read = surprisals(lm, [[*ids, i] for i in lm.token_ids])
    unlikely = lm.token_ids[max(range(len(read)), key=lambda n: float(read[n][-1]))]
    return HardPrompt.from_ids(lm, [*ids, unlikely]), HardPrompt.from_ids(lm, [unlikely])


def _words_and_punctuation(lm: FrozenLM, task: Task) -> tuple[str, str]:
    return _instruction(task), "?!,."


def _scrutability(
    name: str, unit: str, better: Better, controls: Controls
) -> Callable[[Callable[[ScoredPrompt], float | None]], Metric]:
    return metric(name, unit=unit, better=better, prompts="any", controls=controls, group="scrutability")


@_scrutability("log_perplexity", "nats per token", "lower", _reversed_words)
def log_perplexity(scored: ScoredPrompt) -> float | None:
    """Mean surprisal of the tokens of the text under the task's model."""
    return readability(scored.surprisal, scored.hard.text)["log_perplexity"]


@_scrutability("log_perplexity_in_place", "nats per token", "lower", _reversed_words)
def in_place(scored: ScoredPrompt) -> float | None:
    """Mean surprisal of the tokens of the text in its place in the template, over at most 100 test inputs, evenly spread."""
    return log_perplexity_in_place(scored.test, scored.deployed.ids)


@_scrutability("nats_per_character", "nats per character", "lower", _reversed_words)
def nats_per_character(scored: ScoredPrompt) -> float | None:
    """Total surprisal under the task's model, divided by the characters of the text."""
    return readability(scored.surprisal, scored.hard.text)["nats_per_character"]


@_scrutability("max_surprisal", "nats", "lower", _reversed_words)
def max_surprisal(scored: ScoredPrompt) -> float | None:
    """Surprisal of the least expected token under the task's model."""
    return readability(scored.surprisal, scored.hard.text)["max_surprisal"]


@_scrutability("max_surprisal_position", "position", "none", _unlikely_word_last)
def max_surprisal_position(scored: ScoredPrompt) -> int | None:
    """Position of the least expected token, from 1; the first of equal ones."""
    return readability(scored.surprisal, scored.hard.text)["max_surprisal_position"]


@_scrutability("repetition", "fraction", "lower", _repeated_word)
def repetition_share(scored: ScoredPrompt) -> float | None:
    """Share of the tokens that occurred earlier in the prompt."""
    return repetition(scored.deployed.ids)


@_scrutability("distinct_tokens", "tokens", "none", _distinct_words)
def distinct_tokens(scored: ScoredPrompt) -> int | None:
    """Number of different tokens of the prompt."""
    return len(set(scored.deployed.ids)) or None


@_scrutability("whole_word_share", "fraction", "higher", _words_and_punctuation)
def whole_words(scored: ScoredPrompt) -> float | None:
    """Share of the tokens that are complete words."""
    return whole_word_share(*_decoded_in_context(scored.lm, scored.deployed.ids))


SCRUTABILITY = (
    log_perplexity,
    in_place,
    nats_per_character,
    max_surprisal,
    max_surprisal_position,
    repetition_share,
    distinct_tokens,
    whole_words,
)
