"""The record of a study: `study.yaml` holds the request, `points.jsonl` one line per finished run."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import ValidationError

from hardprompt.errors import StudyError
from hardprompt.field_problems import field_problems
from hardprompt.records.atomic import replacing
from hardprompt.records.folder import RecordFolder
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.schema import check_point, check_study, members

if TYPE_CHECKING:
    import pandas as pd

OF_PROMPT = ("optimizer", "split", "seed", "weight", "member")
"""Keys of a point that name its prompt; only members of fronts have the last one."""

READINGS = "readings"
"""The folder for what prompts were read as, inside the folder of a study."""

_VERSIONS = ("hardprompt", "torch", "transformers", "stable-baselines3", "gymnasium", "numpy")


class Store(RecordFolder):
    """The folder of an existing study of optimizers; `Store.writing` creates one.

    Args:
        folder: the folder, which holds a `study.yaml`.

    Raises:
        StudyError: if the folder holds no study, or one that cannot be read.
    """

    request_file = "study.yaml"
    lines_file = "points.jsonl"
    kind = "study"

    @classmethod
    def request_defaults(cls) -> Mapping[str, Any]:
        """As `RecordFolder` describes it."""
        return StudyRequest().model_dump(mode="json")

    def check_study(self, study: object, what: str) -> None:
        """As `RecordFolder` describes it."""
        check_study(study, what)

    def check_line(self, line: object, what: str) -> None:
        """As `RecordFolder` describes it."""
        check_point(line, what)

    def runs(self) -> list[dict[str, Any]]:
        """The lines of the runs in the order of the request; for a run that was repeated after a failure, the last line."""
        return _in_order(list({Run.of(line): line for line in self.lines()}.values()), self.study)

    def done_runs(self, retry_failed: bool = False) -> set[Run]:
        """The recorded runs, which are not carried out again; with `retry_failed` only those that did not fail."""
        last = {Run.of(line): line for line in self.lines(complete=True)}
        return {run for run, line in last.items() if line["status"] == "ok" or not retry_failed}

    def points(self) -> list[dict[str, Any]]:
        """The recorded points in the order of the request: one for each run, or for each member of the front of a run."""
        return [point for line in self.runs() for point in members(line)]

    def save_reading(self, point: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
        """Save what a prompt of a run was read as; it replaces an earlier reading of the same prompt.

        Args:
            point: the point of the prompt.
            reading: what `hardprompt read --json` prints.

        Raises:
            RecordError: if it cannot be written.
        """
        of_run = {name: point.get(name) for name in OF_PROMPT}
        folder = self.folder / READINGS
        name = ",".join(quote(str(value), safe="") for value in of_run.values() if value is not None)
        with replacing(folder / f"{name}.json") as temporary:
            folder.mkdir(exist_ok=True)
            temporary.write_text(json.dumps({**of_run, **reading}, ensure_ascii=False) + "\n", encoding="utf-8")

    def readings(self) -> list[dict[str, Any]]:
        """The saved readings, in the order of their file names: what `save_reading` was given, with the run.

        Raises:
            StudyError: if a file cannot be read.
        """
        found = []
        for file in sorted((self.folder / READINGS).glob("[!.]*.json")):
            try:
                reading = dict(json.loads(file.read_text(encoding="utf-8")))
                if missing := sorted({"optimizer", "weight", "split", "seed", "verdict", "readings"} - reading.keys()):
                    raise ValueError(f"no {missing[0]}")
                found.append(reading)
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise StudyError(f"{file}: not a reading ({error}); remove the file") from error
        return found

    def save_soft_prompt(self, run: Run, vectors: bytes) -> str:
        """Save the vectors that a run found.

        Args:
            run: the run.
            vectors: the contents of a safetensors file.

        Returns:
            The path of the file, relative to the folder of the study.

        Raises:
            RecordError: if they cannot be written.
        """
        return self.save_vectors((run.optimizer, run.split, run.seed, run.weight), vectors)


def study_contents(
    request: StudyRequest,
    data: dict[str, str],
    lm_source: Mapping[str, str],
    start: Sequence[str],
    chat: str,
    prompts: Mapping[str, str],
    vocabulary_size: int,
    known_front: Sequence[dict[str, Any]],
    threads: int,
) -> dict[str, Any]:
    """The contents of `study.yaml`.

    Args:
        request: the request.
        data: by split, the digest of the task's data.
        lm_source: where the weights of the model come from, if its name does not say it (`FrozenLM.origin`).
        start: the special tokens that the model reads before every text.
        chat: for a chat, the rendered template with "{input}" and "{prompt}"; otherwise empty.
        prompts: the texts of given prompts, by the name of their optimizer.
        vocabulary_size: the number of tokens of the model; its logarithm is the reference of the hypervolume.
        known_front: the points of the task's true front for this model, where it is known.
        threads: the number of threads of every run; the last bits of a result depend on them.
    """
    return {
        "request": request.model_dump(mode="json"),
        "data": data,
        **({"lm_source": dict(lm_source)} if lm_source else {}),
        "start": list(start),
        **({"chat": chat} if chat else {}),
        **({"prompts": dict(prompts)} if prompts else {}),
        "vocabulary_size": vocabulary_size,
        "known_front": list(known_front),
        "threads": threads,
        "versions": versions(),
    }


def load_points(folder: str | Path) -> "pd.DataFrame":
    """The recorded points of a study as a table: a row per run, and nested metrics as columns such as `faithfulness.kl`.

    Args:
        folder: the folder of the study.

    Raises:
        StudyError: if the folder holds no study.

    Example:
        >>> table = load_points("runs/quick")
        >>> table.groupby("optimizer").deployed_test_accuracy.mean().round(1).to_dict()
        {'empty': 0.0, 'front': 1.0, 'manual': 1.0, 'pez': 1.0, 'random': 0.0, 'rl': 1.0, 'soft': 0.0}
    """
    import pandas as pd

    return pd.json_normalize(Store(folder).points())


def recorded_request(study: dict[str, Any]) -> StudyRequest:
    """The request in the contents of `study.yaml`.

    Raises:
        StudyError: if this version cannot have written it.
    """
    try:
        return StudyRequest.model_validate(study["request"])
    except ValidationError as error:
        problem = field_problems(error, StudyRequest)[0].message
        raise StudyError(f"study.yaml: {problem} (another version of hardprompt may have written the file)") from error


def versions() -> dict[str, str]:
    """The versions that a result depends on, by package."""
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS}


def _in_order(points: list[dict[str, Any]], study: dict[str, Any]) -> list[dict[str, Any]]:
    """The points ordered by split, seed, optimizer and weight as the request lists them; given prompts come last.

    An optimizer that the request names as `path.py:name` may be recorded under another name. Such names take the places of
    these optimizers in alphabetical order.
    """
    request = study["request"]
    listed = {key: value if isinstance(value, list) else [] for key, value in request.items()}  # the request may be damaged
    requested = [str(name).rpartition(".py:") for name in listed.get("optimizers", [])]
    given = list(study.get("prompts", {}))
    found = {p["optimizer"] for p in points} - {*given}
    others = iter(sorted(found - {name for *_, name in requested}))
    named = [next(others, name) if of_file and name not in found else name for _, of_file, name in requested]
    orders = {key: listed.get(f"{key}s", []) for key in ("split", "seed", "optimizer", "weight")} | {"optimizer": named + given}

    def place(point: dict[str, Any]) -> list[int]:
        return [order.index(point[key]) if point[key] in order else len(order) for key, order in orders.items()]

    return sorted(points, key=place)
