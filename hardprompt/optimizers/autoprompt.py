"""AutoPrompt (Shin et al. 2020, AutoPrompt: Eliciting Knowledge from Language Models with Automatically Generated Prompts,
EMNLP), which searches with HotFlip (Ebrahimi et al. 2018).

In each step, with the current prompt x, the objective f, a random place i and two minibatches of train examples:

    V = the k tokens with the lowest predicted change of f at place i, on the first minibatch    (`swap_predictions`)
    v = argmin_{v in V} f(x with v at place i), on the second minibatch
    x <- x with v at place i, if that lowers f on the second minibatch

The paper maximizes the log-probability of the labels; f is the objective of the problem here, with the weighted prompt NLL.
With a length weight, v can also be inserted before or behind place i, and the deletions of one token are tried as well. Prompts
whose text has other tokens are left out.
"""

from itertools import count

import torch
from pydantic import PositiveInt

from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.optimizers.edits import deletions, replaced_part
from hardprompt.optimizers.proposals import kept_by_text, random_prompts
from hardprompt.optimizers.token_gradients import check_tokens, swap_predictions


class AutoPromptConfig(Config):
    """Options of AutoPrompt."""

    steps: PositiveInt | None = None
    """Number of steps. By default as many as the budget allows, or 300 without a budget. The published code takes 1000 for
    facts."""

    candidates: PositiveInt = 10
    """Number k of tokens that are tried in each step, as in the published code for facts; the paper takes up to 100 for
    sentiment. If fewer are allowed, all are tried."""

    batch_size: PositiveInt = 4
    """Number of train examples in each of the two minibatches of a step, drawn without replacement. If there are fewer, all are
    used. The published code takes 56 for facts, which allows few steps at a budget of 60,000 LM tokens."""

    evaluate_every: PositiveInt = 5
    """Steps between two evaluations of the current prompt on dev. A prompt that has not changed is not evaluated again."""


@optimizer("autoprompt", config=AutoPromptConfig, check=check_tokens)
def autoprompt(problem: Problem, config: AutoPromptConfig) -> FinalPrompts:
    """AutoPrompt: one token at a time is replaced by the best of those that the gradient predicts to be best."""
    limit = config.steps or (300 if problem.lm_tokens is None else None)
    current = [*random_prompts(problem, 1)[0]]
    evaluated: list[int] = []
    for number in count(1):
        place = int(torch.randint(len(current), (), generator=problem.generator))
        predictions = swap_predictions(problem, current, problem.batch(config.batch_size))[place]
        columns = predictions.topk(min(config.candidates, len(predictions)), largest=False).indices
        part = replaced_part(problem, current, place)
        tokens = problem.allowed[columns].tolist()
        changed = [(*current[: part.start], token, *current[part.stop :]) for token in tokens]
        scored = [current, *map(list, kept_by_text(problem, [*changed, *deletions(problem, current)]))]
        losses = problem.objective(scored, problem.batch(config.batch_size)).total
        best = int(losses.argmin())
        current = scored[best]
        problem.note(number / limit if limit else 0.0, train_loss=float(losses[best]), changed=float(best > 0))
        is_last = number == limit or problem.exhausted
        if current != evaluated and (is_last or number % config.evaluate_every == 0):
            problem.score_on_dev([current])
            evaluated = current
        if is_last or problem.exhausted:
            break
    return [current]
