"""Training the soft prompts of a geometry study.

Every prompt has its own seed, derived from the seed of the study, its task and its word. So no prompt depends on another, and
an interrupted study continues to the same numbers.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import HardpromptError, RequestError
from hardprompt.experiments.geometry.record import GeometryRecord, Line
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.lm import FrozenLM
from hardprompt.optimizers.base import Problem, run_optimizer
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores
from hardprompt.study.measure import finite

ROOT = Path("hardprompt-out")


class GeometryListener(Protocol):
    """What is told of a study's progress."""

    def planned(self, folder: Path, prompts: int, recorded: int) -> None:
        """All checks passed; of `prompts`, `recorded` are already there."""

    def finished(self, line: Line) -> None:
        """A prompt is recorded."""


def train_prompts(
    request: GeometryRequest | None = None,
    out: str | Path | None = None,
    listener: GeometryListener | None = None,
    tasks: Sequence[Task] | None = None,
    lm: FrozenLM | None = None,
) -> GeometryRecord:
    """Train the prompts of a request that are not there yet, and return the record of all.

    A prompt begins as L copies of its word's embedding and is trained by the optimizer `soft` (AdamW, linear decay); kept is
    the last iterate, as published, not the best on dev. One that fails is a line with its error, tried again next time.

    Args:
        request: what to train; by default the embedded model's six tasks and ten words.
        out: the folder, by default `hardprompt-out/geometry-LM`.
        listener: told of the progress.
        tasks, lm: those of the request, if they are loaded already.

    Raises:
        RequestError: the request or the folder cannot be used; nothing is written.
    """
    request = request or GeometryRequest.make()
    tasks = request.load_tasks() if tasks is None else tasks
    lm = request.load_model() if lm is None else lm
    tokens = dict(zip(request.words, initial_tokens(lm, request.words), strict=True))
    for task in tasks:
        Problem(task, lm, prompt_length=request.tokens, vocabulary=torch.arange(1))
    record = GeometryRecord.create(out or ROOT / f"geometry-{lm.name.replace('/', '--')}", request, tasks)
    done = {(line["task"], line["word"]) for line in record.lines() if line["status"] == "ok"}
    if listener:
        listener.planned(record.folder, len(tasks) * len(tokens), len(done))
    for word, token in tokens.items():  # word by word, so that an interrupted study holds whole rows of tasks
        for task in tasks:
            if (task.name, word) in done:
                continue
            line: Line = {"task": task.name, "lm": lm.name, "word": word, "token": token}
            try:
                embeds, found = train_prompt(request, task, lm, word, token)
                line = finite(line | found | {"status": "ok"})
                record.keep(line, embeds)
            except (HardpromptError, RuntimeError) as error:
                line |= {"status": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
                record.append(line)
            if listener:
                listener.finished(line)
    return record


def train_prompt(request: GeometryRequest, task: Task, lm: FrozenLM, word: str, token: int) -> tuple[Tensor, Line]:
    """One prompt, (L, d), and its line: accuracies are fractions, losses nats per example, distances those it has moved."""
    seed = prompt_seed(request.seed, task.name, word)
    problem = Problem(task, lm, prompt_length=request.tokens, vocabulary=torch.tensor([token], device=lm.device), seed=seed)
    steps = request.epochs * math.ceil(len(problem.task.train) / request.batch_size)
    config = SoftConfig(
        init="text",
        init_text=word,
        steps=steps,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        weight_decay=request.weight_decay,
        evaluate_every=steps,
    )
    result = run_optimizer(soft, problem, config)
    last = result.final_prompts[-1]
    assert isinstance(last, SoftPrompt)
    test = Scorer(lm, problem.task, problem.task.test)
    begun = test.score_ids([[token] * request.tokens])
    moved = last.embeds - lm.vocab_embeds[token].float()
    return last.embeds, {
        "seed": seed,
        "steps": steps,
        "learning_rate": result.config["learning_rate"],
        "dev_accuracy": result.candidates[-1].dev_accuracy,
        "dev_loss": result.candidates[-1].dev_task_loss,
        **_scored("test", test.score_embeds(last.embeds)),
        **_scored("initial_test", begun),
        "moved": float(moved.norm(dim=-1).mean()),
        "lm_tokens_forward": result.lm_tokens_forward,
        "lm_tokens_backward": result.lm_tokens_backward,
        "seconds": round(result.seconds, 3),
    }


def initial_tokens(lm: FrozenLM, words: Sequence[str]) -> list[int]:
    """The token of each initial word as it stands in a text: led by a blank where the tokenizer marks that.

    Raises:
        RequestError: no words, words that are not one token (all of them are named), or two that are the same one.

    Example:
        >>> from hardprompt import load_lm
        >>> initial_tokens(load_lm("microworld"), ["cat", "dog"])
        [1244, 1242]
    """
    if not words:
        raise RequestError("words: give at least one initial word")
    encoded = {word: HardPrompt.from_text(lm, word).ids for word in words}
    if long := [f"{word!r} is {len(ids)}" for word, ids in encoded.items() if len(ids) != 1]:
        raise RequestError(f"an initial word must be one token of {lm.name}, but {', '.join(long)}; take other words")
    tokens = [token for (token,) in encoded.values()]
    if len(set(tokens)) < len(tokens):
        raise RequestError(f"two of the initial words {', '.join(words)} are the same token of {lm.name}; take other words")
    return tokens


def prompt_seed(seed: int, task: str, word: str) -> int:
    """The seed of one prompt's batches.

    >>> prompt_seed(0, "plural", "cat") != prompt_seed(0, "plural", "dog")
    True
    """
    return int.from_bytes(sha256(f"{seed}\n{task}\n{word}".encode()).digest()[:4])


def _scored(name: str, scores: Scores) -> Line:
    return {f"{name}_accuracy": float(scores.accuracy), f"{name}_loss": float(scores.mean_loss)}
