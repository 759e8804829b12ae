"""The results of `hardprompt.lm.checks`, kept in the user's cache so that a model is checked once.

A result is kept under a digest of the model and of everything that the checks depend on: the configuration, the weights, the
tokens of the tokenizer, the number format, the device, the versions of the libraries, and the code of this package.
"""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hardprompt.cache import cache_folder


def model_digest(lm: Any) -> str:
    """A digest of a model that differs if a result of the checks can differ.

    Args:
        lm: a `FrozenLM`.
    """
    model, found = lm.model, hashlib.sha256(_code())
    given = (
        type(model).__name__,
        model.config.to_json_string(use_diff=False),
        str(lm.device),
        lm.token_ids,
        lm.tokenizer.all_special_ids,
    )
    found.update(repr(given).encode())
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)} {float(weight.sum())}".encode())
    return found.hexdigest()


def read_verdict(digest: str) -> dict[str, Any] | None:
    """The kept result of this digest, or None."""
    try:
        return json.loads((cache_folder() / "checks" / f"{digest}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep_verdict(digest: str, verdict: dict[str, Any]) -> None:
    """Keep a result; nothing happens if the cache cannot be written."""
    file = cache_folder() / "checks" / f"{digest}.json"
    part = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(verdict) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError:
        return


@cache
def _code() -> bytes:
    """The code of this package and the versions of the libraries that run it."""
    code = [file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))]
    return b"\n".join([*code, *(version(name).encode() for name in ("torch", "transformers"))])
