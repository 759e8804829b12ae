"""The tasks of the literature: their published forms, the numbers of their labels, and their label words."""

import json
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hardprompt import load_lm, load_task
from hardprompt.data.catalogue import all_tasks
from hardprompt.data.datasets import DataTask
from hardprompt.data.task import Example, Task
from hardprompt.errors import TaskError
from hardprompt.scoring.answers import answer_tokens

CLASSIFICATION = {name: task for name, task in all_tasks().items() if isinstance(task, DataTask) and task.label_words}
K_SHOT = ("cr", "subj", "trec", "yelp", "amazon", "yahoo", "dbpedia")

SEVERAL_TOKENS = {
    "english-mini": {"subj", "trec", "dbpedia"},
    "HuggingFaceTB/SmolLM2-135M": set[str](),
    "gpt2": set[str](),
    "roberta-large": set[str](),
    "bert-base-uncased": set[str](),
    "meta-llama/Llama-2-7b-hf": {"subj", "agnews"},
}
"""For each vocabulary, the tasks of which a label word is several tokens; `--label-words` gives them other words."""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def sizes(task: Task) -> tuple[int, int, int]:
    return len(task.train), len(task.dev), len(task.test)


# Label words


@pytest.mark.parametrize("vocabulary", SEVERAL_TOKENS)
def test_label_words_are_one_token(vocabulary: str, request: pytest.FixtureRequest) -> None:
    """With a blank before them, in every task but those that are listed."""
    if vocabulary == "english-mini":
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("shared") / "models" / vocabulary)
    else:
        try:
            tokenizer = AutoTokenizer.from_pretrained(vocabulary, local_files_only=True)
        except (OSError, ValueError):
            pytest.skip(f"{vocabulary} is not in the cache of the hub")

    def tokens(word: str) -> int:
        before, after = (tokenizer.encode(text, add_special_tokens=False) for text in ("it", f"it {word}"))
        return len(after) - len(before)

    found = {name for name, task in CLASSIFICATION.items() if any(tokens(word) != 1 for word in task.label_words.values())}
    assert found == SEVERAL_TOKENS[vocabulary]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_templates_of_plain_and_masked_models(name: str) -> None:
    task = CLASSIFICATION[name].without_data()
    assert not task.template_for(masked=False).masked and task.template_for(masked=True).masked
    assert len(set(task.label_words.values())) == len(task.label_words)
    assert len(task.reference_prompts) >= 3


def test_other_words_for_a_model_in_which_they_are_several_tokens(shared: Path, tmp_path: Path) -> None:
    lm = load_lm(str(shared / "models" / "english-mini"), device="cpu")
    rows = "".join(f"sentence {i}\t{i % 2}\n" for i in range(20))
    task = load_task("subj", data=write(tmp_path, {"train.tsv": "sentence\tlabel\n" + rows}) / "train.tsv")
    other = task.with_label_words({"subjective": "opinion", "objective": "fact"})
    assert [len(ids) for ids in answer_tokens(lm, other, list(other.label_words.values()))] == [1, 1]


# The published forms of classification tasks


@pytest.mark.parametrize("name", K_SHOT)
def test_k_shot_files(name: str, tmp_path: Path) -> None:
    """Tab-separated files with a header, numbers from 0, and a test file in the folder of each split or next to them."""
    labels = tuple(CLASSIFICATION[name].label_words)

    def table(part: str) -> str:
        return "sentence\tlabel\n" + "".join(f' the {part} "text" {label} ,\t{n}\n' for n, label in enumerate(labels))

    for seed in (13, 100):
        write(tmp_path, {f"1-{seed}/{part}.tsv": table(f"{part} {seed}") for part in ("train", "dev", "test")})
    task = load_task(name, "100", tmp_path)
    assert sizes(task) == (len(labels),) * 3
    assert [example.answer for example in task.test] == list(labels)
    assert task.train[-1] == Example(f'the train 100 "text" {labels[-1]} ,', labels[-1])


@pytest.mark.parametrize("name", ["cr", "subj", "trec"])
def test_csv_files_without_a_header(name: str, tmp_path: Path) -> None:
    """The label comes first, and numbers begin with 0."""
    labels = tuple(CLASSIFICATION[name].label_words)
    rows = "".join(f'{n},"a ""text"", number {i}, {n}"\n' for i in range(10) for n in range(len(labels)))
    task = load_task(name, data=write(tmp_path, {"train.csv": rows, "test.csv": rows.replace("number", "test")}))
    assert Counter(example.answer for example in task.test) == dict.fromkeys(labels, 10)
    assert task.test[-1] == Example(f'a "text", test 9, {len(labels) - 1}', labels[-1])


@pytest.mark.parametrize(
    ("name", "columns", "read"),
    [("yelp", 2, 1), ("amazon", 3, 2), ("dbpedia", 3, 2), ("yahoo", 4, 1)],
)
def test_csv_files_of_zhang(name: str, columns: int, read: int, tmp_path: Path) -> None:
    """No header, numbers from 1, and the text in one of several columns."""
    labels = tuple(CLASSIFICATION[name].label_words)
    rows = [
        [str(n), *(f"column {column} of {label}, {i}" for column in range(1, columns))]
        for i in range(5)
        for n, label in enumerate(labels, 1)
    ]
    text = "".join(",".join(f'"{field}"' for field in row) + "\n" for row in rows)
    task = load_task(name, data=write(tmp_path, {"train.csv": text, "test.csv": text.replace(" of", " in")}))
    assert task.test[0] == Example(f"column {read} in {labels[0]}, 0", labels[0])
    assert {example.answer for example in task.train} == set(labels)


@pytest.mark.parametrize(
    ("name", "row", "label"),
    [
        ("trec", {"text": "q", "coarse_label": 0, "fine_label": 1}, "ABBR"),
        ("trec", {"text": "q", "label-coarse": 0, "label-fine": 1}, "DESC"),
        ("trec", {"text": "q", "label-coarse": 4, "label-fine": 1}, "NUM"),
        ("trec", {"text": "q", "coarse_label": "hum"}, "HUM"),
        ("subj", {"text": "q", "label": 0, "label_text": "objective"}, "objective"),
        ("cr", {"text": "q", "label": 1, "label_text": "positive"}, "positive"),
        ("yelp", {"text": "q", "label": 1}, "positive"),
        ("amazon", {"title": "t", "content": "q", "label": 0}, "negative"),
        ("dbpedia", {"title": "t", "content": "q", "label": 13}, "WrittenWork"),
        (
            "yahoo",
            {"id": 1, "topic": 4, "question_title": "q", "question_content": "c", "best_answer": ""},
            "Computers & Internet",
        ),
    ],
)
def test_rows_of_the_hub(name: str, row: dict[str, object], label: str) -> None:
    """The columns and the order of the labels on the hub."""
    [found] = CLASSIFICATION[name]._examples("hub", [(1, row)], "train")
    assert found.example == Example("q", label)


def test_empty_sentences_of_cr_are_left_out(tmp_path: Path) -> None:
    """The published k-shot files have one; a warning counts it."""
    rows = "sentence\tlabel\n" + "".join(f"sentence {i}\t{i % 2}\n" for i in range(20)) + " \t1\n"
    file = write(tmp_path, {"cr.tsv": rows}) / "cr.tsv"
    task = load_task("cr", data=file)
    assert sum(sizes(task)) == 20 and task.warnings == [f"task cr: 1 unusable row is left out of {file}"]


# Relations


@pytest.mark.parametrize("file", ["country-capital", "present-past", "capitalize_first_letter"])
def test_a_relation_file_by_name(file: str, shared: Path) -> None:
    """The task is named after its file and has the split and the rule of the task with that name."""
    path = shared / "data" / "relations" / f"{file}.json"
    task, named = load_task("relation", data=path), load_task(file.replace("_", "-"), data=path)
    assert (task.name, task.match, sizes(task)) == (file, named.match, sizes(named))
    assert (task.train, task.dev, task.test) == (named.train, named.dev, named.test)
    assert load_task("relation", "7", path).test != task.test


def test_numbers_unicode_and_repeated_inputs_of_a_relation(tmp_path: Path) -> None:
    pairs: list[dict[str, object]] = [{"input": f"w{i}", "output": f"ä{i} ö"} for i in range(20)]
    pairs += [{"input": "w1", "output": "ä1 ö"}, {"input": "w2", "output": "other"}, {"input": 7, "output": 8.5}]
    file = tmp_path / "english-日本語.json"
    file.write_text(json.dumps(pairs, ensure_ascii=False), encoding="utf-8")
    task = load_task("relation", data=file)
    every = [*task.train, *task.dev, *task.test]
    assert task.name == "english-日本語" and task.match == "starts-with"
    assert len({example.input for example in every}) == len(every) == 21
    assert Example("7", "8.5") in every and Example("w3", "ä3 ö") in every


def test_short_targets_must_be_the_whole_answer(tmp_path: Path) -> None:
    """Much text begins with "1" or "I", so such targets are compared as a whole, as in the two tasks about letters."""
    words = [{"input": f"w{i}", "output": f"word {i}"} for i in range(18)]
    for short, match in ((1, "starts-with"), (3, "exact")):
        pairs = words + [{"input": f"n{i}", "output": "ABC"[i]} for i in range(short)]
        (tmp_path / "next_item.json").write_text(json.dumps(pairs), encoding="utf-8")
        assert load_task("relation", data=tmp_path / "next_item.json").match == match


# Style transfer


def lines(word: str, count: int) -> str:
    return "".join(f"{word} {i} .\n" for i in range(count))


def test_shakespeare_in_parallel_files(tmp_path: Path) -> None:
    counts = {"train": 9, "valid": 4, "test": 5}
    files = {
        f"{part}.{side}.nltok": lines(f"{part} {side}", n) for part, n in counts.items() for side in ("modern", "original")
    }
    write(tmp_path, files)
    task, back = load_task("shakespeare", data=tmp_path), load_task("shakespeare-modern", data=tmp_path)
    assert sizes(task) == sizes(back) == (9, 4, 5) and task.kind == "generation"
    assert task.test[4] == Example("test modern 4 .", "test original 4 .")
    assert back.dev[0] == Example("valid original 0 .", "valid modern 0 .")
    assert sizes(load_task("shakespeare", "13", tmp_path, shots=2)) == (2, 2, 5)


def test_shakespeare_in_the_k_shot_files_of_rlprompt(tmp_path: Path) -> None:
    """The texts of label 0, the original, correspond to those of label 1 in order."""
    for seed in (13, 21):
        for part in ("train", "dev", "test"):
            rows = [f"{part} original {i}\t0" for i in range(3)] + [f"{part} modern {i}\t1" for i in range(3)]
            write(tmp_path, {f"3-{seed}/{part}.tsv": "\n".join(["text\tlabel", *rows]) + "\n"})
    task = load_task("shakespeare", "13", tmp_path)
    assert sizes(task) == (3, 3, 3) and task.test[2] == Example("test modern 2", "test original 2")
    assert load_task("shakespeare-modern", "21", tmp_path).test[2] == Example("test original 2", "test modern 2")


def test_formality_in_the_folders_of_gyafc(tmp_path: Path) -> None:
    """Dev is in `tune`; there and in `test` the first of four references is the answer, and `formal` is other text."""
    write(tmp_path, {"train/informal": lines("hey", 7), "train/formal": lines("Dear", 7)})
    for part in ("tune", "test"):
        references = {f"{part}/formal.ref{i}": lines(f"Sir {i}", 3) for i in range(4)}
        write(tmp_path, {f"{part}/informal": lines(f"yo {part}", 3), f"{part}/formal": lines("unrelated", 5), **references})
    task = load_task("formality", data=tmp_path)
    assert sizes(task) == (7, 3, 3) and task.train[0] == Example("hey 0 .", "Dear 0 .")
    assert task.test[1] == Example("yo test 1 .", "Sir 0 1 .") and task.dev[1].input == "yo tune 1 ."


PARALLEL_PROBLEMS: dict[str, tuple[str, dict[str, str], str]] = {
    "fewer answers": (
        "shakespeare",
        {"train.modern.nltok": lines("a", 5), "train.original.nltok": lines("b", 3)},
        r"train\.modern\.nltok:4: a line more than train\.original\.nltok; line i",
    ),
    "fewer inputs": (
        "shakespeare",
        {"train.modern.nltok": lines("a", 2), "train.original.nltok": lines("b", 3)},
        r"train\.original\.nltok:3: a line more than train\.modern\.nltok; line i",
    ),
    "an empty line": (
        "shakespeare",
        {"train.modern.nltok": "a\n\nb\n", "train.original.nltok": lines("b", 3)},
        r"train\.modern\.nltok:2: the line is empty, but that of the other file is not",
    ),
    "not UTF-8": (
        "shakespeare",
        {"train.modern.nltok": "a\n\x00b\n", "train.original.nltok": lines("b", 2)},
        r"train\.modern\.nltok:2: a NUL byte",
    ),
    "only one side": (
        "shakespeare",
        {"train.modern.nltok": lines("a", 5)},
        r"has no data; expected files such as train\.modern\.nltok, train\.original\.nltok",
    ),
    "the whole corpus": ("formality", {"Family/train/informal": "a\n"}, r"has no data; .* train/informal, train/formal\.ref0"),
    "unequal labels": (
        "shakespeare",
        {"train.tsv": "text\tlabel\na\t0\nb\t1\nc\t1\n"},
        r"train\.tsv: 2 texts with label 1 and 1 texts with label 0; expected as many of each",
    ),
    "another label": ("shakespeare", {"train.tsv": "text\tlabel\na\t0\nb\t2\n"}, r"train\.tsv:3: .*one of the labels 1, 0"),
    "a folder of relations": (
        "relation",
        {"a.json": "[]"},
        r"reads one file of pairs, and .* is a folder; give --data .*/NAME\.json",
    ),
}


@pytest.mark.parametrize("case", PARALLEL_PROBLEMS)
def test_problems_of_parallel_files_are_one_line(case: str, tmp_path: Path) -> None:
    name, files, says = PARALLEL_PROBLEMS[case]
    with pytest.raises(TaskError, match=says) as caught:
        load_task(name, data=write(tmp_path, files))
    assert "\n" not in str(caught.value)


def test_blank_lines_at_the_end_of_a_parallel_file_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"train.modern.nltok": lines("a", 10) + "\n\n", "train.original.nltok": lines("b", 10)})
    assert sum(sizes(load_task("shakespeare", data=tmp_path))) == 10
