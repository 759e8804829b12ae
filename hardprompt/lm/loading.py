"""Loading a frozen language model: an embedded one by name, a local Hugging Face folder, or a model from the hub."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hardprompt.errors import LMError, UnknownName
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.kinds import AUTO_CLASSES, LM_CLASSES, kind_of
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.lm.sources import EMBEDDED as EMBEDDED
from hardprompt.lm.sources import explained, locate, merged

DTYPES = ("float32", "bfloat16")


def load_lm(name: str, device: str | None = None, dtype: str = "float32", memory: str = BUDGET) -> FrozenLM:
    """Load a frozen LM by the name of an embedded model, from a local folder, or from the hub.

    The class that the configuration names decides whether the model is causal, masked (`MaskedLM`) or an encoder-decoder model
    (`EncoderDecoderLM`). The logger `hardprompt` warns if the model does not support a faster way of scoring.

    Args:
        name: "microworld", "microworld-reader", a folder in the Hugging Face format, a folder with an adapter of PEFT (its base
            model is loaded, and the weights of the adapter are added), or a hub id. A model in the cache of the hub is loaded
            without a request.
        device: "cpu", "cuda", ...; by default CUDA if it is available.
        dtype: "float32" or "bfloat16"; weights of other types are converted.
        memory: how much memory scoring may use besides the weights, such as "512MB" or "4GB"; less memory only makes it slower.

    Raises:
        LMError: the model, the device or the hub is not available, weights are missing, the model's output layer is not
            supported (`FrozenLM`), or a masked model has no mask token.
        UnknownName: an unknown dtype.

    Example:
        >>> load_lm("microworld").name
        'microworld'
    """
    import transformers

    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    place = _place(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with _quiet_transformers():
        source = locate(name)
        where: dict[str, Any] = {"local_files_only": source.local, "trust_remote_code": False}
        with explained(name, source):
            kind = kind_of(transformers.AutoConfig.from_pretrained(source.model, **where))
            model, loaded = getattr(transformers, AUTO_CLASSES[kind]).from_pretrained(
                source.model, dtype=getattr(torch, dtype), ignore_mismatched_sizes=True, output_loading_info=True, **where
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.tokenizer, **where)
            if unfit := [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]:
                raise LMError(f"the weights of {name} do not fit its config.json: {min(unfit)} is missing or has another shape")
            if source.adapter:
                model = merged(name, model, source.adapter)
            lm = LM_CLASSES[kind](model.to(place), tokenizer, _short_name(name))
    lm.memory.budget = memory_bytes(memory)
    return lm


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the warnings and progress bars of transformers, and restore all settings afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    verbosity, bars, hub_bars = logging.get_verbosity(), logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    try:
        logging.set_verbosity_error()
        _set_progress_bars(False, False)
        yield
    finally:
        logging.set_verbosity(verbosity)
        _set_progress_bars(bars, hub_bars)


def _set_progress_bars(transformers_bars: bool, hub_bars: bool) -> None:
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HF_HUB_DISABLE_PROGRESS_BARS takes precedence, which the hub client warns about
        if transformers_bars:
            logging.enable_progress_bar()
        else:
            logging.disable_progress_bar()
        if hub_bars:
            enable_progress_bars()
        else:
            disable_progress_bars()


def _place(device: str) -> torch.device:
    """The device of this name, if it is available."""
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise LMError(f"no device {device!r}; use cpu or cuda") from error
    if place.type not in ("cpu", "cuda"):
        raise LMError(f"device {device!r} is not supported; use cpu or cuda")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise LMError(f"no device {device!r} here ({torch.cuda.device_count()} CUDA devices); use --device cpu")
    return place


def _short_name(name: str) -> str:
    return Path(name).expanduser().resolve().name if Path(name).expanduser().is_dir() else name
