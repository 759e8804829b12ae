"""The real model smollm2, where it is downloaded: one pass is exact, it reads English, and a soft prompt learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from hardprompt import Example, HardPrompt, Scorer, Task, Template, load_lm, load_task
from hardprompt.lm import FrozenLM, log_perplexity
from hardprompt.metrics import log_perplexity_in_place
from hardprompt.prompt import as_prompt

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm2() -> FrozenLM:
    return load_lm("smollm2", device="cpu")


def test_it_is_the_model_of_the_package(smollm2: FrozenLM) -> None:
    config = smollm2.model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_key_value_heads) == (30, 576, 3)
    assert (smollm2.max_length, len(smollm2.token_ids), smollm2.output_map) == (8192, 49152, None)
    assert smollm2.origin["quantization"] == "Q4_1, dequantized to float16" and smollm2.name == "smollm2"


def test_faster_ways_give_the_numbers_of_the_plain_pass(smollm2: FrozenLM) -> None:
    assert smollm2.shares_prefixes and smollm2.last_layer and smollm2.rules.padding
    ids = torch.tensor([smollm2.prefix_ids + smollm2.encode("The three colours of the flag are red, white and blue.")])
    with torch.no_grad():
        plain = smollm2.plain(ids).logits
        prefix = smollm2.prefill(smollm2.embed(ids[:, :5]))
        continued = smollm2.output_logits(smollm2.hidden(smollm2.embed(ids[:, 5:]), prefix))
    assert torch.allclose(continued, plain[:, 5:], atol=1e-3)


def test_chat_template_is_read_as_its_special_tokens(smollm2: FrozenLM) -> None:
    messages = [{"role": "user", "content": "Name a colour."}]
    ids = smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids[0] == smollm2.bos_id == 1 and ids.count(1) == 3 and ids.count(2) == 2
    assert smollm2.tokenizer.convert_ids_to_tokens(smollm2.prefix_ids) == ["<|endoftext|>"]
    assert "<|endoftext|>" in smollm2.special_tokens


@pytest.mark.parametrize(
    "sentence", ["The capital of France is Paris.", "What is the capital of France?", "The sun rises in the east."]
)
def test_sentences_are_probable(smollm2: FrozenLM, sentence: str) -> None:
    backwards = " ".join(sentence.split()[::-1])
    nats, nats_backwards = (log_perplexity(smollm2, smollm2.encode(text)) for text in (sentence, backwards))
    assert nats < 5 and nats + 1 < nats_backwards


def test_a_continuation_is_more_probable_behind_its_input(smollm2: FrozenLM) -> None:
    """Controls: a sentence about something else is less probable in place, and so are shuffled words and random tokens."""
    reviews = "An utterly charming film from start to finish.", "A dull plot, flat acting and no end in sight."
    examples = [Example(review, "x") for review in reviews]
    task = Task(name="t", template=Template("Review: {input}\n{prompt}"), train=examples, dev=examples, test=examples)
    scorer = Scorer(smollm2, task, examples)
    texts = " Overall, the film is", " The capital of France is Paris", " film is Overall the,"
    random = torch.randint(1000, 40000, (5,), generator=torch.Generator().manual_seed(0)).tolist()
    prompts = [*map(smollm2.encode, texts), random]
    alone = [log_perplexity(smollm2, ids) for ids in prompts]
    placed = [log_perplexity_in_place(scorer, ids) or 0.0 for ids in prompts]
    assert placed[0] + 0.3 < alone[0] and placed[1] > alone[1] + 0.3
    assert placed[0] + 0.5 < placed[1] < placed[2] < placed[3] and alone[1] < alone[0]


def test_a_step_of_a_soft_prompt_lowers_the_loss(smollm2: FrozenLM) -> None:
    task = load_task("category")
    scorer = Scorer(smollm2, task, task.train[:4])
    embeds = smollm2.embed(torch.tensor(smollm2.encode(" the category"))).clone().requires_grad_()
    before = scorer.score_embeds(embeds).mean_loss.mean()
    [gradient] = torch.autograd.grad(before, embeds)
    after = scorer.score_embeds(embeds.detach() - 0.05 * gradient / gradient.norm()).mean_loss.mean()
    assert after < before


REVIEWS = (("a gorgeous, witty, seductive movie.", "positive"), ("it is dull and far too long.", "negative"))
CHAT: dict[str, Any] = {
    "template": Template("{prompt}\nReview: {input}"),
    "label_words": {"negative": "negative", "positive": "positive"},
}


@pytest.mark.parametrize("turn", ["user", "system"])
def test_a_chat_is_what_its_template_gives(smollm2: FrozenLM, turn: Literal["user", "system"]) -> None:
    examples = [Example(*each) for each in REVIEWS]
    task = Task(name="reviews", train=examples, dev=examples, test=examples, chat=True, prompt_turn=turn, **CHAT)
    question = "Is this review positive or negative?"
    scorer = Scorer(smollm2, task, examples)
    prompt = as_prompt(smollm2, question, scorer.template)
    assert isinstance(prompt, HardPrompt) and scorer.survives(prompt.ids, question)
    for row, (input, _) in zip(scorer._rows.build_text(question), REVIEWS, strict=True):
        user = f"{question}\nReview: {input}" if turn == "user" else f"Review: {input}"
        system = [{"role": "system", "content": question}] if turn == "system" else []
        messages = [*system, {"role": "user", "content": user}]
        assert row.ids == smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert torch.allclose(scorer.score_ids([prompt.ids]).loss, scorer.score_text(question).loss, atol=1e-3)
    assert scorer.template.fill("x", "").startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert smollm2.decode(scorer.label_ids.tolist()) == "negativepositive"


@pytest.mark.slow
def test_a_chat_about_reviews_is_better_than_chance(smollm2: FrozenLM, shared: Path) -> None:
    """On 60 of SST-2, 0.7 is three standard errors above chance."""
    task = load_task("sst2", "13", shared / "data" / "fewshot" / "sst-2")
    examples = [*task.train, *task.dev][:60]
    chat = replace(task, chat=True, prompt_turn="system", **CHAT)
    assert float(Scorer(smollm2, chat, examples).score_text("Did the reviewer like the movie?").accuracy) >= 0.7
