"""What several tests share: tiny models, plain reference implementations, hostile texts and a browser."""

from collections.abc import Callable
from pathlib import Path

Ask = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command in this process and gives its exit status, stdout and stderr."""

SHARED = Path(__file__).parents[3] / "shared"
"""The folder of real data, models and reference values beside the project, where there is one."""
