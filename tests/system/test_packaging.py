"""The installed package is the checkout: public names, fast imports, and a complete wheel."""

import ast
import importlib
import importlib.util
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import hardprompt
from tests.helpers.modules import FOLDERS, ROOT, module_files

HEAVY = ("torch", "transformers", "stable_baselines3", "gymnasium", "matplotlib", "jinja2", "pandas", "sentencepiece")
OFFLINE = os.environ | {"HF_HUB_OFFLINE": "1"}
MODULES = module_files()


@pytest.mark.parametrize(
    "module", ["hardprompt", "hardprompt.cli", "hardprompt.errors", "hardprompt.data.task", "hardprompt.plugins"]
)
def test_light_modules_import_no_heavy_library(module: str) -> None:
    """Importing the package, the command line and the plain modules loads no torch, SB3 or matplotlib."""
    code = f"import sys, {module}; print(*({{*{HEAVY!r}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=OFFLINE)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


# Public names


def test_public_names_are_what_can_be_imported() -> None:
    """Every name of `hardprompt.__all__` can be imported, is declared to type checkers and is in `dir`; others are errors."""
    names = set(hardprompt.__all__)
    assert len(names) == len(hardprompt.__all__) and names <= set(dir(hardprompt))
    for name in names:
        assert getattr(hardprompt, name) is not None
    [checked] = [node for node in ast.parse(MODULES["hardprompt"].read_text()).body if isinstance(node, ast.If)]
    declared = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared == names - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        hardprompt.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module", [name for name, file in MODULES.items() if "\n__all__ = " in file.read_text(encoding="utf-8")]
)
def test_all_lists_what_a_package_offers(module: str) -> None:
    """`__all__` lists each name that a module defines or imports from the project; optimizers may be in OPTIMIZERS."""
    loaded = importlib.import_module(module)
    listed = loaded.__all__
    assert len(set(listed)) == len(listed)
    assert all(hasattr(loaded, name) for name in listed)
    if module in ("hardprompt", "hardprompt.cli"):  # they import some names only when these are used
        return
    offered = set()
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("hardprompt")):
            offered |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            offered.add(node.name)
        elif isinstance(node, ast.Assign):
            offered |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    unlisted = {name for name in offered if not name.startswith("_")} - set(listed)
    assert set(listed) <= offered
    assert all(getattr(loaded, name) in loaded.OPTIMIZERS for name in unlisted), unlisted


def test_every_module_is_found_when_installed() -> None:
    """The installed package has exactly the checkout's modules: none is missing from the list of packages."""
    found = {info.name for info in pkgutil.walk_packages(hardprompt.__path__, "hardprompt.")}
    for package in ("hardprompt.policies", "hardprompt.tasks"):
        loaded = importlib.import_module(package)
        found |= {package} | {info.name for info in pkgutil.walk_packages(loaded.__path__, f"{package}.")}
    assert found | {"hardprompt"} == set(MODULES)


def test_the_version_is_the_same_everywhere() -> None:
    """In pyproject.toml, in the package and in the installed metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == hardprompt.__version__ == version("hardprompt")


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the source distribution of a copy of the checkout."""
    for needed in ("build", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed; it is in the extra `dev`")
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip(f"setuptools {version('setuptools')} is older than pyproject.toml asks for; install the extra `dev`")
    base = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "venv", "hardprompt-out")
    shutil.copytree(ROOT, base / "checkout", ignore=unwanted)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(base / "dist"), str(base / "checkout")]
    done = subprocess.run(command, cwd=base, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(list((base / "dist").glob("*.tar.gz"))) == 1
    [built] = (base / "dist").glob("*.whl")
    return built


def test_the_wheel_contains_exactly_the_files_of_the_packages(wheel: Path) -> None:
    """It contains every module and data file of the three folders under `hardprompt/`, and no other file."""
    expected = set()
    for package, folder in FOLDERS.items():
        for file in (ROOT / folder).rglob("*"):
            inside = file.relative_to(ROOT / folder)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if file.is_file() and not hidden:
                expected.add("/".join([*package.split("."), *inside.parts]))
    held = zipfile.ZipFile(wheel).namelist()
    of_metadata = {name for name in held if name.startswith(f"hardprompt-{hardprompt.__version__}.dist-info/")}
    assert set(held) - of_metadata == expected
    assert {
        "hardprompt/py.typed",
        "hardprompt/lm/microworld/model/model.safetensors",
        "hardprompt/custom_task/template/data.csv",
        "hardprompt/custom_task/template/task.yaml",
        "hardprompt/report/page.html",
    } <= expected
    assert {name.split("/", 1)[1] for name in of_metadata} >= {"METADATA", "entry_points.txt", "licenses/LICENSE"}


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty folder and used from another one, it lists its tasks and loads its model from that folder."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed here")
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    environment = OFFLINE | {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    script = [sys.executable, str(target / "bin" / "hardprompt"), "ls", "tasks", "--json"]
    listed = subprocess.run(script, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "plural" in {entry["name"] for entry in json.loads(listed.stdout)}

    code = (
        "import sys, hardprompt, hardprompt.policies, hardprompt.tasks\n"
        "lm, task = hardprompt.load_lm('microworld', device='cpu'), hardprompt.load_task('plural')\n"
        "problem = hardprompt.Problem(task, lm)\n"
        "found = hardprompt.run_optimizer(hardprompt.load_optimizer('manual'), problem)\n"
        "print(found.best.dev_accuracy)\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'hardprompt'), sep='\\n')\n"
    )
    used = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert (used.returncode, used.stderr) == (0, "")
    accuracy, *files = used.stdout.splitlines()
    assert float(accuracy) > 0.5
    assert len(files) > 10 and all(Path(file).is_relative_to(target) for file in files)
    assert list(elsewhere.iterdir()) == []
