"""Models that do not load: folders of another format, of another kind of model, incomplete or damaged ones, and adapters."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from tests.helpers import Ask
from tests.helpers.malformed import Wrong, check, contents, lay_out
from tests.helpers.tiny import save_tiny

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 26000000\n" % 0
HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>\n"
INDEX = b'{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
HEADER = save({"a": torch.zeros(2)})


def config(**fields: Any) -> bytes:
    """A config.json."""
    return json.dumps(fields).encode()


def adapter(**fields: Any) -> bytes:
    """An adapter_config.json."""
    return json.dumps({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny"} | fields).encode()


# name -> the pattern of the line, and the files of a copy of `tiny` that differ; None for a file that is not there

FOLDERS: dict[str, tuple[str, dict[str, bytes | None]]] = {
    "lfs-safetensors": (r"model\.safetensors is a git-lfs pointer .*`git lfs pull`", {"model.safetensors": POINTER}),
    "lfs-bin": (r"pytorch_model\.bin is a git-lfs", {"model.safetensors": None, "pytorch_model.bin": POINTER}),
    "lfs-tokenizer": (r"tokenizer\.json is a git-lfs pointer", {"tokenizer.json": POINTER}),
    "lfs-sentencepiece": (r"tokenizer\.model is a git-lfs pointer", {"tokenizer.model": POINTER}),
    "lfs-config": (r"config\.json is a git-lfs pointer", {"config.json": POINTER}),
    "lfs-shard": (
        r"model-00002-of-00002\.safetensors is a git-lfs pointer",
        {
            "model.safetensors": None,
            "model.safetensors.index.json": INDEX,
            "model-00001-of-00002.safetensors": HEADER,
            "model-00002-of-00002.safetensors": POINTER,
        },
    ),
    "lost-shard": (
        r"model-00002-of-00002\.safetensors is missing, which model\.safetensors\.index\.json names",
        {
            "model.safetensors": None,
            "model.safetensors.index.json": INDEX,
            "model-00001-of-00002.safetensors": HEADER,
        },
    ),
    "no-shard": (r"model-00001-of-00002\.saf.* is missing", {"model.safetensors": None, "model.safetensors.index.json": INDEX}),
    "empty-weights": (r"model\.safetensors is empty", {"model.safetensors": b""}),
    "html-weights": (r"model\.safetensors is a web page", {"model.safetensors": HTML}),
    "html-bin": (r"pytorch_model\.bin is a web page", {"model.safetensors": None, "pytorch_model.bin": HTML}),
    "cut-bin": (
        r"pytorch_model\.bin is cut off or damaged",
        {"model.safetensors": None, "pytorch_model.bin": b"PK\x03\x04" + b"x" * 200},
    ),
    "quantized": (
        r"its weights are quantized \(gptq\), which fails here \(ImportError",
        {"config.json": config(model_type="gpt2", n_embd=16, quantization_config={"quant_method": "gptq", "bits": 4})},
    ),
    "html-config": (r"config\.json is a web page", {"config.json": HTML}),
    "zip-weights": (r"model\.safetensors is a zip archive", {"model.safetensors": b"PK\x03\x04" + b"\0" * 40}),
    "cut-header": (r"model\.safetensors is cut off", {"model.safetensors": HEADER[:20]}),
    "cut-numbers": (r"model\.safetensors is cut off \(\d+ of \d+ bytes\)", {"model.safetensors": HEADER[:-3]}),
    "other-weights-file": (r"model\.safetensors is not in the safetensors format", {"model.safetensors": b"\0" * 99}),
    "tf": (r"tf_model\.h5 is in TensorFlow's format", {"model.safetensors": None, "tf_model.h5": b"\x89HDF"}),
    "flax": (r"flax_model\.msgpack is in Flax's format", {"model.safetensors": None, "flax_model.msgpack": b"x"}),
    "onnx": (r"model\.onnx is in ONNX", {"model.safetensors": None, "onnx/model.onnx": b"x"}),
    "gguf-beside": (r"give the GGUF file itself: gguf-beside/m\.gguf", {"model.safetensors": None, "m.gguf": b"GGUF"}),
    "gguf-alone": (
        r"no config\.json; did you mean gguf-alone/m\.gguf\?",
        {"config.json": None, "model.safetensors": None, "m.gguf": b"GGUF"},
    ),
    "diffusers": (r"a pipeline of diffusers", {"config.json": None, "model_index.json": b"{}"}),
    "parent": (
        r"has no config\.json; did you mean parent/checkpoint-5\?",
        {"config.json": None, "checkpoint-5/config.json": b"{}"},
    ),
    "typeless": (r"config\.json has no model_type", {"config.json": config(architectures=["GPT2LMHeadModel"])}),
    "list-config": (r"config\.json holds no JSON object", {"config.json": b"[]"}),
    "latin-config": (r"config\.json is not UTF-8", {"config.json": b'{"a": "\xe9"}'}),
    "unknown-type": (r"transformers [\d.]+ does not know the model type 'gpt99'", {"config.json": config(model_type="gpt99")}),
    "own-code": (
        r"needs custom code of its own \(auto_map\), which is not run",
        {"config.json": config(model_type="odd", auto_map={"AutoConfig": "a.B"})},
    ),
    "classifier": (
        r"a bert model \(BertForSequenceClassification\) and has no output layer over tokens",
        {"config.json": config(model_type="bert", architectures=["BertForSequenceClassification"])},
    ),
    "sentences": (
        r"sentence embeddings \(sentence-transformers\)",
        {"config.json": config(model_type="bert", architectures=["BertModel"]), "modules.json": b"[]"},
    ),
    "images": (
        r"a vit model \(ViTForImageClassification\) and has no output layer over tokens",
        {"config.json": config(model_type="vit", architectures=["ViTForImageClassification"])},
    ),
    "image-encoder": (
        r"a clip model .*is no language model of text",
        {"config.json": config(model_type="clip", architectures=["CLIPModel"])},
    ),
    "speech": (
        r"a whisper model \(WhisperForConditionalGeneration\), which reads speech",
        {"config.json": config(model_type="whisper", architectures=["WhisperForConditionalGeneration"])},
    ),
    "encoder-decoder": (
        r"the weights of encoder-decoder do not fit its config\.json",
        {"config.json": config(model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)},
    ),
    "no-tokenizer-at-all": (
        r"tokenizer is empty or missing; put tokenizer\.json",
        {"tokenizer.json": None, "tokenizer_config.json": None},
    ),
    "prompt-tuning": (
        r"holds a soft prompt \(PROMPT_TUNING\) and no model; .*--soft",
        {"config.json": None, "adapter_config.json": adapter(peft_type="PROMPT_TUNING")},
    ),
    "adapter-classifier": (
        r"adapter for a classifier \(SEQ_CLS\)",
        {"config.json": None, "adapter_config.json": adapter(task_type="SEQ_CLS")},
    ),
    "adapter-baseless": (
        r"names no base model",
        {"config.json": None, "adapter_config.json": adapter(base_model_name_or_path=None)},
    ),
    "adapter-empty": (r"an adapter without weights", {"config.json": None, "adapter_config.json": adapter()}),
    "adapter-lost-base": (
        r"an adapter of \./gone, which does not load: no model folder \./gone",
        {
            "config.json": None,
            "adapter_config.json": adapter(base_model_name_or_path="./gone"),
            "adapter_model.safetensors": HEADER,
        },
    ),
    "adapter-pointer": (
        r"adapter_model\.safetensors is a git-lfs pointer",
        {"config.json": None, "adapter_config.json": adapter(), "adapter_model.safetensors": POINTER},
    ),
    "adapter-other": (
        r"the adapter in adapter-other does not fit its base tiny",
        {"config.json": None, "adapter_config.json": adapter(target_modules=["c_attn"]), "adapter_model.safetensors": HEADER},
    ),
    "adapter-no-module": (
        r"the adapter in adapter-no-module does not fit its base tiny \(.*: Target modules",
        {"config.json": None, "adapter_config.json": adapter(target_modules=["q_proj"]), "adapter_model.safetensors": HEADER},
    ),
    "adapter-broken": (r"adapter_config\.json is not JSON", {"config.json": None, "adapter_config.json": b"{"}),
}

FILES = {
    "gguf": Wrong("inspect --text x --lm m.gguf", r"m\.gguf: the GGUF file is cut off or damaged", {"m.gguf": b"GGUF"}),
    "zip": Wrong("inspect --text x --lm m.zip", r"m\.zip is an archive; unpack it", {"m.zip": b"PK"}),
    "weights": Wrong("inspect --text x --lm tiny/model.safetensors", "is a file; give the folder of the model"),
    "file as a reader": Wrong("evaluate --text x --reader tiny/config.json", "is a file; give the folder of the model"),
    "slashes": Wrong("inspect --text x --lm a/b/c", "no model folder a/b/c"),
    "not a hub id": Wrong("inspect --text x --lm 'a model?'", r"no model 'a model\?'"),
}

WRONG = FILES | {
    f"folder: {name}": Wrong(f"inspect --text x --device cpu --lm {name}", says) for name, (says, _) in FOLDERS.items()
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and its damaged copies."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "tiny")
    for name, (_, files) in FOLDERS.items():
        shutil.copytree(folder / "tiny", folder / name)
        for file, content in files.items():
            (folder / name / file).parent.mkdir(exist_ok=True)
            if content is None:
                (folder / name / file).unlink()
            else:
                (folder / name / file).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_models_that_do_not_load_are_refused_in_one_line(name: str, given: Path, here: Path, ask: Ask) -> None:
    """The status is 2, stderr has one line, stdout is empty, and no file is created or changed."""
    row = WRONG[name]
    lay_out(here, given, row.files)
    before = contents(here)
    check(row, *ask(shlex.split(row.command)))
    assert contents(here) == before


def test_an_adapter_needs_peft(given: Path, here: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(here, given, {})
    monkeypatch.setitem(sys.modules, "peft", None)
    row = Wrong("inspect --text x --device cpu --lm adapter-other", r"pip install 'hardprompt\[peft\]'")
    check(row, *ask(shlex.split(row.command)))
