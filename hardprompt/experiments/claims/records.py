"""The record that shows a claim: made by its recipe where it is not there yet, and read as lines.

A recipe in `recipes/` is one of three: of `hardprompt run`; `wayward:` with the fields of `WaywardPairs`; or `geometry:`
with those of a `GeometryRequest`. `$data` and `$models` in it stand for folders that the user names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import yaml

from hardprompt.errors import RequestError
from hardprompt.experiments.claims.measurement import Line
from hardprompt.experiments.geometry.request import GeometryRequest
from hardprompt.experiments.geometry.run import geometry
from hardprompt.experiments.wayward.run import WaywardPairs, wayward_pairs
from hardprompt.records.atomic import replacing
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.store import Store
from hardprompt.study.engine import Listener
from hardprompt.study.loading import load_optimizers
from hardprompt.study.planner import plan
from hardprompt.study.recipe import read_recipe
from hardprompt.study.runner import run

ROOT = Path("hardprompt-out") / "reproduce"


class NotMeasured(RequestError):
    """A record that is not there and cannot, or must not, be made."""


@dataclass(frozen=True)
class Where:
    """Where records are, and how missing ones are made.

    Attributes:
        out: a folder for each recipe below it.
        data, models: the folders that `$data` and `$models` stand for.
        jobs: processes of a study, as `hardprompt.study.run` takes them.
        recorded: only read what is there.
    """

    out: Path = ROOT
    data: Path | None = None
    models: Path | None = None
    jobs: int | None = None
    recorded: bool = False


def recipe_text(name: str) -> str:
    """The recipe's file as it is shipped."""
    return files("hardprompt.experiments.claims").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")


def record_lines(recipe: str, where: Where, listener: Listener | None = None) -> list[Line]:
    """The lines of a recipe's record; what is missing of it is made first, unless only what is there is wanted.

    Of studies a line is a point of `points.jsonl`, with `study` (the recipe's variant) and `reader_gap` (what the first reader
    needs more than the task LM, nats per character); of wayward prompts see `wayward_lines`; of a geometry study a finding.

    Raises:
        NotMeasured: there is no record, and none is to be made; or a folder that the recipe needs was not named.
        RequestError: the record is of another request, or cannot be made.
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
    if not where.recorded:
        where.out.mkdir(parents=True, exist_ok=True)
        file = where.out / f"{recipe}.yaml"
        with replacing(file) as aside:
            aside.write_text(text, encoding="utf-8")
        run(read_recipe(file), folder, listener, jobs=where.jobs)
    elif listener and (left := _left(folder)):
        listener.noted(f"{folder} is not complete, {left} runs are not recorded; what is there is judged")
    return study_lines(folder)


def study_lines(folder: Path) -> list[Line]:
    """The finished runs of all studies below a folder."""
    lines: list[Line] = []
    for file in sorted(folder.glob("*/study.yaml")):
        for point in Store(file.parent).points():
            if point["status"] == "ok":
                plain = f"{point['task']}-{point['lm'].replace('/', '--')}"
                own, read = point["scrutability"].get("nats_per_character"), point["reader_nats_per_character"]
                gap = None if own is None or read is None else read - own
                lines.append(point | {"study": file.parent.name.removeprefix(plain).removeprefix("-"), "reader_gap": gap})
    return lines


def _left(folder: Path) -> int:
    """How many runs of the studies below a folder are not recorded."""
    left = 0
    for file in sorted(folder.glob("*/study.yaml")):
        store = Store(file.parent)
        request = StudyRequest.model_validate(store.study["request"])
        done = {Run.of(point) for point in store.points()}
        left += sum(run not in done for run in plan(request, load_optimizers(request)))
    return left


def wayward_lines(folder: Path) -> list[Line]:
    """A line per wayward prompt (`row` "chosen"), and one per gamma (`row` "gamma"), with task, kind of target, model, seed."""
    file = folder / "wayward.jsonl"
    if not file.is_file():
        raise NotMeasured(f"no record in {folder}")
    lines: list[Line] = []
    for text in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        shared = {name: row[name] for name in ("task", "kind", "lm", "seed")}
        lines.append(row | {"row": "chosen"})
        lines += [shared | line | {"row": "gamma"} for line in row["grid"]]
    return lines


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
        raise NotMeasured(f"name the folder with --{error.args[0]}") from error
