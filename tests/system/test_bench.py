"""The two sides of each comparison in runs/bench.py compute the same numbers, and its JSON has the documented keys."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config

from hardprompt.lm import FrozenLM
from runs import bench


@pytest.fixture(scope="module")
def lm() -> FrozenLM:
    """A small version of the model of the benchmark."""
    return bench.random_lm(GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=500, bos_token_id=None, initializer_range=0.2))


def agreement(row: bench.Row) -> dict[str, float]:
    return row.agree(row.engine(0), row.reference(0))


def test_rewards_agree(lm: FrozenLM) -> None:
    row = bench.reward_row(lm, 0, prompts=3, sentences=6)
    assert agreement(row)["label_log_prob_difference"] < 1e-4
    assert row.engine(0).shape == (3, 6, 2)
    assert row.engine(0).std() > 1e-2


def test_the_reference_has_its_own_weights(lm: FrozenLM) -> None:
    """A change of the model of the engine leaves the reference as it is."""
    row = bench.reward_row(lm, 0, prompts=1, sentences=4)
    before = row.reference(0)
    scale = lm.model.transformer.ln_f.weight
    scale.data.mul_(2)
    try:
        assert torch.equal(row.reference(0), before)
    finally:
        scale.data.div_(2)


def test_bfloat16_is_compared_with_fp32(lm: FrozenLM) -> None:
    row = bench.bfloat16_row(lm, 0)
    assert row.dtype is torch.bfloat16
    found = agreement(row)
    assert 1e-4 < found["label_log_prob_difference"] < 0.5
    assert 0.9 < found["same_answer_share"] <= 1


def test_soft_steps_agree_with_peft(lm: FrozenLM) -> None:
    row = bench.soft_row(lm, 0, batch=4, length=3, sentences=6)
    found = agreement(row)
    assert found["loss_difference"] < 1e-5
    assert found["gradient_difference"] < 1e-4


def test_pez_steps_agree(lm: FrozenLM) -> None:
    row = bench.pez_row(lm, 0, length=3, sentences=6)
    found = agreement(row)
    assert found["loss_difference"] < 1e-5
    assert found["gradient_difference"] < 1e-4


def test_rl_rewards_agree(lm: FrozenLM) -> None:
    assert agreement(bench.rl_reward_row(lm, 0, prompts=3, examples=4))["reward_difference"] < 1e-4


def test_one_call_per_episode_gives_the_same_objective() -> None:
    plain, one_by_one = bench.embedded_problem(0), bench.embedded_problem(0, bench.OneByOne)
    prompts = plain.random_ids(3)
    torch.testing.assert_close(one_by_one.objective(prompts, [1, 2]).total, plain.objective(prompts, [1, 2]).total)


def test_flops_of_one_layer() -> None:
    """One layer, d = 2, two tokens after one earlier token; three columns of the output of the last one are read.

    Keys and values of both: 2 x 4 d^2 = 32. Of the last token: query and output 2 x 2 d^2 = 16, the MLP 2 x 16 d^2 / 2 = 64,
    the head 2 x 2 x 3 = 12, attention to three tokens 4 d x 3 = 24.
    With a gradient, attention counts three times and the rest twice.
    """
    config = GPT2Config(n_layer=1, n_embd=2, n_head=1)
    assert bench.needed_flops(config, [(1, 2)], [3], 3) == 32 + 16 + 64 + 12 + 24
    assert bench.needed_flops(config, [(1, 2)], [3], 3, gradient=True) == 2 * (32 + 16 + 64 + 12) + 3 * 24


def test_flops_of_all_layers_but_the_last_include_every_token() -> None:
    """The first layer adds 24 d^2 for each of the two tokens, and attention to 2 + 3 tokens."""
    one, two = (bench.needed_flops(GPT2Config(n_layer=n, n_embd=2, n_head=1), [(1, 2)], [3], 3) for n in (1, 2))
    assert two - one == 2 * 24 * 4 + 8 * 5


def test_sentences_of_every_length_are_equally_frequent(lm: FrozenLM) -> None:
    task = bench.sentences_task(lm, "{input} {prompt}", 30)
    lengths = sorted(len(lm.encode(example.input)) for example in task.train)
    assert lengths == sorted([*range(bench.SHORTEST, bench.LONGEST + 1)] * 2)


def test_exponent_of_a_power_law() -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    assert bench.exponent(sizes, [7.0] * 3 + [3 * size**2 for size in sizes[3:]]) == pytest.approx(2)


@pytest.mark.slow
def test_json_has_the_documented_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "MATMUL", 64)
    monkeypatch.setattr(bench, "AXES", {"prompts": [1, 2, 4, 8], "prompt length": [1, 2, 3, 4]})
    monkeypatch.setattr(bench, "BASE", {"prompts": 2, "examples": 4, "prompt length": 2})
    small = {"rl-reward": lambda lm, repeats: bench.rl_reward_row(lm, repeats, 3, 4), "help": bench.help_row}
    monkeypatch.setattr(bench, "ROWS", small)
    file = tmp_path / "bench.md"
    monkeypatch.setattr(
        sys, "argv", ["bench.py", "--json", "--repeats", "2", "--only", "rl-reward,help,scaling", "--markdown", str(file)]
    )
    bench.main()
    found = json.loads(capsys.readouterr().out)
    assert {"cores", "threads", "torch", "amx"} <= found["machine"].keys()
    reward, answer = found["results"]
    for result in (reward, answer):
        both = {"name", "ratio", "ratio_quartiles", "target", "seconds", "reference_seconds", "agreement", "reached"}
        assert both <= result.keys()
        assert result["ratio"] == result["reference_seconds"] / result["seconds"]
    assert {"share", "first_seconds", "matmul_flops_per_second"} <= reward.keys()
    assert answer["target_of"] == "difference"
    assert [curve["axis"] for curve in found["scaling"]] == ["prompts", "prompt length", "prompt length"]
    written = file.read_text(encoding="utf-8")
    assert "hardprompt --help" in written and "bench.png" in written
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_row_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "rewards"])
    with pytest.raises(SystemExit) as done:
        bench.main()
    assert done.value.code == 2
    assert "no row 'rewards'" in capsys.readouterr().err
