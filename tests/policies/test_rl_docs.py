"""docs/rl.md: its Python runs as it stands, and its commands are understood."""

import re
import shlex
from pathlib import Path

from hardprompt.optimizers import load_optimizer

PAGE = (Path(__file__).parents[2] / "docs" / "rl.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    found: dict[str, object] = {}
    exec(code, found)
    assert found["model"].num_timesteps >= 200  # type: ignore[attr-defined]


def test_every_option_of_the_page_exists() -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    options = [word for word in shlex.split(commands, comments=True) if re.match(r"rl(prompt)?\.\w+=", word)]
    assert len(options) > 4
    for option in options:
        name, key, value = re.match(r"(\w+)\.(\w+)=(.*)", option).groups()  # type: ignore[union-attr]
        assert key in type(load_optimizer(name).configure({key: value})).model_fields
    listed = re.findall(r"`(\w+)`", PAGE.split("## Options of both")[1].split("[options.py]")[0])
    assert set(listed) <= set(load_optimizer("rl").config.model_fields) and len(listed) == 12
