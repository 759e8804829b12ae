"""The memory budget: passes that fit, a budget that is halved when memory runs out, and the cache."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hardprompt.data.task import Task
from hardprompt.errors import LMError
from hardprompt.lm import FrozenLM
from hardprompt.lm.memory import MIN_BUDGET, OVERHEAD, Memory, memory_bytes
from hardprompt.scoring import Scorer
from tests.helpers.tiny import FAMILIES, tiny_lm, tiny_task


def _room(size: int) -> Memory:
    """A memory with this much room for a pass."""
    return Memory(2 * (size + OVERHEAD))


PROMPTS = [[40, 50], [60], [], [70, 80, 90]]


def _scored(lm: FrozenLM, task: Task) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The losses of hard prompts and of a soft prompt, and the gradient of a weighted sum of the latter."""
    scorer = Scorer(lm, task, task.train)
    embeds = lm.vocab_embeds[[40, 50, 60]].clone().requires_grad_()
    soft = scorer.score_embeds(embeds).loss[0]
    (gradient,) = torch.autograd.grad((soft * torch.arange(1.0, len(soft) + 1)).sum(), embeds)
    return scorer.score_ids(PROMPTS).loss, soft.detach(), gradient


def _rows_fed(lm: FrozenLM, call: Callable[[], Any]) -> tuple[Any, list[int]]:
    """The result of the call, and the number of rows of each pass through the model's body."""
    fed: list[int] = []
    hook = lm.model.register_forward_pre_hook(
        lambda module, args, given: fed.append(len(given["inputs_embeds"])), with_kwargs=True
    )
    try:
        return call(), fed
    finally:
        hook.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["classification", "generation"])
@pytest.mark.parametrize("prompt_first", [False, True])
def test_passes_in_parts_give_the_same_scores_and_gradient(
    monkeypatch: pytest.MonkeyPatch, family: str, kind: str, prompt_first: bool
) -> None:
    if kind == "generation" and tiny_lm(family).masked:
        pytest.skip("a masked model writes no texts")
    lm, task = tiny_lm(family), tiny_task(kind, prompt_first)
    whole, few = _rows_fed(lm, lambda: _scored(lm, task))
    monkeypatch.setattr(lm, "memory", _room(lm.footprint.of_pass(20, reads=2, gradient=True)))
    parts, many = _rows_fed(lm, lambda: _scored(lm, task))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert len(many) > len(few) and max(many) < max(few)


@pytest.mark.parametrize("in_backward", [False, True])
def test_running_out_of_memory_halves_the_budget_permanently(monkeypatch: pytest.MonkeyPatch, in_backward: bool) -> None:
    """Every pass of more than 3 rows fails, or every such pass with gradients, as if another program used the memory."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    whole = _scored(lm, task)
    monkeypatch.setattr(lm, "memory", Memory(1 << 30))
    monkeypatch.setattr("hardprompt.lm.memory.MIN_BUDGET", 1)
    monkeypatch.setattr("hardprompt.lm.memory.OVERHEAD", 0)
    hidden = lm.hidden

    def scarce(embeds: torch.Tensor, *args: Any, **given: Any) -> torch.Tensor:
        found = hidden(embeds, *args, **given)
        if len(embeds) <= 3:
            return found
        if not in_backward:
            raise torch.OutOfMemoryError("out of memory")
        if found.requires_grad:
            found.register_hook(_fail)
        return found

    monkeypatch.setattr(lm, "hidden", scarce)
    for one, other in zip(whole, _scored(lm, task), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    halved = lm.memory.budget
    assert halved < 1 << 20
    _scored(lm, task)
    assert lm.memory.budget == halved


def _fail(gradient: torch.Tensor) -> None:
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
    )


def test_an_example_that_never_fits_in_memory_is_refused() -> None:
    def fails() -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(LMError, match="does not fit into memory"):
        Memory(8 * MIN_BUDGET).run(fails)


def test_other_errors_are_not_taken_for_out_of_memory() -> None:
    def fails() -> None:
        raise RuntimeError("a shape is wrong")

    memory = Memory(1 << 30)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        memory.run(fails)
    assert memory.budget == 1 << 30


def test_the_cache_drops_the_least_recently_used_entry() -> None:
    memory, made = Memory(200), []

    def keep(key: str) -> str:
        return memory.cached(key, 40, lambda: made.append(key) or key)  # type: ignore[func-returns-value]

    assert [keep(key) for key in "abacab"] == list("abacab")
    assert made == ["a", "b", "c", "b"]


@pytest.mark.parametrize(("text", "size"), [("512MB", 512 << 20), ("4 gb", 4 << 30), ("1.5GiB", 3 << 29)])
def test_sizes_in_bytes(text: str, size: int) -> None:
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4", "4TB", "-1GB", "nan GB", "1MB", "99999999GB", "four GB"])
def test_invalid_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give a size of at least 256MB"):
        memory_bytes(text)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("gradient", [False, True])
def test_the_measured_peak_stays_within_the_budget(gradient: bool) -> None:
    tiny = tiny_lm("gpt2")
    ids = {"bos_token_id": tiny.bos_id, "eos_token_id": tiny.eos_id}
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tiny.tokenizer), n_embd=256, n_layer=4, n_head=4, n_positions=128, **ids)
    lm = FrozenLM(GPT2LMHeadModel(config), tiny.tokenizer, "wide")
    lm.memory.budget = 128 << 20
    task = tiny_task(train=[*tiny_task().train] * 80)
    scorer, embeds = Scorer(lm, task, task.train), lm.vocab_embeds[[40, 50]].clone().requires_grad_()

    def call() -> None:
        if gradient:
            scorer.score_embeds(embeds).loss.mean().backward()
        else:
            scorer.score_ids([[prompt, prompt + 1] for prompt in range(40, 56)])

    assert _peak(call) <= 1.25 * lm.memory.budget


def _peak(call: Callable[[], None]) -> int:
    """Bytes by which the process grows beyond what it held before the call."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
