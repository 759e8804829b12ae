"""Training of the soft prompts of a geometry study.

Every prompt has its own seed, derived from the seed of the study, its task and its word. So no prompt depends on another, and
an interrupted study continues to the same numbers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import HardpromptError, RecordError, RequestError
from hardprompt.experiments.geometry.record import GeometryRecord, study_contents
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.lm import FrozenLM
from hardprompt.optimizers.base import Problem, run_optimizer
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.records.folder import Line
from hardprompt.scoring import Scorer, Scores
from hardprompt.study.cancellation import stoppable
from hardprompt.study.measure import finite

ROOT = Path("hardprompt-out")


class GeometryListener(Protocol):
    """Receives the progress of a geometry study."""

    def planned(self, folder: Path, prompts: int, recorded: int) -> None:
        """All checks have passed; `recorded` of `prompts` prompts are already in the record."""

    def finished(self, line: Line) -> None:
        """A prompt has been recorded."""


def train_prompts(
    request: GeometryRequest | None = None,
    out: str | Path | None = None,
    listener: GeometryListener | None = None,
    tasks: Sequence[Task] | None = None,
    lm: FrozenLM | None = None,
) -> GeometryRecord:
    """Train the prompts of a request that are not in the record yet.

    A prompt starts as L copies of the embedding of its word and is trained by the optimizer `soft` (AdamW, linear decay). As
    in the publication, the last iterate is kept, and not the best one on dev. A prompt that fails becomes a line with its
    error; the next call trains it again.

    Args:
        request: what to train; by default the embedded model's six tasks and ten words.
        out: the folder; by default `hardprompt-out/geometry-LM`.
        listener: receives the progress.
        tasks: the tasks of the request, if they are already loaded.
        lm: the model of the request, if it is already loaded.

    Returns:
        The record of all prompts.

    Raises:
        RequestError: if the request or the folder cannot be used, or another process writes to the folder.
        RecordError: if the record cannot be written.
        RunError: if a file `stop` in the folder stopped the study.
    """
    request = request or GeometryRequest.make()
    tasks = request.load_tasks() if tasks is None else tasks
    lm = request.load_model() if lm is None else lm
    with open_record(request, out, tasks, lm) as record:
        train_missing(record, listener, tasks, lm)
    return record


@contextmanager
def open_record(
    request: GeometryRequest, out: str | Path | None, tasks: Sequence[Task], lm: FrozenLM
) -> Iterator[GeometryRecord]:
    """Check a request, and create or resume its record; the folder is locked in the block.

    Args:
        request: what to train.
        out: the folder; by default `hardprompt-out/geometry-LM`.
        tasks, lm: the tasks and the model of the request.

    Raises:
        RequestError: if the request or the folder cannot be used, or another process writes to the folder.
    """
    initial_tokens(lm, request.words)
    for task in tasks:
        Problem(task, lm, prompt_length=request.tokens, vocabulary=torch.arange(1))
    folder = Path(out or ROOT / f"geometry-{lm.name.replace('/', '--')}")
    with GeometryRecord.writing(folder, study_contents(request, tasks)) as record:
        yield record


def train_missing(record: GeometryRecord, listener: GeometryListener | None, tasks: Sequence[Task], lm: FrozenLM) -> None:
    """Train the prompts that are not in an open record, and record them.

    Raises:
        RecordError: if the record cannot be written.
        RunError: if a file `stop` in the folder stopped the study.
    """
    request = record.request
    tokens = dict(zip(request.words, initial_tokens(lm, request.words), strict=True))
    done = {(line["task"], line["word"]) for line in record.lines() if line["status"] == "ok"}
    if listener:
        listener.planned(record.folder, len(tasks) * len(tokens), len(done))
    with stoppable(record.folder) as cancellation:
        for word, token in tokens.items():  # word by word, so that an interrupted study holds all tasks of a word
            for task in tasks:
                if (task.name, word) in done:
                    continue
                line: Line = {"task": task.name, "lm": lm.name, "word": word, "token": token}
                try:
                    with cancellation.interruptible():
                        embeds, found = train_prompt(request, task, lm, word, token, lambda share: cancellation.check())
                    line = finite(line | found | {"status": "ok"})
                    record.save_prompt(line, embeds)
                except RecordError:
                    raise
                except (HardpromptError, RuntimeError) as error:
                    line |= {"status": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
                    record.append(line)
                if listener:
                    listener.finished(line)


def train_prompt(
    request: GeometryRequest,
    task: Task,
    lm: FrozenLM,
    word: str,
    token: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, Line]:
    """Train one soft prompt.

    Args:
        request: the schedule of the training.
        task: the task.
        lm: the frozen model.
        word: the initial word.
        token: the token id of that word.
        progress: called at every step with the share of the training that is done.

    Returns:
        The vectors (L, d), and what its line records: accuracies as fractions, losses in nats per example, and `moved`, the
        mean distance of the vectors from the initial embedding.
    """
    seed = prompt_seed(request.seed, task.name, word)
    problem = Problem(
        task,
        lm,
        prompt_length=request.tokens,
        vocabulary=torch.tensor([token], device=lm.device),
        seed=seed,
        progress=progress,
    )
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
    initial = test.score_ids([[token] * request.tokens])
    moved = last.embeds - lm.vocab_embeds[token].float()
    return last.embeds, {
        "seed": seed,
        "steps": steps,
        "learning_rate": result.config["learning_rate"],
        "dev_accuracy": result.candidates[-1].dev_accuracy,
        "dev_loss": result.candidates[-1].dev_task_loss,
        **_scored("test", test.score_embeds(last.embeds)),
        **_scored("initial_test", initial),
        "moved": float(moved.norm(dim=-1).mean()),
        "lm_tokens_forward": result.lm_tokens_forward,
        "lm_tokens_backward": result.lm_tokens_backward,
        "seconds": round(result.seconds, 3),
    }


def initial_tokens(lm: FrozenLM, words: Sequence[str]) -> list[int]:
    """The token id of each initial word inside a text, that is, after a blank where the tokenizer marks blanks.

    Args:
        lm: the model whose tokenizer is used.
        words: the initial words.

    Raises:
        RequestError: if there are no words, if words are not a single token (the message names all of them), or if two words
            are the same token.

    Example:
        >>> from hardprompt import load_lm
        >>> initial_tokens(load_lm("microworld"), ["cat", "dog"])
        [1244, 1242]
    """
    if not words:
        raise RequestError("words: give at least one initial word")
    encoded = {word: HardPrompt.from_text(lm, word).ids for word in words}
    if long := [f"{word!r} is {len(ids)}" for word, ids in encoded.items() if len(ids) != 1]:
        raise RequestError(f"an initial word must be one token of {lm.name}, but {', '.join(long)}; choose other words")
    tokens = [token for (token,) in encoded.values()]
    if len(set(tokens)) < len(tokens):
        raise RequestError(f"two of the initial words {', '.join(words)} are the same token of {lm.name}; choose other words")
    return tokens


def prompt_seed(seed: int, task: str, word: str) -> int:
    """The seed of the batches of one prompt.

    >>> prompt_seed(0, "plural", "cat") != prompt_seed(0, "plural", "dog")
    True
    """
    return int.from_bytes(sha256(f"{seed}\n{task}\n{word}".encode()).digest()[:4])


def _scored(name: str, scores: Scores) -> Line:
    return {f"{name}_accuracy": float(scores.accuracy), f"{name}_loss": float(scores.mean_loss)}
