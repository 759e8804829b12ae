"""The predicted change of the objective by the swap of one token."""

import pytest
import torch

from hardprompt import load_lm, load_task
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.optimizers import Problem
from hardprompt.optimizers.token_gradients import FluencyGradient, swap_predictions


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(load_task("plural"), load_lm("microworld"), prompt_length=4, seed=3)


def test_the_task_part_is_the_directional_derivative_of_the_loss(problem: Problem) -> None:
    ids, indices, place = problem.random_ids(1)[0], [0, 3, 5], 2
    predicted = swap_predictions(problem, ids.tolist(), indices, weight=0.0)
    vocab = problem.lm.vocab_embeds
    for column in (0, 17, 101):
        direction = vocab[problem.allowed[column]] - vocab[ids[place]]
        losses = []
        for step in (-1e-2, 1e-2):
            embeds = vocab[ids].clone()
            embeds[place] += step * direction
            losses.append(problem.train.score_embeds(embeds, indices).loss.mean())
        assert predicted[place, column].item() == pytest.approx(float(losses[1] - losses[0]) / 2e-2, rel=2e-2, abs=1e-3)


def test_the_surprisal_of_a_new_last_token_is_exact(problem: Problem) -> None:
    ids = problem.random_ids(1)[0].tolist()
    weight = 1e6  # the task part is then below the tolerance
    predicted = swap_predictions(problem, ids, [0], weight=weight) / weight
    before = log_perplexity(problem.lm, ids)
    for column in (3, 40, 77):
        swapped = [*ids[:-1], int(problem.allowed[column])]
        assert predicted[-1, column].item() == pytest.approx(log_perplexity(problem.lm, swapped) - before, abs=1e-3)


def test_the_prediction_for_the_token_that_is_there_is_zero(problem: Problem) -> None:
    ids = problem.random_ids(1)[0]
    gradients: tuple[FluencyGradient, ...] = ("one-sided", "exact")
    for gradient in gradients:
        predicted = swap_predictions(problem, ids.tolist(), [0, 1], 0.3, gradient)
        there = (problem.allowed[None] == ids[:, None]).nonzero()[:, 1]
        assert torch.allclose(predicted[torch.arange(len(ids)), there], torch.zeros(len(ids)), atol=1e-5)


def test_all_that_the_model_reads_is_counted(problem: Problem) -> None:
    ids = problem.random_ids(1)[0].tolist()
    counted = []
    for weight in (0.0, 0.1):
        before = problem.counter.forward, problem.counter.backward
        swap_predictions(problem, ids, [0, 1], weight)
        counted.append((problem.counter.forward - before[0], problem.counter.backward - before[1]))
    (forward, backward), (more_forward, more_backward) = counted
    assert forward == backward > 0
    assert (more_forward - forward, more_backward - backward) == (len(ids), len(ids))
