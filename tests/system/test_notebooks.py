"""The notebooks of the documentation run from the first to the last cell, show tables, and are stored without outputs."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(file: Path) -> Any:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; it is in the extra `dev`")
    return nbformat.read(file, as_version=4)


def executed(file: Path, folder: Path) -> str:
    """Execute a notebook in an empty folder; returns the HTML that its cells show."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed; it is in the extra `dev`")
    notebook = cells(file)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(text for output in outputs if "data" in output for text in [output["data"].get("text/html", "")])


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_are_stored_without_outputs(file: Path) -> None:
    found = cells(file)
    assert len(NOTEBOOKS) == 3 and found.cells[0].source.startswith("# ")
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in found.cells)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a downloaded model, so that `own-task` uses the embedded one."""
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    page = executed(file, tmp_path)
    assert page.count("<table>") >= 2 and not re.search(r"<script|[\x00-\x08\u202a-\u202e\u2066-\u2069]", page)
    if file.stem == "first-look":
        assert "data:image/svg+xml;base64," in page and "5 done" in page


@pytest.mark.slow
@pytest.mark.real
def test_the_task_of_ones_own_runs_on_the_real_model(tmp_path: Path) -> None:
    assert "smollm2" in executed(ROOT / "docs" / "notebooks" / "own-task.ipynb", tmp_path)
