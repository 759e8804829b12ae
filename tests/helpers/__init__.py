"""Code that several test files use: tiny models, simple reference implementations, hostile texts and a browser."""

from collections.abc import Callable
from pathlib import Path

Ask = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command in this process and returns its exit status, stdout and stderr."""

SHARED = Path(__file__).parents[3] / "shared"
"""The folder of real data and models next to the project; it may be absent."""
