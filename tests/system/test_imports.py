"""Imports go one way: between the three packages, between folders, and between files."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.helpers.modules import FOLDERS, ROOT, Source, module_files, read_source

SOURCES = {module: read_source(module, file) for module, file in module_files().items()}

TESTS = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in sorted((ROOT / "tests").rglob("*.py"))}

FORBIDDEN = {
    "hardprompt": {
        "hardprompt.policies": "found through entry points",
        "hardprompt.tasks": "found through entry points",
        "stable_baselines3": "belongs to policies/",
        "gymnasium": "belongs to policies/",
    },
    "hardprompt.policies": {"hardprompt.policies": "import siblings relatively", "hardprompt.tasks": "found by name"},
    "hardprompt.tasks": {"hardprompt.tasks": "import siblings relatively", "hardprompt.policies": "found by name"},
}
"""What the modules of each package may not import, with the reason."""

NOWHERE = {"policies": "not a top-level package", "tasks": "not a top-level package", "tests": "not installed"}
"""What no module of the package may import, with the reason."""

Graph = dict[str, set[str]]


def package_of(module: str) -> str:
    """Which of the three packages a module is in."""
    return next(package for package in reversed(FOLDERS) if f"{module}.".startswith(f"{package}."))


def wrong_imports(source: Source) -> list[str]:
    """The imports of a module that go against the direction between the packages, with the reason."""
    module, own = source.module, package_of(source.module)
    wrong = []
    for base, name, level in source.imports():
        imported = f"{base}.{name}" if name else base
        for forbidden, reason in (FORBIDDEN[own] | NOWHERE).items():
            sibling = level and forbidden == own
            if f"{imported}.".startswith(f"{forbidden}.") and not sibling:
                wrong.append(f"{module} imports {imported}: {reason}")
        if level and not f"{imported}.".startswith(f"{own}."):
            wrong.append(f"{module} imports {imported} relatively out of its package")
    return wrong


def home_of(base: str, name: str, sources: dict[str, Source]) -> str:
    """The module that `from base import name` takes the name from: where a package only passes it on, the one it comes from."""
    if f"{base}.{name}" in sources:
        return f"{base}.{name}"
    if base in sources and sources[base].is_package:
        for inner, passed_on, _ in sources[base].imports():
            if passed_on == name and inner != base:
                return home_of(inner, name, sources)
    return base


def import_graph(sources: dict[str, Source]) -> Graph:
    """For each module, the modules of the project that it imports.

    A name that is taken from a package is an import of the package and of the module that the name comes from. The package
    `hardprompt` itself is left out: it loads its names when they are first used.
    """
    graph: Graph = {}
    for module, source in sources.items():
        imported = set()
        for base, name, _ in source.imports():
            imported |= {home_of(base, name, sources)} | ({base} if f"{base}.{name}" not in sources else set())
        graph[module] = (imported & sources.keys()) - {module, "hardprompt"}
    del graph["hardprompt"]
    return graph


def folder_of(module: str, sources: dict[str, Source]) -> str:
    """The folder of a module; a module directly in `hardprompt` counts as a folder of its own."""
    if sources[module].is_package:
        return module
    parent = module.rpartition(".")[0]
    return module if parent == "hardprompt" else parent


def folder_graph(sources: dict[str, Source]) -> Graph:
    """For each folder, the folders whose modules its own modules import."""
    graph: Graph = {}
    for module, imported in import_graph(sources).items():
        own = folder_of(module, sources)
        graph.setdefault(own, set()).update({folder_of(other, sources) for other in imported} - {own})
    return graph


def circle(graph: Graph) -> list[str]:
    """The modules or folders on one circle of imports, each imported by the one before it; empty where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def planted(lines: Iterable[tuple[str, str]]) -> dict[str, Source]:
    """The modules of the project with one more line in some of them."""
    return SOURCES | {
        module: Source(module, f"{SOURCES[module].text}\n{line}\n", SOURCES[module].is_package) for module, line in lines
    }


# Between the packages


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_from_plugins_to_the_core(module: str) -> None:
    """The core imports neither policies nor tasks, these do not import each other, and they import siblings relatively."""
    assert wrong_imports(SOURCES[module]) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("hardprompt.study.runner", "def f():\n    from hardprompt.policies import rl"),
        ("hardprompt.study.runner", "from hardprompt import tasks"),
        ("hardprompt.data.catalogue", "import hardprompt.tasks.microworld as m"),
        ("hardprompt.data.catalogue", "from ..tasks import microworld"),
        ("hardprompt.data.catalogue", "import importlib\nimportlib.import_module('hardprompt.tasks.microworld')"),
        ("hardprompt.lm.frozen", "if True:\n    import gymnasium.spaces"),
        ("hardprompt.policies.ppo", "from hardprompt.policies.reward import Reward"),
        ("hardprompt.policies.ppo", "from hardprompt.tasks import microworld"),
        ("hardprompt.policies.ppo", "from ..optimizers import base"),
        ("hardprompt.policies.ppo", "import policies.reward"),
        ("hardprompt.tasks.style", "from tasks import microworld"),
        ("hardprompt.tasks.style", "from ..policies import rl"),
        ("hardprompt.cli", "import tests.helpers.tiny"),
    ],
)
def test_a_forbidden_import_is_found(module: str, text: str) -> None:
    assert wrong_imports(Source(module, text))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("hardprompt.policies.ppo", "from .reward import Reward\nfrom hardprompt.optimizers.base import Problem"),
        ("hardprompt.tasks.style", "from . import microworld\nfrom hardprompt.data.task import Task"),
        ("hardprompt.data.catalogue", "from hardprompt.data.task import Task"),
        ("hardprompt.study", "from .runner import compare"),
    ],
)
def test_an_allowed_import_is_not_reported(module: str, text: str) -> None:
    assert wrong_imports(Source(module, text, is_package=module == "hardprompt.study")) == []


# Circles


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(import_graph(SOURCES)) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert circle(folder_graph(SOURCES)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import hardprompt.scoring.scorer",
        "from hardprompt.scoring import scorer",
        "from hardprompt.scoring.scorer import Scorer",
        "from hardprompt.scoring import Scorer",
        "from hardprompt import Scorer",
        "def late():\n    from hardprompt.scoring import Scorer",
        "if TYPE_CHECKING:\n    from hardprompt.scoring import Scorer",
        "from ..scoring.scorer import Scorer",
        "import_module('hardprompt.scoring.scorer')",
    ],
)
def test_a_circle_is_found_however_the_import_is_written(line: str) -> None:
    """The scorer imports the task, so the task must not import the scorer."""
    sources = planted([("hardprompt.data.task", line)])
    on_circle = circle(import_graph(sources))
    assert "hardprompt.data.task" in on_circle and on_circle[0] == on_circle[-1]
    assert "hardprompt.data" in circle(folder_graph(sources))


@pytest.mark.slow
def test_folders_that_import_each_other_are_found_without_a_circle_of_files() -> None:
    there = ("hardprompt.data.splits", "from hardprompt.stats import pareto")
    back = ("hardprompt.stats.summaries", "from hardprompt.data import rows")
    assert circle(folder_graph(planted([there]))) == circle(folder_graph(planted([back]))) == []
    sources = planted([there, back])
    assert circle(import_graph(sources)) == []
    assert set(circle(folder_graph(sources))) == {"hardprompt.data", "hardprompt.stats"}


# Tests


def test_no_test_file_imports_another() -> None:
    assert [wrong for module, file in TESTS.items() for wrong in imported_tests(read_source(module, file))] == []


def imported_tests(source: Source) -> list[str]:
    """The test files and `conftest.py` files that a test file imports; what tests share belongs in `tests/helpers`."""
    wrong = []
    for base, name, _ in source.imports():
        parts = f"{base}.{name}".split(".")
        if parts[0] == "tests" and any(part.startswith("test_") or part == "conftest" for part in parts):
            wrong.append(f"{source.module} imports {base}")
    return wrong


@pytest.mark.parametrize(
    "line",
    [
        "from tests.system.test_cli import SCRIPT",
        "from tests.system import test_cli",
        "from .test_cli import SCRIPT",
        "from . import test_cli",
        "import tests.conftest",
    ],
)
def test_an_import_of_a_test_file_is_found(line: str) -> None:
    assert imported_tests(Source("tests.system.test_bench", line))
    assert not imported_tests(Source("tests.system.test_bench", "from tests.helpers.tiny import tiny_lm"))
