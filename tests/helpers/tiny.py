"""Tiny language models with random weights, and tokenizers trained when the tests run.

The contract of every optimizer is checked on them. Whether an optimizer learns is tested on the embedded model.
"""

import io
import json
import subprocess
import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from hardprompt.data.task import SPLITS, Example, Task, Template
from hardprompt.lm import EncoderDecoderLM, FrozenLM, MaskedLM

TEXT = """the cat sat on a mat and looked at the dog near a house
good food is great but bad food is terrible and a dull film is bad
it was a lovely film with good actors and great music : positive or negative
yes or no ? the answer is yes , the answer is no . red green blue seven nine
write the word again and say what it means in one line""".split("\n")

CAUSAL = ("gpt2", "llama", "no-bos", "opt", "neox")
"""Tied head and byte-level BPE; untied head, rotary positions and sentencepiece; GPT-2 without a start token; OPT; GPT-NeoX."""

MASKED = ("roberta", "bert")
"""Byte-level BPE and positions after padding; WordPiece in lower case."""

FAMILIES = (*CAUSAL, *MASKED)

ENCODER_DECODER = ("t5", "bart")
"""Relative positions and a scaled tied head; positions from a table, and a decoder that starts at the end token."""

WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
DEEP = {**WIDE, "intermediate_size": 32, "initializer_range": 0.5}


def _model(family: str, ids: dict[str, Any]) -> Any:
    """A model of a family with random weights, 64 positions and the ids of its tokenizer."""
    if family == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
                tie_word_embeddings=False,
                initializer_range=0.5,
                **ids,
            )
        )
    if family == "opt":
        return OPTForCausalLM(
            OPTConfig(
                max_position_embeddings=64,
                ffn_dim=32,
                word_embed_proj_dim=16,
                activation_function="gelu",  # relu has kinks, at which finite differences are no gradient
                init_std=0.5,
                **WIDE,
                **ids,
            )
        )
    if family == "neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**DEEP, **ids, max_position_embeddings=64))
    if family == "roberta":
        return RobertaForMaskedLM(RobertaConfig(**DEEP, **ids, max_position_embeddings=66, type_vocab_size=1))
    if family == "t5":
        size = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        return T5ForConditionalGeneration(T5Config(**size, **ids, decoder_start_token_id=1, feed_forward_proj="gated-gelu"))
    if family == "bart":
        size = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 2), ("attention_heads", 2))}
        size |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "max_position_embeddings": 64}
        return BartForConditionalGeneration(
            BartConfig(**size, **ids, decoder_start_token_id=2, forced_bos_token_id=None, init_std=0.5)
        )
    if family == "bert":
        return BertForMaskedLM(BertConfig(**DEEP, **ids, max_position_embeddings=64))
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.5, **ids))


@cache
def tiny_lm(family: str) -> FrozenLM:
    """A model of a family with random weights, the same at each call."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(family)
    names = (
        ("bos_token_id", "eos_token_id")
        if family in ("gpt2", "llama", "no-bos")
        else ("bos_token_id", "eos_token_id", "pad_token_id")
    )
    model = _model(family, {"vocab_size": len(tokenizer)} | {name: getattr(tokenizer, name) for name in names})
    if family in ENCODER_DECODER:
        return EncoderDecoderLM(model, tokenizer, f"tiny-{family}")
    if family not in MASKED:
        return FrozenLM(model, tokenizer, f"tiny-{family}")
    torch.nn.init.normal_(model.get_output_embeddings().bias)
    return MaskedLM(model, tokenizer, f"tiny-{family}")


def tiny_task(kind: str = "classification", prompt_first: bool = False, **fields: Any) -> Task:
    """A task of a few examples, of either kind and in either layout."""
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


def write_recipe(folder: Path, **fields: Any) -> Path:
    """Write tiny models, a task and a recipe with two weights and two seeds into a folder; returns the file of the recipe."""
    save_tiny(folder / "tiny")
    save_tiny(folder / "reader", "no-bos")
    write_jsonl(tiny_task(), folder / "mood.jsonl")
    task = {
        "task": str(folder / "mood.jsonl"),
        "template": "{input} {prompt} :",
        "label_words": {"positive": "good", "negative": "bad"},
        "reference_prompts": ["good or bad"],
    }
    recipe = {
        "tasks": [task],
        "models": [{"lm": str(folder / "tiny"), "readers": [str(folder / "reader")]}],
        "optimizers": ["empty", "manual", "random", "soft", "pez"],
        "options": {"random": {"batch_size": 4}, "soft": {"evaluate_every": 2}},
        "weights": [0, 0.2],
        "seeds": [0, 1],
        "lm_tokens": 600,
        "prompt_length": 3,
        "device": "cpu",
        "memory": "256MB",
    }
    (folder / "r.yaml").write_text(json.dumps(recipe | fields), encoding="utf-8")
    return folder / "r.yaml"


def pieces(lm: FrozenLM) -> list[int]:
    """The tokens that spell "good" letter by letter."""
    letters = ["g", "##o", "##o", "##d"] if lm.name == "tiny-bert" else list("good")
    return lm.tokenizer.convert_tokens_to_ids(letters)


def write_jsonl(task: Task, file: Path) -> None:
    """Write the examples of a task to a JSONL file."""
    rows = (
        {"input": example.input, "answer": example.answer, "split": split}
        for split in SPLITS
        for example in task.examples(split)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def save_tiny(folder: Path, family: str = "gpt2") -> Path:
    """Save a tiny model as a Hugging Face folder."""
    lm = tiny_lm(family)
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(family: str) -> Any:
    if family == "llama":
        return sentencepiece_tokenizer()
    if family == "bert":
        return _wordpiece_tokenizer()
    if family in ("roberta", "bart"):
        return roberta_tokenizer()
    if family == "t5":
        tokenizer = roberta_tokenizer()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
        )
        return tokenizer
    return _byte_level_tokenizer(with_bos=family != "no-bos")


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like that of RoBERTa: the mask token takes the space before it; a text has a special token at each end."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([start + line for start in (" ", "") for line in TEXT for _ in range(4)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>"}
    given = {f"{name}_token": token for name, token in names.items()} | {"mask_token": AddedToken("<mask>", lstrip=True)}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given)


def _wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like that of uncased BERT."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        TEXT * 4, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _byte_level_tokenizer(with_bos: bool) -> PreTrainedTokenizerFast:
    end = "<|endoftext|>" if with_bos else "<|end|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + line for line in TEXT for _ in range(4)], trainer)
    names = {"eos_token": end} | ({"bos_token": end} if with_bos else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def sentencepiece_tokenizer() -> Any:
    """A tokenizer like that of Llama 2."""
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


def wait_for_lines(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a process has recorded this number of runs in the folder of a study."""
    file = folder / "points.jsonl"
    end = time.monotonic() + 300
    while not file.is_file() or file.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
