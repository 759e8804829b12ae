"""What `hardprompt ls` shows: the available tasks, models, optimizers, readers and metrics."""

import warnings
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hardprompt.data.catalogue import all_tasks, load_task
from hardprompt.data.datasets import DataTask
from hardprompt.errors import HardpromptError
from hardprompt.lm.packaged import ENCODERS, PACKAGED, PackagedModel
from hardprompt.lm.sources import EMBEDDED
from hardprompt.optimizers import all_optimizers
from hardprompt.readings.base import all_readers
from hardprompt.records.reference import record_entries

Entry = dict[str, Any]


def list_tasks() -> list[Entry]:
    """The description of every installed task; the sizes of a task on real data are left out."""
    entries = []
    for name, task in all_tasks().items():
        try:
            entries.append((task if isinstance(task, DataTask) else load_task(name)).describe())
        except HardpromptError as error:
            warnings.warn(f"task {name} cannot be listed: {error}", stacklevel=2)
    return entries


def list_lms() -> list[Entry]:
    """The embedded models, and those that `hardprompt download` fetches."""
    embedded = [
        {"name": name, "embedded": True, "state": "there", "megabytes": _megabytes(folder), "licence": "MIT"}
        for name, folder in EMBEDDED.items()
    ]
    return [*embedded, *map(_listed, PACKAGED.values())]


def list_downloads() -> list[Entry]:
    """The models that `hardprompt download` fetches."""
    kinds = ((PACKAGED, "language model"), (ENCODERS, "sentence encoder"))
    return [_listed(model) | {"kind": kind} for models, kind in kinds for model in models.values()]


def _listed(model: PackagedModel) -> Entry:
    return {
        "name": model.name,
        "embedded": False,
        "state": "there" if model.origin else "not downloaded",
        "megabytes": round(model.folder_bytes / 1e6),
        "licence": model.licence,
    }


def _megabytes(folder: Path) -> int:
    return round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6)


def list_optimizers() -> list[Entry]:
    """Every installed optimizer with its options and their defaults."""
    return [
        {
            "name": optimizer.name,
            "description": optimizer.summary,
            "sweeps_weight": optimizer.uses_weight,
            "options": optimizer.config().model_dump(mode="json"),
        }
        for optimizer in all_optimizers().values()
    ]


def list_readers() -> list[Entry]:
    """Every installed method of `hardprompt read` with its options and their defaults."""
    return [
        {"name": reader.name, "description": reader.summary, "options": reader.config().model_dump(mode="json")}
        for reader in all_readers().values()
    ]


def list_metrics() -> list[Entry]:
    """Every measured value of a record: its name, unit and description, which direction is better, and for which prompts."""
    return [entry._asdict() for entry in record_entries() if entry.unit]


LISTINGS = {
    "tasks": list_tasks,
    "lms": list_lms,
    "optimizers": list_optimizers,
    "readers": list_readers,
    "metrics": list_metrics,
}


ONLY_IN_JSON = ("embedded", "template", "masked_template")
"""Keys of a task that are too long for a table, or are clear from its source."""


def listing_table(entries: list[Entry]) -> Table:
    """A table with a column for each key that has a short value."""
    keys = [key for key in entries[0] if not isinstance(entries[0][key], dict | list)] if entries else []
    if "licence" in keys:
        keys = [key for key in keys if key not in ONLY_IN_JSON]
    table = Table(pad_edge=False)
    for key in keys:
        table.add_column(key)
    for entry in entries:
        table.add_row(
            *[Text("" if entry[key] is None and key == "classes" else str(entry[key]).replace("\n", "\\n")) for key in keys]
        )
    return table
