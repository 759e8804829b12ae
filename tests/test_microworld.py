"""The embedded model: an ordinary folder that loads fast, a tokenizer that takes any text, and tasks that need their prompt."""

import json

import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hardprompt import load_task
from hardprompt.catalogue import all_tasks
from hardprompt.lm import EMBEDDED, FrozenLM, allowed_vocabulary, log_perplexity
from hardprompt.optimizers import Problem
from hardprompt.scoring import Scorer

FOLDER = EMBEDDED["microworld"]
EMBEDDED_TASKS = [name for name in all_tasks() if load_task(name).embedded]


def test_it_is_an_ordinary_hugging_face_folder_in_half_precision() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert model.dtype == torch.float16
    assert AutoTokenizer.from_pretrained(FOLDER).bos_token_id == model.config.bos_token_id
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 5_000_000
    assert json.loads((FOLDER / "config.json").read_text())["model_type"] == "gpt2"


def test_any_text_survives_the_tokenizer(microworld: FrozenLM) -> None:
    for text in ("give the plural: cat =", "two\nlines", "naïve café", "日本語", "🙂", "a\tb", "A B. (c)"):
        assert microworld.decode(microworld.encode(text)) == text


def test_the_fast_tokenizer_is_the_sentencepiece_model(microworld: FrozenLM) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "tokenizer.model"))
    texts = [e.input for name in EMBEDDED_TASKS for e in load_task(name).test[:20]] + ["give the plural: cat =", "Über naïve"]
    for text in texts:
        assert microworld.encode(text) == pieces.encode(text), text


def test_its_words_are_single_pieces_that_survive(microworld: FrozenLM) -> None:
    allowed = allowed_vocabulary(microworld)
    assert len(allowed) > 1000
    problem = Problem(load_task("plural"), microworld, vocabulary=allowed)
    for ids in problem.random_ids(20).tolist():
        assert problem.dev.survives(ids, microworld.decode(ids))


@pytest.mark.parametrize("name", EMBEDDED_TASKS)
def test_a_plain_instruction_works_and_nothing_else_does(microworld: FrozenLM, name: str) -> None:
    """Bounds of the calibration: empty, the best reference prompt by dev, and 32 random prompts in the mean."""
    task = load_task(name)
    problem = Problem(task, microworld)
    chance = 0.65 if len(task.labels) == 2 else 0.5
    test = Scorer(microworld, task, task.test)
    references = [microworld.encode_after([" " + text])[0] for text in task.reference_prompts]
    on_dev = problem.dev.score_ids(references).correct.float().mean(-1)
    on_test = test.score_ids([[], references[int(on_dev.argmax())]]).correct.float().mean(-1)
    assert on_test[0] <= chance
    assert on_test[1] >= 0.95
    random = test.score_ids(problem.random_ids(32).tolist()).correct.float().mean()
    assert random <= (0.65 if len(task.labels) == 2 else 0.45)


def test_perplexity_grades_readability(microworld: FrozenLM) -> None:
    """Instructions read better than the same words shuffled, and those better than random words, by a nat each in the mean."""
    generator = torch.Generator().manual_seed(0)
    texts = [text for name in EMBEDDED_TASKS for text in load_task(name).reference_prompts]
    plain = [microworld.encode(text) for text in texts]
    shuffled = [[ids[i] for i in torch.randperm(len(ids), generator=generator)] for ids in plain]
    random = Problem(load_task("plural"), microworld).random_ids(len(plain)).tolist()
    means = [sum(log_perplexity(microworld, ids) for ids in group) / len(group) for group in (plain, shuffled, random)]
    assert means[0] + 1 < means[1] and means[1] + 1 < means[2]
