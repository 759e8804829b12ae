"""A frozen masked language model (RoBERTa, BERT), which reads a text in both directions and predicts its mask token.

A sequence is [CLS] text [SEP], right-padded, and padding is not attended to. Sequences cannot share a prefix, since each state
depends on the whole text.
"""

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hardprompt.data.task import MASK
from hardprompt.errors import LMError
from hardprompt.lm.frozen import FrozenLM

if TYPE_CHECKING:
    from hardprompt.lm.prefix_cache import PrefixCache


class MaskedLM(FrozenLM):
    """A Hugging Face masked LM and its tokenizer, frozen.

    Args:
        model: a masked LM.
        tokenizer: its tokenizer, which has a mask token.
        name: its name in records.

    Raises:
        LMError: the tokenizer has no mask token, or the model is refused for a reason of `FrozenLM`.

    Example:
        >>> lm = load_lm("path/to/roberta-base")     # doctest: +SKIP
        >>> lm.masked, lm.max_length     # doctest: +SKIP
        (True, 512)
    """

    kind = "masked"

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        if tokenizer.mask_token_id is None:
            raise LMError(f"{name} is a masked model ({type(model).__name__}), but its tokenizer has no mask token")
        self.mask_id: int = tokenizer.mask_token_id
        self._takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        super().__init__(model, tokenizer, name)
        positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
        if (padding := getattr(positions, "padding_idx", None)) is not None:  # RoBERTa numbers positions after padding
            self.max_length -= padding + 1

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with the mask token in the place of `MASK` and the blanks before it."""
        pieces = [re.split(f" *{MASK}", text) for text in texts]
        encoded = iter(super().encode_many([piece for text in pieces for piece in text]))
        return [next(encoded) + [i for _ in text[1:] for i in (self.mask_id, *next(encoded))] for text in pieces]

    def plain(self, ids: Tensor) -> Any:
        """The output of the model's own forward pass over token ids (B, T)."""
        return self.model(input_ids=ids)

    def _features(
        self,
        embeds: Tensor,
        prefix: "PrefixCache | None",
        lengths: Sequence[int] | None,
        positions: Tensor | None,
        answers: Sequence[Sequence[int]] | None,
    ) -> Tensor:
        arguments = {}
        if lengths is not None and self._takes_mask:
            arguments["attention_mask"] = self._is_token(embeds, lengths)
        return self.output_layer.features(lambda: self.model(inputs_embeds=embeds, **arguments))

    def _around(self) -> tuple[list[int], list[int]]:
        before, after = self._own_special_ids()
        if not before:
            before = [i for i in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id) if i is not None][:1]
        if not after:
            after = [i for i in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id) if i is not None][:1]
        return before, after


def masked_nll(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """-log p(x_t | all other tokens) of each token of each prompt, in nats.

    Each token is masked in turn, between [CLS] and [SEP] (Salazar et al. 2020, Masked Language Model Scoring, ACL).

    Returns:
        One tensor (L,) per prompt.
    """
    masked = [(prompt, t) for prompt in prompts for t in range(len(prompt))]
    nll = []
    widest = max(len(prompt) for prompt in prompts) + len(lm.prefix_ids) + len(lm.suffix_ids)
    at_once = lm.memory.rows(lm.footprint.of_pass(widest, reads=1))
    for start in range(0, len(masked), at_once):
        some = masked[start : start + at_once]
        rows = [[*lm.prefix_ids, *prompt[:t], lm.mask_id, *prompt[t + 1 :], *lm.suffix_ids] for prompt, t in some]
        batch = pad_sequence([torch.tensor(row, device=lm.device) for row in rows], batch_first=True)
        hidden = lm.hidden(lm.embed(batch), lengths=[len(row) for row in rows])
        at = torch.tensor([len(lm.prefix_ids) + t for _, t in some], device=lm.device)
        targets = torch.tensor([prompt[t] for prompt, t in some], device=lm.device)
        logits = lm.output_logits(hidden[torch.arange(len(some), device=lm.device), at]).float()
        nll.append(nn.functional.cross_entropy(logits, targets, reduction="none"))
    return list(torch.cat(nll).split([len(prompt) for prompt in prompts]))


def masked_states(lm: FrozenLM, embeds: Tensor) -> Tensor:
    """The states (L, d) at the tokens of a prompt, each with that token masked; differentiable in `embeds` (L, d)."""
    length = len(embeds)
    is_masked = torch.eye(length, dtype=torch.bool, device=embeds.device)
    rows = torch.where(is_masked[..., None], lm.vocab_embeds[lm.mask_id], embeds)
    before, after = (lm.vocab_embeds[ids].expand(length, -1, -1) for ids in (lm.prefix_ids, lm.suffix_ids))
    at = torch.arange(length, device=embeds.device)
    return lm.hidden(torch.cat([before, rows, after], 1))[at, len(lm.prefix_ids) + at]
