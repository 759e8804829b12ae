"""One prompt on several models: losses, gradients and budgets are those of the models taken one by one."""

from functools import cache

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hardprompt.data.task import Example
from hardprompt.errors import ContextExceeded, RequestError, TaskError
from hardprompt.lm import FrozenLM
from hardprompt.optimizers import Problem, load_optimizer, run_optimizer
from hardprompt.optimizers.token_gradients import swap_predictions
from hardprompt.prompt import HardPrompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.joint import JointEmbeddings, JointScorer, Over
from hardprompt.scoring.truncation import fit_to_contexts
from tests.helpers.tiny import tiny_lm, tiny_task

OVERS: tuple[Over, ...] = ("mean", "worst")


@cache
def wide_lm(positions: int = 64) -> FrozenLM:
    """A model with the vocabulary of the tiny gpt2, wider embeddings of another scale, and other weights."""
    torch.manual_seed(1)
    first = tiny_lm("gpt2")
    ids = {name: getattr(first.tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    size = {"n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": positions, "vocab_size": len(first.tokenizer)}
    return FrozenLM(GPT2LMHeadModel(GPT2Config(**size, **ids, initializer_range=0.2)), first.tokenizer, "wide")


def by_hand(lms: list[FrozenLM], ids: list[list[int]], indices: list[int] | None, task: str) -> torch.Tensor:
    """Mean losses (M, P): each model alone reads the ids, or the text if its vocabulary is another."""
    examples = tiny_task(task).train
    chosen = examples if indices is None else [examples[i] for i in indices]
    found = []
    for lm in lms:
        scorer = Scorer(lm, tiny_task(task), chosen)
        if lm.tokenizer.get_vocab() == lms[0].tokenizer.get_vocab():
            found.append(scorer.score_ids(ids).mean_loss)
        else:
            texts = [HardPrompt.from_ids(lms[0], each, scorer.template).text for each in ids]
            found.append(torch.cat([scorer.score_text(text).mean_loss for text in texts]))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("others", "task"),
    [(["opt"], "generation"), (["llama"], "classification"), (["llama"], "generation"), (["opt", "bert"], "classification")],
)
def test_the_loss_is_the_mean_or_the_largest_of_the_models(others: list[str], task: str) -> None:
    lms = [tiny_lm("gpt2"), *map(tiny_lm, others)]
    given = tiny_task(task)
    ids = Problem(given, lms[0], prompt_length=3).random_ids(5).tolist()
    for indices in (None, [4, 1]):
        losses = by_hand(lms, ids, indices, task)
        for over, expected in zip(OVERS, (losses.mean(0), losses.amax(0)), strict=True):
            problem = Problem(given, lms, prompt_length=3, over=over)
            torch.testing.assert_close(problem.objective(ids, indices).task_loss, expected, rtol=1e-4, atol=1e-4)


def test_the_worst_has_the_lowest_accuracy_and_one_model_alone_is_unchanged() -> None:
    lms, task = [tiny_lm("gpt2"), wide_lm()], tiny_task()
    ids = Problem(task, lms[0]).random_ids(12).tolist()
    each = torch.stack([Scorer(lm, task, task.train).score_ids(ids).accuracy for lm in lms])
    assert (each[0] != each[1]).any()
    for over, expected in zip(OVERS, (each.mean(0), each.amin(0)), strict=True):
        assert torch.allclose(Problem(task, lms, over=over).objective(ids).accuracy, expected)
    alone, listed = Problem(task, lms[0]), Problem(task, [lms[0]], over="worst")
    assert torch.equal(alone.objective(ids).total, listed.objective(ids).total) and alone.spent == listed.spent


@pytest.mark.parametrize("over", OVERS)
def test_the_gradient_has_the_gradients_of_all_models(over: Over) -> None:
    """At the tokens of a prompt, the part of each model is its own gradient: half of it, or all if it is the worst."""
    lms, task = [tiny_lm("gpt2"), wide_lm()], tiny_task()
    problem = Problem(task, lms, prompt_length=3, over=over)
    ids = problem.random_ids(1)[0]
    embeds = problem.token_embeds(ids).requires_grad_()
    assert embeds.shape == (3, 16 + 24) and torch.allclose(embeds[:, :16].std(), embeds[:, 16:].std(), rtol=0.5)
    loss = problem.train.score_embeds(embeds).loss.mean()
    (gradient,) = torch.autograd.grad(loss, embeds)
    factor = lms[0].vocab_embeds.std() / lms[1].vocab_embeds.std()
    losses, own = [], []
    for lm in lms:
        alone = lm.vocab_embeds[ids].clone().requires_grad_()
        losses.append(Scorer(lm, task, task.train).score_embeds(alone).loss.mean())
        own.append(torch.autograd.grad(losses[-1], alone)[0])
    shares = [0.5, 0.5] if over == "mean" else [float(losses[0] > losses[1]), float(losses[1] > losses[0])]
    torch.testing.assert_close(loss, sum(s * each for s, each in zip(shares, losses, strict=True)))
    torch.testing.assert_close(gradient[:, :16], shares[0] * own[0])
    torch.testing.assert_close(gradient[:, 16:], shares[1] * own[1] / factor)


def test_the_prediction_of_a_swap_is_the_mean_of_those_of_the_models() -> None:
    """The prompt NLL is that of the first model."""
    lms, task = [tiny_lm("gpt2"), wide_lm()], tiny_task()
    joint, alone = Problem(task, lms, prompt_length=3), [Problem(task, lm, prompt_length=3) for lm in lms]
    ids = joint.random_ids(1)[0].tolist()
    task_parts = [swap_predictions(each, ids, [0, 3], 0.0) for each in alone]
    nll = swap_predictions(alone[0], ids, [0, 3], 0.4) - task_parts[0]
    torch.testing.assert_close(swap_predictions(joint, ids, [0, 3], 0.4), sum(task_parts) / 2 + nll, rtol=1e-3, atol=1e-4)


def test_the_budget_counts_the_tokens_of_all_models() -> None:
    lms, task = [tiny_lm("gpt2"), tiny_lm("llama"), wide_lm()], tiny_task()
    joint, alone = Problem(task, lms, prompt_length=3), [Problem(task, lm, prompt_length=3) for lm in lms]
    ids = joint.random_ids(4).tolist()
    text = [HardPrompt.from_ids(lms[0], each, joint.template).text for each in ids]
    joint.train.score_ids(ids)
    alone[0].train.score_ids(ids)
    alone[1].train.score_texts(text)
    alone[2].train.score_ids(ids)
    assert joint.spent == sum(each.spent for each in alone) > alone[0].spent
    joint = Problem(task, [lms[0], lms[2]], prompt_length=3)
    joint.train.score_embeds(joint.token_embeds(torch.tensor(ids[0])).requires_grad_())
    assert joint.counter.backward == joint.counter.forward == 2 * joint.train.tokens(3)


def test_a_soft_prompt_of_one_width_is_read_by_all_models() -> None:
    lms, task = [tiny_lm("gpt2"), tiny_lm("llama")], tiny_task()
    embeds = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    expected = sum(Scorer(lm, task, task.dev).score_embeds(embeds).mean_loss for lm in lms) / 2
    torch.testing.assert_close(Problem(task, lms).score_soft_on_dev(embeds).task_loss, expected)


@pytest.mark.parametrize("name", ["pez", "gcg", "autoprompt", "gbda", "epo", "front", "manual"])
def test_an_optimizer_does_not_know_how_many_models_there_are(name: str) -> None:
    """The best prompt has the lowest mean of the dev losses of the models; one seed gives one result."""
    lms, task = [tiny_lm("gpt2"), wide_lm()], tiny_task()
    results = [
        run_optimizer(load_optimizer(name), Problem(task, lms, prompt_length=3, seed=2, lm_tokens=700)) for _ in range(2)
    ]
    best = results[0].best
    assert isinstance(best.prompt, HardPrompt) and best.prompt == results[1].best.prompt
    losses = [float(Scorer(lm, task, task.dev).score_ids([best.prompt.ids]).mean_loss) for lm in lms]
    assert best.dev_objective == pytest.approx(sum(losses) / 2, abs=1e-4)
    assert best.dev_objective == min(each.dev_objective for each in results[0].candidates)


@pytest.mark.parametrize(
    ("name", "options", "other", "message"),
    [
        *(
            (name, {}, "llama", "use an optimizer that needs only scores: random")
            for name in ("pez", "gcg", "autoprompt", "gbda")
        ),
        ("epo", {}, "llama", "tiny-gpt2 and tiny-llama have different ones"),
        ("front", {"swap_parents": 1}, "llama", "gradients over tokens need models with one vocabulary"),
        ("soft", {}, "wide", "embeddings of one width, and those of tiny-gpt2 and wide are 16, 24 wide"),
        ("wayward", {"target": "good"}, "wide", "embeddings of one width"),
        ("rl", {"reward": "gap"}, "llama", "the reward 'gap' is defined for one model, and there are 2; use 'objective'"),
    ],
)
def test_what_has_no_gradient_over_the_models_is_refused_before_the_search(
    name: str, options: dict[str, object], other: str, message: str
) -> None:
    optimizer = load_optimizer(name)
    problem = Problem(tiny_task(), [tiny_lm("gpt2"), wide_lm() if other == "wide" else tiny_lm(other)])
    with pytest.raises(RequestError, match=message) as caught:
        optimizer.check(problem, optimizer.configure(options))
    assert "\n" not in str(caught.value) and problem.spent == 0


def test_vectors_of_one_of_several_models_are_refused() -> None:
    """Embeddings of the first model alone do not fit the joint scorer, and the error says why."""
    problem = Problem(tiny_task(), [tiny_lm("gpt2"), wide_lm()])
    with pytest.raises(RequestError, match="needs embeddings of one width"):
        problem.train.score_embeds(problem.lm.vocab_embeds[[5, 6]])


def test_every_model_must_be_able_to_solve_the_task() -> None:
    lms = [tiny_lm("gpt2"), tiny_lm("bert")]
    with pytest.raises(TaskError, match="label word 'terrible' is 4 tokens of tiny-llama"):
        Problem(tiny_task(label_words={"positive": "good", "negative": "terrible"}), [lms[0], tiny_lm("llama")])
    with pytest.raises(RequestError, match="a masked model cannot generate text"):
        Problem(tiny_task("generation"), lms)
    with pytest.raises(RequestError, match="there is no model; give at least one"):
        Problem(tiny_task(), [])
    with pytest.raises(RequestError, match="two of the models are called 'tiny-gpt2'"):
        Problem(tiny_task(), [lms[0], lms[0]])
    with pytest.raises(ContextExceeded, match="the context of wide is 12"):
        Problem(tiny_task(truncate_to=""), [lms[0], wide_lm(12)])


def test_inputs_are_cut_to_the_model_with_the_shortest_context_and_counted_once() -> None:
    lms = [tiny_lm("gpt2"), wide_lm(52)]
    long = Example("good " * 60, "positive")
    task = tiny_task(truncate_to="start", train=[long, Example("good film", "negative")])
    fitted = [fit_to_contexts(task, each, 3) for each in (lms, lms[::-1], lms[1:])]
    assert fitted[0].train == fitted[1].train == fitted[2].train and fitted[0].inputs_cut["train"] == 1
    assert len(fitted[0].train[0].input) < len(fit_to_contexts(task, lms[:1], 3).train[0].input) < len(long.input)


def test_the_rest_of_the_scorer_is_that_of_the_first_model() -> None:
    lms, task = [tiny_lm("gpt2"), tiny_lm("llama")], tiny_task()
    joint, first = JointScorer(JointEmbeddings(lms), task, task.train), Scorer(lms[0], task, task.train)
    assert joint.contexts == first.contexts and torch.equal(joint.label_ids, first.label_ids)
