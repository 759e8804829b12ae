"""A prompt token by token: surprisal, norm, nearest tokens, stability of the reading, and the effect of removing the token."""

from collections.abc import Sequence
from typing import Any

from hardprompt.errors import ContextExceeded
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import surprisals
from hardprompt.metrics.scored_prompt import ScoredPrompt
from hardprompt.metrics.scrutability import log_perplexity_in_place
from hardprompt.metrics.sensitivity import deletion_map, order_sensitivity
from hardprompt.metrics.stability import stability
from hardprompt.notebook import html_table
from hardprompt.projection import SIMILARITY_MEASURES, nearest_entries
from hardprompt.prompt import AFTER_INPUT, HardPrompt, SoftPrompt, as_prompt
from hardprompt.scoring import Scorer


class TokenTable(dict[str, Any]):
    """What `inspect` returns: a dictionary, which notebooks show as a table with a row per token."""

    def _repr_html_(self) -> str:
        worth = ("loss_added", "accuracy_lost") if self["shuffled"] else ()
        columns = ("position", "token", "surprisal", "running_mean", "norm", *worth)
        rows = []
        for row in self["tokens"]:
            values = {name: repr(row[name]) if name == "token" and row[name] is not None else row[name] for name in columns}
            near = (", ".join(repr(each["token"]) for each in row["nearest"][measure]) for measure in SIMILARITY_MEASURES)
            rows.append((*values.values(), *near))
        headings = (*(name.replace("_", " ") for name in columns), *(f"nearest by {name}" for name in SIMILARITY_MEASURES))
        read_by = "a soft prompt" if self["prompt_text"] is None else repr(self["prompt_text"])
        return html_table(headings, rows, f"{self['lm']}: {read_by}", "Surprisal in nats, loss in nats per example.")


def inspect(
    prompt: str | Sequence[int] | HardPrompt | SoftPrompt, lm: FrozenLM, count: int = 5, scorer: Scorer | None = None
) -> TokenTable:
    """Each token of a hard prompt, or each vector of a soft one.

    The surprisal of token t is -log p(x_t | bos, x_<t), or for a masked model -log p(x_t | x_<t, x_>t), as in
    `hardprompt.lm.surprisals`; a soft prompt has none. The nearest rows v of the vocabulary to a vector e have the largest
    cosine <e, v> / (|e| |v|), the smallest Euclidean distance |e - v|, or the largest dot product <e, v>; according to the
    first two, a token of a hard prompt is nearest to itself.

    Args:
        prompt: a text (tokenized as the continuation of an input), token ids, or a prompt that an optimizer found.
        lm: the model that reads the prompt, and whose vocabulary is searched, with its special tokens.
        count: number of neighbours per vector and measure.
        scorer: the scorer of the examples on which each token of a hard prompt is removed in turn, and read in its place.

    Returns:
        `lm`, `prompt_ids` and `prompt_text` (None for a soft prompt), `log_perplexity` (nats per token, None where no token is
        scored), `log_perplexity_in_place` (nats per token behind the examples of the scorer, see
        `hardprompt.metrics.log_perplexity_in_place`), and `tokens`, a list with `position` (from 1), `id`, `token`, `surprisal`
        (nats), `running_mean` (nats per token, over the tokens up to here), `norm` (embedding units), and `nearest`: by measure
        a list with `id`, `token` and `value` (cosine similarity, Euclidean distance in embedding units, or dot product),
        closest first; `changed`, by method of reading the share of readings with another token here than by cosine
        (`hardprompt.metrics.stability`), and `marked`, whether a small change of the method is enough; `loss_added` (nats per
        example) and `accuracy_lost` (fraction) without the token. `shuffled` has the scores with the tokens in random order
        (`hardprompt.metrics.order_sensitivity`). `log_perplexity_in_place`, `loss_added`, `accuracy_lost` and `shuffled` are
        None without a scorer, and for a soft prompt.

    Raises:
        RequestError: ids out of the vocabulary, or vectors of another width.
        ContextExceeded: the prompt is longer than the model's context.

    Example:
        >>> from hardprompt.lm import load_lm
        >>> [row["token"] for row in inspect("give the plural", load_lm("microworld"))["tokens"]]
        [' give', ' the', ' plural']
    """
    found = as_prompt(lm, prompt, scorer.template if scorer else AFTER_INPUT)
    ids = list(found.ids) if isinstance(found, HardPrompt) else []
    embeds = lm.vocab_embeds[ids] if isinstance(found, HardPrompt) else found.embeds
    _check_context(lm, embeds.shape[0])
    surprisal: list[float | None] = [None] * embeds.shape[0]
    if ids:
        surprisal = [None if value != value else value for value in surprisals(lm, [ids])[0].tolist()]
    vocab = lm.vocab_embeds[lm.token_ids]
    near = {measure: nearest_entries(embeds, vocab, measure, count) for measure in SIMILARITY_MEASURES}
    firm = stability(embeds, vocab) if len(embeds) else {"changed": {}, "marked": []}
    worth = deletion_map(scorer, ids) if scorer and ids else []
    means = [_mean(surprisal[: t + 1]) for t in range(len(surprisal))]
    tokens = [
        {
            "position": t + 1,
            "id": ids[t] if ids else None,
            "token": token_text(lm, ids[t]) if ids else None,
            "surprisal": surprisal[t],
            "running_mean": means[t],
            "norm": norm,
            "nearest": {
                measure: [
                    {"id": lm.token_ids[row], "token": token_text(lm, lm.token_ids[row]), "value": value}
                    for value, row in zip(values[t].tolist(), rows[t].tolist(), strict=True)
                ]
                for measure, (values, rows) in near.items()
            },
            "changed": {method: shares[t] for method, shares in firm["changed"].items()},
            "marked": t + 1 in firm["marked"],
            **(worth[t] if worth else dict.fromkeys(("loss_added", "accuracy_lost"))),
        }
        for t, norm in enumerate(embeds.float().norm(dim=-1).tolist())
    ]
    hard = isinstance(found, HardPrompt)
    return TokenTable(
        {
            "lm": lm.name,
            "start": [token_text(lm, i) for i in lm.prefix_ids],
            "prompt_ids": ids if hard else None,
            "prompt_text": found.text if isinstance(found, HardPrompt) else None,
            "log_perplexity": means[-1] if means else None,
            "log_perplexity_in_place": log_perplexity_in_place(scorer, ids) if scorer and ids else None,
            "shuffled": order_sensitivity(scorer, ids) if scorer and ids else None,
            "tokens": tokens,
        }
    )


def token_map(scored: ScoredPrompt) -> list[dict[str, Any]]:
    """The contribution of each token of the text.

    Returns:
        Per token `token`, `surprisal` (nats, None without context), `loss_added` (nats per example) and `accuracy_lost`
        (fraction) when it is removed, on dev, and `marked`: for a soft prompt, whether a small change of the method of reading
        gives another token here (`hardprompt.metrics.stability`), otherwise None.

    Example:
        >>> from hardprompt import HardPrompt, load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> prompt = HardPrompt.from_ids(lm, lm.encode("give the plural"))
        >>> found = token_map(ScoredPrompt(prompt, Scorer(lm, task, task.test)))
        >>> max(found, key=lambda row: row["loss_added"])["token"]
        ' plural'
    """
    lm, prompt = scored.lm, scored.prompt
    if not scored.hard.ids:
        return []
    marked = None
    if isinstance(prompt, SoftPrompt):
        marked = stability(prompt.embeds, lm.vocab_embeds[scored.allowed], scored.projection)["marked"]
    surprisal = (scored.surprisal if scored.deployed is scored.hard else surprisals(lm, [scored.hard.ids])[0]).tolist()
    return [
        {
            "token": token_text(lm, scored.hard.ids[t]),
            "surprisal": None if surprisal[t] != surprisal[t] else surprisal[t],
            **worth,
            "marked": None if marked is None else t + 1 in marked,
        }
        for t, worth in enumerate(scored.token_worth)
    ]


def token_text(lm: FrozenLM, token: int) -> str:
    """A token as it appears inside a text, with its leading blank; its piece if it is not a text by itself."""
    context = lm.encode("a")
    text = lm.decode([*context, token])[len(lm.decode(context)) :]
    return text if text and "\ufffd" not in text else str(lm.tokenizer.convert_ids_to_tokens(token))


def _mean(values: Sequence[float | None]) -> float | None:
    scored = [value for value in values if value is not None]
    return sum(scored) / len(scored) if scored else None


def _check_context(lm: FrozenLM, length: int) -> None:
    if length > lm.max_text_length:
        raise ContextExceeded(f"the prompt is {length} tokens, but {lm.name} has room for {lm.max_text_length}; shorten it")
