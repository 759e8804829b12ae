"""Loading a frozen language model: an embedded or downloaded one by name, a local folder or GGUF file, or one from the hub."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from typing import Any

import torch

from hardprompt.errors import LMError, UnknownName
from hardprompt.lm.frozen import FrozenLM, Kind
from hardprompt.lm.gguf import dequantized, tokenizer_with_digits
from hardprompt.lm.kinds import AUTO_CLASSES, LM_CLASSES, kind_of
from hardprompt.lm.memory import BUDGET, memory_bytes
from hardprompt.lm.sources import EMBEDDED as EMBEDDED
from hardprompt.lm.sources import NAMES, Source, explained, locate, merged, named_path

DTYPES = ("float32", "bfloat16")


def load_lm(
    name: str, device: str | None = None, dtype: str = "float32", memory: str = BUDGET, start: str | None = None
) -> FrozenLM:
    """Load a frozen LM by the name of an embedded or downloaded model, from a local folder or GGUF file, or from the hub.

    The class that the configuration names decides whether the model is causal, masked (`MaskedLM`) or an encoder-decoder model
    (`EncoderDecoderLM`). The logger `hardprompt` warns if the model does not support a faster way of scoring.

    Args:
        name: "microworld", "microworld-reader", "smollm2" (after `hardprompt download smollm2`), a folder in the Hugging Face
            format, a GGUF file (its weights are dequantized), a folder with an adapter of PEFT (its base model is loaded, and
            the weights of the adapter are added), or a hub id. A model in the cache of the hub is loaded without a request.
        device: "cpu", "cuda", "cuda:1", ... or "mps"; by default CUDA if it is available, and else the CPU.
        dtype: "float32" or "bfloat16"; weights of other types are converted.
        memory: how much memory scoring may use besides the weights, such as "512MB" or "4GB"; less memory only makes it slower.
        start: the tokens before every text: "none", "bos" (the beginning-of-sequence token) or their text, such as
            "<|endoftext|>". By default those that the tokenizer puts there (`FrozenLM`).

    Raises:
        LMError: the model, the device or the hub is not available, weights are missing, the model's output layer is not
            supported (`FrozenLM`), or a masked model has no mask token.
        UnknownName: an unknown dtype.

    Example:
        >>> load_lm("microworld").name
        'microworld'
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    place = available_device(device)
    with quiet_transformers():
        source = locate(name)
        with explained(name, source):
            kind, model, loaded, tokenizer = _parts(source, getattr(torch, dtype))
            if unfit := [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]:
                raise LMError(f"the weights of {name} do not fit its config.json: {min(unfit)} is missing or has another shape")
            if source.adapter:
                model = merged(name, model, source.adapter)
            lm = LM_CLASSES[kind](model.to(place), tokenizer, _short_name(name))
            if start is not None:
                lm.prefix_ids = lm.start_ids_of(start)
    lm.origin = dict(source.origin)
    lm.memory.budget = memory_bytes(memory)
    return lm


def _parts(source: Source, dtype: torch.dtype) -> tuple[Kind, Any, dict[str, Any], Any]:
    """The kind of a model, the model, what its weights lack, and its tokenizer, as transformers loads them."""
    import transformers

    where: dict[str, Any] = {"local_files_only": source.local, "trust_remote_code": False}
    packed = {"gguf_file": source.gguf} if source.gguf else {}
    config = transformers.AutoConfig.from_pretrained(source.model, **where, **packed)
    kind = kind_of(config)
    with redirect_stderr(StringIO()) if packed else nullcontext():  # a progress bar that transformers cannot switch off
        model, loaded = getattr(transformers, AUTO_CLASSES[kind]).from_pretrained(
            source.model,
            config=config,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **where,
            **packed,
            **(dequantized() if packed else {}),
        )
    own_tokenizer = source.tokenizer != source.model
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.tokenizer, **where, **({} if own_tokenizer else packed))
    if source.header and not own_tokenizer:
        tokenizer = tokenizer_with_digits(tokenizer, source.header)
    return kind, model, loaded, tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
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


def available_device(device: str | None = None) -> torch.device:
    """The device of this name; by default CUDA if it is available, and else the CPU.

    Raises:
        LMError: there is no such device here.

    Example:
        >>> available_device("cpu")
        device(type='cpu')
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise LMError(f"no device {device!r}; use cpu, cuda or mps") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if place.type not in counts:
        raise LMError(f"device {device!r} is not supported; use cpu, cuda or mps")
    if (place.index or 0) >= counts[place.type]:
        raise LMError(f"no device {device!r} here ({counts[place.type]} {place.type} devices); use --device cpu")
    return place


def _short_name(name: str) -> str:
    path = named_path(name)
    return name if path is None or name in NAMES else path.name
