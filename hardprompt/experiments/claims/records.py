"""The records that claims are measured on: the recipe of a claim creates its record, which is then read as lines.

A recipe in `recipes/` is one of five: a recipe of `hardprompt run`; `wayward:` with the fields of `WaywardPairs`; `geometry:`
with the fields of a `GeometryRequest`; `readings:` with the fields of a `BenchmarkRequest`; or `transfer:` with the models
(`lms`) of a transfer matrix and the `recipe` of its studies. `$data` and `$models` in it stand for folders that the user names.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from hardprompt.errors import RequestError, RunError
from hardprompt.experiments.claims.measurement import Line
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.run import geometry
from hardprompt.experiments.reading.evaluate import BenchmarkRecord, BenchmarkRequest, chosen_prompts, read_benchmark
from hardprompt.experiments.reading.prompts import load_benchmark
from hardprompt.experiments.reading.table import best_of
from hardprompt.experiments.transfer.request import TransferRecord
from hardprompt.experiments.transfer.run import transfer
from hardprompt.experiments.transfer.table import transfer_of
from hardprompt.experiments.wayward.pairs import WaywardPairs, WaywardRecord, wayward_pairs
from hardprompt.records.atomic import replacing
from hardprompt.records.folder import RecordFolder
from hardprompt.records.frontier import BASELINES, unit_hypervolumes
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.schema import at_weights, run_records
from hardprompt.records.store import Store, recorded_request
from hardprompt.stats.pareto import hypervolume
from hardprompt.study.engine import Listener
from hardprompt.study.loading import load_optimizers
from hardprompt.study.planner import plan, planned_studies
from hardprompt.study.recipe import read_recipe
from hardprompt.study.runner import run

ROOT = Path("hardprompt-out") / "reproduce"


class NotMeasured(RequestError):
    """A record that does not exist and cannot, or must not, be created."""


@dataclass(frozen=True)
class Where:
    """Where records are, and how missing ones are created.

    Attributes:
        out: the folder with a folder for each recipe.
        data, models: the folders that `$data` and `$models` stand for.
        jobs: the number of processes of a study, as `hardprompt.study.run` takes it.
        recorded: whether only existing records are read.
    """

    out: Path = ROOT
    data: Path | None = None
    models: Path | None = None
    jobs: int | None = None
    recorded: bool = False


def recipe_text(name: str) -> str:
    """The text of a recipe in `recipes/`."""
    return files("hardprompt.experiments.claims").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")


def recipe_cost(name: str) -> str:
    """What a recipe costs, in words: minutes on two cores, and the LM tokens that its searches can spend.

    >>> recipe_cost("rl-ablations")
    'about 8 minutes and 5.6 million LM tokens'
    """
    fields: dict[str, Any] = yaml.safe_load(recipe_text(name))
    return f"about {fields['minutes']} minutes and {_lm_tokens(fields) / 1e6:.1f} million LM tokens"


def _lm_tokens(fields: dict[str, Any]) -> int:
    """The budgets of all searches of a recipe; for recipes without budgets their top-level `lm_tokens`."""
    if "readings" in fields:
        request = BenchmarkRequest(**fields["readings"])
        return len(chosen_prompts(request, load_benchmark(request.lm))) * len(request.readers) * request.lm_tokens
    if "wayward" in fields or "geometry" in fields:
        return int(fields["lm_tokens"])
    with TemporaryDirectory() as folder:
        file = Path(folder, "recipe.yaml")
        file.write_text(yaml.safe_dump(fields["transfer"]["recipe"] if "transfer" in fields else fields), encoding="utf-8")
        requests = [study.request for study in planned_studies(read_recipe(file))]
    return sum(
        request.lm_tokens or 0
        for request in requests
        for run in plan(request, load_optimizers(request))
        if run.optimizer not in BASELINES
    )


def record_lines(recipe: str, where: Where, listener: Listener | None = None) -> list[Line]:
    """The lines of the record of a recipe; missing results are computed first, unless `where.recorded`.

    A line of studies is a point of `points.jsonl`, with `study` (the variant in the recipe), `reader_gap` (how many nats per
    character the first reader needs more than the task LM) and `volume` (the hypervolume of the prompt alone); or it is a front
    with its `hypervolume` (`study_lines`). For wayward prompts see `wayward_lines`. A line of a geometry study is a finding, a
    line of a transfer matrix one of its cells (`transfer_lines`), and a line of readings the best text of a reader for a prompt
    (`reading_lines`).

    Args:
        recipe: the name of the recipe.
        where: where the record is.
        listener: receives the progress of studies.

    Raises:
        NotMeasured: if there is no record and none may be created, or a folder that the recipe needs is not given.
        RequestError: if the record is of another request or cannot be created, or another process writes to it.
        RecordError: if the record cannot be written.
        RunError: if the study was stopped.
    """
    folder, text = where.out / recipe, recipe_text(recipe)
    fields: dict[str, Any] = yaml.safe_load(text)
    if where.recorded:
        if not folder.is_dir():
            raise NotMeasured(f"no record in {folder}")
    else:
        text = _filled(text, where)
        fields = yaml.safe_load(text)
    if "wayward" in fields:
        if not where.recorded:
            wayward_pairs(WaywardPairs(**fields["wayward"]), folder)
        return wayward_lines(folder)
    if "geometry" in fields:
        if not where.recorded:
            geometry(GeometryRequest.make(**fields["geometry"]), folder)
        return _geometry_lines(folder)
    if "readings" in fields:
        if not where.recorded:
            read_benchmark(BenchmarkRequest(**fields["readings"]), folder)
        return reading_lines(folder)
    if "transfer" in fields:
        if not where.recorded:
            asked, studies = fields["transfer"], folder / "studies"
            _run_studies(yaml.safe_dump(asked["recipe"]), recipe, studies, where, listener)
            transfer(sorted(file.parent for file in studies.glob("*/study.yaml")), asked["lms"], out=folder / "matrix")
        return transfer_lines(folder / "matrix")
    if not where.recorded:
        _run_studies(text, recipe, folder, where, listener)
    elif listener and (missing := _missing_runs(folder)):
        listener.noted(f"{folder} is not complete: {missing} runs are not recorded; the claims are judged on the others")
    return study_lines(folder)


def _run_studies(text: str, recipe: str, folder: Path, where: Where, listener: Listener | None) -> None:
    """Run the studies of a recipe of `hardprompt run` that are not recorded yet."""
    where.out.mkdir(parents=True, exist_ok=True)
    file = where.out / f"{recipe}.yaml"
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if stopped := run(read_recipe(file), folder, listener, jobs=where.jobs).stopped:
        raise RunError(f"{stopped}; the same command continues from there")


def study_lines(folder: Path) -> list[Line]:
    """The successful runs of all studies in a folder; of the members of a front, the one that is best on dev at each weight.

    There is one more line for the prompts of all weights of an optimizer with one split and seed (`row` is "front").

    Args:
        folder: the folder with a folder for each study.
    """
    lines: list[Line] = []
    for file in sorted(folder.glob("*/study.yaml")):
        store = Store(file.parent)
        worst = math.log(store.study["vocabulary_size"])
        records = [record for record in run_records(store.points()) if record.status == "ok"]
        for record in at_weights(records, recorded_request(store.study).weights):
            point = record.model_dump()
            own, read = point["scrutability"].get("nats_per_character"), point["reader_nats_per_character"]
            gap = None if own is None or read is None else read - own
            derived = {"reader_gap": gap, "volume": _volume(point, worst)}
            lines.append(point | {"study": _variant(file.parent, point["task"], point["lm"])} | derived)
        placed = [record for record in records if record.log_perplexity is not None]
        for name in dict.fromkeys(record.optimizer for record in placed):
            own_front = [record for record in placed if record.optimizer == name]
            task, lm = own_front[0].task, own_front[0].lm
            shared = {"row": "front", "optimizer": name, "task": task, "lm": lm, "study": _variant(file.parent, task, lm)}
            for (split, seed), volume in unit_hypervolumes(own_front, worst).items():
                lines.append(shared | {"split": split, "seed": seed, "hypervolume": volume})
    return lines


def _volume(point: Mapping[str, Any], worst_nll: float) -> float | None:
    """The hypervolume of the prompt of a point alone; None if it has no log-perplexity.

    >>> _volume({"deployed_test_accuracy": 0.5, "log_perplexity": 2.0}, 8.0)
    0.375
    """
    accuracy, nll = point["deployed_test_accuracy"], point["log_perplexity"]
    return None if accuracy is None or nll is None else hypervolume([accuracy], [nll], worst_nll)


def _variant(folder: Path, task: str, lm: str) -> str:
    """The variant of a recipe that a study belongs to; empty if the recipe has none."""
    return folder.name.removeprefix(f"{task}-{lm.replace('/', '--')}").removeprefix("-")


def _missing_runs(folder: Path) -> int:
    """The number of runs of the studies in a folder that are not recorded."""
    missing = 0
    for file in sorted(folder.glob("*/study.yaml")):
        store = Store(file.parent)
        request = StudyRequest.model_validate(store.study["request"])
        done = {Run.of(point) for point in store.runs()}
        missing += sum(run not in done for run in plan(request, load_optimizers(request)))
    return missing


def wayward_lines(folder: Path) -> list[Line]:
    """The lines of the wayward prompts in a folder.

    There is one line per prompt (`row` is "chosen") and one per prompt and gamma (`row` is "gamma"). All have the task, the
    kind of target, the model and the seed.

    Raises:
        NotMeasured: if there are none.
    """
    lines: list[Line] = []
    for row in _recorded(WaywardRecord, folder):
        shared = {name: row[name] for name in ("task", "kind", "lm", "seed")}
        lines.append(row | {"row": "chosen"})
        lines += [shared | line | {"row": "gamma"} for line in row["grid"]]
    return lines


def transfer_lines(folder: Path) -> list[Line]:
    """The measured cells of texts in a folder with a transfer matrix.

    `study` is the variant in the recipe, and `measured_on` is "own" on the model that the prompt was found on, else "other".

    Raises:
        NotMeasured: if there are none.
    """
    if not (folder / TransferRecord.request_file).is_file():
        raise NotMeasured(f"no record in {folder}")
    return [
        cell
        | {
            "study": _variant(Path(cell["study"]), cell["task"], cell["source_lm"]),
            "measured_on": "own" if cell["lm"] == cell["source_lm"] else "other",
        }
        for cell in transfer_of(TransferRecord(folder)).cells
        if cell["status"] == "ok" and cell["prompt_as"] == "text" and cell["number"] is not None
    ]


def reading_lines(folder: Path) -> list[Line]:
    """The best text of each reader for each prompt of the benchmark in a folder, with the keys of a reading.

    Beside those of the readers there is the text that the prompt was made from, if it was measured (`reader` is "truth").
    Each line has `task`, `kind` and `name` of the prompt, and 0 or 1 for `is_faithful` and `is_truth` (whether the
    text is the one that the prompt was made from). Both are 0 for a reader that has no text for the prompt, and its line has no
    other values.

    Raises:
        NotMeasured: if there are none.
    """
    recorded = _recorded(BenchmarkRecord, folder)
    readers = BenchmarkRecord(folder).study["readers"]
    return [judged for line in recorded for judged in judged_texts(line, readers)]


def judged_texts(line: Line, readers: Sequence[str]) -> list[Line]:
    """The lines of `reading_lines` for one prompt of the benchmark.

    >>> judged_texts({"task": "plural", "kind": "planted", "name": "a", "text": None, "readings": []}, ["samples"])
    [{'task': 'plural', 'kind': 'planted', 'name': 'a', 'reader': 'samples', 'is_faithful': False, 'is_truth': False}]
    """
    truth = (line["text"] or "").strip()
    texts = {name: best_of(line, name) or {} for name in readers}
    if made_from := next((reading for reading in line["readings"] if reading["text"] == truth), None):
        texts["truth"] = made_from
    described = {key: line[key] for key in ("task", "kind", "name")}
    return [
        {
            **described,
            **reading,
            "reader": name,
            "is_faithful": reading.get("verdict") == "faithful",
            "is_truth": bool(reading) and reading["text"] == truth,
        }
        for name, reading in texts.items()
    ]


def _recorded(kind: type[RecordFolder], folder: Path) -> list[dict[str, Any]]:
    """The lines of a record, of which there is at least one."""
    found = kind(folder).lines() if (folder / kind.request_file).is_file() else []
    if not found:
        raise NotMeasured(f"no record in {folder}")
    return found


def _geometry_lines(folder: Path) -> list[Line]:
    file = folder / "geometry.json"
    if not file.is_file():
        raise NotMeasured(f"no record in {folder}")
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    prompts = len(found["tasks"]) * len(found["words"])
    return [finding | {"tasks": len(found["tasks"]), "n": prompts} for finding in found["findings"]]


def _filled(text: str, where: Where) -> str:
    named = {name: str(folder) for name in ("data", "models") if (folder := getattr(where, name)) is not None}
    try:
        return Template(text).substitute(named)
    except KeyError as error:
        raise NotMeasured(f"give the folder with --{error.args[0]}") from error
