"""A frozen masked language model (RoBERTa, BERT): it reads a text both ways and fills in the place of its mask token.

A sequence is [CLS] text [SEP], right-padded, and the padding is not read. Before the output embeddings stands a transform of
the hidden states: a linear layer, its activation and a layer norm. There is nothing that sequences could share, since each
state depends on the whole text.
"""

import re
from collections.abc import Callable, Sequence
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
        model: a masked LM of the RoBERTa, BERT, DistilBERT or ModernBERT family.
        tokenizer: its tokenizer, which has a mask token.
        name: how records call it.

    Raises:
        LMError: there is no mask token, or an output layer of another kind.

    Example:
        >>> lm = load_lm("path/to/roberta-base")     # doctest: +SKIP
        >>> lm.masked, lm.max_length     # doctest: +SKIP
        (True, 512)
    """

    masked = True

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        if tokenizer.mask_token_id is None:
            raise LMError(f"{name} is a masked model ({type(model).__name__}), but its tokenizer has no mask token")
        self.mask_id: int = tokenizer.mask_token_id
        self._transform = _transform(model, name)
        super().__init__(model, tokenizer, name)
        self.opening = [i for i in (tokenizer.cls_token_id, tokenizer.bos_token_id) if i is not None][:1]
        self.closing = [i for i in (tokenizer.sep_token_id, tokenizer.eos_token_id) if i is not None][:1]
        positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
        if (padding := getattr(positions, "padding_idx", None)) is not None:  # RoBERTa's positions begin after that of padding
            self.max_length -= padding + 1

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each of several texts, with the mask token where they have `MASK`, whose blank belongs to the answer."""
        pieces = [re.split(f" *{MASK}", text) for text in texts]
        encoded = iter(super().encode_many([piece for text in pieces for piece in text]))
        return [next(encoded) + [i for _ in text[1:] for i in (self.mask_id, *next(encoded))] for text in pieces]

    def hidden(
        self,
        embeds: Tensor,
        past: "PrefixCache | None" = None,
        lengths: Sequence[int] | None = None,
        read: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, d) of input embeddings (B, T, d), right-padded where there are `lengths` of the rows."""
        is_read = None
        if lengths is not None:
            is_read = torch.arange(embeds.shape[1], device=embeds.device) < torch.tensor(lengths, device=embeds.device)[:, None]
        return self.model.base_model(inputs_embeds=embeds, attention_mask=is_read).last_hidden_state

    def prefill(self, embeds: Tensor) -> "PrefixCache":
        """LMError: what follows a beginning changes how it is read."""
        raise LMError(f"{self.name} is a masked model and reads both ways, so no beginning can be read ahead")

    def features(self, hidden: Tensor) -> Tensor:
        """What the output embeddings are applied to, (..., d): norm(activation(linear(hidden)))."""
        return self._transform(hidden)


def masked_nll(lm: FrozenLM, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """-log p(x_t | all other tokens) of each token of each prompt, in nats; one tensor (L,) per prompt.

    Each token is masked in turn, in its place between [CLS] and [SEP] (Salazar et al. 2020).
    """
    masked = [(prompt, t) for prompt in prompts for t in range(len(prompt))]
    nll = []
    widest = max(len(prompt) for prompt in prompts) + len(lm.opening) + len(lm.closing)
    at_once = lm.memory.rows(lm.footprint.of_pass(widest, reads=1))
    for start in range(0, len(masked), at_once):
        some = masked[start : start + at_once]
        rows = [[*lm.opening, *prompt[:t], lm.mask_id, *prompt[t + 1 :], *lm.closing] for prompt, t in some]
        batch = pad_sequence([torch.tensor(row, device=lm.device) for row in rows], batch_first=True)
        hidden = lm.hidden(lm.embed(batch), lengths=[len(row) for row in rows])
        at = torch.tensor([len(lm.opening) + t for _, t in some], device=lm.device)
        targets = torch.tensor([prompt[t] for prompt, t in some], device=lm.device)
        logits = lm.head(hidden[torch.arange(len(some), device=lm.device), at]).float()
        nll.append(nn.functional.cross_entropy(logits, targets, reduction="none"))
    return list(torch.cat(nll).split([len(prompt) for prompt in prompts]))


def masked_states(lm: FrozenLM, embeds: Tensor) -> Tensor:
    """The states (L, d) at the tokens of a prompt, each read with that token masked; differentiable in the `embeds` (L, d)."""
    length = len(embeds)
    is_masked = torch.eye(length, dtype=torch.bool, device=embeds.device)
    rows = torch.where(is_masked[..., None], lm.vocab_embeds[lm.mask_id], embeds)
    opening, closing = (lm.vocab_embeds[ids].expand(length, -1, -1) for ids in (lm.opening, lm.closing))
    places = torch.arange(length, device=embeds.device)
    return lm.hidden(torch.cat([opening, rows, closing], 1))[places, len(lm.opening) + places]


def is_masked(config: Any) -> bool:
    """Whether a configuration is a masked model's: it says so, or it says nothing and is of a type of encoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    names = config.architectures or []
    if any(name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")) for name in names):
        return any(name.endswith("ForMaskedLM") for name in names)
    decodes = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes


def _transform(model: Any, name: str) -> Callable[[Tensor], Tensor]:
    """What stands between the hidden states and the output embeddings, which each family calls otherwise."""
    if hasattr(getattr(model, "lm_head", None), "layer_norm"):  # RoBERTa, XLM-R, CamemBERT
        return lambda hidden: model.lm_head.layer_norm(nn.functional.gelu(model.lm_head.dense(hidden)))
    if hasattr(model, "cls"):  # BERT
        return model.cls.predictions.transform
    if hasattr(model, "vocab_transform"):  # DistilBERT
        return lambda hidden: model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
    if hasattr(model, "head"):  # ModernBERT
        return model.head
    raise LMError(f"the output layer of {name} ({type(model).__name__}) is unknown; use a RoBERTa or BERT")
