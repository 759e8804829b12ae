"""A frozen language model: weights that never change, its tokenizer, and the two parts of its forward pass.

The features (`hidden`), which are the vectors before the output layer, and their logits (`output_logits`) are separate, because
logits are needed at few positions and for few vocabulary entries only. Sequences are right-padded, so that a causal model needs
neither an attention mask nor position ids. A prefix that several sequences share is read once (`prefill`), and each sequence
continues it. When a model is loaded, all of this is compared with its plain forward pass (`hardprompt.lm.checks`). The other
kinds of models are in `hardprompt.lm.masked` and `hardprompt.lm.encoder_decoder`.
"""

import difflib
import inspect
import logging
import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hardprompt.errors import LMError
from hardprompt.lm.checks import check
from hardprompt.lm.last_layer import LastLayer
from hardprompt.lm.lengths import LengthRules, context_length
from hardprompt.lm.memory import BUDGET, Memory, MemoryFootprint, memory_bytes
from hardprompt.lm.output_layer import OutputLayer

if TYPE_CHECKING:
    from transformers import DynamicCache

    from hardprompt.lm.prefix_cache import PrefixCache

Kind = Literal["causal", "masked", "encoder-decoder"]

_logger = logging.getLogger(__name__)

_MARKER = re.compile(r"<[^<>\s]+>|\[[A-Z]+\]")
"""The form of most special tokens, such as "<s>", "<|im_start|>" and "[CLS]"."""

_ANCHOR = "a"  # the text before another text, so that the other text is tokenized as its continuation

DOCUMENT_SEPARATOR = "<|endoftext|>"
"""The token between the documents that many models were trained on."""


class FrozenLM:
    """A Hugging Face causal LM and its tokenizer, frozen.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer.
        name: its name in records.

    Attributes:
        origin: where the weights come from and how they were quantized, for records; empty if the name says it.
        prefix_ids: special tokens before every text: those that the tokenizer puts there. If it puts none there, the token that
            separates the documents that the model was trained on, if the model has one.
        suffix_ids: special tokens after every text: [SEP] for a masked model, none for a causal one.
        max_length: the largest number of tokens in a sequence, special tokens included.
        eos_id: the end-of-sequence token, or None.
        bos_id: the beginning-of-sequence token, or None.
        output_layer: the output layer.
        rules: which sequences can share a prefix or a batch.
        shares_prefixes: whether `hidden` after `prefill` gives the states of a whole pass, which is tested when the model is
            loaded.
        memory: the memory budget for scoring (`hardprompt.lm.memory`).
        footprint: the memory that a forward pass uses.
        cache_bytes_per_token: size of the keys and values of one token.
        cache_argument: the argument of the model's forward pass that takes keys and values.
        kind: "causal", "masked" or "encoder-decoder".
        mask_id: the mask token of a masked model; None for a causal one.

    Raises:
        LMError: the model's logits are not finite, or are no function of its features that is supported, or the model gives
            other logits for the embeddings of tokens than for the tokens; or the tokenizer gives no token for a text.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> lm.decode(lm.encode("give the plural"))
        'give the plural'
    """

    kind: ClassVar[Kind] = "causal"
    mask_id: int | None = None

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.origin: dict[str, str] = {}
        if reason := _unsupported(model):
            raise LMError(f"{name} ({type(model).__name__}) {reason}; use another model")
        self.device: torch.device = model.get_input_embeddings().weight.device
        config = model.config.get_text_config(decoder=True)
        self.eos_id: int | None = special_id(tokenizer, tokenizer.eos_token_id, getattr(config, "eos_token_id", None))
        self.bos_id: int | None = special_id(tokenizer, tokenizer.bos_token_id, getattr(config, "bos_token_id", None))
        self.max_length: int = context_length(model.config)
        if getattr(model.config, "attention_type", None) == "block_sparse":  # full attention up to the maximal length
            for part in model.modules():
                if hasattr(part, "set_attention_type"):
                    part.set_attention_type("original_full")
        self.output_layer = OutputLayer(model, name)
        self.rules = LengthRules(model)
        self.memory = Memory(memory_bytes(BUDGET))
        self.footprint = MemoryFootprint.of(model, self.output_layer.weight)
        self.cache_bytes_per_token = 0
        renamed = "cache" in inspect.signature(model.forward).parameters  # from transformers 5.24 on
        self.cache_argument = "cache" if renamed else "past_key_values"
        self.last_layer: LastLayer | None = None
        self.shares_prefixes = False
        self.embedding_scale = 1.0
        if not self.encode(_ANCHOR):
            raise LMError(f"{name} cannot read text: its tokenizer is empty or missing; put tokenizer.json into the folder")
        self.prefix_ids, self.suffix_ids = self._around()
        self._check_ids([self.prefix_ids, self.suffix_ids])
        check(self)
        if self.kind == "causal" and self.last_layer is None:
            lost = "compute its last layer only where it is read" if self.shares_prefixes else "share a common prefix of texts"
            _logger.warning("%s (%s) cannot %s, which makes scoring slower", name, type(model).__name__, lost)

    @property
    def masked(self) -> bool:
        """Whether it is a masked model."""
        return self.kind == "masked"

    @cached_property
    def token_ids(self) -> list[int]:
        """The ids that are tokens of the tokenizer and have an embedding, in ascending order."""
        rows = self.model.get_input_embeddings().weight.shape[0]
        return sorted(i for i in self.tokenizer.get_vocab().values() if i < rows)

    @cached_property
    def vocab_embeds(self) -> Tensor:
        """Input embeddings (V, d) of the ids up to the last token of the tokenizer, without padding rows of the matrix.

        They are the vectors that the model's own embedding layer makes of the tokens, which a model such as Gemma scales. An id
        without a token, if the tokenizer leaves out any, has a row too (`token_ids`).
        """
        layer, size = self.model.get_input_embeddings(), self.token_ids[-1] + 1
        if type(layer) is nn.Embedding and layer.max_norm is None and self.embedding_scale == 1.0:
            return layer.weight[:size].detach()
        return self.embed(torch.arange(size, device=self.device)).detach()

    @cached_property
    def output_map(self) -> Tensor | None:
        """The (d, d) matrix A for which E A is closest to the output embeddings W (least squares), or None if W is E.

        It maps a gradient with respect to an output embedding to the input embedding of the same token. It is computed on the
        CPU, whose solver alone allows a matrix without full rank.
        """
        output, size = self.output_layer.weight, self.vocab_embeds.shape[0]
        if output[:size].data_ptr() == self.vocab_embeds.data_ptr():
            return None
        return torch.linalg.lstsq(self.vocab_embeds.float().cpu(), output[:size].float().cpu()).solution.to(self.device)

    @cached_property
    def end_ids(self) -> Tensor:
        """Tokens that end an answer: the end-of-sequence token, and all tokens whose text begins with a line break."""
        ends = [i for i in self.token_ids if self._token_text(i).startswith("\n")]
        if self.eos_id is not None:
            ends.append(self.eos_id)
        if not ends:
            raise LMError(f"{self.name} has neither an end-of-sequence token nor one that begins with a line break")
        return torch.tensor(sorted(set(ends)), device=self.device)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as special tokens, such as "<|endoftext|>" or "<mask>", without the unknown token."""
        unknown = self.tokenizer.unk_token
        if unknown in (self.tokenizer.eos_token, DOCUMENT_SEPARATOR):
            unknown = None
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
        """Token ids of each text, without special tokens.

        Raises:
            LMError: a text contains a token for which the model has no embedding.
        """
        found = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        if self._lacks_embeddings:
            self._check_ids(found)
        return found

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

    def plain(self, ids: Tensor) -> Any:
        """The output of the model's own forward pass over token ids (B, T)."""
        self.rules.reset()
        return self.model(input_ids=ids, use_cache=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (..., d) of token ids (...)."""
        embeds = self.model.get_input_embeddings()(ids)
        return embeds if self.embedding_scale == 1.0 else embeds * self.embedding_scale

    def hidden(
        self,
        embeds: Tensor,
        prefix: "PrefixCache | None" = None,
        lengths: Sequence[int] | None = None,
        positions: Tensor | None = None,
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Tensor:
        """The features of a batch: the vectors that the output embeddings are applied to.

        Sequences that would change each other's numbers (`LengthRules`) go through the model one after another.

        Args:
            embeds: right-padded input embeddings (B, T, d).
            prefix: the B prefixes that the rows continue.
            lengths: tokens of each row, if rows are padded.
            positions: positions whose features are needed, (B, R), with -1 for none; by default all.
            answers: for an encoder-decoder model, the tokens that the decoder reads behind its start tokens.

        Returns:
            Features (B, T, d); those at other than the needed positions are undefined. Those of an encoder-decoder model are at
            the tokens that its decoder reads.
        """
        keys = self.rules.groups([embeds.shape[1]] * len(embeds) if lengths is None else lengths)
        if prefix is not None or len(set(keys)) == 1:
            return self._features(embeds, prefix, lengths, positions, answers)
        rows: list[int] = []
        parts: list[Tensor] = []
        for key in dict.fromkeys(keys):
            some = [row for row, other in enumerate(keys) if other == key]
            rows += some
            of_some = None if lengths is None else [lengths[row] for row in some]
            width = embeds.shape[1] if of_some is None else max(of_some)
            read = None if answers is None else [answers[row] for row in some]
            parts.append(self._features(embeds[some, :width], None, of_some, None, read))
        longest = max(part.shape[1] for part in parts)
        padded = torch.cat([nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])
        return padded[torch.tensor(rows, device=embeds.device).argsort()]

    def prefill(self, embeds: Tensor) -> "PrefixCache":
        """Read right-padded input embeddings (B, T, d) as prefixes that `hidden` can continue; for causal models only.

        Raises:
            LMError: the model does not keep all keys and values, so that prefixes cannot be shortened or reordered.
        """
        from transformers import DynamicCache

        from hardprompt.lm.prefix_cache import prefix_cache_of

        cache = DynamicCache()  # without the configuration of the model, it keeps the tokens before a sliding window as well
        return prefix_cache_of(cache, self.grown(embeds, cache))

    def grown(self, embeds: Tensor, cache: "DynamicCache", **arguments: Tensor) -> Tensor:
        """The features (B, T, d) of tokens behind those in a cache of keys and values, to which the tokens are added.

        Args:
            embeds: input embeddings of the tokens, (B, T, d).
            cache: the keys and values of the tokens before, which grows.
            arguments: for sequences of different lengths, the `attention_mask` and the `position_ids` of the model.
        """
        self.rules.reset()
        return self.output_layer.features(
            lambda: self.model(inputs_embeds=embeds, use_cache=True, **{self.cache_argument: cache}, **arguments)
        )

    def output_logits(self, features: Tensor, columns: Tensor | None = None) -> Tensor:
        """Logits (..., V) of features (..., d), or (..., C) of the C tokens in `columns` only."""
        return self.output_layer.logits(features, columns)

    def _features(
        self,
        embeds: Tensor,
        prefix: "PrefixCache | None",
        lengths: Sequence[int] | None,
        positions: Tensor | None,
        answers: Sequence[Sequence[int]] | None,
    ) -> Tensor:
        """The features of a batch that goes through the model at once."""
        arguments = {} if prefix is None else prefix.forward_arguments(embeds.shape[1], self.cache_argument)
        last = self.last_layer if positions is not None and positions.shape[1] < embeds.shape[1] else None
        self.rules.reset()
        with last.only(positions) if last and positions is not None else nullcontext():
            return self.output_layer.features(lambda: self.model(inputs_embeds=embeds, use_cache=False, **arguments))

    def _token_text(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after every text."""
        if own := self._own_special_ids()[0]:
            return own, []
        template = str(self.tokenizer.chat_template or "")
        separators = (self.bos_id, self.tokenizer.get_vocab().get(DOCUMENT_SEPARATOR))
        known = [i for i in separators if i is not None and self.tokenizer.convert_ids_to_tokens(i) not in template]
        return known[:1], []

    def start_ids_of(self, start: str) -> list[int]:
        """Special tokens to put before every text in place of `prefix_ids`.

        Args:
            start: "none", "bos" for the beginning-of-sequence token, or the text of the tokens, which may be special.

        Raises:
            LMError: the model has no such token, or the tokens do not fit into its context.
        """
        if start == "none":
            return []
        if start == "bos":
            if self.bos_id is None:
                raise LMError(
                    f"{self.name} has no beginning-of-sequence token (bos); give start as none or as the text of tokens"
                )
            return [self.bos_id]
        vocabulary = self.tokenizer.get_vocab()
        for marker in _MARKER.findall(start):
            if marker not in vocabulary:
                special = [token for token in vocabulary if _MARKER.fullmatch(token)]
                close = difflib.get_close_matches(marker, special, n=1)
                raise LMError(f"{self.name} has no token {marker!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        ids = self.tokenizer(start, add_special_tokens=False, verbose=False)["input_ids"]
        unknown = self.tokenizer.unk_token
        if not ids or (self.tokenizer.unk_token_id in ids and unknown not in start):
            raise LMError(f"{self.name} has no tokens for the start {start!r}; give none, bos or the text of its tokens")
        self._check_ids([ids])
        if len(ids) + len(self.suffix_ids) >= self.max_length:
            raise LMError(f"the start has {len(ids)} tokens, which leaves no room in the context of {self.name}")
        return ids

    def _own_special_ids(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        whole, bare = self.tokenizer(_ANCHOR)["input_ids"], self.encode(_ANCHOR)
        start = next((n for n in range(len(whole) - len(bare) + 1) if whole[n : n + len(bare)] == bare), 0)
        return whole[:start], whole[start + len(bare) :]

    @staticmethod
    def _is_token(embeds: Tensor, lengths: Sequence[int]) -> Tensor:
        """The attention mask (B, T) of right-padded rows."""
        ends = torch.tensor(lengths, device=embeds.device)
        return (torch.arange(embeds.shape[1], device=embeds.device) < ends[:, None]).long()

    @cached_property
    def _lacks_embeddings(self) -> bool:
        """Whether the tokenizer has tokens that the model has no embedding for."""
        return len(self.token_ids) < len(set(self.tokenizer.get_vocab().values()))

    def _check_ids(self, rows: Sequence[Sequence[int]]) -> None:
        size = self.model.get_input_embeddings().weight.shape[0]
        for token in (token for row in rows for token in row if token >= size):
            raise LMError(
                f"the tokenizer of {self.name} gives {self.tokenizer.convert_ids_to_tokens(token)!r} the id {token}, but the "
                f"model has embeddings only for ids below {size}; use the model's own tokenizer, or resize its embeddings"
            )


def _unsupported(model: Any) -> str | None:
    """Why a model is not supported, or None."""
    config = model.config
    if not isinstance(getattr(model.get_input_embeddings(), "weight", None), Tensor):
        return "has no embedding layer for tokens"
    if "lsh" in (getattr(config, "attn_layers", None) or []) and getattr(config, "hash_seed", None) is None:
        return "draws random numbers in each pass (LSH attention), so that no score is reproducible"
    if config.model_type == "mra" and not torch.cuda.is_available():
        return "computes its attention with CUDA only"
    return None


def special_id(tokenizer: Any, *candidates: Any) -> int | None:
    """The first candidate that is a special token of the tokenizer; a default value of the configuration may not be one.

    If a configuration lists several end-of-sequence tokens, the first one counts.
    """
    for candidate in candidates:
        first = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(first, int) and first in tokenizer.all_special_ids:
            return first
    return None
