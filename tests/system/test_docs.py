"""Every page of the documentation does what it shows: its files are written, its commands and Python blocks are run in order.

Comments before a block change that: `<!-- not run: REASON -->`, and `<!-- run with: OPTIONS -->` adds options to the commands
of the block, mostly a small budget; `<!-- slow -->` makes the page a slow test. A block whose title is a file name is written
to that file, and a `text` block must have been printed.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hardprompt.optimizers import load_optimizer
from tests.helpers import Ask

ROOT = Path(__file__).parents[2]
MARK = r"<!-- (?P<mark>not run|run with): (?P<detail>[^\n]*?) -->\n"
FENCE = r"```(?P<language>\w+)(?: title=\"(?P<title>[^\n]*?)\")?\n(?P<body>.*?)^```$"
BLOCK = re.compile(f"^(?:{MARK})?{FENCE}", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "<!-- slow -->" in text else [])
        for name, text in TEXTS.items()
        if any(block["mark"] != "not run" for block in BLOCK.finditer(text))
    ],
)
def test_what_the_page_shows_works(page: str, here: Path, ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    text = TEXTS[page]
    for file in re.findall(r"<!-- file: (\S+) -->", text):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, file)
    printed, names = "", {"__name__": "page"}
    for block in BLOCK.finditer(text):
        language, title, body = block["language"], block["title"] or "", block["body"]
        if block["mark"] == "not run":
            continue
        if re.fullmatch(r"[\w/.-]+\.\w+", title):
            Path(title).write_text(body, encoding="utf-8")
        elif language == "sh":
            added = shlex.split(block["detail"]) if block["mark"] == "run with" else []
            for line in body.replace("\\\n", " ").splitlines():
                printed += run(shlex.split(line, comments=True) + added, ask)
        elif language == "python":
            exec(compile(body, page, "exec"), names)
            printed += capfd.readouterr().out
        elif language == "text":
            assert body in printed


def run(words: list[str], ask: Ask) -> str:
    """Run a command of a page; returns what it prints."""
    program, *arguments = words
    if program == "mv":
        source, target = arguments
        shutil.move(source, target)
        return ""
    if program == "python":
        return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout
    assert program == "hardprompt"
    status, out, err = ask(arguments)
    assert status == 0, f"{shlex.join(words)}: {out}{err}"
    return out


def test_every_option_in_the_docs_exists() -> None:
    """Also in blocks that are not run: `-o NAME.OPTION=VALUE` names an optimizer and one of its options."""
    options = re.findall(r"-o (?!tasks|hill)([a-z]+)\.(\w+)=", "\n".join(TEXTS.values()))
    assert len(options) >= 9
    for name, option in options:
        assert option in load_optimizer(name).config.model_fields, f"{name}.{option}"


@pytest.mark.parametrize(
    "page", [*TEXTS, *(page.relative_to(ROOT).as_posix() for page in (*ROOT.glob("[A-Z]*.md"), *ROOT.glob("runs/*.md")))]
)
def test_every_link_leads_to_a_file(page: str) -> None:
    """In the repository; mkdocs checks the links of the built site."""
    file = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)", file.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


def test_no_page_has_marks_of_a_merge() -> None:
    """A merge that was not finished leaves lines that begin with seven angle brackets."""
    texts = TEXTS | {each.name: each.read_text(encoding="utf-8") for each in (*ROOT.glob("*.md"), *ROOT.glob("runs/*.md"))}
    assert [page for page, text in texts.items() if re.search(r"^(<{7}|>{7}) ", text, re.MULTILINE)] == []
