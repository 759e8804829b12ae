"""A study writes a complete record, resumes where it stopped, and does not change other files."""

import json
import math
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hardprompt
from hardprompt.errors import HardpromptError, RequestError, StudyError
from hardprompt.lm import FrozenLM, load_lm
from hardprompt.metrics import FAITHFULNESS
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.optimizers.base import Candidate
from hardprompt.prompt import HardPrompt
from hardprompt.records.frontier import differences, front, frontier
from hardprompt.records.request import Run, StudyRequest
from hardprompt.records.schema import FailedRun, RunRecord, run_records
from hardprompt.records.store import Store, load_points
from hardprompt.report.listing import list_metrics
from hardprompt.report.write import write_report
from hardprompt.scoring import Scorer
from hardprompt.stats.bootstrap import bootstrap_mean
from hardprompt.stats.pareto import hypervolume, non_dominated
from hardprompt.study.engine import Job
from hardprompt.study.loaded_study import Progress
from hardprompt.study.loading import load_optimizers
from hardprompt.study.measure import FRONT_STEPS, front_growth
from hardprompt.study.planner import plan
from hardprompt.study.runner import compare
from tests.helpers.tiny import save_tiny, tiny_lm, tiny_task

OPTIMIZERS = ("empty", "manual", "random", "soft", "pez", "rl")
SEARCHES = ("random", "soft", "pez", "rl")
FAST = {"rl": {"rollout": "4", "examples": "4"}, "random": {"batch_size": "4"}, "soft": {"evaluate_every": "2"}}
FILES = {"study.yaml", "points.jsonl", "frontier.json", "tradeoff.png", "tradeoff.svg", "report.html"}
Point = dict[str, Any]

# The table of the record's keys in the project's design, with what each holds.
NUMBER = (int, float)
KEYS: dict[str, Any] = {
    "optimizer": str,
    "task": str,
    "lm": str,
    "split": str,
    "seed": int,
    "weight": NUMBER,
    "objective": str,
    "prompt_ids": list,
    "prompt_text": str,
    "roundtrip_ok": bool,
    "train_accuracy": NUMBER,
    "dev_accuracy": NUMBER,
    "test_accuracy": NUMBER,
    "test_correct": str,
    "test_loss": NUMBER,
    "deployed_test_accuracy": NUMBER,
    "log_perplexity": (int, float, type(None)),
    "log_perplexity_in_place": (int, float, type(None)),
    "reader_log_perplexity": (int, float, type(None)),
    "reader_nats_per_character": (int, float, type(None)),
    "readers": dict,
    "scrutability": dict,
    "copying": dict,
    "faithfulness": dict,
    "lm_tokens_forward": int,
    "lm_tokens_backward": int,
    "seconds": NUMBER,
    "status": str,
    "curve": list,
    "front_curve": list,
}

TASK_FILE = '''
from hardprompt import Example, Task, Template

PAIRS = [("the cat sat", "a mat"), ("red green", "blue"), ("it was a lovely", "film"), ("yes or", "no")]
examples = [Example(*pair) for pair in PAIRS]


def words(split):
    """A generation task with two data splits."""
    own = examples if split == "default" else examples[::-1][:3]
    return Task(name="words", template=Template("{prompt} : {input}"), train=own, dev=own[:3], test=own[1:], split=split,
                reference_prompts=["write the word again"])
'''


class Watch:
    """A listener that stores its calls and interrupts at a given one."""

    def __init__(self, finished: int | None = None, advanced: int | None = None) -> None:
        self.started_runs: list[Run] = []
        self.points: list[Point] = []
        self.shares: list[float] = []
        self.plan: tuple[Path, int, int] | None = None
        self.notes: list[str] = []
        self._last = {"finished": finished, "advanced": advanced}

    def planned(self, folder: Path, jobs: Sequence[Job], recorded: int) -> None:
        self.plan = (folder, len(jobs), recorded)

    def noted(self, text: str) -> None:
        self.notes.append(text)

    def started(self, job: Job) -> None:
        self.started_runs.append(job.run)

    def advanced(self, job: Job, step: Progress) -> None:
        self.shares.append(step.share)
        self._interrupt("advanced", len(self.shares))

    def finished(self, job: Job, point: Point) -> None:
        self.points.append(point)
        self._interrupt("finished", len(self.points))

    def _interrupt(self, event: str, count: int) -> None:
        if count == self._last[event]:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model's folder."""
    return str(save_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def reader(model: str) -> str:
    """The folder of a tiny reader."""
    return str(save_tiny(Path(model).with_name("reader"), "no-bos"))


@pytest.fixture(scope="module")
def jsonl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classification task as a file of lines."""
    task, file = tiny_task(), tmp_path_factory.mktemp("tasks") / "mood.jsonl"
    rows = [
        {"input": e.input, "answer": e.answer, "split": split}
        for split in ("train", "dev", "test")
        for e in task.examples(split)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def request_of(model: str, reader: str, jsonl: str) -> Callable[..., StudyRequest]:
    """A function that makes a request on the jsonl task: all optimizers, two weights, two seeds, a few steps each."""

    def make(**fields: Any) -> StudyRequest:
        optimizers = fields.get("optimizers", OPTIMIZERS)
        usual: dict[str, Any] = {
            "task": jsonl,
            "lm": model,
            "readers": (reader,),
            "optimizers": optimizers,
            "template": "{input} {prompt} :",
            "label_words": {"positive": "good", "negative": "bad"},
            "reference_prompts": ("good or bad", "write the word"),
            "weights": (0.0, 0.2),
            "lm_tokens": 800,
            "prompt_length": 3,
            "options": {name: options for name, options in FAST.items() if name in optimizers},
            "device": "cpu",
        }
        return StudyRequest.make(**usual | fields)

    return make


@pytest.fixture(scope="module")
def of_jsonl(request_of: Callable[..., StudyRequest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole study of the jsonl task."""
    folder = tmp_path_factory.mktemp("studies") / "jsonl"
    compare(request_of(), folder)
    return folder


@pytest.fixture(scope="module")
def of_file(request_of: Callable[..., StudyRequest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole study of a generation task in a Python file, over its two data splits."""
    base = tmp_path_factory.mktemp("of-file")
    (base / "mine.py").write_text(TASK_FILE, encoding="utf-8")
    own: dict[str, Any] = {"template": None, "label_words": {}, "reference_prompts": ()}
    compare(request_of(task=f"{base}/mine.py:words", splits=("default", "other"), seeds=(0,), **own), base / "study")
    return base / "study"


@pytest.fixture(scope="module", params=["of_jsonl", "of_file"])
def study(request: pytest.FixtureRequest) -> Path:
    """The folder of either study."""
    return request.getfixturevalue(request.param)


def lines(folder: Path) -> list[Point]:
    """Every line of the record as it is in the file."""
    return [json.loads(line) for line in (folder / "points.jsonl").read_text(encoding="utf-8").split("\n") if line]


def results(folder: Path) -> dict[tuple[Any, ...], Point]:
    """Every recorded value except the seconds, by run: these do not depend on how a study was run."""
    kept = [{key: value for key, value in point.items() if key != "seconds"} for point in Store(folder).points()]
    return {(p["optimizer"], p["split"], p["seed"], p["weight"]): p for p in kept}


def on_disk(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The contents and modification times of all files in a folder."""
    return {str(f): (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(folder.rglob("*")) if f.is_file()}


def user_file(folder: Path, body: str, config: str = "pass") -> str:
    """Write an optimizer `mine` to a file; returns the reference to it."""
    file = folder / "mine.py"
    file.write_text(
        "from pathlib import Path\n"
        "import hardprompt\n"
        "from hardprompt.errors import RunError, TaskError\n"
        f"class MineConfig(hardprompt.Config):\n    {config}\n"
        "@hardprompt.optimizer('mine', config=MineConfig, uses_weight=False)\n"
        f"def mine(problem, config):\n    'Anything.'\n    {body}\n",
        encoding="utf-8",
    )
    return f"{file}:mine"


# Contents of a study


def test_a_study_writes_its_files(study: Path) -> None:
    """The folder holds exactly the six files of a study, each in the format of its suffix."""
    assert {file.name for file in study.iterdir()} == FILES | {"soft"}
    assert (study / "tradeoff.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert ElementTree.parse(study / "tradeoff.svg").getroot().tag.endswith("svg")
    assert (study / "points.jsonl").read_bytes().endswith(b"\n")


def test_study_yaml_holds_the_request(of_jsonl: Path, request_of: Callable[..., StudyRequest]) -> None:
    """study.yaml holds the original request, and the versions that a result depends on."""
    said = yaml.safe_load((of_jsonl / "study.yaml").read_text(encoding="utf-8"))
    assert StudyRequest(**said["request"] | {"options": {}}) == request_of(options={})
    assert {"python", "hardprompt", "torch", "transformers"} <= set(said["versions"])


@pytest.mark.parametrize("key", KEYS)
def test_every_point_has_the_documented_key(study: Path, key: str) -> None:
    """Every finished run has every key of the design's table with its type, and all numbers are finite."""
    for point in lines(study):
        value = point[key]
        assert isinstance(value, KEYS[key]), point["optimizer"]
        assert not isinstance(value, float) or math.isfinite(value)
        if key.endswith("accuracy"):
            assert 0 <= value <= 1


def test_every_planned_run_is_recorded_once(study: Path) -> None:
    """Each combination of optimizer, weight, split and seed is one line, also for `empty`, `manual` and `random`."""
    request = StudyRequest(**yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))["request"])
    planned = list(plan(request, load_optimizers(request)))
    points = lines(study)
    assert [Run(p["optimizer"], p["split"], p["seed"], p["weight"]) for p in points] == planned
    assert {p["status"] for p in points} == {"ok"}
    assert {p["optimizer"] for p in points} == set(OPTIMIZERS)
    sweeping = {p["optimizer"] for p in points if p["weight"] > 0}
    assert sweeping == {"pez", "rl"}
    assert all(p["prompt_ids"] == [] and p["log_perplexity"] is None for p in points if p["optimizer"] == "empty")
    assert {p["prompt_text"].strip() for p in points if p["optimizer"] == "manual"} <= {
        "good or bad",
        "write the word",
        "write the word again",
    }


def test_every_listed_metric_is_recorded(study: Path) -> None:
    """A soft prompt's line has every metric of `ls metrics` but those of several models. A hard prompt's gaps are null."""
    points = lines(study)
    [soft, *_] = [p for p in points if p["optimizer"] == "soft"]
    for entry in list_metrics():
        if entry["prompts"] == "hard" or entry["name"].startswith("by_lm."):
            continue
        value: Any = soft
        *families, name = entry["name"].replace("NAME", "reader").split(".")
        for family in families:
            value = value[family][0] if isinstance(value[family], list) else value[family]
        assert (name in value) != (name == "label_kl" and soft["task"] == "words"), entry["name"]  # no label words
    for hard in (p for p in points if p["optimizer"] != "soft"):
        values = dict(hard["faithfulness"])
        assert "by construction" in values.pop("reason") and set(values) == {each.name for each in FAITHFULNESS}
        assert set(values.values()) == {None}


def test_recorded_scores_agree_with_scoring_again(of_jsonl: Path, model: str) -> None:
    """Scoring the recorded ids and the recorded text again gives the recorded test values."""
    lm, task = load_lm(model, "cpu"), tiny_task()
    test = Scorer(lm, task, task.test)
    for point in (p for p in lines(of_jsonl) if p["optimizer"] != "soft"):
        own, deployed = test.score_ids([point["prompt_ids"]]), test.score_text(point["prompt_text"])
        assert point["test_accuracy"] == pytest.approx(float(own.accuracy))
        assert point["test_loss"] == pytest.approx(float(own.mean_loss), rel=1e-4)
        assert point["deployed_test_accuracy"] == pytest.approx(float(deployed.accuracy))
        assert point["deployed_test_loss"] == pytest.approx(float(deployed.mean_loss), rel=1e-4)


def test_the_curve_ends_at_the_best_prompt(of_jsonl: Path) -> None:
    """Each step is better and costs more, within the spent tokens, and the last step is the selected prompt."""
    for point in lines(of_jsonl):
        objectives, spent = ([step[key] for step in point["curve"]] for key in ("dev_objective", "lm_tokens"))
        assert (
            objectives[-1] == point["dev_objective"] and spent[-1] <= point["lm_tokens_forward"] + point["lm_tokens_backward"]
        )
        assert all(a > b for a, b in pairwise(objectives)) and all(a < b for a, b in pairwise(spent))
        assert point["curve"][-1]["dev_accuracy"] == pytest.approx(point["dev_accuracy"])


def test_every_hard_prompt_search_records_the_growth_of_its_front(of_jsonl: Path) -> None:
    """The hypervolume rises from step to step, and covers at least the best prompt; soft and empty prompts have no NLL."""
    worst = math.log(yaml.safe_load((of_jsonl / "study.yaml").read_text(encoding="utf-8"))["vocabulary_size"])
    for point in lines(of_jsonl):
        steps = point["front_curve"]
        assert bool(steps) == (point["optimizer"] not in ("soft", "empty"))
        assert all(a["hypervolume"] < b["hypervolume"] and a["lm_tokens"] < b["lm_tokens"] for a, b in pairwise(steps))
        assert len(steps) <= FRONT_STEPS
        if steps:
            of_best = hypervolume([point["dev_accuracy"]], [point["log_perplexity"]], worst)
            assert of_best - 1e-6 <= steps[-1]["hypervolume"] <= 1
            assert steps[-1]["lm_tokens"] <= point["lm_tokens_forward"] + point["lm_tokens_backward"]


def candidate(accuracy: float, nll: float, lm_tokens: int) -> Candidate:
    return Candidate(HardPrompt((0,), "a"), 0.0, 0.0, accuracy, nll, lm_tokens)


def test_the_front_grows_with_the_candidates() -> None:
    """Each step is the hypervolume of all prompts until then, and only increases are steps."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        accuracies = (torch.randint(9, (40,), generator=generator) / 8).tolist()
        costs = (10 * torch.rand(40, generator=generator)).tolist()
        tokens = [10 * (1 + i // 3) for i in range(40)]  # three prompts are scored at once
        expected: list[tuple[int, float]] = []
        for last in sorted(set(tokens)):
            count = sum(spent <= last for spent in tokens)
            volume = hypervolume(accuracies[:count], costs[:count], 8.0)
            if not expected or volume > expected[-1][1] + 1e-12:
                expected.append((last, volume))
        steps = front_growth(list(map(candidate, accuracies, costs, tokens)), 8.0)
        assert [step["lm_tokens"] for step in steps] == [last for last, _ in expected]
        assert [step["hypervolume"] for step in steps] == pytest.approx([volume for _, volume in expected])


def test_prompts_without_nll_are_no_steps_and_long_curves_are_thinned() -> None:
    """The first step may have hypervolume 0. Of 101 steps at most 50 are kept, with the first and the last."""
    nan = candidate(1.0, math.nan, 5)
    assert front_growth([], 8.0) == front_growth([nan], 8.0) == []
    few = [nan, candidate(1.0, 9.0, 10), candidate(0.5, 4.0, 20), candidate(0.25, 5.0, 30)]
    assert front_growth(few, 8.0) == [{"lm_tokens": 10, "hypervolume": 0.0}, {"lm_tokens": 20, "hypervolume": 0.25}]
    many = front_growth([candidate(i / 100, 4.0, i) for i in range(101)], 8.0)
    assert len(many) == FRONT_STEPS and (many[0]["lm_tokens"], many[-1]["lm_tokens"]) == (0, 100)
    assert all(step["hypervolume"] == pytest.approx(step["lm_tokens"] / 200) for step in many)


def test_frontier_json_follows_from_the_points(study: Path) -> None:
    """frontier.json equals the result of `frontier` for the recorded points, and its members are recorded prompts."""
    found = json.loads((study / "frontier.json").read_text(encoding="utf-8"))
    points = lines(study)
    size = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))["vocabulary_size"]
    assert found == frontier(run_records(points), math.log(size))
    assert set(found["optimizers"]) == set(OPTIMIZERS) - {"empty"}
    texts = {p["prompt_text"] for p in points}
    assert found["overall"]["front"] and all(member["prompt_text"] in texts for member in found["overall"]["front"])


def test_load_points_is_a_table_of_the_runs(of_jsonl: Path) -> None:
    """One row per run with nested metrics as columns, equal to what `compare` returned."""
    table = load_points(of_jsonl)
    assert isinstance(table, pd.DataFrame) and len(table) == len(lines(of_jsonl))
    soft = table[table.optimizer == "soft"]
    assert {"faithfulness.kl", "faithfulness.label_kl", "scrutability.repetition", "emitted.count"} <= set(table.columns)
    assert soft["faithfulness.kl"].notna().all() and table[table.optimizer == "pez"]["faithfulness.kl"].isna().all()
    with pytest.raises(StudyError, match=r"no study\.yaml"):
        load_points(of_jsonl.parent)


# Resuming


def test_the_same_request_repeats_no_run(of_jsonl: Path, request_of: Callable[..., StudyRequest]) -> None:
    """Requesting a finished study again runs nothing and does not change its points."""
    before, watch = on_disk(of_jsonl), Watch()
    table = compare(request_of(), of_jsonl, watch)
    after = on_disk(of_jsonl)
    assert watch.started_runs == [] and watch.plan == (of_jsonl, 0, len(table))
    points = str(of_jsonl / "points.jsonl")
    assert after[points] == before[points]
    assert {name: content for name, (content, _) in after.items()} == {name: content for name, (content, _) in before.items()}


@pytest.mark.usefixtures("no_plot")
@pytest.mark.parametrize("stop", [{"finished": 1}, {"finished": 9}, {"advanced": 1}, {"advanced": 60}])
def test_an_interrupted_study_resumes_to_the_same_results(
    stop: dict[str, int], of_jsonl: Path, request_of: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    """After an interruption between or within runs, every finished run is kept, and the final results are the same."""
    folder, watch, rest = tmp_path / "study", Watch(**stop), Watch()
    with pytest.raises(KeyboardInterrupt):
        compare(request_of(), folder, watch)
    kept = lines(folder)
    assert kept == watch.points and 0 < len(kept) < len(lines(of_jsonl))
    assert {file.name for file in folder.iterdir()} - {"soft"} == FILES
    compare(request_of(), folder, rest)
    assert lines(folder)[: len(kept)] == kept
    assert len(rest.started_runs) == len(lines(of_jsonl)) - len(kept)
    assert results(folder) == results(of_jsonl)


@pytest.mark.usefixtures("no_plot")
def test_runs_do_not_depend_on_their_order(of_jsonl: Path, request_of: Callable[..., StudyRequest], tmp_path: Path) -> None:
    """The same runs in the opposite order give the same results."""
    backwards = {"optimizers": OPTIMIZERS[::-1], "seeds": (1, 0), "weights": (0.2, 0.0)}
    compare(request_of(**backwards), tmp_path / "study")
    assert lines(tmp_path / "study")[0]["optimizer"] == "rl"
    assert results(tmp_path / "study") == results(of_jsonl)


def test_different_seeds_give_different_results(of_jsonl: Path) -> None:
    """Another seed gives other prompts. That the same seed gives the same prompts is tested above."""
    recorded = results(of_jsonl)
    for name in SEARCHES:
        zero, one = (recorded[name, "default", seed, 0.0] for seed in (0, 1))
        assert (zero["prompt_ids"], zero["emitted"]) != (one["prompt_ids"], one["emitted"]), name


@pytest.mark.usefixtures("no_plot")
def test_an_incomplete_line_is_set_aside(of_jsonl: Path, request_of: Callable[..., StudyRequest], tmp_path: Path) -> None:
    """A last line that a crash cut off, even within a character, is moved to another file, and its run is repeated."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.yaml").write_bytes((of_jsonl / "study.yaml").read_bytes())
    whole = (of_jsonl / "points.jsonl").read_bytes()
    *rest, last, _ = whole.split(b"\n")
    torn = last[: len(last) // 2] + "é".encode()[:1]
    (folder / "points.jsonl").write_bytes(b"\n".join([*rest, torn]))
    with pytest.raises(StudyError, match=r"UTF-8|not JSON"):
        load_points(folder)
    watch = Watch()
    compare(request_of(), folder, watch)
    assert len(watch.started_runs) == 1
    assert (folder / "points.torn").read_text(encoding="utf-8", errors="replace") == torn.decode(errors="replace") + "\n"
    assert any("points.torn" in note for note in watch.notes)
    assert (folder / "points.jsonl").read_bytes().startswith(b"\n".join([*rest, b""]))
    assert results(folder) == results(of_jsonl)


def test_a_prompt_may_hold_any_character(of_jsonl: Path, tmp_path: Path) -> None:
    """Line separators, control characters and characters without a glyph are recorded exactly, and the plot is valid."""
    (tmp_path / "study.yaml").write_bytes((of_jsonl / "study.yaml").read_bytes())
    store, text = Store(tmp_path), "a\u2028b\x85c\x0cd\ne\r\x01\x1b -- <&> $x_$ 猫 \U0001f600"
    point = lines(of_jsonl)[1] | {"prompt_text": text}
    store.append(point)
    store.append(lines(of_jsonl)[2])
    write_report(store)
    assert len(store.points()) == 2 and store.points()[0]["prompt_text"] == text
    ElementTree.parse(tmp_path / "tradeoff.svg")


# Refused requests


@pytest.mark.parametrize(
    "other",
    [
        {"seeds": (0, 1, 2)},
        {"weights": (0.0, 0.3)},
        {"lm_tokens": None},
        {"prompt_length": 4},
        {"length_weight": 0.1},
        {"readers": ("microworld-reader",)},
        {"optimizers": ("empty", "manual"), "options": {}},
        {"options": FAST | {"pez": {"steps": "7"}}},
    ],
    ids=lambda other: "-".join(other),
)
def test_another_request_in_the_same_folder_is_refused(
    other: Point, of_jsonl: Path, request_of: Callable[..., StudyRequest]
) -> None:
    """A folder with another study is refused, saying what differs, and nothing on disk changes."""
    before = on_disk(of_jsonl)
    with pytest.raises(StudyError, match="another study") as error:
        compare(request_of(**other), of_jsonl)
    assert all(field in str(error.value) for field in other if other[field])
    assert on_disk(of_jsonl) == before


@pytest.mark.usefixtures("no_plot")
def test_a_folder_without_a_study_is_not_changed(request_of: Callable[..., StudyRequest], tmp_path: Path) -> None:
    """A folder with other contents is refused, an empty folder is used, and no folder is created below a file."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work", encoding="utf-8")
    before = on_disk(tmp_path)
    for folder in (foreign, foreign / "thesis.txt", foreign / "thesis.txt" / "below"):
        with pytest.raises(StudyError, match="--out"):
            compare(request_of(), folder)
    assert on_disk(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert len(compare(request_of(optimizers=("empty",)), tmp_path / "empty")) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizers": ("empty", "pezz")},
        {"lm": "no/such-model"},
        {"readers": ("no/such-model",)},
        {"vocabulary": "wrods"},
        {"label_words": {"positive": "good", "negative": "a dull film"}},
        {"prompt_length": 500},
        {"options": {"pez": {"init": "text"}}},
        {"reference_prompts": ()},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_a_wrong_request_creates_no_folder(
    wrong: Point, request_of: Callable[..., StudyRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot run is refused before anything is written."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError):
        compare(request_of(**wrong), tmp_path / "study")
    assert not (tmp_path / "study").exists()


# Failing runs


@pytest.mark.usefixtures("no_plot")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("raise TaskError('of the user')", "TaskError: of the user"),
        ("raise RunError('of the user')", "RunError: of the user"),
        ("assert problem.train is None", "AssertionError"),
        ("return [[1, 2, 3]]", "scored no prompt on dev"),
        ("problem.score_on_dev([[1]]); return [['x']]", "TypeError"),
        ("return problem.score_on_dev([[10 ** 6]])", "IndexError"),
    ],
)
def test_a_failed_run_is_recorded_and_repeated_on_request(
    body: str, said: str, request_of: Callable[..., StudyRequest], tmp_path: Path
) -> None:
    """Any exception of a custom optimizer is recorded in one line, and the other runs finish.

    The run is repeated on request.
    """
    broken = tmp_path / "broken"
    broken.touch()
    guarded = f"if Path({str(broken)!r}).exists():\n        {body}\n    problem.score_on_dev([[1, 2]])\n    return [[1, 2]]"
    names = ("empty", user_file(tmp_path, guarded), "manual")
    request = request_of(optimizers=names, seeds=(0,))
    folder = tmp_path / "study"

    table = compare(request, folder)
    assert list(table.status) == ["ok", "failed", "ok"]
    [failed] = [p for p in lines(folder) if p["status"] == "failed"]
    assert said in failed["error"] and "\n" not in failed["error"]
    assert {key: failed[key] for key in ("optimizer", "split", "seed", "weight")} == {
        "optimizer": "mine",
        "split": "default",
        "seed": 0,
        "weight": 0.0,
    }

    compare(request, folder)
    assert [p["status"] for p in lines(folder)] == ["ok", "failed", "ok"]
    compare(request, folder, retry_failed=True)
    assert [p["status"] for p in lines(folder)] == ["ok", "failed", "ok", "failed"]
    broken.unlink()
    watch = Watch()
    table = compare(request, folder, watch, retry_failed=True)
    assert [run.optimizer for run in watch.started_runs] == ["mine"]
    assert len(lines(folder)) == 5 and list(table.status) == ["ok"] * 3


@pytest.mark.usefixtures("no_plot")
def test_an_infinite_value_is_recorded_as_a_failed_run(request_of: Callable[..., StudyRequest], tmp_path: Path) -> None:
    """A run with an infinite value is recorded as failed with the key of the value, and the record stays valid JSON."""
    mine = user_file(tmp_path, "problem.score_on_dev([[1]]); return [[1]]", config="reach: float = float('inf')")
    table = compare(request_of(optimizers=(mine, "empty"), seeds=(0,)), tmp_path / "study")
    assert list(table.status) == ["failed", "ok"]
    assert "config holds a number that is not finite" in table.error[0]


@pytest.mark.usefixtures("no_plot")
def test_an_undefined_objective_fails_its_run(request_of: Callable[..., StudyRequest], tmp_path: Path) -> None:
    """A prompt whose objective on dev is not a number is never recorded as a result."""
    body = (
        "import torch\n    from hardprompt.scoring import Scores\n"
        "    scores = Scores(torch.tensor([[float('nan')]]), torch.tensor([[True]]), None)\n"
        "    problem.dev.score_ids = lambda prompts: scores\n    problem.score_on_dev([[1]])\n    return [[1]]"
    )
    table = compare(request_of(optimizers=(user_file(tmp_path, body),), seeds=(0,)), tmp_path / "study")
    assert list(table.status) == ["failed"] and "not a number" in table.error[0]
    assert not (tmp_path / "study" / "frontier.json").exists()
    assert "not a number" in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")


# Budgets


@pytest.mark.parametrize("budget", [600, 2500])
@pytest.mark.parametrize("name", SEARCHES)
def test_budgets_hold_to_within_one_step(name: str, budget: int) -> None:
    """A search stops in the step that exhausts its budget of LM tokens; afterwards it may only evaluate its last prompt."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    optimizer = load_optimizer(name)
    options = {"soft": {"evaluate_every": 1}, "rl": {"rollout": 4, "examples": 4}, "random": {"batch_size": 4}}
    after_steps = [0]
    problem = Problem(
        task,
        lm,
        prompt_length=3,
        lm_tokens=budget,
        weight=0.2 if optimizer.uses_weight else 0.0,
        progress=lambda share: after_steps.append(problem.spent),
    )
    result = run_optimizer(optimizer, problem, optimizer.configure(options.get(name, {"steps": 10_000})))
    largest = max(after - before for before, after in pairwise(after_steps))
    spent = result.lm_tokens_forward + result.lm_tokens_backward
    one_prompt_on_dev = sum(3 + len(lm.encode(e.input)) + 3 for e in task.dev) + 3
    assert budget <= spent < budget + largest + one_prompt_on_dev
    assert len(after_steps) > 2 and after_steps[-2] < budget


def test_every_run_has_the_budget_of_the_study(of_jsonl: Path) -> None:
    """Every search of a study costs at least the budget of LM tokens and less than one and a half times the budget."""
    for point in lines(of_jsonl):
        spent = point["lm_tokens_forward"] + point["lm_tokens_backward"]
        if point["optimizer"] in SEARCHES:
            assert 800 <= spent < 1200, point["optimizer"]


def test_lm_tokens_counted_by_hand(of_jsonl: Path, model: str) -> None:
    """Scoring a prompt on dev costs the tokens of every filled example and its own tokens for the NLL, and none backward."""
    lm, task = load_lm(model, "cpu"), tiny_task()

    def cost(prompt: str) -> int:
        filled = [task.template.fill(example.input, prompt) for example in task.dev]
        return sum(len(ids) for ids in lm.encode_many(filled)) + len(lm.encode(" " + prompt if prompt else ""))

    expected = {"empty": cost(""), "manual": sum(cost(prompt) for prompt in task.reference_prompts)}
    for point in lines(of_jsonl):
        if point["optimizer"] in expected:
            assert (point["lm_tokens_forward"], point["lm_tokens_backward"]) == (expected[point["optimizer"]], 0)
        assert (point["lm_tokens_backward"] > 0) == (point["optimizer"] in ("soft", "pez"))


# The request


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weights": (-0.1,)}, "weights: a weight must be"),
        ({"weights": (math.nan,)}, "weights: a weight must be"),
        ({"weights": ()}, "weights: give at least one"),
        ({"seeds": (0, 0)}, "seeds: give at least one value, and each value once"),
        ({"seeds": (-1,)}, "seeds.0: expected a number of at least 0; got -1"),
        ({"seeds": (2**32,)}, "seeds.0: expected a number less than 4294967296; got 4294967296"),
        ({"prompt_length": 0}, "prompt_length: expected a number greater than 0; got 0"),
        ({"lm_tokens": 0}, "lm_tokens: "),
        ({"length_weight": -0.1}, "length_weight: expected a number of at least 0.0; got -0.1"),
        ({"length_weight": math.inf}, "length_weight: "),
        ({"wieghts": (0.1,)}, "did you mean 'weights'"),
    ],
)
def test_invalid_requests_are_refused(fields: Point, said: str) -> None:
    """Fields are checked when the request is made, and the message names the field."""
    with pytest.raises(RequestError, match="^(" + said + "|no field.*" + said + ")"):
        StudyRequest.make(**fields)


@pytest.mark.usefixtures("no_plot")
def test_default_folder_is_named_after_task_and_model(
    request_of: Callable[..., StudyRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder the record goes to hardprompt-out/TASK-LM below the current directory."""
    monkeypatch.chdir(tmp_path)
    compare(request_of(optimizers=("empty",)))
    assert [str(f) for f in Path().iterdir()] == ["hardprompt-out"]
    assert os.listdir("hardprompt-out") == ["mood-tiny"]


def test_optimizers_with_the_same_name_are_refused(request_of: Callable[..., StudyRequest]) -> None:
    """Two optimizers that would share their lines in the record cannot be compared."""
    twice = Path(hardprompt.__file__).with_name("optimizers") / "baselines.py"
    with pytest.raises(HardpromptError, match="two of the optimizers have the name 'empty'"):
        load_optimizers(request_of(optimizers=("empty", f"{twice}:empty")))


# The frontier: values computed by hand, and properties


def test_non_dominated_points_found_by_hand() -> None:
    """Of equal costs the larger gain is kept, of equal points the first, and dominated points are removed."""
    gains, costs = [0.5, 0.9, 0.9, 0.9, 0.2, 0.5], [2.0, 5.0, 5.0, 7.0, 2.0, 3.0]
    assert non_dominated(gains, costs) == [0, 1]
    assert non_dominated([], []) == []


def test_hypervolume_computed_by_hand() -> None:
    """Two steps of a staircase in a rectangle of 1 x 10 cover (0.4 x (10 - 2) + 0.5 x (10 - 6)) / 10 = 0.52."""
    assert hypervolume([0.4, 0.9], [2.0, 6.0], worst_cost=10.0) == pytest.approx(0.52)
    assert hypervolume([0.4, 0.9, 1.0], [2.0, 6.0, 12.0], worst_cost=10.0) == pytest.approx(0.52)
    assert hypervolume([1.0], [0.0], worst_cost=3.0) == 1.0
    assert hypervolume([], [], worst_cost=3.0) == 0.0


FRACTION = st.floats(0, 1)
COST = st.floats(0, 20)
POINTS = st.lists(st.tuples(FRACTION, COST), max_size=8)


@given(POINTS)
def test_no_member_of_the_front_is_dominated(points: list[tuple[float, float]]) -> None:
    """No point beats a member on one axis without losing on the other, and every other point is matched by a member."""
    gains, costs = [p[0] for p in points], [p[1] for p in points]
    members = non_dominated(gains, costs)
    for i in members:
        for j in range(len(points)):
            assert not (gains[j] >= gains[i] and costs[j] < costs[i]) and not (gains[j] > gains[i] and costs[j] <= costs[i])
    for j in range(len(points)):
        assert any(gains[i] >= gains[j] and costs[i] <= costs[j] for i in members)


@given(POINTS, st.tuples(FRACTION, COST), st.floats(1, 15))
def test_hypervolume_is_a_fraction_and_grows_with_points(
    points: list[tuple[float, float]], new: tuple[float, float], worst: float
) -> None:
    """It is in [0, 1], does not decrease when a point is added, and does not depend on the order of the points."""

    def volume(of: list[tuple[float, float]]) -> float:
        return hypervolume([p[0] for p in of], [p[1] for p in of], worst)

    before, after = volume(points), volume([*points, new])
    assert 0 <= before <= after + 1e-12 and after <= 1 + 1e-12
    assert volume([new, *points[::-1]]) == pytest.approx(after)


def answered(name: str, seed: int, right: str, weight: float = 0.0, status: str = "ok") -> RunRecord:
    """A run with the fields that `differences` uses."""
    return RunRecord.model_construct(
        optimizer=name, split="default", seed=seed, weight=weight, test_correct=right, status=status
    )


def test_differences_are_paired_by_seed_and_example() -> None:
    """Differences are means over seeds per example. Seeds without the baseline and failed runs are left out."""
    points = [
        answered("empty", 0, "0011"),
        answered("empty", 1, "0001"),
        answered("manual", 0, "1111"),
        answered("pez", 0, "0111"),
        answered("pez", 1, "1101"),
        answered("pez", 0, "0000", weight=0.3),
        answered("pez", 1, "0000", weight=0.3, status="failed"),
    ]
    plain, priced = differences(points)
    assert [(row["optimizer"], row["weight"]) for row in (plain, priced)] == [("pez", 0.0), ("pez", 0.3)]
    assert plain["empty"] == bootstrap_mean([0.5, 1.0, 0.0, 0.0]).as_mean() and plain["empty"]["mean"] == 0.375
    assert plain["manual"] == bootstrap_mean([-1.0, 0.0, 0.0, 0.0]).as_mean()
    assert priced["empty"] == bootstrap_mean([0.0, 0.0, -1.0, -1.0]).as_mean()


def test_differences_of_seeds_with_other_examples_are_concatenated() -> None:
    """Two examples of one seed and one of another are three examples. Without a baseline there are no differences."""
    points = [answered("empty", 0, "00"), answered("empty", 1, "1"), answered("rl", 0, "01"), answered("rl", 1, "1")]
    [row] = differences(points)
    assert row["empty"]["mean"] == pytest.approx(1 / 3) and row["empty"]["n"] == 3 and row["manual"] is None


def placed(name: str, seed: int, dev: float, test: float, cost: float | None) -> RunRecord:
    """A run with the fields that `frontier` uses."""
    return RunRecord.model_construct(
        optimizer=name,
        split="default",
        seed=seed,
        weight=0.0,
        prompt_text=f"{name} {seed} {cost}",
        deployed_dev_accuracy=dev,
        deployed_test_accuracy=test,
        log_perplexity=cost,
        status="ok",
    )


def test_the_front_is_selected_on_dev_and_reported_on_test() -> None:
    """The second point wins on test but loses on dev, so it is not on the front; the first one's test value is shown."""
    points = [placed("a", 0, dev=0.9, test=0.5, cost=4.0), placed("a", 0, dev=0.8, test=1.0, cost=4.5)]
    assert front(points) == points[:1]
    found = frontier(points, worst_log_perplexity=8.0)
    [member] = found["optimizers"]["a"]["front"]
    assert member["deployed_test_accuracy"] == 0.5
    assert found["optimizers"]["a"]["hypervolume"]["mean"] == pytest.approx(0.5 * (8 - 4) / 8)


def test_hypervolumes_are_averaged_over_seeds() -> None:
    """Each (split, seed) is one unit: the mean of 0.25 and 0.5 is 0.375, n = 2. Empty prompts and failed runs do not count."""
    points = [
        placed("a", 0, 0.5, 0.5, 4.0),
        placed("a", 1, 1.0, 1.0, 4.0),
        placed("b", 0, 1.0, 1.0, 2.0),
        placed("empty", 0, 1.0, 1.0, None),
    ]
    failed = FailedRun.model_construct(optimizer="c", split="default", seed=0, weight=0.0, status="failed", error="x")
    found = frontier([*points, failed], worst_log_perplexity=8.0)
    assert set(found["optimizers"]) == {"a", "b"}
    of_a = found["optimizers"]["a"]["hypervolume"]
    assert (of_a["mean"], of_a["low"], of_a["high"], of_a["n"]) == (0.375, 0.25, 0.5, 2)
    assert [member["optimizer"] for member in found["overall"]["front"]] == ["b"]
    assert found["reference"] == {"deployed_test_accuracy": 0.0, "log_perplexity": 8.0}
    assert frontier([failed], 8.0)["overall"] is None


KNOWN = [
    {"prompt": "plain", "lm": "m", "test_accuracy": 0.6, "log_perplexity": 2.0},
    {"prompt": "odd", "lm": "m", "test_accuracy": 1.0, "log_perplexity": 6.0},
]


def test_a_known_front_gives_hypervolume_shares_and_regrets() -> None:
    """The true front covers (0.6 x 4 + 1.0 x 2) / 8 = 0.55; one of its two points alone covers 0.45 or 0.25."""
    points = [placed("plain", 0, 0.6, 0.6, 2.0), placed("odd", 0, 1.0, 1.0, 6.0)]
    points += [placed("both", 0, 0.6, 0.6, 2.0), placed("both", 0, 1.0, 0.9, 6.0)]
    found = frontier(points, 8.0, KNOWN)
    assert found["known"] == {"front": KNOWN, "hypervolume": pytest.approx(0.55)}
    share = {name: each["share_of_known_hypervolume"]["mean"] for name, each in found["optimizers"].items()}
    assert share == pytest.approx({"plain": 0.45 / 0.55, "odd": 0.25 / 0.55, "both": (0.6 * 4 + 0.9 * 2) / 8 / 0.55})
    regret = {name: each["regret"]["mean"] for name, each in found["optimizers"].items()}
    assert regret == pytest.approx({"plain": 0.4, "odd": 0.0, "both": 0.1})


def test_without_a_known_front_shares_and_regrets_are_absent() -> None:
    point = placed("a", 0, 1.0, 1.0, 4.0)
    assert frontier([point], 8.0)["known"] is None and "regret" not in frontier([point], 8.0)["optimizers"]["a"]
    single = frontier([point], 8.0, KNOWN[:1])["optimizers"]["a"]
    assert single["regret"]["mean"] == pytest.approx(-0.4) and "share_of_known_hypervolume" not in single


def test_the_true_front_is_known_on_the_embedded_model_only(tmp_path: Path) -> None:
    request = StudyRequest.make(task="currency", optimizers=("manual",), seeds=(0,), device="cpu")
    compare(request, tmp_path / "own")
    found = json.loads((tmp_path / "own" / "frontier.json").read_text())
    assert len(found["known"]["front"]) >= 2
    assert 0.3 < found["optimizers"]["manual"]["share_of_known_hypervolume"]["mean"] <= 1.0
    point = json.loads((tmp_path / "own" / "points.jsonl").read_text())
    assert point["reader"] == "microworld-reader" and point["reader_log_perplexity"] > 0 < point["reader_nats_per_character"]
    folder = save_tiny(tmp_path / "lm")
    compare(StudyRequest.make(task="currency", lm=str(folder), optimizers=("empty", "manual"), seeds=(0,)), tmp_path / "other")
    assert json.loads((tmp_path / "other" / "frontier.json").read_text())["known"] is None


def test_a_whole_study_on_the_embedded_model(microworld: FrozenLM, tmp_path: Path) -> None:
    """On the embedded model the instruction in plain English beats the empty prompt and is the deployed text itself."""
    request = StudyRequest.make(optimizers=("empty", "manual"), seeds=(0,), device="cpu")
    table = compare(request, tmp_path / "study").set_index("optimizer")
    assert table.deployed_test_accuracy["manual"] > table.deployed_test_accuracy["empty"] + 0.5
    assert table.roundtrip_ok["manual"] and 0 < table.log_perplexity["manual"] < math.log(len(microworld.vocab_embeds))
    assert torch.isfinite(torch.tensor(table.test_loss.tolist())).all()
