"""Tasks on real data: the formats of the data, how they are split, and which inputs are truncated."""

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hardprompt import Scorer, load_lm, load_task
from hardprompt.data.catalogue import all_tasks, needs_data
from hardprompt.data.splits import make_splits, seed_of
from hardprompt.data.task import Example, Task
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.optimizers import Problem
from hardprompt.scoring.truncation import MIN_PROMPT_TOKENS, fit_to_context
from tests.helpers.tiny import tiny_lm, tiny_task

REAL = [name for name in all_tasks() if needs_data(name)]
TOPICS = ("subj", "trec", "yahoo", "dbpedia", "cr", "yelp", "amazon")
STYLES = ("formality", "shakespeare", "shakespeare-modern")
RELATIONS = {  # published sizes of the four fifths and the fifth
    "capitalize-first-letter": (650, 163),
    "lowercase-first-letter": (651, 163),
    "country-capital": (157, 40),
    "landmark-country": (668, 168),
    "present-past": (234, 59),
    "singular-plural": (164, 41),
}
FEW_SHOT = {"sst2": ("sst-2", 2, 1821), "mr": ("mr", 2, 2000), "sst5": ("sst-5", 5, 2210), "agnews": ("agnews", 4, 3800)}
FILMS = [("a dull film", 0), ("a lovely film", 1), ("bad acting", 0), ("great music", 1), ("a bore", 0), ("a joy", 1)] + [
    (f"film {number}", number % 2) for number in range(34)
]


def sizes(task: Task) -> tuple[int, int, int]:
    return len(task.train), len(task.dev), len(task.test)


def write(folder: Path, name: str, films: list[tuple[str, int]], separator: str = "\t", header: str = "sentence,label") -> None:
    """Write a table of films and labels; the folder is created if it does not exist."""
    lines = [header.replace(",", separator), *(f"{text}{separator}{label}" for text, label in films)]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


# Every task


def test_the_catalogue_describes_every_real_task() -> None:
    """Each task has a source and a citation, and is listed without its data."""
    assert set(REAL) == {"sst2", "mr", "sst5", "agnews", "boolq", "gsm8k", "relation", *TOPICS, *STYLES, *RELATIONS}
    for name in REAL:
        described = all_tasks()[name].describe()  # type: ignore[union-attr]
        assert described["name"] == name and described["sizes"] is None and not described["embedded"]
        assert described["data"]["source"] and described["data"]["citation"] and described["data"]["licence"], name
        assert len(described["reference_prompts"]) >= 3 and described["description"], name
        before = described["template"].index("{input}")
        assert before < described["template"].index("{prompt}") or described["template"].endswith(
            ("Label:", "Output:", "Answer:")
        ), "answers come last"


@pytest.mark.parametrize("name", REAL)
def test_a_task_without_its_data_raises_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match=f"task {name} needs its data: give --data PATH, a folder") as caught:
        load_task(name)
    assert "\n" not in str(caught.value)
    assert ("install hardprompt[hub]" in str(caught.value)) == bool(all_tasks()[name].hub)  # type: ignore[union-attr]


# Published data


@pytest.mark.parametrize("name", FEW_SHOT)
def test_published_few_shot_splits(name: str, shared: Path) -> None:
    """There are 16 examples per class and the full test set, splits do not overlap and differ, and quotes in texts are kept."""
    folder, classes, test = FEW_SHOT[name]
    tasks = [load_task(name, split, shared / "data" / "fewshot" / folder) for split in ("13", "21", "42", "87", "100")]
    for task in tasks:
        assert sizes(task) == (16 * classes, 16 * classes, test)
        assert set(Counter(example.answer for example in task.train).values()) == {16}
        inputs = [example.input for example in (*task.train, *task.dev, *task.test)]
        assert len(set(inputs)) == len(inputs) and all(text == text.strip() != "" for text in inputs)
        assert not any('""' in text or (text[0] == text[-1] == '"' and text.count('"') % 2) for text in inputs)
    assert len({task.digest for task in tasks}) == 5


def test_few_shot_splits_are_drawn_by_name(shared: Path) -> None:
    """The same split name draws the same examples, another name draws others, and test is the published test set."""
    folder = shared / "data" / "fewshot" / "sst-2"
    first, again, other = (load_task("sst2", split, folder, shots=8) for split in ("13", "13", "7"))
    assert first == again and first.digest != other.digest and sizes(first) == sizes(other) == (16, 16, 1821)
    assert Counter(example.answer for example in (*first.train, *other.dev)) == {"negative": 16, "positive": 16}
    assert first.test == load_task("sst2", "21", folder).test
    assert not {example.input for example in first.train} & {example.input for example in first.dev}


@pytest.mark.parametrize("name", RELATIONS)
def test_relations_are_split_as_published(name: str, shared: Path) -> None:
    """A fifth of the inputs, rounded up, is test.

    A fifth of the others is dev; among these, an input with two answers counts once.
    """
    task = load_task(name, data=shared / "data" / "relations")
    train, dev, test = sizes(task)
    rest, published_test = RELATIONS[name]
    assert test == published_test and rest - 1 <= train + dev <= rest and dev == -(-(train + dev) // 5)
    assert load_task(name, "42", shared / "data" / "relations").test == task.test
    assert load_task(name, "7", shared / "data" / "relations").test != task.test


def test_boolq_in_one_file(shared: Path) -> None:
    task = load_task("boolq", data=shared / "data" / "boolq" / "validation.jsonl")
    assert sizes(task) == (1280, 320, 400) and set(Counter(e.answer for e in task.test)) == {"True", "False"}
    assert all(example.input.endswith("?") and "\n" in example.input for example in task.test)


@pytest.mark.parametrize("name", ["boolq", *FEW_SHOT, *RELATIONS])
def test_label_words_and_inputs_fit_the_small_real_model(name: str, shared: Path) -> None:
    """Label words are single tokens of the model, and every input with a prompt fits the context or is truncated."""
    lm = load_lm(str(shared / "models" / "english-mini"), device="cpu")
    data = shared / "data" / ("boolq" if name == "boolq" else "relations" if name in RELATIONS else "fewshot")
    task = load_task(name, "13", data / FEW_SHOT[name][0] if name in FEW_SHOT else data, shots=4)
    problem = Problem(task, lm, prompt_length=5)
    problem.check_context(MIN_PROMPT_TOKENS - 1)
    assert (problem.task.inputs_cut.get("test", 0) > 0) == (name in ("boolq", "agnews"))


# Formats


def test_glue_data_without_test_labels(tmp_path: Path) -> None:
    """The published dev set is used as test, and a fifth of train, without duplicates and without test inputs, as dev."""
    write(tmp_path, "train.tsv", [*FILMS, FILMS[0], ("seen in dev ", 1)])
    write(tmp_path, "dev.tsv", [("seen in dev", 1), ("awful", 0)])
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tunlabelled\n", encoding="utf-8")
    task = load_task("sst2", data=tmp_path)
    assert sizes(task) == (32, 8, 2) and {e.input for e in (*task.train, *task.dev)} == {text for text, _ in FILMS}
    assert task.test == (Example("seen in dev", "positive"), Example("awful", "negative"))
    assert sizes(load_task("sst2", "5", tmp_path, shots=10)) == (20, 20, 2)


def test_ag_news_in_csv_files(tmp_path: Path) -> None:
    """The published files have no header and number classes from 1; copies have a header and number them from 0."""
    rows = "".join(f'"{number % 4 + 1}","Title, {number}","says ""{number}""\nand more"\n' for number in range(80))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "train.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "a" / "test.csv").write_text('4,"Chip","fast"\n', encoding="utf-8")
    task = load_task("agnews", data=tmp_path / "a")
    assert sizes(task) == (64, 16, 1) and task.test == (Example("Chip fast", "Tech"),)
    assert Example('Title, 2 says "2"\nand more', "Business") in (*task.train, *task.dev)
    (tmp_path / "a" / "test.csv").write_text('Class Index,Title,Description\n4,"Chip","fast"\n', encoding="utf-8")
    assert load_task("agnews", data=tmp_path / "a") == task
    (tmp_path / "a" / "test.csv").write_text('text,label\n"Chip fast",3\n', encoding="utf-8")
    assert load_task("agnews", data=tmp_path / "a") == task
    (tmp_path / "a" / "test.csv").write_text('text,label\n"Chip fast",4\n', encoding="utf-8")
    with pytest.raises(TaskError, match=r"test\.csv:2: label '4' is none of 0, 1, 2, 3, world"):
        load_task("agnews", data=tmp_path / "a")


def test_few_shot_folders_with_csv_files_and_their_own_test_set(tmp_path: Path) -> None:
    """Some folders have csv files without a header, with the label first, and a test file for every split."""
    for seed, part in ((seed, part) for seed in (13, 21) for part in ("train", "dev", "test")):
        rows = [(str(label), f'"a {part} film, {seed} {label}"') for label in range(5)]
        write(tmp_path, f"1-{seed}/{part}.csv", rows[1:], ",", ",".join(rows[0]))  # type: ignore[arg-type]
    task = load_task("sst5", "21", tmp_path)
    assert sizes(task) == (5, 5, 5) and task.test[4] == Example("a test film, 21 4", "very positive")
    assert sizes(load_task("sst5", "8", tmp_path, shots=2)) == (10, 10, 5)


def test_boolq_in_the_formats_of_other_collections(tmp_path: Path) -> None:
    """Answers are texts, truth values or numbers in `answer` or `label`. The files are train and validation, without test."""
    for name, column, values in (("train", "answer", (True, False)), ("validation", "label", (1, 0))):
        entries = [{"passage": f"p {i}.", "question": f"is it {name} {i}", column: values[i % 2], "idx": i} for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    task = load_task("boolq", data=tmp_path)
    assert sizes(task) == (16, 4, 20)
    assert task.test[:2] == (Example("p 0.\nis it validation 0?", "True"), Example("p 1.\nis it validation 1?", "False"))


def test_a_file_with_a_split_column(tmp_path: Path) -> None:
    """The column assigns the rows to train, dev and test, and the only split is "default"."""
    entries = [
        {"input": text, "answer": str(label), "split": ["train", "dev", "test"][i % 3]} for i, (text, label) in enumerate(FILMS)
    ]
    file = tmp_path / "films.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    assert sizes(load_task("mr", data=file)) == (14, 13, 13)
    with pytest.raises(TaskError, match=r"task mr, split '13': the data have no split '13'.* draw others with --shots N"):
        load_task("mr", "13", file)
    assert sizes(load_task("mr", "13", file, shots=3)) == (6, 6, 13)


def test_data_from_the_hugging_face_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data loaded with `datasets` are split by the same rules. If the hub does not have the data, one line reports it."""
    parts: dict[str, list[dict[str, Any]]] = {
        "train": [{"sentence": text, "label": label, "idx": i} for i, (text, label) in enumerate(FILMS)],
        "validation": [{"sentence": "fine", "label": 1, "idx": 0}, {"sentence": "awful", "label": 0, "idx": 1}],
        "test": [{"sentence": "unlabelled", "label": -1, "idx": 0}],
    }
    asked = []

    def load_dataset(*name: str) -> dict[str, list[dict[str, Any]]]:
        asked.append(name)
        if name[0] != "nyu-mll/glue":
            raise FileNotFoundError(f"no data set\n{name[0]}")
        return parts

    bars = [True]
    utils = SimpleNamespace(
        are_progress_bars_disabled=lambda: not bars[-1],
        disable_progress_bars=lambda: bars.append(False),
        enable_progress_bars=lambda: bars.append(True),
    )
    fake = SimpleNamespace(load_dataset=load_dataset, utils=utils)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr("hardprompt.hub.hub_answers", lambda: True)
    assert sizes(load_task("sst2")) == (32, 8, 2) and asked == [("nyu-mll/glue", "sst2")]
    assert bars == [True, False, True]
    with pytest.raises(
        TaskError, match=r"needs its data: .*cannot be fetched from the hub \(FileNotFoundError: no data set m?"
    ):
        load_task("boolq")
    parts["train"][3]["label"] = 7
    with pytest.raises(TaskError, match="nyu-mll/glue/sst2/train:4: label '7' is none of 0, 1, negative, positive"):
        load_task("sst2")
    monkeypatch.setattr("hardprompt.hub.hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(TaskError, match=r"give --data PATH.*the hub, which has google/boolq, cannot be reached"):
        load_task("boolq")


def test_a_copied_task_module_is_a_custom_task(tmp_path: Path) -> None:
    """The copy is loaded by its path. A task that contains its examples does not accept data."""
    source = Path(__file__).parents[2] / "tasks" / "sst2.py"
    (tmp_path / "mine.py").write_text(source.read_text(encoding="utf-8").replace('"sst2"', '"mine"'), encoding="utf-8")
    write(tmp_path, "films.csv", FILMS, separator=",", header="text,label")
    task = load_task(f"{tmp_path}/mine.py:TASK", "3", tmp_path / "films.csv")
    assert (task.name, task.split, sizes(task)) == ("mine", "3", (25, 7, 8))
    for arguments in ({"data": tmp_path}, {"shots": 3}):
        with pytest.raises(TaskError, match="belong to tasks on real data, such as sst2; plural has its own examples"):
            load_task("plural", **arguments)


# Splits


def test_the_number_in_a_split_name_is_the_seed() -> None:
    assert [seed_of(name) for name in ("13", "16-100", "default", "0")] == [13, 100, 42, 0]
    for name in ("train", "", "-", "13x", "4294967296", "10000000001"):
        with pytest.raises(TaskError, match=r"must end in a number, the seed"):
            seed_of(name)


def test_the_split_of_a_single_file_agrees_with_scikit_learn() -> None:
    """RandomState(42).permutation(10) is 8 1 5 0 7 2 9 4 3 6, of which the first fifth is test."""
    examples = [Example(str(i), "x") for i in range(10)]
    parts = make_splits({"train": examples}, "default")
    assert {part: [int(e.input) for e in some] for part, some in parts.items()} == {
        "test": [8, 1],
        "dev": [5, 0],
        "train": [7, 2, 9, 4, 3, 6],
    }


def test_dev_has_at_most_a_thousand_examples() -> None:
    examples = [Example(str(i), "x") for i in range(20_000)]
    parts = make_splits({"train": examples, "test": examples[:3]}, "7")
    assert (len(parts["train"]), len(parts["dev"]), len(parts["test"])) == (18_997, 1000, 3)


# Truncation


def long_task(keep: str, **fields: Any) -> Task:
    """A task with one input that is too long for the tiny models' 64 tokens, and short ones."""
    short = [Example("bad food", "negative"), Example("a lovely film", "positive")]
    long = Example(" ".join(f"food {number}" for number in range(60)), "negative")
    return tiny_task(truncate_to=keep, test=[*short, long], dev=[*short, long, long], **fields)


@pytest.mark.parametrize("prompt_first", [False, True])
@pytest.mark.parametrize(("keep", "begins", "ends"), [("start", True, False), ("end", False, True)])
def test_long_inputs_are_truncated_to_whole_words_and_counted(keep: str, begins: bool, ends: bool, prompt_first: bool) -> None:
    """The stated end of the input is kept as far as it fits. Inputs that fit and the digest of the data are unchanged."""
    lm, task = tiny_lm("gpt2"), long_task(keep, prompt_first=prompt_first)
    cut = fit_to_context(task, lm, prompt_length=5)
    assert cut.inputs_cut == {"train": 0, "dev": 2, "test": 1} and cut.test[:2] == task.test[:2]
    kept, whole = cut.test[2].input, task.test[2].input
    assert whole.startswith(kept) == begins and whole.endswith(kept) == ends
    assert set(kept.split()) < set(whole.split())
    Scorer(lm, cut, cut.test).check_context(MIN_PROMPT_TOKENS)
    count = len(kept.split()) + 1
    words = whole.split()[:count] if begins else whole.split()[-count:]
    more = lm.encode(task.template.fill(" ".join(words), ""))
    assert len(more) + MIN_PROMPT_TOKENS + 1 > lm.max_length, "one more word would not fit"
    assert fit_to_context(cut, lm, prompt_length=5).test == cut.test
    assert Problem(task, lm, prompt_length=5).task == cut
    assert fit_to_context(task, lm, prompt_length=20).test[2].input in kept
    assert task.digest != long_task("", prompt_first=prompt_first).digest


def test_inputs_are_truncated_only_if_the_task_allows_it() -> None:
    """Otherwise, or if not a single word fits, the input is refused."""
    lm = tiny_lm("gpt2")
    assert fit_to_context(long_task(""), lm, 5) is not None and fit_to_context(long_task(""), lm, 5).inputs_cut == {}
    with pytest.raises(ContextExceeded, match="shorten the input"):
        Problem(long_task(""), lm, prompt_length=5)
    one_word = long_task("start", train=[Example("x" * 300, "negative"), Example("bad", "positive")])
    assert fit_to_context(one_word, lm, 5).inputs_cut["train"] == 0
    with pytest.raises(ContextExceeded, match="shorten the input"):
        Problem(one_word, lm, prompt_length=5)


def test_truncation_leaves_room_for_the_target() -> None:
    lm = tiny_lm("llama")
    answer = "red green blue seven nine red green blue"
    task = long_task("end", label_words={}, train=[Example("food " * 80 + "end", answer)])
    cut = fit_to_context(task, lm, prompt_length=5)
    assert cut.inputs_cut["train"] == 1
    Scorer(lm, cut, cut.train).check_context(MIN_PROMPT_TOKENS)
