"""Wayward prompts, interpretations of texts and their stability, by hand and with positive and negative controls."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt import HardPrompt, Problem, Scorer, SoftPrompt, Template, load_lm, load_task
from hardprompt.errors import ContextExceeded, RequestError, UnknownName
from hardprompt.experiments.wayward.grid import Checkpoint, WaywardGrid, best_checkpoint, train_checkpoints, wayward_grid
from hardprompt.experiments.wayward.run import candidates, wayward
from hardprompt.experiments.wayward.targets import CODE, CONTRADICTIONS, PROSE, wayward_targets
from hardprompt.lm import FrozenLM
from hardprompt.metrics import ScoredPrompt, faithfulness, stability
from hardprompt.metrics.faithfulness import reading_gap
from hardprompt.metrics.interpretation import (
    Interpretation,
    TaskJudge,
    dividing_line,
    is_flagged,
    readable_limit,
    relative_gain,
    requested_tasks,
)
from hardprompt.metrics.stability import changed, readings
from hardprompt.optimizers import load_optimizer, run_optimizer
from hardprompt.optimizers.soft_training import mean_squared_distance
from hardprompt.optimizers.wayward import target_prompt
from tests.helpers import Ask
from tests.helpers.tiny import FAMILIES, save_tiny, tiny_lm, tiny_task, write_jsonl

QUICK = WaywardGrid(gammas=(0.0, 0.3), steps=60, batch_size=16, evaluate_every=20)


@pytest.fixture(scope="module")
def judge(microworld: FrozenLM) -> TaskJudge:
    """A judge for three tasks on nouns, with the embedded reader."""
    names = ("plural", "category", "first-letter")
    return TaskJudge(microworld, [load_task(name) for name in names], load_lm("microworld-reader", device="cpu"))


# Training


def checkpoint(accuracy: float, loss: float, f1: float) -> Checkpoint:
    return Checkpoint(torch.zeros(1, 2), 0.1, accuracy, loss, (1,), f1, 0.0)


def test_the_best_checkpoint_projects_to_the_target() -> None:
    """It is the most accurate one with F1 >= 0.98, on ties that with the lowest loss; if there is none, one of the closest."""
    far, good, same, worse = (
        checkpoint(1.0, 0.1, 0.9),
        checkpoint(0.9, 0.2, 1.0),
        checkpoint(0.9, 0.1, 0.98),
        checkpoint(0.8, 0, 1.0),
    )
    assert best_checkpoint([far, good, same, worse]) is same
    assert best_checkpoint([checkpoint(1.0, 0.1, 0.5), far]) is far


def test_the_mean_squared_distance_computed_by_hand() -> None:
    """The mean over two positions is (1 + 4 + 9) / 2."""
    assert mean_squared_distance(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.zeros(2, 2)).item() == 7.0


def test_the_presets_of_the_grid() -> None:
    published = wayward_grid("khashabi")
    assert (published.steps, published.batch_size, published.learning_rate, published.max_grad_norm) == (2000, 8, 0.01, 1.0)
    assert published.gammas == (0.0, 1e-4, 5e-4, 1e-3, 3e-3, 5e-3, 1e-2, 3e-2)
    assert wayward_grid("khashabi", steps=3).steps == 3
    with pytest.raises(UnknownName, match="no wayward preset 'kashabi'; did you mean 'khashabi'"):
        wayward_grid("kashabi")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_gamma_brings_the_prompt_closer_to_its_target(family: str) -> None:
    """After training, the prompt with the larger gamma is closer to the target. Repeating the training gives equal numbers."""
    lm, task = tiny_lm(family), tiny_task()
    target = HardPrompt.from_ids(lm, [lm.encode_after([" good"])[0][0], lm.encode_after([" film"])[0][0]])
    config = WaywardGrid(steps=30, batch_size=4, evaluate_every=30, learning_rate=0.05)

    def trained(gamma: float) -> Checkpoint:
        problem = Problem(task, lm, prompt_length=2, vocabulary="all", seed=1)
        return train_checkpoints(problem, target, gamma, config, init="vocabulary")[-1]

    free, near = trained(0.0), trained(100.0)
    assert near.distance < free.distance
    assert torch.equal(near.embeds, trained(100.0).embeds)


def test_a_target_must_fit() -> None:
    lm = tiny_lm("gpt2")
    problem = Problem(tiny_task(), lm, prompt_length=3, vocabulary="all")
    with pytest.raises(RequestError, match="is 2, but the prompt length is 3; set the prompt length to 2"):
        train_checkpoints(problem, HardPrompt.from_ids(lm, [40, 41]), 0.1, QUICK)
    with pytest.raises(RequestError, match="the target text is empty"):
        target_prompt(lm, Template("{input} {prompt}"), "  ")
    with pytest.raises(ContextExceeded, match="shorten the input or the prompt"):
        wayward(tiny_task(), lm, "good " * 70)


def test_a_target_that_does_not_survive_decoding_is_refused() -> None:
    """BERT's tokenizer has no capital letters; sentencepiece decodes to the same text."""
    with pytest.raises(RequestError, match="tokens of the target 'Good Film' decode to 'good film' for tiny-bert"):
        target_prompt(tiny_lm("bert"), Template("{input} {prompt}"), "Good Film")
    assert target_prompt(tiny_lm("llama"), Template("{prompt} {input}"), "Good Film").text == "Good Film"


# The optimizer


def test_the_optimizer_trains_as_the_experiment_does() -> None:
    """The candidates are the checkpoints, and the objective on dev is the task loss plus gamma times the distance."""
    lm, task = tiny_lm("gpt2"), tiny_task()
    found = load_optimizer("wayward")
    options: dict[str, Any] = {"steps": 30, "batch_size": 4, "evaluate_every": 10, "learning_rate": 0.05}
    problem = Problem(task, lm, prompt_length=2, seed=1)
    result = run_optimizer(found, problem, found.configure({"target": "good film", "gamma": 0.5, **options}))
    target = target_prompt(lm, task.template, "good film")
    checkpoints = train_checkpoints(Problem(task, lm, prompt_length=2, seed=1), target, 0.5, WaywardGrid(**options))
    assert len(result.candidates) == 4 and len(checkpoints) == 3, "the initial prompt is a candidate too"
    goal = lm.vocab_embeds[list(target.ids)]
    for candidate, expected in zip(result.candidates[1:], checkpoints, strict=True):
        assert isinstance(candidate.prompt, SoftPrompt) and torch.equal(candidate.prompt.embeds, expected.embeds)
        distance = (candidate.prompt.embeds - goal).square().sum(-1).mean().item()
        assert candidate.dev_objective == pytest.approx(candidate.dev_task_loss + 0.5 * distance)
    assert result.candidates[0].dev_objective == result.candidates[0].dev_task_loss
    assert result.config["target"] == "good film" and result.config["projection"] == "euclidean"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "wayward needs the option target: the text that the prompt projects to; it is empty"),
        ("good", "the length of the target 'good' is 1, but the prompt length is 2; set the prompt length to 1"),
        ("good :", "the vocabulary does not allow ' :', a token of the target 'good :'; use the vocabulary 'all'"),
    ],
)
def test_the_optimizer_refuses_a_bad_target_before_it_runs(target: str, message: str) -> None:
    found = load_optimizer("wayward")
    with pytest.raises(RequestError, match=message):
        found.check(Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=2), found.configure({"target": target}))


# Interpretations of texts


def test_relative_gains_computed_by_hand() -> None:
    """From 0.6 to 0.8 is half of the possible gain; from 1 no gain is possible."""
    assert (
        relative_gain(0.8, 0.6) == pytest.approx(0.5)
        and relative_gain(0.4, 0.6) == pytest.approx(-0.5)
        and relative_gain(1.0, 1.0) == 0.0
    )
    assert requested_tasks({"one": 0.49, "two": 0.5, "three": 0.8}) == ("three", "two")


def test_outcomes_of_an_interpretation() -> None:
    def saying(*tasks: str) -> Interpretation:
        return Interpretation({"one": 0.0}, None, None, tasks)

    assert saying("two", "one").verdict("one") == "faithful"
    assert saying("two").verdict("one") == "misleading"
    assert saying().verdict("one") == "says nothing"


def test_a_text_is_flagged_if_it_names_another_task_and_performs_worse() -> None:
    """A true text that works partly and a meaningless text that works fully are not flagged."""
    assert is_flagged("misleading", 0.06) and is_flagged("says nothing", 1.0)
    assert not is_flagged("faithful", 1.0) and not is_flagged("says nothing", 0.0) and not is_flagged("misleading", 0.05)


def test_the_dividing_line_between_readable_and_unreadable_texts() -> None:
    """The best division is between 2 and 5, which misclassifies one value."""
    assert dividing_line([1.0, 2.0, 6.0], [5.0, 7.0, 8.0]) == 3.5
    with pytest.raises(RequestError, match="at least two prompts with several different words"):
        readable_limit(tiny_lm("gpt2"), ["good", "good film"])
    with pytest.raises(RequestError, match="tiny-no-bos has no beginning-of-sequence token, so it cannot read the one token"):
        readable_limit(tiny_lm("no-bos"), ["good film", "a film"]) and TaskJudge(
            tiny_lm("gpt2"), [tiny_task(reference_prompts=["good or bad", "a good film"])], tiny_lm("no-bos")
        ).interpret("g")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("tell me what kind of thing this is", "misleading"),
        ("find the plural of the noun", "faithful"),
        ("the noun find plural of", "says nothing"),
        ("sky plum drums", "says nothing"),
        ("", "says nothing"),
    ],
)
def test_the_judge_recognizes_the_task_of_a_text(judge: TaskJudge, text: str, outcome: str) -> None:
    """Held-out paraphrases are the positive control; shuffled, random and empty texts are the negative control."""
    assert judge.interpret(text).verdict("plural") == outcome


def test_an_effective_prompt_need_not_be_readable(judge: TaskJudge, microworld: FrozenLM) -> None:
    """Keywords found by PEZ solve the task, but are not readable. Without a reader they count as the instruction."""
    found = judge.interpret("sort kind group kind type")
    assert found.lifts["category"] > 0.5 and found.tasks == ()
    assert found.nats is not None and found.limit is not None and found.nats > found.limit
    assert TaskJudge(microworld, [load_task("category")]).interpret("sort kind group kind type").tasks == ("category",)


def test_tasks_that_do_not_fit_the_model_are_left_out(microworld: FrozenLM) -> None:
    long = tiny_task(name="long", label_words={"positive": "not one token", "negative": "bad"})
    assert set(TaskJudge(microworld, [load_task("plural"), long]).scorers) == {"plural"}
    with pytest.raises(RequestError, match="none of the tasks long fits the model microworld"):
        TaskJudge(microworld, [long])
    assert [task.name for task in candidates(long)] == ["long"]
    assert len(candidates(load_task("plural"))) == len({task.name for task in candidates(load_task("plural"))}) > 20


# Given interpretations


def test_the_gap_of_any_interpretation_can_be_measured(microworld: FrozenLM) -> None:
    """Embedded words interpreted as themselves lose no accuracy; interpreted as other words they lose nearly all."""
    task = load_task("plural")
    scorer = Scorer(microworld, task, task.test[:20])
    ids, other = (list(HardPrompt.from_text(microworld, text).ids) for text in ("give the plural", "sky the drums"))
    soft, allowed = SoftPrompt(microworld.vocab_embeds[ids]), torch.arange(microworld.vocab_embeds.shape[0])
    same = faithfulness(ScoredPrompt(soft, scorer, allowed=allowed, reading=ids))
    assert same.pop("agreement") == 1.0 and all(abs(value) < 1e-3 for value in same.values()), same
    apart = faithfulness(ScoredPrompt(soft, scorer, allowed=allowed, reading=other))
    assert apart["accuracy_gap"] > 0.9 and apart["behavioural_distance"] > 1 and apart["distance_euclidean"] > 0.5
    longer = faithfulness(
        ScoredPrompt(soft, scorer, allowed=allowed, reading=microworld.encode("write the plural of the word"))
    )
    assert longer["distance_cosine"] is None and "6 tokens for 3 vectors" in longer["reason"] and longer["agreement"] > 0.9
    with pytest.raises(RequestError, match="does not fit microworld, whose embeddings are 160 wide"):
        ScoredPrompt(SoftPrompt(torch.zeros(3, 16)), scorer, allowed=allowed)


def test_the_distance_to_an_interpretation_computed_by_hand() -> None:
    """The distance of each position is to the proposed token, not to the closest: sqrt(2) at a right angle, and 0."""
    embeds, reading = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    assert reading_gap(embeds, reading, "euclidean").item() == pytest.approx(2**0.5 / 2)
    assert reading_gap(embeds, reading, "cosine").item() == pytest.approx(0.5)


# Stability


def test_changed_tokens_counted_by_hand() -> None:
    assert changed({"dot": [[1, 2]], "noise 0.1": [[1, 3], [1, 2], [4, 3], [1, 3]]}, [1, 3]) == {
        "dot": [0.0, 1.0],
        "noise 0.1": [0.25, 0.25],
    }


def test_vocabulary_rows_are_stable_and_vectors_between_them_are_not(microworld: FrozenLM) -> None:
    """Positive control: words are stable. Negative control: the midpoint of two words of equal norm projects to either."""
    vocab = microworld.vocab_embeds.float()
    ids = list(HardPrompt.from_text(microworld, "give the plural of the word").ids)
    firm = stability(vocab[ids], vocab)
    assert firm["mean_changed"]["euclidean"] == firm["mean_changed"]["noise 0.1"] == 0.0
    assert firm["mean_changed"]["2nd nearest"] == 1.0
    one, two = torch.nn.functional.normalize(vocab[ids[:2]], dim=-1)
    pair = torch.stack([one, two])
    between = stability(((one + two) / 2)[None], pair)
    assert between["marked"] == [1] and 0 < between["mean_changed"]["noise 0.3"] < 1


def test_a_vector_that_measures_project_differently_is_marked(microworld: FrozenLM) -> None:
    """A vector points towards *good* and is near *white*: cosine gives one, Euclidean distance the other, so it is marked."""
    words = [microworld.encode(word)[0] for word in ("good", "white")]
    good, white = torch.nn.functional.normalize(microworld.vocab_embeds[words].float(), dim=-1)
    vocab = torch.stack([3 * good, white])
    embeds = torch.stack([0.6 * good + 0.5 * white, white])
    found = readings(embeds, vocab)
    assert found["cosine"] == [[0, 1]] and found["euclidean"] == [[1, 1]]
    shown = stability(embeds, vocab)
    assert shown["marked"] == [1]
    assert shown["changed"]["euclidean"] == [1.0, 0.0]


# Whole studies


def test_targets_are_of_every_kind() -> None:
    task = load_task("capital")
    found = wayward_targets(task, [load_task(name) for name in ("capital", "plural", "nationality")])
    assert found == {
        "same inputs": "give the nationality of its people",
        "other inputs": "give the plural of the word",
        "contradiction": CONTRADICTIONS["capital"],
        "prose": PROSE[0],
        "code": CODE[0],
    }


@pytest.mark.slow
def test_a_prompt_that_projects_to_another_tasks_instruction(microworld: FrozenLM, judge: TaskJudge) -> None:
    """The prompt solves one task and projects to another task's instruction, and the outcome names it.

    A true text is faithful.
    """
    task = load_task("plural")
    astray = wayward(task, microworld, "give the category of the word", judge=judge, config=QUICK).described
    assert astray["token_f1"] == 1.0 and astray["projection"] == astray["target"] == "give the category of the word"
    assert astray["test_accuracy"] > 0.9 and astray["relative_accuracy_drop"] <= 0.05 and astray["gamma"] == 0.3
    assert astray["reading"] == "misleading" and astray["says"]["tasks"] == ["category"]
    assert astray["faithfulness"]["accuracy_gap"] > 0.8 and astray["deployed_test_accuracy"] < 0.1
    true = wayward(task, microworld, "give the plural of the word", judge=judge, config=QUICK).described
    assert true["reading"] == true["says"]["outcome"] == "faithful"
    assert true["test_accuracy"] > 0.9 and abs(true["faithfulness"]["accuracy_gap"]) < 0.1


def test_the_json_answer_of_the_wayward_command(here: Path, ask: Ask) -> None:
    save_tiny(here / "tiny")
    save_tiny(here / "other", "llama")
    write_jsonl(tiny_task(), here / "mood.jsonl")
    of_task = ["--task", "mood.jsonl", "--template", "{input} {prompt}", "--label-words", "positive=good,negative=bad"]
    of_task += ["--reference-prompt", "good or bad", "--reference-prompt", "a dull film"]
    asked = [
        "wayward",
        *of_task,
        "--lm",
        "tiny",
        "--reader",
        "other",
        "--target",
        "good film",
        "--steps",
        "4",
        "--gammas",
        "0,1",
    ]
    status, out, _ = ask([*asked, "--json"])
    found = json.loads(out)
    keys = "token_f1 test_accuracy unconstrained_test_accuracy relative_accuracy_drop gamma target projection faithfulness"
    assert status == 0 and set(keys.split()) <= set(found) and found["reading"] in ("faithful", "misleading")
    assert found["target"] == "good film" and {row["gamma"] for row in found["grid"]} == {0.0, 1.0}
    status, out, _ = ask(asked)
    assert status == 0 and "good film" in out and "relative_accuracy_drop" in out
    assert ask([*asked[: asked.index("--gammas")], "--steps", "1"])[0] == 0, "with the gammas of the preset"
    for wrong, line in {
        ("--target", " "): "the target text is empty",
        ("--preset", "kashabi"): "did you mean 'khashabi'",
        ("--steps", "0"): "wayward steps: expected a number greater than 0; got 0",
        ("--reader", "third"): "wayward takes one reader",
    }.items():
        (here / "third").is_dir() or save_tiny(here / "third", "opt")
        status, out, err = ask([*asked, *wrong])
        assert status == 2 and line in err and err.count("\n") == 1
