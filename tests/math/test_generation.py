"""Long answers are decoded as `transformers` decodes them, and the number at their end is compared."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hardprompt import Scorer, load_lm, load_task
from hardprompt.data.task import Example, Task, Template
from hardprompt.errors import DataError, TaskError
from hardprompt.lm import FrozenLM
from hardprompt.lm.encoder_decoder import EncoderDecoderLM
from hardprompt.scoring.generation import GreedyDecoder, has_number, number_in
from hardprompt.scoring.truncation import fit_to_context
from tests.helpers.tiny import CAUSAL, ENCODER_DECODER, tiny_lm

QUESTIONS = ["the cat sat", "good food is great but bad food is terrible", "a", "it was a lovely film with good actors"]


def sums(most: int = 12, **fields: object) -> Task:
    examples = [Example(question, str(i)) for i, question in enumerate(QUESTIONS)]
    parts = {"train": examples, "dev": examples, "test": examples}
    template = Template("{prompt}\nfood: {input}\nsay:")
    return Task(name="sums", template=template, match="number", max_answer_tokens=most, **parts, **fields)  # type: ignore[arg-type]


def decoder(lm: FrozenLM, task: Task, ends: Callable[[str], bool] = lambda text: False) -> tuple[Scorer, GreedyDecoder]:
    scorer = Scorer(lm, task, task.test)
    return scorer, GreedyDecoder(lm, scorer._passes, task.max_answer_tokens, lm.end_ids, ends)


def generated(lm: FrozenLM, ids: list[int], most: int) -> str:
    """What `transformers` decodes greedily after token ids."""
    end_ids = lm.end_ids.tolist()
    with torch.no_grad():
        whole = lm.model.generate(
            torch.tensor([ids]), max_new_tokens=most, do_sample=False, eos_token_id=end_ids, pad_token_id=0
        )
    return lm.decode([token for token in whole[0, len(ids) :].tolist() if token not in end_ids])


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("cached", [True, False])
def test_decoded_texts_are_those_of_transformers(family: str, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different lengths in one batch, with keys and values that are kept and without, and with a soft prompt."""
    lm = tiny_lm(family)
    if not cached:
        monkeypatch.setattr(lm, "shares_prefixes", False)
    scorer, greedy = decoder(lm, sums())
    ids = lm.encode("write the word again")
    rows = [scorer._rows.build(0, n, ids) for n in range(len(QUESTIONS))]
    found = greedy.texts(rows, None)
    assert found == greedy.texts(rows, lm.embed(torch.tensor(ids))), "the same prompt as vectors"
    for row, text in zip(rows, found, strict=True):
        assert text == generated(lm, row.ids, 12)


@pytest.mark.parametrize("family", ENCODER_DECODER)
def test_a_decoder_writes_what_transformers_decodes(family: str) -> None:
    """The prompt and the question are in the encoder."""
    lm = tiny_lm(family)
    assert isinstance(lm, EncoderDecoderLM)
    scorer, greedy = decoder(lm, sums())
    rows = [scorer._rows.build(0, n, lm.encode("good")) for n in range(len(QUESTIONS))]
    for row, text in zip(rows, greedy.texts(rows, None), strict=True):
        with torch.no_grad():
            whole = lm.model.generate(
                torch.tensor([row.ids]),
                decoder_input_ids=torch.tensor([lm.start_ids]),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=lm.end_ids.tolist(),
                forced_bos_token_id=None,
                forced_eos_token_id=None,
            )
        written = whole[0, len(lm.start_ids) :].tolist()
        assert text == lm.decode([token for token in written if token not in lm.end_ids.tolist()])


def test_small_batches_decode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gpt2")
    scorer, greedy = decoder(lm, sums())
    rows = [scorer._rows.build(0, n, []) for n in range(len(QUESTIONS))]
    together = greedy.texts(rows, None)
    monkeypatch.setattr(greedy, "_fits", lambda count, *_: count == 1)
    assert greedy.texts(rows, None) == together and len(set(together)) > 1


def test_decoding_ends_with_the_context_and_at_the_end_of_an_answer() -> None:
    """No answer is longer than the room in the context; a text that has ended is not continued."""
    lm = tiny_lm("gpt2")
    scorer, greedy = decoder(lm, sums(most=500))
    rows = [scorer._rows.build(0, n, []) for n in range(len(QUESTIONS))]
    for row, text in zip(rows, greedy.texts(rows, None), strict=True):
        assert text == generated(lm, row.ids, lm.max_length - len(row.ids))
    _, ended = decoder(lm, sums(most=40), ends=lambda text: True)
    _, whole = decoder(lm, sums(most=8))
    assert ended.texts(rows, None) == whole.texts(rows, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She makes 9 * 2 = $18 every day.\n#### 18", "18"),
        ("#### 1,080 and then 7", "1080"),
        ("the answer is 5. Then 3 more", "5"),
        ("The answer: $2.50", "2.5"),
        ("The answer is **42**, not 7", "42"),
        ("Answer: \\(-3\\) of 10", "-3"),
        ("first the answer is 4, no, the answer is 6 of 10", "6"),
        ("3 + 4 = 7.", "7"),
        ("16-3", "3"),
        ("it is -4", "-4"),
        ("it is \u22124", "-4"),
        ("18.00", "18"),
        ("0.50 or .5", "0.5"),
        ("-0", "0"),
        ("100", "100"),
        ("$1,000,000.", "1000000"),
        ("50%", "50"),
        ("x2 3", "3"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_number_of_an_answer(text: str, number: str | None) -> None:
    assert number_in(text) == number


def test_an_answer_is_complete_after_its_marked_number() -> None:
    assert (
        has_number("so #### 18\n") and not has_number("so #### 18") and not has_number("#### 1,0") and not has_number("18 \n")
    )


def test_correct_answers_are_those_with_the_right_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another example that the model begins itself does not count; loss and tokens do not depend on the decoded text."""
    lm, task = tiny_lm("gpt2"), sums()
    says = ["2 - 2 = 0", "it is 7\nfood: 1", "1 + 1 = 2.0\n\nfood: x\nsay: 9", "none"]
    monkeypatch.setattr(GreedyDecoder, "texts", lambda self, rows, soft: [says[row.example] for row in rows])
    scores = Scorer(lm, task, task.test).score_ids([()])
    assert scores.correct.tolist() == [[True, False, True, False]]
    exact = Scorer(lm, replace(task, match="exact"), task.test).score_ids([()])
    assert torch.equal(scores.loss, exact.loss), "the loss is that of the target"


def test_the_score_of_a_number_counts_the_decoded_tokens_and_has_a_gradient() -> None:
    lm, task = tiny_lm("llama"), sums()
    with_reasoning, without = Scorer(lm, task, task.test), Scorer(lm, replace(task, match="exact"), task.test)
    assert with_reasoning.tokens(3) == without.tokens(3) + 12 * len(QUESTIONS)
    soft = lm.embed(torch.tensor(lm.encode("good food"))).clone().requires_grad_()
    scores = with_reasoning.score_embeds(soft)
    assert with_reasoning.counter.forward == with_reasoning.counter.backward == without.tokens(len(soft)), "nothing is decoded"
    scores.loss.sum().backward()
    assert soft.grad is not None and soft.grad.abs().sum() > 0
    assert with_reasoning.score_embeds(soft.detach()).correct.dtype == torch.bool


def test_gsm8k(shared: Path, tmp_path: Path) -> None:
    """The answer is the number after ####, and an answer without one is an error of one line."""
    task = load_task("gsm8k", data=shared / "data" / "gsm8k" / "test.jsonl")
    assert (len(task.train), len(task.dev), len(task.test)) == (256, 64, 80)
    assert (task.match, task.kind, task.max_answer_tokens) == ("number", "generation", 256)
    every = {example.input: example.answer for example in (*task.train, *task.dev, *task.test)}
    assert next(answer for text, answer in every.items() if text.startswith("Janet\u2019s ducks")) == "18"
    assert all(number_in(answer) for answer in every.values())
    for answer, says in (
        ("so 18", r"x\.jsonl:1: answer has no '####', which the answer follows"),
        ("so #### ", r"x\.jsonl:1: answer is empty or has a line break"),
        ("so #### two", r"x\.jsonl:1: answer 'two' is not a number"),
        ("#### 3\nmore", r"x\.jsonl:1: answer is empty or has a line break"),
    ):
        (tmp_path / "x.jsonl").write_text(json.dumps({"question": "q", "answer": answer}) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=says):
            load_task("gsm8k", data=tmp_path / "x.jsonl")


def test_a_task_file_can_ask_for_a_number(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("q,a\n" + "".join(f"{i} + {i}?,{2 * i}\n" for i in range(30)), encoding="utf-8")
    fields = 'template: "{prompt}\\nQ: {input}\\nA:"\ndata: d.csv\ncolumns: {input: q, answer: a}\nmatch: number\n'
    (tmp_path / "task.yaml").write_text(fields + "max_answer_tokens: 9\n", encoding="utf-8")
    task = load_task(str(tmp_path))
    assert (task.match, task.max_answer_tokens, len(task.test)) == ("number", 9, 6)
    (tmp_path / "d.csv").write_text("q,a\n1 + 1?,two\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"d\.csv:2: a 'two' is not a number"):
        load_task(str(tmp_path))


def test_inputs_leave_room_for_the_reasoning() -> None:
    """Up to half of the context is reserved for it."""
    lm = load_lm("microworld")
    long = [Example(" ".join(["soup"] * 300), "1")]
    task = replace(sums(), train=long, dev=long, test=long, truncate_to="end")
    words = {most: len(fitted(task, lm, most).split()) for most in (1, 20, 10_000, 20_000)}
    assert words[1] - words[20] == 19 and 0 < words[10_000] == words[20_000] < words[20]


def fitted(task: Task, lm: FrozenLM, most: int) -> str:
    """The input of a task after it has been cut."""
    return fit_to_context(replace(task, max_answer_tokens=most), lm, prompt_length=2).test[0].input


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_answer_tokens": 0}, "max_answer_tokens must be at least 1"),
        ({"match": "numbers"}, "is none of exact, starts-with, number"),
    ],
)
def test_wrong_fields(fields: dict[str, object], says: str) -> None:
    with pytest.raises(TaskError, match=says):
        replace(sums(), **fields)  # type: ignore[arg-type]


def test_targets_must_be_numbers() -> None:
    with pytest.raises(TaskError, match="train example 1: answer 'two' is not a number"):
        replace(sums(), train=[Example("a", "two")])
