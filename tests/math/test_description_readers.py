"""The readers `output-lens` and `self-description` against plain passes and passes layer by layer of Hugging Face models."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt import HardPrompt, SoftPrompt, load_lm, load_task
from hardprompt.errors import RequestError
from hardprompt.lm import FrozenLM
from hardprompt.readings import ReadingProblem, load_reader, run_reader
from hardprompt.readings.self_description import (
    DescriptionPrompt,
    best_texts,
    description_prompts,
    descriptions,
    layer_pairs,
    layer_states,
    patched,
)
from tests.helpers.chat import chat_lm
from tests.helpers.tiny import CAUSAL, tiny_lm, tiny_task

PROMPT = "the film was a good film"


def vectors_of(lm: FrozenLM, length: int = 3) -> Tensor:
    """Random vectors (L, d) in the scale of the embeddings."""
    noise = torch.randn(length, lm.vocab_embeds.shape[1], generator=torch.Generator().manual_seed(0))
    return noise * lm.vocab_embeds.std()


def problem_of(lm: FrozenLM, target: SoftPrompt | HardPrompt | None = None, **fields: Any) -> ReadingProblem:
    task = tiny_task("generation")
    return ReadingProblem(target or SoftPrompt(vectors_of(lm)), task, lm, [e.input for e in task.dev], max_length=4, **fields)


def micro_problem(lm: FrozenLM, seed: int = 0) -> ReadingProblem:
    target = SoftPrompt(lm.embed(torch.tensor(lm.encode("give the plural"))))
    return ReadingProblem(target, load_task("plural"), lm, ["cat", "dog"], max_length=4, seed=seed)


def embedded(lm: FrozenLM, text: str) -> Tensor:
    return lm.embed(torch.tensor([[*lm.prefix_ids, *lm.encode(text)]]))


def texts(problem: ReadingProblem) -> list[tuple[int, ...]]:
    return [c.prompt.ids for c in problem.candidates if isinstance(c.prompt, HardPrompt)]


def hooks(lm: FrozenLM) -> int:
    return sum(len(module._forward_hooks) for module in lm.model.modules())


@torch.no_grad()
def layer_by_layer(lm: FrozenLM, embeds: Tensor, start: int, states: Tensor, at: int) -> tuple[Tensor, Tensor]:
    """Logits (T, V) with `states` (L, d) in place of the output of layer `at`, and the states (N + 1, T, d) of the pass."""
    hidden, span = embeds.clone(), slice(start, start + len(states))
    positions = torch.arange(embeds.shape[1])
    if at == 0:
        hidden[0, span] = states
    seen, arguments = [hidden[0]], {}
    if lm.name == "tiny-gpt2":
        core = lm.model.transformer
        layers, norm = core.h, core.ln_f
        hidden = hidden + core.wpe.weight[positions]
    else:
        core = lm.model.model
        layers, norm = core.layers, core.norm
        arguments = {"position_embeddings": core.rotary_emb(hidden, positions[None])}
    for number, layer in enumerate(layers, 1):
        output = layer(hidden, **arguments)
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        if at == number:
            hidden[0, span] = states
        seen.append(hidden[0])
    return lm.model.lm_head(norm(hidden))[0], torch.stack(seen)


# The output lens


@pytest.mark.parametrize("family", CAUSAL)
def test_the_output_lens_is_the_prediction_of_the_plain_model(family: str) -> None:
    lm = tiny_lm(family)
    problem = problem_of(lm, vocabulary=torch.arange(5, 200))
    vectors = vectors_of(lm)
    expected = []
    for context in (lm.prefix_ids, [*lm.prefix_ids, *lm.encode(problem.inputs[0])]):
        read = torch.cat([lm.embed(torch.tensor(context, dtype=torch.long)), vectors])
        logits = lm.model(inputs_embeds=read[None]).logits[0, len(context) :, 5:200]
        expected.append((logits.argmax(-1) + 5).tolist())
    expected.append(((vectors @ lm.model.get_output_embeddings().weight[5:200].T).argmax(-1) + 5).tolist())
    found = load_reader("output-lens").search(problem, None)
    assert found == expected and len({*map(tuple, found)}) > 1
    assert problem.counter.forward == problem_of(lm).counter.forward + 3 + len(lm.encode(problem.inputs[0])) + 3


# Layers


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_states_are_those_of_a_pass_layer_by_layer(family: str) -> None:
    lm = tiny_lm(family)
    embeds = embedded(lm, PROMPT)
    expected = layer_by_layer(lm, embeds, 0, embeds[0, :1], 0)[1]
    torch.testing.assert_close(layer_states(lm, embeds[0]), expected)
    assert not hooks(lm)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_patched_passes_are_those_layer_by_layer(family: str) -> None:
    """Each row at its own layer. States that follow the last layer reach no later position."""
    lm = tiny_lm(family)
    embeds, vectors = embedded(lm, PROMPT), vectors_of(lm)
    sources = layer_states(lm, vectors)
    pairs = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]
    states = sources[[read for read, _ in pairs]]
    layers = [at for _, at in pairs]
    logits = patched(lm, lambda read: lm.output_logits(lm.hidden(read)), embeds.expand(5, -1, -1), 2, states, layers)
    plain = lm.output_logits(lm.hidden(embeds))[0]
    for row, layer in enumerate(layers):
        expected = layer_by_layer(lm, embeds, 2, states[row], layer)[0]
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[row, :2], plain[:2])
        assert not torch.allclose(logits[row, 2:5], plain[2:5], atol=1e-2)
        assert torch.allclose(logits[row, 5:], plain[5:], atol=1e-4) == (layer == 2)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_own_states_of_a_prompt_change_nothing(family: str) -> None:
    lm = tiny_lm(family)
    embeds = embedded(lm, PROMPT)
    states = layer_states(lm, embeds[0])
    found = patched(lm, lm.hidden, embeds.expand(len(states), -1, -1), 1, states[:, 1:4], range(len(states)))
    torch.testing.assert_close(found, lm.hidden(embeds).expand_as(found), atol=1e-4, rtol=1e-4)
    other = patched(lm, lm.hidden, embeds, 1, states[1:2, 2:5], [1])
    assert not torch.allclose(other, lm.hidden(embeds), atol=1e-2), "the states of other positions do"


def test_hooks_are_removed_after_an_error() -> None:
    lm = tiny_lm("llama")

    def fails(read: Tensor) -> Tensor:
        assert hooks(lm) == 2
        raise MemoryError

    with pytest.raises(MemoryError):
        patched(lm, fails, embedded(lm, PROMPT).expand(2, -1, -1), 0, torch.zeros(2, 1, 16), [1, 2])
    assert not hooks(lm)


def test_pairs_of_layers_begin_with_the_vectors_themselves() -> None:
    assert layer_pairs(12, 3) == [(0, 0), (1, 1), (1, 3), (4, 1), (4, 3), (8, 1), (8, 3)]
    assert layer_pairs(2, 4) == [(0, 0), (1, 1)], "no pair is used twice"


# Descriptions


@pytest.mark.parametrize("cached", [True, False], ids=["kept keys and values", "whole passes"])
def test_descriptions_are_decoded_greedily(cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the end token, which is not the first one. The result is that of passes layer by layer."""
    lm = tiny_lm("llama")
    assert lm.shares_prefixes and lm.eos_id is not None
    monkeypatch.setattr(lm, "shares_prefixes", cached)
    problem, sources = problem_of(lm), layer_states(lm, vectors_of(lm))
    before, after = [*lm.prefix_ids, *lm.encode("the word")], lm.encode_after([" means"])[0]
    pairs = [(0, 0), (1, 0), (2, 1)]
    [x] = lm.encode_after([" x"])[0][-1:]
    expected: list[list[int]] = []
    for read, at in pairs:
        drawn: list[int] = []
        for _ in range(4):
            embeds = lm.embed(torch.tensor([[*before, x, x, x, *after, *drawn]]))
            logits = layer_by_layer(lm, embeds, len(before), sources[read], at)[0][-1]
            drawn.append(int(problem.allowed[logits[problem.allowed].argmax()]))
            assert not drawn[1:] or logits[lm.eos_id] < logits[drawn[-1]]
        expected.append(drawn)
    spent = problem.spent
    none = descriptions(problem, DescriptionPrompt(before, after, [lm.eos_id]), sources, pairs, 0)
    assert none == [lm.decode(drawn).split("\n")[0].strip() for drawn in expected] and len({*none}) > 1
    assert problem.spent - spent == 3 * (len(before) - len(lm.prefix_ids) + 3 + len(after) + 4)
    end = expected[0][2]
    assert end not in expected[0][:2]
    cut = descriptions(problem, DescriptionPrompt(before, after, [end]), sources, pairs[:1], 0)
    assert cut == [lm.decode(expected[0][:2]).strip()]
    assert descriptions(problem, DescriptionPrompt(before, after, problem.allowed.tolist()[:-1]), sources, pairs[:1], 0) == [
        lm.decode(problem.allowed[-1:].tolist()).strip()
    ]


def test_the_best_descriptions_are_scored_as_they_are_read(microworld: FrozenLM) -> None:
    options = {"depths": 2, "kept": 3}
    problem, again, other = micro_problem(microworld), micro_problem(microworld), micro_problem(microworld, seed=1)
    for each in (problem, again, other):
        run_reader(load_reader("self-description"), each, options)
    found = texts(problem)
    assert 3 < len(found) == len({*found}) <= 6 and all(len(ids) <= 4 for ids in found)
    for candidate in problem.candidates:
        assert isinstance(candidate.prompt, HardPrompt)
        assert HardPrompt.from_text(microworld, candidate.prompt.text, problem.template).ids == candidate.prompt.ids
        kl = problem.dev.score_ids([candidate.prompt.ids]).mean_loss
        assert candidate.dev_task_loss == pytest.approx(float(kl), abs=1e-5)
    assert texts(again) == found != texts(other) and not hooks(microworld)


def test_the_texts_with_the_lowest_divergence_are_the_best(microworld: FrozenLM) -> None:
    """Texts that are too long or empty, or of tokens that are not allowed, are none of them."""
    problem = micro_problem(microworld)
    of_texts = ["the category", "write the plural", "", "give the plural of the word", "red"]
    assert best_texts(problem, of_texts, [0, 1], 1) == ["write the plural"]
    assert best_texts(problem, of_texts, [0, 1], 5) == ["the category", "write the plural", "red"]
    [red] = HardPrompt.from_text(microworld, "red", problem.template).ids
    problem.allowed = problem.allowed[problem.allowed != red]
    assert best_texts(problem, of_texts, [0, 1], 5) == ["the category", "write the plural"]


def test_an_exhausted_budget_ends_the_descriptions(microworld: FrozenLM) -> None:
    whole, short = micro_problem(microworld), micro_problem(microworld)
    short.lm_tokens = 1
    for problem in (whole, short):
        run_reader(load_reader("self-description"), problem, {"depths": 1, "kept": 2})
    assert texts(short) == texts(whole)[:2] and len(whole.candidates) > 2


def test_a_chat_model_is_also_asked_in_a_chat() -> None:
    lm = chat_lm("chatml")
    of_chat = [prompt for prompt in description_prompts(lm, 10) if prompt.chat]
    text = lm.tokenizer.decode([*of_chat[0].before, *lm.encode_after([" x"])[0], *of_chat[0].after])
    assert text == (
        "<|im_start|>user\nRepeat the following instruction word for word, and write nothing else.\n x<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert lm.encode("<|im_end|>")[0] in of_chat[0].ends and len(of_chat) == 2


@pytest.mark.parametrize("name", ["output-lens", "self-description"])
@pytest.mark.parametrize("family", ["roberta", "t5"])
def test_other_kinds_of_models_are_refused(name: str, family: str) -> None:
    lm = tiny_lm(family)
    task = tiny_task("classification" if lm.masked else "generation")
    problem = ReadingProblem(SoftPrompt(vectors_of(lm)), task, lm, ["bad food"], max_length=4)
    with pytest.raises(RequestError, match=f"^tiny-{family} predicts no next token at a vector .*; use the reader nearest$"):
        run_reader(load_reader(name), problem)


@pytest.mark.parametrize("name", ["output-lens", "self-description"])
def test_a_text_is_refused(name: str) -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(RequestError, match="is a text and has no vectors"):
        run_reader(load_reader(name), problem_of(lm, HardPrompt.from_text(lm, "good or bad")))


def test_a_short_context_is_refused() -> None:
    """A description prompt and the vectors are longer than the 64 tokens of the tiny model."""
    lm = tiny_lm("gpt2")
    with pytest.raises(RequestError, match="no description prompt fits into the context of tiny-gpt2, which is 64 tokens"):
        run_reader(load_reader("self-description"), problem_of(lm, SoftPrompt(vectors_of(lm, 20))))


def test_a_model_without_batches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    monkeypatch.setattr(lm.rules, "batches", False)
    with pytest.raises(RequestError, match="tiny-gpt2 cannot read several description prompts at once"):
        run_reader(load_reader("self-description"), problem_of(lm))


@pytest.mark.slow
@pytest.mark.real
def test_a_real_model_repeats_the_text_of_which_it_reads_the_vectors() -> None:
    lm, task = load_lm("smollm2", device="cpu"), tiny_task("generation")
    vectors = lm.embed(torch.tensor(HardPrompt.from_text(lm, "The capital of this country is", task.template).ids))
    problem = ReadingProblem(SoftPrompt(vectors), task, lm, ["bad food"], max_length=len(vectors))
    repeats = description_prompts(lm, 12)[0]
    assert descriptions(problem, repeats, vectors[None], [(0, 0)], 0) == ["The capital of this country is"]
