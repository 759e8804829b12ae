"""The Hugging Face hub: whether it can be reached, and the data sets that it has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hardprompt.errors import TaskError


def hub_answers() -> bool:
    """Whether the hub can be reached, asked once: its own client would try for half a minute and say so at every turn."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True


def fetch(hub_id: Sequence[str]) -> Mapping[str, Iterable[dict[str, Any]]]:
    """The rows of each part of a data set; with `HF_HUB_OFFLINE=1`, as the cache has them.

    Args:
        hub_id: its id, and the configuration's name where it has one.

    Raises:
        TaskError: `datasets` is not installed, the hub cannot be reached, or has no such data; a clause that says which.
    """
    name = "/".join(hub_id)
    try:
        import datasets
    except ImportError as error:
        raise TaskError(f"install hardprompt[hub] to fetch {name} from the hub") from error
    from huggingface_hub import constants

    if not (constants.HF_HUB_OFFLINE or hub_answers()):
        raise TaskError(f"the hub, which has {name}, cannot be reached")
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(*hub_id)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise TaskError(f"{name} cannot be fetched from the hub ({reason})") from error
