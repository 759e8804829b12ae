"""Train an embedded model: corpus -> sentencepiece -> GPT-2 -> a Hugging Face folder.

    python -m hardprompt.lm.microworld.train MODEL --out DIR

MODEL is `microworld` or `microworld-reader`, which the package contains, or `microworld-small` or `microworld-large`, which it
does not contain.

One document is one row that starts with the beginning-of-sequence token, so that prompts are scored at the positions where
they were in training. The same seed and number of threads give the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from hardprompt.lm.microworld.corpus import DISTINGUISH, OBEY, READ, Document, Lesson, documents

UNK, BOS, EOS, PAD = range(4)
SPECIAL_PIECES = ("<unk>", "<s>", "</s>", "<pad>")
CONTEXT = 128


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training run, from warm-up to a learning rate of zero.

    Args:
        lessons: mixtures of documents in order, each with its share of `tokens`. With distractors from the start, the model
            ignores every instruction for a long time.
        tokens: length of the corpus in tokens.
        learning_rate: highest learning rate, after the warm-up.
        answer_weight: weight of the tokens of answers in the loss. There are few of them, and only they teach facts.
    """

    lessons: tuple[tuple[Lesson, float], ...] = ((OBEY, 0.45), (DISTINGUISH, 0.55))
    tokens: int = 13_600_000
    learning_rate: float = 2.2e-3
    seed: int = 0
    answer_weight: float = 5.0
    vocab_size: int = 2_300
    width: int = 160
    layers: int = 4
    heads: int = 4
    batch_tokens: int = 1_280
    warmup_steps: int = 400
    weight_decay: float = 0.01
    threads: int = 2


CONFIGS = {
    "microworld": TrainConfig(),
    "microworld-reader": TrainConfig(lessons=((READ, 1.0),), tokens=8_000_000, seed=1, vocab_size=1_900, width=128, threads=1),
    "microworld-small": TrainConfig(width=112, layers=3),
    "microworld-large": TrainConfig(width=208, layers=6, tokens=8_000_000),
}


def train_sentencepiece(corpus: Iterator[Document], vocab_size: int) -> bytes:
    """Train a unigram model with byte fallback and without text normalization; returns the bytes of its `tokenizer.model`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(str(document).replace("\n", " ") for document in corpus),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_by_unicode_script=True,
        split_digits=True,
        max_sentence_length=10_000,
        num_threads=1,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        minloglevel=2,
    )
    return model.getvalue()


def to_tokenizer(model: bytes) -> Tokenizer:
    """The same unigram model as a Hugging Face tokenizer, which adds no special tokens."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Without this split a text that spells out a byte piece, "<0x41>", would be read as that byte.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("<", "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in SPECIAL_PIECES])
    return tokenizer


@dataclass(frozen=True)
class Row:
    """Token ids of a document from <s> to </s>, and the spans that are answers. The last answer includes </s>."""

    ids: list[int]
    answers: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


def encode_documents(corpus: Sequence[Document], tokenizer: Tokenizer) -> list[Row]:
    """Rows of documents.

    A document with an empty prompt can begin with punctuation. Half of these documents are encoded without the space that
    sentencepiece puts before a text, because this space is missing when token ids are concatenated instead of texts.
    """
    anchor = len(tokenizer.encode("a").ids)
    rows = []
    for number, document in enumerate(corpus):
        ids, answers = [BOS], []
        for text, answer in document.turns:
            bare = len(ids) == 1 and not text[0].isalnum() and number % 2
            ids += tokenizer.encode(f"a{text}").ids[anchor:] if bare else tokenizer.encode(text).ids
            if answer:
                first = len(ids)
                ids += tokenizer.encode(answer).ids
                answers.append((first, len(ids)))
        if answers:
            answers[-1] = (answers[-1][0], len(ids) + 1)
        rows.append(Row([*ids, EOS], answers))
    return rows


def corpus_rows(lesson: Lesson, tokens: int, tokenizer: Tokenizer, rng: Random) -> list[Row]:
    """Encoded documents that fill the token budget. Documents that are longer than the context are left out."""
    stream = documents(lesson, rng)
    rows: list[Row] = []
    total = 0
    while total < tokens:
        fresh = encode_documents(list(itertools.islice(stream, 10_000)), tokenizer)
        rows += [row for row in fresh if len(row) <= CONTEXT]
        total = sum(map(len, rows))
    return rows


def schedule(config: TrainConfig, tokenizer: Tokenizer) -> list[list[Row]]:
    """The batches of a training run, lesson by lesson."""
    rng = Random(config.seed)
    result: list[list[Row]] = []
    for lesson, share in config.lessons:
        rows = corpus_rows(lesson, round(config.tokens * share), tokenizer, rng)
        result += batches(rows, config.batch_tokens, rng)
    return result


def batches(rows: list[Row], batch_tokens: int, rng: Random) -> list[list[Row]]:
    """Batches of rows of similar length, in random order."""
    order = sorted(rng.sample(range(len(rows)), len(rows)), key=lambda i: len(rows[i]))
    result: list[list[Row]] = []
    batch: list[Row] = []
    for row in (rows[i] for i in order):
        if len(row) * (len(batch) + 1) > batch_tokens:
            result.append(batch)
            batch = []
        batch.append(row)
    result.append(batch)
    rng.shuffle(result)
    return result


def pad(batch: list[Row]) -> tuple[Tensor, Tensor]:
    """Token ids (B, T) with padding on the right, and a mask (B, T) that is true for the tokens of answers."""
    width = max(map(len, batch))
    ids = torch.tensor([row.ids + [PAD] * (width - len(row)) for row in batch])
    is_answer = torch.zeros(ids.shape, dtype=torch.bool)
    for i, row in enumerate(batch):
        for first, end in row.answers:
            is_answer[i, first:end] = True
    return ids, is_answer


def loss_of(model: GPT2LMHeadModel, ids: Tensor, is_answer: Tensor, answer_weight: float) -> Tensor:
    """Weighted mean negative log-likelihood, in nats per token, of all tokens but the first one and the padding.

    The tokens of answers have the weight `answer_weight`, all others have the weight 1.
    """
    hidden = model.transformer(ids[:, :-1], use_cache=False).last_hidden_state
    targets = ids[:, 1:]
    is_token = targets != PAD
    weights = 1 + (answer_weight - 1) * is_answer[:, 1:][is_token]
    losses = cross_entropy(model.lm_head(hidden[is_token]), targets[is_token], reduction="none")
    return (weights * losses).sum() / weights.sum()


def build_model(config: TrainConfig) -> GPT2LMHeadModel:
    """A model of the configured size with random weights."""
    torch.manual_seed(config.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=CONTEXT,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )


def fit(model: GPT2LMHeadModel, plan: list[list[Row]], config: TrainConfig) -> None:
    """Train on each batch once, with AdamW, a linear warm-up and a cosine decay to zero."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    started, recent = time.monotonic(), 0.0
    model.train()
    for step, batch in enumerate(plan):
        warm = min(1.0, (step + 1) / config.warmup_steps)
        decay = 0.5 * (1 + math.cos(math.pi * step / len(plan)))
        optimizer.param_groups[0]["lr"] = config.learning_rate * warm * decay
        loss = loss_of(model, *pad(batch), config.answer_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent = 0.98 * recent + 0.02 * loss.item() if step else loss.item()
        if step % 200 == 0 or step == len(plan) - 1:
            minutes = (time.monotonic() - started) / 60
            print(f"step {step:6d}/{len(plan)}  loss {recent:.3f} nats/token  {minutes:.1f} min", flush=True)


def save(model: GPT2LMHeadModel, tokenizer: Tokenizer, pieces: bytes, folder: Path) -> None:
    """Write the Hugging Face folder, with weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").write_bytes(pieces)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": SPECIAL_PIECES[UNK],
        "bos_token": SPECIAL_PIECES[BOS],
        "eos_token": SPECIAL_PIECES[EOS],
        "pad_token": SPECIAL_PIECES[PAD],
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def train(config: TrainConfig, folder: Path) -> None:
    """Write the corpus, train the tokenizer and the model, and save both in the folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    hardest, _ = config.lessons[-1]
    pieces = train_sentencepiece(itertools.islice(documents(hardest, Random(config.seed)), 100_000), config.vocab_size)
    tokenizer = to_tokenizer(pieces)
    model = build_model(config)
    fit(model, schedule(config, tokenizer), config)
    save(model, tokenizer, pieces, folder)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m hardprompt.lm.microworld.train", description="Train an embedded model.")
    parser.add_argument("model", choices=CONFIGS)
    parser.add_argument("--out", type=Path, required=True, help="folder to which the model is written")
    parser.add_argument("--seed", type=int, help="default: the seed of the model")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    logging.set_verbosity_error()  # right padding needs no attention mask in a causal model
    given = {name: getattr(args, name) for name in ("seed", "threads") if getattr(args, name) is not None}
    train(replace(CONFIGS[args.model], **given), args.out)


if __name__ == "__main__":
    main()
