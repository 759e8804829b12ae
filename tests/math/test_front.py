"""The optimizer front: its moves, its race, its archive, and what it finds."""

import math
from typing import Any

import pytest
import torch

from hardprompt import load_lm, load_task
from hardprompt.errors import RequestError
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.optimizers.archive import Member
from hardprompt.optimizers.front import FrontConfig, Move, _Search
from hardprompt.optimizers.proposals import Proposals
from hardprompt.optimizers.token_gradients import swap_predictions
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.stats.pareto import hypervolume, non_dominated
from tests.helpers.tiny import tiny_lm, tiny_task


def _problem(task: str = "past-tense", **given: Any) -> Problem:
    return Problem(load_task(task), load_lm("microworld"), **{"prompt_length": 6, "lm_tokens": 15_000} | given)


def _ids(prompt: HardPrompt | SoftPrompt) -> tuple[int, ...]:
    assert isinstance(prompt, HardPrompt)
    return prompt.ids


@pytest.fixture(scope="module")
def search() -> _Search:
    """A search that has raced its seeds."""
    found = _Search(_problem(lm_tokens=None), FrontConfig())
    found.race(found.seeds())
    return found


@pytest.mark.parametrize("ladder", [(), (0.1, 0.1), (0.3, 0.1)])
def test_a_ladder_that_does_not_increase_is_refused(ladder: tuple[float, ...]) -> None:
    with pytest.raises(RequestError, match=r"option front.ladder: .*increase") as caught:
        load_optimizer("front").configure({"ladder": ladder})
    assert "\n" not in str(caught.value)


def test_options_with_several_values_are_given_as_text() -> None:
    config = load_optimizer("front").configure({"ladder": "0, 0.2,1", "moves": "tail"})
    assert (config.ladder, config.moves) == ((0.0, 0.2, 1.0), ("tail",))
    assert load_optimizer("rlprompt").configure({"shape": "-10, 10"}).shape == (-10.0, 10.0)


def test_seeds_have_every_length_that_is_allowed(search: _Search) -> None:
    assert {len(ids) for ids in search.seeds()} == {1, 2, 3, 4, 5, 6}


def _moved(search: _Search, move: Move, weight: float = 0.0, ids: list[int] | None = None) -> tuple[list[int], list[list[int]]]:
    parent = Member(tuple(ids or search.problem.random_ids(1)[0].tolist()), 1.0, 5.0, 0.5)
    return list(parent.ids), search._moved(move, parent, weight)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_each_move_changes_what_it_names(search: _Search, weight: float) -> None:
    for _ in range(3):
        ids, replaced = _moved(search, "replace", weight)
        assert 0 < len(replaced) <= 4
        assert all(sum(a != b for a, b in zip(ids, child, strict=True)) <= 1 for child in replaced)
        ids, inserted = _moved(search, "insert", weight, ids[:4])
        assert inserted
        for child in inserted:
            assert any([*child[:i], *child[i + 1 :]] == ids for i in range(5))
        ids, deleted = _moved(search, "delete", weight)
        assert {len(child) for child in deleted} <= {4, 5}
        ids, tails = _moved(search, "tail", weight)
        assert all(1 <= len(child) <= 6 for child in tails)
    assert _moved(search, "insert", 0.0)[1] == []  # the parent has the maximal length


def test_swaps_are_among_the_best_predictions(search: _Search) -> None:
    problem, config = search.problem, search.config.model_copy(update={"swaps": 2, "gradient_examples": 16})
    ids = problem.random_ids(1)[0].tolist()
    problem.batch = lambda size: list(range(size))  # type: ignore[method-assign]
    search.config, kept = config, search.config
    children = search._swapped(ids, 0.1)
    search.config = kept
    del problem.batch
    best = problem.allowed[swap_predictions(problem, ids, list(range(16)), 0.1).topk(2, largest=False).indices].tolist()
    assert len(children) == 24
    for child in children:
        places = [at for at, (old, new) in enumerate(zip(ids, child, strict=True)) if old != new]
        assert len(places) <= 1
        assert all(child[at] in best[at] for at in places)


def test_parents_of_swaps_add_children() -> None:
    for parents in (0, 2):
        search = _Search(_problem(lm_tokens=None), FrontConfig(swap_parents=parents, samples=0))
        search.race(search.seeds())
        before = search.problem.counter.backward
        search.children()
        assert (search.problem.counter.backward > before) == (parents > 0)


def test_proposals_are_likely_after_their_context() -> None:
    problem = _problem("review-price", vocabulary="words")
    proposals = Proposals(problem, likely=8)
    lm = problem.lm
    context = [*lm.prefix_ids, *lm.encode("give the")]
    [drawn] = proposals.next_tokens([context], 50)
    logits = lm.output_logits(lm.hidden(lm.embed(torch.tensor([context])))[0, -1], problem.allowed)
    assert {*drawn} <= {*problem.allowed[logits.topk(8).indices].tolist()}
    assert problem.spent == len(lm.encode("give the")) + 1


def test_a_race_does_not_depend_on_contexts_that_are_padded() -> None:
    problem = _problem()
    lm = problem.lm
    proposals = Proposals(problem, likely=1)
    contexts = [[*lm.prefix_ids, *lm.encode(text)] for text in ("give the past", "say", "write the form of")]
    assert proposals.next_tokens(contexts, 1) == [proposals.next_tokens([context], 1)[0] for context in contexts]


def test_a_continuation_is_that_of_whole_passes() -> None:
    """With the most probable token alone, keys and values that are kept give what whole passes give, for all lengths."""
    problem = _problem("review-price")
    lm = problem.lm
    proposals = Proposals(problem, likely=1)
    contexts = [[*lm.prefix_ids, *lm.encode(text)] for text in ("give the past tense of", "say", "write the form")]
    contexts += [[*place, *lm.encode("say")] for place in proposals.places[:2]]
    before, counts = problem.spent, [1, 5, 3, 4, 0]
    found = proposals.continued(contexts, counts)
    read = [(context, count) for context, count in zip(contexts, counts, strict=True) if count]
    assert problem.spent - before == sum(len(context) - len(lm.prefix_ids) + count for context, count in read)
    for context, count, tokens in zip(contexts, counts, found, strict=True):
        expected: list[int] = []
        while len(expected) < count:
            expected += proposals.next_tokens([[*context, *expected]], 1)[0]
        assert tokens == expected


def test_members_are_not_dominated_and_survive_as_text() -> None:
    problem = _problem()
    result = run_optimizer(load_optimizer("front"), problem)
    members = [(c.dev_task_loss, c.prompt_nll, -c.dev_accuracy) for c in (each.candidate for each in result.front)]
    for one in members:
        assert not any(all(a <= b for a, b in zip(other, one, strict=True)) and other != one for other in members)
    for prompt in result.final_prompts:
        assert isinstance(prompt, HardPrompt)
        assert len(prompt.ids) <= 6
        assert HardPrompt.from_text(problem.lm, prompt.text, problem.template).ids == prompt.ids
    nll = [log_perplexity(problem.lm, _ids(prompt)) for prompt in result.final_prompts]
    assert nll == sorted(nll)


def test_one_run_is_better_than_random_search() -> None:
    volumes = {}
    for name in ("random", "front"):
        problem = _problem("opposite")
        found = [c for c in run_optimizer(load_optimizer(name), problem).candidates if not math.isnan(c.prompt_nll)]
        kept = [found[i] for i in non_dominated([c.dev_accuracy for c in found], [c.prompt_nll for c in found])]
        accuracy = problem._test.score_ids([_ids(c.prompt) for c in kept]).accuracy.tolist()
        volumes[name] = hypervolume(accuracy, [c.prompt_nll for c in kept], math.log(problem.lm.vocab_embeds.shape[0]))
    assert volumes["front"] > 2 * volumes["random"]


def test_a_search_with_a_budget_ends_when_no_new_prompt_is_left() -> None:
    """A masked model reads nothing to propose a prompt, so that a prompt that is known costs nothing."""
    lm = tiny_lm("roberta")
    problem = Problem(tiny_task(), lm, prompt_length=1, vocabulary=torch.tensor(lm.encode("good"))[:1], lm_tokens=20_000)
    assert len(run_optimizer(load_optimizer("front"), problem).candidates) == 1


@pytest.mark.parametrize("family", ["gpt2", "no-bos"])
def test_a_continuation_counts_its_tokens_once(family: str) -> None:
    problem = Problem(tiny_task(), tiny_lm(family), prompt_length=5)
    proposals = Proposals(problem, likely=3)
    proposals.continued([proposals.context([])] * 10, [5] * 10)
    assert problem.spent == 50


def test_total_fluency_prefers_the_shorter_of_two_prompts() -> None:
    search = _Search(_problem(), FrontConfig(fluency="total"))
    mean = _Search(_problem(), FrontConfig())
    ids = search.problem.lm.encode("give the past tense of this")[:6]
    for length in (2, 4, 6):
        of_mean = float(mean._fluency([ids[:length]]))
        assert float(search._fluency([ids[:length]])) == pytest.approx(of_mean * length / 6, rel=1e-5)


@pytest.mark.slow
def test_a_search_ends_when_no_new_prompt_is_left() -> None:
    lm = load_lm("microworld")
    for kept in (1, 2):
        problem = Problem(load_task("plural"), lm, prompt_length=1, vocabulary=torch.tensor(lm.encode("give the"))[:kept])
        result = run_optimizer(load_optimizer("front"), problem)
        assert 1 <= len(result.candidates) <= kept
