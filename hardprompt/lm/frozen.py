"""A frozen language model: weights that never change, its tokenizer, and the two parts of its forward pass.

The body (`hidden`) and the output layer (`output_logits`) are separate, because logits are needed at few positions and for few
vocabulary entries only. Sequences are right-padded, so that a causal model needs neither an attention mask nor position ids. A
prefix that several sequences share is read once (`prefill`), and each sequence continues it. Masked models, which read in both
directions, are in `hardprompt.lm.masked`.
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
from hardprompt.lm.memory import BUDGET, Memory, MemoryFootprint, memory_bytes

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

_ANCHOR = "a"  # the text before another text, so that the other text is tokenized as its continuation


class FrozenLM:
    """A Hugging Face causal LM and its tokenizer, frozen.

    Args:
        model: a causal LM whose logits are its output embeddings applied to its body's last hidden state.
        tokenizer: its tokenizer.
        name: its name in records.

    Attributes:
        prefix_ids: special tokens before every text: the beginning-of-sequence token if there is one, or [CLS].
        suffix_ids: special tokens after every text: [SEP] for a masked model, none for a causal one.
        max_length: the largest number of tokens in a sequence, special tokens included.
        eos_id: the end-of-sequence token, or None.
        bos_id: the beginning-of-sequence token, or None.
        shares_prefixes: whether `hidden` after `prefill` gives the states of a whole pass, which is tested when the model is
            loaded.
        memory: the memory budget for scoring (`hardprompt.lm.memory`).
        footprint: the memory that a forward pass uses.
        cache_bytes_per_token: size of the keys and values of one token.
        masked: whether it is a masked model.
        mask_id: the mask token of a masked model; None for a causal one.

    Raises:
        LMError: the model's logits are not finite, or are not its output layer applied to its hidden states (soft-capped and
            scaled logits are not supported), or the tokenizer gives no token for a text.

    Example:
        >>> from hardprompt import load_lm
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
        self.prefix_ids: list[int] = [] if self.bos_id is None else [self.bos_id]
        self.suffix_ids: list[int] = []
        self.max_length: int = context_length(model.config)
        if not self.encode(_ANCHOR):
            raise LMError(f"{name} cannot read text: its tokenizer is empty or missing; put tokenizer.json into the folder")
        self.memory = Memory(memory_bytes(BUDGET))
        self.footprint = MemoryFootprint.of(model)
        self.cache_bytes_per_token = 0
        self._last_layer: LastLayer | None = None
        self._check_output_layer()
        self.shares_prefixes = self._check_prefixes()
        if self.shares_prefixes:
            self._check_last_layer()
        if not self.masked and self._last_layer is None:
            lost = "compute its last layer only where it is read" if self.shares_prefixes else "share a common prefix of texts"
            _logger.warning("%s (%s) cannot %s, which makes scoring slower", name, type(model).__name__, lost)

    @cached_property
    def vocab_embeds(self) -> Tensor:
        """Input embeddings (V, d) of the tokens that the tokenizer knows, without padding rows of the matrix."""
        weight = self.model.get_input_embeddings().weight
        return weight[: min(len(self.tokenizer), weight.shape[0])].detach()

    @cached_property
    def output_map(self) -> Tensor | None:
        """The (d, d) matrix A for which E A is closest to the output embeddings W (least squares), or None if W is E.

        It maps a gradient with respect to an output embedding to the input embedding of the same token.
        """
        output = self.model.get_output_embeddings().weight
        if output is self.model.get_input_embeddings().weight:
            return None
        size = self.vocab_embeds.shape[0]
        return torch.linalg.lstsq(self.vocab_embeds.float(), output[:size].float()).solution

    @cached_property
    def end_ids(self) -> Tensor:
        """Tokens that end an answer: the end-of-sequence token, and all tokens whose text begins with a line break."""
        ends = [i for i in range(self.vocab_embeds.shape[0]) if self._token_text(i).startswith("\n")]
        if self.eos_id is not None:
            ends.append(self.eos_id)
        if not ends:
            raise LMError(f"{self.name} has neither an end-of-sequence token nor one that begins with a line break")
        return torch.tensor(sorted(set(ends)), device=self.device)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as special tokens, such as "<|endoftext|>" or "<mask>", without the unknown token."""
        unknown = self.tokenizer.unk_token if self.tokenizer.unk_token != self.tokenizer.eos_token else None
        added = (token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        tokens = [token for token in dict.fromkeys((*self.tokenizer.all_special_tokens, *added)) if token != unknown]
        as_text = self.tokenizer(tokens, add_special_tokens=False, split_special_tokens=True)["input_ids"] if tokens else []
        as_token = self.tokenizer.convert_tokens_to_ids(tokens)
        return tuple(token for token, ids, one in zip(tokens, as_text, as_token, strict=True) if ids != [one])

    def special_token_in(self, text: str) -> str | None:
        """The first special token that a text contains, or None."""
        return next((token for token in self.special_tokens if token in text), None)

    @property
    def max_text_length(self) -> int:
        """The largest number of tokens of a text, special tokens around it not included."""
        return self.max_length - len(self.prefix_ids) - len(self.suffix_ids)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text at the start of a sequence, without special tokens."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []

    def encode_after(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that continue another text, so that the tokenizer adds no blank before them.

        If a text merges with the token before it ("ly" after "love"), its ids at the start of a sequence are used.
        """
        anchor = self.encode(_ANCHOR)
        joined = self.encode_many([_ANCHOR + text for text in texts])
        fits = [ids[: len(anchor)] == anchor for ids in joined]
        alone = self.encode_many([text for text, fit in zip(texts, fits, strict=True) if not fit])
        rest = iter(alone)
        return [ids[len(anchor) :] if fit else next(rest) for ids, fit in zip(joined, fits, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens and with unchanged blanks."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (..., d) of token ids (...)."""
        return self.model.get_input_embeddings()(ids)

    def hidden(
        self,
        embeds: Tensor,
        prefix: "PrefixCache | None" = None,
        lengths: Sequence[int] | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states of a batch.

        Args:
            embeds: right-padded input embeddings (B, T, d).
            prefix: the B prefixes that the rows continue.
            lengths: tokens of each row, which a masked model needs for padded rows; a causal model ignores them.
            positions: positions whose states are needed, (B, R), with -1 for none; by default all.

        Returns:
            States (B, T, d). States at other than the needed positions are undefined.
        """
        arguments = {} if prefix is None else prefix.forward_arguments(embeds.shape[1])
        last = self._last_layer if positions is not None and positions.shape[1] < embeds.shape[1] else None
        with last.only(positions) if last and positions is not None else nullcontext():
            return self.model.base_model(inputs_embeds=embeds, use_cache=False, **arguments).last_hidden_state

    def prefill(self, embeds: Tensor) -> "PrefixCache":
        """Read right-padded input embeddings (B, T, d) as prefixes that `hidden` can continue.

        Raises:
            LMError: the model does not keep all keys and values, so that prefixes cannot be shortened or reordered.
        """
        from hardprompt.lm.prefix_cache import prefix_cache_of

        return prefix_cache_of(self.model.base_model(inputs_embeds=embeds, use_cache=True))

    def features(self, hidden: Tensor) -> Tensor:
        """The vectors (..., d) that the output embeddings W (V, d) are applied to: logits = W features + b.

        For a causal model they are the hidden states themselves.
        """
        return hidden

    def output_logits(self, hidden: Tensor, columns: Tensor | None = None) -> Tensor:
        """Logits (..., V) of hidden states (..., d), or (..., C) of the C tokens in `columns` only."""
        output, features = self.model.get_output_embeddings(), self.features(hidden)
        if columns is None:
            return output(features)
        bias = getattr(output, "bias", None)
        return nn.functional.linear(features, output.weight[columns], None if bias is None else bias[columns])

    def _token_text(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)

    def _check_output_layer(self) -> None:
        size, pad = self.vocab_embeds.shape[0], self.model.config.pad_token_id  # RoBERTa gives padding no position
        ids = torch.tensor([[i for i in range(size) if i != pad][:4]], device=self.device)
        with torch.no_grad():
            expected = self.model(input_ids=ids).logits
            actual = self.output_logits(self.hidden(self.embed(ids)))
        if not expected.isfinite().all():
            raise LMError(f"the logits of {self.name} are not finite: its weights are damaged")
        if not torch.allclose(actual, expected, rtol=1e-3, atol=1e-3):
            raise LMError(
                f"{self.name} ({type(self.model).__name__}) does more to its logits than its output layer does, such as a soft "
                "cap or a scale, which is not supported; use a model of the GPT-2 or Llama family, or a masked model of the "
                "RoBERTa or BERT family"
            )

    @torch.no_grad()
    def _check_last_layer(self) -> None:
        """Set the last layer if it can be computed at some positions only, with and without a prefix."""
        embeds = self.embed(torch.arange(10, device=self.device).view(2, 5) % self.vocab_embeds.shape[0])
        positions = torch.tensor([[2, -1], [0, 2]], device=self.device)
        needed, prefix, whole = positions >= 0, self.prefill(embeds[:, :2]), self.hidden(embeds)
        batch = torch.tensor([0, 1, 1], device=self.device)
        try:
            self._last_layer = LastLayer(self.model.base_model)
            at = positions[needed]
            without_prefix = self.hidden(embeds, positions=positions + 2 * needed)[batch, at + 2]
            with_prefix = self.hidden(embeds[:, 2:], prefix, positions=positions)[batch, at]
            cut = prefix.take([0, 1], [2, 1])
            with_cut = self.hidden(torch.stack([embeds[0, 2:], embeds[1, 1:4]]), cut, positions=positions)[batch, at]
            expected = whole[batch, at + 2]
            expected_cut = whole[batch, at + torch.tensor([2, 1, 1], device=self.device)]
            works = _same(without_prefix, expected) and _same(with_prefix, expected) and _same(with_cut, expected_cut)
        except Exception:  # a layer with other arguments may raise anything
            works = False
        if not works:
            self._last_layer = None

    @torch.no_grad()
    def _check_prefixes(self) -> bool:
        """Whether two prefixes of three tokens, shortened and reordered, are continued with the states of the whole pass."""
        embeds = self.embed(torch.arange(8, device=self.device).view(2, 4) % self.vocab_embeds.shape[0])
        try:
            prefix = self.prefill(embeds[:, :3])
        except LMError:
            return False
        self.cache_bytes_per_token = prefix.bytes_per_token
        whole, tails = self.hidden(embeds), torch.stack([embeds[1, 2:], embeds[1, 1:3], embeds[0, 2:]])
        expected = torch.stack([whole[1, 2:], whole[1, 1:3], whole[0, 2:]])
        return _same(self.hidden(tails, prefix.take([1, 1, 0], [2, 1, 2])), expected)


def _same(states: Tensor, expected: Tensor) -> bool:
    """Whether states are equal to the expected states, up to rounding."""
    tolerance = max(1e-3, 4 * torch.finfo(states.dtype).eps)
    return bool((states.float() - expected.float()).norm() <= tolerance * expected.float().norm())


def _special_id(tokenizer: Any, *candidates: Any) -> int | None:
    """The first candidate that is a special token of the tokenizer; a default value of the configuration may not be one.

    If a configuration lists several end-of-sequence tokens, the first one counts.
    """
    for candidate in candidates:
        first = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(first, int) and first in tokenizer.all_special_ids:
            return first
    return None


def context_length(config: Any) -> int:
    """The maximal number of tokens that a model of this configuration can read.

    Args:
        config: a Hugging Face configuration. For a multimodal model, the configuration of its text part is used.

    Returns:
        The first positive length in the configuration, under any of the names that model families use; `UNLIMITED` if it has
        none, or if the length is -1, as in XLNet.

    Example:
        >>> from transformers import MptConfig, XLNetConfig
        >>> context_length(MptConfig(max_seq_len=512)), context_length(XLNetConfig()) == UNLIMITED
        (512, True)
    """
    text_config = config.get_text_config(decoder=True)
    lengths = (getattr(text_config, name, None) for name in _LENGTH_FIELDS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), UNLIMITED)
