"""A frozen encoder-decoder language model (T5, BART), whose encoder reads the text and whose decoder predicts the answer.

The template, filled with an input and a prompt, is the text of the encoder. It is right-padded, and padding is not attended to.
The decoder reads its start tokens and the answer. The encoder reads in both directions, so sequences cannot share a prefix: the
text before the prompt is read again for every prompt. The model assigns no probability to the text that its encoder reads, so a
prompt has no perplexity under it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hardprompt.errors import LMError
from hardprompt.lm.frozen import FrozenLM, special_id
from hardprompt.lm.lengths import context_length

if TYPE_CHECKING:
    from hardprompt.lm.prefix_cache import PrefixCache


class EncoderDecoderLM(FrozenLM):
    """A Hugging Face encoder-decoder LM and its tokenizer, frozen.

    Args:
        model: an encoder-decoder LM.
        tokenizer: its tokenizer.
        name: its name in records.

    Attributes:
        start_ids: the tokens that the decoder reads before an answer. They are the start token of the decoder, and the token
            that the model forces behind it. BART, which starts at the token that ends a text, begins its answers with the token
            that the tokenizer puts before a text.

    Raises:
        LMError: the model names no start token of its decoder, or is refused for a reason of `FrozenLM`.

    Example:
        >>> lm = load_lm("path/to/flan-t5-small")     # doctest: +SKIP
        >>> lm.kind, lm.start_ids     # doctest: +SKIP
        ('encoder-decoder', [0])
    """

    kind = "encoder-decoder"

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.start_ids = _start_ids(model, tokenizer, name)
        super().__init__(model, tokenizer, name)
        self.max_length = min(self.max_length, context_length(model.config, encoder=True))

    def plain(self, ids: Tensor) -> Any:
        """The output of the model's own forward pass over token ids (B, T) and the start tokens of the decoder."""
        start = torch.tensor(self.start_ids, device=ids.device).expand(len(ids), -1)
        return self.model(input_ids=ids, decoder_input_ids=start, use_cache=False)

    def _features(
        self,
        embeds: Tensor,
        prefix: "PrefixCache | None",
        lengths: Sequence[int] | None,
        positions: Tensor | None,
        answers: Sequence[Sequence[int]] | None,
    ) -> Tensor:
        """The features (B, S + A, d) of the decoder at its S start tokens and the tokens of the answers."""
        arguments = {} if lengths is None else {"attention_mask": self._is_token(embeds, lengths)}
        rows = [[*self.start_ids, *answer] for answer in answers or [[]] * len(embeds)]
        width = max(map(len, rows))
        decoded = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=embeds.device)
        return self.output_layer.features(
            lambda: self.model(inputs_embeds=embeds, decoder_input_ids=decoded, use_cache=False, **arguments)
        )

    def _around(self) -> tuple[list[int], list[int]]:
        return self._own_special_ids()


def _start_ids(model: Any, tokenizer: Any, name: str) -> list[int]:
    configs = (model.config, getattr(model, "generation_config", None), getattr(model.config, "decoder", None))

    def given(field: str) -> int | None:
        found = (getattr(config, field, None) for config in configs)
        return next((i for i in found if isinstance(i, int)), None)

    found = map(given, ("decoder_start_token_id", "bos_token_id", "pad_token_id"))
    if (start := next((i for i in found if i is not None), None)) is None:
        raise LMError(f"{name} ({type(model).__name__}) names no decoder_start_token_id; set it in its config.json")
    forced = given("forced_bos_token_id")
    if forced is None and start == special_id(tokenizer, tokenizer.eos_token_id):
        own = tokenizer("a")["input_ids"][0]
        forced = own if own in tokenizer.all_special_ids and own != start else None
    return [start] if forced is None else [start, forced]
