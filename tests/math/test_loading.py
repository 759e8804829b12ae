"""Loading a model: its context length, the warnings about slower paths, and no change of the settings of other libraries."""

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled
from transformers import (
    BloomConfig,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MambaForCausalLM,
    MptConfig,
    MptForCausalLM,
    XLNetConfig,
)

from hardprompt.errors import ContextExceeded, LMError
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.lengths import UNLIMITED, context_length
from hardprompt.lm.memory import Memory
from hardprompt.scoring import Scorer
from tests.helpers import Ask
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task, write_recipe


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(n_positions=96), 96),
        (LlamaConfig(max_position_embeddings=4096), 4096),
        (MptConfig(max_seq_len=512), 512),
        (BloomConfig(), UNLIMITED),
        (BloomConfig(seq_length=2048), 2048),
        (XLNetConfig(), UNLIMITED),
        (MambaConfig(), UNLIMITED),
        (Gemma3Config(text_config={"max_position_embeddings": 777}), 777),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, transformers.PretrainedConfig) else str(value),
)
def test_the_context_length_of_every_model_family(config: Any, expected: int) -> None:
    assert context_length(config) == expected


def _gpt2_ids() -> dict[str, int]:
    tokenizer = tiny_lm("gpt2").tokenizer
    end = tokenizer.eos_token_id
    return {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}


def test_mpt_reads_its_configured_number_of_tokens() -> None:
    torch.manual_seed(0)
    model = MptForCausalLM(MptConfig(d_model=16, n_heads=2, n_layers=2, max_seq_len=24, **_gpt2_ids()))
    lm = FrozenLM(model, tiny_lm("gpt2").tokenizer, "mpt")
    task = tiny_task()
    scorer = Scorer(lm, task, task.train[2:3])
    fits = lm.max_length - scorer.tokens(0) - len(lm.prefix_ids)
    assert lm.max_length == 24 and scorer.score_ids([[40] * fits]).loss.isfinite().all()
    with pytest.raises(ContextExceeded, match="the context of mpt is 24"):
        scorer.score_ids([[40] * (fits + 1)])


def test_a_model_that_cannot_share_prefixes_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, **_gpt2_ids()))
    with caplog.at_level(logging.WARNING, logger="hardprompt"):
        FrozenLM(model, tiny_lm("gpt2").tokenizer, "state")
    assert [each.name for each in caplog.records if each.name.startswith("hardprompt")] == ["hardprompt.lm.frozen"]
    assert "state (MambaForCausalLM)" in caplog.text and "cannot share a common prefix" in caplog.text


@pytest.mark.slow
def test_the_command_line_prints_each_warning_once(tmp_path: Path, ask: Ask) -> None:
    """Two models of the same name give the same warning; afterwards the logger is unchanged."""
    torch.manual_seed(0)
    for folder in (tmp_path / "one" / "state", tmp_path / "two" / "state"):
        MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, **_gpt2_ids())).save_pretrained(folder)
        tiny_lm("gpt2").tokenizer.save_pretrained(folder)
    models = ["--lm", str(tmp_path / "one" / "state"), "--reader", str(tmp_path / "two" / "state"), "--device", "cpu"]
    status, out, err = ask(["evaluate", "--text", "good", "--task", "plural", *models, "--json"])
    assert status == 0 and json.loads(out)
    assert err == "hardprompt: state (MambaForCausalLM) cannot share a common prefix of texts, which makes scoring slower\n"
    assert [type(handler) for handler in logging.getLogger("hardprompt").handlers] == [logging.NullHandler]


@pytest.mark.slow
@pytest.mark.usefixtures("no_plot")
def test_warnings_of_other_processes_are_printed_once(tmp_path: Path, ask: Ask) -> None:
    """Both processes load the model and warn; the parent process prints the warning."""
    torch.manual_seed(0)
    folder = tmp_path / "state"
    MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, **_gpt2_ids())).save_pretrained(folder)
    tiny_lm("gpt2").tokenizer.save_pretrained(folder)
    recipe = write_recipe(tmp_path, models=[str(folder)], optimizers=["empty", "manual"], options={}, weights=[0])
    status, _, err = ask(["run", str(recipe), "--jobs", "2", "--out", str(tmp_path / "out")])
    assert status == 0 and err.count("cannot share a common prefix of texts") == 1


def test_a_model_without_the_last_layer_shortcut_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lm = tiny_lm("gpt2")
    monkeypatch.setattr("hardprompt.lm.last_layer._CACHE_ARGUMENTS", ("a name that no layer has",))
    monkeypatch.setattr("hardprompt.lm.checks.read_verdict", lambda digest: None)
    monkeypatch.setattr("hardprompt.lm.checks.keep_verdict", lambda digest, verdict: None)
    with caplog.at_level(logging.WARNING, logger="hardprompt"):
        FrozenLM(lm.model, lm.tokenizer, lm.name)
    assert len(caplog.records) == 1 and "cannot compute its last layer only where it is read" in caplog.text


@pytest.mark.parametrize("family", ["gpt2", "llama", "roberta"])
def test_models_with_every_shortcut_load_without_warnings(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny(tmp_path / family, family)
    capfd.readouterr()
    load_lm(str(folder), device="cpu")
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_a_halved_memory_budget_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    memory, calls = Memory(1 << 30), []

    def fails_once() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return 7

    with caplog.at_level(logging.WARNING, logger="hardprompt"):
        assert memory.run(fails_once) == 7
    assert "the memory budget for scoring is now 512 MB" in caplog.text


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_loading_restores_the_settings_of_transformers(bars: bool, broken: bool, tmp_path: Path) -> None:
    settings = transformers.utils.logging
    before = settings.get_verbosity(), settings.is_progress_bar_enabled(), are_progress_bars_disabled()
    folder = save_tiny(tmp_path / "tiny")
    if broken:
        (folder / "config.json").write_text("{", encoding="utf-8")
    try:
        settings.set_verbosity_info()
        (settings.enable_progress_bar if bars else settings.disable_progress_bar)()
        if broken:
            with pytest.raises(LMError):
                load_lm(str(folder), device="cpu")
        else:
            load_lm(str(folder), device="cpu")
        assert settings.get_verbosity() == settings.INFO
        assert settings.is_progress_bar_enabled() is bars and are_progress_bars_disabled() is not bars
    finally:
        settings.set_verbosity(before[0])
        (settings.enable_progress_bar if before[1] else settings.disable_progress_bar)()


@pytest.mark.slow
def test_importing_and_loading_change_no_logging_settings() -> None:
    """In a fresh process, where nothing has configured logging, only a NullHandler is added."""
    code = """
import logging
root = logging.getLogger()
before = list(root.handlers), root.level
import hardprompt
hardprompt.load_lm("microworld", device="cpu")
assert (list(root.handlers), root.level) == before
logger = logging.getLogger("hardprompt")
assert [type(handler) for handler in logger.handlers] == [logging.NullHandler] and logger.level == logging.NOTSET
logging.getLogger("hardprompt.lm").warning("unheard")
logger.addHandler(logging.lastResort)
logging.getLogger("hardprompt.lm").warning("heard")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "heard\n")


def test_the_hub_clients_environment_variable_raises_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_lm("microworld", device="cpu")
