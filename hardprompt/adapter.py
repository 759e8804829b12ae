"""Soft prompts in files: peft's prompt-tuning adapters in and out, and vectors in numpy's and safetensors' files in.

A peft adapter puts its vectors before everything else that the model reads. So whatever stands before the prompt in a task's
template, the beginning-of-sequence token included, becomes part of the adapter, and a prompt that stands behind the input has
none. peft itself is not needed here; it opens what is written.
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
from hardprompt.prompt import HardPrompt, SoftPrompt

CONFIG, WEIGHTS, OLD_WEIGHTS, DETAILS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "hardprompt.json",
)
KEY = "prompt_embeddings"


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter's folder holds.

    Attributes:
        prompt: the soft prompt; without the vectors that stand for the text before it, where the folder says how many.
        base_model: the model that it names.
        details: what `hardprompt.json` says; empty for an adapter made elsewhere.
    """

    prompt: SoftPrompt
    base_model: str
    details: dict[str, Any]


def virtual_tokens(prompt: SoftPrompt | HardPrompt, lm: FrozenLM, template: Template) -> tuple[Tensor, int]:
    """The vectors (n + L, d) for all that the model reads up to the prompt's end, and how many of them (n) precede it.

    Raises:
        RequestError: the prompt stands behind the input, or the model is a masked one.
    """
    if lm.masked:
        raise RequestError(
            f"{lm.name} is a masked model; peft's prompt tuning is written for causal ones: take --to text or json"
        )
    if template.text.find("{prompt}") > template.text.find("{input}"):
        raise RequestError(
            f"the prompt stands behind the input in {template.text!r}, and a peft adapter stands before everything: "
            "take --to text or json"
        )
    before = lm.prefix_ids + lm.encode(template.around("")[0])
    vocab = lm.vocab_embeds.float()
    own = vocab[list(prompt.ids)] if isinstance(prompt, HardPrompt) else prompt.embeds.to(vocab)
    if own.ndim != 2 or own.shape[1] != vocab.shape[1]:
        raise RequestError(
            f"a soft prompt of shape {tuple(own.shape)} does not fit {lm.name}, whose embeddings are {vocab.shape[1]} wide"
        )
    if not len(own):
        raise RequestError("the empty prompt needs no adapter: take --to text or json")
    return torch.cat([vocab[before], own]), len(before)


def write_adapter(
    prompt: SoftPrompt | HardPrompt,
    lm: FrozenLM,
    template: Template,
    folder: str | Path,
    base_model: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write a prompt as a peft prompt-tuning adapter, which `PeftModel.from_pretrained(model, folder)` reads before any input.

    What is left to tokenize is the template's text after the prompt, without special tokens, padded on the right.

    Args:
        prompt: a soft prompt, or a hard one as the embeddings of its tokens.
        lm: the model.
        template: where the prompt stands; the prompt must stand before the input.
        folder: made if it is not there.
        base_model: how the adapter names the model; by default as records do.
        details: what else `hardprompt.json` is to say, beside `vectors_before` and `template`.

    Raises:
        RequestError: the layout has no adapter, or the model is a masked one.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> prompt = HardPrompt.from_text(lm, "give the plural")
        >>> write_adapter(prompt, lm, Template("{prompt}: {input} ="), "adapter")      # doctest: +SKIP
        PosixPath('adapter')
    """
    from safetensors.torch import save

    vectors, before = virtual_tokens(prompt, lm, template)
    config = lm.model.config
    adapter = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model or lm.name,
        "inference_mode": True,
        "num_virtual_tokens": len(vectors),
        "token_dim": vectors.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": config.num_attention_heads,
        "num_layers": config.num_hidden_layers,
        "prompt_tuning_init": "RANDOM",
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(adapter, indent=2) + "\n", encoding="utf-8")
    (folder / WEIGHTS).write_bytes(save({KEY: vectors.cpu().contiguous()}, metadata={"format": "pt"}))
    said = {"vectors_before": before, "template": template.text, **(details or {})}
    (folder / DETAILS).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def read_adapter(folder: str | Path) -> Adapter:
    """The soft prompt in a peft prompt-tuning adapter's folder; nothing in it is run.

    Raises:
        RequestError: it holds none, an adapter of another kind, or weights that do not fit its configuration.
    """
    folder = Path(folder)
    config = _json(folder / CONFIG)
    kind = config.get("peft_type")
    if kind != "PROMPT_TUNING":
        raise RequestError(f"{folder} is a {kind} adapter; only one of PROMPT_TUNING is a soft prompt")
    embeds = _weights(folder)
    wanted = (config.get("num_virtual_tokens"), config.get("token_dim"))
    if tuple(embeds.shape) != wanted:
        raise RequestError(f"{folder}: {KEY} is of shape {tuple(embeds.shape)}, and {CONFIG} says {wanted}")
    details = _json(folder / DETAILS) if (folder / DETAILS).is_file() else {}
    before = details.get("vectors_before", 0)
    if not isinstance(before, int) or not 0 <= before < len(embeds):
        raise RequestError(f"{folder / DETAILS}: vectors_before is {before!r}; expected a number below {len(embeds)}")
    return Adapter(SoftPrompt(embeds[before:]), str(config.get("base_model_name_or_path") or ""), details)


def read_vectors(path: str | Path) -> dict[str, Tensor]:
    """The soft prompts in a file, by name: (L, d) each.

    Args:
        path: a peft adapter's folder; a `.npy` file with one prompt (L, d) or several (N, L, d); a `.npz` or `.safetensors`
            file, each array of which is a prompt under its key.

    Returns:
        By name: the folder's or file's without its ending where it holds one, followed by a number in a `.npy` file of several,
        the key where there are several keys.

    Raises:
        RequestError: there is no such file, it cannot be read, or what it holds is no soft prompt.
    """
    path = Path(path)
    if path.is_dir():
        return {path.name: read_adapter(path).prompt.embeds}
    readers = {".npy": _numpy, ".npz": _numpy, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise RequestError(
            f"{path} holds no soft prompt; expected a peft adapter's folder, or a .npy, .npz or .safetensors file"
        )
    try:
        found = readers[path.suffix](path)
    except Exception as error:  # broken files make the readers raise anything
        raise RequestError(f"{path} cannot be read ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})") from error
    prompts = {}
    for name, array in found.items():
        own = path.stem if len(found) == 1 else name
        several = array.ndim == 3
        for number, each in enumerate(array if several else [array], 1):
            if each.ndim != 2 or not each.is_floating_point() or not each.numel():
                raise RequestError(f"{path}: {name} of shape {tuple(array.shape)} is no soft prompt; expected numbers (L, d)")
            prompts[f"{own} {number}" if several else own] = each.float()
    if not prompts:
        raise RequestError(f"{path} holds no array; expected vectors (L, d)")
    return prompts


def _numpy(path: Path) -> dict[str, Tensor]:
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load

    return dict(sorted(load(path.read_bytes()).items()))  # it gives them in any order


def _weights(folder: Path) -> Tensor:
    try:
        if (folder / WEIGHTS).is_file() or not (folder / OLD_WEIGHTS).is_file():
            return _safetensors(folder / WEIGHTS)[KEY].float()
        return torch.load(folder / OLD_WEIGHTS, map_location="cpu", weights_only=True)[KEY].float()
    except Exception as error:  # broken files make the readers raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RequestError(f"the soft prompt in {folder} cannot be read ({reason}); expected {KEY} in {WEIGHTS}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{file.parent} is no peft adapter: it has no {file.name}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RequestError(f"{file}: expected an object")
    return found
