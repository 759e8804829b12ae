"""The baselines: no prompt, the reference prompts of the task, prompts from a file, and the best of many random prompts."""

from collections.abc import Callable

import torch
from pydantic import PositiveInt

from hardprompt.data.given_prompts import GivenPrompt
from hardprompt.errors import ContextExceeded, RequestError, about
from hardprompt.lm.chat import marker_in
from hardprompt.optimizers.base import Config, FinalPrompts, Optimizer, Problem, optimizer
from hardprompt.optimizers.proposals import (
    drawn_prompts,
    kept_by_text,
    next_token_logits,
    predicts_next_token,
    shortest_length,
)
from hardprompt.prompt import HardPrompt


class BaselineConfig(Config):
    """The baselines `empty` and `manual` have no options."""


class RandomConfig(Config):
    """Options of random search."""

    prompts: PositiveInt | None = None
    """Number of prompts. By default it is as large as the budget allows, or 256 without a budget."""

    batch_size: PositiveInt = 4
    """Prompts that are scored in one call."""


class RandomLikelyConfig(RandomConfig):
    """Options of random search over likely tokens."""

    fluent: PositiveInt = 50
    """Number of tokens from which each token is drawn uniformly: the allowed ones that the model finds most probable after the
    tokens before it."""


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


def given(prompt: GivenPrompt) -> Optimizer[BaselineConfig]:
    """The optimizer that finds one given prompt: exactly its text, tokenized in its place in the template."""

    def check(problem: Problem, config: BaselineConfig) -> None:
        lm = problem.lm
        with about("prompts"):
            if marker := marker_in(lm, problem.template, prompt.text):
                raise prompt.problem(f"the prompt contains {marker!r}, which {lm.name} reads as a special token; leave it out")
            ids = in_place(problem).ids
            if not ids or lm.tokenizer.unk_token_id in ids:
                raise prompt.problem(
                    f"{lm.name} has no tokens for a part of the prompt {prompt.text!r:.60}; write it differently"
                )
            if len(ids) > problem.prompt_length:  # shorter ones have been checked
                try:
                    problem.check_context(len(ids))
                except ContextExceeded as error:
                    raise prompt.problem(f"the prompt has {len(ids)} tokens, which is too long ({error})") from error

    def in_place(problem: Problem) -> HardPrompt:
        return HardPrompt.in_place(problem.lm, problem.template, prompt.text)

    @optimizer(prompt.optimizer, config=BaselineConfig, uses_weight=False, check=check, uses_seed=False, uses_vocabulary=False)
    def search(problem: Problem, config: BaselineConfig) -> FinalPrompts:
        """A prompt from a file."""
        prompts = [in_place(problem)]
        problem.score_on_dev(prompts)
        return prompts

    return search


@optimizer("random", config=RandomConfig, uses_weight=False)
def random(problem: Problem, config: RandomConfig) -> FinalPrompts:
    """Random search: prompts of allowed tokens drawn uniformly; the best on dev is kept."""
    return _best_of(problem, config, lambda count: problem.random_ids(count).tolist())


@optimizer("random-likely", config=RandomLikelyConfig, uses_weight=False, check=predicts_next_token)
def random_likely(problem: Problem, config: RandomLikelyConfig) -> FinalPrompts:
    """Random search over likely tokens: each is one of the most probable ones after the tokens before it."""
    return _best_of(problem, config, lambda count: _likely_ids(problem, count, config.fluent))


def _best_of(problem: Problem, config: RandomConfig, draw: Callable[[int], list[list[int]]]) -> FinalPrompts:
    """Score drawn prompts on dev, with a length weight cut to lengths drawn uniformly; return the last ones."""
    wanted = config.prompts or (256 if problem.lm_tokens is None else None)
    drawn = 0
    while not (drawn and problem.exhausted) and (wanted is None or drawn < wanted):
        count = config.batch_size if wanted is None else min(config.batch_size, wanted - drawn)
        last = drawn_prompts(problem, count, draw)
        if problem.length_weight:
            shortest, longest = shortest_length(problem), problem.prompt_length
            lengths = torch.randint(shortest, longest + 1, (len(last),), generator=problem.generator).tolist()
            cut = [ids[:length] for ids, length in zip(last, lengths, strict=True)]
            last = kept_by_text(problem, cut) or cut[:1]
        problem.score_on_dev(last)
        drawn += len(last)
        problem.note(drawn / wanted if wanted else 0.0)
    return last


def _likely_ids(problem: Problem, count: int, fluent: int) -> list[list[int]]:
    """Draw prompts of likely allowed tokens. The first token is any allowed one if nothing precedes it."""
    nothing = torch.empty(count, 0, dtype=torch.long, device=problem.lm.device)
    prompts = nothing if problem.lm.prefix_ids else problem.random_ids(count)[:, :1]
    while prompts.shape[1] < problem.prompt_length:
        logits = next_token_logits(problem, prompts)
        likely = logits.topk(min(fluent, logits.shape[1])).indices
        drawn = torch.randint(likely.shape[1], (count, 1), generator=problem.generator).to(likely.device)
        prompts = torch.cat([prompts, problem.allowed[likely.gather(1, drawn)]], 1)
    return prompts.tolist()
