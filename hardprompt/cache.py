"""The folder for files that can be made again: results of checks, and downloaded models."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`HARDPROMPT_CACHE`, or `hardprompt` in `XDG_CACHE_HOME` or `~/.cache`."""
    own, of_user = os.environ.get("HARDPROMPT_CACHE"), os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).expanduser() if own else Path(of_user) / "hardprompt"
