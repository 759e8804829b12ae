"""Reading the prompts of the benchmark with any readers, one line per prompt in a folder that can be resumed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from hardprompt.errors import RequestError, UnknownName
from hardprompt.experiments.reading.prompts import BenchmarkPrompt, load_benchmark
from hardprompt.lm import load_lm
from hardprompt.optimizers.base import Config
from hardprompt.readings.base import load_reader
from hardprompt.readings.read import DEFAULT_READERS, LM_TOKENS, MAX_LENGTH, WEIGHT, read
from hardprompt.records.folder import RecordFolder
from hardprompt.records.request import Seed
from hardprompt.study.cancellation import stoppable

DIVISIONS = ("tune", "report")
"""The divisions of the prompts: to choose options on, and to report."""

Line = dict[str, Any]


class BenchmarkRequest(Config):
    """A request to read the prompts of the benchmark.

    Attributes:
        lm: the model, whose prompts are read.
        readers: names of readers.
        divisions, kinds: which prompts are read; all kinds by default.
        data: the folder with the data of real tasks.
        dtype: the data type of the weights.
        lm_tokens: budget of each reader in LM tokens.
        max_length: largest number of tokens of a text.
        weight: weight of the NLL of a text.
        seed: seed of all random numbers.
    """

    lm: str = "microworld"
    readers: tuple[str, ...] = DEFAULT_READERS
    divisions: tuple[str, ...] = DIVISIONS
    kinds: tuple[str, ...] = ()
    data: str | None = None
    dtype: str = "float32"
    lm_tokens: PositiveInt = LM_TOKENS
    max_length: PositiveInt = MAX_LENGTH
    weight: float = WEIGHT
    seed: Seed = 0


class _Line(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str
    task: str
    kind: str
    division: str
    text: str | None
    texts: list[str]
    verdict: str
    readings: list[Line]


class BenchmarkRecord(RecordFolder):
    """The folder of readings of the benchmark; `BenchmarkRecord.writing` creates one.

    Args:
        folder: the folder, which holds a `benchmark.yaml`.

    Raises:
        StudyError: if the folder holds no readings of the benchmark, or a file that cannot be read.
    """

    request_file = "benchmark.yaml"
    lines_file = "readings.jsonl"
    kind = "benchmark of readings"
    request_key = None
    study_form = BenchmarkRequest
    line_form = _Line


def read_benchmark(request: BenchmarkRequest, folder: Path) -> list[Line]:
    """Read the prompts that are not in the folder yet, and return the lines of all: `readings.jsonl`.

    A line has the keys that `hardprompt read --json` prints, and `name`, `task`, `kind`, `division` and `text` of the prompt,
    and `texts`, the descriptions of its task. Descriptions of the other tasks are measured as well, as texts in the same style
    that do not describe the prompt.

    Args:
        request: what to read.
        folder: the folder, which is created if it does not exist.

    Raises:
        UnknownName: a model, reader or kind does not exist.
        RequestError: a real task needs data, or no prompt is chosen.
        StudyError: the folder holds other readings or other files, or another process writes to it.
        RunError: a file `stop` in the folder stopped the reading.
    """
    prompts = load_benchmark(request.lm)
    chosen = chosen_prompts(request, prompts)
    for name in request.readers:
        load_reader(name)
    tasks = [prompt.load_task(None if request.data is None else Path(request.data)) for prompt in chosen]
    lm = load_lm(request.lm, dtype=request.dtype)
    with BenchmarkRecord.writing(folder, request.model_dump(mode="json")) as record, stoppable(folder) as cancellation:
        done = {line["name"] for line in record.lines()}
        for prompt, task in zip(chosen, tasks, strict=True):
            if prompt.name not in done:
                with cancellation.interruptible():
                    others = {text for each in prompts if each.task != prompt.task for text in each.instructions[:1]}
                    found = read(
                        prompt.prompt,
                        task,
                        lm,
                        readers=request.readers,
                        texts=[*prompt.instructions, *sorted(others)],
                        lm_tokens=request.lm_tokens,
                        max_length=request.max_length,
                        weight=request.weight,
                        seed=request.seed,
                    )
                if found.interrupted:
                    raise KeyboardInterrupt
                record.append({**_described(prompt), **found.as_json()})
        return record.lines()


def chosen_prompts(request: BenchmarkRequest, prompts: Sequence[BenchmarkPrompt]) -> list[BenchmarkPrompt]:
    """The prompts that a request reads, of all prompts of its model.

    Raises:
        UnknownName: a division or kind does not exist.
        RequestError: no prompt is chosen.
    """
    kinds = list(dict.fromkeys(prompt.kind for prompt in prompts))
    for kind in request.kinds:
        if kind not in kinds:
            raise UnknownName("kind of prompts", kind, kinds)
    for division in request.divisions:
        if division not in DIVISIONS:
            raise UnknownName("division of the benchmark", division, DIVISIONS)
    chosen = [each for each in prompts if each.division in request.divisions and each.kind in (request.kinds or kinds)]
    if not chosen:
        raise RequestError("the benchmark has no prompt of these kinds in these divisions; choose others, or leave them out")
    return chosen


def _described(prompt: BenchmarkPrompt) -> Line:
    described = {name: getattr(prompt, name) for name in ("name", "task", "kind", "division", "text")}
    return described | {"texts": list(prompt.instructions)}
