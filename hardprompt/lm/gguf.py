"""Language models in the GGUF format: what the beginning of a file says, and the model and tokenizer that it holds.

transformers reads the weights and computes with their dequantized values, in the data type that is asked for.
"""

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from hardprompt.errors import LMError

MAGIC = b"GGUF"

PLAIN = ("F32", "F16", "BF16")
"""Number formats that are not quantized."""

NEEDS = ("gguf", "accelerate")
"""Packages that transformers needs to read a GGUF file."""

SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Names of pre-tokenizers (`tokenizer.ggml.pre`) that split a number into its digits before anything else."""

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The formats of `struct` of the types of metadata values that are numbers."""

_TEXT, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufHeader:
    """The beginning of a GGUF file.

    Attributes:
        values: the metadata that are numbers or texts, by key.
        end: the number of bytes that the file must have at least.
        formats: the number format of each tensor, as a number of the format.
    """

    values: dict[str, Any]
    end: int
    formats: tuple[int, ...]

    @property
    def quantization(self) -> str:
        """The number format of the weights, such as "Q4_1, dequantized", or "F16" for one that is not quantized."""
        from gguf import GGMLQuantizationType, LlamaFileType

        try:
            name = LlamaFileType(self.values["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except (KeyError, ValueError):  # the most frequent format of all tensors, without that of the small ones
            large = [number for number in self.formats if number != 0] or [0]
            name = GGMLQuantizationType(max(set(large), key=large.count)).name
        return name if name in PLAIN else f"{name}, dequantized"


def is_gguf(file: Path) -> bool:
    """Whether a file is named or begins like one in the GGUF format."""
    if file.suffix.lower() == ".gguf":
        return True
    with file.open("rb") as opened:
        return opened.read(4) == MAGIC


def read_header(name: str, file: Path) -> GgufHeader:
    """Read the beginning of a GGUF file.

    Args:
        name: the name of the model, for messages.
        file: the file.

    Raises:
        LMError: a package is missing, or the file is no language model in the GGUF format, or not a whole one.
    """
    if missing := [package for package in NEEDS if find_spec(package) is None]:
        raise LMError(f"{name} is a GGUF file, which needs {' and '.join(missing)}; run: pip install {' '.join(missing)}")
    with file.open("rb") as opened:
        start = opened.read(24)
        if start[:4] != MAGIC:
            found = (
                "is empty" if not start else "is a web page (HTML)" if start.lstrip()[:1] == b"<" else "is not in that format"
            )
            found = "is a git-lfs pointer; run `git lfs pull`" if start.startswith(b"version https://git-lfs") else found
            raise LMError(f"{name} is named like a GGUF file, but {found}")
        try:
            header = _read(opened, *struct.unpack("<IQQ", start[4:]))
        except (struct.error, ValueError, KeyError, OverflowError, OSError) as error:
            raise LMError(f"cannot load the model in {name}: the GGUF file is cut off or damaged; fetch it again") from error
    _check(name, header, file.stat().st_size)
    return header


def tokenizer_with_digits(tokenizer: Any, header: GgufHeader) -> Any:
    """The tokenizer of a GGUF file, which splits numbers as its file says; transformers does not read that."""
    if header.values.get("tokenizer.ggml.pre") in SINGLE_DIGITS:
        from tokenizers import pre_tokenizers

        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer])
    return tokenizer


def dequantized() -> dict[str, Any]:
    """The arguments with which transformers computes the values of quantized weights while it loads them."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)  # earlier versions always do
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _check(name: str, header: GgufHeader, size: int) -> None:
    """Raise an LMError if the file is no language model, a part of one, or cut off."""
    values = header.values
    kind, architecture, parts = (values.get(key) for key in ("general.type", "general.architecture", "split.count"))
    if parts and parts > 1:
        raise LMError(
            f"{name} is one of the {parts} parts of a model; merge them with `llama-gguf-split --merge`, and give the result"
        )
    if architecture == "clip" or kind == "mmproj":
        raise LMError(f"{name} is the projector of a vision model (mmproj); give the GGUF file of the language model")
    if kind not in (None, "model"):
        raise LMError(f"{name} is of the type {kind!r} and not a model; give the GGUF file of a language model")
    if not architecture or not header.formats:
        raise LMError(f"{name} holds no model: it has no {'tensors' if architecture else 'general.architecture'}")
    for part in ("block_count", "embedding_length"):
        if f"{architecture}.{part}" not in values:
            raise LMError(f"cannot load the model in {name}: its metadata have no {architecture}.{part}; fetch it again")
    if "tokenizer.ggml.model" not in values:
        raise LMError(f"{name} has no tokenizer; give a GGUF file that holds one")
    if size < header.end:
        raise LMError(
            f"cannot load the model in {name}: the file is cut off ({size:,} of {header.end:,} bytes); fetch it again"
        )


def _read(file: BinaryIO, version: int, tensors: int, pairs: int) -> GgufHeader:
    """Read what follows the first 24 bytes.

    Raises:
        ValueError, KeyError, struct.error: the content is not in the format.
    """
    if version not in (2, 3):
        raise ValueError(f"version {version}")
    values: dict[str, Any] = {}
    for _ in range(pairs):
        key = _text(file)
        [kind] = _numbers(file, "I")
        if kind == _ARRAY:
            _skip_array(file)
        else:
            values[key] = _text(file) if kind == _TEXT else _numbers(file, _NUMBERS[kind])[0]
    formats, ends = [], [0]
    for _ in range(tensors):
        _text(file)
        [dimensions] = _numbers(file, "I")
        if dimensions > 8:
            raise ValueError(f"{dimensions} dimensions")
        shape = _numbers(file, f"{dimensions}Q")
        number, offset = _numbers(file, "IQ")
        formats.append(number)
        ends.append(offset + _bytes(shape, number))
    alignment = int(values.get("general.alignment", 32))
    begin = -(-file.tell() // alignment) * alignment
    return GgufHeader(values, begin + max(ends), tuple(formats))


def _bytes(shape: tuple[Any, ...], number: int) -> int:
    """The size of a tensor in bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(number)]
    count = 1
    for length in shape:
        count *= length
    return count // block * size


def _numbers(file: BinaryIO, form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: BinaryIO) -> str:
    [length] = _numbers(file, "Q")
    content = file.read(length) if length < 1 << 26 else b""
    if len(content) < length:
        raise ValueError("the text is longer than the file")
    return content.decode(errors="replace")


def _skip_array(file: BinaryIO) -> None:
    kind, length = _numbers(file, "IQ")
    if kind in _NUMBERS:
        file.seek(struct.calcsize(f"<{_NUMBERS[kind]}") * length, 1)
        return
    for _ in range(length):
        if kind == _ARRAY:
            _skip_array(file)
        elif kind == _TEXT:
            file.seek(_numbers(file, "Q")[0], 1)
        else:
            raise ValueError(f"type {kind}")
