"""docs/own-task.md is run as it stands: its files are written, its commands typed, and what it promises is there."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from hardprompt import cli

TUTORIAL = (Path(__file__).parents[2] / "docs" / "own-task.md").read_text(encoding="utf-8")


def test_the_tutorial_does_what_it_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block with a file's name is written, every `sh` block is run, every block without a language was printed."""
    monkeypatch.chdir(tmp_path)
    printed = ""
    for kind, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL):
        language, _, file = kind.partition(" ")
        if file:
            Path(file).write_text(body, encoding="utf-8")
        elif language == "sh":
            for line in body.splitlines():
                program, *words = shlex.split(line)
                if program == "mv":
                    old, new = words
                    shutil.move(old, new)
                    continue
                assert program == "hardprompt"
                monkeypatch.setattr(sys, "argv", [program, *words])
                with pytest.raises(SystemExit) as done:
                    cli.main()
                out, err = capfd.readouterr()
                assert (done.value.code, err) == (0, ""), out + err
                printed += out
        else:
            assert body in printed
    assert all(Path("visits-study", name).stat().st_size for name in ("tradeoff.png", "report.html", "points.jsonl"))
    assert "pez" in printed and printed.count("visits on microworld") >= 2
