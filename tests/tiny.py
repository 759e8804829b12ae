"""Tiny random language models with tokenizers trained on the spot: the contract of every optimizer is checked on them.

They know nothing and cost nothing; what is learned is tested on the embedded model.
"""

import io
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hardprompt.lm import FrozenLM
from hardprompt.task import SPLITS, Example, Task, Template

TEXT = """the cat sat on a mat and looked at the dog near a house
good food is great but bad food is terrible and a dull film is bad
it was a lovely film with good actors and great music : positive or negative
yes or no ? the answer is yes , the answer is no . red green blue seven nine
write the word again and say what it means in one line""".split("\n")

FAMILIES = ("gpt2", "llama", "no-bos")
"""Tied head and byte-level BPE; untied head, rotary positions and sentencepiece; GPT-2 without a start token."""


@cache
def tiny_lm(family: str) -> FrozenLM:
    """A random model of a family, the same one each time."""
    torch.manual_seed(0)
    tokenizer = _sentencepiece_tokenizer() if family == "llama" else _byte_level_tokenizer(with_bos=family == "gpt2")
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    sizes["eos_token_id"] = tokenizer.eos_token_id
    model: Any
    if family == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
                tie_word_embeddings=False,
                initializer_range=0.5,
                **sizes,
            )
        )
    else:
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5, **sizes))
    return FrozenLM(model, tokenizer, f"tiny-{family}")


def tiny_task(kind: str = "classification", prompt_first: bool = False, **fields: Any) -> Task:
    """A few examples in either kind and layout."""
    inputs = ["the cat sat on a mat", "it was a lovely film", "bad food", "the answer is no", "red green blue", "a dull film"]
    answers = ["positive", "negative"] * 3 if kind == "classification" else ["good", "a mat", "red", "yes or no", "film", "no"]
    examples = [Example(*pair) for pair in zip(inputs, answers, strict=True)]
    words = {"positive": "good", "negative": "bad"} if kind == "classification" else {}
    defaults = {
        "name": f"tiny-{kind}",
        "template": Template("{prompt} : {input} is" if prompt_first else "{input} {prompt} :"),
        "train": examples,
        "dev": examples[:4],
        "test": examples[2:],
        "label_words": words,
        "reference_prompts": ["good or bad", "write the word"],
    }
    return Task(**{**defaults, **fields})


def write_jsonl(task: Task, file: Path) -> None:
    """The examples of a task as a file of its own."""
    rows = (
        {"input": example.input, "answer": example.answer, "split": split}
        for split in SPLITS
        for example in task.examples(split)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def save_tiny(folder: Path, family: str = "gpt2") -> Path:
    """A tiny model as a Hugging Face folder."""
    lm = tiny_lm(family)
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def _byte_level_tokenizer(with_bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + line for line in TEXT for _ in range(4)], trainer)
    names = {"eos_token": "<|endoftext|>"} | ({"bos_token": "<|endoftext|>"} if with_bos else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _sentencepiece_tokenizer() -> Any:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4),
        model_writer=model,
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with TemporaryDirectory() as folder:
        Path(folder, "tokenizer.model").write_bytes(model.getvalue())
        Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
        return AutoTokenizer.from_pretrained(folder)
