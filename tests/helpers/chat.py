"""Chat templates in the formats that models are published with, and tiny models with tokenizers that have their markers."""

import copy
from functools import cache
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hardprompt.data.task import Task, Template
from hardprompt.lm import FrozenLM
from tests.helpers.tiny import TEXT, sentencepiece_tokenizer, tiny_task

_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA_TURNS = (
    "{% for m in turns %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"

TEMPLATES = {
    "chatml": _CHATML,
    "chatml-default": "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nsay yes<|im_end|>\n' }}{% endif %}"
    + _CHATML,
    "thinking": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' and loop.last %}"
        "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "dated": "{{ '<|im_start|>system\nnow ' + strftime_now('%d %B %Y') + '<|im_end|>\n' }}" + _CHATML,
    "llama3": "{{ bos_token }}{% set turns = messages %}" + _LLAMA_TURNS,
    "llama3.2": (
        "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] | trim %}{% set turns = messages[1:] %}"
        "{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
        "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + date_string + '\n\n' + told + '<|eot_id|>' }}"
        + _LLAMA_TURNS
    ),
    "mistral": (
        _NO_SYSTEM
        + "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
    "zephyr": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "gemma": (
        _NO_SYSTEM + "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "phi3": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
}
"""ChatML as Qwen and SmolLM2 have it, with an empty thought and with a date; Llama 3 and 3.2; Mistral; Zephyr; Gemma; Phi-3."""

WITHOUT_SYSTEM = ("mistral", "gemma")

END = {"mistral": "</s>", "zephyr": "</s>", "gemma": "<end_of_turn>", "phi3": "<|end|>", "llama3": "<|eot_id|>"}
END |= {"llama3.2": "<|eot_id|>", "chatml": "<|im_end|>"}
"""The token that ends an answer."""

WORDS = {"positive": "a", "negative": "b"}
"""Label words that are one token of every tokenizer, with and without a blank before them."""


@cache
def chat_lm(template: str) -> FrozenLM:
    """A tiny model with one of the `TEMPLATES`."""
    kind = "plain" if template in ("mistral", "zephyr") else "marked" if template in ("gemma", "phi3") else "bytes"
    lm = copy.copy(_lm(kind))
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    lm.tokenizer.chat_template = TEMPLATES[template]
    return lm


def chat_task(kind: str = "classification", text: str = "{input}\n{prompt}", **fields: Any) -> Task:
    """A chat of a few examples."""
    words = {"label_words": WORDS} if kind == "classification" else {}
    return tiny_task(kind, **{"template": Template(text), "chat": True, **words, **fields})


@cache
def _lm(kind: str) -> FrozenLM:
    tokenizer = _byte_level() if kind == "bytes" else sentencepiece_tokenizer()
    if kind == "marked":
        turns = [AddedToken(f"<|{role}|>", rstrip=True, special=True) for role in ("system", "user", "assistant", "end")]
        tokenizer.add_tokens([*turns, "<start_of_turn>", "<end_of_turn>"], special_tokens=True)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(**size, **ids, max_position_embeddings=512, tie_word_embeddings=False, initializer_range=0.5)
    return FrozenLM(LlamaForCausalLM(config), tokenizer, f"tiny-{kind}")


def _byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([start + line for start in (" ", "") for line in TEXT for _ in range(4)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|im_end|>")
