"""Evaluating and inspecting any prompt: the values equal those of a run, and prompts of runs are loaded exactly."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save
from typer.testing import CliRunner

from hardprompt import cli, load_task
from hardprompt.data.task import Template
from hardprompt.errors import ContextExceeded, RequestError
from hardprompt.lm import FrozenLM, load_lm, log_perplexity, surprisals
from hardprompt.metrics import deletion_map, inspect, order_sensitivity
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.projection import SIMILARITY_MEASURES
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.records.prompt_ref import PromptRef, load_prompt
from hardprompt.records.request import StudyRequest
from hardprompt.records.store import Store
from hardprompt.scoring import Scorer
from hardprompt.study.evaluation import evaluate
from hardprompt.study.loading import load_tasks
from hardprompt.study.measure import measure
from hardprompt.study.runner import compare
from tests.helpers import Ask
from tests.helpers.tiny import FAMILIES, save_tiny, tiny_lm, tiny_task

Point = dict[str, Any]

OF_THE_RUN = {
    "optimizer", "seed", "weight", "length_weight", "objective", "dev_objective", "emitted", "lm_tokens_forward",
    "lm_tokens_backward", "prompts_visited", "seconds", "config", "status", "curve", "front_curve",
}  # fmt: skip
"""Keys of a point that describe the search and not the prompt."""

OTHER_TASK = """
from hardprompt import Example, Task, Template
examples = [Example("the cat sat", "a mat"), Example("red green", "blue"), Example("yes or", "no")]
task = Task(name="words", template=Template("{prompt} : {input}"), train=examples, dev=examples[:2], test=examples[1:])
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, two tasks, and a study on the first model and task with every kind of prompt."""
    base = tmp_path_factory.mktemp("evaluate")
    save_tiny(base / "tiny")
    save_tiny(base / "other", "llama")
    task = tiny_task()
    rows = [
        {"input": e.input, "answer": e.answer, "split": split}
        for split in ("train", "dev", "test")
        for e in task.examples(split)
    ]
    (base / "mood.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (base / "words.py").write_text(OTHER_TASK, encoding="utf-8")
    request = StudyRequest.make(
        task=str(base / "mood.jsonl"),
        lm=str(base / "tiny"),
        readers=(str(base / "other"),),
        optimizers=("empty", "manual", "soft", "pez"),
        template="{input} {prompt} :",
        label_words={"positive": "good", "negative": "bad"},
        reference_prompts=("good or bad", "write the word"),
        weights=(0.0, 0.2),
        seeds=(0, 5),
        lm_tokens=600,
        prompt_length=3,
        options={"soft": {"projection": "euclidean"}},
        device="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hardprompt.report.plot.draw_tradeoff", lambda points, found, weights, file: file.touch())
        compare(request, base / "study")
    return base


def point_of(base: Path, **own: Any) -> Point:
    """The recorded point with these values."""
    [point] = [p for p in Store(base / "study").points() if all(p[key] == value for key, value in own.items())]
    return point


def answer(*words: object) -> Any:
    """The JSON answer of a command."""
    done = CliRunner().invoke(cli.app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def same(found: Any, expected: Any) -> bool:
    """Whether two values are equal, except for the rounding of numbers."""
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(same(found[key], value) for key, value in expected.items())
    return found == (pytest.approx(expected, rel=1e-5, abs=1e-6) if isinstance(expected, float) else expected)


# evaluate


def test_a_reference_prompt_has_the_values_that_manual_records(microworld: FrozenLM) -> None:
    """On the embedded model, evaluating the text gives the keys of a point, without those of the search, and equal values."""
    task, reader = load_task("category"), load_lm("microworld-reader", "cpu")
    problem = Problem(task, microworld)
    point = measure(problem, run_optimizer(load_optimizer("manual"), problem), [reader])
    found = evaluate(point["prompt_text"], task, microworld, readers=[reader])
    assert set(found) == set(point) - OF_THE_RUN
    assert same(found, {key: point[key] for key in found})
    assert found["test_accuracy"] > 0.9 and found["reader_log_perplexity"] > 0
    nonsense = evaluate("zub hepu zub", task, microworld, readers=[reader])
    assert nonsense["test_accuracy"] < 0.5 and nonsense["train_loss"] > found["train_loss"]


@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_each_score_uses_its_own_split_and_prompt(kind: str) -> None:
    """The vectors are scored on three splits of different examples, and the text of their projection on dev and test."""
    examples = tiny_task(kind).train
    lm, task = tiny_lm("gpt2"), tiny_task(kind, train=examples, dev=examples[:3], test=examples[3:])
    soft = SoftPrompt(lm.vocab_embeds[[300, 320]] + 0.7 * torch.randn(2, 16, generator=torch.Generator().manual_seed(3)))
    found = evaluate(soft, task, lm)
    for split in ("train", "dev", "test"):
        scorer = Scorer(lm, task, task.examples(split))
        own, text = scorer.score_embeds(soft.embeds), scorer.score_text(found["prompt_text"])
        expected = {
            f"{split}_accuracy": own.accuracy,
            f"{split}_loss": own.mean_loss,
            f"deployed_{split}_accuracy": text.accuracy,
            f"deployed_{split}_loss": text.mean_loss,
        }
        assert (
            set(expected) - set(found)
            == {
                "train": {"deployed_train_accuracy", "deployed_train_loss"},
                "dev": {"deployed_dev_loss"},
                "test": set(),
            }[split]
        )
        for key in set(expected) & set(found):
            assert found[key] == pytest.approx(float(expected[key]), rel=1e-5), key
    assert len({found[key] for key in ("train_loss", "dev_loss", "test_loss", "deployed_test_loss")}) == 4
    if kind == "classification":
        accuracies = [found[key] for key in ("train_accuracy", "dev_accuracy", "test_accuracy")]
        assert len(set(accuracies)) == 3 and found["deployed_dev_accuracy"] != found["dev_accuracy"], (
            "or they could be mixed up"
        )


@pytest.mark.parametrize("number", range(1, 11))
def test_measuring_a_run_again_gives_its_recorded_values(base: Path, number: int) -> None:
    """Task, model, readers and prompt come from the folder, and all values are equal, also for soft prompts."""
    point = Store(base / "study").lines()[number - 1]
    found = answer("evaluate", "--run", base / "study", "--number", number)
    assert set(point) - set(found) - {"soft_prompt_file"} == OF_THE_RUN
    assert same(found, {key: point[key] for key in found})


def test_a_run_can_be_selected_by_optimizer_weight_and_seed(base: Path) -> None:
    """Optimizer, weight and seed name the run that the number names."""
    by_name = answer("evaluate", "--run", base / "study", "--optimizer", "pez", "--weight", "0.2", "--seed", "5")
    recorded = point_of(base, optimizer="pez", weight=0.2, seed=5)
    assert by_name == answer("evaluate", "--run", base / "study", "--number", Store(base / "study").lines().index(recorded) + 1)
    assert by_name["prompt_text"] == recorded["prompt_text"]


def test_ids_and_text_are_the_same_prompt(base: Path) -> None:
    """The ids of a text that survives the round trip give the same values; other ids are reported as not surviving it."""
    task = ("--task", base / "mood.jsonl", "--template", "{input} {prompt} :", "--label-words", "positive=good,negative=bad")
    asked = ("evaluate", *task, "--lm", base / "tiny", "--device", "cpu")
    by_text = answer(*asked, "--text", "good or bad")
    by_ids = answer(*asked, "--ids", ",".join(map(str, by_text["prompt_ids"])))
    assert by_text["roundtrip_ok"] and by_ids["prompt_text"].strip() == "good or bad"
    assert same(by_ids | {"prompt_text": ""}, by_text | {"prompt_text": "", "scrutability": by_ids["scrutability"]})
    letters = [tiny_lm("gpt2").tokenizer.convert_tokens_to_ids(letter) for letter in "good"]
    assert not answer(*asked, "--ids", ",".join(map(str, letters)))["roundtrip_ok"]
    nothing = answer(*asked, "--text", "")
    assert nothing["prompt_ids"] == [] and nothing["log_perplexity"] is None
    assert same(nothing["test_loss"], point_of(base, optimizer="empty", seed=0)["test_loss"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["good film", " good film", "", "good or bad"])
@pytest.mark.parametrize("prompt_first", [False, True])
def test_the_ids_of_a_text_are_those_in_the_filled_template(family: str, text: str, prompt_first: bool) -> None:
    """Whether the prompt comes first or after an input, words are the tokens that the filled template has there."""
    lm, task = tiny_lm(family), tiny_task(prompt_first=prompt_first)
    prompt = HardPrompt.in_place(lm, task.template, text)
    assert prompt.text == text and bool(prompt.ids) == bool(text)
    assert Scorer(lm, task, task.test).survives(prompt.ids, text)


def test_transfer_to_another_task(base: Path) -> None:
    """A run's prompt is measured on a task of another kind with the same ids or vectors."""
    lm = load_lm(str(base / "tiny"), "cpu")
    task = load_task(f"{base}/words.py:task")
    for optimizer in ("manual", "soft"):
        number = [p["optimizer"] for p in Store(base / "study").lines()].index(optimizer) + 1
        found = answer("evaluate", "--run", base / "study", "--number", number, "--task", f"{base}/words.py:task")
        prompt = load_prompt(base / "study", lm, number)
        expected = evaluate(prompt, task, lm, readers=[load_lm(str(base / "other"), "cpu")], projection="euclidean")
        assert found["task"] == "words" and same(found, expected)
        assert ("label_kl" in found["faithfulness"]) == (optimizer == "manual"), "generation has none; nor has a hard prompt"
        assert isinstance(prompt, SoftPrompt) == (optimizer == "soft")


def test_transfer_to_another_model(base: Path) -> None:
    """With another tokenizer the text is tokenized again. For a soft prompt it is the text of its projection."""
    other, task = load_lm(str(base / "other"), "cpu"), tiny_task()
    for own in ({"optimizer": "manual", "seed": 0}, {"optimizer": "soft", "seed": 5}):
        point = point_of(base, **own)
        words = [word for key, value in own.items() for word in (f"--{key}", value)]
        found = answer("evaluate", "--run", base / "study", *words, "--lm", base / "other")
        ids = HardPrompt.in_place(other, task.template, point["prompt_text"]).ids
        assert (found["lm"], found["prompt_text"]) == ("other", point["prompt_text"])
        assert found["prompt_ids"] == list(ids) != point["prompt_ids"]
        assert found["faithfulness"]["reason"] and found["faithfulness"]["kl"] is None


def test_evaluate_prints_a_table(base: Path) -> None:
    """The table has each metric with its unit, and the reason for each missing value."""
    done = CliRunner().invoke(cli.app, ["evaluate", "--run", str(base / "study"), "--number", "2"])
    assert done.exit_code == 0
    for word in ("mood on tiny", "deployed_test_accuracy", "nats per token", "zero by construction"):
        assert word in done.stdout


# Soft vectors


def test_vectors_are_read_back_exactly(base: Path) -> None:
    """The recorded file holds the vectors of the search bit for bit; hard prompts have no file."""
    lm = load_lm(str(base / "tiny"), "cpu")
    request = StudyRequest.model_validate(yaml.safe_load((base / "study" / "study.yaml").read_text())["request"])
    [task] = load_tasks(request).values()
    search = load_optimizer("soft")
    for seed in (0, 5):
        problem = Problem(task, lm, prompt_length=3, seed=seed, lm_tokens=600)
        best = run_optimizer(search, problem, search.configure({"projection": "euclidean"})).best.prompt
        kept = load_prompt(base / "study", lm, optimizer="soft", seed=seed)
        assert isinstance(best, SoftPrompt) and isinstance(kept, SoftPrompt)
        assert torch.equal(kept.embeds, best.embeds) and kept.embeds.dtype == best.embeds.dtype
    named = [p["soft_prompt_file"] for p in Store(base / "study").points() if "soft_prompt_file" in p]
    assert sorted(named) == sorted(f"soft/{f.name}" for f in (base / "study" / "soft").iterdir()) and len(named) == 2


def test_a_run_without_its_vectors_transfers_as_text(base: Path, tmp_path: Path) -> None:
    """Without a file of vectors, another model uses the text. The run's own model refuses it (test_malformed_files.py)."""
    lm, folder = load_lm(str(base / "tiny"), "cpu"), tmp_path / "study"
    folder.mkdir()
    (folder / "study.yaml").write_bytes((base / "study" / "study.yaml").read_bytes())
    point = point_of(base, optimizer="soft", seed=0)
    del point["soft_prompt_file"]
    (folder / "points.jsonl").write_text(json.dumps(point) + "\n", encoding="utf-8")
    assert isinstance(load_prompt(folder, load_lm(str(base / "other"), "cpu")), HardPrompt)
    (folder / "points.jsonl").write_text(json.dumps(point | {"prompt_ids": [40, 41, 42]}) + "\n", encoding="utf-8")
    assert load_prompt(folder, lm) == HardPrompt.in_place(lm, tiny_task().template, point["prompt_text"]), "another tokenizer"


def test_every_run_has_its_own_file_name(base: Path, tmp_path: Path) -> None:
    """For any names of optimizers and splits, each run has its own file inside the folder."""
    from hardprompt.records.request import Run

    (tmp_path / "study.yaml").write_bytes((base / "study" / "study.yaml").read_bytes())
    store = Store(tmp_path)
    runs = [Run("a,b", "c", 0, 0.0), Run("a", "b,c", 0, 0.0), Run("../up", "x/y", 1, 0.1), Run("a", "b,c", 0, 0.1)]
    files = [store.save_soft_prompt(run, save({"embeds": torch.full((2, 3), float(i))})) for i, run in enumerate(runs)]
    assert len(set(files)) == len(runs) and len(list((tmp_path / "soft").iterdir())) == len(runs)
    assert [store.load_vectors(file)[0, 0].item() for file in files] == [0, 1, 2, 3]


# inspect


@pytest.mark.parametrize("family", FAMILIES)
def test_inspect_shows_the_surprisal_of_each_token(family: str) -> None:
    """Surprisal per token and its running mean up to the log-perplexity; without a start token the first has none."""
    lm = tiny_lm(family)
    ids = lm.encode_after([" good film is bad"])[0]
    found = inspect(ids, lm, count=3)
    values, rows = surprisals(lm, [ids])[0].tolist(), found["tokens"]
    assert [row["id"] for row in rows] == ids == found["prompt_ids"]
    assert "".join(row["token"] for row in rows) == " good film is bad"
    assert [math.nan if row["surprisal"] is None else row["surprisal"] for row in rows] == pytest.approx(values, nan_ok=True)
    assert (rows[0]["surprisal"] is None) == (family == "no-bos")
    assert rows[-1]["running_mean"] == found["log_perplexity"] == pytest.approx(log_perplexity(lm, ids))
    for row in rows:
        assert row["norm"] == pytest.approx(float(lm.vocab_embeds[row["id"]].norm()))
        assert set(row["nearest"]) == set(SIMILARITY_MEASURES) and {len(near) for near in row["nearest"].values()} == {3}
        assert row["nearest"]["euclidean"][0] == {"id": row["id"], "token": row["token"], "value": 0.0}
    assert inspect("", lm)["tokens"] == [] and inspect("", lm)["log_perplexity"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [(("--chat",), "--chat is about a task; give --task as well"), (("--reader", "microworld-reader"), "leave it out")],
)
def test_options_of_inspect_that_cannot_be_used_cost_one_line(given: tuple[str, ...], message: str, ask: Ask) -> None:
    status, _, err = ask(["inspect", "--text", "give", *given])
    assert status == 2 and message in err and err.count("\n") == 1


def test_inspect_shows_the_vectors_of_a_run(base: Path) -> None:
    """A soft prompt has no tokens; norms, neighbours and distances are those of its vectors."""
    lm = load_lm(str(base / "tiny"), "cpu")
    found = answer("inspect", "--run", base / "study", "--optimizer", "soft", "--seed", "0")
    soft = load_prompt(base / "study", lm, optimizer="soft", seed=0)
    assert isinstance(soft, SoftPrompt) and found["prompt_ids"] is None and found["log_perplexity"] is None
    vocab = lm.vocab_embeds
    for row, vector in zip(found["tokens"], soft.embeds, strict=True):
        assert (row["id"], row["token"], row["surprisal"], row["running_mean"]) == (None, None, None, None)
        assert row["norm"] == pytest.approx(float(vector.norm()))
        brute = {
            "cosine": sorted(((float(v @ vector / (v.norm() * vector.norm())), i) for i, v in enumerate(vocab)), reverse=True),
            "euclidean": sorted((float((v - vector).norm()), i) for i, v in enumerate(vocab)),
            "dot": sorted(((float(v @ vector), i) for i, v in enumerate(vocab)), reverse=True),
        }
        for name in SIMILARITY_MEASURES:
            near = row["nearest"][name]
            assert [each["id"] for each in near] == [i for _, i in brute[name][:5]], name
            assert [each["value"] for each in near] == pytest.approx([value for value, _ in brute[name][:5]], rel=1e-4)
    done = CliRunner().invoke(cli.app, ["inspect", "--run", str(base / "study"), "--optimizer", "soft", "--seed", "0"])
    assert done.exit_code == 0 and "tiny: a soft prompt" in done.stdout


def test_inspect_gives_the_same_answer_for_a_run_its_ids_and_its_text(base: Path) -> None:
    """The answers for the run, for the ids of its prompt and for its text are equal."""
    point = point_of(base, optimizer="manual", seed=0)
    of_model = ("--lm", base / "tiny", "--device", "cpu")
    by_run = answer("inspect", "--run", base / "study", "--optimizer", "manual", "--seed", "0")
    by_ids = answer("inspect", "--ids", ",".join(map(str, point["prompt_ids"])), *of_model)
    by_text = answer("inspect", "--text", point["prompt_text"], *of_model)
    assert by_run == by_ids == by_text and by_run["prompt_ids"] == point["prompt_ids"]


def test_inspect_on_a_task_shows_the_effect_of_each_token(microworld: FrozenLM, ask: Ask) -> None:
    """The answer and the table include `deletion_map` and `order_sensitivity`, but not without a task."""
    task = load_task("category")
    scorer = Scorer(microworld, task, task.dev)
    status, out, _ = ask(["inspect", "--text", "give the category of it", "--task", "category", "--device", "cpu", "--json"])
    found, ids = json.loads(out), microworld.encode("give the category of it")
    worth = [{name: row[name] for name in ("loss_added", "accuracy_lost")} for row in found["tokens"]]
    assert status == 0 and worth == pytest.approx([pytest.approx(row) for row in deletion_map(scorer, ids)])
    assert max(found["tokens"], key=lambda row: row["loss_added"])["token"] == " category"
    assert found["shuffled"] == pytest.approx(order_sensitivity(scorer, ids)) and found["shuffled"]["accuracy_lost"] > 0.3
    assert found["tokens"][0]["changed"]["euclidean"] == 0.0 and found["tokens"][0]["changed"]["2nd nearest"] == 1.0
    status, out, _ = ask(["inspect", "--text", "give the category of it", "--task", "category", "--device", "cpu"])
    assert status == 0 and "loss added" in out and "shuffled: accuracy" in out
    plain = inspect("give the category", microworld)
    assert plain["shuffled"] is None and {row["loss_added"] for row in plain["tokens"]} == {None}


def test_the_tokens_of_a_text_are_recorded(microworld: FrozenLM) -> None:
    """Surprisals and effects equal those of `inspect`; vectors between two tokens are marked."""
    task = load_task("category")
    dev = Scorer(microworld, task, task.dev)
    found = evaluate("give the category", task, microworld)["tokens"]
    full = inspect("give the category", microworld, scorer=dev)["tokens"]
    assert found == [
        {name: row[name] for name in ("token", "surprisal", "loss_added", "accuracy_lost")} | {"marked": None} for row in full
    ]
    assert evaluate("", task, microworld)["tokens"] == []
    firm, give, category = microworld.vocab_embeds[microworld.encode("the give category")]
    torn = SoftPrompt(torch.stack([firm, (give / give.norm() + category / category.norm()) / 2]))
    assert [row["marked"] for row in evaluate(torn, task, microworld)["tokens"]] == [False, True]


def test_inspect_projects_a_soft_prompt_with_every_measure(base: Path, ask: Ask) -> None:
    """Each text is listed once with the measures that give it; the text by cosine is the recorded one."""
    point, task = point_of(base, optimizer="soft", seed=0), str(base / "mood.jsonl")
    asked = ["inspect", "--run", str(base / "study"), "--optimizer", "soft", "--seed", "0", "--task", task]
    status, out, _ = ask([*asked, "--json"])
    found = json.loads(out)["readings"]
    assert status == 0 and found[0]["methods"]["cosine"] == 1.0 and found[0]["text"] == point["prompt_text"].strip()
    assert len({row["text"] for row in found}) == len(found)
    for method in ("cosine", "euclidean", "dot", "2nd nearest", "noise 0.1", "noise 0.3"):
        assert sum(row["methods"].get(method, 0) for row in found) == pytest.approx(1)
    assert {row["outcome"] for row in found} <= {"faithful", "misleading", "says nothing"}
    status, out, _ = ask(asked)
    assert status == 0 and "texts that can be read off the soft prompt" in out


# Prompts that cannot be measured


def test_prompts_that_do_not_fit_the_model_are_refused() -> None:
    """Ids and vectors of another model and prompts longer than the context are refused."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    size = lm.vocab_embeds.shape[0]
    for ids in ([size], [-1], [5, 10**9]):
        with pytest.raises(RequestError, match=f"not in the vocabulary of tiny-gpt2; use 0 to {size - 1}"):
            evaluate(ids, task, lm)
    with pytest.raises(RequestError, match=r"of shape \(2, 7\) does not fit tiny-gpt2, whose embeddings are 16 wide"):
        inspect(SoftPrompt(torch.zeros(2, 7)), lm)
    with pytest.raises(RequestError, match="not finite"):
        evaluate(SoftPrompt(torch.full((2, 16), torch.nan)), task, lm)
    assert len(inspect([40] * 63, lm)["tokens"]) == 63
    with pytest.raises(ContextExceeded, match="64 tokens, but tiny-gpt2 has room for 63"):
        inspect([40] * 64, lm)
    with pytest.raises(ContextExceeded, match="context of tiny-gpt2 is 64"):
        evaluate([40] * 60, task, lm)
    assert as_prompt(lm, [40], Template("{prompt}{input}")) == HardPrompt.from_ids(lm, [40])


def test_a_failed_run_has_no_prompt(base: Path, tmp_path: Path) -> None:
    """Selecting a failed run by its number raises its error; other selections ignore it."""
    (tmp_path / "study.yaml").write_bytes((base / "study" / "study.yaml").read_bytes())
    point = point_of(base, optimizer="manual", seed=0)
    failed = {key: point[key] for key in ("optimizer", "task", "lm", "split", "seed", "weight")}
    failed |= {"status": "failed", "error": "RuntimeError: misfortune"}
    text = "".join(json.dumps(line) + "\n" for line in (failed, point))
    (tmp_path / "points.jsonl").write_text(text, encoding="utf-8")
    assert PromptRef(run=tmp_path).point == PromptRef(run=tmp_path, number=2).point == point
    with pytest.raises(RequestError, match=r"run 1 of .* failed and found no prompt: RuntimeError: misfortune"):
        _ = PromptRef(run=tmp_path, number=1).point


def test_the_emitted_prompts_share_the_test_examples(microworld: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """With at most 28 of 4 times 20 pairs, prompt k is scored on every third example, from example k modulo 3 on."""
    monkeypatch.setattr("hardprompt.study.measure.EMITTED_PAIRS", 28)
    task = replace(load_task("plural"), test=load_task("plural").test[:20])
    problem = Problem(task, microworld, lm_tokens=40_000)
    result = run_optimizer(load_optimizer("random"), problem, load_optimizer("random").configure({"prompts": 4}))
    emitted = measure(problem, result)["emitted"]
    written = [prompt.ids for prompt in result.final_prompts if isinstance(prompt, HardPrompt)]
    scores = Scorer(microworld, task, task.test).score_ids(written)
    shares = [float(correct[k % 3 :: 3].float().mean()) for k, correct in enumerate(scores.correct)]
    assert emitted["mean_test_accuracy"] == pytest.approx(sum(shares) / 4)
    assert (emitted["prompts_scored"], emitted["examples_scored"]) == (4, 6)
