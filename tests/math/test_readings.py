"""Reading prompts by what they do: the divergence by hand, readers, the evidence, and verdicts on controls."""

import math
from typing import Any

import pytest
import torch

from hardprompt import Example, HardPrompt, Problem, Scorer, SoftPrompt, Task, load_optimizer, load_task, read, run_optimizer
from hardprompt.custom_task.trivial_baselines import baselines
from hardprompt.errors import RequestError, UnknownName
from hardprompt.experiments.wayward.run import WaywardGrid, wayward
from hardprompt.lm import FrozenLM
from hardprompt.lm.perplexity import surprisals
from hardprompt.metrics.continuation_kl import stepwise_kl
from hardprompt.metrics.interpretation import TaskJudge
from hardprompt.optimizers import Config
from hardprompt.optimizers.token_gradients import swap_predictions
from hardprompt.readings import Examiner, ReadingProblem, all_readers, load_reader, reader, run_reader
from hardprompt.readings.evidence import FAITHFUL, Evidence
from hardprompt.readings.known_instructions import catalogue_texts
from hardprompt.readings.read import split_inputs
from hardprompt.scoring import TokenCount
from hardprompt.scoring.imitation import ImitationScorer
from hardprompt.stats.estimate import Estimate
from tests.helpers.tiny import CAUSAL, ENCODER_DECODER, MASKED, tiny_lm, tiny_task

KINDS = (*CAUSAL, *MASKED, *ENCODER_DECODER)


def planted(lm: FrozenLM, text: str) -> SoftPrompt:
    return SoftPrompt(lm.vocab_embeds[lm.encode(text)])


def inputs_of(task: Any, count: int = 8) -> list[str]:
    return [example.input for example in task.dev[:count]]


@pytest.mark.parametrize("family", [*CAUSAL, "roberta"])
def test_the_loss_of_an_imitation_is_the_divergence_of_label_words(family: str) -> None:
    lm, task = tiny_lm(family), tiny_task()
    target, other = lm.encode("good food"), lm.encode("bad")
    scorer = ImitationScorer(lm, task, inputs_of(task, 3), target, 1, torch.Generator())
    plain = Scorer(lm, task, scorer.examples)
    own, its = (plain.next_token_logits(ids)[:, plain.label_ids] for ids in (target, other))
    expected = stepwise_kl(own, its)
    assert scorer.score_ids([other, target]).loss[0].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert scorer.score_ids([target]).loss.abs().max() < 1e-4 and scorer.score_ids([target]).correct.all()


def test_the_loss_of_generated_answers_sums_over_their_tokens(microworld: FrozenLM) -> None:
    task = load_task("plural")
    target, other = microworld.encode("give the plural"), microworld.encode("the category")
    scorer = ImitationScorer(microworld, task, inputs_of(task), target, 4, torch.Generator().manual_seed(1))
    answers = [list(answer) for answer in scorer._rows.answers]
    assert {len(logits) for logits in scorer.targets} == {len(answer) + 1 for answer in answers} and 1 <= max(
        map(len, answers)
    ) <= 3
    plain = Scorer(microworld, task, scorer.examples)
    own, its = plain.answer_logits(target, answers), plain.answer_logits(other, answers)
    expected = [float(stepwise_kl(p, q).sum()) for p, q in zip(own, its, strict=True)]
    assert scorer.score_ids([other]).loss[0].tolist() == pytest.approx(expected, rel=1e-3)


def test_the_gradient_of_the_divergence_lowers_it(microworld: FrozenLM) -> None:
    task = load_task("plural")
    scorer = ImitationScorer(microworld, task, inputs_of(task), microworld.encode("give the plural"), 2, torch.Generator())
    soft = microworld.vocab_embeds[microworld.encode("the category of")].clone().requires_grad_()
    before = scorer.score_embeds(soft).mean_loss.sum()
    (gradient,) = torch.autograd.grad(before, soft)
    step = 0.05 * gradient / gradient.norm()
    assert scorer.score_embeds((soft - step).detach()).mean_loss.sum() < before


def test_the_objective_of_a_text_costs_its_whole_nll(microworld: FrozenLM) -> None:
    task = load_task("plural")
    target, ids = HardPrompt.from_text(microworld, "give the plural"), microworld.encode("write the plural")
    problem = ReadingProblem(target, task, microworld, inputs_of(task), weight=0.1)
    nll = float(Problem(task, microworld).prompt_nll([ids])) * len(ids)
    problem.score_on_dev([ids])
    [candidate] = problem.candidates
    assert candidate.dev_objective == pytest.approx(candidate.dev_task_loss + 0.1 * nll, rel=1e-4)


SEARCHES = ("samples", pytest.param("gradient-search", marks=pytest.mark.slow), pytest.param("race", marks=pytest.mark.slow))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_reader_finds_what_a_planted_prompt_asks_for(microworld: FrozenLM, name: str) -> None:
    task = load_task("plural")
    problem = ReadingProblem(
        planted(microworld, "give the plural"), task, microworld, inputs_of(task, 6),
        weight=0.01, vocabulary="words", lm_tokens=45_000,
    )  # fmt: skip
    run_reader(load_reader(name), problem)
    best = min(problem.candidates, key=lambda candidate: candidate.dev_objective)
    assert isinstance(best.prompt, HardPrompt) and "plural" in best.prompt.text and best.dev_task_loss < 1
    assert problem.spent < 60_000


def test_the_nearest_tokens_of_planted_vectors_are_their_text(microworld: FrozenLM) -> None:
    task = load_task("plural")
    found = read(planted(microworld, "give the plural"), task, microworld, readers=["nearest"])
    assert found.verdict == "reading" and found.best and found.best.text == "give the plural"
    assert found.best.evidence.agreement == 1.0 and found.best.evidence.score > 0.99
    with pytest.raises(RequestError, match="is a text and has no vectors"):
        read("give the plural", task, microworld, readers=["nearest"])


def test_a_prompt_that_changes_nothing_has_little_to_read(microworld: FrozenLM) -> None:
    task = load_task("plural")
    vocab = microworld.vocab_embeds
    noise = vocab.mean(0) + vocab.std() * torch.randn(5, vocab.shape[1], generator=torch.Generator().manual_seed(0))
    found = read(SoftPrompt(noise), task, microworld, readers=["samples"])
    assert found.verdict == "little to read" and found.readings == () and "nats from those" in found.reason
    assert found.as_json()["verdict"] == "little to read"


def test_texts_of_the_caller_are_judged_beside_those_that_are_found(microworld: FrozenLM) -> None:
    """A paraphrase is faithful, the instruction of another task is misleading, and a word of no effect says nothing."""
    task = load_task("plural")
    texts = ["what is the plural of this word", "what kind of thing is this", "the"]
    found = read(planted(microworld, "give the plural"), task, microworld, readers=["nearest"], texts=texts)
    verdicts = {reading.text: reading.verdict for reading in found.readings}
    assert [verdicts[text] for text in texts] == ["faithful", "misleading", "says nothing"]
    scores = [reading.evidence.score for reading in found.readings]
    assert scores == sorted(scores, reverse=True) and found.verdict in ("reading", "several")
    line = found.as_json()["readings"][0]
    low, high = line["kl_interval"]
    assert low <= line["kl"] <= high and line["verdict"] == "faithful" and line["score"] >= FAITHFUL


@pytest.mark.parametrize(
    ("score", "agreement", "strength", "verdict"),
    [
        (0.75, 0.75, 1.0, "faithful"),
        (0.74, 0.9, 1.0, "partly faithful"),
        (0.9, 0.4, 0.1, "partly faithful"),
        (0.9, 0.39, 1.0, "misleading"),
        (0.39, 1.0, 0.5, "misleading"),
        (-2.0, 0.0, 0.49, "says nothing"),
    ],
)
def test_a_verdict_needs_a_score_and_an_agreement(score: float, agreement: float, strength: float, verdict: str) -> None:
    assert Evidence(Estimate(0.1, 0.1, 0.1, 1, 1), score, agreement, strength).verdict == verdict


@pytest.mark.slow
def test_the_words_of_a_wayward_prompt_are_misleading(microworld: FrozenLM) -> None:
    """Vectors that project to another task's instruction are read as what they do, not as what they project to."""
    task = load_task("plural")
    problem = Problem(task, microworld, vocabulary="all", prompt_length=6)
    options = {"target": "give the category of the word", "gamma": 0.1, "steps": 60}
    soft = run_optimizer(load_optimizer("wayward"), problem, load_optimizer("wayward").configure(options)).best.prompt
    found = read(soft, task, microworld, readers=["nearest", "samples"], lm_tokens=40_000, max_length=8)
    [projected] = [reading for reading in found.readings if "category" in reading.text]
    assert projected.verdict == "misleading"
    assert found.best and "plural" in found.best.text


@pytest.mark.slow
def test_readings_are_the_same_for_the_same_seed_whatever_the_other_readers(microworld: FrozenLM) -> None:
    task = load_task("plural")
    soft = planted(microworld, "give the plural")
    alone, beside = (
        read(soft, task, microworld, readers=names, lm_tokens=8_000) for names in (["samples"], ["nearest", "samples"])
    )
    one, other = (
        [reading.as_json() for reading in found.readings if "samples" in reading.readers] for found in (alone, beside)
    )
    assert one[0] == other[0] | {"reader": one[0]["reader"], "found_by": one[0]["found_by"]}


def test_ctrl_c_gives_the_best_so_far(microworld: FrozenLM) -> None:
    @reader("interrupted", load_reader("samples").config)
    def interrupted(problem: ReadingProblem, config: Any) -> list[list[int]]:
        """Scores a text and is interrupted."""
        problem.score_on_dev([microworld.encode("write the plural")])
        raise KeyboardInterrupt

    found = read(planted(microworld, "give the plural"), load_task("plural"), microworld, readers=[interrupted, "samples"])
    assert found.interrupted and [reading.text for reading in found.readings] == ["write the plural"]


@pytest.mark.slow
def test_known_instructions_are_weighted(microworld: FrozenLM) -> None:
    task = load_task("plural")
    soft = planted(microworld, "give the plural")
    options = {"known-instructions": {"texts": ("write the plural", "give the category", "name the place")}}
    found = read(soft, task, microworld, readers=["known-instructions"], options=options)
    weights = found.details["known-instructions"]["weights"]
    assert max(weights, key=weights.get) == "write the plural" and found.details["known-instructions"]["kl"] < 0.5
    assert {"it was", "category :"} < set(catalogue_texts())


def test_the_inputs_of_the_search_and_of_the_evidence_are_different() -> None:
    searched, held_out = split_inputs([f"input {n}" for n in range(20)], seed=3)
    assert len(searched) == 10 and len(held_out) == 10 and not set(searched) & set(held_out)
    assert split_inputs(["a", "b", "a"])[0] != split_inputs(["a", "b", "a"])[1]


def test_the_reference_is_a_tenth_percentile_of_unrelated_texts(microworld: FrozenLM) -> None:
    task = load_task("plural")
    problem = ReadingProblem(HardPrompt.from_text(microworld, "give the plural"), task, microworld, inputs_of(task))
    examiner = Examiner(problem)
    below = sum(value < examiner.reference for value in examiner.unrelated)
    assert len(examiner.unrelated) == 32 and (below in (3, 4) or examiner.reference == examiner.empty)


@pytest.mark.parametrize("family", KINDS)
def test_every_kind_of_model_can_be_read(family: str) -> None:
    lm = tiny_lm(family)
    task = tiny_task("generation") if family in ENCODER_DECODER else tiny_task()
    found = read(SoftPrompt(lm.vocab_embeds[lm.encode("good")] * 3), task, lm, texts=["good", "bad food"], readers=["nearest"])
    shown = {reading.text for reading in found.readings}
    assert shown >= {"good", "bad food"} or (found.verdict == "little to read" and found.empty_kl < 0.1)
    assert all(math.isfinite(reading.evidence.kl.value) for reading in found.readings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"readers": ["sample"]}, "did you mean 'samples'"),
        ({"readers": []}, "no reader and no text is given"),
        ({"inputs": []}, "0 different inputs are given; give at least two"),
        ({"inputs": ["cat", "cat"]}, "1 different input is given; give at least two"),
        ({"readers": ["soft"]}, "soft finds a soft prompt and no text"),
        ({"readers": ["samples"], "options": {"samples": {"size": 3}}}, "no samples option 'size'"),
        ({"readers": ["samples"], "options": {"race": {"races": 3}}}, "options are given for 'race', but the readers are"),
        ({"readers": ["known-instructions"], "options": {"known-instructions": {"texts": ()}}}, "has no text that fits"),
    ],
)
def test_bad_requests_are_refused_in_one_line(microworld: FrozenLM, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((RequestError, UnknownName), match=message):
        read("give the plural", load_task("plural"), microworld, **{"lm_tokens": 2_000, **arguments})


def test_vectors_of_another_width_are_refused(microworld: FrozenLM) -> None:
    with pytest.raises(RequestError, match="whose embeddings are 160 wide"):
        read(SoftPrompt(torch.zeros(2, 7)), load_task("plural"), microworld)


def test_html_of_readings_escapes_texts(microworld: FrozenLM) -> None:
    found = read("give the plural", load_task("plural"), microworld, readers=["race"], texts=["<b>&"], lm_tokens=2_000)
    assert "&lt;b&gt;&amp;" in found._repr_html_() and "<b>&" not in found._repr_html_()


def test_every_reader_is_listed() -> None:
    assert {"nearest", "samples", "gradient-search", "known-instructions"} <= set(all_readers())
    assert all(each.summary.endswith(".") for each in all_readers().values())


def long_task(lm: FrozenLM, **fields: Any) -> Task:
    """A task whose inputs are all longer than the model's context."""
    examples = [Example(" ".join([word] * lm.max_length), "positive") for word in ("red", "green", "blue", "film")]
    return tiny_task(truncate_to="start", train=examples, dev=examples, test=examples, **fields)


def test_long_inputs_are_cut_when_a_prompt_is_read() -> None:
    lm = tiny_lm("gpt2")
    found = read(planted(lm, "good food"), long_task(lm), lm, readers=["nearest"], texts=["bad"])
    assert 0 <= found.accuracy <= 1
    judge = TaskJudge(lm, [long_task(lm)])
    assert list(judge.interpret("good food").lifts) == ["tiny-classification"]
    assert 0 <= baselines(long_task(lm), lm)["empty"]["accuracy"] <= 1
    assert wayward(long_task(lm), lm, "good", config=WaywardGrid(steps=1, gammas=(1.0,)), judge=judge).described["projection"]


def test_answers_that_are_numbers_are_not_decoded_when_a_prompt_is_read() -> None:
    """With `match="number"`, a search counts the longest answer; the divergence compares a few tokens and decodes nothing."""
    lm = tiny_lm("gpt2")
    examples = [Example("red green", "12"), Example("blue", "3")]
    counts = []
    for match in ("exact", "number"):
        task = tiny_task("generation", train=examples, dev=examples, test=examples, match=match)
        counter = TokenCount()
        scorer = ImitationScorer(lm, task, ["red", "blue"], lm.encode("good"), 3, torch.Generator().manual_seed(0), counter)
        scorer.score_ids([lm.encode("bad food")])
        counts.append(counter.forward)
    assert counts[0] == counts[1]


def test_swaps_are_predicted_with_the_nll_of_the_whole_text(microworld: FrozenLM) -> None:
    """The surprisal of a new last token is exact, so its prediction is the change of weight x NLL of the text."""
    task = load_task("plural")
    problem = ReadingProblem(planted(microworld, "give the plural"), task, microworld, inputs_of(task, 2), weight=1.0)
    ids = problem.random_ids(1)[0].tolist()[:5]
    of_nll = swap_predictions(problem, ids, [0]) - swap_predictions(problem, ids, [0], weight=0.0)
    before = problem.prompt_nll([ids])
    for column in (3, 40, 77):
        change = problem.prompt_nll([[*ids[:-1], int(problem.allowed[column])]]) - before
        assert float(of_nll[-1, column]) == pytest.approx(float(change), abs=1e-3)


def test_the_nll_of_a_text_sums_the_tokens_that_are_scored() -> None:
    """Without a start token, nothing predicts the first token, and it costs nothing."""
    lm, task = tiny_lm("no-bos"), tiny_task()
    problem = ReadingProblem(HardPrompt.from_text(lm, "good food"), task, lm, inputs_of(task, 2))
    ids = lm.encode("a lovely film")
    assert float(problem.prompt_nll([ids])) == pytest.approx(float(surprisals(lm, [ids])[0].nansum()), rel=1e-4)


def test_a_text_keeps_the_tokens_that_were_scored() -> None:
    """Where the prompt comes first, ` good` and `good` are other tokens; the text that was scored is reported."""
    lm, task = tiny_lm("gpt2"), tiny_task(prompt_first=True)
    ids = lm.encode(" good")
    assert ids != lm.encode("good")

    @reader("blank-first", Config)
    def blank_first(problem: ReadingProblem, config: Config) -> list[list[int]]:
        """One text that begins with a blank."""
        return [ids]

    found = read("bad food", task, lm, readers=[blank_first])
    assert [(each.text, list(each.ids)) for each in found.readings] == [(" good", ids)]


def test_a_model_without_a_default_reader_is_told_which_ones_fit() -> None:
    with pytest.raises(RequestError, match="none of the default readers fits this prompt and this model; name readers that do"):
        read("good food", tiny_task(), tiny_lm("roberta"))
