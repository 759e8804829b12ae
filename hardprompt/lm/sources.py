"""Where the files of a model are, and why a model does not load.

A model is named by an embedded or downloadable name, a folder, a GGUF file or a hub id. The files of a folder, or of a complete
copy in the cache of the hub, are checked before transformers reads them, so that a problem that can be seen there is one clear
line.
"""

import json
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hardprompt.errors import LMError, UnknownName
from hardprompt.hub import cached_snapshot, hub_answers
from hardprompt.lm.gguf import GgufHeader, is_gguf, read_header
from hardprompt.lm.packaged import ENCODERS, PACKAGED

EMBEDDED = {
    "microworld": Path(__file__).parent / "microworld" / "model",
    "microworld-reader": Path(__file__).parent / "microworld" / "reader",
}
"""Folders of the models inside the package by name, in the Hugging Face format."""

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("sentencepiece.model", "source.spm", "vocab.bpe"),
)
"""Files of which a tokenizer has at least one, unless it reads bytes."""

READ_FILES = ("config.json", "generation_config.json", "adapter_*", "tokenizer*", "special_tokens_map.json", "merges.txt")

OTHER_WEIGHTS = {
    "tf_model*.h5": "TensorFlow's format",
    "flax_model*.msgpack": "Flax's format",
    "*.onnx": "ONNX",
    "onnx/*.onnx": "ONNX",
    "consolidated*": "the original format of its publisher",
    "*.pth": "a checkpoint of PyTorch",
    "*.pt": "a checkpoint of PyTorch",
}
"""What the weights are in that are not read, by the pattern of their files."""

LM_HEADS = ("CausalLM", "MaskedLM", "PreTraining", "ConditionalGeneration", "TextToText")
"""What follows `For` in the names of classes that may be language models."""

LFS_POINTER = b"version https://git-lfs.github.com/spec"

SOFT_PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "CPT", "ADAPTION_PROMPT")
"""Types of PEFT adapters that hold vectors for the input and change no weights."""

CLASSIFIERS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
"""Tasks of PEFT adapters whose model is no language model."""


NAMES = (*EMBEDDED, *PACKAGED)
"""Names of the models that are embedded or can be downloaded."""


@dataclass(frozen=True)
class Source:
    """Where the parts of a model are.

    Attributes:
        model: the folder with the configuration and the weights, or a hub id.
        tokenizer: the folder with the tokenizer, or a hub id.
        adapter: the folder of an adapter whose weights are added to those of the model, or None.
        local: whether nothing may be fetched.
        gguf: the path of the GGUF file in the folder that holds both, or None.
        header: the beginning of that file.
        origin: where the weights come from and how they were quantized, for the record; empty if the name says it.
    """

    model: str | Path
    tokenizer: str | Path
    adapter: Path | None = None
    local: bool = True
    gguf: str | None = None
    header: GgufHeader | None = None
    origin: Mapping[str, str] = field(default_factory=dict)


def named_path(name: str) -> Path | None:
    """The file or folder of a model that is embedded, downloadable or local; None for a hub id and for what does not exist.

    A GGUF file that is a link keeps its own name.
    """
    path = EMBEDDED.get(name) or (PACKAGED[name].folder if name in PACKAGED else Path(name).expanduser())
    if path.is_file():
        return path.parent.resolve() / path.name
    return path.resolve() if path.is_dir() else None


def locate(name: str) -> Source:
    """Find the model of a name.

    Raises:
        LMError: there is no such model, or its files show that it cannot be loaded.
    """
    if name in EMBEDDED:
        return Source(EMBEDDED[name], EMBEDDED[name])
    if name in PACKAGED:
        return _packaged(name)
    path = Path(name).expanduser()
    if name in ENCODERS and not path.exists():
        raise LMError(f"{name} is a sentence encoder, which predicts no tokens; use one of: {', '.join(NAMES)}")
    if path.is_file():
        if not is_gguf(path):
            raise LMError(_why_no_file(name, path))
        header = read_header(name, path)
        origin = {"file": path.name, "quantization": header.quantization}
        return Source(path.parent, path.parent, gguf=str(path.absolute()), header=header, origin=origin)
    if path.is_dir():
        if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
            return _adapter(name, path)
        _check_folder(name, path)
        return Source(path, path)
    if path.suffix.lower() == ".gguf":
        raise LMError(f"no file {name}; give an existing GGUF file, a folder, or one of: {', '.join(NAMES)}")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise LMError(f"no model folder {name}; give an existing folder, a GGUF file, a hub id, or one of: {', '.join(NAMES)}")
    if snapshot := _complete_snapshot(name):
        _check_folder(name, snapshot)
        return Source(snapshot, snapshot)
    return Source(name, name, local=not hub_answers())


@contextmanager
def explained(name: str, source: Source) -> Iterator[None]:
    """Turn every error of transformers in the block into a line that says why the model of this name does not load."""
    try:
        yield
    except LMError:
        raise
    except Exception as error:  # broken files make transformers raise anything
        raise LMError(_why_not(name, source, error)) from error


def merged(name: str, model: Any, folder: Path) -> Any:
    """The model with the weights of an adapter added to its own.

    Raises:
        LMError: PEFT is not installed, or the adapter does not fit the model.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise LMError(f"{name} is an adapter, which needs PEFT; install it with: pip install 'hardprompt[peft]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever they are about is checked here
            adapted = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
            left = get_peft_model_state_dict(adapted).keys() ^ load_peft_weights(str(folder), device="cpu").keys()
        if left:
            raise ValueError(f"{min(left)} is in only one of the two")
        return adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # an adapter that does not fit makes PEFT raise anything
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        raise LMError(f"the adapter in {name} does not fit its base {base} ({_reason(error)})") from error


def _packaged(name: str) -> Source:
    """The folder of a downloaded model."""
    model = PACKAGED[name]
    if not (origin := model.origin):
        here = f"; to use the folder of this name here, write ./{name}" if Path(name).is_dir() else ""
        raise LMError(model.missing + here)
    _check_folder(name, model.folder)
    return Source(model.folder, model.folder, origin=origin)


def _adapter(name: str, folder: Path) -> Source:
    """The base of an adapter, and its tokenizer: that of the adapter if there is one."""
    _refuse_pointers(name, folder)
    config = _read_json(name, folder / "adapter_config.json")
    kind, task, base = (config.get(key) for key in ("peft_type", "task_type", "base_model_name_or_path"))
    if kind in SOFT_PROMPTS:
        raise LMError(
            f"{name} holds a soft prompt ({kind}) and no model; give its base model with --lm, and {name} with --soft"
        )
    if task in CLASSIFIERS:
        raise LMError(f"{name} is an adapter for a classifier ({task}), not for a language model")
    if not base or not isinstance(base, str):
        raise LMError(f"{name} is an adapter whose adapter_config.json names no base model (base_model_name_or_path)")
    if not any((folder / f"adapter_model{ending}").is_file() for ending in (".safetensors", ".bin")):
        raise LMError(f"{name} is an adapter without weights: put adapter_model.safetensors into it")
    beside = folder / Path(base).expanduser()
    try:
        found = locate(str(beside) if base not in NAMES and beside.exists() else base)
    except LMError as error:
        raise LMError(f"{name} is an adapter of {base}, which does not load: {error}") from error
    return replace(found, tokenizer=folder if _has_tokenizer(folder) else found.tokenizer, adapter=folder)


def _check_folder(name: str, folder: Path) -> None:
    """Raise an LMError if the files of a folder show that its model cannot be loaded."""
    _refuse_pointers(name, folder)
    if not (folder / "config.json").is_file():
        raise LMError(_why_no_config(name, folder))
    config = _read_json(name, folder / "config.json")
    _check_kind(name, folder, config)
    _check_weights(name, folder)


def _check_kind(name: str, folder: Path, config: dict[str, Any]) -> None:
    """Raise an LMError if a configuration is not one of a language model that transformers knows."""
    from transformers import CONFIG_MAPPING, __version__
    from transformers.models.auto import modeling_auto

    kind, classes = config.get("model_type"), config.get("architectures") or []
    named = f"a {kind} model ({classes[0]})" if classes else f"a {kind} model"
    if not kind:
        raise LMError(f"cannot load the model in {name}: its config.json has no model_type")
    if kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            raise LMError(_needs_own_code(name))
        raise LMError(f"cannot load the model in {name}: transformers {__version__} does not know the model type {kind!r}")
    if (folder / "modules.json").is_file() and not any("LM" in each for each in classes):
        raise LMError(f"{name} is a model of sentence embeddings (sentence-transformers); give a language model of text")
    heads = [head for each in classes if (head := each.rpartition("For")[2]) != each]
    causal, masked = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if heads and not any(head in LM_HEADS for head in heads):
        raise LMError(f"{name} is {named} and has no output layer over tokens; give a language model of text")
    if kind in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES and not {"CausalLM", "TextToText"} & set(heads):
        raise LMError(f"{name} is {named}, which reads speech; give a language model of text")
    if kind not in causal and kind not in masked and kind not in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        raise LMError(f"{name} is {named}, which is no language model of text")


def _check_weights(name: str, folder: Path) -> None:
    files = [file for pattern in WEIGHTS for file in sorted(folder.glob(pattern)) if not file.name.startswith("adapter_")]
    for index in sorted(folder.glob("*.index.json")):
        shards = _read_json(name, index).get("weight_map")
        named = set(shards.values()) if isinstance(shards, dict) else set()
        if lost := sorted(str(shard) for shard in named if not (folder / str(shard)).is_file()):
            if any(file.name in ("model.safetensors", "pytorch_model.bin") for file in files):
                continue
            raise LMError(f"cannot load the model in {name}: {lost[0]} is missing, which {index.name} names; fetch it")
    if not files:
        if ggufs := sorted(folder.glob("*.gguf")):
            raise LMError(f"model folder {name} has no weights in safetensors; give the GGUF file itself: {ggufs[0]}")
        for pattern, of in OTHER_WEIGHTS.items():
            if other := sorted(folder.glob(pattern)):
                found = f"{other[0].name} is in {of}"
                raise LMError(f"model folder {name} has no weights in safetensors: {found}; put model.safetensors into it")
        raise LMError(f"model folder {name} has no weights: put model.safetensors into it")
    for file in files:
        if problem := _weights_problem(file):
            raise LMError(f"cannot load the model in {name}: {file.name} {problem}; fetch it again")


def _weights_problem(file: Path) -> str:
    """What is wrong with a file of weights, as far as its beginning and its length show it."""
    with file.open("rb") as opened:
        start = opened.read(8)
        more = opened.read(512)
    size = file.stat().st_size
    if size == 0:
        return "is empty"
    if (start + more).lstrip()[:1] == b"<":
        return "is a web page (HTML) and holds no weights"
    if file.suffix != ".safetensors":
        return "is cut off or damaged" if start[:2] == b"PK" and not zipfile.is_zipfile(file) else ""
    if start[:4] == b"PK\x03\x04":
        return "is a zip archive or a checkpoint of PyTorch and not in the safetensors format"
    [length] = struct.unpack("<Q", start.ljust(8, b"\0"))
    if more[:1] != b"{" or length > 100_000_000:
        return "is not in the safetensors format"
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(8 + length)[8:])
        end = 8 + length + max((each["data_offsets"][1] for key, each in header.items() if key != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "is cut off or damaged" if size < 8 + length else "is not in the safetensors format"
    return f"is cut off ({size:,} of {end:,} bytes)" if size < end else ""


def _refuse_pointers(name: str, folder: Path) -> None:
    """Raise an LMError if a file that is read is a pointer of git-lfs."""
    weights = WEIGHTS[:1] if any(folder.glob(WEIGHTS[0])) else WEIGHTS
    for pattern in (*READ_FILES, *TOKENIZER_FILES, *weights, "*.index.json"):
        for file in sorted(folder.glob(pattern)):
            if file.is_file() and file.stat().st_size < 1024 and file.read_bytes().startswith(LFS_POINTER):
                raise LMError(
                    f"cannot load the model in {name}: {file.name} is a git-lfs pointer and not the file itself; "
                    f"run `git lfs pull` in {name}"
                )


def _read_json(name: str, file: Path) -> dict[str, Any]:
    """The object in a JSON file of a model."""
    content = file.read_bytes()
    try:
        read = json.loads(content.decode())
    except RecursionError:
        read = None
    except UnicodeDecodeError as error:
        raise LMError(f"cannot load the model in {name}: {file.name} is not UTF-8") from error
    except ValueError as error:
        what = "is a web page (HTML), not JSON" if content.lstrip()[:1] == b"<" else f"is not JSON ({error})"
        raise LMError(f"cannot load the model in {name}: {file.name} {what}") from error
    if not isinstance(read, dict):
        raise LMError(f"cannot load the model in {name}: {file.name} holds no JSON object")
    return read


def _needs_own_code(name: str) -> str:
    return f"cannot load the model in {name}: it needs custom code of its own (auto_map), which is not run"


def _why_no_file(name: str, file: Path) -> str:
    if file.suffix in (".zip", ".tar", ".gz", ".tgz"):
        return f"{name} is an archive; unpack it, and give the folder with config.json"
    return f"{name} is a file; give the folder of the model, which holds config.json and model.safetensors"


def _why_no_config(name: str, folder: Path) -> str:
    lacks = f"{name} is not a model folder: it has no config.json"
    if (folder / "model_index.json").is_file():
        return f"{lacks}; it is a pipeline of diffusers, which makes images"
    inside = sorted(file.parent for pattern in ("*/config.json", "snapshots/*/config.json") for file in folder.glob(pattern))
    if inside:
        return f"{lacks}; did you mean {inside[-1]}?"
    if ggufs := sorted(folder.glob("*.gguf")):
        return f"{lacks}; did you mean {ggufs[0]}?"
    for pattern, of in OTHER_WEIGHTS.items():
        if other := sorted(folder.glob(pattern)):
            return f"{lacks}; {other[0].name} is in {of}, which is not supported"
    return lacks


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / file).is_file() for file in TOKENIZER_FILES)


def _complete_snapshot(name: str) -> Path | None:
    """The folder of a hub model in the cache, if all of its files are there."""
    snapshot = cached_snapshot(name)
    if snapshot is None or not _has_tokenizer(snapshot):
        return None
    try:
        _check_weights(name, snapshot)
    except LMError:
        return None
    return snapshot


def _why_not(name: str, source: Source, error: Exception) -> str:
    from transformers import __version__

    if not isinstance(source.model, Path):
        if "trust_remote_code" in str(error):
            return _needs_own_code(name)
        if "gated repo" in str(error):
            return f"{name} is gated on the hub: accept its terms there, and log in with `hf auth login`"
        if not isinstance(error, OSError):
            return f"cannot load the model {name} ({_reason(error)})"
        hint = "; it is not a local folder, and the hub has no such model or cannot be reached: give a local folder"
        return str(UnknownName("model", name, NAMES, hint))
    if source.gguf:
        what = f" (the architecture {source.header.values.get('general.architecture')!r})" if source.header else ""
        return f"cannot load the model in {name}{what}: transformers {__version__} does not read it ({_reason(error)})"
    config = json.loads((source.model / "config.json").read_text(encoding="utf-8"))
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = quantized.get("quant_method", "an unknown method")
        return f"cannot load the model in {name}: its weights are quantized ({method}), which fails here ({_reason(error)})"
    tokenizer = source.tokenizer
    if isinstance(tokenizer, Path) and not _has_tokenizer(tokenizer):
        return f"cannot load the model in {name}: it has no tokenizer; put tokenizer.json into the folder"
    return f"cannot load the model in {name} ({_reason(error)})"


def _reason(error: Exception) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
