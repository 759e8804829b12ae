"""Access to the Hugging Face hub."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hardprompt.errors import TaskError


def hub_answers() -> bool:
    """Whether the hub can be reached, with one request; the hub client itself would retry for half a minute."""
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
