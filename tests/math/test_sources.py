"""Where a model comes from: adapters with their bases, and the cache of the hub."""

import copy
import shutil
import socket
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model

from hardprompt.errors import LMError
from hardprompt.hub import hub_answers
from hardprompt.lm import load_lm
from tests.helpers.tiny import save_tiny, tiny_lm


def save_adapter(folder: Path, family: str, base: str, **options: Any) -> torch.Tensor:
    """Save an adapter with random weights; returns the logits of its model for five tokens."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PEFT about transformers
        adapted = get_peft_model(copy.deepcopy(tiny_lm(family).model), LoraConfig(r=2, init_lora_weights=False, **options))
        adapted.peft_config["default"].base_model_name_or_path = base
        adapted.save_pretrained(str(folder))
        with torch.no_grad():
            return adapted.eval()(torch.arange(40, 45)[None]).logits


@pytest.mark.parametrize("base", ["../tiny", "tiny", "absolute"])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
        ("llama", {"target_modules": ["q_proj", "down_proj"], "use_rslora": True}),
        ("llama", {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]}),
    ],
    ids=["gpt2", "llama", "with an output layer"],
)
def test_an_adapter_is_added_to_its_base(
    family: str, options: dict[str, Any], base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is found from the folder of the adapter and from the current directory; the logits are those of PEFT."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny", family)
    named = str(tmp_path / "tiny") if base == "absolute" else base
    expected = save_adapter(tmp_path / "adapter", family, named, task_type="CAUSAL_LM", **options)
    lm = load_lm("adapter", device="cpu")
    assert lm.name == "adapter" and type(lm.model) is type(tiny_lm(family).model)
    with torch.no_grad():
        found = lm.model(torch.arange(40, 45)[None]).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, load_lm("tiny", device="cpu").model(torch.arange(40, 45)[None]).logits, atol=1e-2)


def test_an_adapter_for_more_layers_is_refused(tmp_path: Path) -> None:
    """PEFT would leave out the weights that have no place."""
    save_tiny(tmp_path / "tiny")
    save_adapter(tmp_path / "adapter", "gpt2", "../tiny", target_modules=["c_attn"], fan_in_fan_out=True)
    config = tmp_path / "tiny" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"n_layer": 2', '"n_layer": 1'), encoding="utf-8")
    with pytest.raises(LMError, match=r"adapter does not fit its base \.\./tiny"):
        load_lm(str(tmp_path / "adapter"), device="cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub client with the model someone/tiny, and an address that answers nobody."""
    of_model = tmp_path / "models--someone--tiny"
    save_tiny(of_model / "snapshots" / "abc")
    (of_model / "refs").mkdir()
    (of_model / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    return of_model / "snapshots" / "abc"


def refuse_network(*args: Any) -> None:
    raise AssertionError("a request")


def test_a_cached_model_is_loaded_without_a_request(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", refuse_network)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_network)
    assert load_lm("someone/tiny", device="cpu").name == "someone/tiny"


def test_an_incomplete_cache_is_not_taken_for_the_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "model.safetensors").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LMError, match="the hub has no such model or cannot be reached"):
        load_lm("someone/tiny", device="cpu")


def test_a_name_that_cannot_be_looked_up_in_time_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any) -> None:
        time.sleep(1)
        raise socket.gaierror

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("hardprompt.hub.WAIT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    assert not hub_answers() and time.monotonic() - start < 0.8


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "not an address", "http://nowhere.invalid"])
def test_a_hub_that_does_not_answer(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert not hub_answers()


def test_a_model_in_the_layout_of_the_hub_is_named(cache: Path) -> None:
    """A folder of the cache itself holds the model one level deeper."""
    with pytest.raises(LMError, match=r"it has no config\.json; did you mean .*snapshots.abc\?"):
        load_lm(str(cache.parent.parent), device="cpu")
    shutil.rmtree(cache)
