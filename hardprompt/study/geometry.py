"""Where soft prompts lie (Bakalova 2024): one is trained for every task and every initial word, and kept; what follows from
their vectors can be computed again from the folder without training anything.

A folder holds `geometry.yaml` (what was asked, the data's digests, versions), `prompts.jsonl` (a line per prompt, appended and
flushed) and `soft/` (the vectors). The same request goes on where it stopped, to the same numbers: the seed of every prompt
comes from the study's seed, its task and its word, so that no two prompts see the same batches and none depends on another.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import quote, unquote

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator
from torch import Tensor

from hardprompt.adapter import read_vectors
from hardprompt.catalogue import load_task, needs_data
from hardprompt.errors import HardpromptError, RequestError, RunError, StudyError, UnknownName
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.optimizers.base import Problem, run_optimizer
from hardprompt.optimizers.soft import SoftConfig, soft
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores
from hardprompt.study.point import finite
from hardprompt.study.request import LONGEST, Seed
from hardprompt.study.store import replacing, versions
from hardprompt.task import Task

Line = dict[str, Any]

WORDS = tuple("cat dog bird book house chair table pen paper water".split())
"""The published initial words."""

WORDS_OF = {"microworld": tuple("cat dog horse book house chair table pen bread river".split())}
"""For the embedded model, the published words that are one token of it, and for bird, paper and water the nearest that are."""

TASKS = ("first-letter", "first-letter-lower", "capital", "country-of-landmark", "past-tense", "plural")
"""The embedded tasks that ask what the six published ones ask."""

ROOT = Path("hardprompt-out")


class GeometryRequest(BaseModel):
    """Soft prompts of `tokens` vectors for tasks x initial words on one model.

    Attributes:
        tasks: names, as `hardprompt.load_task` takes them.
        words: initial words, each a single token of the model as it stands in a text (after a blank); every vector of a prompt
            begins at its word. By default the ten published ones, or those of `WORDS_OF`.
        lm: embedded model, local folder or hub id.
        tokens: vectors of a prompt.
        epochs: an epoch is as many steps as batches cover train once.
        batch_size, weight_decay: of the training, as published.
        learning_rate: falls linearly to zero; by default that of the optimizer `soft`. Published: 0.001 on GPT-2 XL.
        seed: of all batches, and of the tokens drawn for comparison.
        split, data, shots: of the tasks, as `StudyRequest` has them; `data` goes to those that are on real data.
        device, dtype, memory: as `StudyRequest` has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = TASKS
    words: tuple[str, ...] = ()
    lm: str = "microworld"
    tokens: Annotated[int, Field(gt=0, le=LONGEST)] = 4
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 8
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    weight_decay: Annotated[NonNegativeFloat, Field(allow_inf_nan=False)] = 0.01
    seed: Seed = 0
    split: str = "default"
    data: str | None = None
    shots: PositiveInt | None = None
    device: str | None = None
    dtype: str = "float32"
    memory: str = BUDGET

    @field_validator("memory")
    @classmethod
    def _size(cls, size: str) -> str:
        memory_bytes(size)
        return size

    @field_validator("tasks", "words")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name.strip() for name in names):
            raise ValueError("name each once, and none without a name")
        return names

    @classmethod
    def make(cls, **fields: Any) -> "GeometryRequest":
        """A request with these fields.

        Raises:
            UnknownName: no such field.
            RequestError: a value that cannot be used.

        Example:
            >>> GeometryRequest.make(words=("cat",)).tokens
            4
        """
        for name in fields:
            if name not in cls.model_fields:
                raise UnknownName("request field", name, cls.model_fields)
        try:
            request = cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            raise RequestError(
                f"{str(first['loc'][0]).replace('_', '-')}: {message[0].lower()}{message[1:]} (got {first['input']!r})"
            ) from error
        return request.model_copy(update={"words": request.words or WORDS_OF.get(request.lm, WORDS)})

    def load_tasks(self) -> list[Task]:
        """The tasks, in order.

        Raises:
            RequestError: none is given, data are given and no task takes them, or two tasks have one name.
        """
        takes = {name: needs_data(name) for name in self.tasks}
        if not takes:
            raise RequestError("tasks: give at least one")
        if (self.data is not None or self.shots is not None) and not any(takes.values()):
            raise RequestError(f"data and shots belong to tasks on real data; none of {', '.join(self.tasks)} is one")
        tasks = [
            load_task(name, self.split, *((self.data, self.shots) if takes[name] else (None, None))) for name in self.tasks
        ]
        if len({task.name for task in tasks}) < len(tasks):
            raise RequestError(f"two of the tasks are called alike: {', '.join(task.name for task in tasks)}")
        return tasks

    def load_model(self) -> FrozenLM:
        """The frozen model, on its device, in its precision, with its memory."""
        return load_lm(self.lm, self.device, self.dtype, self.memory)


@dataclass(frozen=True, eq=False)
class Trained:
    """A soft prompt and what it was trained for.

    Attributes:
        embeds: (L, d).
        task, word: what for, and where it began; None where nobody says.
        source: where it comes from.
    """

    embeds: Tensor
    task: str | None
    word: str | None
    source: str


class GeometryListener(Protocol):
    """What is told of a study's progress."""

    def planned(self, folder: Path, prompts: int, recorded: int) -> None:
        """All checks passed; of `prompts`, `recorded` are already there."""

    def finished(self, line: Line) -> None:
        """A prompt is recorded."""


class GeometryRecord:
    """The folder of a geometry study that exists.

    Args:
        folder: holds a `geometry.yaml`.

    Raises:
        StudyError: it holds none, or one that cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "prompts.jsonl"
        asked = self.folder / "geometry.yaml"
        if not asked.is_file():
            raise StudyError(f"{folder} holds no geometry study: it has no geometry.yaml")
        try:
            self.study = yaml.safe_load(asked.read_text(encoding="utf-8"))
            self.request = GeometryRequest.model_validate(self.study["request"])
        except (yaml.YAMLError, UnicodeDecodeError, ValidationError, TypeError, KeyError) as error:
            raise StudyError(f"{asked} cannot be read: {' '.join(str(error).split())}") from error

    @classmethod
    def create(cls, folder: str | Path, request: GeometryRequest, tasks: Sequence[Task]) -> "GeometryRecord":
        """The folder for a request: a new one, or the one that holds the same request already.

        Raises:
            StudyError: the folder holds another study, or something that is none; it is left untouched.
        """
        folder = Path(folder)
        data = {task.name: task.digest for task in tasks}
        if (folder / "geometry.yaml").is_file():
            record = cls(folder)
            if other := [key for key in type(request).model_fields if getattr(record.request, key) != getattr(request, key)]:
                raise StudyError(f"{folder} holds another study (other {', '.join(other)}); choose another --out")
            if record.study.get("data") != data:
                raise StudyError(f"the data of a task have changed since {folder} was begun; choose another --out")
            record._set_torn_line_aside()
            return record
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} is no geometry study and not empty; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from error
        study = {"request": request.model_dump(mode="json"), "data": data, "versions": versions()}
        with replacing(folder / "geometry.yaml") as aside:
            aside.write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return cls(folder)

    def lines(self) -> list[Line]:
        """A line per prompt; of one that was trained again after a failure, the last.

        Raises:
            StudyError: a line that is none, with its number.
        """
        if not self.file.is_file():
            return []
        found = {}
        for number, text in enumerate(self.file.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                found[line["task"], line["word"]] = line
                _ = line["status"], line["error"] if line["status"] != "ok" else line["file"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise StudyError(
                    f"{self.file}:{number}: not a prompt of a study ({error}); repair or remove the line"
                ) from error
        return list(found.values())

    def prompts(self) -> list[Trained]:
        """The prompts that are there, as they were trained.

        Raises:
            StudyError: the vectors of one cannot be read.
        """
        done = [line for line in self.lines() if line["status"] == "ok"]
        return [Trained(self._vectors(line["file"]), line["task"], line["word"], line["file"]) for line in done]

    def keep(self, line: Line, embeds: Tensor) -> None:
        """Add a finished prompt: first its vectors, then its line, which names their file."""
        from safetensors.torch import save

        name = ",".join(quote(str(line[key]), safe="") for key in ("task", "word"))
        file = self.folder / "soft" / f"{name}.safetensors"
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as aside:
            aside.write_bytes(save({"embeds": embeds.detach().cpu().contiguous()}))
        self.append(line | {"file": file.relative_to(self.folder).as_posix()})

    def append(self, line: Line) -> None:
        """Add a line and see it to the disk."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _vectors(self, name: str) -> Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load((self.folder / name).read_bytes())["embeds"]
        except (OSError, SafetensorError, KeyError) as error:
            raise StudyError(f"cannot read the soft prompt {self.folder / name}: {' '.join(str(error).split())}") from error

    def _set_torn_line_aside(self) -> None:
        """A line that was cut off by a crash goes to `prompts.torn`, so that appending stays safe."""
        if not self.file.is_file():
            return
        whole, newline, torn = self.file.read_bytes().rpartition(b"\n")
        if torn:
            with replacing(self.folder / "prompts.torn") as aside:
                aside.write_bytes(torn)
            with replacing(self.file) as aside:
                aside.write_bytes(whole + newline)


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


def geometry(
    request: GeometryRequest | None = None,
    out: str | Path | None = None,
    listener: GeometryListener | None = None,
    added: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Train what is missing, measure where everything lies, and leave sheets, pictures and a page in the folder.

    Args:
        request: what to train; by default the embedded model's six tasks and ten words.
        out: the folder, by default `hardprompt-out/geometry-LM`.
        listener: told of the progress.
        added: soft prompts trained elsewhere, to be told against these: a peft adapter's folder, or a `.npy`, `.npz` or
            `.safetensors` file (`hardprompt.adapter.read_vectors`); one called TASK,WORD has these.

    Returns:
        What `hardprompt.study.placement.placement` says, and `folder` and `prompts`, a line per prompt.

    Raises:
        RequestError: the request, the folder or a file cannot be used.
        RunError: no prompt could be trained.

    Example:
        >>> request = GeometryRequest.make(tasks=("plural", "past-tense", "capital"), words=("cat", "dog"))
        >>> found = geometry(request, "geometry")      # doctest: +SKIP
        >>> found["distances"]["cosine"]["groups"]["same word"]["mean"]      # doctest: +SKIP
        0.38
    """
    from hardprompt.study.placement import check_fit

    request = request or GeometryRequest.make()
    tasks, lm, others = request.load_tasks(), request.load_model(), [each for path in added for each in read_added(path)]
    for each in others:
        check_fit(each, lm)
    return _measured(train_prompts(request, out, listener, tasks, lm), lm, tasks, others)


def measure_again(folder: str | Path, added: Sequence[str | Path] = ()) -> dict[str, Any]:
    """What `geometry` says and leaves, from the vectors in its folder and the model's vocabulary; nothing is trained.

    Where the tasks' data are not there any more, whether the closest tokens have to do with a task stays undecided.

    Args:
        folder: of the study.
        added: as `geometry` takes them.

    Raises:
        StudyError: the folder holds no geometry study, or vectors that cannot be read.
        RequestError: the model or a file cannot be used.
        RunError: there is no prompt in it.
    """
    record = GeometryRecord(folder)
    lm, others = record.request.load_model(), [each for path in added for each in read_added(path)]
    try:
        tasks = [task for task in record.request.load_tasks() if record.study["data"].get(task.name) == task.digest]
    except RequestError:
        tasks = []
    return _measured(record, lm, tasks, others)


def _measured(record: GeometryRecord, lm: FrozenLM, tasks: Sequence[Task], others: Sequence[Trained]) -> dict[str, Any]:
    from hardprompt.report.geometry import spots, write_geometry
    from hardprompt.study.placement import Places, placement

    prompts, request = record.prompts(), record.request
    if not prompts:
        failed = "".join(f": {line['error']}" for line in record.lines()[:1])
        raise RunError(f"no prompt is trained in {record.folder}{failed}")
    found = placement(prompts, lm, tasks, request.seed, others)
    tokens = dict(zip(request.words, initial_tokens(lm, request.words), strict=True))
    write_geometry(record, found, spots(Places(prompts, lm, request.seed), tokens, others, request.seed))
    return {"folder": str(record.folder), "prompts": record.lines()} | found


def read_added(path: str | Path) -> list[Trained]:
    """The soft prompts in a folder or file, with task and word where their name is TASK,WORD.

    Raises:
        RequestError: it holds none, or cannot be read.
    """
    found = []
    for name, embeds in read_vectors(path).items():
        task, comma, word = (unquote(part) for part in name.partition(","))
        source = str(path) if Path(path).stem == name or Path(path).name == name else f"{path}: {name}"
        found.append(Trained(embeds, task if comma else None, word if comma else None, source))
    return found


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
    last = result.emitted[-1]
    assert isinstance(last, SoftPrompt)
    test = Scorer(lm, problem.task, problem.task.test)
    begun = test.score_ids([[token] * request.tokens])
    moved = last.embeds - lm.vocab_embeds[token].float()
    return last.embeds, {
        "seed": seed,
        "steps": steps,
        "learning_rate": result.config["learning_rate"],
        "dev_accuracy": result.visits[-1].dev_accuracy,
        "dev_loss": result.visits[-1].dev_task_loss,
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
    return {f"{name}_accuracy": float(scores.correct.float().mean()), f"{name}_loss": float(scores.loss.mean())}
