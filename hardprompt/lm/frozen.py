"""A frozen language model: weights that never change, its tokenizer, and the two halves of its forward pass.

The body (`hidden`) and the output layer (`head`) are separate, because only the positions and vocabulary entries that are
read need logits. Sequences are right-padded; a causal model then needs neither an attention mask nor position ids. What
several sequences begin with is read once (`prefill`), and each goes on from there. Masked models, which read both ways, are in
`hardprompt.lm.masked`.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hardprompt.errors import LMError
from hardprompt.lm.last_layer import LastLayer
from hardprompt.lm.memory import BUDGET, Footprint, Memory, memory_bytes

if TYPE_CHECKING:
    from hardprompt.lm.prefix_cache import PrefixCache

UNLIMITED = 10**9
"""The `max_length` of a model without a limit, such as one with relative positions or a recurrent state."""

_LENGTH_FIELDS = (
    "max_position_embeddings",  # most families; GPT-2's `n_positions` is mapped to it
    "max_seq_len",  # MPT
    "max_target_positions",  # decoders of speech models
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_length",
    "seq_length",  # BLOOM
)

_logger = logging.getLogger(__name__)

_ANCHOR = "a"  # a text in front of a continuation, so that it is tokenized as it will stand: after something


class FrozenLM:
    """A Hugging Face causal LM and its tokenizer, frozen.

    Args:
        model: a causal LM whose logits are its output embeddings applied to its body's last hidden state.
        tokenizer: its tokenizer.
        name: how records call it.

    Attributes:
        opening, closing: token ids that stand around every text.
        max_length: tokens of a sequence, at most, those included.
        shares_beginnings: whether `prefill` and `hidden` after it give the states of the whole pass, checked at load.
        memory: what scoring with it may take beside the weights (`hardprompt.lm.memory`).
        footprint, kept_bytes: what a pass takes, and the keys and values of one token.
        masked: whether it is a masked model, which fills in the place of `mask_id` (None of a causal one).

    Raises:
        LMError: if the model's logits are not finite, or something else than head(body(x)), which soft-capped or scaled outputs
            are; or if the tokenizer makes no token of a text.

    Example:
        >>> lm = load_lm("microworld")
        >>> lm.decode(lm.encode("give the plural"))
        'give the plural'
    """

    masked = False
    mask_id: int | None = None

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.eos_id: int | None = _special_id(tokenizer, tokenizer.eos_token_id, model.config.eos_token_id)
        self.bos_id: int | None = _special_id(tokenizer, tokenizer.bos_token_id, model.config.bos_token_id)
        self.opening: list[int] = [] if self.bos_id is None else [self.bos_id]
        self.closing: list[int] = []
        self.max_length: int = context_length(model.config)
        if not self.encode(_ANCHOR):
            raise LMError(f"{name} reads no text: its tokenizer is empty or missing; put tokenizer.json into the folder")
        self.memory = Memory(memory_bytes(BUDGET))
        self.footprint = Footprint.of(model)
        self.kept_bytes = 0
        self._last_layer: LastLayer | None = None
        self._check_head()
        self.shares_beginnings = self._check_past()
        if self.shares_beginnings:
            self._check_last_layer()
        if not self.masked and self._last_layer is None:
            lost = (
                "compute its last layer only where it is read" if self.shares_beginnings else "share a common prefix of texts"
            )
            _logger.warning("%s (%s) cannot %s, which makes scoring slower", name, type(model).__name__, lost)

    @cached_property
    def vocab_embeds(self) -> Tensor:
        """Input embeddings (V, d) of the tokens that the tokenizer knows; padded rows of the matrix are left out."""
        weight = self.model.get_input_embeddings().weight
        return weight[: min(len(self.tokenizer), weight.shape[0])].detach()

    @cached_property
    def output_map(self) -> Tensor | None:
        """The (d, d) matrix A for which E A is closest to the output embeddings W, or None where W is E itself.

        It carries a gradient with respect to an output embedding back to the input embedding of the same token.
        """
        output = self.model.get_output_embeddings().weight
        if output is self.model.get_input_embeddings().weight:
            return None
        size = self.vocab_embeds.shape[0]
        return torch.linalg.lstsq(self.vocab_embeds.float(), output[:size].float()).solution

    @cached_property
    def end_ids(self) -> Tensor:
        """Tokens that end an answer: end of sequence, and every token whose text begins with a line break."""
        ends = [i for i in range(self.vocab_embeds.shape[0]) if self._token_text(i).startswith("\n")]
        if self.eos_id is not None:
            ends.append(self.eos_id)
        if not ends:
            raise LMError(f"{self.name} has neither an end-of-sequence token nor one that begins with a line break")
        return torch.tensor(sorted(set(ends)), device=self.device)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer takes for something else than text: "<|endoftext|>", "<mask>"; the unknown word excepted."""
        unknown = self.tokenizer.unk_token if self.tokenizer.unk_token != self.tokenizer.eos_token else None
        added = (token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        tokens = [token for token in dict.fromkeys((*self.tokenizer.all_special_tokens, *added)) if token != unknown]
        as_text = self.tokenizer(tokens, add_special_tokens=False, split_special_tokens=True)["input_ids"] if tokens else []
        as_token = self.tokenizer.convert_tokens_to_ids(tokens)
        return tuple(token for token, ids, one in zip(tokens, as_text, as_token, strict=True) if ids != [one])

    def special_token_in(self, text: str) -> str | None:
        """The first of the special tokens that a text holds."""
        return next((token for token in self.special_tokens if token in text), None)

    @property
    def room(self) -> int:
        """Tokens of a text, at most."""
        return self.max_length - len(self.opening) - len(self.closing)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text at the start of a sequence, without special tokens."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each of several texts, without special tokens."""
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []

    def encode_after(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that continue another one, so that no start-of-text blank is put before them.

        Where a text merges with whatever stands before it ("ly" after "love"), its ids at the start of a sequence are used.
        """
        anchor = self.encode(_ANCHOR)
        joined = self.encode_many([_ANCHOR + text for text in texts])
        fits = [ids[: len(anchor)] == anchor for ids in joined]
        alone = self.encode_many([text for text, fit in zip(texts, fits, strict=True) if not fit])
        rest = iter(alone)
        return [ids[len(anchor) :] if fit else next(rest) for ids, fit in zip(joined, fits, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, blanks as they are."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (..., d) of token ids (...)."""
        return self.model.get_input_embeddings()(ids)

    def hidden(
        self,
        embeds: Tensor,
        past: "PrefixCache | None" = None,
        lengths: Sequence[int] | None = None,
        read: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, d) of right-padded input embeddings (B, T, d), which continue the B rows of `past`.

        A masked model must be told the `lengths` of rows that are padded; to a causal one they make no difference. Where the
        positions that are `read` are told, (B, R), -1 for none, the states elsewhere mean nothing.
        """
        given = {} if past is None else past.arguments(embeds.shape[1])
        last = self._last_layer if read is not None and read.shape[1] < embeds.shape[1] else None
        with last.only(read) if last and read is not None else nullcontext():
            return self.model.base_model(inputs_embeds=embeds, use_cache=False, **given).last_hidden_state

    def prefill(self, embeds: Tensor) -> "PrefixCache":
        """What `hidden` needs in order to continue right-padded input embeddings (B, T, d).

        Raises:
            LMError: the model does not keep all keys and values, so that nothing can be cut off or reordered.
        """
        from hardprompt.lm.prefix_cache import prefix_cache_of

        return prefix_cache_of(self.model.base_model(inputs_embeds=embeds, use_cache=True))

    def features(self, hidden: Tensor) -> Tensor:
        """What the output embeddings W (V, d) are applied to, (..., d): logits = W features + b. Here the hidden states."""
        return hidden

    def head(self, hidden: Tensor, columns: Tensor | None = None) -> Tensor:
        """Logits (..., V) of hidden states (..., d), or only the given vocabulary columns (..., C)."""
        output, features = self.model.get_output_embeddings(), self.features(hidden)
        if columns is None:
            return output(features)
        bias = getattr(output, "bias", None)
        return nn.functional.linear(features, output.weight[columns], None if bias is None else bias[columns])

    def _token_text(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)

    def _check_head(self) -> None:
        size, pad = self.vocab_embeds.shape[0], self.model.config.pad_token_id  # padding has no position in RoBERTa
        ids = torch.tensor([[i for i in range(size) if i != pad][:4]], device=self.device)
        with torch.no_grad():
            expected = self.model(input_ids=ids).logits
            actual = self.head(self.hidden(self.embed(ids)))
        if not expected.isfinite().all():
            raise LMError(f"{self.name} gives numbers that are not finite: its weights are damaged")
        if not torch.allclose(actual, expected, rtol=1e-3, atol=1e-3):
            raise LMError(
                f"{self.name} ({type(self.model).__name__}) does more to its logits than its output layer does "
                "(a soft cap or a scale), which is not supported; use a model of the GPT-2 or Llama family, or a masked one of "
                "the RoBERTa or BERT family"
            )

    @torch.no_grad()
    def _check_last_layer(self) -> None:
        """Keep the last layer apart if it can be computed at some positions only, behind a beginning or not."""
        embeds = self.embed(torch.arange(10, device=self.device).view(2, 5) % self.vocab_embeds.shape[0])
        read = torch.tensor([[2, -1], [0, 2]], device=self.device)
        rows, past, whole = read >= 0, self.prefill(embeds[:, :2]), self.hidden(embeds)
        batch = torch.tensor([0, 1, 1], device=self.device)
        try:
            self._last_layer = LastLayer(self.model.base_model)
            alone = self.hidden(embeds, read=read + 2 * rows)[batch, read[rows] + 2]
            behind = self.hidden(embeds[:, 2:], past, read=read)[batch, read[rows]]
            cut = past.take([0, 1], [2, 1])
            apart = self.hidden(torch.stack([embeds[0, 2:], embeds[1, 1:4]]), cut, read=read)[batch, read[rows]]
            expected = whole[batch, read[rows] + 2]
            expected_apart = whole[batch, read[rows] + torch.tensor([2, 1, 1], device=self.device)]
            works = _same(alone, expected) and _same(behind, expected) and _same(apart, expected_apart)
        except Exception:  # a layer that takes other things may raise anything
            works = False
        if not works:
            self._last_layer = None

    @torch.no_grad()
    def _check_past(self) -> bool:
        """Whether two beginnings of three tokens, cut and reordered, are continued as the whole pass reads them."""
        embeds = self.embed(torch.arange(8, device=self.device).view(2, 4) % self.vocab_embeds.shape[0])
        try:
            past = self.prefill(embeds[:, :3])
        except LMError:
            return False
        self.kept_bytes = past.bytes_per_token
        whole, tails = self.hidden(embeds), torch.stack([embeds[1, 2:], embeds[1, 1:3], embeds[0, 2:]])
        expected = torch.stack([whole[1, 2:], whole[1, 1:3], whole[0, 2:]])
        return _same(self.hidden(tails, past.take([1, 1, 0], [2, 1, 2])), expected)


def _same(states: Tensor, expected: Tensor) -> bool:
    """Whether states are those that are expected, but for rounding."""
    tolerance = max(1e-3, 4 * torch.finfo(states.dtype).eps)
    return bool((states.float() - expected.float()).norm() <= tolerance * expected.float().norm())


def _special_id(tokenizer: Any, *candidates: Any) -> int | None:
    """The first candidate that is a special token of the tokenizer: a configuration's class default need not be one.

    A configuration may list several ends, of which the first counts.
    """
    for candidate in candidates:
        first = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(first, int) and first in tokenizer.all_special_ids:
            return first
    return None


def context_length(config: Any) -> int:
    """The number of tokens that a model of this configuration reads at most.

    Args:
        config: a Hugging Face configuration; of a multimodal model, its text part counts.

    Returns:
        The first positive length that the configuration states, under any of the names that families use; `UNLIMITED` where it
        states none, or -1 as XLNet does.

    Example:
        >>> from transformers import MptConfig, XLNetConfig
        >>> context_length(MptConfig(max_seq_len=512)), context_length(XLNetConfig()) == UNLIMITED
        (512, True)
    """
    text_config = config.get_text_config(decoder=True)
    lengths = (getattr(text_config, name, None) for name in _LENGTH_FIELDS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), UNLIMITED)
