"""The cache folder of hardprompt, which holds downloaded models and the results of model checks."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`HARDPROMPT_CACHE`, or `hardprompt` in `XDG_CACHE_HOME` or `~/.cache`."""
    own, of_user = os.environ.get("HARDPROMPT_CACHE"), os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).expanduser() if own else Path(of_user) / "hardprompt"
