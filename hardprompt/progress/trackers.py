"""Trackers: programs and files that show the curves and results of runs, such as TensorBoard or MLflow.

A tracker receives the settings of each run when it starts (`Tracker.start`), its curves while it runs and its results when it
ends (`TrackedRun`), and the pages of the studies (`Tracker.page`). All trackers write below a folder and need no network.
"""

import csv
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from contextvars import Context
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from hardprompt.escaping import printable
from hardprompt.report.tables import cell, write_csv

TEXT_LENGTH = 5000
"""The largest number of characters of a text; MLflow has a limit of 6000 for a parameter."""


class TrackedRun(Protocol):
    """A run that a tracker records."""

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        """Add a point to curves.

        Args:
            lm_tokens: the horizontal coordinate: logical LM tokens spent so far.
            values: the values by the name of the curve.
        """

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """End the run.

        Args:
            lm_tokens: all logical LM tokens of the run.
            values: the final metrics by name.
            texts: `status` (ok, failed or stopped), and `prompt_text` or `error`.
        """


class Tracker(Protocol):
    """Records runs and pages."""

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """Begin to record a run.

        Args:
            experiment: the name of the folder of all studies.
            study: the number, task and model of the study.
            run: the optimizer, weight, split and seed of the run.
            config: the settings of the run by name.
        """

    def page(self, experiment: str, name: str, file: Path) -> None:
        """Keep the page of a study.

        Args:
            experiment: as for the runs.
            name: the name of the folder of the study.
            file: the page.
        """


class CsvTracker:
    """Files `curves.csv` (LM tokens, name, value) and `run.csv` (name, value) for each run; it needs no package.

    Args:
        folder: the folder to write to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """As `Tracker` describes it."""
        return _CsvRun(_made(self._folder / experiment / study / run), config)

    def page(self, experiment: str, name: str, file: Path) -> None:
        """As `Tracker` describes it."""
        _copy_page(file, self._folder / experiment, name)


class _CsvRun:
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._folder, self._config = folder, config
        self._write("w", [("lm_tokens", "name", "value")])
        write_csv(folder / "run.csv", ("name", "value"), list(config.items()))

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        self._write("a", [(lm_tokens, name, value) for name, value in values.items()])

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        write_csv(self._folder / "run.csv", ("name", "value"), list(({**self._config, **texts, **values}).items()))

    def _write(self, mode: str, rows: Iterable[tuple[object, ...]]) -> None:
        with (self._folder / "curves.csv").open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([cell(value) for value in row] for row in rows)


class TensorBoardTracker:
    """Event files for TensorBoard, in a folder for each run (the extra `tensorboard`).

    Args:
        folder: the folder to write to, for `tensorboard --logdir`.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._make, self._folder = SummaryWriter, folder

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """As `Tracker` describes it."""
        # A step of 0 to purge from hides what an earlier attempt at this run wrote.
        return _TensorBoardRun(self._make(str(self._folder / experiment / study / run), purge_step=0), config)

    def page(self, experiment: str, name: str, file: Path) -> None:
        """As `Tracker` describes it."""
        _copy_page(file, self._folder / experiment, name)


class _TensorBoardRun:
    def __init__(self, writer: Any, config: dict[str, Any]) -> None:
        self._writer = writer
        self._text("config", "\n".join(f"{name}: {value}" for name, value in config.items()), 0)

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, lm_tokens)
        self._writer.flush()

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        with self._writer:
            self.log(lm_tokens, values)
            for name, text in texts.items():
                self._text(name, text, lm_tokens)

    def _text(self, name: str, text: str, lm_tokens: int) -> None:
        """TensorBoard reads Markdown, in which indented lines are shown as they are."""
        self._writer.add_text(name, "\n".join(f"    {printable(line)}" for line in text.split("\n")), lm_tokens)


class WandbTracker:
    """Runs of Weights & Biases (the extra `wandb`), offline unless the environment variable WANDB_MODE says otherwise.

    The environment variable WANDB_PROJECT names the project, by default `hardprompt`; the experiment is the group of the runs.

    Args:
        folder: the folder to write to; `wandb sync` uploads the runs in it.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        self._wandb, self._folder = wandb, folder

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """As `Tracker` describes it."""
        begun = self._begin(experiment, run, config | {"study": study}, "search")
        begun.define_metric("*", step_metric="lm_tokens")
        return _WandbRun(begun)

    def page(self, experiment: str, name: str, file: Path) -> None:
        """As `Tracker` describes it."""
        artifact = self._wandb.Artifact(_file_name(f"{experiment}-{name}"), type="report")
        artifact.add_file(str(file))
        with self._begin(experiment, f"report of {name}", {}, "report") as run:
            run.log_artifact(artifact)

    def _begin(self, experiment: str, name: str, config: dict[str, Any], kind: str) -> Any:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "hardprompt"),
            group=experiment,
            job_type=kind,
            name=name,
            config=config,
            dir=str(self._folder),
            mode=mode,
            reinit="create_new",  # several runs at the same time
            settings=self._wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True, save_code=False),
        )


class _WandbRun:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        self._run.log({"lm_tokens": lm_tokens, **values})

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        self._run.summary.update({**values, **texts})
        self._run.finish(exit_code=int(texts["status"] != "ok"))


class MlflowTracker:
    """Runs of MLflow (the extra `mlflow`) in a folder of files, unless the environment variable MLFLOW_TRACKING_URI is set.

    Args:
        folder: the folder to write to, for `mlflow ui --backend-store-uri`.
    """

    def __init__(self, folder: Path) -> None:
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        self._entities = entities
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions ask for it
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri())

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """As `Tracker` describes it."""
        begun = _MlflowRun(self._client, self._entities, self._begin(experiment, run))
        begun.describe(config | {"study": study})
        return begun

    def page(self, experiment: str, name: str, file: Path) -> None:
        """As `Tracker` describes it."""
        run_id = self._begin(experiment, f"report of {name}")
        self._client.log_artifact(run_id, str(file))
        self._client.set_terminated(run_id)

    def _begin(self, experiment: str, name: str) -> str:
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        return str(self._client.create_run(number, run_name=name).info.run_id)


class _MlflowRun:
    def __init__(self, client: Any, entities: Any, run_id: str) -> None:
        self._client, self._entities, self._id = client, entities, run_id

    def describe(self, config: dict[str, Any]) -> None:
        params = [self._entities.Param(_mlflow_name(name), str(value)[:TEXT_LENGTH]) for name, value in config.items()]
        self._client.log_batch(self._id, params=params)

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        now = round(time.time() * 1000)
        metrics = [self._entities.Metric(_mlflow_name(name), value, now, lm_tokens) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        self.log(lm_tokens, values)
        for name, text in texts.items():
            self._client.set_tag(self._id, name, text[:TEXT_LENGTH])
        self._client.set_terminated(self._id, {"ok": "FINISHED", "failed": "FAILED"}.get(texts["status"], "KILLED"))


class TrackioTracker:
    """Runs of trackio (the extra `trackio`); the experiment is the project, and the study the group.

    trackio has one folder for each process, which it chooses when it is imported. If it was imported before, it keeps that one.

    Args:
        folder: the folder to write to; `TRACKIO_DIR=FOLDER trackio show` shows it.
    """

    def __init__(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder.resolve())
        import trackio

        self._trackio = trackio

    def start(self, experiment: str, study: str, run: str, config: dict[str, Any]) -> TrackedRun:
        """As `Tracker` describes it."""
        return _TrackioRun(self._begin(experiment, study, run, config))

    def page(self, experiment: str, name: str, file: Path) -> None:
        """As `Tracker` describes it."""
        run = self._begin(experiment, "report", f"report of {name}", {})
        run.log_artifact(file, name=_file_name(name), type="report")
        with _silent():
            run.finish()

    def _begin(self, experiment: str, group: str, name: str, config: dict[str, Any]) -> Any:
        begin = partial(
            self._trackio.init, project=_file_name(experiment), group=group, name=name, config=config,
            embed=False, auto_log_cpu=False, auto_log_gpu=False,
        )  # fmt: skip
        with _silent():
            return Context().run(begin)  # in a context of its own, in which no other run has begun that it would finish


class _TrackioRun:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, lm_tokens: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=lm_tokens)

    def finish(self, lm_tokens: int, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        self._run.log({**values, **texts}, step=lm_tokens)
        with _silent():
            self._run.finish()


def _silent() -> redirect_stdout[StringIO]:
    """trackio prints to standard output, which is for the answer."""
    return redirect_stdout(StringIO())


def _file_name(name: str) -> str:
    """The name with the characters that every tracker accepts for projects and artifacts."""
    return re.sub(r"[^\w.-]", "_", name)


def _mlflow_name(name: str) -> str:
    """The name with the characters that MLflow accepts."""
    return re.sub(r"[^\w\-./ :]", "_", name)


TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "csv": CsvTracker,
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}
"""The trackers by name; each is made of the folder that it writes to. All but `csv` need the extra of their name."""


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copy_page(file: Path, folder: Path, name: str) -> None:
    shutil.copyfile(file, _made(folder) / f"{name}.html")
