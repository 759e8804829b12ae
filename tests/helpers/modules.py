"""The modules of the checkout and what they import, read from their sources."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"hardprompt": "hardprompt", "hardprompt.policies": "policies", "hardprompt.tasks": "tasks"}
"""The folder of the checkout that each package is installed from."""


@dataclass(frozen=True)
class Source:
    """The text of a module.

    Attributes:
        module: the module's name, such as `hardprompt.lm`.
        text: its source code.
        is_package: whether it is the `__init__.py` of a folder.
    """

    module: str
    text: str
    is_package: bool = False

    def imports(self) -> Iterator[tuple[str, str, int]]:
        """Every import, in functions and under `TYPE_CHECKING` too.

        Yields:
            The module that is named, the name that is taken from it (empty for `import module`), and the number of leading
            dots of a relative import. Relative names are resolved.
        """
        for node in ast.walk(ast.parse(self.text)):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "", 0) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = self.module.split(".")
                    kept = len(parents) - node.level + self.is_package
                    base = ".".join([*parents[:kept], *([base] if base else [])])
                yield from ((base, alias.name, node.level) for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
                yield from ((str(arg.value), "", 0) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def module_files() -> dict[str, Path]:
    """The file of every module of the package, by the name under which it is installed."""
    found = {}
    for package, folder in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


def read_source(module: str, file: Path) -> Source:
    """The source of a module."""
    return Source(module, file.read_text(encoding="utf-8"), file.name == "__init__.py")
