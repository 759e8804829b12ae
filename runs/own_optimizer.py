"""Your own optimizer: replace a random token, and keep the new one unless the objective on train is higher. Usage:

hardprompt compare --optimizers empty,manual,random,runs/own_optimizer.py:hill_climb"""

import torch
from pydantic import PositiveInt

from hardprompt import Config, Problem, optimizer


class HillClimbConfig(Config):
    steps: PositiveInt = 1000
    """Number of tokens that are tried."""


@optimizer("hill-climb", config=HillClimbConfig)
def hill_climb(problem: Problem, config: HillClimbConfig) -> list[list[int]]:
    """Hill climbing over single tokens, from a random prompt."""
    prompt, lowest = problem.random_ids(1), float("inf")  # (1, L) token ids
    for step in range(config.steps):
        tried = prompt.clone()
        place = torch.randint(problem.prompt_length, (1,), generator=problem.generator)
        tried[0, place] = problem.random_ids(1)[0, place]
        if (objective := float(problem.objective(tried).total)) <= lowest:
            prompt, lowest = tried, objective
            problem.score_on_dev(prompt)
        problem.note((step + 1) / config.steps, train_objective=lowest)
        if problem.exhausted:
            break
    return prompt.tolist()
