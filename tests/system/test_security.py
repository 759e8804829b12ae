"""Files and downloads never run code: nothing is unpickled, model folders bring no code, and few modules use the network."""

import ast
import importlib.util
import json
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hardprompt as hp
from hardprompt.adapter import read_adapter, read_vectors
from hardprompt.errors import HardpromptError, LMError
from hardprompt.lm.packaged import ENCODERS, PACKAGED
from hardprompt.records.store import Store
from tests.helpers import Ask
from tests.helpers.modules import ROOT, Source, module_files, read_source
from tests.helpers.tiny import save_tiny

SOURCES = {module: read_source(module, file) for module, file in module_files().items()}

PICKLES = ("pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "tarfile")
"""Modules that can run code when they read a file, or unpack an archive outside of its folder."""

UNSAFE = ("read_pickle", "extractall", "unpack_archive", "unsafe_load", "full_load")
"""Functions that do so, of whatever module."""

NETWORK = (
    "socket",
    "ssl",
    "http",
    "urllib.request",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "subprocess",
    "datasets",
)

USES_NETWORK = {
    "hardprompt.hub": "asks whether the hub answers, and fetches data with the client of the hub",
    "hardprompt.lm.download": "calls pip",
    "hardprompt.study.ray_cluster": "asks whether a cluster answers",
    "hardprompt.study.remote": "the name of this machine",
}
"""The modules that may use the network or start a program, with the reason."""


def unsafe_calls(text: str) -> Iterator[str]:
    """What in a source can run the code in a file."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        safe = {
            "torch.load": given.get("weights_only") == "True",
            "np.load": given.get("allow_pickle") == "False",
            "yaml.load": given.get("Loader") == "loader",  # a SafeLoader, in `hardprompt.lm.microworld.domain`
        }
        owner, _, name = called.rpartition(".")
        if not safe.get(called, True):
            yield called
        elif owner in PICKLES or name in UNSAFE or called in ("eval", "exec"):
            yield called
        if given.get("allow_pickle") == "True" or given.get("trust_remote_code", "False") != "False":
            yield f"{called} with {given}"


def unsafe_imports(module: str, text: str) -> Iterator[str]:
    """The imports of a module that can unpickle, and those that use the network where that is not expected."""
    for base, name, _ in Source(module, text).imports():
        imported = f"{base}.{name}" if name else base
        forbidden = PICKLES if module in USES_NETWORK else (*PICKLES, *NETWORK)
        yield from (imported for each in forbidden if f"{imported}.".startswith(f"{each}."))


# The sources


def test_no_module_unpickles_or_uses_the_network_unexpectedly() -> None:
    for module, source in SOURCES.items():
        assert [*unsafe_calls(source.text), *unsafe_imports(module, source.text)] == [], module


def test_no_script_unpickles() -> None:
    """The scripts of results and of the documentation; one measures the size of pickles, and reads none."""
    for file in sorted([*(ROOT / "runs").glob("*.py"), *(ROOT / "docs").glob("*.py")]):
        assert [call for call in unsafe_calls(file.read_text(encoding="utf-8")) if call != "cloudpickle.dumps"] == [], file


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import joblib",
        "importlib.import_module('dill')",
        "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=False)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "pd.read_pickle('x')",
        "archive.extractall(folder)",
        "shutil.unpack_archive('x')",
        "eval('1')",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trusted)",
        "from urllib.request import urlopen",
        "import subprocess",
    ],
)
def test_what_can_run_code_is_found(line: str) -> None:
    assert [*unsafe_calls(line), *unsafe_imports("hardprompt.lm.frozen", line)]


def test_stable_baselines3_loads_nothing() -> None:
    """Its own `load` unpickles; `load_checkpoint` reads safetensors, and `SoftQ.load` calls that."""
    calls = [
        (module, ast.unparse(node.func))
        for module, source in SOURCES.items()
        if module.startswith("hardprompt.policies")
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".load", ".set_parameters", "load_from_zip_file"))
    ]
    assert calls == []


# Hostile files


class Touch:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The file that hostile code creates; it does so when it is unpickled."""
    file = tmp_path / "ran"
    pickle.loads(pickle.dumps(Touch(file)))
    assert file.exists()
    file.unlink()
    return file


def test_a_hostile_soft_prompt_is_refused(tmp_path: Path, ran: Path) -> None:
    """A PEFT adapter in the old format, and arrays of NumPy."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "x", "num_virtual_tokens": 2, "token_dim": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    for content in (Touch(ran), {"prompt_embeddings": Touch(ran)}):
        torch.save(content, folder / "adapter_model.bin")
        with pytest.raises(HardpromptError, match=r"the soft prompt in .* cannot be read"):
            read_adapter(folder)
    (tmp_path / "x.npy").write_bytes(pickle.dumps(Touch(ran)))
    with pytest.raises(HardpromptError, match=r"x\.npy cannot be read"):
        read_vectors(tmp_path / "x.npy")
    assert not ran.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_weights_are_refused(tmp_path: Path, ran: Path, zipped: bool) -> None:
    """Weights in PyTorch's format are read by its restricted unpickler, which makes tensors and calls nothing else."""
    folder = save_tiny(tmp_path / "tiny")
    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    hp.load_lm(str(folder), device="cpu")
    torch.save(weights | {"extra": Touch(ran)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LMError, match="cannot load the model in") as raised:
        hp.load_lm(str(folder), device="cpu")
    assert "\n" not in str(raised.value) and not ran.exists()


def test_a_hostile_adapter_is_refused(tmp_path: Path, ran: Path) -> None:
    """The weights of a LoRA adapter in the old format."""
    pytest.importorskip("peft")
    base, folder = save_tiny(tmp_path / "tiny"), tmp_path / "lora"
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "target_modules": ["c_attn"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 2, "lora_alpha": 2}), encoding="utf-8")
    torch.save({"x": Touch(ran)}, folder / "adapter_model.bin")
    with pytest.raises(LMError, match=r"the adapter in .* does not fit its base"):
        hp.load_lm(str(folder), device="cpu")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}),
        ("config.json", {"AutoModelForCausalLM": "own.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Tokenizer", None]}),
    ],
)
def test_a_model_folder_brings_no_code(tmp_path: Path, ran: Path, file: str, auto_map: dict[str, Any]) -> None:
    """A type that transformers knows is loaded with the class of transformers, and code in the folder is not run."""
    folder = save_tiny(tmp_path / "tiny")
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n", encoding="utf-8")
    config = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps(config | {"auto_map": auto_map}), encoding="utf-8")
    lm = hp.load_lm(str(folder), device="cpu")
    assert type(lm.model).__module__.startswith("transformers.") and not ran.exists()


def test_a_record_does_not_name_files_outside_of_its_folder(tmp_path: Path) -> None:
    """The vectors of a soft prompt are read from the folder of the study only."""
    shutil.copytree(ROOT / "runs" / "quick", tmp_path / "quick")
    [vectors] = list((tmp_path / "quick" / "soft").iterdir())[:1]
    shutil.copy(vectors, tmp_path / "outside.safetensors")
    store = Store(tmp_path / "quick")
    assert store.load_vectors(f"soft/{vectors.name}").ndim == 2
    for path in ("../outside.safetensors", str(tmp_path / "outside.safetensors")):
        with pytest.raises(HardpromptError, match="is outside of the folder of the study"):
            store.load_vectors(path)


# What is downloaded


def test_downloads_are_listed_with_their_digests(ask: Ask) -> None:
    status, output, _ = ask(["ls", "downloads", "--json"])
    listed = {(entry["kind"], entry["name"]): entry for entry in json.loads(output)}
    assert status == 0
    for model in (PACKAGED | ENCODERS).values():
        assert listed["model", model.name]["sha256"] == model.sha256
        assert listed["model", model.name]["version"] == model.version
    assert listed["data", "sst2"]["source"] == "Hugging Face hub: nyu-mll/glue/sst2"


# Known vulnerabilities of the installed packages


@pytest.mark.parametrize(
    ("output", "errors", "status", "says"),
    [
        ("", "a\nConnectionError: no route", 0, r"skipped, .* cannot be reached \(ConnectionError: no route\)"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', "", 0, "skipped, .* knows none of"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', "", 0, "0 in 1 of 1 packages"),
        (
            '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]}',
            "",
            1,
            "a 1: CVE-1, fixed in 2\nvulnerabilities: 1 in 1",
        ),
    ],
)
def test_the_audit_fails_only_on_a_known_vulnerability(output: str, errors: str, status: int, says: str) -> None:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec and spec.loader
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    text, found = audit.verdict(output, errors)
    assert found == status and re.search(says, text)
