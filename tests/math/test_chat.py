"""Chats: rows are what `apply_chat_template` gives, for templates of many models."""

import copy
from typing import Any

import pytest
import torch

from hardprompt import Example, Scorer, Template
from hardprompt.adapter import virtual_tokens
from hardprompt.errors import RequestError, TaskError
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.chat import ChatTemplate, answer_ends, template_of
from hardprompt.prompt import HardPrompt, as_prompt
from hardprompt.scoring.answers import answer_tokens, label_ids
from hardprompt.scoring.rows import RowBuilder
from hardprompt.scoring.targets import TargetJudge
from hardprompt.scoring.truncation import fit_to_context
from tests.helpers.chat import END, TEMPLATES, WITHOUT_SYSTEM, WORDS, chat_lm, chat_task
from tests.helpers.tiny import tiny_lm, tiny_task

QUESTION = "is this film good or bad?"
DATE = "26 Jul 2024"

LAYOUTS = {
    "first": "{prompt}\n{input}",
    "middle": "say: {prompt}\nfood: {input}\nthe answer is",
    "last": "food: {input}\n{prompt}",
    "after a blank": "{input} {prompt} now",
}
PLACES = [
    *((name, "user", layout) for name in TEMPLATES for layout in LAYOUTS),
    *((name, "system", "last") for name in TEMPLATES if name not in WITHOUT_SYSTEM),
]


def messages(turn: str, layout: str, input: str, prompt: str) -> list[dict[str, str]]:
    """The conversation that a person would write."""
    text = LAYOUTS[layout]
    if turn == "user":
        return [{"role": "user", "content": text.replace("{input}", input).replace("{prompt}", prompt)}]
    return [{"role": "system", "content": prompt}, {"role": "user", "content": f"food: {input}"}]


def applied(lm: FrozenLM, conversation: list[dict[str, str]], answered: bool = False) -> list[int]:
    """The ids that the tokenizer gives; the date of the day is replaced where the template takes it from a function."""
    source = lm.tokenizer.chat_template.replace("strftime_now('%d %B %Y')", "'26 July 2024'")
    return lm.tokenizer.apply_chat_template(
        conversation, chat_template=source, add_generation_prompt=not answered, return_dict=False, date_string=DATE
    )


def thought(lm: FrozenLM, name: str) -> list[int]:
    """What stands between the generation prompt and an answer."""
    if name == "zephyr":
        return [lm.tokenizer.convert_tokens_to_ids("<0x0A>")]
    return lm.encode("<think>\n\n</think>\n\n") if name == "thinking" else []


@pytest.mark.parametrize(("name", "turn", "layout"), PLACES)
def test_rows_are_what_the_chat_template_gives(name: str, turn: Any, layout: str) -> None:
    lm, task = chat_lm(name), chat_task(text=LAYOUTS[layout], prompt_turn=turn)
    builder = RowBuilder(lm, task, task.train)
    prompt = as_prompt(lm, QUESTION, builder.template)
    assert isinstance(prompt, HardPrompt) and prompt.ids
    for number, row in enumerate(builder.build_text(QUESTION)):
        expected = applied(lm, messages(turn, layout, task.train[number].input, QUESTION)) + thought(lm, name)
        assert row.ids == expected
        assert builder.build(0, number, list(prompt.ids)).ids == expected
        assert row.predict_from == len(expected) - 1
    assert HardPrompt.from_text(lm, QUESTION, builder.template) == prompt


@pytest.mark.parametrize(("name", "turn", "layout"), PLACES)
def test_scores_are_the_same_by_ids_by_text_by_vectors_and_without_shared_prefixes(
    name: str, turn: Any, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, task = copy.copy(chat_lm(name)), chat_task(text=LAYOUTS[layout], prompt_turn=turn)
    monkeypatch.setattr("hardprompt.scoring.passes.PASS_TOKENS", 0)
    scorer = Scorer(lm, task, task.train)
    ids = as_prompt(lm, QUESTION, scorer.template).ids  # type: ignore[union-attr]
    assert lm.shares_prefixes and scorer.survives(ids, QUESTION)
    found = scorer.score_ids([ids, ids[:2]])
    assert torch.allclose(found.loss[:1], scorer.score_text(QUESTION).loss, atol=1e-4)
    assert torch.allclose(found.loss[:1], scorer.score_embeds(lm.embed(torch.tensor(ids))).loss, atol=1e-4)
    lm.shares_prefixes = False
    assert torch.allclose(found.loss, Scorer(lm, task, task.train).score_ids([ids, ids[:2]]).loss, atol=1e-4)


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_stands_where_the_chat_template_puts_it(name: str) -> None:
    lm, task = chat_lm(name), chat_task()
    [row, *_] = RowBuilder(lm, task, task.train).build_text(QUESTION)
    user = {"role": "user", "content": f"{task.train[0].input}\n{QUESTION}"}
    for word, token in zip(WORDS.values(), label_ids(lm, task).tolist(), strict=True):
        whole = applied(lm, [user, {"role": "assistant", "content": word}], answered=True)
        assert whole[: len(row.ids) + 1] == [*row.ids, token]
        assert lm.decode([token]).strip() == word


@pytest.mark.parametrize("name", END)
def test_a_generated_answer_ends_with_the_token_of_the_chat_template(name: str) -> None:
    lm, task = chat_lm(name), chat_task("generation")
    row = RowBuilder(lm, task, task.train).build_text(QUESTION)[1]
    user = {"role": "user", "content": f"{task.train[1].input}\n{QUESTION}"}
    whole = applied(lm, [user, {"role": "assistant", "content": task.train[1].answer}], answered=True)
    end = lm.tokenizer.convert_tokens_to_ids(END[name])
    assert whole[: len(row.ids) + len(row.answer) + 1] == [*row.ids, *row.answer, end]
    logits = lm.plain(torch.tensor([[*row.ids, *row.answer]])).logits[0, row.predict_from :].log_softmax(-1)
    ends = sorted({*lm.end_ids.tolist(), end})
    expected = -logits[range(len(row.answer)), row.answer].sum() - logits[-1, ends].logsumexp(-1)
    assert Scorer(lm, task, task.train).score_text(QUESTION).loss[0, 1].item() == pytest.approx(expected.item(), abs=1e-3)


def test_the_end_of_a_turn_ends_greedy_decoding() -> None:
    lm = copy.deepcopy(chat_lm("llama3"))
    numbers = [Example("the cat", "1")]
    task = chat_task("generation", match="number", max_answer_tokens=6, train=numbers, dev=numbers, test=numbers)
    scorer, end = Scorer(lm, task, numbers), lm.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    row = scorer._rows.build_text(QUESTION)[0]
    assert isinstance(scorer._judge, TargetJudge)
    decoder = scorer._judge._decoder
    assert decoder.texts([row], None) != [""]
    with torch.no_grad():
        state = lm.hidden(lm.embed(torch.tensor([row.ids])))[0, -1]
        lm.model.lm_head.weight[end] = 100 * state
    assert decoder.texts([row], None) == [""]


def test_lines_end_an_answer_and_not_a_reasoning() -> None:
    lm = chat_lm("llama3")
    end, line = lm.tokenizer.convert_tokens_to_ids(["<|eot_id|>", "Ċ"])
    numbers = [Example("the cat", "1")]
    reasoning = chat_task("generation", match="number", train=numbers, dev=numbers, test=numbers)
    assert {end, line, lm.eos_id} <= set(answer_ends(lm, chat_task("generation")).tolist())
    assert answer_ends(lm, reasoning).tolist() == sorted([end, lm.eos_id])
    assert answer_ends(lm, tiny_task("generation")).tolist() == lm.end_ids.tolist()


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_empty_prompt(name: str) -> None:
    """In the user's turn the template remains; without a system's turn, the chat template puts its default there."""
    lm = chat_lm(name)
    turns = ("user",) if name in WITHOUT_SYSTEM else ("user", "system")
    for turn in turns:
        task = chat_task(text="{input} {prompt}", prompt_turn=turn)
        scorer = Scorer(lm, task, task.train)
        row = scorer._rows.build(3, 0, [])
        assert (
            row.ids == applied(lm, [{"role": "user", "content": task.train[0].input}]) + thought(lm, name) and row.prompt == 3
        )
        assert torch.allclose(scorer.score_ids([()]).loss, scorer.score_text("").loss) and scorer.survives((), "")


def test_found_prompts_keep_their_blank_where_the_chat_template_does() -> None:
    for name, layout, survives in (
        ("chatml", "{prompt}\n{input}", True),
        ("chatml", "{input}\n{prompt}", True),
        ("llama3", "{input}\n{prompt}", True),
        ("llama3", "{prompt}\n{input}", False),  # it trims contents
        ("mistral", "{prompt}\n{input}", True),
        ("phi3", "{prompt}\n{input}", False),  # its marker takes the blanks behind it
        ("phi3", "{input}\n{prompt}", True),
    ):
        lm, task = chat_lm(name), chat_task(text=layout)
        scorer = Scorer(lm, task, task.train)
        ids = lm.encode_after([" good or bad"])[0]
        prompt = HardPrompt.from_ids(lm, ids, scorer.template)
        assert prompt.text.strip() == "good or bad"
        assert scorer.survives(ids, prompt.text) is survives, (name, layout)


def test_the_system_turn_leaves_no_gap() -> None:
    lm = chat_lm("chatml")
    for text, user in (
        ("{input} {prompt}:", "x:"),
        ("{prompt}\nfood: {input}", "food: x"),
        ("food: {input}\n{prompt}\nanswer:", "food: x\nanswer:"),
        ("{input}\n\n{prompt}", "x"),
    ):
        template = template_of(lm, chat_task(text=text, prompt_turn="system"))
        system, answer = "<|im_start|>system\ngood<|im_end|>\n", "<|im_start|>assistant\n"
        assert template.fill("x", "good") == f"{system}<|im_start|>user\n{user}<|im_end|>\n{answer}"


def test_dates_are_fixed() -> None:
    for name, date in (("dated", "now 26 July 2024<"), ("llama3.2", "Today: 26 Jul 2024\n")):
        assert date in template_of(chat_lm(name), chat_task()).fill("x", "y")


def test_markers_of_turns_are_refused() -> None:
    for name, marker in (("chatml", "<|im_end|>"), ("zephyr", "<|assistant|>"), ("mistral", "[/INST]"), ("phi3", "<|user|>")):
        lm = chat_lm(name)
        hostile = [Example(f"the cat{marker} sat", "positive"), Example("a dog", "negative")]
        with pytest.raises(TaskError, match="its input contains"):
            Scorer(lm, chat_task(dev=hostile), hostile)
        template = template_of(lm, chat_task())
        text = f"good{marker}"
        for make in (as_prompt, HardPrompt.from_text):
            with pytest.raises(RequestError) as refused:
                make(lm, text, template=template)
            assert str(refused.value) == (
                f"the prompt {text!r} contains {marker!r}, which marks the turns of a chat with {lm.name}; leave it out"
            )
    assert Scorer(chat_lm("chatml"), chat_task(), [Example("a [/INST] b", "positive")])


def test_no_marker_is_in_a_vocabulary() -> None:
    lm = chat_lm("chatml")
    start = lm.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert start not in allowed_vocabulary(lm, "all", chat_task()).tolist()


def with_template(template: str | None) -> FrozenLM:
    lm = copy.copy(chat_lm("chatml"))
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    lm.tokenizer.chat_template = template
    return lm


@pytest.mark.parametrize(
    ("lm", "turn", "expected"),
    [
        (
            lambda: with_template(None),
            "user",
            "tiny-bytes has no chat template; use an instruction-tuned model, or leave out --chat",
        ),
        (lambda: tiny_lm("bert"), "user", "a chat needs a causal model, and tiny-bert is not one (masked); leave out --chat"),
        (
            lambda: tiny_lm("t5"),
            "user",
            "a chat needs a causal model, and tiny-t5 is not one (encoder-decoder); leave out --chat",
        ),
        (
            lambda: chat_lm("gemma"),
            "system",
            "the chat template of tiny-marked refuses a system's turn (System role not supported); use --prompt-turn user",
        ),
        (
            lambda: with_template("{{ messages[-1]['content'] }}!"),
            "system",
            "the chat template of tiny-bytes renders the system's turn 0 times, expected once; use --prompt-turn user",
        ),
        (
            lambda: with_template("{{ missing['x'] }}"),
            "user",
            "the chat template of tiny-bytes refuses the user's turn ('missing' is undefined); leave out --chat",
        ),
        (
            lambda: with_template(
                "{{ messages[0]['content'] }}{{ '<think>' if add_generation_prompt else messages[-1]['content'] }}"
            ),
            "user",
            "the chat template of tiny-bytes asks for an answer in another way than it renders one, so that no answer can be "
            "scored; leave out --chat, or use another model",
        ),
    ],
)
def test_models_that_cannot_chat_refuse_in_one_line(lm: Any, turn: Any, expected: str) -> None:
    task = chat_task(prompt_turn=turn)
    with pytest.raises(TaskError) as refused:
        Scorer(lm(), task, task.dev)
    assert str(refused.value) == expected


def test_a_label_word_of_several_tokens() -> None:
    task = chat_task(label_words={"positive": "terrible", "negative": "b"})
    with pytest.raises(TaskError, match=r"label word 'terrible' is \d+ tokens of tiny-bytes, expected one"):
        label_ids(chat_lm("chatml"), task)
    blank = chat_task(label_words={"positive": " a", "negative": "b"})
    with pytest.raises(TaskError, match="the chat template supplies the blank: write 'a'"):
        label_ids(chat_lm("mistral"), blank)


def test_inputs_are_cut_with_the_tokens_of_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = copy.copy(chat_lm("llama3.2"))
    long = [Example("the cat sat on a mat " * 40, "positive"), Example("a dog", "negative")]
    task = chat_task(train=long, dev=long, test=long, truncate_to="start")
    cut = fit_to_context(task, lm, 5)
    assert cut is not task and cut.inputs_cut == {"train": 0, "dev": 0, "test": 0}
    for lm.max_length in (130, 131, 132):
        cut = fit_to_context(task, lm, 5)
        assert cut.inputs_cut["test"] == 1
        [row, _] = RowBuilder(lm, cut, cut.test).build_text("good")
        assert lm.max_length - 45 < len(row.ids) <= lm.max_length - 30


def test_a_chat_changes_the_digest_and_is_checked() -> None:
    task = tiny_task()
    digests = {task.digest, chat_task().digest, chat_task(prompt_turn="system").digest}
    assert len(digests) == 3
    with pytest.raises(TaskError, match="prompt_turn 'system' is for a chat"):
        tiny_task(prompt_turn="system")
    with pytest.raises(TaskError, match="prompt_turn 'x' is none of user, system"):
        chat_task(prompt_turn="x")


def test_an_adapter_holds_the_start_of_the_chat() -> None:
    lm = chat_lm("chatml-default")
    task = chat_task(text="{input}\n{prompt}", prompt_turn="system")
    builder = RowBuilder(lm, task, task.train)
    prompt = as_prompt(lm, QUESTION, builder.template)
    vectors, before = virtual_tokens(prompt, lm, builder.template)
    row = builder.build(0, 0, list(prompt.ids))  # type: ignore[union-attr]
    assert torch.equal(vectors, lm.vocab_embeds[row.ids[: before + len(prompt.ids)]])  # type: ignore[union-attr]
    with pytest.raises(RequestError, match="the prompt is after the input"):
        virtual_tokens(prompt, lm, template_of(lm, chat_task()))


def test_answers_in_context_and_other_tasks_are_unchanged() -> None:
    lm = chat_lm("mistral")
    assert answer_tokens(lm, chat_task(), ["a"]) == lm.encode_after([" a"])
    assert not isinstance(template_of(lm, tiny_task()), ChatTemplate)
    assert template_of(lm, tiny_task()) == Template("{input} {prompt} :")


@pytest.mark.parametrize(("turn", "layout"), [("user", "last"), ("user", "first"), ("system", "last")])
@torch.no_grad()
def test_the_surprisal_in_place_is_that_inside_the_turn(turn: Any, layout: str) -> None:
    """It equals that of a plain pass over the conversation, whose prompt begins behind the text of its turn."""
    lm, task = chat_lm("chatml"), chat_task(text=LAYOUTS[layout], prompt_turn=turn)
    scorer = Scorer(lm, task, task.train)
    ids = as_prompt(lm, QUESTION, scorer.template).ids  # type: ignore[union-attr]
    found = scorer.prompt_surprisals(ids)
    for example, nats in zip(task.train, found, strict=True):
        whole = applied(lm, messages(turn, layout, example.input, QUESTION))
        start = next(at for at in range(len(whole)) if whole[at : at + len(ids)] == list(ids))
        log_probs = lm.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        plain = [-float(log_probs[at - 1, whole[at]]) for at in range(start, start + len(ids))]
        assert torch.allclose(nats, torch.tensor(plain), atol=1e-4)
