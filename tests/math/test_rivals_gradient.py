"""GCG, AutoPrompt and GBDA against plain versions of their algorithms, which score one unpadded pair at a time."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt.lm import FrozenLM, log_perplexity
from hardprompt.lm.perplexity import expected_nll
from hardprompt.optimizers import Problem, PromptResult, load_optimizer, run_optimizer
from hardprompt.optimizers.edits import draw_edits
from hardprompt.optimizers.gbda import gumbel_softmax
from hardprompt.scoring import Scorer
from tests.helpers.plain import plain_nll, plain_score
from tests.helpers.tiny import tiny_lm, tiny_task

LENGTH, BATCH, WEIGHT = 3, 4, 0.5

in_every_weight = pytest.mark.parametrize("weight", [0.0, WEIGHT])


def run(
    name: str, options: dict[str, Any], family: str = "gpt2", kind: str = "classification", **fields: Any
) -> tuple[Problem, PromptResult]:
    found = load_optimizer(name)
    problem = Problem(tiny_task(kind), tiny_lm(family), **{"prompt_length": LENGTH, **fields})
    return problem, run_optimizer(found, problem, found.configure(options))


def train_losses(result: PromptResult) -> list[float]:
    return [entry["train_loss"] for entry in result.curve]


class Plain:
    """The objective of a prompt for tiny GPT-2, with its own forward passes, and the random numbers of a run."""

    def __init__(self, weight: float, seed: int) -> None:
        self.lm, self.task, self.weight = tiny_lm("gpt2"), tiny_task(), weight
        self.allowed = Problem(self.task, self.lm).allowed
        self.generator = torch.Generator().manual_seed(seed)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)

    def batch(self) -> list[int]:
        return torch.randperm(len(self.task.train), generator=self.generator)[:BATCH].tolist()

    def objective(self, ids: list[int], indices: list[int]) -> float:
        losses = [plain_score(self.lm, self.task, self.task.train[n], ids)[0] for n in indices]
        return sum(losses) / len(losses) + self.weight * (plain_nll(self.lm, ids) if self.weight else 0.0)

    def soft_objective(self, pi: Tensor, indices: list[int]) -> Tensor:
        """The objective of distributions over the allowed tokens, (L, A), at their expected embeddings."""
        table = self.lm.model.get_input_embeddings().weight
        embeds = pi @ table[self.allowed]
        words = [self.lm.encode("a " + word)[-1] for word in self.task.label_words.values()]
        losses = []
        for n in indices:
            before, after = self.task.template.around(self.task.train[n].input)
            head = [self.lm.bos_id, *self.lm.encode(before)]
            tail = self.lm.encode("a" + after)[len(self.lm.encode("a")) :]
            row = torch.cat([table[head], embeds, table[tail]])
            logits = self.lm.model(inputs_embeds=row[None]).logits[0, -1, words]
            losses.append(-logits.log_softmax(-1)[self.task.labels.index(self.task.train[n].answer)])
        read = torch.cat([table[[self.lm.bos_id]], embeds])
        log_probs = self.lm.model(inputs_embeds=read[None]).logits[0, :-1].log_softmax(-1)
        nll = -(pi * log_probs[:, self.allowed]).sum(-1).mean()
        return torch.stack(losses).mean() + self.weight * nll

    def gradient(self, ids: list[int], indices: list[int]) -> Tensor:
        """The gradient with respect to the one-hot vectors of the tokens, (L, A), with which GCG ranks the swaps."""
        one_hot = (self.allowed[None] == torch.tensor(ids)[:, None]).float().requires_grad_()
        return torch.autograd.grad(self.soft_objective(one_hot, indices), one_hot)[0]


@in_every_weight
@pytest.mark.parametrize("size", [0, 1, 3])
def test_gcg_agrees_with_a_plain_version(size: int, weight: float) -> None:
    steps, width, top_k = 4, 5, 8
    options = {"steps": steps, "search_width": width, "top_k": top_k, "buffer": size, "batch_size": BATCH}
    _, result = run("gcg", options, weight=weight, seed=2)
    plain = Plain(weight, 2)
    current = plain.allowed[plain.integers(len(plain.allowed), 1, LENGTH)[0]].tolist()
    buffer = [current] if size else []
    losses = []
    for _ in range(steps):
        indices = plain.batch()
        best_tokens = plain.gradient(current, indices).argsort(-1)[:, :top_k]
        places, ranks = plain.integers(LENGTH, width).tolist(), plain.integers(top_k, width).tolist()
        candidates = []
        for place, rank in zip(places, ranks, strict=True):
            swapped = list(current)
            swapped[place] = int(plain.allowed[best_tokens[place, rank]])
            candidates.append(swapped)
        new = min(candidates, key=lambda ids: plain.objective(ids, indices))
        if new not in buffer:
            buffer.append(new)
        buffer.sort(key=lambda ids: plain.objective(ids, indices))
        current = buffer[0]
        losses.append(plain.objective(current, indices))
        buffer = buffer[:size]
    assert train_losses(result) == pytest.approx(losses, abs=1e-5)
    assert list(result.final_prompts[-1].ids) == current  # type: ignore[union-attr]
    assert [list(prompt.ids) for prompt in result.final_prompts] == (buffer[::-1] or [current])  # type: ignore[union-attr]


@in_every_weight
def test_autoprompt_agrees_with_a_plain_version(weight: float) -> None:
    steps, tried = 4, 6
    _, result = run("autoprompt", {"steps": steps, "candidates": tried, "batch_size": BATCH}, weight=weight, seed=1)
    plain = Plain(weight, 1)
    current = plain.allowed[plain.integers(len(plain.allowed), 1, LENGTH)[0]].tolist()
    losses = []
    for _ in range(steps):
        place = int(plain.integers(LENGTH))
        gradient = plain.gradient(current, plain.batch())[place]
        indices = plain.batch()
        tokens = plain.allowed[gradient.argsort()[:tried]].tolist()
        swaps = [[*current[:place], token, *current[place + 1 :]] for token in tokens]
        best = min(swaps, key=lambda ids: plain.objective(ids, indices))
        if plain.objective(best, indices) < plain.objective(current, indices):
            current = best
        losses.append(plain.objective(current, indices))
    assert train_losses(result) == pytest.approx(losses, abs=1e-5)
    assert list(result.final_prompts[-1].ids) == current  # type: ignore[union-attr]


@in_every_weight
@pytest.mark.parametrize("initial_logit", [0.0, 4.0])
def test_gbda_agrees_with_a_plain_version(weight: float, initial_logit: float) -> None:
    """The losses of later steps depend on the logits after the steps of Adam before."""
    steps, samples, rate, temperature = 4, 2, 0.3, 0.7
    options = {"steps": steps, "samples": samples, "learning_rate": rate, "temperature": temperature, "batch_size": BATCH}
    options |= {"initial_logit": initial_logit, "hard_samples": 0}
    _, result = run("gbda", options, weight=weight, seed=4)
    plain = Plain(weight, 4)
    theta = torch.zeros(LENGTH, len(plain.allowed))
    for place, column in enumerate(plain.integers(len(plain.allowed), LENGTH, 1)[:, 0].tolist()):
        theta[place, column] = initial_logit
    mean, square, losses = torch.zeros_like(theta), torch.zeros_like(theta), []
    for step in range(1, steps + 1):
        indices = plain.batch()
        total, gradient = 0.0, torch.zeros_like(theta)
        for _ in range(samples):
            noise = -torch.empty(theta.shape).exponential_(generator=plain.generator).log()
            leaf = theta.clone().requires_grad_()
            loss = plain.soft_objective(((leaf + noise) / temperature).softmax(-1), indices)
            total += loss.item() / samples
            gradient += torch.autograd.grad(loss, leaf)[0] / samples
        losses.append(total)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        theta = theta - rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    assert train_losses(result) == pytest.approx(losses, abs=1e-5)
    assert list(result.final_prompts[-1].ids) == plain.allowed[theta.argmax(-1)].tolist()  # type: ignore[union-attr]


def soft_tokens(lm: FrozenLM, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Allowed ids (A,), random distributions over them (L, A), and their expected embeddings (L, d)."""
    allowed = Problem(tiny_task(), lm).allowed
    pi = (3 * torch.randn(length, len(allowed), generator=torch.Generator().manual_seed(0))).softmax(-1)
    return allowed, pi, pi @ lm.vocab_embeds[allowed]


@pytest.mark.parametrize("family", ["gpt2", "llama", "no-bos", "opt"])
def test_the_expected_nll_under_a_causal_model_computed_token_by_token(family: str) -> None:
    lm = tiny_lm(family)
    allowed, pi, embeds = soft_tokens(lm, 4)
    table = lm.model.get_input_embeddings().weight
    start = [] if lm.bos_id is None or family == "no-bos" else [lm.bos_id]
    nats = []
    for t in range(0 if start else 1, 4):
        read = torch.cat([table[start], embeds[:t]])
        log_probs = lm.model(inputs_embeds=read[None]).logits[0, -1].log_softmax(-1)
        nats.append(-sum(float(pi[t, a] * log_probs[token]) for a, token in enumerate(allowed.tolist())))
    assert float(expected_nll(lm, embeds, pi, allowed)) == pytest.approx(sum(nats) / len(nats), abs=1e-5)


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_the_expected_nll_under_a_masked_model_computed_token_by_token(family: str) -> None:
    lm = tiny_lm(family)
    allowed, pi, embeds = soft_tokens(lm, 4)
    table = lm.model.get_input_embeddings().weight
    first, last = lm.tokenizer("")["input_ids"]
    nats = []
    for t in range(4):
        read = torch.cat([table[[first]], embeds, table[[last]]])
        read[1 + t] = table[lm.tokenizer.mask_token_id]
        log_probs = lm.model(inputs_embeds=read[None]).logits[0, 1 + t].log_softmax(-1)
        nats.append(-sum(float(pi[t, a] * log_probs[token]) for a, token in enumerate(allowed.tolist())))
    assert float(expected_nll(lm, embeds, pi, allowed)) == pytest.approx(sum(nats) / len(nats), abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "no-bos", "bert"])
def test_the_expected_nll_of_hard_tokens_is_the_log_perplexity(family: str) -> None:
    lm = tiny_lm(family)
    problem = Problem(tiny_task(), lm, prompt_length=5)
    [ids] = problem.random_ids(1)
    one_hot = (problem.allowed[None] == ids[:, None]).float()
    found = expected_nll(lm, lm.vocab_embeds[ids], one_hot, problem.allowed)
    assert float(found) == pytest.approx(log_perplexity(lm, ids.tolist()), abs=1e-5)


def test_hard_gumbel_softmax_samples_have_the_probabilities_of_the_logits() -> None:
    """At a low temperature, samples are one-hot, with the frequencies softmax(logits) (Gumbel-max)."""
    logits = torch.tensor([0.1, 0.2, 0.7]).log()
    found = gumbel_softmax(logits.expand(20_000, 3), 1e-3, torch.Generator().manual_seed(0))
    assert float((found.amax(-1) > 0.999).float().mean()) > 0.99
    assert found.mean(0).tolist() == pytest.approx([0.1, 0.2, 0.7], abs=0.01)


def test_swaps_are_drawn_uniformly_from_the_best_tokens_of_all_places() -> None:
    problem = Problem(tiny_task(), tiny_lm("gpt2"), prompt_length=2)
    ids = problem.allowed[[7, 7]].tolist()
    predictions = torch.arange(2.0 * len(problem.allowed)).view(2, -1)
    predictions[1] *= -1  # the last allowed tokens are the best ones of the second place
    drawn = draw_edits(problem, ids, predictions, 4000, 2)
    first, second, last, other = problem.allowed[[0, 1, -1, -2]].tolist()
    expected = [(first, ids[1]), (second, ids[1]), (ids[0], last), (ids[0], other)]
    assert set(drawn) == set(expected)
    assert [drawn.count(prompt) / 4000 for prompt in expected] == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize(("name", "option"), [("gcg", "buffer"), ("autoprompt", "")])
def test_the_objective_on_all_train_examples_never_rises(name: str, option: str) -> None:
    options = {"steps": 12, "batch_size": 6} | ({"search_width": 4, option: 2} if option else {"candidates": 3})
    _, result = run(name, options, weight=WEIGHT)
    losses = train_losses(result)
    assert all(after <= before + 1e-6 for before, after in pairwise(losses)) and losses[-1] < losses[0]


def test_without_a_buffer_gcg_accepts_a_worse_prompt() -> None:
    _, result = run("gcg", {"steps": 12, "batch_size": 6, "search_width": 1, "buffer": 0}, weight=WEIGHT)
    losses = train_losses(result)
    assert any(after > before + 1e-3 for before, after in pairwise(losses))


FEW: dict[str, dict[str, Any]] = {
    "gcg": {"steps": 2, "search_width": 3},
    "autoprompt": {"steps": 2, "candidates": 3},
    "gbda": {"steps": 2, "hard_samples": 2},
}
of_every_optimizer = pytest.mark.parametrize("name", sorted(FEW))


@of_every_optimizer
@in_every_weight
@pytest.mark.parametrize("family", ["gpt2", "no-bos", "bert"])
def test_a_prompt_of_one_token(name: str, weight: float, family: str) -> None:
    """Under a model without a start token it has no NLL, which then counts as 0."""
    problem, result = run(name, FEW[name], family, weight=weight, prompt_length=1)
    for candidate in result.candidates:
        assert len(candidate.prompt.ids) == 1 and candidate.prompt.ids[0] in problem.allowed.tolist()  # type: ignore[union-attr]
        nll = 0.0 if family == "no-bos" else candidate.prompt_nll
        assert candidate.dev_objective == pytest.approx(candidate.dev_task_loss + weight * nll)


@of_every_optimizer
def test_a_batch_larger_than_the_train_split_is_the_whole_split(name: str) -> None:
    _, larger = run(name, FEW[name] | {"batch_size": 100}, weight=WEIGHT)
    _, equal = run(name, FEW[name] | {"batch_size": len(tiny_task().train)}, weight=WEIGHT)
    assert train_losses(larger) == train_losses(equal) and larger.final_prompts == equal.final_prompts


@pytest.mark.parametrize(("name", "option"), [("gcg", "top_k"), ("autoprompt", "candidates")])
def test_more_tokens_than_are_allowed_are_all_tokens(name: str, option: str) -> None:
    size = len(Problem(tiny_task(), tiny_lm("gpt2")).allowed)
    (_, more), (_, all_of_them) = (run(name, FEW[name] | {option: count}) for count in (10 * size, size))
    assert train_losses(more) == train_losses(all_of_them) and more.final_prompts == all_of_them.final_prompts


@pytest.mark.parametrize("name", sorted(FEW))
def test_a_large_weight_gives_likelier_prompts(name: str) -> None:
    options: dict[str, dict[str, Any]] = {"gcg": {}, "autoprompt": {}, "gbda": {"learning_rate": 1.0}}
    nlls = [run(name, options[name] | {"steps": 30}, weight=weight)[1].candidates[-1].prompt_nll for weight in (0.0, 20.0)]
    assert nlls[1] < nlls[0] - 1


def test_gbda_with_a_learning_rate_of_zero_stays_at_the_initial_tokens() -> None:
    _, result = run("gbda", {"steps": 12, "learning_rate": 0, "initial_logit": 100})
    assert len({candidate.prompt for candidate in result.candidates}) == 1


@pytest.mark.parametrize(("name", "option"), [("gcg", "search_width"), ("autoprompt", "candidates"), ("gbda", "samples")])
@in_every_weight
def test_the_tokens_of_a_step_counted_by_hand(name: str, option: str, weight: float) -> None:
    """A prompt is read with each example and, for its NLL, alone (L tokens; with a gradient only if there is a weight).

    GCG and AutoPrompt have one gradient and score four candidates and the current prompt; GBDA has four gradients.
    """
    options = {"steps": 1, option: 4, "batch_size": 6} | ({"hard_samples": 0} if name == "gbda" else {})
    problem, result = run(name, options, weight=weight)
    train, dev = (Scorer(problem.lm, problem.task, part).tokens(LENGTH) for part in (problem.task.train, problem.task.dev))
    gradient, scored = train + (LENGTH if weight else 0), train + LENGTH
    forward, backward = (4 * gradient, 4 * gradient) if name == "gbda" else (gradient + 5 * scored, gradient)
    assert result.lm_tokens_backward == backward
    assert result.lm_tokens_forward == forward + dev + LENGTH
