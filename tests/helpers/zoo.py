"""A tiny model with random weights for every text family of transformers, and the settings in which families differ.

A recipe names the type of the configuration and the settings in which it differs from the shared sizes. Windows are 12 tokens
long, so that short rows are longer than the window, and the weights are spread so widely that a wrong position, a wrong window
or a dropped bias changes the logits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.auto import modeling_auto

from tests.helpers.tiny import roberta_tokenizer

LAYERS = 4
_SIZES: dict[Any, str] = {
    400: "vocab_size src_vocab_size tgt_vocab_size decoder_vocab_size vocab_size_per_layer_input entity_vocab_size "
    "pronunciation_vocab_size shape_vocab_size unpadded_vocab_size",
    32: "hidden_size d_model n_embd emb_dim dim embedding_size input_embedding_size output_embedding_size lru_width "
    "attention_hidden_size word_embed_proj_dim hidden_size_global cross_attention_hidden_size true_hidden_size "
    "intra_bottleneck_size embed_dim time_step_rank mamba_d_ssm pooler_hidden_size prediction_head_size "
    "backbone_hidden_size router_hidden_size",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_encoder_attention_heads num_decoder_attention_heads num_experts n_routed_experts num_local_experts moe_num_experts "
    "linear_num_value_heads linear_num_heads num_query_groups num_hidden_layers n_layer n_layers num_layers "
    "encoder_layers decoder_layers num_decoder_layers num_encoder_layers num_blocks global_block_size",
    2: "num_key_value_heads num_kv_heads kv_n_heads num_experts_per_tok moe_topk moe_top_k num_experts_per_token moe_k n_group "
    "num_expert_group linear_num_key_heads top_k num_groups n_groups",
    1: "topk_group n_shared_experts moe_num_shared_experts num_shared_experts first_k_dense_replace pad_token_id pad_index "
    "mamba_n_groups mamba_ngroups num_random_blocks num_dense_layers num_kv_shared_layers",
    8: "head_dim d_kv d_head dim_head global_head_dim linear_key_head_dim linear_value_head_dim linear_head_dim v_head_dim "
    "qk_nope_head_dim qk_rope_head_dim attention_head_size kv_lora_rank relative_attention_num_buckets num_buckets q_lora_rank "
    "mamba_d_head query_pre_attn_scalar state_size mamba_d_state index_head_dim hidden_size_per_layer_input chunk_size "
    "mamba_chunk_size block_size adapter_rank mamba_headdim laurel_rank expert_dim o_lora_rank",
    12: "sliding_window window_size local_attention attention_window_size attention_window segment_means_seq_len local_radius "
    "index_topk attention_chunk_size keep_window_size num_landmarks",
    48: "intermediate_size encoder_ffn_dim decoder_ffn_dim d_ff dff ffn_dim n_inner ffn_hidden_size d_inner hidden_dim dim_ff "
    "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size "
    "dense_intermediate_size feed_forward_size intermediate_size_mlp shared_experts_intermediate_size "
    "moe_shared_expert_intermediate_size",
    256: "max_position_embeddings n_positions n_ctx max_seq_len seq_length context_length max_sequence_length "
    "max_encoder_position_embeddings max_decoder_position_embeddings max_target_positions max_relative_positions",
    16: "index_n_heads relative_attention_max_distance relative_max_distance original_max_position_embeddings",
    0: "bos_token_id bos_index",
    6: "rotary_dim",
}
SIZES = {name: value for value, names in _SIZES.items() for name in names.split()}
"""The value of every setting of this name, in whatever configuration it is; 4 layers, 4 heads and 32 dimensions."""


@dataclass(frozen=True)
class Recipe:
    """A tiny model.

    Attributes:
        kind: the type of its configuration.
        head: the class that loads it, such as `AutoModelForCausalLM`.
        settings: settings in which it differs from the shared sizes; those of parts of the configuration are nested.
    """

    kind: str
    head: Any
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> PreTrainedConfig:
        """The configuration."""
        default = CONFIG_MAPPING[self.kind]()
        return CONFIG_MAPPING[self.kind](**_settings(default, self.settings))

    def model(self) -> Any:
        """The model, the same at each call."""
        torch.manual_seed(0)
        return with_random_weights(self.head.from_config(self.config(), dtype=torch.float32)).eval()


def _settings(default: PreTrainedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """The shared sizes of the settings that a configuration has, and its own settings, which take precedence."""
    found: dict[str, Any] = {}
    names = {**vars(default), **dict.fromkeys(default.attribute_map)}
    for name, value in names.items():
        if name in own:
            continue
        if isinstance(value, PreTrainedConfig):
            found[name] = _settings(value, {})
        elif name in SIZES and not isinstance(value, (list, tuple, bool)):
            found[name] = SIZES[name]
        elif name in ("layer_types", "mlp_layer_types", "layers_block_type") and value:
            kinds = list(dict.fromkeys(value))
            found[name] = [kinds[i % len(kinds)] for i in range(LAYERS)]
        elif name.endswith(("token_id", "token_index")) and isinstance(value, int) and value >= SIZES["vocab_size"]:
            found[name] = MASK
    if "eos_token_id" in names:
        found["eos_token_id"] = 2
    for name, value in own.items():
        part = getattr(default, name, None)
        found[name] = _settings(part, value) if isinstance(part, PreTrainedConfig) and isinstance(value, dict) else value
    return found


@torch.no_grad()
def with_random_weights(model: Any) -> Any:
    """Fill a model with random weights in place: matrices that keep the size of the states, and also biases and norms."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if not weight.is_floating_point():
            continue
        noise = torch.randn(weight.shape, generator=generator)
        if weight.dim() >= 2:
            weight.copy_(noise * 1.5 / math.sqrt(weight.shape[-1]))
        elif not name.endswith(KEPT):
            weight.add_(0.2 * noise)
    return model


MASK = 4
"""The mask token. It stands for every kind of token that is not text, such as those of images, and occurs in no causal row."""

KEPT = ("A_log", "dt_bias", "time_decay", "time_first", "recurrent_param")
"""Parameters of recurrent layers, whose decay would not be one with other values."""


_ALL_HEADS = {"num_key_value_heads": 4}
_MAMBA = {"mamba_n_heads": 8}
_ROPE = {"rope_theta": 100.0}


def _rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, **_ROPE, **settings}}


_LONGROPE = _rope("longrope", short_factor=[1.0, 1.5, 2.0, 2.5], long_factor=[4.0, 5.0, 6.0, 8.0], factor=16.0)
_LONGROPE["rope_parameters"]["original_max_position_embeddings"] = 16
_LONGROPE["original_max_position_embeddings"] = 16
_MROPE = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
_SLIDING = {"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 12, "use_sliding_window": True}
_SCALES = {"embedding_multiplier": 12.0, "residual_multiplier": 0.3, "attention_multiplier": 0.2, "logits_scaling": 8.0}
_AXIAL = {"axial_pos_shape": (16, 16), "axial_pos_embds_dim": (8, 24), "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8}
_AXIAL |= {"attn_layers": ["local", "lsh"] * 2}

_DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16}
_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}

OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        "axk1 axk2 bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear longcat_flash "
        "minicpm3 youtu esmc".split(),
        _ALL_HEADS,
    ),
    "bamba": {**_MAMBA, "attn_layer_indices": [1, 3]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": None, "sliding_attention": _MROPE}}
    | {"layer_types": ["full_attention", "sliding_attention"] * 2},
    "dbrx": {"attn_config": {"rope_theta": 100.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "dots3_note": {"text_config": {}, "vision_config": {}},
    "encoder-decoder": {"decoder": {"is_decoder": True, "add_cross_attention": True}, "decoder_start_token_id": 2},
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["linear_attention", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "reformer": _AXIAL,
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, **_ALL_HEADS},
    "zamba2": {"attention_hidden_size": 64, "attention_head_dim": 16, "n_mamba_heads": 8, **_ALL_HEADS},
    "zaya": {"num_experts_per_tok": 1},
    "mpnet": {"relative_attention_num_buckets": 32},
    "neomme": {"head_dim": 16},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "perceiver": {"num_latents": 8, "d_latents": 32, "num_self_attends_per_block": 2, "num_self_attention_heads": 4}
    | {"num_cross_attention_heads": 4},
}
"""Settings in which a kind of model differs from the shared sizes, whichever class loads it."""

NOT_RUN = {
    "blt": "its plain forward pass fails in transformers (its configuration has no num_hidden_layers)",
    "dots3_note": "its size cannot be changed without its per-layer configuration",
    "dots3_note_text": "its size cannot be changed without its per-layer configuration",
    "gemma3n": "its vision part needs the package timm; gemma3n_text is its text part",
    "gemma4_assistant": "it drafts for another model and reads the keys and values of that model",
    "gemma4_unified_assistant": "it drafts for another model and reads the keys and values of that model",
    "mra": "its attention needs CUDA: on a CPU it is replaced by zeros",
    "musicgen": "it writes music",
    "musicgen_melody": "it writes music",
    **dict.fromkeys(
        "audioflamingo3 glmasr granite_speech granite_speech_plus moss_transcribe_diarize musicflamingo nemo_speechlm "
        "qwen2_audio qwen3_asr vibevoice_asr voxtral voxtral_realtime".split(),
        "it reads speech",
    ),
}
"""Kinds of models that are not in the zoo, and why."""

_VARIANTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "causal": {
        "bart, scaled embeddings": ("bart", {"scale_embedding": True}),
        "bert, both directions": ("bert", {"is_decoder": False}),
        "bert-generation, both directions": ("bert-generation", {"is_decoder": False}),
        "big_bird, full attention": ("big_bird", {"attention_type": "original_full"}),
        "falcon, alibi": ("falcon", {"alibi": True}),
        "falcon, new decoder": ("falcon", {"new_decoder_architecture": True}),
        "gpt2, layer scales": ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
        "gpt_bigcode, many heads": ("gpt_bigcode", {"multi_query": False}),
        "gpt_neo, global": ("gpt_neo", {"attention_types": [[["global"], 4]]}),
        "gpt_neox, sequential": ("gpt_neox", {"use_parallel_residual": False, "partial_rotary_factor": 0.5}),
        "granite, scales": ("granite", _SCALES),
        "granitemoe, scales": ("granitemoe", _SCALES),
        "llama, tied": ("llama", {"tie_word_embeddings": True}),
        "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
        "llama, linear rope": ("llama", _rope("linear", factor=4.0)),
        "llama, dynamic rope": ("llama", {**_rope("dynamic", factor=4.0), "max_position_embeddings": 20}),
        "llama, yarn": ("llama", _rope("yarn", factor=16.0, original_max_position_embeddings=16)),
        "llama, llama3 rope": (
            "llama",
            _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
        ),
        "llama, longrope": ("llama", _LONGROPE),
        "mistral, no window": ("mistral", {"sliding_window": None}),
        "mixtral, no window": ("mixtral", {"sliding_window": None}),
        "opt, projected": ("opt", {"word_embed_proj_dim": 16}),
        "opt, norm after": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
        "phi3, no window": ("phi3", {"sliding_window": None}),
        "phi3, longrope": ("phi3", {**_LONGROPE, "sliding_window": None}),
        "phi3, longrope and window": ("phi3", _LONGROPE),
        "qwen2, windows": ("qwen2", _SLIDING),
        "qwen3, windows": ("qwen3", _SLIDING),
        "stablelm, parallel": ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True}),
        "starcoder2, no window": ("starcoder2", {"sliding_window": None}),
        "xlm, causal": ("xlm", {"causal": True}),
        "xlm, languages": ("xlm", {"causal": True, "n_langs": 2, "use_lang_emb": True}),
    },
    "masked": {
        "albert, factorized": ("albert", {"embedding_size": 16}),
        "big_bird, full attention": ("big_bird", {"attention_type": "original_full"}),
        "big_bird, short blocks": ("big_bird", {"block_size": 4}),
        "deberta, relative": ("deberta", _DEBERTA),
        "deberta-v2, relative": (
            "deberta-v2",
            {**_DEBERTA, "position_buckets": 4, "share_att_key": True, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3},
        ),
        "distilbert, sinusoidal": ("distilbert", {"sinusoidal_pos_embds": True}),
        "electra, factorized": ("electra", {"embedding_size": 16}),
        "esm, rotary": ("esm", {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 4}),
        "modernbert, untied": ("modernbert", {"tie_word_embeddings": False, "decoder_bias": False}),
        "roberta, untied": ("roberta", {"tie_word_embeddings": False}),
        "xlm, languages": ("xlm", {"n_langs": 2, "use_lang_emb": True}),
    },
    "encoder-decoder": {
        "bart, scaled embeddings": ("bart", {"scale_embedding": True}),
        "longt5, transient global": ("longt5", {"encoder_attention_type": "transient-global"}),
        "t5, gated and untied": ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    },
}


def _family(kind: str, head: Any, mapping: Mapping[str, str]) -> dict[str, Recipe]:
    """The recipes of every kind in a mapping of transformers, and of the variants that the zoo adds."""
    encoders = {*modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "bert-generation"}
    recipes = {}
    for name in mapping:
        if name not in NOT_RUN:
            direction = {"is_decoder": True} if kind == "causal" and name in encoders else {}
            recipes[name] = Recipe(name, head, direction | OWN.get(name, {}))
    for name, (base, settings) in _VARIANTS[kind].items():
        recipes[name] = Recipe(base, head, {**recipes[base].settings, **settings})
    return dict(sorted(recipes.items()))


CAUSAL = _family("causal", AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
ENCODER_DECODER = _family("encoder-decoder", AutoModelForSeq2SeqLM, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
_ENCODERS = {
    name: head for name, head in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.items() if name not in ENCODER_DECODER
}
MASKED = _family("masked", AutoModelForMaskedLM, _ENCODERS)


@cache
def tokenizer(special: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a kind of model, byte-level BPE with 400 tokens.

    Args:
        special: a text and the special tokens around it: "<s> $A" for a causal model, "<s> $A </s>" for a masked one, "$A </s>"
            for an encoder-decoder model.
    """
    found = roberta_tokenizer()
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(special, None, [("<s>", 0), ("</s>", 2)])
    return found


def save(recipe: Recipe, folder: Path) -> Path:
    """Save the model of a recipe and its tokenizer in a folder; returns the folder."""
    special = {AutoModelForCausalLM: "<s> $A", AutoModelForMaskedLM: "<s> $A </s>", AutoModelForSeq2SeqLM: "$A </s>"}
    model, config = recipe.model(), recipe.config()
    model.save_pretrained(folder)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)  # saving a model with other parts than text keeps the configuration of its text part only
    tokenizer(special[recipe.head]).save_pretrained(folder)
    return folder
