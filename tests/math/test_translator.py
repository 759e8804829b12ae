"""The reader `translator`: its adapter, the file of the adapter, and what it reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from hardprompt import FrozenLM, HardPrompt, SoftPrompt, load_task
from hardprompt.errors import RequestError
from hardprompt.readings import ReadingProblem, run_reader, translator
from hardprompt.readings.translator import Adapter, load_adapter, save_adapter, translation_loss
from tests.helpers.tiny import tiny_lm, tiny_task

INSTRUCTIONS = {"plural": "give the plural of the word", "category": "what kind of thing is this"}


def planted(lm: FrozenLM, text: str, generator: torch.Generator) -> Tensor:
    """The embeddings of a text with noise as large as half of their standard deviation."""
    vectors = lm.vocab_embeds[lm.encode(text)]
    return vectors + 0.5 * vectors.std() * torch.randn(vectors.shape, generator=generator)


@pytest.fixture(scope="module")
def file(microworld: FrozenLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that was trained on two instructions."""
    adapter = Adapter.untrained(microworld, hidden=64)
    updater, generator = torch.optim.Adam(adapter.parameters(), lr=3e-3), torch.Generator().manual_seed(0)
    texts = list(INSTRUCTIONS.values()) * 3
    for _ in range(50):
        vectors = [planted(microworld, text, generator) for text in texts]
        loss = translation_loss(adapter, microworld, vectors, [microworld.encode(text) for text in texts])
        updater.zero_grad()
        loss.backward()
        updater.step()
    file = tmp_path_factory.mktemp("adapter") / "translator.safetensors"
    save_adapter(adapter, microworld, file)
    return file


def texts_of(problem: ReadingProblem) -> list[HardPrompt]:
    """The texts that were scored, in order."""
    return [candidate.prompt for candidate in problem.candidates if isinstance(candidate.prompt, HardPrompt)]


def problem_of(lm: FrozenLM, name: str) -> ReadingProblem:
    task = load_task(name)
    vectors = planted(lm, INSTRUCTIONS[name], torch.Generator().manual_seed(7))
    return ReadingProblem(SoftPrompt(vectors), task, lm, [example.input for example in task.dev[:8]])


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_a_trained_adapter_reads_its_instructions_back(name: str, microworld: FrozenLM, file: Path) -> None:
    problem = problem_of(microworld, name)
    run_reader(translator, problem, {"file": str(file), "samples": 4})
    assert texts_of(problem)[0].text == INSTRUCTIONS[name]
    assert problem.counter.forward > 0


def test_an_untrained_adapter_does_not(microworld: FrozenLM, tmp_path: Path) -> None:
    save_adapter(Adapter.untrained(microworld), microworld, tmp_path / "untrained")
    problem = problem_of(microworld, "plural")
    run_reader(translator, problem, {"file": str(tmp_path / "untrained"), "samples": 4})
    assert INSTRUCTIONS["plural"] not in [text.text for text in texts_of(problem)]


def test_reading_is_reproducible_and_obeys_the_length_and_the_vocabulary(microworld: FrozenLM, file: Path) -> None:
    def read() -> list[tuple[int, ...]]:
        task = load_task("plural")
        vocabulary = torch.tensor(microworld.encode("give me a word of the plural, please"))
        vectors = torch.randn(3, 160, generator=torch.Generator().manual_seed(1))
        problem = ReadingProblem(SoftPrompt(vectors), task, microworld, ["cow"], max_length=4, vocabulary=vocabulary, seed=5)
        run_reader(translator, problem, {"file": str(file)})
        found = [text.ids for text in texts_of(problem)]
        assert all(set(ids) <= set(vocabulary.tolist()) and 1 <= len(ids) <= 4 for ids in found)
        return found

    first = read()
    assert len(set(first)) == len(first) > 3
    assert read() == first


def test_the_loss_of_a_batch_is_the_cross_entropy_of_each_token(microworld: FrozenLM) -> None:
    adapter = Adapter.untrained(microworld, hidden=8)
    torch.nn.init.normal_(adapter.outer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    vocab = microworld.vocab_embeds
    prompts, texts = [vocab[[20, 21]], vocab[[22, 23, 24, 25]]], microworld.encode_many(["give the plural", "cow"])
    total = 0.0
    for vectors, ids in zip(prompts, texts, strict=True):
        read = torch.cat([vocab[microworld.prefix_ids], adapter(vectors), vocab[ids]])
        log_probabilities = microworld.model(inputs_embeds=read[None]).logits[0].log_softmax(-1)
        wanted = [*ids, microworld.eos_id]
        total -= float(log_probabilities.detach()[-len(wanted) :].gather(1, torch.tensor(wanted)[:, None]).sum())
    loss = translation_loss(adapter, microworld, prompts, texts).item()
    assert loss == pytest.approx(total / sum(len(ids) + 1 for ids in texts), abs=1e-4)


def test_the_file_keeps_the_adapter(microworld: FrozenLM, tmp_path: Path) -> None:
    adapter = Adapter.untrained(microworld, hidden=8, starts=3, seed=4)
    torch.nn.init.normal_(adapter.outer.weight, generator=torch.Generator().manual_seed(0))
    save_adapter(adapter, microworld, tmp_path / "one")
    vectors = microworld.vocab_embeds[:5]
    assert torch.equal(load_adapter(tmp_path / "one", microworld)(vectors), adapter(vectors))


def test_files_that_hold_no_adapter_for_the_model_are_refused(microworld: FrozenLM, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    save_adapter(Adapter.untrained(microworld, hidden=8), microworld, good)

    def refused(content: bytes, message: str) -> None:
        bad.write_bytes(content)
        with pytest.raises(RequestError, match=message) as caught:
            load_adapter(bad, microworld)
        assert "\n" not in str(caught.value)

    tensors, made_for = load(good.read_bytes()), {"translator_for": "microworld"}
    refused(b"", "cannot be read")
    refused(good.read_bytes()[:-10], "cannot be read")
    refused(save({"embeds": torch.zeros(3, 160)}), "holds no adapter")
    refused(save(tensors, {"translator_for": "smollm2"}), "an adapter for smollm2")
    refused(save({name: tensors[name] for name in ("inner.weight", "starts")}, made_for), "lacks a part")
    refused(save(tensors | {"mean": torch.full((160,), torch.nan)}, made_for), "not finite")
    torch.save(tensors, bad)
    refused(bad.read_bytes(), "cannot be read")
    save_adapter(Adapter.untrained(tiny_lm("gpt2"), hidden=8), tiny_lm("gpt2"), bad)
    refused(bad.read_bytes(), "and microworld is 160 wide")
    with pytest.raises(RequestError, match="there is no file"):
        load_adapter(tmp_path / "missing", microworld)


def test_the_reader_needs_a_file_vectors_and_a_causal_model(microworld: FrozenLM, file: Path) -> None:
    task, config = load_task("plural"), {"file": str(file)}
    with pytest.raises(RequestError, match="needs the option file"):
        run_reader(translator, problem_of(microworld, "plural"))
    with pytest.raises(RequestError, match="has no vectors"):
        run_reader(translator, ReadingProblem(HardPrompt.from_text(microworld, "plural"), task, microworld, ["cow"]), config)
    masked = tiny_lm("bert")
    target = SoftPrompt(masked.vocab_embeds[:2])
    with pytest.raises(RequestError, match="predicts no next token"):
        run_reader(translator, ReadingProblem(target, tiny_task(), masked, [tiny_task().dev[0].input]), config)
