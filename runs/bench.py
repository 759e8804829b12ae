"""The scoring engine compared with simple reference procedures: ratios of times that are measured in one process.

    python runs/bench.py [--json] [--only NAME,...] [--repeats N] [--device DEVICE] [--markdown FILE.md]

The reference procedures are written out in this script. They tokenize every text anew, run the model on one prompt after
another, and compute logits over the whole vocabulary at every position. Apart from that they are efficient: they compute no
gradient where none is needed, none for the weights, and process all examples of a prompt in one padded batch.

The engine and the reference run in turn, and each repetition has new prompts, because the scorer stores the scores of prompts.
The engine reads the text before the prompt of each example once per scorer and caches its keys and values, as in a search. The
first call, which fills the cache, is timed separately. The model has the shape of GPT-2 small, random weights and a vocabulary
of 50,257 invented words; some rows use the embedded model or the downloaded model smollm2 instead.

The column "share of peak" has the necessary operations (`needed_flops`) per second of the engine, as a share of the rate of a
large matrix product of the same precision in the same repetitions.
"""

import argparse
import copy
import ctypes
import gc
import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig, PretrainedConfig, PreTrainedTokenizerFast

from hardprompt import Example, Task, Template, load_lm, load_optimizer, load_task
from hardprompt.errors import LMError
from hardprompt.lm import FrozenLM
from hardprompt.lm.loading import available_device
from hardprompt.lm.memory import Memory, memory_bytes
from hardprompt.objective import Objective
from hardprompt.optimizers.base import Problem, run_optimizer
from hardprompt.optimizers.pez import pez_steps
from hardprompt.scoring import Scorer

PROMPT = 5  # tokens
SOFT_PROMPT = 20  # vectors
SENTENCES = 32
SHORTEST, LONGEST = 10, 24  # length of a sentence in tokens
END = "<end>"
LABELS = {"positive": "good", "negative": "bad"}
WEIGHT = 0.1  # weight of the prompt NLL in rewards that contain it
EPISODES = 1000
MARGIN = 0.05  # if label words differ by more nats than this, bfloat16 must give the same answer
MATMUL = 2048
DEVICE: str | None = None  # set by --device; by default CUDA if it is available


@dataclass(frozen=True)
class Row:
    """One comparison: two procedures for the same numbers.

    Attributes:
        name: the name of the row in `--only`.
        what, against: descriptions of the measured procedure and of the reference.
        engine, reference: functions that run the repetition of a given number; repetition 0 is the warm-up. The comparison of
            their results is not timed.
        agree: computes the largest differences between the two results, by name.
        limits: the largest allowed difference for each name, or, for a share, the smallest allowed value.
        target: the ratio that should be reached; with `difference`, the seconds that should not be exceeded.
        aim: a higher ratio that is desirable.
        difference: whether times are compared by their difference instead of their ratio.
        first: runs a repetition of the engine with an empty cache.
        flops: the necessary floating-point operations of one repetition.
        dtype: the precision of the engine.
    """

    name: str
    what: str
    against: str
    engine: Callable[[int], Any]
    reference: Callable[[int], Any]
    agree: Callable[[Any, Any], dict[str, float]]
    limits: dict[str, float]
    target: float
    aim: float | None = None
    difference: bool = False
    first: Callable[[int], Any] | None = None
    flops: float | None = None
    dtype: torch.dtype = torch.float32


class CannotRun(Exception):
    """Raised if a row cannot be measured on this machine; the message is the reason."""


# The models and tasks


def words(count: int) -> list[str]:
    """A vocabulary of `count` words: "a", the label words, invented words of five letters, and the end-of-sequence token."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = ("".join(word) for word in itertools.product(letters, repeat=5))
    return ["a", *LABELS.values(), *itertools.islice(made, count - len(LABELS) - 2), END]


def random_lm(config: PretrainedConfig | None = None, dtype: torch.dtype = torch.float32) -> FrozenLM:
    """A causal model with random weights, by default of the shape of GPT-2 small.

    It has no beginning-of-sequence token, because there is none in the layout of peft.
    """
    config = config or GPT2Config(bos_token_id=None)
    vocabulary = {word: number for number, word in enumerate(words(config.vocab_size))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    return FrozenLM(model.to(available_device(DEVICE), dtype), fast, f"{config.model_type}-shaped")


def forgetful(lm: FrozenLM) -> FrozenLM:
    """The same model with an empty cache of keys and values."""
    lm.memory = Memory(lm.memory.budget)
    return lm


def plain_model(lm: FrozenLM) -> Any:
    """A copy of the model for the reference, which is independent of the model of the engine."""
    return copy.deepcopy(lm.model)


def random_prompts(lm: FrozenLM, count: int, length: int, seed: int) -> list[list[int]]:
    """Random prompts of words that decoding and encoding do not change; the same seed gives the same prompts."""
    generator = torch.Generator().manual_seed(seed)
    ids = _ordinary(lm)
    return [[ids[i] for i in torch.randint(len(ids), (length,), generator=generator).tolist()] for _ in range(count)]


def _ordinary(lm: FrozenLM) -> list[int]:
    special = {*lm.tokenizer.all_special_ids, *lm.encode("a")}
    ids = [i for i in range(lm.vocab_embeds.shape[0]) if i not in special]
    pieces = lm.tokenizer.convert_ids_to_tokens(ids)
    whole = [i for i, piece in zip(ids, pieces, strict=True) if re.fullmatch("[▁Ġ][A-Za-z]+", piece)]
    return whole or ids


def sentences_task(lm: FrozenLM, template: str, count: int, generation: bool = False, longest: int = LONGEST) -> Task:
    """A task on random sentences of 10 to 24 tokens, equally frequent, with two labels or one word to generate."""
    lengths = [SHORTEST + i % (longest - SHORTEST + 1) for i in range(count)]
    inputs = [lm.decode(random_prompts(lm, 1, length, 10_000 + i)[0]).strip() for i, length in enumerate(lengths)]
    answers = list(LABELS.values() if generation else LABELS)
    examples = [Example(text, answers[i % 2]) for i, text in enumerate(inputs)]
    return Task(
        name="sentences",
        template=Template(template),
        train=examples,
        dev=examples[:2],
        test=examples[:2],
        label_words={} if generation else LABELS,
        match="starts-with" if generation else "exact",
    )


# The reference procedures


def padded(lm: FrozenLM, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (B, T) of right-padded texts, the attention mask (B, T), and the lengths (B,)."""
    ids = [lm.prefix_ids + row for row in lm.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    width = max(map(len, ids))
    lengths = torch.tensor([len(row) for row in ids], device=lm.device)
    batch = torch.tensor([row + [0] * (width - len(row)) for row in ids], device=lm.device)
    return batch, (torch.arange(width, device=lm.device) < lengths[:, None]).long(), lengths


def label_columns(lm: FrozenLM) -> list[int]:
    """The tokens of the label words after another word."""
    return [lm.encode("a " + word)[-1] for word in LABELS.values()]


@torch.no_grad()
def reference_log_probs(model: Any, lm: FrozenLM, task: Task, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of the labels (P, N, C), by the reference procedure: prompt by prompt, with full logits."""
    found = []
    for ids in prompts:
        prompt = lm.decode(ids).strip()
        batch, mask, lengths = padded(lm, [task.template.fill(example.input, prompt) for example in task.train])
        logits = model(input_ids=batch, attention_mask=mask).logits
        last = logits[torch.arange(len(batch), device=lm.device), lengths - 1]
        found.append(last[:, label_columns(lm)].float().log_softmax(-1))
    return torch.stack(found)


def engine_log_probs(scorer: Scorer, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Log-probabilities of the labels (P, N, C), by the engine."""
    logits = scorer.score_ids(prompts).label_logits
    assert logits is not None
    return logits.float().log_softmax(-1)


@torch.no_grad()
def reference_rewards(model: Any, lm: FrozenLM, task: Task, prompts: Sequence[Sequence[int]], indices: Sequence[int]) -> Tensor:
    """Minus loss and weighted log-perplexity (P,), with one pass over the texts of each prompt and one over the prompt."""
    chosen = [task.train[i] for i in indices]
    labels = torch.tensor([task.labels.index(example.answer) for example in chosen], device=lm.device)
    rewards = []
    for ids in prompts:
        prompt = lm.decode(ids).strip()
        batch, mask, lengths = padded(lm, [task.template.fill(example.input, prompt) for example in chosen])
        logits = model(input_ids=batch, attention_mask=mask).logits
        last = logits[torch.arange(len(batch), device=lm.device), lengths - 1]
        loss = cross_entropy(last[:, label_columns(lm)].float(), labels)
        alone = padded(lm, [prompt])[0]
        rewards.append(-(loss + WEIGHT * model(input_ids=alone, labels=alone).loss))
    return torch.stack(rewards)


def peft_model(lm: FrozenLM, length: int) -> Any:
    """peft's prompt tuning on a copy of the model."""
    try:
        from peft import PromptTuningConfig, get_peft_model
    except ImportError as error:
        raise CannotRun("peft is not installed: pip install -e '.[dev]'") from error
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length, prompt_tuning_init="RANDOM")
    with warnings.catch_warnings():  # peft reads an attribute that transformers has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        tuned = get_peft_model(plain_model(lm), config)
    return tuned.eval()  # no dropout, or losses would not compare


class PeftStep:
    """A training step of peft's prompt tuning with `labels=`. Texts are tokenized in advance, as in the examples of peft."""

    def __init__(self, lm: FrozenLM, task: Task, length: int, learning_rate: float) -> None:
        self.lm = lm
        self.model = peft_model(lm, length)
        self.weight = self.model.prompt_encoder["default"].embedding.weight
        self.updater = torch.optim.AdamW([self.weight], lr=learning_rate, weight_decay=0.0)
        self.ids = [lm.encode(task.template.fill(example.input, "").strip()) for example in task.train]
        self.answers = [lm.encode(example.answer) for example in task.train]

    def __call__(self, start: Tensor, indices: Sequence[int]) -> tuple[float, Tensor]:
        """Loss and gradient (L, d) at these vectors, and a step from there."""
        self.weight.data.copy_(start)
        width = max(len(self.ids[i]) + len(self.answers[i]) for i in indices)
        rows, labels, masks = [], [], []
        for i in indices:
            pad = width - len(self.ids[i]) - len(self.answers[i])
            rows.append(self.ids[i] + self.answers[i] + [0] * pad)
            labels.append([-100] * len(self.ids[i]) + self.answers[i] + [-100] * pad)
            masks.append([1] * (width - pad) + [0] * pad)
        fed = {"input_ids": rows, "labels": labels, "attention_mask": masks}
        loss = self.model(**{name: torch.tensor(value, device=self.lm.device) for name, value in fed.items()}).loss
        self.updater.zero_grad()
        loss.backward()
        self.updater.step()
        return loss.item(), self.weight.grad


class EngineSoftStep:
    """The same training step by the engine, as in the optimizer `soft`."""

    def __init__(self, scorer: Scorer, length: int, learning_rate: float) -> None:
        self.scorer = scorer
        self.embeds = torch.zeros(length, scorer.lm.vocab_embeds.shape[1], device=scorer.lm.device, requires_grad=True)
        self.updater = torch.optim.AdamW([self.embeds], lr=learning_rate, weight_decay=0.0)

    def __call__(self, start: Tensor, indices: Sequence[int] | None = None) -> tuple[float, Tensor]:
        """Loss and gradient (L, d) at these vectors, and a step from there."""
        self.embeds.data.copy_(start)
        loss = self.scorer.score_embeds(self.embeds, indices).loss.mean()
        (self.embeds.grad,) = torch.autograd.grad(loss, self.embeds)
        self.updater.step()
        return loss.item(), self.embeds.grad


class ReferencePezStep:
    """A step of PEZ without shortcuts: it computes every token of every sentence and all logits."""

    def __init__(self, lm: FrozenLM, task: Task, learning_rate: float) -> None:
        self.lm, self.model, self.learning_rate = lm, plain_model(lm), learning_rate
        self.vocab = self.model.get_input_embeddings().weight.detach()
        self.sentences = [lm.prefix_ids + lm.encode(task.template.fill(example.input, "").strip()) for example in task.train]
        self.labels = torch.tensor([task.labels.index(example.answer) for example in task.train], device=lm.device)

    def __call__(self, start: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient (L, d) at the projection of these vectors, and a step from there."""
        embeds = start.clone().requires_grad_()
        updater = torch.optim.AdamW([embeds], lr=self.learning_rate, weight_decay=0.0)
        nearest = (normalize(embeds.detach(), dim=-1) @ normalize(self.vocab, dim=-1).T).argmax(-1)
        hard = self.vocab[nearest].clone().requires_grad_()
        lengths = torch.tensor([len(ids) + len(hard) for ids in self.sentences], device=self.lm.device)
        width = int(lengths.max())
        rows = []
        for ids in self.sentences:
            pad = self.vocab[[0] * (width - len(ids) - len(hard))]
            rows.append(torch.cat([self.vocab[ids], hard, pad]))
        mask = (torch.arange(width, device=self.lm.device) < lengths[:, None]).long()
        logits = self.model(inputs_embeds=torch.stack(rows), attention_mask=mask).logits
        last = logits[torch.arange(len(rows), device=self.lm.device), lengths - 1]
        loss = cross_entropy(last[:, label_columns(self.lm)], self.labels)
        (embeds.grad,) = torch.autograd.grad(loss, hard)
        updater.step()
        return loss.item(), embeds.grad


class EnginePezStep:
    """The same step by the engine, as in the optimizer `pez`."""

    def __init__(self, scorer: Scorer, length: int, learning_rate: float) -> None:
        vocab = scorer.lm.vocab_embeds.float()
        self.embeds = torch.zeros(length, vocab.shape[1], device=vocab.device, requires_grad=True)
        updater = torch.optim.AdamW([self.embeds], lr=learning_rate, weight_decay=0.0)
        self.steps = pez_steps(self.embeds, vocab, lambda hard, rows: scorer.score_embeds(hard).loss.mean(), updater)

    def __call__(self, start: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient (L, d) at the projection of these vectors, and a step from there."""
        self.embeds.data.copy_(start)
        loss = next(self.steps).loss
        assert self.embeds.grad is not None
        return loss, self.embeds.grad


class OneByOne(Problem):
    """A problem that scores each prompt of a rollout in a separate call."""

    def objective(self, prompts: Sequence[Sequence[int]] | Tensor, indices: Sequence[int] | None = None) -> Objective:
        parts = [super(OneByOne, self).objective(prompts[i : i + 1], indices) for i in range(len(prompts))]
        joined = (torch.cat([getattr(part, name) for part in parts]) for name in ("task_loss", "prompt_nll", "accuracy"))
        return Objective(*joined, self.weight)


# Necessary operations


def needed_flops(
    config: PretrainedConfig,
    spans: Sequence[tuple[int, int]],
    reads: Sequence[int],
    columns: int,
    gradient: bool = False,
) -> float:
    """The floating-point operations that every engine needs; multiplications and additions are both counted.

    Every token needs a whole layer. In the last layer, every token needs its keys and values, and only the tokens that are read
    need the rest. A gradient needs the products with the weights once more and the products of the attention twice more; there
    is no gradient for the weights.

    Args:
        spans: for each computed sequence of tokens, the number of tokens before it and its own length.
        reads: for each position whose logits are read, the number of tokens that it attends to.
        columns: the number of logits that are read at each of these positions.
    """
    d, layers = config.hidden_size, config.num_hidden_layers
    keys = d * getattr(config, "num_key_value_heads", config.num_attention_heads) // config.num_attention_heads
    feed_forward = 2 * d * (config.n_inner or 4 * d) if isinstance(config, GPT2Config) else 3 * d * config.intermediate_size
    tokens = sum(count for _, count in spans)
    attended = sum(count * before + count * (count + 1) // 2 for before, count in spans)
    whole = layers - 1
    linear = whole * tokens * 2 * (2 * d * d + 2 * d * keys + feed_forward) + tokens * 4 * d * keys
    linear += len(reads) * (2 * (2 * d * d + feed_forward) + 2 * d * columns)
    attention = 4 * d * (whole * attended + sum(reads))
    return float(linear * (1 + gradient) + attention * (1 + 2 * gradient))


# The rows


def reward_row(lm: FrozenLM, repeats: int, prompts: int = 16, sentences: int = SENTENCES, low: FrozenLM | None = None) -> Row:
    """Rewards of a batch of prompts; with `low`, the engine uses this model, which has a lower precision."""
    task, used = sentences_task(lm, "{input} {prompt}", sentences), low or lm
    model, scorer = plain_model(lm), Scorer(used, task, task.train)
    fresh = [random_prompts(lm, prompts, PROMPT, seed) for seed in range(repeats + 1)]
    lengths = [len(lm.prefix_ids) + len(lm.encode(example.input)) for example in task.train]
    dtype = next(used.model.parameters()).dtype
    return Row(
        name="reward-bfloat16" if low else "reward",
        what=f"reward of {prompts} prompts of {PROMPT} tokens on {sentences} sentences, {str(dtype).removeprefix('torch.')}",
        against="reference procedure in fp32",
        engine=lambda r: engine_log_probs(scorer, fresh[r]),
        reference=lambda r: reference_log_probs(model, lm, task, fresh[r]),
        agree=agreement_of_answers if low else lambda a, b: {"label_log_prob_difference": largest(a, b)},
        limits={"same_answer_share": 0.995} if low else {"label_log_prob_difference": 1e-4},
        target=15 if low else 6,
        aim=None if low else 8,
        first=lambda r: engine_log_probs(Scorer(forgetful(used), task, task.train), fresh[r]),
        flops=prompts
        * needed_flops(lm.model.config, [(n, PROMPT) for n in lengths], [n + PROMPT for n in lengths], len(LABELS)),
        dtype=dtype,
    )


def bfloat16_row(lm: FrozenLM, repeats: int) -> Row:
    """Rewards in bfloat16."""
    return reward_row(lm, repeats, low=random_lm(lm.model.config, torch.bfloat16))


def window_row(lm: FrozenLM, repeats: int) -> Row:
    """Rewards under a model of the shape of Mistral and the size of GPT-2 small: sliding window and grouped-query attention."""
    size = {"hidden_size": 768, "intermediate_size": 2688, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 4, "sliding_window": 256}
    config = MistralConfig(vocab_size=lm.model.config.vocab_size, bos_token_id=None, **size, **heads)
    row = reward_row(random_lm(config), repeats)
    what = f"{row.what}, window of {config.sliding_window} tokens"
    return replace(row, name="reward-window", what=what, target=4, aim=None)


def smollm2_row(lm: FrozenLM, repeats: int) -> Row:
    """Rewards under a real language model, SmolLM2-135M-Instruct, with grouped-query attention and 49,152 tokens."""
    try:
        row = reward_row(load_lm("smollm2", DEVICE), repeats)
    except LMError as error:
        raise CannotRun(str(error)) from error
    return replace(row, name="reward-smollm2", what=f"{row.what}, SmolLM2-135M-Instruct", target=6.5, aim=None)


def soft_row(lm: FrozenLM, repeats: int, batch: int = 16, length: int = SOFT_PROMPT, sentences: int = SENTENCES) -> Row:
    """Prompt tuning."""
    task, rate = sentences_task(lm, "{prompt} {input}", sentences, generation=True), 1e-3
    reference, engine = PeftStep(lm, task, length, rate), EngineSoftStep(Scorer(lm, task, task.train), length, rate)
    draws = [torch.Generator().manual_seed(seed) for seed in range(repeats + 1)]
    starts = [lm.vocab_embeds[torch.tensor(random_prompts(lm, 1, length, seed)[0])] for seed in range(repeats + 1)]
    batches = [torch.randperm(sentences, generator=draw)[:batch].tolist() for draw in draws]
    lengths = [len(lm.encode(task.train[i].input)) for i in batches[-1]]
    spans = [(0, len(lm.prefix_ids) + length), *[(len(lm.prefix_ids) + length, n) for n in lengths]]
    return Row(
        name="soft-step",
        what=f"soft-prompt training step, {{prompt}} {{input}}, batch {batch}, prompt {length}",
        against=f"peft {version('peft')} prompt tuning with labels=",
        engine=lambda r: engine(starts[r], batches[r]),
        reference=lambda r: reference(starts[r], batches[r]),
        agree=agreement_of_steps,
        limits={"loss_difference": 1e-5},
        target=1.5,
        flops=needed_flops(lm.model.config, spans, [before + n for before, n in spans[1:]], lm.model.config.vocab_size, True),
    )


def pez_row(lm: FrozenLM, repeats: int, length: int = PROMPT, sentences: int = SENTENCES) -> Row:
    """PEZ."""
    task, rate = sentences_task(lm, "{input} {prompt}", sentences), 0.1
    reference = ReferencePezStep(lm, task, rate)
    engine = EnginePezStep(Scorer(lm, task, task.train), length, rate)
    draws = [torch.Generator().manual_seed(seed) for seed in range(repeats + 1)]
    spread = float(lm.vocab_embeds.std())
    starts = [spread * torch.randn(length, lm.vocab_embeds.shape[1], generator=draw).to(lm.device) for draw in draws]
    before = [len(lm.prefix_ids) + len(lm.encode(example.input)) for example in task.train]
    projection = 2 * length * lm.vocab_embeds.numel()
    return Row(
        name="pez-step",
        what=f"PEZ step, {{input}} {{prompt}}, batch {sentences}, prompt {length}",
        against="full recomputation with full logits",
        engine=lambda r: engine(starts[r]),
        reference=lambda r: reference(starts[r]),
        agree=agreement_of_steps,
        limits={"loss_difference": 1e-5},
        target=5,
        first=lambda r: EnginePezStep(Scorer(forgetful(lm), task, task.train), length, rate)(starts[r]),
        flops=projection
        + needed_flops(lm.model.config, [(n, length) for n in before], [n + length for n in before], len(LABELS), True),
    )


@cache
def embedded() -> tuple[Task, FrozenLM]:
    """The task review-sentiment, and the embedded model."""
    return load_task("review-sentiment"), load_lm("microworld", DEVICE)


def embedded_problem(seed: int, kind: type[Problem] = Problem, forgets: bool = False) -> Problem:
    """The problem of review-sentiment on the embedded model."""
    task, lm = embedded()
    return kind(task, forgetful(lm) if forgets else lm, weight=WEIGHT, prompt_length=PROMPT, seed=seed)


def rl_reward_row(lm: FrozenLM, repeats: int, prompts: int = 64, examples: int = SENTENCES) -> Row:
    """Rewards of one rollout of the RL optimizer, on the embedded model."""
    from hardprompt.policies.reward import prompt_reward

    problem = embedded_problem(0)
    lm, task, indices = problem.lm, problem.task, list(range(examples))
    model = plain_model(lm)
    fresh = [problem.random_ids(prompts) for _ in range(repeats + 1)]
    around = [task.template.around(task.train[i].input) for i in indices]
    before = [len(lm.prefix_ids) + len(lm.encode(text)) for text, _ in around]
    tail = PROMPT + len(lm.encode_after([around[0][1]])[0])
    pairs = needed_flops(lm.model.config, [(n, tail) for n in before], [n + tail for n in before], len(LABELS))
    alone = range(len(lm.prefix_ids), len(lm.prefix_ids) + PROMPT)
    nll = needed_flops(lm.model.config, [(0, alone[-1])], alone, lm.model.config.vocab_size)
    return Row(
        name="rl-reward",
        what=f"RL reward (loss on {examples} sentences and prompt NLL) of {prompts} prompts, embedded model",
        against="reference procedure",
        engine=lambda r: torch.from_numpy(prompt_reward(problem, fresh[r], "objective", indices).value).to(lm.device),
        reference=lambda r: reference_rewards(model, lm, task, fresh[r].tolist(), indices),
        agree=lambda a, b: {"reward_difference": largest(a, b)},
        limits={"reward_difference": 1e-4},
        target=6,
        first=lambda r: prompt_reward(embedded_problem(0, forgets=True), fresh[r], "objective", indices),
        flops=prompts * (pairs + nll),
    )


def episodes_row(lm: FrozenLM, repeats: int, episodes: int = EPISODES) -> Row:
    """The whole RL optimizer, on the embedded model."""
    rl = load_optimizer("rl")
    config = rl.configure({"episodes": episodes})
    problems = {kind: [embedded_problem(seed, kind) for seed in range(repeats + 1)] for kind in (Problem, OneByOne)}

    def run(kind: type[Problem], r: int) -> list[tuple[int, ...]]:
        return [prompt.ids for prompt in run_optimizer(rl, problems[kind][r], config).final_prompts]

    return Row(
        name="rl-episodes",
        what=f"{episodes:,} RL episodes (rollouts of {config.rollout}), learner included, embedded model",
        against="same engine, one call per episode",
        engine=lambda r: run(Problem, r),
        reference=lambda r: run(OneByOne, r),
        agree=lambda a, b: {"same_prompts_share": sum(x == y for x, y in zip(a, b, strict=True)) / len(a)},
        limits={},
        target=2,
    )


def help_row(lm: FrozenLM, repeats: int) -> Row:
    """The time of `hardprompt --help`."""
    command = shutil.which("hardprompt", path=str(Path(sys.executable).parent))
    if command is None:
        raise CannotRun("the command hardprompt is not in the folder of this Python")

    def run(*arguments: str) -> str:
        return subprocess.run(arguments, capture_output=True, check=True, text=True).stdout

    return Row(
        name="help",
        what="hardprompt --help",
        against="python -c pass",
        engine=lambda r: run(command, "--help"),
        reference=lambda r: run(sys.executable, "-c", "pass"),
        agree=lambda a, b: {},
        limits={},
        target=0.4,
        difference=True,
    )


ROWS: dict[str, Callable[[FrozenLM, int], Row]] = {
    "reward": reward_row,
    "reward-bfloat16": bfloat16_row,
    "reward-window": window_row,
    "reward-smollm2": smollm2_row,
    "soft-step": soft_row,
    "pez-step": pez_row,
    "rl-reward": rl_reward_row,
    "rl-episodes": episodes_row,
    "help": help_row,
}
KNOWN = [*ROWS, "scaling", "memory"]


def largest(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference."""
    return float((a.cpu() - b.cpu()).abs().max())


def agreement_of_steps(a: tuple[float, Tensor], b: tuple[float, Tensor]) -> dict[str, float]:
    """The difference of two losses, and of two gradients, relative to the largest entry."""
    return {"loss_difference": abs(a[0] - b[0]), "gradient_difference": largest(a[1], b[1]) / float(b[1].abs().max())}


def agreement_of_answers(low: Tensor, exact: Tensor) -> dict[str, float]:
    """The error of label log-probabilities (P, N, C), and the share of pairs of prompt and example with the same answer."""
    top = exact.topk(2).values
    clear = top[..., 0] - top[..., 1] > MARGIN
    same = (low.argmax(-1) == exact.argmax(-1))[clear]
    return {"label_log_prob_difference": largest(low, exact), "same_answer_share": float(same.float().mean())}


# Measuring


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """The seconds of a call, and its result."""
    wait()
    started = time.perf_counter()
    outcome = call(*arguments)
    wait()
    return time.perf_counter() - started, outcome


def wait() -> None:
    """Wait until the GPU, if there is one, has done its work."""
    if available_device(DEVICE).type != "cpu":
        torch.accelerator.synchronize(available_device(DEVICE))


def matmul_rate(dtype: torch.dtype) -> Callable[[], float]:
    """A function that measures the operations per second of a large matrix product (the best of three)."""
    a, b = (torch.randn(MATMUL, MATMUL, device=available_device(DEVICE)).to(dtype) for _ in range(2))
    return lambda: 2 * MATMUL**3 / min(timed(torch.matmul, a, b)[0] for _ in range(3))


def quartiles(values: Sequence[float]) -> list[float]:
    """The lower and the upper quartile."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return [low, high]


def measure(row: Row, repeats: int) -> dict[str, Any]:
    """Measure both procedures in turn, in alternating order, after a warm-up."""
    rate = matmul_rate(row.dtype)
    seconds: dict[str, list[float]] = {"engine": [], "reference": [], "first": []}
    rates, agreement = [], {}
    for r in range(repeats + 1):
        sides = {"engine": row.engine, "reference": row.reference} | ({"first": row.first} if row.first else {})
        outcomes = {}
        for side in list(sides) if r % 2 else reversed(list(sides)):
            taken, outcomes[side] = timed(sides[side], r)
            seconds[side] += [taken] if r else []
        rates += [rate()] if row.flops and r else []
        for name, value in row.agree(outcomes["engine"], outcomes["reference"]).items():
            worse = min if name.endswith("share") else max
            agreement[name] = worse(agreement.get(name, value), value)
    medians = {side: statistics.median(values) for side, values in seconds.items() if values}
    pairs = list(zip(seconds["reference"], seconds["engine"], strict=True))
    ratio, ratios = medians["reference"] / medians["engine"], [reference / engine for reference, engine in pairs]
    result: dict[str, Any] = {
        "name": row.name,
        "what": row.what,
        "against": row.against,
        "ratio": ratio,
        "ratio_quartiles": quartiles(ratios),
        "target": row.target,
        "seconds": medians["engine"],
        "seconds_quartiles": quartiles(seconds["engine"]),
        "reference_seconds": medians["reference"],
        "reference_seconds_quartiles": quartiles(seconds["reference"]),
        "agreement": agreement,
        "limits": row.limits,
        "repeats": repeats,
    }
    reached = ratio >= row.target
    if row.difference:
        apart = [engine - reference for reference, engine in pairs]
        difference = medians["engine"] - medians["reference"]
        result |= {"target_of": "difference", "difference": difference, "difference_quartiles": quartiles(apart)}
        reached = difference <= row.target
    if row.aim:
        result["aim"] = row.aim
    if "first" in medians:
        result["first_seconds"] = medians["first"]
    if row.flops:
        peak = statistics.median(rates)
        result |= {"flops": row.flops, "matmul_flops_per_second": peak, "share": row.flops / medians["engine"] / peak}
    result["agrees"] = all(
        agreement[name] >= limit if name.endswith("share") else agreement[name] <= limit for name, limit in row.limits.items()
    )
    result["reached"] = reached and result["agrees"]
    return result


def has_fast_bfloat16() -> bool:
    """Whether the machine has AMX or CUDA."""
    return available_device(DEVICE).type == "cuda" or torch.cpu._is_amx_tile_supported()


def machine() -> dict[str, Any]:
    """Description of this machine."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "device": str(available_device(DEVICE)),
        "cuda": torch.cuda.get_device_name(available_device(DEVICE)) if available_device(DEVICE).type == "cuda" else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def processor() -> str:
    """The name of the processor, if the system provides it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


# Scaling


AXES: dict[str, list[int]] = {
    "prompts": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    "examples": [8, 16, 32, 64, 128, 256, 512, 1024, 2048],
    "prompt length": [1, 2, 5, 10, 20, 35, 50, 75, 100],
}
SCALED_LONGEST = 16  # tokens of a sentence, so that it fits into the context of 128 after a prompt of 100
BASE = {"prompts": 16, "examples": SENTENCES, "prompt length": PROMPT}
REWARD_STEP, SOFT_STEP = "reward, {input} {prompt}", "soft-prompt step, {prompt} {input}"


def scaling(repeats: int) -> list[dict[str, Any]]:
    """Seconds per step on the embedded model, for several values of one size at a time; the other sizes are those of BASE."""
    _, lm = embedded()
    curves = []
    for axis, sizes in AXES.items():
        for step, timer in ((REWARD_STEP, reward_seconds), (SOFT_STEP, soft_seconds)):
            if step == SOFT_STEP and axis == "prompts":
                continue  # a step has one soft prompt
            seconds = [timer(lm, {**BASE, axis: size}, repeats) for size in sizes]
            medians = [statistics.median(values) for values in seconds]
            curves.append(
                {
                    "axis": axis,
                    "step": step,
                    "sizes": sizes,
                    "seconds": medians,
                    "seconds_quartiles": [quartiles(values) for values in seconds],
                    "exponent": exponent(sizes, medians),
                }
            )
    return curves


def reward_seconds(lm: FrozenLM, sizes: dict[str, int], repeats: int) -> list[float]:
    """Seconds of scoring new prompts, after a first call that caches the text before them."""
    task = sentences_task(lm, "{input} {prompt}", sizes["examples"], longest=SCALED_LONGEST)
    scorer = Scorer(lm, task, task.train)
    fresh = [random_prompts(lm, sizes["prompts"], sizes["prompt length"], seed) for seed in range(repeats + 1)]
    return [timed(scorer.score_ids, ids)[0] for ids in fresh][1:]


def soft_seconds(lm: FrozenLM, sizes: dict[str, int], repeats: int) -> list[float]:
    """Seconds of steps with gradient on all examples."""
    task = sentences_task(lm, "{prompt} {input}", sizes["examples"], longest=SCALED_LONGEST)
    step = EngineSoftStep(Scorer(lm, task, task.train), sizes["prompt length"], 1e-3)
    drawn = [torch.tensor(random_prompts(lm, 1, sizes["prompt length"], seed)[0]) for seed in range(repeats + 1)]
    return [timed(step, lm.vocab_embeds[ids])[0] for ids in drawn][1:]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log size, fitted to the larger half of the sizes."""
    half = len(sizes) // 2
    x, y = (torch.tensor(values[half:], dtype=torch.float64).log() for values in (list(sizes), list(seconds)))
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def plot_scaling(curves: Sequence[dict[str, Any]], file: Path) -> None:
    """Plot the seconds per step against each size, with logarithmic axes and a line of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    axes = list(dict.fromkeys(curve["axis"] for curve in curves))
    figure, panels = plt.subplots(1, len(axes), figsize=(4 * len(axes), 3.6), sharey=True, squeeze=False, layout="constrained")
    colours = {REWARD_STEP: "tab:blue", SOFT_STEP: "tab:orange"}
    for panel, axis in zip(panels[0], axes, strict=True):
        for curve in (curve for curve in curves if curve["axis"] == axis):
            sizes, seconds = curve["sizes"], curve["seconds"]
            label = f"{curve['step']}: exponent {curve['exponent']:.2f}"
            panel.plot(sizes, seconds, "o-", color=colours[curve["step"]], markersize=4, label=label)
            low, high = zip(*curve["seconds_quartiles"], strict=True)
            panel.fill_between(sizes, low, high, color=colours[curve["step"]], alpha=0.2, linewidth=0)
            half = sizes[len(sizes) // 2 :]
            line = [seconds[len(sizes) // 2] * size / half[0] for size in half]
            panel.plot(half, line, ":", color="grey", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.legend(fontsize=7, loc="upper left")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("seconds per step")
    bottom, top = panels[0][0].get_ylim()
    panels[0][0].set_ylim(bottom, top * 3)  # room for the legends
    figure.savefig(file, dpi=150)
    plt.close(figure)


# Memory


BUDGETS = ["256MB", "512MB", "1GB", "2GB"]


def memory(prompts: int = 16, sentences: int = 128) -> list[dict[str, Any]]:
    """The additional peak memory of scoring compared with its budget, and its time."""
    found = []
    for step in (REWARD_STEP, SOFT_STEP):
        for budget in BUDGETS:
            lm = random_lm()
            lm.memory.budget = memory_bytes(budget)
            if step == REWARD_STEP:
                task = sentences_task(lm, "{input} {prompt}", sentences)
                scorer, ids = Scorer(lm, task, task.train), random_prompts(lm, prompts, PROMPT, 0)
                taken, seconds = peak(lambda scorer=scorer, ids=ids: scorer.score_ids(ids))
            else:
                task = sentences_task(lm, "{prompt} {input}", sentences)
                scorer = Scorer(lm, task, task.train)
                start = lm.vocab_embeds[torch.tensor(random_prompts(lm, 1, SOFT_PROMPT, 0)[0])]
                taken, seconds = peak(lambda scorer=scorer, start=start: EngineSoftStep(scorer, SOFT_PROMPT, 1e-3)(start))
            share = taken / lm.memory.budget
            found.append({"step": step, "budget": budget, "peak": taken, "share": share, "seconds": seconds})
    return found


def peak(call: Callable[[], Any]) -> tuple[int, float]:
    """The additional peak memory of the process or the CUDA device during a call, in bytes, and the seconds of the call."""
    gc.collect()
    device = available_device(DEVICE)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds, _ = timed(call)
        return torch.cuda.max_memory_allocated(device) - before, seconds
    status = Path("/proc/self/status")
    if device.type != "cpu" or not status.is_file():
        raise CannotRun("the peak is read from Linux's /proc, or from CUDA")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    held = {line.split(":")[0]: line.split() for line in status.read_text().splitlines()}
    seconds, _ = timed(call)
    after = {line.split(":")[0]: line.split() for line in status.read_text().splitlines()}
    return (int(after["VmHWM"][1]) - int(held["VmRSS"][1])) << 10, seconds


# Printing


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """The comparisons as lines of a Markdown table."""
    lines = [
        "| what | against | to reach | ratio (quartiles) | seconds, reference | first call | share of peak | agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        if "skipped" in result:
            lines.append(f"| {result['name']} | | | not measured: {result['skipped']} | | | | |")
            continue
        low, high = result["ratio_quartiles"]
        target = f"{result['target']:g}" + (f" (aim {result['aim']:g})" if "aim" in result else "")
        reached = f"{result['ratio']:.2f} ({low:.2f} to {high:.2f})"
        if "difference" in result:
            low, high = result["difference_quartiles"]
            target = f"within {result['target']:g} s"
            reached = f"{result['difference']:.2f} s apart ({low:.2f} to {high:.2f})"
        first = f"{result['first_seconds']:.3g}" if "first_seconds" in result else ""
        share = f"{result['share']:.0%}" if "share" in result else ""
        agreement = ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in result["agreement"].items())
        missed = "" if result["reached"] else " **missed**"
        seconds = f"{result['seconds']:.3g}, {result['reference_seconds']:.3g}"
        cells = [result["what"], result["against"], target, reached + missed, seconds, first, share, agreement]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def scaling_tables(curves: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The milliseconds for each size and kind of step, as lines of Markdown tables."""
    for curve in curves:
        yield f"| {curve['axis']} | {' | '.join(str(size) for size in curve['sizes'])} | exponent |"
        yield "|---" * (len(curve["sizes"]) + 2) + "|"
        times = " | ".join(f"{1000 * seconds:.3g}" for seconds in curve["seconds"])
        yield f"| {curve['step']}, ms | {times} | {curve['exponent']:.2f} |"
        yield ""


def report(found: dict[str, Any], plot: str = "") -> str:
    """All results as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in found["machine"].items() if value is not None)
    lines = [facts, ""]
    if found["results"]:
        lines += [*table(found["results"]), ""]
    if found["scaling"]:
        base = ", ".join(f"{size} {axis}" if axis != "prompt length" else f"length {size}" for axis, size in BASE.items())
        lines += [f"Time per step on the embedded model, one axis at a time from {base}; exponents of the upper half:", ""]
        lines += [*scaling_tables(found["scaling"]), *([f"![time per step]({plot})", ""] if plot else [])]
    if found["memory"]:
        lines += ["Peak of 16 prompts or of one soft-prompt step on 128 sentences, against the budget (`--memory`):", ""]
        lines += ["| what | budget | peak, MB | share of the budget | seconds |", "|---|---|---|---|---|"]
        for row in found["memory"]:
            cells = [row["step"], row["budget"], f"{row['peak'] / 2**20:.0f}", f"{row['share']:.2f}", f"{row['seconds']:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).rstrip() + "\n"


def run(names: Sequence[str], repeats: int, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measure the rows of these names, and scaling and memory if they are among them.

    After each measurement, `keep` is called with all results so far.
    """
    found: dict[str, Any] = {"machine": machine(), "repeats": repeats, "results": [], "scaling": [], "memory": []}
    lm = (
        random_lm()
        if any(name in names for name in ("reward", "reward-bfloat16", "reward-window", "soft-step", "pez-step"))
        else None
    )
    for name in (name for name in ROWS if name in names):
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            result = measure(ROWS[name](lm, repeats), repeats)
        except CannotRun as reason:
            result = {"name": name, "skipped": str(reason)}
        found["results"].append(result)
        keep(found)
    if "scaling" in names:
        print("scaling ...", file=sys.stderr, flush=True)
        found["scaling"] = scaling(repeats)
        keep(found)
    if "memory" in names:
        print("memory ...", file=sys.stderr, flush=True)
        try:
            found["memory"] = memory()
        except CannotRun as reason:
            print(f"memory: {reason}", file=sys.stderr)
    return found


def main() -> None:
    global DEVICE
    parser = argparse.ArgumentParser(description="The scoring engine against the reference procedures.")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--only", default="", help=f"measure only some of: {', '.join(KNOWN)}")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or mps; by default CUDA if it is available")
    parser.add_argument("--markdown", type=Path, help="file for the tables; the plot is written into the same folder")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else KNOWN
    if unknown := [name for name in names if name not in KNOWN]:
        parser.error(f"no row {unknown[0]!r}; give some of {', '.join(KNOWN)}")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: give at least 1")
    try:
        available_device(options.device)
    except LMError as error:
        parser.error(str(error))
    DEVICE = options.device
    skipped = not options.only and not has_fast_bfloat16()

    def keep(found: dict[str, Any]) -> None:
        if options.markdown:
            plot = options.markdown.with_suffix(".png")
            if found["scaling"]:
                plot_scaling(found["scaling"], plot)
            command = " ".join(["python runs/bench.py", *(f"--only {options.only}" for _ in range(bool(options.only)))])
            title = (
                f"# The scoring engine, measured\n\n`{command} --repeats {options.repeats} --markdown {options.markdown}`\n\n"
            )
            options.markdown.write_text(title + report(found, plot.name), encoding="utf-8")

    found = run([name for name in names if not (skipped and name == "reward-bfloat16")], options.repeats, keep)
    if skipped:
        reason = "this machine has neither AMX nor CUDA; --only reward-bfloat16 measures it nevertheless"
        found["results"].insert(1, {"name": "reward-bfloat16", "skipped": reason})
    keep(found)
    print(json.dumps(found, indent=1) if options.json else report(found), end="\n" if options.json else "")


if __name__ == "__main__":
    main()
