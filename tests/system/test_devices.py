"""The whole chain on every device that torch reports here: the CPU, each CUDA GPU, and MPS.

Where there is only a CPU, the tests run on it alone; they compare devices where there are several.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hardprompt as hp
from hardprompt.data.task import Task
from hardprompt.errors import LMError
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.lm.loading import available_device
from hardprompt.lm.memory import MIN_BUDGET, Memory, out_of_memory
from hardprompt.readings.read import DEFAULT_READERS
from hardprompt.records.store import Store
from hardprompt.study.resources import MachineResources
from tests.helpers import Ask

DEVICES = [
    "cpu",
    *(f"cuda:{number}" for number in range(torch.cuda.device_count())),
    *["mps"] * torch.backends.mps.is_available(),
]


@pytest.fixture(scope="module", params=DEVICES)
def lm(request: pytest.FixtureRequest) -> FrozenLM:
    """The embedded model on a device."""
    return load_lm("microworld", device=request.param)


@pytest.fixture(scope="module")
def task() -> Task:
    """A classification task of few examples."""
    task = hp.load_task("review-sentiment")
    return replace(task, train=task.train[:16], dev=task.dev[:16], test=task.test[:16])


def test_scores_and_gradients_are_those_of_the_cpu(lm: FrozenLM, task: Task, microworld: FrozenLM) -> None:
    """Losses of hard and soft prompts, with a small budget too, and the gradient of a soft prompt, to 1e-3."""
    prompts = [microworld.encode("was the review good"), microworld.encode("the the the")]
    found = []
    for model in (microworld, lm):
        scorer = hp.Scorer(model, task, task.dev)
        embeds = model.vocab_embeds[prompts[0]].float().clone().requires_grad_()
        loss = scorer.score_embeds(embeds).loss
        (gradient,) = torch.autograd.grad(loss.mean(), embeds)
        assert scorer.score_ids(prompts).loss.device.type == model.device.type == gradient.device.type
        found.append([each.detach().cpu() for each in (scorer.score_ids(prompts).loss, loss, gradient)])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["soft", "pez", "rl", "front"])
def test_optimizers_run_and_repeat_themselves(lm: FrozenLM, task: Task, name: str) -> None:
    """One seed gives one result on one device, and the vectors of a soft prompt are on the device of the model."""
    options: dict[str, Any] = {"soft": {"steps": 2}, "pez": {"steps": 2}, "rl": {"episodes": 64}, "front": {}}[name]
    first, again = (hp.optimize(task, lm, name, lm_tokens=4000, seed=3, weight=0.0, **options) for _ in range(2))
    assert first.curve == again.curve and first.best.dev_objective == again.best.dev_objective
    prompt = first.best.prompt
    assert not isinstance(prompt, hp.SoftPrompt) or prompt.embeds.device == lm.device


@pytest.mark.slow
def test_every_optimizer_runs(lm: FrozenLM, task: Task) -> None:
    """Also those that are not in the default comparison, and a policy on the hidden states of the model."""
    for name in ("gcg", "autoprompt", "gbda", "race", "beam", "epo", "random-likely", "wayward", "rlprompt"):
        options: dict[str, Any] = {"target": "was the review so good"} if name == "wayward" else {}
        assert hp.optimize(task, lm, name, lm_tokens=3000, **options).candidates, name
    assert hp.optimize(task, lm, "rl", lm_tokens=3000, observation="state", episodes=64).candidates


@pytest.mark.slow
def test_a_soft_prompt_is_read(lm: FrozenLM) -> None:
    """By every reader that fits it; the evidence is the same at each call."""
    task = hp.load_task("plural")
    prompt = hp.SoftPrompt(lm.vocab_embeds[lm.encode("give the plural")].float())
    inputs = [example.input for example in task.train[:16]]
    readers = (*DEFAULT_READERS, "known-instructions")
    first, again = (hp.read(prompt, task, lm, inputs=inputs, readers=readers, lm_tokens=3000) for _ in range(2))
    assert first.best is not None and first.as_json() == again.as_json()


@pytest.mark.slow
def test_a_study_is_resumed_and_its_prompt_evaluated(
    lm: FrozenLM, tmp_path: Path, ask: Ask, no_plot: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose line is lost is repeated, and gives the same result."""
    monkeypatch.chdir(tmp_path)
    study = ["compare", "--device", str(lm.device), "--optimizers", "empty,soft", "--lm-tokens", "3000", "--seeds", "0,1"]
    assert ask([*study, "--out", "study"])[0] == 0
    record = tmp_path / "study" / "points.jsonl"
    lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
    record.write_text("".join(lines[:-1]), encoding="utf-8")
    assert ask([*study, "--out", "study"])[0] == 0
    point = Store(tmp_path / "study").points()[-1]
    lost = json.loads(lines[-1])
    assert record.read_text(encoding="utf-8").startswith("".join(lines[:-1]))
    assert {key: point[key] for key in lost if "seconds" not in key} == {key: lost[key] for key in lost if "seconds" not in key}
    status, _, err = ask(["evaluate", "--run", "study", "--optimizer", "soft", "--seed", "1", "--json"])
    assert status == 0, err


@pytest.mark.slow
def test_bfloat16_is_close_to_float32(lm: FrozenLM, task: Task) -> None:
    low = load_lm("microworld", device=str(lm.device), dtype="bfloat16")
    losses = [hp.Scorer(each, task, task.dev).score_ids([each.encode("was the review good")]).loss for each in (lm, low)]
    assert low.vocab_embeds.dtype == torch.bfloat16 and float((losses[0] - losses[1]).abs().mean()) < 0.2
    assert hp.optimize(task, low, "soft", steps=2).best.dev_objective > 0


def test_a_pass_that_runs_out_of_memory_is_split_again(lm: FrozenLM) -> None:
    """A real allocation that no device can make halves the budget, once per attempt, and then says so in one line."""
    memory = Memory(4 * MIN_BUDGET)
    with pytest.raises(LMError, match="does not fit into memory"):
        memory.run(lambda: torch.empty(1 << 60, dtype=torch.uint8, device=lm.device))
    assert memory.budget == MIN_BUDGET


@pytest.mark.parametrize(("message", "expected"), [("MPS backend out of memory (MPS allocated: 1 GB)", True), ("other", False)])
def test_messages_of_failed_allocations(message: str, expected: bool) -> None:
    assert out_of_memory(RuntimeError(message)) is expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:99", r"no device 'cuda:99' here \(\d+ cuda devices\); use --device cpu"),
        ("mps:1", r"no device 'mps:1' here \(\d mps devices\)"),
        ("gpu", "no device 'gpu'; use cpu, cuda or mps"),
        ("meta", "'meta' is not supported; use cpu, cuda or mps"),
    ],
)
def test_a_device_that_is_not_here_is_named_in_one_line(name: str, message: str) -> None:
    with pytest.raises(LMError, match=message):
        available_device(name)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_one_process_per_gpu(tmp_path: Path, ask: Ask, no_plot: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of a recipe are distributed over all GPUs."""
    monkeypatch.chdir(tmp_path)
    assert len(MachineResources.detect().gpus) == torch.cuda.device_count()
    (tmp_path / "r.yaml").write_text("tasks: [plural]\noptimizers: [soft]\nseeds: [0, 1]\nlm_tokens: 3000\ndevice: cuda\n")
    assert ask(["run", "r.yaml", "--jobs", "2"])[0] == 0
