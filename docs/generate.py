"""A hook of mkdocs: builds the reference from the installed package, takes in the result pages, and inlines figures.

The command line comes from the typer application, options from the pydantic models, and the lists of tasks, metrics and
optimizers from `hardprompt ls`, so the reference always matches the code.
"""

import inspect
import json
import pkgutil
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterable
from html import escape
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from packaging.requirements import Requirement
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import hardprompt as hp
from hardprompt import stats
from hardprompt.cli import app
from hardprompt.optimizers import all_optimizers
from hardprompt.readings import all_readers
from hardprompt.records.reference import record_reference
from hardprompt.study.gpus import GPUS
from hardprompt.study.recipe import RecipeFile

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add CONTRIBUTING.md, CHANGELOG.md, SECURITY.md, the pages and pictures of `runs/`, and a page for each notebook."""
    sources = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
    sources |= {f"runs/{page.name}": f"results/{page.name}" for page in sorted((ROOT / "runs").glob("*.md"))}
    for source, page in sources.items():
        files.append(File.generated(config, page, content=in_site(source, page, sources, files)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=notebook_page(notebook)))
    for picture in sorted((ROOT / "runs").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace `<!-- generated: NAME -->` by what the function of that name returns, and `<!-- file: PATH -->` by the file.

    Links to `runs/` and to notebooks, which work in the repository, become links to their pages.
    """
    markdown = re.sub(r"\]\(\.\./((?:\.\./)*)runs/", r"](\1results/", markdown)
    markdown = re.sub(r"\]\(([\w-]+)\.ipynb\)(?!\{)", r"](\1.md)", markdown)
    markdown = re.sub(r"<!-- file: (\S+) -->", lambda found: python_file(found.group(1)), markdown)
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: GENERATED[found.group(1)](), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the figures into the page, so that they take the colours of the palette, and let long keys in tables break."""

    def inline(found: re.Match[str]) -> str:
        alt, name = found.groups()
        svg = (ROOT / "docs" / "figures" / name).read_text(encoding="utf-8")
        label = f'<svg role="img" aria-label="{alt}" '
        return f"<figure>{svg.replace('<svg ', label, 1)}<figcaption>{alt}</figcaption></figure>"

    html = re.sub(r'<p><img alt="([^"]*)" src="[^"]*figures/([\w-]+\.svg)" ?/?></p>', inline, html)
    return re.sub(r"(?<=<code>)\w[\w.]+(?=</code></td>)", lambda key: re.sub(r"([._])", r"\1<wbr>", key.group()), html)


def in_site(source: str, page: str, sources: dict[str, str], files: Files) -> str:
    """A Markdown file of the repository as a page: links to other pages stay, links to files outside the site become text."""

    def link(found: re.Match[str]) -> str:
        bang, text, target, anchor = found.groups("")
        if "://" in target or target.startswith("mailto:"):
            return found.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = sources.get(path) or path.removeprefix("docs/")
        if re.fullmatch(r"runs/[\w-]+\.png", path):
            inside = path.replace("runs/", "results/")
        elif path not in sources and files.get_file_from_path(inside) is None:
            return text
        return f"{bang}[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(link, (ROOT / source).read_text(encoding="utf-8"))


def notebook_page(notebook: Path) -> str:
    """A notebook as a page, with a link to its file below the heading."""
    heading, *rest = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    link = f"[{notebook.name}]({notebook.name}){{ download }} is the notebook of this page. It is stored without its outputs."
    parts = ["".join(heading["source"]), link]
    for cell in rest:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts)


def python_file(path: str) -> str:
    """A Python file of the repository as a block."""
    return f'```python title="{path}"\n{(ROOT / path).read_text(encoding="utf-8").strip()}\n```'


def command_line() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        rows = []
        for parameter in command.params:
            default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
            shown = "" if default in (None, False, True, "", ()) or callable(default) else f"`{default}`"
            flags = parameter.opts if parameter.param_type_name == "option" else [parameter.name.upper()]
            rows.append((", ".join(f"`{flag}`" for flag in flags), shown, getattr(parameter, "help", "") or ""))
        parts += [f"## hardprompt {name}", inspect.cleandoc(command.help or ""), table(("option", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def listing(what: str) -> list[dict[str, Any]]:
    """The answer of `hardprompt ls WHAT --json`."""
    code = "from hardprompt.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "ls", what, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def tasks() -> str:
    """The catalogue."""
    parts = []
    for title, embedded in (("The embedded world", True), ("Real data", False)):
        rows = [
            (
                f"`{task['name']}`",
                task["kind"] + (f", {task['classes']} labels" if task["classes"] else ""),
                task["division"] if embedded else task["licence"],
                task["description"],
                f"`{task['template']!r}`",
                *(() if embedded else (task["citation"],)),
            )
            for task in listing("tasks")
            if task["embedded"] is embedded
        ]
        headings = ("name", "kind", "division" if embedded else "licence of the data", "description", "template")
        parts += [f"## {title}", table(headings if embedded else (*headings, "citation"), rows)]
    return "\n\n".join(parts)


def optimizers() -> str:
    """Every optimizer with its options."""
    parts = []
    for name, optimizer in all_optimizers().items():
        swept = "A study runs it once per fluency weight." if optimizer.uses_weight else "It does not use the fluency weight."
        if optimizer.finds_front:
            swept = "One run serves all fluency weights."
        fields = model_table(optimizer.config) if optimizer.config.model_fields else "It has no options."
        parts += [f"## {name}", f"{optimizer.summary} {swept}", fields]
    return "\n\n".join(parts)


def downloads() -> str:
    """Everything that can be downloaded."""
    rows = [
        (
            f"`{entry['name']}`",
            entry["kind"],
            entry["source"],
            entry["version"],
            entry["file"] and f"`{entry['file']}`",
            f"`{entry['sha256']}`" if entry["file"] else entry["sha256"],
            entry["licence"],
        )
        for entry in listing("downloads")
    ]
    return table(("name", "kind", "from", "version", "file", "sha256", "licence"), rows)


def packages() -> str:
    """The packages that hardprompt needs, with the versions of `constraints.txt`."""
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8").lower(), re.MULTILINE)
    )
    rows = []
    for needed in metadata.requires("hardprompt") or []:
        requirement = Requirement(needed)
        extra = re.search(r'extra == ["\'](\w+)', needed)
        if extra is None or extra.group(1) not in ("dev", "docs"):
            version = pinned.get(requirement.name.lower(), "")
            rows.append((f"`{requirement.name}`", str(requirement.specifier), version, extra.group(1) if extra else "always"))
    return table(("package", "needed", "in constraints.txt", "with the extra"), rows)


def gpus() -> str:
    """The published speed of GPUs."""
    rows = [(f"`{gpu.name}`", f"{gpu.float32:g}", f"{gpu.bfloat16:g}", f"{gpu.memory}") for gpu in GPUS.values()]
    return table(("GPU", "float32, 10^12 operations per second", "bfloat16", "memory, GB"), rows)


def readers() -> str:
    """Every reader with its options."""
    parts = []
    for name, reader in all_readers().items():
        fields = model_table(reader.config) if reader.config.model_fields else "It has no options."
        parts += [f"### {name}", reader.summary, fields]
    return "\n\n".join(parts)


def metrics() -> str:
    """Every metric with its unit."""
    listed = listing("metrics")
    keys = list(listed[0])
    return table(keys, ([f"`{each['name']}`", *(str(each[key]) for key in keys[1:])] for each in listed))


def record() -> str:
    """The keys of a line of `points.jsonl`, without the title."""
    return record_reference().partition("\n")[2]


def request() -> str:
    """The fields of a request."""
    return model_table(hp.StudyRequest)


def recipe() -> str:
    """The fields of a recipe."""
    return model_table(RecipeFile)


def python_api() -> str:
    """Directives for mkdocstrings: the top-level names first, then what the guides use besides."""
    parts = ["## hardprompt"]
    for name in hp.__all__:
        found = getattr(hp, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            parts.append(f"::: {found.__module__}.{found.__qualname__}")
    of_stats = [f"hardprompt.stats.{each.name}" for each in pkgutil.iter_modules(stats.__path__)]
    for module in ("hardprompt.metrics", "hardprompt.readings", "hardprompt.adapter", *of_stats):
        parts += [f"## {module}", *members(module)]
    return "\n\n".join(parts)


def members(module: str) -> Iterable[str]:
    """Directives for the public functions and classes of a module."""
    loaded = import_module(module)
    names = getattr(loaded, "__all__", None) or [
        name for name, value in vars(loaded).items() if name[0] != "_" and getattr(value, "__module__", "") == module
    ]
    for name in names:
        found = getattr(loaded, name)
        if (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__.startswith("hardprompt"):
            yield f"::: {found.__module__}.{found.__qualname__}"


def model_table(model: type[BaseModel]) -> str:
    """The fields of a pydantic model: name, type, default, and what its metadata and description say."""
    documented = attributes(model)
    columns: list[str] = []
    for info in model.model_fields.values():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        columns += [key for key in extra if key not in columns]
    rows = []
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        default = info.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else f"`{default!r}`"
        values = [str(extra.get(key, "")) for key in columns]
        rows.append(
            (f"`{name}`", f"`{type_name(info.annotation)}`", shown, *values, info.description or documented.get(name, ""))
        )
    return table(("name", "type", "default", *columns, "meaning"), rows)


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model and its bases say about its fields."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        for section in griffe.Docstring(inspect.getdoc(each) or "").parse("google", warnings=False):
            if section.kind is griffe.DocstringSectionKind.attributes:
                for entry in section.value:
                    found |= dict.fromkeys(entry.name.split(", "), " ".join(entry.description.split()))
    return found


def type_name(annotation: Any) -> str:
    """A type as a reader writes it."""
    text = annotation.__name__ if inspect.isclass(annotation) and not hasattr(annotation, "__args__") else str(annotation)
    text = re.sub(r"Annotated\[(\w+), [^\[\]]*(\[[^\]]*\][^\[\]]*)*\]", r"\1", text)
    text = re.sub(r"Optional\[(.*)\]$", r"\1 | None", text)
    return re.sub(r"\b(?:typing|hardprompt)\.(?:\w+\.)*", "", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; whatever would break a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text in one line, without characters that end a cell or start a tag; code spans stay as they are."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else escape(part, quote=False).replace("|", "\\|") for part in parts)


GENERATED = {
    each.__name__: each
    for each in (
        *(command_line, tasks, optimizers, readers, metrics, record, request, recipe, python_api),
        *(downloads, packages, gpus),
    )
}
