"""Make the microworld model: corpus -> sentencepiece -> GPT-2 -> a Hugging Face folder.

    python -m hardprompt.lm.microworld.train --out DIR
    python -m hardprompt.lm.microworld.train --refine DIR --out OTHER

The second command goes on from the first one's half-precision weights with the graded lesson.

One document is one row, from the beginning-of-sequence token on, so that what is scored later stands where it stood in
training. The same seed and number of threads give the same weights on the same machine.
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

from hardprompt.lm.microworld.corpus import DISTINGUISH, GRADE, OBEY, Document, Lesson, documents

UNK, BOS, EOS, PAD = range(4)
SPECIAL_PIECES = ("<unk>", "<s>", "</s>", "<pad>")
CONTEXT = 128


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Sizes and rates of one training; the defaults are those of the model that ships."""

    seed: int = 0
    tokens: int = 10_500_000
    obey_share: float = 0.25
    answer_weight: float = 5.0
    vocab_size: int = 1_800
    width: int = 160
    layers: int = 4
    heads: int = 4
    batch_tokens: int = 2_560
    learning_rate: float = 2.5e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    refine_tokens: int = 1_100_000
    refine_learning_rate: float = 1e-3
    threads: int = 2


def train_sentencepiece(corpus: Iterator[Document], vocab_size: int) -> bytes:
    """A unigram model with byte fallback, as the bytes of its `tokenizer.model`; text is left exactly as it is."""
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
    """The same unigram model as a Hugging Face tokenizer; it adds no special tokens."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocab = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Without this split a text that spells out a byte piece, "<0x41>", would be taken for the byte.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("<", "isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in SPECIAL_PIECES])
    return tokenizer


@dataclass(frozen=True)
class Row:
    """Ids of a document between its marks, and how many of the last ones are its answer, end mark included."""

    ids: list[int]
    answer: int

    def __len__(self) -> int:
        return len(self.ids)


def encode_documents(corpus: Sequence[Document], tokenizer: Tokenizer) -> list[Row]:
    """Rows of documents.

    A document that begins with punctuation (an empty prompt leaves one) is seen half of the time without the blank that
    sentencepiece puts before a text, as it stands when ids rather than texts are put together.
    """
    anchor = tokenizer.encode("a").ids
    questions = tokenizer.encode_batch([document.text for document in corpus])
    wholes = tokenizer.encode_batch([str(document) for document in corpus])
    rows = []
    for number, (document, question, whole) in enumerate(zip(corpus, questions, wholes, strict=True)):
        bare = not document.text[0].isalnum() and number % 2
        ids = tokenizer.encode(f"a{document}").ids[len(anchor) :] if bare else whole.ids
        answer = len(whole.ids) - len(question.ids) + 1 if document.answer else 0
        rows.append(Row([BOS, *ids, EOS], answer))
    return rows


def corpus_rows(lesson: Lesson, tokens: int, tokenizer: Tokenizer, rng: Random) -> list[Row]:
    """Encoded documents, as many as fill the token budget; those too long for the context are left out."""
    stream = documents(lesson, rng)
    rows: list[Row] = []
    total = 0
    while total < tokens:
        fresh = encode_documents(list(itertools.islice(stream, 10_000)), tokenizer)
        rows += [row for row in fresh if len(row) <= CONTEXT]
        total = sum(map(len, rows))
    return rows


def schedule(config: TrainConfig, tokenizer: Tokenizer) -> list[list[Row]]:
    """The batches of the whole training: first mostly instructions that are obeyed, then all that are not as well.

    With distractors from the start, ignoring every instruction is a plateau that takes long to leave.
    """
    rng = Random(config.seed)
    first = round(config.tokens * config.obey_share)
    result: list[list[Row]] = []
    for lesson, tokens in ((OBEY, first), (DISTINGUISH, config.tokens - first)):
        result += batches(corpus_rows(lesson, tokens, tokenizer, rng), config.batch_tokens, rng)
    return result


def batches(rows: list[Row], batch_tokens: int, rng: Random) -> list[list[Row]]:
    """Batches of rows of similar length, in random order; neighbours in time differ in kind."""
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
    """Ids (B, T) with padding on the right, and which of them belong to answers."""
    width = max(map(len, batch))
    ids = torch.tensor([row.ids + [PAD] * (width - len(row)) for row in batch])
    lengths = torch.tensor([[len(row)] for row in batch])
    answers = torch.tensor([[row.answer] for row in batch])
    place = torch.arange(width)
    return ids, (place >= lengths - answers) & (place < lengths)


def loss_of(model: GPT2LMHeadModel, ids: Tensor, is_answer: Tensor, answer_weight: float) -> Tensor:
    """Negative log-likelihood, in nats per token, of everything after the first token, padding left out.

    It is a weighted mean: answers are few among the tokens, and facts are learned from them alone.
    """
    hidden = model.transformer(ids[:, :-1], use_cache=False).last_hidden_state
    targets = ids[:, 1:]
    is_token = targets != PAD
    weights = 1 + (answer_weight - 1) * is_answer[:, 1:][is_token]
    losses = cross_entropy(model.lm_head(hidden[is_token]), targets[is_token], reduction="none")
    return (weights * losses).sum() / weights.sum()


def build_model(config: TrainConfig) -> GPT2LMHeadModel:
    """A fresh model of the configured size."""
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
    """One pass over the batches: AdamW, linear warm-up, cosine decay to zero."""
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
    """Write the Hugging Face folder, weights in half precision."""
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
    """Everything from the corpus to the folder."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    pieces = train_sentencepiece(itertools.islice(documents(DISTINGUISH, Random(config.seed)), 100_000), config.vocab_size)
    tokenizer = to_tokenizer(pieces)
    model = build_model(config)
    fit(model, schedule(config, tokenizer), config)
    save(model, tokenizer, pieces, folder)


def refine(config: TrainConfig, source: Path, folder: Path) -> None:
    """Go on from a trained folder with the graded lesson, in a short schedule of its own."""
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    model = GPT2LMHeadModel.from_pretrained(source, dtype=torch.float32)
    rng = Random(config.seed)
    plan = batches(corpus_rows(GRADE, config.refine_tokens, tokenizer, rng), config.batch_tokens, rng)
    fit(model, plan, replace(config, learning_rate=config.refine_learning_rate))
    save(model, tokenizer, (source / "tokenizer.model").read_bytes(), folder)


def main() -> None:
    """Command line of the training."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(prog="python -m hardprompt.lm.microworld.train", description="Make the model.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model", help="folder to write")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="length of the corpus")
    parser.add_argument("--threads", type=int, default=defaults.threads)
    parser.add_argument("--refine", type=Path, help="go on from this folder with the graded lesson")
    args = parser.parse_args()
    logging.set_verbosity_error()  # right padding needs no attention mask in a causal model
    config = TrainConfig(seed=args.seed, tokens=args.tokens, threads=args.threads)
    if args.refine:
        refine(config, args.refine, args.out)
    else:
        train(config, args.out)


if __name__ == "__main__":
    main()
