"""Whether the Hugging Face hub can be reached."""


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
