"""What every optimizer shares: the problem it is given, what it returns, and the registry it is found in.

An optimizer is a function `(problem, config) -> prompts it emits at its end`, made known by the decorator `optimizer`. While
it runs it asks the problem for objectives on train and shows it prompts with `visit`; the problem scores those on dev and
keeps the best. So selection, budgets and seeds are the same for all.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import RequestError, RunError, UnknownName
from hardprompt.field_problems import field_problems
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import nll_tokens, surprisals
from hardprompt.lm.vocabulary import allowed_vocabulary
from hardprompt.objective import Objective
from hardprompt.plugins import installed_plugins, is_file_reference, load_attribute
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores, TokenCount
from hardprompt.scoring.truncation import fit_to_context


class Config(BaseModel):
    """Base of optimizer configurations: frozen, numbers and names only, and unknown options are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Visit:
    """One prompt that was scored on dev, and what had been spent by then."""

    prompt: HardPrompt | SoftPrompt
    dev_objective: float
    dev_task_loss: float
    dev_accuracy: float
    prompt_nll: float
    lm_tokens: int


class Problem:
    """A task, a frozen LM, a weight and a budget: all that an optimizer needs to know.

    Args:
        task: what is to be solved; inputs too long for the model are cut as the task says (`hardprompt.scoring.truncation`).
        lm: the frozen model.
        weight: nats of task loss that one nat per token of prompt NLL costs.
        prompt_length: tokens (or soft vectors) of the prompts that are searched.
        vocabulary: which tokens hard prompts may use: a name for `allowed_vocabulary`, or their ids (A,).
        seed: of every random number drawn through `generator`.
        lm_tokens: budget in logical LM tokens, forward and backward together; None for no limit.
        progress: called with the finished share, 0 to 1.

    Raises:
        TaskError: label words that are no single tokens of the model, or a task that a model of its kind cannot solve.
        ContextExceeded: an example with a prompt of this length is longer than the model's context.

    Attributes:
        allowed: ids of the allowed tokens, (A,).
        generator: the random numbers of this run.
        train, dev: scorers of the two splits.
        visits: prompts scored on dev, in order.
        curve: values noted by `note`, in order.
        resolved_options: values of the options that the configuration leaves open, as the optimizer set them; recorded.
    """

    def __init__(
        self,
        task: Task,
        lm: FrozenLM,
        *,
        weight: float = 0.0,
        prompt_length: int = 5,
        vocabulary: str | Tensor = "words",
        seed: int = 0,
        lm_tokens: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.task = task = fit_to_context(task, lm, prompt_length)
        self.lm = lm
        self.weight = weight
        self.prompt_length = prompt_length
        self.allowed = allowed_vocabulary(lm, vocabulary) if isinstance(vocabulary, str) else vocabulary
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.lm_tokens = lm_tokens
        self.counter = TokenCount()
        self._prompt_nll: dict[tuple[int, ...], Tensor] = {}
        self.train = Scorer(lm, task, task.train, self.counter, self._prompt_nll)
        self.dev = Scorer(lm, task, task.dev, self.counter, self._prompt_nll)
        self._test = Scorer(lm, task, task.test)
        self.check_context(prompt_length)
        self.visits: list[Visit] = []
        self.curve: list[dict[str, float]] = []
        self.best: Visit | None = None
        self.resolved_options: dict[str, Any] = {}
        self._progress = progress

    def check_context(self, prompt_length: int) -> None:
        """ContextExceeded if any example with a prompt of this many tokens is longer than the model's context."""
        for scorer in (self.train, self.dev, self._test):
            scorer.check_context(prompt_length)

    @property
    def spent(self) -> int:
        """Logical LM tokens so far, forward and backward together."""
        return self.counter.forward + self.counter.backward

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent; an optimizer stops at its next step."""
        return self.lm_tokens is not None and self.spent >= self.lm_tokens

    def share_done(self, done: float) -> float:
        """The finished share of a run: of the optimizer's own plan or of the budget, whichever ends first."""
        return min(1.0, max(done, self.spent / self.lm_tokens if self.lm_tokens else 0.0))

    def note(self, done: float, **values: float) -> None:
        """Report progress (the finished share of the optimizer's own plan) and values of the learning curve."""
        if values:
            self.curve.append({"lm_tokens": float(self.spent), **values})
        if self._progress:
            self._progress(self.share_done(done))

    def random_ids(self, count: int) -> Tensor:
        """`count` prompts of allowed tokens drawn uniformly, (count, L)."""
        draw = torch.randint(len(self.allowed), (count, self.prompt_length), generator=self.generator)
        return self.allowed[draw.to(self.allowed.device)]

    def batch(self, size: int) -> list[int]:
        """Indices of train examples drawn without replacement; all of them where `size` is larger."""
        return torch.randperm(len(self.task.train), generator=self.generator)[:size].tolist()

    def objective(self, prompts: Sequence[Sequence[int]] | Tensor, indices: Sequence[int] | None = None) -> Objective:
        """The objective of hard prompts on train, or on the train examples of `indices`."""
        ids = _as_lists(prompts)
        return self._parts(ids, self.train.score_ids(ids, indices))

    def visit(self, prompts: Sequence[Sequence[int]] | Tensor) -> Objective:
        """Score hard prompts on dev, remember them, and keep the best so far (the earliest on ties)."""
        ids = _as_lists(prompts)
        parts = self._parts(ids, self.dev.score_ids(ids))
        for i, prompt in enumerate(ids):
            self._remember(HardPrompt.from_ids(self.lm, prompt), parts, i)
        return parts

    def visit_soft(self, embeds: Tensor) -> Objective:
        """Score a soft prompt (L, d) on dev and keep it if it is the best so far; it has no prompt NLL."""
        scores = self.dev.score_embeds(embeds.detach())
        parts = Objective(
            scores.loss.mean(-1),
            torch.full((1,), torch.nan, device=embeds.device),
            scores.correct.float().mean(-1),
            0.0,
        )
        self._remember(SoftPrompt(embeds.detach().clone()), parts, 0)
        return parts

    def prompt_nll(self, prompts: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Log-perplexity of hard prompts in nats per token, (P,)."""
        asked = [tuple(prompt) for prompt in _as_lists(prompts)]
        self.counter.forward += sum(nll_tokens(self.lm, len(prompt)) for prompt in asked)
        fresh = [ids for ids in dict.fromkeys(asked) if ids not in self._prompt_nll]
        read = surprisals(self.lm, fresh)
        self._prompt_nll |= {ids: surprisal.nanmean() for ids, surprisal in zip(fresh, read, strict=True)}
        return torch.stack([self._prompt_nll[ids] for ids in asked])

    def _parts(self, ids: list[list[int]], scores: Scores) -> Objective:
        return Objective(scores.loss.mean(-1), self.prompt_nll(ids), scores.correct.float().mean(-1), self.weight)

    def _remember(self, prompt: HardPrompt | SoftPrompt, parts: Objective, i: int) -> None:
        total = float(parts.total[i])
        if total != total:
            raise RunError(f"the objective of prompt {len(self.visits) + 1} on dev is not a number")
        visit = Visit(
            prompt, total, float(parts.task_loss[i]), float(parts.accuracy[i]), float(parts.prompt_nll[i]), self.spent
        )
        self.visits.append(visit)
        if self.best is None or total < self.best.dev_objective:
            self.best = visit


Emitted = Sequence[Sequence[int]] | SoftPrompt
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Optimizer(Generic[C]):
    """A search procedure under a name, with its options.

    `search` returns what it emits at its end: a list of hard prompts as ids, the last one its final iterate, or a soft prompt.
    `uses_weight` says whether the result depends on the fluency weight; studies then run the optimizer once per weight. `check`
    raises a RequestError if the problem cannot be searched with these options; it is called before anything runs.
    """

    name: str
    search: Callable[[Problem, C], Emitted]
    config: type[C]
    uses_weight: bool = True
    check: Callable[[Problem, C], None] = lambda problem, config: None

    @property
    def summary(self) -> str:
        """First line of the procedure's docstring."""
        return (self.search.__doc__ or "").strip().split("\n")[0]

    def configure(self, options: dict[str, Any]) -> C:
        """The configuration with these options; UnknownName for one that does not exist, RequestError for a bad value."""
        for option in options:
            if option not in self.config.model_fields:
                raise UnknownName(f"{self.name} option", option, self.config.model_fields)
        try:
            return self.config(**options)
        except ValidationError as error:
            raise RequestError(f"option {self.name}.{field_problems(error, self.config)[0].message}") from error


def optimizer(
    name: str, config: type[C], uses_weight: bool = True, check: Callable[[Problem, C], None] = lambda problem, config: None
) -> Callable[[Callable[[Problem, C], Emitted]], Optimizer[C]]:
    """Make a search procedure an optimizer.

    Example:
        >>> @optimizer("first-words", config=Config)
        ... def first_words(problem, config):
        ...     '''The first allowed tokens, as a joke.'''
        ...     prompts = [problem.allowed[: problem.prompt_length].tolist()]
        ...     problem.visit(prompts)
        ...     return prompts
        >>> first_words.summary
        'The first allowed tokens, as a joke.'
    """
    return lambda search: Optimizer(name, search, config, uses_weight, check)


@dataclass(frozen=True, eq=False)
class PromptResult:
    """What one run found.

    Attributes:
        best: the visited prompt with the lowest objective on dev, the earliest on ties.
        final_prompts: what the optimizer emits at its end (its last iterates or rollouts), the final one last.
        config: the optimizer's options.
        visits, curve: every prompt scored on dev, and the values noted on the way.
        lm_tokens_forward, lm_tokens_backward: logical LM tokens of the search.
        seconds: wall-clock time of the search.
    """

    optimizer: str
    weight: float
    seed: int
    config: dict[str, Any]
    best: Visit
    final_prompts: tuple[HardPrompt | SoftPrompt, ...]
    visits: tuple[Visit, ...] = field(repr=False)
    curve: tuple[dict[str, float], ...] = field(repr=False)
    lm_tokens_forward: int
    lm_tokens_backward: int
    seconds: float


def run_optimizer(optimizer: Optimizer[C], problem: Problem, config: C | None = None) -> PromptResult:
    """Run one optimizer on a problem.

    Raises:
        RunError: it visited no prompt, or an objective was not a number.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> run_optimizer(load_optimizer("manual"), problem).best.dev_accuracy > 0.9
        True
    """
    config = config or optimizer.configure({})
    started = time.perf_counter()
    optimizer.check(problem, config)
    emitted = optimizer.search(problem, config)
    seconds = time.perf_counter() - started
    if problem.best is None:
        raise RunError(f"optimizer {optimizer.name} visited no prompt; call problem.visit at least once")
    prompts = [emitted] if isinstance(emitted, SoftPrompt) else [HardPrompt.from_ids(problem.lm, ids) for ids in emitted]
    return PromptResult(
        optimizer=optimizer.name,
        weight=problem.weight,
        seed=problem.seed,
        config=config.model_dump() | problem.resolved_options,
        best=problem.best,
        final_prompts=tuple(prompts) or (problem.best.prompt,),
        visits=tuple(problem.visits),
        curve=tuple(problem.curve),
        lm_tokens_forward=problem.counter.forward,
        lm_tokens_backward=problem.counter.backward,
        seconds=seconds,
    )


def all_optimizers() -> dict[str, Optimizer[Any]]:
    """Every installed optimizer by name, the core's first.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    found: dict[str, Optimizer[Any]] = {}
    for source, offered in installed_plugins("hardprompt.optimizers", "OPTIMIZERS"):
        for each in offered:
            if each.name in found:
                raise RequestError(f"two plug-ins offer an optimizer {each.name!r}; the second is {source}")
            found[each.name] = each
    return found


def load_optimizer(name: str) -> Optimizer[Any]:
    """An optimizer by name, or from a Python file as `path.py:attribute`; the file is run.

    Raises:
        UnknownName: no such optimizer; names the nearest.
        RequestError: the file or the attribute is missing or is no optimizer.
    """
    if is_file_reference(name):
        found = load_attribute(name)
        if not isinstance(found, Optimizer):
            raise RequestError(f"{name} is no optimizer; decorate the function with @hardprompt.optimizer(...)")
        return found
    known = all_optimizers()
    if name not in known:
        raise UnknownName("optimizer", name, known, " (or path.py:name)")
    return known[name]


def _as_lists(prompts: Sequence[Sequence[int]] | Tensor) -> list[list[int]]:
    return prompts.tolist() if isinstance(prompts, Tensor) else [[int(i) for i in ids] for ids in prompts]
