"""A model with a prompt in place reads what the scorer reads, and generates."""

from typing import Any

import pytest
import torch

from hardprompt import FrozenLM, HardPrompt, Scorer, SoftPrompt, Task, Template, load_task, wrap
from hardprompt.errors import RequestError, TaskError
from hardprompt.lm.chat import template_of
from hardprompt.prompt import as_prompt
from tests.helpers.chat import chat_lm, chat_task
from tests.helpers.tiny import CAUSAL, tiny_lm, tiny_task

LAYOUTS = (
    "{prompt} {input}",
    "{prompt} : {input} is",
    "a task : {prompt} {input} is",
    "{input} {prompt} :",
    "{input}{prompt}:",
    "Q: {input}\n{prompt}\nA:",
)


def same_logits(lm: FrozenLM, task: Task, prompt: Any) -> None:
    own = as_prompt(lm, prompt, template_of(lm, task))
    mine = Scorer(lm, task, task.test).next_token_logits(own.embeds if isinstance(own, SoftPrompt) else own.ids)
    prompted = wrap(lm, prompt, task)
    asked = prompted.tokenize([example.input for example in task.test])
    torch.testing.assert_close(prompted(**asked).logits[:, -1], mine, rtol=1e-4, atol=1e-4)
    ids, mask = (asked[name].flip(1) for name in ("input_ids", "attention_mask"))
    turned = torch.stack([torch.cat([row[kept == 1].flip(0), row[kept == 0]]) for row, kept in zip(ids, mask, strict=True)])
    torch.testing.assert_close(prompted(turned, mask).logits[:, -1], mine, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", CAUSAL)
def test_the_logits_are_those_of_the_scorer(family: str, layout: str) -> None:
    """Soft, hard and empty prompts, with inputs of several lengths padded on either side."""
    lm = tiny_lm(family)
    soft = SoftPrompt(torch.randn(3, lm.vocab_embeds.shape[1], generator=torch.Generator().manual_seed(7)))
    for prompt in (soft, "good or bad", HardPrompt((), "")):
        same_logits(lm, tiny_task(template=Template(layout)), prompt)


@pytest.mark.parametrize("turn", ["user", "system"])
@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_the_logits_of_a_chat_are_those_of_the_scorer(name: str, turn: str) -> None:
    lm, task = chat_lm(name), chat_task(prompt_turn=turn)
    soft = SoftPrompt(torch.randn(3, lm.vocab_embeds.shape[1], generator=torch.Generator().manual_seed(7)))
    for prompt in (soft, "good or bad"):
        same_logits(lm, task, prompt)
    with pytest.raises(RequestError, match="the empty prompt has no turn in a chat"):
        wrap(lm, "", task)


def test_a_generated_answer_is_that_of_the_scorer(microworld: FrozenLM) -> None:
    """Of prompts of which one solves the task, for a batch padded on the left."""
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.test[:12])
    for text in ("give the plural", "give the word"):
        prompted = wrap(microworld, text, task)
        made = prompted.generate(**prompted.tokenize([e.input for e in scorer.examples]), max_new_tokens=8, do_sample=False)
        answers = [microworld.decode(ids).strip().split("\n")[0].strip() for ids in made.tolist()]
        right = [answer == example.answer for answer, example in zip(answers, scorer.examples, strict=True)]
        assert right == scorer.score_text(text).correct[0].tolist()


def test_a_model_of_transformers_is_wrapped_with_the_prompt_first() -> None:
    lm = tiny_lm("gpt2")
    prompted = wrap((lm.model, lm.tokenizer), "good or bad")
    ids = torch.tensor([lm.encode_after([" the cat"])[0]])
    whole = torch.tensor([[*lm.prefix_ids, *lm.encode("good or bad"), *ids[0].tolist()]])
    torch.testing.assert_close(prompted(ids).logits, lm.model(input_ids=whole).logits)
    assert prompted.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, 2), "only new tokens"


@pytest.mark.parametrize(
    ("family", "prompt", "says"),
    [
        ("roberta", "good", "only a causal model can be wrapped, and tiny-roberta is not one .masked."),
        ("gpt2", SoftPrompt(torch.zeros(2, 7)), r"shape \(2, 7\) does not fit tiny-gpt2"),
        ("gpt2", [10**6], "token id 1000000 is not in the vocabulary"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(family: str, prompt: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        wrap(tiny_lm(family), prompt)


def test_bad_ids_are_refused() -> None:
    lm = tiny_lm("gpt2")
    with pytest.raises(RequestError, match=r"input ids have the shape \(3,\), expected \(B, T\)"):
        wrap(lm, "good")(torch.tensor([1, 2, 3]))
    with pytest.raises(RequestError, match="tokens with the prompt exceed the context of tiny-gpt2, 64"):
        wrap(lm, "good")(torch.ones(1, 64, dtype=torch.long))
    with pytest.raises(RequestError, match="model must be a model and its tokenizer"):
        wrap((lm.model,), "good")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"has \{prompt\} 0 times"):
        wrap(lm, "good", Template("{input}"))
