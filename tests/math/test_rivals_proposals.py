"""Optimizers that draw prompts from the model itself, and evolutionary prompt optimization: one step of each by hand."""

import math
from typing import Any

import pytest
import torch

from hardprompt.errors import RequestError
from hardprompt.lm import allowed_vocabulary, log_perplexity
from hardprompt.optimizers import (
    BeamConfig,
    EpoConfig,
    Problem,
    PromptResult,
    RaceConfig,
    load_optimizer,
    run_optimizer,
)
from hardprompt.optimizers.beam import beam_lengths
from hardprompt.optimizers.epo import children, slot_weights
from hardprompt.optimizers.proposals import draw_tokens, keeps_tokens, next_token_logits
from hardprompt.optimizers.race import ranks, run_race, sample_prompts
from hardprompt.optimizers.token_gradients import swap_predictions
from hardprompt.prompt import HardPrompt
from tests.helpers.plain import plain_score
from tests.helpers.tiny import pieces, tiny_lm, tiny_task

FEW: dict[str, dict[str, Any]] = {
    "epo": {"slots": 3, "children": 2, "batch_size": 2, "iterations": 3, "evaluate_every": 1},
    "beam": {"beams": 2, "continuations": 2, "batch_size": 2, "searches": 2},
    "race": {"samples": 8, "batch_size": 2, "races": 2},
}
NEW = pytest.mark.parametrize("name", FEW)


def problem_of(family: str = "gpt2", kind: str = "classification", **fields: Any) -> Problem:
    return Problem(tiny_task(kind), tiny_lm(family), **{"prompt_length": 3} | fields)


def run(name: str, problem: Problem, **options: Any) -> PromptResult:
    found = load_optimizer(name)
    config = found.configure(FEW[name] | options)
    found.check(problem, config)
    return run_optimizer(found, problem, config)


def candidates(result: PromptResult) -> list[tuple[int, ...]]:
    """The prompts that were scored on dev."""
    return [candidate.prompt.ids for candidate in result.candidates if isinstance(candidate.prompt, HardPrompt)]


def plain_loss(problem: Problem, ids: tuple[int, ...], indices: list[int]) -> float:
    losses = [plain_score(problem.lm, problem.task, problem.task.train[i], list(ids))[0] for i in indices]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", ["random", "random-likely", "race", "front", "beam", "gcg", "autoprompt", "epo"])
def test_all_prompts_that_are_scored_keep_their_tokens_as_text(name: str) -> None:
    """A prompt that begins with a letter is deployed with a blank before it, and so has other tokens."""
    lm = tiny_lm("gpt2")
    words = allowed_vocabulary(lm, "words", tiny_task())
    problem = problem_of(vocabulary=torch.cat([words, torch.tensor(pieces(lm))]), lm_tokens=20_000)
    drawn = problem.random_ids(100).tolist()
    assert 0 < sum(keeps_tokens(problem, ids) for ids in drawn) < len(drawn)
    result = run_optimizer(load_optimizer(name), problem)
    assert all(keeps_tokens(problem, ids) for ids in candidates(result))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("autoprompt", {"candidates": 3}),
        ("gcg", {"search_width": 1}),
        ("epo", {"children": 1}),
        ("front", {}),
    ],
)
def test_a_step_without_a_prompt_that_keeps_its_tokens_changes_nothing(name: str, options: dict[str, Any]) -> None:
    """Here most prompts change their tokens when their text is tokenized again, so many steps find no prompt to move to.

    The search may have to begin with such a prompt. Once it has scored one that keeps its tokens, it scores no other kind.
    """
    problem = problem_of(vocabulary="all", lm_tokens=6_000)
    found = candidates(run_optimizer(load_optimizer(name), problem, load_optimizer(name).configure(options)))
    kept = [keeps_tokens(problem, ids) for ids in found]
    assert any(kept) and all(kept[kept.index(True) :])


def test_next_token_logits_are_those_of_the_model() -> None:
    problem = problem_of()
    before = problem.spent
    for prompts in (torch.empty(2, 0, dtype=torch.long), problem.random_ids(2)):
        read = torch.cat([torch.tensor([problem.lm.prefix_ids] * 2), prompts], 1)
        expected = problem.lm.model(input_ids=read).logits[:, -1, problem.allowed]
        torch.testing.assert_close(next_token_logits(problem, prompts), expected, rtol=1e-4, atol=1e-4)
    assert problem.spent - before == 2 * 1 + 2 * 4


def test_without_a_start_token_the_first_token_is_drawn_uniformly() -> None:
    problem = problem_of("no-bos")
    assert problem.lm.prefix_ids == []
    logits = next_token_logits(problem, torch.empty(2, 0, dtype=torch.long))
    assert logits.tolist() == [[0.0] * len(problem.allowed)] * 2 and problem.spent == 0


def test_tokens_are_drawn_from_the_softmax_without_replacement() -> None:
    """The frequencies of the first and the second draw, against the exact probabilities."""
    p = torch.tensor([0.5, 0.3, 0.2])
    drawn = draw_tokens(p.log().expand(40_000, -1), 2, torch.Generator().manual_seed(0))
    pairs = torch.zeros(3, 3)
    pairs.index_put_((drawn[:, 0], drawn[:, 1]), torch.tensor(1 / len(drawn)), accumulate=True)
    expected = p[:, None] * p[None] / (1 - p[:, None])
    torch.testing.assert_close(pairs, expected.fill_diagonal_(0.0), rtol=0, atol=0.01)
    assert draw_tokens(p.log()[None], 9, torch.Generator().manual_seed(0)).sort().values.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("family", ["gpt2", "no-bos"])
def test_a_beam_search_by_hand(family: str) -> None:
    """The beams of each length are the best candidates of all that were drawn, by plain passes of the model."""
    problem, config = problem_of(family, weight=0.5), BeamConfig(beams=3, continuations=2, batch_size=2)
    lm, generator = problem.lm, torch.Generator().manual_seed(problem.seed)
    beams: list[tuple[int, ...]] = [()]
    for length, found in enumerate(beam_lengths(problem, config), 1):
        reads = [torch.tensor([[*lm.prefix_ids, *ids]]) for ids in beams]
        nothing = torch.zeros(len(problem.allowed))
        logits = torch.stack(
            [lm.model(input_ids=read).logits[0, -1, problem.allowed] if read.numel() else nothing for read in reads]
        )
        noise = -torch.empty(logits.shape).exponential_(generator=generator).log()
        columns = (logits + noise).argsort(descending=True)[:, : 3 if length == 1 else 2]
        drawn = [(*ids, int(problem.allowed[column])) for ids, row in zip(beams, columns, strict=True) for column in row]
        assert len(set(drawn)) == len(drawn) == (3 if length == 1 else 6)
        indices = torch.randperm(len(problem.task.train), generator=generator)[:2].tolist()

        def total(ids: tuple[int, ...], indices: list[int] = indices) -> float:
            nll = log_perplexity(lm, ids)
            return plain_loss(problem, ids, indices) + 0.5 * (0.0 if math.isnan(nll) else nll)

        beams = sorted(drawn, key=total)[:3]
        assert [tuple(ids) for ids in found.tolist()] == beams


@pytest.mark.parametrize(("family", "lengths"), [("gpt2", [1, 2, 3]), ("no-bos", [2, 3])])
def test_the_best_beam_of_every_length_with_an_nll_is_a_candidate(family: str, lengths: list[int]) -> None:
    result = run("beam", problem_of(family))
    assert [len(ids) for ids in candidates(result)] == lengths * 2
    assert result.final_prompts[-1] == result.candidates[-1].prompt, "the best beam is the last of the returned ones"


def test_the_children_of_epo_are_swaps_for_the_best_predicted_tokens() -> None:
    problem, indices = problem_of(), [0, 2]
    config = EpoConfig(children=40, top_k=5)
    ids = tuple(problem.random_ids(1)[0].tolist())
    predicted = swap_predictions(problem, ids, indices, 0.7)
    best = [set(problem.allowed[row.argsort()[:5]].tolist()) for row in predicted]
    places = set()
    for child in children(problem, config, ids, indices, 0.7):
        changed = [place for place in range(3) if child[place] != ids[place]]
        assert len(changed) <= 1
        for place in changed:
            assert child[place] in best[place]
            places.add(place)
    assert places == {0, 1, 2}


def test_iterations_of_epo_by_hand() -> None:
    """Every slot takes the best of all parents and children at its own weight, by plain passes of the model.

    After the second iteration, all slots take the prompt that is best at one random weight.
    """
    options = {"lowest_weight": 0.1, "highest_weight": 10.0, "restart_every": 2}
    problem, by_hand = problem_of(), problem_of()
    result = run("epo", problem, **options)
    config = EpoConfig(**FEW["epo"] | options)
    weights = slot_weights(config)
    assert weights == pytest.approx([0.1, 1.0, 10.0])
    slots = [tuple(ids) for ids in by_hand.random_ids(3).tolist()]
    evaluated = []
    for iteration in (1, 2, 3):
        indices = by_hand.batch(2)
        pool = list(slots)
        for ids, weight in zip(slots, weights, strict=True):
            pool += children(by_hand, config, ids, indices, weight)
        parts = {ids: (plain_loss(by_hand, ids, indices), log_perplexity(by_hand.lm, ids)) for ids in pool}
        slots = [lowest(parts, weight) for weight in weights]
        evaluated += slots
        if iteration == 2:
            share = float(torch.rand((), generator=by_hand.generator))
            slots = [lowest(parts, 0.1 * 100**share)] * 3
    assert [prompt.ids for prompt in result.final_prompts if isinstance(prompt, HardPrompt)] == slots
    assert candidates(result) == list(dict.fromkeys(evaluated))


def lowest(parts: dict[tuple[int, ...], tuple[float, float]], weight: float) -> tuple[int, ...]:
    return min(parts, key=lambda ids: parts[ids][0] + weight * parts[ids][1])


def test_ranks_at_each_weight() -> None:
    loss, nll = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 4.0, torch.nan])
    assert ranks(loss, nll, (0.0, 0.5)).tolist() == [[0, 1, 2], [2, 1, 0]]


def test_a_race_by_hand() -> None:
    """Halving on growing sets of examples that all prompts share, with scores from plain passes of the model."""
    problem, config = problem_of(), RaceConfig(batch_size=1, weights=(0.0, 1.0))
    prompts = [tuple(ids) for ids in problem.random_ids(9).tolist()]
    state = problem.generator.get_state()
    found = run_race(problem, config, prompts)
    examples = torch.randperm(6, generator=torch.Generator().set_state(state)).tolist()
    nll = {ids: log_perplexity(problem.lm, ids) for ids in prompts}
    alive, seen, reads = list(prompts), 1, 9
    loss: dict[tuple[int, ...], float] = {}
    while True:
        loss.update({ids: plain_loss(problem, ids, examples[:seen]) for ids in alive})
        orders = [sorted(alive, key=loss.__getitem__), sorted(alive, key=lambda ids: loss[ids] + nll[ids])]
        if len(alive) <= 2 or seen == 6:
            break
        alive = sorted(alive, key=lambda ids: min(order.index(ids) for order in orders))[: (len(alive) + 1) // 2]
        reads += len(alive) * (min(2 * seen, 6) - seen)
        seen = min(2 * seen, 6)
    assert found == list(dict.fromkeys(order[0] for order in orders))
    assert (len(alive), seen, reads) == (2, 6, 9 + 5 + 3 * 2 + 2 * 2)


@pytest.mark.parametrize(("family", "lengths"), [("gpt2", {1, 2, 3}), ("no-bos", {2, 3})])
def test_samples_are_likely_prompts_of_all_lengths_with_an_nll(family: str, lengths: set[int]) -> None:
    """Each token is one of the two allowed ones with the largest logits after the tokens before it."""
    problem = problem_of(family)
    drawn = sample_prompts(problem, RaceConfig(samples=60, fluent=2))
    assert {len(ids) for ids in drawn} == lengths and len(set(drawn)) == len(drawn)
    for ids in drawn:
        for place, token in enumerate(ids):
            read = torch.tensor([[*problem.lm.prefix_ids, *ids[:place]]])
            if not read.numel():
                continue
            logits = problem.lm.model(input_ids=read).logits[0, -1, problem.allowed]
            assert token in problem.allowed[logits.topk(2).indices]


def test_a_low_temperature_draws_the_most_probable_token() -> None:
    problem = problem_of()
    (only,) = {ids for ids in sample_prompts(problem, RaceConfig(samples=30, temperature=1e-4)) if len(ids) == 3}
    read = torch.tensor([problem.lm.prefix_ids])
    assert only[0] == int(problem.allowed[problem.lm.model(input_ids=read).logits[0, -1, problem.allowed].argmax()])


@NEW
@pytest.mark.parametrize("family", ["gpt2", "no-bos"])
@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_prompts_of_one_token_and_few_allowed_tokens(name: str, family: str, kind: str) -> None:
    """The options ask for more tokens than there are allowed ones."""
    allowed = problem_of(family).allowed[:2]
    problem = problem_of(family, kind, prompt_length=1, vocabulary=allowed, weight=0.3)
    result = run(name, problem, **({"beams": 5, "continuations": 5} if name == "beam" else {}))
    assert {token for ids in candidates(result) for token in ids} <= set(allowed.tolist())


@NEW
def test_the_budget_ends_a_run(name: str) -> None:
    endless = {"epo": "iterations", "beam": "searches", "race": "races"}[name]
    problem = problem_of(lm_tokens=3000)
    run(name, problem, **{endless: 100_000})
    assert 3000 <= problem.spent < 3000 + 1200


@NEW
def test_one_run_of_epo_or_race_serves_all_weights(name: str) -> None:
    """The weight of the problem changes what beam search finds, and only the selection of the other two."""
    found = [candidates(run(name, problem_of(weight=weight))) for weight in (0.0, 5.0)]
    assert load_optimizer(name).finds_front == (name != "beam") == (found[0] == found[1])
    assert load_optimizer(name).uses_weight == (name == "beam")


@pytest.mark.parametrize(
    ("name", "family"), [("beam", "bert"), ("race", "bert"), ("beam", "t5"), ("race", "t5"), ("epo", "t5")]
)
def test_models_that_an_optimizer_cannot_use_are_refused(name: str, family: str) -> None:
    task = tiny_task(label_words={"positive": "a", "negative": "b"})
    message = "assigns no probability to a prompt" if name == "epo" else "predicts no next token of a prompt"
    with pytest.raises(RequestError, match=message):
        run(name, Problem(task, tiny_lm(family), prompt_length=3))


def test_the_weights_of_epo_are_checked() -> None:
    with pytest.raises(RequestError, match=r"epo\.lowest_weight is 2, above epo\.highest_weight, 1; lower it"):
        run("epo", problem_of(), lowest_weight=2)
