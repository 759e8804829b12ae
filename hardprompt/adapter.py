"""Soft prompts in files: PEFT adapters of prompt tuning, P-tuning and CPT, and vectors in NumPy and safetensors files.

A PEFT adapter puts its vectors before everything else that the model reads. So the text before the prompt in a template, and
the beginning-of-sequence token, become part of the adapter, and no adapter exists for a prompt after the input. The package
`peft` is not required.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.task import Template
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.lm.chat import start_ids
from hardprompt.prompt import HardPrompt, SoftPrompt

CONFIG, WEIGHTS, OLD_WEIGHTS, DETAILS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "hardprompt.json",
)
KEY = "prompt_embeddings"

SOFT_PROMPT_TYPES = ("PROMPT_TUNING", "P_TUNING", "CPT")
"""Types of adapters that are a soft prompt before everything else. PEFT saves what the model reads: for P-tuning the output of
its prompt encoder, and for CPT (context-aware prompt tuning) the embeddings of its context plus the trained differences."""

OTHER_TYPES = {
    "PREFIX_TUNING": "it holds keys and values for every layer, which no input embeddings can give",
    "CARTRIDGE": "it holds keys and values for every layer, which no input embeddings can give",
    "ADAPTION_PROMPT": "it holds vectors for several layers, and a soft prompt has those of the input only",
    "MULTITASK_PROMPT_TUNING": "it holds a prompt for each of several tasks; save that of one task as vectors in a .npy file",
}
"""Types of adapters with vectors that are no soft prompt, with the reason."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """The contents of an adapter's folder.

    Attributes:
        prompt: the soft prompt, without the vectors of the text before it, if the folder gives their number.
        base_model: the name of the base model.
        details: the contents of `hardprompt.json`; empty for an adapter that another program has written.
    """

    prompt: SoftPrompt
    base_model: str
    details: dict[str, Any]


def virtual_tokens(prompt: SoftPrompt | HardPrompt, lm: FrozenLM, template: Template) -> tuple[Tensor, int]:
    """The vectors of everything that the model reads up to the end of the prompt.

    Args:
        prompt: the prompt, L tokens or vectors.
        lm: the model.
        template: the template; the prompt must be before the input.

    Returns:
        The vectors, (n + L, d), and the number n of vectors before the prompt.

    Raises:
        RequestError: if the prompt is after the input or empty, its vectors do not fit the model, or the model is not causal.
    """
    if lm.kind != "causal":
        raise RequestError(
            f"adapters are written for causal models only, and {lm.name} is not one ({lm.kind}); use --to text or json"
        )
    if not _peft_finds_embeddings(lm.model):
        raise RequestError(
            f"PEFT looks for embeddings with as many rows as the vocabulary and does not find those of {lm.name} "
            f"({type(lm.model).__name__}); use --to text or json"
        )
    begun, *others = (template.around(input)[0] for input in ("x", "y"))
    if begun not in others:
        raise RequestError(
            f"the prompt is after the input in {template.text!r}, and a PEFT adapter comes before everything; "
            "use --to text or json"
        )
    before = start_ids(lm, template) + lm.encode(begun)
    vocab = lm.vocab_embeds.float()
    own = vocab[list(prompt.ids)] if isinstance(prompt, HardPrompt) else prompt.embeds.to(vocab)
    if own.ndim != 2 or own.shape[1] != vocab.shape[1]:
        raise RequestError(
            f"a soft prompt of shape {tuple(own.shape)} does not fit {lm.name}, whose embeddings are {vocab.shape[1]} wide"
        )
    if not len(own):
        raise RequestError("the empty prompt needs no adapter; use --to text or json")
    return torch.cat([vocab[before], own]), len(before)


def write_adapter(
    prompt: SoftPrompt | HardPrompt,
    lm: FrozenLM,
    template: Template,
    folder: str | Path,
    base_model: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write a prompt as a PEFT prompt-tuning adapter, which `PeftModel.from_pretrained(model, folder)` loads.

    The input of the adapted model is the template's text after the prompt, tokenized without special tokens and padded on the
    right.

    Args:
        prompt: a soft prompt, or a hard prompt, which is written as the embeddings of its tokens.
        lm: the model.
        template: the template; the prompt must be before the input.
        folder: the folder, which is created if it does not exist.
        base_model: the name of the model in the adapter; by default the name in records.
        details: additional contents of `hardprompt.json`, next to `vectors_before` and `template`.

    Returns:
        The folder.

    Raises:
        RequestError: if no adapter exists for the layout, or the model is not causal or has no embeddings that PEFT finds.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> prompt = HardPrompt.from_text(lm, "give the plural")
        >>> folder = write_adapter(prompt, lm, Template("{prompt}: {input} ="), "adapter")
        >>> sorted(file.name for file in folder.iterdir())
        ['adapter_config.json', 'adapter_model.safetensors', 'hardprompt.json']
    """
    from safetensors.torch import save

    vectors, before = virtual_tokens(prompt, lm, template)
    config = lm.model.config.get_text_config(decoder=True)
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model or lm.name,
        "inference_mode": True,
        "num_virtual_tokens": len(vectors),
        "token_dim": vectors.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": getattr(config, "num_attention_heads", 1),
        "num_layers": getattr(config, "num_hidden_layers", 1),
        "prompt_tuning_init": "RANDOM",
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(adapter, indent=2) + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save({KEY: vectors.cpu().contiguous()}, metadata={"format": "pt"}))
    contents = {"vectors_before": before, "template": template.text, **(details or {})}
    (folder / DETAILS).write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def read_adapter(folder: str | Path) -> Adapter:
    """Read the folder of a PEFT adapter of prompt tuning, P-tuning or CPT. No code in it is executed.

    Args:
        folder: the folder.

    Raises:
        RequestError: if it holds no adapter, an adapter of another kind or for an encoder-decoder model, or weights that do
            not match its configuration.
    """
    folder = Path(folder)
    config = _json(folder / CONFIG)
    kind = config.get("peft_type")
    if kind not in SOFT_PROMPT_TYPES:
        reason = f" ({OTHER_TYPES[kind]})" if kind in OTHER_TYPES else ""
        raise RequestError(f"{folder} is a {kind} adapter{reason}; expected a soft prompt: {', '.join(SOFT_PROMPT_TYPES)}")
    if config.get("num_transformer_submodules") == 2:
        raise RequestError(f"{folder} holds vectors for an encoder and for a decoder; expected those of a causal model")
    embeds = _weights(folder)
    wanted = (config.get("num_virtual_tokens"), config.get("token_dim"))
    if tuple(embeds.shape) != wanted:
        raise RequestError(f"{folder}: {KEY} has the shape {tuple(embeds.shape)}; expected {wanted}, as in {CONFIG}")
    details = _json(folder / DETAILS) if (folder / DETAILS).is_file() else {}
    before = details.get("vectors_before", 0)
    if not isinstance(before, int) or not 0 <= before < len(embeds):
        raise RequestError(f"{folder / DETAILS}: vectors_before is {before!r}; expected a number below {len(embeds)}")
    return Adapter(SoftPrompt(embeds[before:]), str(config.get("base_model_name_or_path") or ""), details)


def read_vectors(path: str | Path) -> dict[str, Tensor]:
    """Read the soft prompts in a file or folder.

    Args:
        path: the folder of a PEFT adapter; a `.npy` file with one prompt (L, d) or several (N, L, d); or a `.npz` or
            `.safetensors` file with one prompt, or several, per key.

    Returns:
        The vectors (L, d) by name. The name is that of the folder, or of the file without its extension; the key if the file
        has several keys; followed by a number if an array holds several prompts.

    Raises:
        RequestError: if the file does not exist, cannot be read, or does not hold soft prompts.
    """
    path = Path(path)
    if path.is_dir():
        return {path.name: read_adapter(path).prompt.embeds}
    readers = {".npy": _numpy, ".npz": _numpy, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise RequestError(
            f"{path} holds no soft prompt; expected the folder of a PEFT adapter, or a .npy, .npz or .safetensors file"
        )
    try:
        found = readers[path.suffix](path)
    except Exception as error:  # the readers raise any error for broken files
        raise RequestError(f"{path} cannot be read ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})") from error
    prompts = {}
    for name, array in found.items():
        own = path.stem if len(found) == 1 else name
        several = array.ndim == 3
        for number, each in enumerate(array if several else [array], 1):
            if each.ndim != 2 or not each.is_floating_point() or not each.numel():
                raise RequestError(
                    f"{path}: {name} of shape {tuple(array.shape)} is not a soft prompt; expected numbers (L, d)"
                )
            prompts[f"{own} {number}" if several else own] = each.float()
    if not prompts:
        raise RequestError(f"{path} holds no array; expected vectors (L, d)")
    return prompts


def _peft_finds_embeddings(model: Any) -> bool:
    """Whether the first parameter with as many rows as the vocabulary, which PEFT takes, is the embeddings."""
    from transformers import PreTrainedModel

    body = next((part for part in model.children() if isinstance(part, PreTrainedModel)), model)
    rows = model.config.get_text_config().vocab_size
    found = next((weight for weight in body.parameters() if weight.ndim and weight.shape[0] == rows), None)
    return found is model.get_input_embeddings().weight


def _numpy(path: Path) -> dict[str, Tensor]:
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load

    return dict(sorted(load(path.read_bytes()).items()))  # load returns them in any order


def _weights(folder: Path) -> Tensor:
    try:
        if (folder / WEIGHTS).is_file() or not (folder / OLD_WEIGHTS).is_file():
            return _safetensors(folder / WEIGHTS)[KEY].float()
        return torch.load(folder / OLD_WEIGHTS, map_location="cpu", weights_only=True)[KEY].float()
    except Exception as error:  # the readers raise any error for broken files
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RequestError(f"the soft prompt in {folder} cannot be read ({reason}); expected {KEY} in {WEIGHTS}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{file.parent} is not a PEFT adapter: it has no {file.name}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected an object")
    return found
