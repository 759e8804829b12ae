"""The baselines: no prompt, the reference prompts of the task, and the best of many random prompts."""

from pydantic import PositiveInt

from hardprompt.errors import RequestError
from hardprompt.optimizers.base import Config, FinalPrompts, Problem, optimizer
from hardprompt.prompt import HardPrompt


class BaselineConfig(Config):
    """The baselines `empty` and `manual` have no options."""


class RandomConfig(Config):
    """Options of random search."""

    prompts: PositiveInt | None = None
    """Number of prompts. By default it is as large as the budget allows, or 256 without a budget."""

    batch_size: PositiveInt = 4
    """Prompts that are scored in one call."""


@optimizer("empty", config=BaselineConfig, uses_weight=False, uses_seed=False, uses_vocabulary=False)
def empty(problem: Problem, config: BaselineConfig) -> FinalPrompts:
    """The empty prompt."""
    problem.score_on_dev([[]])
    return [[]]


def _has_references(problem: Problem, config: BaselineConfig) -> None:
    if not problem.task.reference_prompts:
        raise RequestError(f"task {problem.task.name} has no reference prompts; add some, or leave out the optimizer manual")
    problem.check_context(max(len(ids) for ids in _references(problem)))


def _references(problem: Problem) -> list[tuple[int, ...]]:
    return [HardPrompt.from_text(problem.lm, text, problem.template).ids for text in problem.task.reference_prompts]


@optimizer("manual", config=BaselineConfig, uses_weight=False, check=_has_references, uses_seed=False, uses_vocabulary=False)
def manual(problem: Problem, config: BaselineConfig) -> FinalPrompts:
    """The reference prompts of the task; the best on dev is kept."""
    prompts = _references(problem)
    problem.score_on_dev(prompts)
    return prompts


@optimizer("random", config=RandomConfig, uses_weight=False)
def random(problem: Problem, config: RandomConfig) -> FinalPrompts:
    """Random search: prompts of allowed tokens drawn uniformly; the best on dev is kept."""
    wanted = config.prompts or (256 if problem.lm_tokens is None else None)
    drawn = 0
    while not (drawn and problem.exhausted) and (wanted is None or drawn < wanted):
        count = config.batch_size if wanted is None else min(config.batch_size, wanted - drawn)
        last = problem.random_ids(count)
        problem.score_on_dev(last)
        drawn += count
        problem.note(drawn / wanted if wanted else 0.0)
    return last.tolist()
