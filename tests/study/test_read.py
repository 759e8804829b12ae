"""The command read on studies and files, its page, and the benchmark of readings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardprompt.errors import RequestError, StudyError, UnknownName
from hardprompt.experiments.reading.evaluate import BenchmarkRequest, read_benchmark
from hardprompt.experiments.reading.prompts import load_benchmark
from hardprompt.experiments.reading.table import area_under_curve, best_of, readers_table, scores_of_given
from hardprompt.lm import FrozenLM
from hardprompt.readings.read import read as read_prompt
from hardprompt.records.prompt_ref import PromptRef
from hardprompt.records.store import Store
from tests.helpers import Ask

READ = ["--readers", "nearest", "--candidate", "give the category", "--candidate", "<i>the</i>"]


KEYS = {*("text", "ids", "kl", "kl_interval", "score", "agreement", "deployed_accuracy", "log_perplexity", "reader", "verdict")}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A recorded study with soft prompts."""
    return Path(shutil.copytree("runs/quick", tmp_path / "quick"))


@pytest.mark.slow
def test_the_reading_of_a_run_is_kept_and_shown(ask: Ask, study: Path, no_plot: None) -> None:
    before = (study / "points.jsonl").read_bytes()
    status, out, _ = ask(["read", "--run", str(study), "--optimizer", "soft", "--seed", "0", *READ, "--json"])
    answer = json.loads(out)
    assert status == 0 and {"readings", "verdict", "inputs", "lm_tokens"} <= answer.keys()
    keys = {
        "text",
        "ids",
        "kl",
        "kl_interval",
        "score",
        "agreement",
        "deployed_accuracy",
        "log_perplexity",
        "reader",
        "verdict",
    }
    assert all(keys <= reading.keys() for reading in answer["readings"])
    assert answer["readings"][0]["verdict"] == "faithful" and answer["readings"][0]["text"] == "give the category"
    [saved] = Store(study).readings()
    assert saved["readings"] == answer["readings"] and saved["optimizer"] == "soft" and saved["seed"] == 0
    assert (study / "points.jsonl").read_bytes() == before
    _, shown, _ = ask(["inspect", "--run", str(study), "--optimizer", "soft", "--seed", "0"])
    _, other, _ = ask(["inspect", "--run", str(study), "--optimizer", "soft", "--seed", "1"])
    assert "give the category" in shown and "give the category" not in other
    assert ask(["report", str(study)])[0] == 0
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "What the prompts do" in page and "give the category" in page and "&lt;i&gt;the&lt;/i&gt;" in page


def test_the_table_says_what_was_found(ask: Ask, tmp_path: Path, microworld: FrozenLM) -> None:
    vectors = microworld.vocab_embeds[microworld.encode("give the plural")].numpy()
    np.save(tmp_path / "soft.npy", vectors)
    (tmp_path / "words.txt").write_text("cat\ndog\n\nhouse\nriver\nbook\ntree\n", encoding="utf-8")
    arguments = ["--soft", str(tmp_path / "soft.npy"), "--task", "plural", "--inputs", str(tmp_path / "words.txt")]
    status, out, _ = ask(["read", *arguments, "--readers", "nearest", "--reader-lm", "microworld-reader"])
    assert status == 0 and "verdict: reading" in out and "on 3 inputs that the search did not see" in out
    status, out, _ = ask(["read", *arguments, "--readers", "nearest", "--reader-lm", "microworld-reader", "--json"])
    assert list(json.loads(out)["readings"][0]["reader_log_perplexity"]) == ["microworld-reader"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "give the plural", "--readers", "nearest"], "has no vectors to read"),
        (["--text", "give the plural", "--readers", "sampels"], "did you mean 'samples'"),
        (["--text", "give the plural", "--readers", ""], "--readers: no value is given"),
        (["--text", "give the plural", "-o", "samples.size=3"], "no samples option 'size'"),
        (["--text", "give the plural", "-o", "samples.samples=none"], "expected an integer; got 'none'"),
        (["--text", "give the plural", "--inputs", "none.txt"], "none.txt"),
        (["--soft", "wide.npy"], "whose embeddings are 160 wide"),
        (["--text", "give the plural", "--lm", "microworld-gpt"], "microworld-gpt"),
    ],
)
def test_a_request_that_cannot_be_used_costs_one_line(
    ask: Ask, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.zeros((2, 7), dtype=np.float32))
    readers = [] if "--readers" in arguments else ["--readers", "samples"]
    status, out, err = ask(["read", "--task", "plural", *arguments, *readers, "--lm-tokens", "100"])
    assert status == 2 and out == "" and message in err and err.count("\n") == 1


def test_a_damaged_reading_is_named(study: Path) -> None:
    (study / "readings").mkdir()
    (study / "readings" / "soft.json").write_text("{", encoding="utf-8")
    with pytest.raises(StudyError, match=r"soft.json: not a reading .*; remove the file"):
        Store(study).readings()


def test_a_reading_without_its_keys_is_named(study: Path) -> None:
    (study / "readings").mkdir()
    (study / "readings" / "soft.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match=r"soft.json: not a reading \(no optimizer\)"):
        Store(study).readings()


def test_a_reading_with_another_task_or_model_is_not_kept(study: Path) -> None:
    named = PromptRef(run=study, optimizer="soft", seed=0)
    found = {"verdict": "none", "readings": []}
    for other in ({"task": "plural"}, {"lm": "microworld-reader"}, {"template": "{prompt} : {input}"}):
        assert not named.save_reading(found, named.request(other))
    assert Store(study).readings() == []
    assert named.save_reading(found, named.request({"limit": 5})) and named.saved_reading


def test_an_interrupted_reading_of_the_benchmark_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [prompt for prompt in load_benchmark("microworld") if prompt.task == "plural"]
    monkeypatch.setattr("hardprompt.experiments.reading.evaluate.load_benchmark", lambda lm: few)
    request = BenchmarkRequest(readers=("nearest",), kinds=("untrained",), divisions=("tune",))
    with pytest.raises(RequestError, match="no dtype"):
        read_benchmark(request.model_copy(update={"dtype": "int8"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    read = lambda *given, **fields: replace(read_prompt(*given, **fields), interrupted=True)  # noqa: E731
    monkeypatch.setattr("hardprompt.experiments.reading.evaluate.read", read)
    with pytest.raises(KeyboardInterrupt):
        read_benchmark(request, tmp_path / "out")
    assert not (tmp_path / "out" / "readings.jsonl").exists()


@pytest.mark.slow
def test_the_benchmark_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [prompt for prompt in load_benchmark("microworld") if prompt.task in ("plural", "nationality")]
    monkeypatch.setattr("hardprompt.experiments.reading.evaluate.load_benchmark", lambda lm: few)
    request = BenchmarkRequest(readers=("nearest",), kinds=("planted", "untrained"), divisions=("tune",))
    lines = read_benchmark(request, tmp_path / "out")
    written = (tmp_path / "out" / "readings.jsonl").read_bytes()
    first = written[: written.index(b"\n") + 1]
    (tmp_path / "out" / "readings.jsonl").write_bytes(first)
    assert read_benchmark(request, tmp_path / "out") == lines
    assert (tmp_path / "out" / "readings.jsonl").read_bytes() == written
    with pytest.raises(StudyError, match="another"):
        read_benchmark(request.model_copy(update={"seed": 1}), tmp_path / "out")
    planted, untrained = (row for row in readers_table(lines) if row["reader"] == "nearest")
    assert (planted["kind"], planted["faithful"], planted["repeats"]) == ("planted", 1.0, 1.0)
    assert untrained["faithful"] == 0.0
    area = area_under_curve(*scores_of_given(line for line in lines if line["kind"] == "planted"))
    assert area is not None and area > 0.95
    assert best_of(lines[0], "nearest") and best_of(lines[0], "samples") is None


def test_the_prompts_of_the_benchmark_fit_their_models(microworld: FrozenLM) -> None:
    prompts = load_benchmark("microworld")
    assert len({prompt.name for prompt in prompts}) == len(prompts) > 90
    assert {prompt.prompt.embeds.shape[1] for prompt in prompts} == {160}
    for prompt in prompts:
        if prompt.kind == "planted":
            assert prompt.text
            same = microworld.vocab_embeds[microworld.encode(prompt.text)]
            assert (prompt.prompt.embeds - same).abs().max() < 1e-3
    assert sum(prompt.kind == "wayward" for prompt in prompts) == 30
    smollm2 = load_benchmark("smollm2")
    assert {"trained", "planted", "distilled", "untrained", "shuffled"} == {prompt.kind for prompt in smollm2}
    with pytest.raises(RequestError, match="needs data; give the folder with relations in it"):
        next(prompt for prompt in smollm2 if prompt.fields["data"] == "relations").load_task()
    with pytest.raises(UnknownName, match="microworld"):
        load_benchmark("microwrld")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--divisions", "reprot"], "did you mean 'report'"),
        (["--divisions", "tune", "--kinds", "wayward"], "no prompt of these kinds in these divisions"),
        (["--kinds", "plantd"], "did you mean 'planted'"),
        (["--lm", "microwrld"], "did you mean 'microworld'"),
        (["--readers", "sampels"], "did you mean 'samples'"),
    ],
)
def test_a_benchmark_that_does_not_exist_costs_one_line(ask: Ask, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, out, err = ask(["benchmark", *arguments, "--out", str(tmp_path / "out")])
    assert status == 2 and out == "" and message in err and err.count("\n") == 1


def test_a_reading_on_another_split_or_after_another_start_is_not_kept(study: Path) -> None:
    named = PromptRef(run=study, optimizer="soft", seed=0)
    for other in ({"splits": ("other",)}, {"start": "none"}):
        assert not named.save_reading({"verdict": "none", "readings": []}, named.request(other))
