"""How the length of a sequence and of its neighbours in a batch changes what a model computes.

A sequence must give the same numbers alone and in a batch, and the same numbers with a shared prefix as without. Most models
compute this for all lengths. The exceptions are:

- sliding windows and chunks of attention (Mistral, Gemma 3, GPT-Neo, Llama 4): a prefix that is continued after a gap is exact
  only where the whole sequence is within the window;
- rotary positions whose frequencies depend on the longest sequence in the batch (LongRoPE, dynamic scaling);
- attention to the tokens with the highest scores only (DeepSeek V3.2), where padding decides between equal scores;
- models that mix padding into their states (FNet, Nystromformer).
"""

from collections.abc import Hashable, Sequence
from typing import Any

from torch import nn

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

_WINDOW_FIELDS = (
    "sliding_window",
    "sliding_window_size",
    "window_size",  # GPT-Neo
    "attention_window",
    "attention_window_size",
    "local_attention",
    "attention_chunk_size",  # Llama 4
)


def context_length(config: Any, encoder: bool = False) -> int:
    """The maximal number of tokens that a model of this configuration can read.

    Args:
        config: a Hugging Face configuration. For a multimodal model, the configuration of its text part is used.
        encoder: whether the encoder of an encoder-decoder model is meant and not its decoder.

    Returns:
        The first positive length in the configuration, under any of the names that model families use, times the factor of
        dynamic rotary scaling if there is one; `UNLIMITED` if it has none, or if it is -1, as in XLNet. With block-sparse
        attention (BigBird), it is at most the length up to which attention is full, because it is random beyond.

    Example:
        >>> from transformers import MptConfig, XLNetConfig
        >>> context_length(MptConfig(max_seq_len=512)), context_length(XLNetConfig()) == UNLIMITED
        (512, True)
    """
    text_config = config.get_text_config(encoder=True) if encoder else config.get_text_config(decoder=True)
    lengths = (getattr(text_config, name, None) for name in _LENGTH_FIELDS)
    length = next((length for length in lengths if isinstance(length, int) and length > 0), UNLIMITED)
    factors = [rope.get("factor") or 1.0 for rope in _rope_parameters(text_config) if _rope_type(rope) == "dynamic"]
    if getattr(config, "attention_type", None) == "block_sparse":
        return min(length, (5 + 2 * config.num_random_blocks) * config.block_size)
    return int(length * max(factors, default=1.0))


class LengthRules:
    """Which sequences of a model can share a prefix, and which can be padded to the same length.

    Args:
        model: a Hugging Face model.

    Attributes:
        shared: the largest number of tokens of a sequence, padding included, that continues a shared prefix.
        padding: whether sequences of different lengths can be in one batch.
        batches: whether several sequences can be in one batch.
    """

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        text_config = config.get_text_config(decoder=True)
        self.padding = True
        self.batches = True
        ropes = [rope for rope in _rope_parameters(text_config) if _rope_type(rope) in ("dynamic", "longrope")]
        selected = _sizes(text_config, ["index_topk"])
        self._uniform = min([_original_length(text_config, rope) for rope in ropes] + selected, default=UNLIMITED)
        grows = any(_rope_type(rope) == "dynamic" for rope in ropes)
        self._each_length = grows or bool(selected)
        self.shared = min([self._uniform, *_sizes(text_config, _WINDOW_FIELDS)])
        self._dynamic = [part for part in model.modules() if grows and hasattr(part, "original_max_seq_len")]

    def groups(self, lengths: Sequence[int]) -> list[Hashable]:
        """For each sequence of a batch, a key; only sequences with the same key give the same numbers together as alone."""
        if not self.batches:
            return list(range(len(lengths)))
        if not self.padding:
            return list(lengths)
        if self._each_length:
            return [max(length, self._uniform) for length in lengths]
        return [length > self._uniform for length in lengths]

    def reset(self) -> None:
        """Forget the longest sequence so far, on which the frequencies of dynamic rotary positions depend otherwise."""
        for part in self._dynamic:
            for name in [name for name in vars(part) if name.endswith("max_seq_len_cached")]:
                setattr(part, name, part.original_max_seq_len)
            for name, original in [*part.named_buffers(recurse=False)]:
                if "original_inv_freq" in name:
                    part.register_buffer(name.replace("original_", ""), original.clone(), persistent=False)


def _sizes(config: Any, names: Sequence[str]) -> list[int]:
    """The positive numbers in these fields of a configuration, or of the configurations of its layers."""
    configs = [config, *(getattr(config, "per_layer_config", None) or [])]
    found = []
    for each in configs:
        for name in names:
            try:
                size = getattr(each, name, None)
            except Exception:  # a field that differs between layers
                continue
            found += [size] if isinstance(size, int) and size > 0 else []
    return found


def _rope_parameters(config: Any) -> list[dict[str, Any]]:
    """The parameters of the rotary positions, one for all layers or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if not isinstance(found, dict):
        return []
    return [found] if _rope_type(found) else [each for each in found.values() if isinstance(each, dict)]


def _rope_type(rope: dict[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "")


def _original_length(config: Any, rope: dict[str, Any]) -> int:
    """The length up to which the rotary positions are not scaled."""
    if _rope_type(rope) == "dynamic":
        return int(config.max_position_embeddings)
    return int(
        rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", 0) or UNLIMITED
    )
