"""Any number of reader models measure the readability of a text; each has its own values, in the given order."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hardprompt import cli, load_points, load_task
from hardprompt.errors import RequestError, StudyError
from hardprompt.lm import EMBEDDED, FrozenLM
from hardprompt.metrics import scrutability
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import Store, recorded_request
from hardprompt.report.write import write_report
from hardprompt.study.evaluation import evaluate
from hardprompt.study.loading import load_readers
from hardprompt.study.measure import measure
from hardprompt.study.runner import compare
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task

Point = dict[str, Any]
READERS = {"llama": "one", "no-bos": "two"}
MEASURES = ("log_perplexity", "nats_per_character", "max_surprisal")
VALUES = (*MEASURES, "gap_nats_per_character")
TASK = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue"), Example("yes or", "no")]
task = Task(name="words", template=Template("{prompt} : {input}"), train=examples, dev=examples, test=examples,
            reference_prompts=["write the word again"])
"""


def by_hand(reader: FrozenLM, text: str, own: float | None) -> Point:
    """The expected values of a reader for a text that fits its context, with the task LM's nats per character."""
    ids = reader.encode(text)
    said = scrutability(reader, ids, text)
    read = said["nats_per_character"]
    gap = None if read is None or own is None else read - own
    return {name: said[name] for name in MEASURES} | {"gap_nats_per_character": gap, "tokens": len(ids)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task, a tiny model, two readers of other families, and another folder with the name of the first reader's."""
    base = tmp_path_factory.mktemp("readers")
    (base / "words.py").write_text(TASK, encoding="utf-8")
    for name, family in (("tiny", "gpt2"), ("one", "llama"), ("two", "no-bos"), ("other/one", "gpt2")):
        save_tiny(base / name, family)
    return base


@pytest.fixture(scope="module")
def study(base: Path) -> Path:
    """A study with both readers."""
    request = StudyRequest.make(
        task=f"{base}/words.py:task",
        lm=str(base / "tiny"),
        readers=(str(base / "one"), str(base / "two")),
        optimizers=("empty", "manual"),
        seeds=(0,),
        device="cpu",
    )
    compare(request, base / "study")
    return base / "study"


def answer(*words: object) -> Any:
    """The JSON answer of a command."""
    done = CliRunner().invoke(cli.app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# Values of readers


@pytest.mark.parametrize("families", [("llama", "no-bos"), ("no-bos", "llama"), ("llama",), ()])
def test_each_reader_has_its_own_values(families: tuple[str, ...]) -> None:
    """There is an entry per reader in the given order. The keys of a single reader are those of the first one, or null."""
    readers = [tiny_lm(family) for family in families]
    problem = Problem(tiny_task(), tiny_lm("gpt2"))
    point = measure(problem, run_optimizer(load_optimizer("manual"), problem), readers)
    text = point["prompt_text"]
    assert list(point["readers"]) == [reader.name for reader in readers]
    own = point["scrutability"]["nats_per_character"]
    assert point["readers"] == {reader.name: by_hand(reader, text, own) for reader in readers}
    first = (readers[0].name, by_hand(readers[0], text, own)) if readers else (None, dict.fromkeys(MEASURES))
    assert (point["reader"], point["reader_log_perplexity"], point["reader_nats_per_character"]) == (
        first[0],
        first[1]["log_perplexity"],
        first[1]["nats_per_character"],
    )
    assert evaluate(text, problem.task, problem.lm, readers=readers)["readers"] == point["readers"]


def test_readers_tokenize_the_text_themselves() -> None:
    """Every reader reads the text of the ids, and never the ids themselves."""
    lm, readers = tiny_lm("gpt2"), [tiny_lm("llama"), tiny_lm("no-bos")]
    letters = lm.tokenizer.convert_tokens_to_ids(list("good"))
    found = evaluate(letters, tiny_task(), lm, readers=readers)
    own = found["scrutability"]["nats_per_character"]
    assert not found["roundtrip_ok"] and found["readers"] == {reader.name: by_hand(reader, "good", own) for reader in readers}
    assert found["readers"]["tiny-no-bos"]["tokens"] < len(letters)


@pytest.mark.parametrize(("family", "room"), [("gpt2", 63), ("llama", 63), ("no-bos", 64)])
def test_texts_longer_than_the_context_have_no_values(family: str, room: int, microworld: FrozenLM) -> None:
    """A start token takes one of the 64 positions. For a longer text only the number of tokens is recorded."""
    reader, task = tiny_lm(family), load_task("category")
    blank = len(reader.encode("q")) - 1  # every letter is a token here, and sentencepiece puts a blank before them
    fits, beyond = ("q" * (tokens - blank) for tokens in (room, room + 1))
    read = evaluate(fits, task, microworld, readers=[reader])
    own = read["scrutability"]["nats_per_character"]
    assert read["readers"] == {reader.name: by_hand(reader, fits, own)} and read["readers"][reader.name]["tokens"] == room
    unread = evaluate(beyond, task, microworld, readers=[reader])
    assert unread["readers"][reader.name] == dict.fromkeys(VALUES) | {"tokens": room + 1}
    assert unread["reader"] == reader.name
    assert unread["reader_log_perplexity"] is None and unread["reader_nats_per_character"] is None


def test_an_empty_text_has_no_values() -> None:
    """The empty prompt has no values, and a single token has none without a start token."""
    lm, reader = tiny_lm("gpt2"), tiny_lm("no-bos")
    for text, tokens in (("", 0), ("q", 1)):
        found = evaluate(text, tiny_task(), lm, readers=[reader])
        assert found["readers"] == {"tiny-no-bos": dict.fromkeys(VALUES) | {"tokens": tokens}}


# In a study and on the command line


def test_a_study_keeps_its_readers(base: Path, study: Path) -> None:
    """The request, every line of the record, the page and its rerun command have both readers in order."""
    store = Store(study)
    assert recorded_request(store.study).readers == (str(base / "one"), str(base / "two"))
    empty, manual = store.points()
    readers = [FrozenLM(tiny_lm(family).model, tiny_lm(family).tokenizer, name) for family, name in READERS.items()]
    text, own = manual["prompt_text"], manual["scrutability"]["nats_per_character"]
    assert manual["readers"] == {reader.name: pytest.approx(by_hand(reader, text, own)) for reader in readers}
    assert empty["readers"] == dict.fromkeys(("one", "two"), dict.fromkeys(VALUES) | {"tokens": 0})
    page = (study / "report.html").read_text(encoding="utf-8")
    for reader in readers:
        assert f"--reader {base / reader.name}" in page
        assert f"{manual['readers'][reader.name]['nats_per_character']:.2f}" in page
    assert {"readers.one.tokens", "readers.two.log_perplexity"} <= set(load_points(study).columns)


def test_the_embedded_model_has_a_default_reader(base: Path) -> None:
    """Given readers replace the default. Other models have no default reader."""
    assert answer("evaluate", "--text", "x", "--device", "cpu")["reader"] == "microworld-reader"
    named = answer("evaluate", "--text", "x", "--device", "cpu", "--reader", base / "two", "--reader", base / "one")
    assert (named["reader"], list(named["readers"])) == ("two", ["two", "one"])
    own = ("--task", f"{base}/words.py:task", "--lm", base / "tiny", "--device", "cpu")
    bare = answer("evaluate", "--text", "x", *own)
    assert (bare["reader"], bare["reader_log_perplexity"], bare["readers"]) == (None, None, {})
    once = answer("optimize", "manual", *own, "--reader", base / "one", "--reader", base / "two")
    assert list(once["readers"]) == ["one", "two"]


def test_evaluating_a_run_uses_the_readers_of_its_study(base: Path, study: Path) -> None:
    """Given readers replace those of the study, and the evaluated model itself is not one of its readers."""
    run = ("evaluate", "--run", study, "--optimizer", "manual")
    assert list(answer(*run)["readers"]) == ["one", "two"]
    assert list(answer(*run, "--reader", base / "other" / "one")["readers"]) == ["one"]
    moved = answer(*run, "--lm", base / "other" / ".." / "one")
    assert (moved["lm"], moved["reader"], list(moved["readers"])) == ("one", "two", ["two"])


def test_evaluate_prints_every_reader(base: Path) -> None:
    """The table has each measure of each reader once, with its unit."""
    words = ["evaluate", "--text", "good or bad", "--reader", str(base / "one"), "--reader", str(base / "two")]
    shown = CliRunner().invoke(cli.app, words).stdout
    for name in ("one", "two"):
        for key, unit in (("log_perplexity", "nats per token"), ("max_surprisal", "nats"), ("tokens", "tokens")):
            [line] = [line for line in shown.splitlines() if f"readers.{name}.{key}" in line]
            assert unit in line
    assert "reader_log_perplexity" not in shown


# Refused requests

REFUSED = {
    "twice": (["@/one", "@/one"], "readers '.*one' and '.*one' are the same model; name it once"),
    "twice, written in two ways": (["@/two", "@/one", "@/other/../two"], "readers '.*two' and '.*two' are the same model"),
    "the task model": (["@/one", "@/tiny"], "reader '.*tiny' is the task model, whose own measure is log_perplexity"),
    "the task model, written in another way": (["@/one/../tiny"], "is the task model"),
    "no such folder": (["@/one", "@/none"], "no model folder .*none; give an existing folder"),
    "no model": (["@/other"], "other is not a model folder"),
}


@pytest.mark.parametrize("verb", [("compare", "--out", "record"), ("optimize", "manual"), ("evaluate", "--text", "x")])
@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_reader_is_refused_in_one_line(
    case: str,
    verb: tuple[str, ...],
    base: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2 and one line in every verb, before anything runs or is written."""
    readers, said = REFUSED[case]
    own = ["--task", f"{base}/words.py:task", "--lm", f"{base}/tiny", "--device", "cpu"]
    named = [word for reader in readers for word in ("--reader", reader.replace("@", str(base)))]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hardprompt", *verb, *own, *named])
    monkeypatch.setattr("hardprompt.optimizers.run_optimizer", lambda *given: pytest.fail("ran"))
    with pytest.raises(SystemExit) as done:
        cli.main()
    out, err = capfd.readouterr()
    assert (done.value.code, out, err.count("\n")) == (2, "", 1) and re.search(said, err), err
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_the_embedded_model_is_recognized(microworld: FrozenLM) -> None:
    for name in ("microworld", str(EMBEDDED["microworld"])):
        with pytest.raises(RequestError, match="is the task model"):
            load_readers(StudyRequest.make(readers=(name,)))
    with pytest.raises(RequestError, match="are the same model"):
        load_readers(StudyRequest.make(readers=("microworld-reader", str(EMBEDDED["microworld-reader"]))))


def test_readers_with_the_same_name_are_refused_in_python() -> None:
    """The record would hold only one of them."""
    with pytest.raises(RequestError, match="two of the readers are called 'tiny-llama'"):
        evaluate("x", tiny_task(), tiny_lm("gpt2"), readers=[tiny_lm("llama"), tiny_lm("no-bos"), tiny_lm("llama")])


def test_a_study_with_the_old_reader_field_is_refused(study: Path, tmp_path: Path) -> None:
    """The old field `reader` is not a field of this version."""
    asked = Store(study).study
    asked["request"]["reader"] = asked["request"].pop("readers")[0]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
    (tmp_path / "points.jsonl").write_bytes((study / "points.jsonl").read_bytes())
    for use in (lambda: write_report(Store(tmp_path)), lambda: PromptRef(run=tmp_path, number=1).request({})):
        with pytest.raises(
            StudyError,
            match=r"^study\.yaml: no field 'reader'; did you mean 'readers'\? .*another version of hardprompt may have written",
        ):
            use()
