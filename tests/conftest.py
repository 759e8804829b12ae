"""Fixtures that several test files use."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt import cli
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.packaged import ENCODERS, PACKAGED
from tests.helpers import SHARED, Ask


def pytest_configure() -> None:
    """Use one thread here and in every process that a test starts, so that results are equal bit for bit.

    The cache is a new folder, which the processes of one test run share. Of the user's cache it has only the downloaded models.
    """
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        models = PACKAGED | ENCODERS
        downloaded = [model.folder for model in models.values() if model.origin]
        os.environ["HARDPROMPT_CACHE"] = tempfile.mkdtemp(prefix="hardprompt-")
        for folder in downloaded:
            link = models[folder.name].folder
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(folder, target_is_directory=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the real model where it is not downloaded."""
    model = PACKAGED["smollm2"]
    if not model.origin:
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(pytest.mark.skip(reason=model.missing))


def pytest_unconfigure() -> None:
    """Remove the cache."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["HARDPROMPT_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def microworld() -> FrozenLM:
    """The embedded model, loaded once."""
    return load_lm("microworld", device="cpu")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and models next to the project; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real data and models does not exist")
    return SHARED


@pytest.fixture(scope="session")
def reference_values() -> dict[str, Any]:
    """Inputs and outputs of published implementations; `tests/data/README.md` describes them."""
    return json.loads((Path(__file__).parent / "data" / "reference_values.json").read_text(encoding="utf-8"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, without network, and without bytecode files next to the files of users."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the console script in this process."""

    def asked(arguments: list[str]) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hardprompt", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert isinstance(done.value.code, int)
        return done.value.code, *capfd.readouterr()

    return asked


@pytest.fixture
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not draw plots in tests of something else."""
    monkeypatch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
