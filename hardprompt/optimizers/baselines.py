"""The rows that no table goes without: no prompt, the prompts a person wrote, and the best of many random ones."""

from pydantic import PositiveInt

from hardprompt.errors import RequestError
from hardprompt.optimizers.base import Config, Emitted, Problem, optimizer
from hardprompt.prompt import HardPrompt


class BaselineConfig(Config):
    """Nothing to choose."""


class RandomConfig(Config):
    """`prompts`: how many are drawn; by default as many as the budget allows, or 256 without one."""

    prompts: PositiveInt | None = None
    batch_size: PositiveInt = 4


@optimizer("empty", config=BaselineConfig, uses_weight=False)
def empty(problem: Problem, config: BaselineConfig) -> Emitted:
    """No prompt at all."""
    problem.visit([[]])
    return [[]]


def _has_references(problem: Problem, config: BaselineConfig) -> None:
    if not problem.task.reference_prompts:
        raise RequestError(f"task {problem.task.name} has no reference prompts; give some, or leave out the optimizer manual")
    problem.check_context(max(len(ids) for ids in _references(problem)))


def _references(problem: Problem) -> list[tuple[int, ...]]:
    return [HardPrompt.from_text(problem.lm, text).ids for text in problem.task.reference_prompts]


@optimizer("manual", config=BaselineConfig, uses_weight=False, check=_has_references)
def manual(problem: Problem, config: BaselineConfig) -> Emitted:
    """The task's reference prompts; the best on dev is kept."""
    prompts = _references(problem)
    problem.visit(prompts)
    return prompts


@optimizer("random", config=RandomConfig, uses_weight=False)
def random(problem: Problem, config: RandomConfig) -> Emitted:
    """Prompts of allowed tokens drawn uniformly; the best on dev is kept."""
    wanted = config.prompts or (256 if problem.lm_tokens is None else None)
    drawn = 0
    while not (drawn and problem.exhausted) and (wanted is None or drawn < wanted):
        count = config.batch_size if wanted is None else min(config.batch_size, wanted - drawn)
        last = problem.random_ids(count)
        problem.visit(last)
        drawn += count
        problem.note(drawn / wanted if wanted else 0.0)
    return last.tolist()
