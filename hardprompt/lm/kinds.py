"""The three kinds of language models, and which kind a checkpoint is."""

from typing import Any

from hardprompt.lm.encoder_decoder import EncoderDecoderLM
from hardprompt.lm.frozen import FrozenLM, Kind
from hardprompt.lm.masked import MaskedLM

LM_CLASSES: dict[Kind, type[FrozenLM]] = {"causal": FrozenLM, "masked": MaskedLM, "encoder-decoder": EncoderDecoderLM}

AUTO_CLASSES: dict[Kind, str] = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "encoder-decoder": "AutoModelForSeq2SeqLM",
}
"""The names of the classes of transformers that load a checkpoint."""


def kind_of(config: Any, architecture: str | None = None) -> Kind:
    """The kind of model that a Hugging Face configuration belongs to.

    The class that the configuration names decides. If it names no class of a language model, its type decides.

    Args:
        config: the configuration.
        architecture: the name of the class of a loaded model, whose configuration may name none.

    Example:
        >>> from transformers import RobertaConfig, T5Config
        >>> kind_of(RobertaConfig()), kind_of(T5Config())
        ('masked', 'encoder-decoder')
    """
    from transformers.models.auto import modeling_auto as auto

    mappings: dict[Kind, Any] = {
        "encoder-decoder": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    named = [architecture] if architecture else config.architectures or []
    kinds = [kind for kind, classes in mappings.items() if classes.get(config.model_type) in named]
    if "causal" in kinds and getattr(config, "causal", False):  # XLM has one class for both kinds
        return "causal"
    if kinds:
        return kinds[0]
    if any(name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")) for name in named):
        return "masked" if any(name.endswith("ForMaskedLM") for name in named) else "causal"
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    decodes = getattr(config, "is_decoder", False)
    return "masked" if config.model_type in mappings["masked"] and not decodes else "causal"
