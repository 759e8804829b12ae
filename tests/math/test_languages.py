"""Words, cases and forms of letters in other languages than English, and prompts in scripts without blanks."""

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from hardprompt.data.languages import difference, has_no_blanks, is_word, same_text
from hardprompt.data.task import Example, Task, Template
from hardprompt.errors import RequestError, TaskError
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.answers import label_ids
from hardprompt.study.measure import measure
from tests.helpers.tiny import tiny_lm, tiny_task

CHINESE = [
    *("这部电影很好看。评价：好", "这部电影很差。评价：差", "演员表演精彩，剧情很好", "剧情无聊，音乐很差", "今天天气很好看"),
    *(
        "我觉得电影不好看",
        "好看的电影",
        "差的剧情",
        "很好很好",
        "评价很差",
        "the film was good",
        "a bad story",
        "good actors",
        "très bon",
    ),
]


@cache
def chinese_lm() -> FrozenLM:
    """A model with random weights and a byte-level tokenizer of Chinese and English."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([start + line for line in CHINESE for start in ("", " ") for _ in range(4)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    config = GPT2Config(vocab_size=len(fast), initializer_range=0.5, bos_token_id=0, eos_token_id=0, **size)
    return FrozenLM(GPT2LMHeadModel(config), fast, "chinese")


def chinese_task(template: str = "{input}。{prompt}：") -> Task:
    """A task in Chinese."""
    examples = [Example(text, answer) for text, answer in zip(CHINESE[2:8], ["正", "负"] * 3, strict=True)]
    return Task(
        name="film",
        template=Template(template),
        separator="",
        train=examples,
        dev=examples[:4],
        test=examples[2:],
        label_words={"正": "好", "负": "差"},
        reference_prompts=["评价", "电影很好"],
    )


@pytest.mark.parametrize("word", ["good", "हिन्दी", "שָׁלוֹם", "ดี", "مُدَرِّس", "می\u200cخواهم", "cafe\u0301", "好看", "ǅ"])
def test_letters_with_their_marks_are_words(word: str) -> None:
    assert is_word(word)


@pytest.mark.parametrize("text", ["", "\u0301a", "it's", "a1", "a b", "ั", "。", "_", "\u200ca"])
def test_other_signs_are_not_part_of_words(text: str) -> None:
    assert not is_word(text)


@pytest.mark.parametrize("word", ["好看", "ひらがな", "カタカナ", "ラーメン", "ไทย", "ລາວ", "ខ្មែរ", "မြန်မာ", "佐々木"])
def test_scripts_without_blanks(word: str) -> None:
    assert has_no_blanks(word) and not has_no_blanks("a" + word)


@pytest.mark.parametrize(
    ("text", "known", "means"),
    [
        ("Good", ["good", "bad"], "good"),
        ("cafe\u0301", ["caf\xe9", "cafe"], "caf\xe9"),
        ("STRASSE", ["straße", "weg"], "straße"),
        ("ΚΑΛΟΣ", ["καλος", "κακος"], "καλος"),
        ("HAYIR", ["evet", "hayır"], "hayır"),
        ("İyi", ["iyi", "kötü"], "iyi"),
        ("1.0", ["0", "1"], "1"),
        ("01", ["0", "1"], "1"),
        ("1", ["0.0", "1.0"], "1.0"),
        ("01", ["1", "01"], "01"),
        ("1.5", ["0", "1"], None),
        ("2", ["0", "1"], None),
        ("GOOD", ["good", "Good"], None),
    ],
)
def test_texts_that_mean_the_same(text: str, known: list[str], means: str | None) -> None:
    """Composed and decomposed forms, cases of other languages, and whole numbers; nothing is guessed among several."""
    assert same_text(text, known) == means


def test_a_difference_that_cannot_be_seen_is_shown() -> None:
    assert difference("positive\u200b", ["positive"]).endswith("U+200B ZERO WIDTH SPACE, expected nothing")
    assert difference("положительный", ["good"]) == "" and difference("positve", ["positive"]) == ""


def test_words_of_chinese_survive_in_their_template() -> None:
    """Without a blank before the prompt, `words` has the words of the script; any of them in a row are read as written."""
    lm, task = chinese_lm(), chinese_task()
    allowed = allowed_vocabulary(lm, "words", task)
    texts = [lm.decode([i]) for i in allowed.tolist()]
    assert {"电影", " good"} <= set(texts) and "good" not in texts
    scorer, generator = Scorer(lm, task, task.test), torch.Generator().manual_seed(0)
    for drawn in torch.randint(len(allowed), (200, 5), generator=generator):
        prompt = HardPrompt.from_ids(lm, allowed[drawn].tolist(), task.template)
        assert scorer.survives(prompt.ids, prompt.text), prompt.text


@pytest.mark.parametrize("template", ["{input} {prompt}：", "{input}。 {prompt}"])
def test_after_a_blank_words_have_blanks(template: str) -> None:
    lm = chinese_lm()
    texts = [lm.decode([i]) for i in allowed_vocabulary(lm, "words", chinese_task(template)).tolist()]
    assert texts and all(text.startswith(" ") for text in texts)
    english = tiny_task(template=Template("{input}\n{prompt}"))
    assert torch.equal(allowed_vocabulary(lm, "words", english), allowed_vocabulary(lm)), "no Chinese in an English task"


@pytest.mark.parametrize("template", ["{input}。{prompt}：", "{prompt}：{input}。", "{input}\n{prompt}\n"])
@pytest.mark.parametrize("name", ["empty", "manual", "random", "pez", "soft", "rl"])
def test_optimizers_find_chinese_prompts(name: str, template: str) -> None:
    """Every optimizer works on a Chinese task, and the text of its prompt is read as its tokens."""
    problem = Problem(chinese_task(template), chinese_lm(), prompt_length=3, lm_tokens=2000)
    point = measure(problem, run_optimizer(load_optimizer(name), problem))
    assert point["roundtrip_ok"] and " " not in (point["prompt_text"] if name == "manual" else "")
    if name in ("manual", "random", "pez"):
        assert any(map(has_no_blanks, point["prompt_text"]))
        assert point["deployed_test_accuracy"] == point["test_accuracy"]


def test_a_reference_prompt_stands_in_the_template_as_it_is_written() -> None:
    lm, template = chinese_lm(), Template("{input}。{prompt}：")
    assert template.fill("电影", "评价") == "电影。评价："
    for prompt in (HardPrompt.from_text(lm, "评价", template), HardPrompt.in_place(lm, template, "评价")):
        assert prompt.ids == tuple(lm.encode("评价"))
    assert template.fill("电影", " good") == "电影。 good："
    assert Template("{input}\n{prompt}").fill("电影", "评价") == "电影\n评价"


@cache
def sentencepiece_lm() -> FrozenLM:
    """A model with random weights and a sentencepiece tokenizer of Chinese and English."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CHINESE * 8),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with TemporaryDirectory() as folder:
        Path(folder, "tokenizer.model").write_bytes(model.getvalue())
        Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
        tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
    )
    return FrozenLM(GPT2LMHeadModel(config), tokenizer, "chinese-sentencepiece")


@pytest.mark.parametrize(("template", "glued"), [("{input}。{prompt}：", True), ("{prompt}：{input}。", False)])
def test_words_of_sentencepiece_survive(template: str, glued: bool) -> None:
    """Sentencepiece puts a blank before every text, so a prompt that comes first cannot begin with a word without one."""
    lm, task = sentencepiece_lm(), chinese_task(template)
    allowed = allowed_vocabulary(lm, "words", task)
    pieces = lm.tokenizer.convert_ids_to_tokens(allowed.tolist())
    assert ("电影" in pieces) == glued and ("▁good" in pieces)
    scorer, generator = Scorer(lm, task, task.test), torch.Generator().manual_seed(0)
    for drawn in torch.randint(len(allowed), (100, 4), generator=generator):
        prompt = HardPrompt.from_ids(lm, allowed[drawn].tolist(), task.template)
        assert scorer.survives(prompt.ids, prompt.text), prompt.text


def test_sentencepiece_keeps_the_blank_in_a_template_without_one() -> None:
    """Decoding drops the blank of the first token, so the text of the prompt has it."""
    lm, template = tiny_lm("llama"), Template("{input}.{prompt}:")
    [[token]] = lm.encode_after([" good"])
    assert HardPrompt.from_ids(lm, [token], template).text == " good" and HardPrompt.from_ids(lm, [token]).text == "good"


@pytest.mark.parametrize("line", ["电影", "good", " good", "Ġgood", "çĶµå½±", "\ufeff好"])
def test_a_file_of_words_in_the_form_that_stands_in_the_text(line: str, tmp_path: Path) -> None:
    """With a blank, without one, or as the tokenizer prints the token."""
    lm = chinese_lm()
    (tmp_path / "words.txt").write_text(f"{line}\n", encoding="utf-8")
    [token] = allowed_vocabulary(lm, str(tmp_path / "words.txt"), chinese_task()).tolist()
    assert lm.decode([token]) in ("电影", " good", "好")


def test_a_word_that_is_a_token_only_without_a_blank(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("good\n电影\n", encoding="utf-8")
    with pytest.raises(RequestError, match=r"words\.txt:2: '电影' is \d tokens .*: leave out the blank before {prompt}"):
        allowed_vocabulary(chinese_lm(), str(tmp_path / "words.txt"))


@pytest.mark.parametrize(
    ("word", "separator", "says"),
    [
        (" good", " ", "the separator supplies the blank: write 'good'"),
        ("Ġgood", " ", "the separator supplies the blank: write 'good'"),
        ("▁good", " ", "the separator supplies the blank: write 'good'"),
        ("actors", "", "with a blank before it, it is one: write ' actors', or give the task a separator"),
        ("å¥½", "", "write '好'"),
        ("tre\u0300s", " ", r"in composed form \(NFC\) it is one: write 'très', 4 characters instead of 5"),
        ("splendid", " ", "choose another word"),
    ],
)
def test_label_words_as_tokenizers_print_them(word: str, separator: str, says: str) -> None:
    task = tiny_task(label_words={"positive": word, "negative": "bad"}, separator=separator)
    with pytest.raises(TaskError, match=f"label word '{word}' is . tokens of chinese, expected one; {says}$"):
        label_ids(chinese_lm(), task)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{input}} {{prompt}}", r"has \{\{input\}\}; write \{input\}, with single braces"),
        ("{{ input }} {{ prompt }}", r"write \{input\}"),
        ("{ input } {prompt}", r"has \{ input \}; write \{input\}"),
        ("{Input} {prompt}", r"has \{Input\}; write \{input\}"),
        ("{input} {PROMPT}", r"has \{PROMPT\}; write \{prompt\}"),
        ("{sentence} {prompt}", r"\{input\} 0 times; put it in exactly once in the place of \{sentence\}"),
        ("{input} {prompt} {{mask}}", r"has \{\{mask\}\}; write \{mask\}"),
    ],
)
def test_places_that_are_written_in_another_way(template: str, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        Template(template)
