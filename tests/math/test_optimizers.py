"""The optimizers of the core beyond their contract: budgets, options, learning rates of zero."""

from typing import Any

import pytest
import torch

from hardprompt import FrozenLM, load_task
from hardprompt.errors import RequestError, RunError, UnknownName
from hardprompt.optimizers import Config, Problem, load_optimizer, optimizer, run_optimizer
from hardprompt.optimizers.soft_training import initial_embeds
from tests.helpers.tiny import tiny_lm, tiny_task

FEW: dict[str, dict[str, Any]] = {
    "random": {"prompts": 20},
    "random-likely": {"prompts": 20, "fluent": 2},
    "soft": {"steps": 6, "evaluate_every": 2},
    "pez": {"steps": 6},
    "gcg": {"steps": 6, "search_width": 4},
    "autoprompt": {"steps": 6},
    "gbda": {"steps": 6},
    "rl": {"episodes": 16, "rollout": 4, "examples": 3},
    "rlprompt": {"episodes": 16, "rollout": 4, "examples": 3},
}


def _run(
    name: str, kind: str = "classification", family: str = "gpt2", options: dict[str, Any] | None = None, **fields: Any
) -> Any:
    found = load_optimizer(name)
    problem = Problem(tiny_task(kind), tiny_lm(family), **{"prompt_length": 3, **fields})
    return problem, run_optimizer(found, problem, found.configure({**FEW.get(name, {}), **(options or {})}))


@pytest.mark.parametrize("name", sorted(FEW))
def test_the_budget_ends_a_run(name: str) -> None:
    endless = next(option for option in FEW[name] if option in ("prompts", "steps", "episodes"))
    problem, _ = _run(name, options={endless: 100_000}, lm_tokens=3000)
    one_step = 1200
    assert 3000 <= problem.spent < 3000 + one_step


def test_random_likely_draws_from_the_most_probable_tokens() -> None:
    """Each token is one of the two allowed ones with the largest logits after the start token and the tokens before it."""
    problem, result = _run("random-likely")
    assert len(result.candidates) == 20
    ranks = set()
    for candidate in result.candidates:
        for place, token in enumerate(candidate.prompt.ids):
            before = torch.tensor([[*problem.lm.prefix_ids, *candidate.prompt.ids[:place]]])
            logits = problem.lm.model(input_ids=before).logits[0, -1, problem.allowed]
            ranks.add(logits.argsort(descending=True).tolist().index(problem.allowed.tolist().index(token)))
    assert ranks == {0, 1}


def test_random_likely_needs_a_causal_model() -> None:
    found = load_optimizer("random-likely")
    problem = Problem(tiny_task(), tiny_lm("bert"), prompt_length=3)
    with pytest.raises(RequestError, match=r"predicts no next token of a prompt \(masked model\); use the optimizer random"):
        found.check(problem, found.configure({}))


@pytest.mark.parametrize("variant", ["pez", "projected-sgd"])
@pytest.mark.parametrize("projection", ["cosine", "euclidean"])
def test_pez_with_a_learning_rate_of_zero_does_not_move(variant: str, projection: str) -> None:
    _, result = _run("pez", options={"learning_rate": 0, "variant": variant, "projection": projection})
    assert len({candidate.prompt.ids for candidate in result.candidates}) == 1
    assert len({prompt.ids for prompt in result.final_prompts}) == 1


@pytest.mark.parametrize("variant", ["pez", "projected-sgd"])
def test_pez_moves_with_its_default_learning_rate(variant: str, microworld: FrozenLM) -> None:
    problem = Problem(load_task("plural"), microworld, lm_tokens=20_000)
    pez = load_optimizer("pez")
    found = run_optimizer(pez, problem, pez.configure({"variant": variant}))
    assert len({candidate.dev_task_loss for candidate in found.candidates}) > 3
    assert found.best.dev_accuracy > 0.8


def test_a_fluency_term_of_soft_prompts_needs_a_model_that_reads_the_prompt() -> None:
    soft = load_optimizer("soft")
    problem, config = Problem(tiny_task("generation"), tiny_lm("t5")), soft.configure({"nll_weight": 1.0})
    with pytest.raises(RequestError, match="assigns no probability to a prompt"):
        soft.check(problem, config)


def test_soft_with_a_learning_rate_of_zero_does_not_move() -> None:
    problem, result = _run("soft", options={"learning_rate": 0})
    fresh = Problem(problem.task, problem.lm, prompt_length=3)
    assert torch.equal(result.final_prompts[-1].embeds, initial_embeds(fresh, "vocabulary"))


@pytest.mark.parametrize("update", ["adamw", "adafactor"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_soft_prompts_lower_the_training_loss(update: str, schedule: str) -> None:
    """The loss on the training examples is lower than at the start, even on a tiny random model."""
    options = {"update": update, "schedule": schedule, "steps": 60, "learning_rate": 0.3, "batch_size": 6}
    _, result = _run("soft", options=options)
    curve = [entry["train_loss"] for entry in result.curve]
    assert curve[-1] < 0.8 * curve[0]


def test_the_nll_term_changes_the_soft_prompt() -> None:
    _, without = _run("soft")
    _, with_term = _run("soft", options={"nll_weight": 1.0})
    assert not torch.equal(without.final_prompts[-1].embeds, with_term.final_prompts[-1].embeds)


@pytest.mark.parametrize(("first", "second"), [("one-sided", "two-sided")])
def test_the_fluency_gradient_has_an_effect_only_with_a_weight(first: str, second: str) -> None:
    options = [{"fluency_gradient": side, "steps": 12, "learning_rate": 0.5} for side in (first, second)]
    ids = [[p.ids for p in _run("pez", options=o)[1].final_prompts] for o in options]
    weighted = [[p.ids for p in _run("pez", options=o, weight=5.0)[1].final_prompts] for o in options]
    assert ids[0] == ids[1]
    assert weighted[0] != weighted[1]


def test_initial_embeds_of_a_repeated_word() -> None:
    lm = tiny_lm("gpt2")
    problem = Problem(tiny_task(), lm, prompt_length=3)
    good, film = (ids[0] for ids in lm.encode_after([" good", " film"]))
    assert torch.equal(initial_embeds(problem, "text", "good"), lm.vocab_embeds[[good] * 3])
    assert torch.equal(initial_embeds(problem, "text", "good film"), lm.vocab_embeds[[good, film, good]])
    noise = initial_embeds(problem, "noise")
    assert noise.shape == (3, 16) and not torch.equal(noise, initial_embeds(problem, "noise"))


def test_manual_needs_reference_prompts() -> None:
    with pytest.raises(RequestError, match="has no reference prompts"):
        run_optimizer(load_optimizer("manual"), Problem(tiny_task(reference_prompts=[]), tiny_lm("gpt2")))


def test_options_are_checked() -> None:
    pez = load_optimizer("pez")
    with pytest.raises(UnknownName, match="no pez option 'stps'; did you mean 'steps'"):
        pez.configure({"stps": 1})
    with pytest.raises(RequestError, match=r"option pez.steps: .* got 0"):
        pez.configure({"steps": 0})
    with pytest.raises(RequestError, match="init_text"):
        run_optimizer(pez, Problem(tiny_task(), tiny_lm("gpt2")), pez.configure({"init": "text"}))


def test_an_optimizer_without_a_candidate_is_an_error() -> None:
    @optimizer("idle", config=Config)
    def idle(problem: Problem, config: Config) -> list[list[int]]:
        """Do nothing."""
        return []

    with pytest.raises(RunError, match="idle scored no prompt on dev"):
        run_optimizer(idle, Problem(tiny_task(), tiny_lm("gpt2")))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(RunError, match="lower the option learning_rate"):
        _run("soft", options={"learning_rate": 1e30, "steps": 20})


@pytest.mark.parametrize(("name", "relative"), [("soft", 0.1), ("pez", 0.25)])
def test_the_default_learning_rate_is_recorded(name: str, relative: float) -> None:
    """The default is a fraction of the standard deviation of the vocabulary embeddings.

    A given learning rate is recorded as given.
    """
    lm = tiny_lm("gpt2")
    for given, expected in (({}, relative * float(lm.vocab_embeds.std())), ({"learning_rate": 0.02}, 0.02)):
        _, result = _run(name, options={"steps": 1, **given})
        assert result.config["learning_rate"] == pytest.approx(expected)
