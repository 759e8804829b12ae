"""Access to the Hugging Face hub."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from hardprompt.errors import TaskError

WAIT_SECONDS = 5.0
"""Seconds to wait for the hub."""


def hub_answers() -> bool:
    """Whether the hub can be reached, with one request; the hub client itself would retry for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append(_answers(constants.ENDPOINT)), daemon=True)
    asking.start()
    asking.join(WAIT_SECONDS)  # looking up a name has no time limit of its own
    return answers == [True]


def _answers(endpoint: str) -> bool:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=WAIT_SECONDS).close()
    except HTTPError:
        return True
    except (OSError, HTTPException, ValueError):
        return False
    return True


def cached_snapshot(hub_id: str) -> Path | None:
    """The folder of a model in the cache of the hub client, or None if its config.json is not there; no request is made."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(hub_id, "config.json")
    except HFValidationError:
        return None
    return Path(file).parent if isinstance(file, str) else None


def fetch(hub_id: Sequence[str]) -> Mapping[str, Iterable[dict[str, Any]]]:
    """Fetch a data set; with `HF_HUB_OFFLINE=1`, from the local cache only.

    Args:
        hub_id: the id of the data set, and the name of the configuration if it has one.

    Returns:
        The rows of each part.

    Raises:
        TaskError: `datasets` is not installed, the hub cannot be reached, or it has no such data.
    """
    name = "/".join(hub_id)
    try:
        import datasets
    except ImportError as error:
        raise TaskError(f"install hardprompt[hub] to fetch {name} from the hub") from error
    from huggingface_hub import constants

    if not (constants.HF_HUB_OFFLINE or hub_answers()):
        raise TaskError(f"the hub, which has {name}, cannot be reached")
    hides_progress = datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        return datasets.load_dataset(*hub_id)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise TaskError(f"{name} cannot be fetched from the hub ({reason})") from error
    finally:
        if not hides_progress:
            datasets.utils.enable_progress_bars()
