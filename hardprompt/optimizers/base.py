"""What all optimizers share: the problem that they solve, the result that they return, and the registry.

An optimizer is a function `(problem, config) -> final prompts` with the decorator `optimizer`. During the search it computes
objectives on the train examples and passes candidates to `Problem.score_on_dev`, which scores them on dev and keeps the best.
Selection, budgets and seeds are therefore the same for all optimizers.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Generic, TypeVar, get_args, get_origin

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.errors import RequestError, RunError, UnknownName
from hardprompt.field_problems import field_problems
from hardprompt.lm.chat import template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import nll_tokens, surprisals
from hardprompt.lm.vocabulary import allowed_vocabulary
from hardprompt.notebook import html_table
from hardprompt.objective import Objective
from hardprompt.optimizers.archive import FrontMember, front_of
from hardprompt.optimizers.candidate import Candidate
from hardprompt.plugins import load_plugin, plugins_by_name
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer, Scores, TokenCount
from hardprompt.scoring.joint import JointEmbeddings, JointScorer, Over
from hardprompt.scoring.truncation import fit_to_contexts


class Config(BaseModel):
    """Base class of the configurations of optimizers. They are frozen and refuse unknown options.

    A string below a field is the description of the option. An option with several values is a tuple; as text, such as
    `-o front.ladder=0,0.1`, its values are separated by commas.

    Example:
        >>> class AnnealingConfig(Config):
        ...     temperature: float = 1.0
        ...     '''Temperature at the first step, in nats.'''
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _values(cls, value: Any, field: ValidationInfo) -> Any:
        """The values of an option with several values, which the command line separates by commas; "null" as text is None."""
        of_field = cls.model_fields[str(field.field_name)].annotation
        if value == "null" and type(None) in get_args(of_field) and str not in get_args(of_field):
            return None
        several = any(get_origin(each) is tuple for each in (of_field, *get_args(of_field)))
        return tuple(part.strip() for part in value.split(",")) if several and isinstance(value, str) else value


C = TypeVar("C", bound=Config)


def configured(config: type[C], name: str, options: Mapping[str, Any]) -> C:
    """The configuration of an optimizer or reader with these options.

    Args:
        config: the class of its options.
        name: its name, for messages.
        options: values by option.

    Raises:
        UnknownName: there is no option of this name.
        RequestError: a value cannot be used.
    """
    for option in options:
        if option not in config.model_fields:
            raise UnknownName(f"{name} option", option, config.model_fields)
    try:
        return config(**options)
    except ValidationError as error:
        raise RequestError(f"option {name}.{field_problems(error, config)[0].message}") from error


def check_weight(lm: FrozenLM, weight: float) -> None:
    """Raise RequestError if a prompt has no NLL under the model that a weight could multiply."""
    if weight and lm.kind == "encoder-decoder":
        raise RequestError(
            f"the weight is {weight:g}, but {lm.name} is an encoder-decoder model, which assigns no probability to a prompt; "
            "use the weight 0"
        )


def _checked_length_weight(weight: float) -> float:
    if not math.isfinite(weight) or weight < 0:
        raise RequestError(f"the length weight must be a finite number of at least 0; got {weight:g}")
    return weight


def _check_models(lms: Sequence[FrozenLM]) -> None:
    if not lms:
        raise RequestError("there is no model; give at least one")
    for one, other in combinations(lms, 2):
        if one.name == other.name:
            raise RequestError(f"two of the models are called {one.name!r}; give each model once, or change its `name`")


class Problem:
    """The problem that an optimizer solves: a task, a frozen LM, a weight of the prompt NLL and a budget.

    Args:
        task: the task. Inputs that are too long for the model are cut as the task defines (`hardprompt.scoring.truncation`).
        lm: the frozen model, or several, for which one prompt is searched (`hardprompt.scoring.joint`). Token ids, allowed
            tokens and prompt NLL are those of the first.
        weight: weight of the prompt NLL in the objective: nats of task loss for each nat per token of prompt NLL.
        prompt_length: length of the prompts, in tokens (or vectors of a soft prompt). With a length weight it is the maximal
            length of hard prompts.
        length_weight: nats of the objective for each token of a prompt. If it is above 0, hard prompts may be shorter than the
            maximum (`shortest_length`).
        vocabulary: the tokens that hard prompts may use: a name for `allowed_vocabulary`, or token ids (A,).
        seed: seed of `generator`.
        lm_tokens: budget in logical LM tokens, forward and backward together; None for no limit.
        progress: a function that is called with the finished share of the search, from 0 to 1.
        over: the task loss over several models: the "mean" of their losses, or the "worst".

    Raises:
        RequestError: there is no model; two models have the same name; the weight is not 0, and the first model is an
            encoder-decoder one, under which a prompt has no NLL; or the length weight is negative or not finite.
        TaskError: a label word is not a single token of a model, or a model of this kind cannot solve the task.
        ContextExceeded: an example with a prompt of this length is longer than the model's context.

    Attributes:
        lm: the model, or the first of several.
        lms: all models.
        over: how their losses become one.
        embeddings: their embeddings, for gradients.
        template: the template that the model reads.
        allowed: ids of the allowed tokens, (A,).
        generator: the random number generator of this run.
        train, dev: scorers of the two splits.
        candidates: the prompts that were scored on dev, in order.
        best: the candidate with the lowest objective on dev, the earliest on ties; None before the first one.
        curve: the learning curve: the values that `note` recorded, in order.
        resolved_options: values that the optimizer computed for options whose default is None; the record has them.
    """

    def __init__(
        self,
        task: Task,
        lm: FrozenLM | Sequence[FrozenLM],
        *,
        weight: float = 0.0,
        length_weight: float = 0.0,
        prompt_length: int = 5,
        vocabulary: str | Tensor = "words",
        seed: int = 0,
        lm_tokens: int | None = None,
        progress: Callable[[float], None] | None = None,
        over: Over = "mean",
    ) -> None:
        self.lms = (lm,) if isinstance(lm, FrozenLM) else tuple(lm)
        _check_models(self.lms)
        self.lm = lm = self.lms[0]
        self.over = over
        self.embeddings = JointEmbeddings(self.lms)
        check_weight(lm, weight)
        self.task = task = fit_to_contexts(task, self.lms, prompt_length)
        self.weight = weight
        self.length_weight = _checked_length_weight(length_weight)
        self.prompt_length = prompt_length
        self.template = template_of(lm, task)
        self.allowed = allowed_vocabulary(lm, vocabulary, task) if isinstance(vocabulary, str) else vocabulary
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.lm_tokens = lm_tokens
        self.counter = TokenCount()
        self._prompt_nll: dict[tuple[int, ...], Tensor] = {}
        self.train = self._scorer(task.train)
        self.dev = self._scorer(task.dev)
        self._test = JointScorer(self.embeddings, task, task.test) if len(self.lms) > 1 else Scorer(lm, task, task.test)
        self.check_context(prompt_length)
        self.candidates: list[Candidate] = []
        self.curve: list[dict[str, float]] = []
        self.best: Candidate | None = None
        self.resolved_options: dict[str, Any] = {}
        self._progress = progress

    def check_context(self, prompt_length: int) -> None:
        """Raise ContextExceeded if an example with a prompt of this many tokens is longer than the model's context."""
        for scorer in (self.train, self.dev, self._test):
            scorer.check_context(prompt_length)

    @property
    def spent(self) -> int:
        """Logical LM tokens used so far, forward and backward together."""
        return self.counter.forward + self.counter.backward

    @property
    def exhausted(self) -> bool:
        """Whether the budget is used up. An optimizer then stops after its current step."""
        return self.lm_tokens is not None and self.spent >= self.lm_tokens

    def share_done(self, done: float) -> float:
        """The finished share of the search: `done`, or the used share of the budget if that is larger."""
        return min(1.0, max(done, self.spent / self.lm_tokens if self.lm_tokens else 0.0))

    def note(self, done: float, **values: float) -> None:
        """Report the progress and add values to the learning curve.

        Args:
            done: the finished share of the optimizer's own plan, from 0 to 1; 0 if only the budget ends the search.
            values: values of the learning curve by name.
        """
        if values:
            self.curve.append({"lm_tokens": float(self.spent), **values})
        if self._progress:
            self._progress(self.share_done(done))

    def random_ids(self, count: int) -> Tensor:
        """Draw `count` prompts of allowed tokens uniformly, (count, L)."""
        draw = torch.randint(len(self.allowed), (count, self.prompt_length), generator=self.generator)
        return self.allowed[draw.to(self.allowed.device)]

    def batch(self, size: int) -> list[int]:
        """Draw the indices of `size` train examples without replacement, or of all if there are fewer."""
        return torch.randperm(len(self.task.train), generator=self.generator)[:size].tolist()

    def objective(self, prompts: Sequence[Sequence[int]] | Tensor, indices: Sequence[int] | None = None) -> Objective:
        """The objective of hard prompts on the train examples, or on those of `indices`."""
        ids = _as_lists(prompts)
        return self._objective(ids, self.train.score_ids(ids, indices))

    def hard_prompt(self, prompt: Sequence[int] | HardPrompt) -> HardPrompt:
        """Token ids as a prompt, with the text that stands in the template; a prompt keeps its own text."""
        return prompt if isinstance(prompt, HardPrompt) else HardPrompt.from_ids(self.lm, prompt, self.template)

    def score_on_dev(self, prompts: Sequence[Sequence[int] | HardPrompt] | Tensor) -> Objective:
        """Score hard prompts on dev and add them to `candidates`; the best candidate is the result of the search.

        Args:
            prompts: P prompts, as token ids or with their text.

        Returns:
            The objective on dev, (P,).

        Raises:
            RunError: an objective is not a number.
        """
        given = prompts.tolist() if isinstance(prompts, Tensor) else prompts
        hard = [self.hard_prompt(prompt) for prompt in given]
        ids = _as_lists([prompt.ids for prompt in hard])
        objective = self._objective(ids, self.dev.score_ids(ids))
        for i, prompt in enumerate(hard):
            self._add_candidate(prompt, objective, i)
        return objective

    def score_soft_on_dev(self, embeds: Tensor, penalty: float = 0.0) -> Objective:
        """Score a soft prompt on dev and add it to `candidates`. It has no prompt NLL.

        Args:
            embeds: the soft prompt, (L, d).
            penalty: nats that are added to its task loss when the best candidate is selected.

        Returns:
            The objective on dev without the penalty, (1,).

        Raises:
            RunError: the objective is not a number.
        """
        scores = self.dev.score_embeds(embeds.detach())
        objective = Objective(
            scores.mean_loss,
            torch.full((1,), torch.nan, device=embeds.device),
            scores.accuracy,
            0.0,
            self.length_cost([embeds]),
        )
        self._add_candidate(SoftPrompt(embeds.detach().clone()), objective, 0, penalty)
        return objective

    def token_embeds(self, ids: Tensor) -> Tensor:
        """The vectors of tokens for gradients, (..., D): embeddings of the model, or those of all models side by side.

        `score_embeds` of `train` and `dev` takes them, and `own_embeds` gives the part of the first model.

        Raises:
            RequestError: there are several models with different vocabularies.
        """
        return self.embeddings.of(ids)

    def own_embeds(self, embeds: Tensor) -> Tensor:
        """The embeddings of the first model in vectors (..., D) of `token_embeds`, for the prompt NLL."""
        return embeds[..., : self.embeddings.widths[0]]

    def prompt_nll(self, prompts: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Log-perplexity of hard prompts in nats per token, (P,)."""
        requested = [tuple(prompt) for prompt in _as_lists(prompts)]
        self.counter.forward += sum(nll_tokens(self.lm, len(prompt)) for prompt in requested)
        missing = [ids for ids in dict.fromkeys(requested) if ids not in self._prompt_nll]
        computed = surprisals(self.lm, missing)
        self._prompt_nll |= {ids: surprisal.nanmean() for ids, surprisal in zip(missing, computed, strict=True)}
        return torch.stack([self._prompt_nll[ids] for ids in requested])

    def nll_weight(self, length: int, weight: float | None = None) -> float:
        """The weight of the mean NLL per token in the objective of prompts of this length.

        Args:
            length: the number of tokens.
            weight: a fluency weight in the place of that of the problem.
        """
        return self.weight if weight is None else weight

    def length_cost(self, prompts: Sequence[Sequence[int] | Tensor]) -> Tensor:
        """The length weight x tokens of prompts, in nats, (P,)."""
        return torch.tensor([self.length_weight * len(prompt) for prompt in prompts], device=self.lm.device)

    def _scorer(self, examples: Sequence[Example]) -> Scorer:
        """The scorer of a split, whose LM tokens count."""
        if len(self.lms) > 1:
            return JointScorer(self.embeddings, self.task, examples, self.over, self.counter, self._prompt_nll)
        return Scorer(self.lm, self.task, examples, self.counter, self._prompt_nll)

    def _objective(self, ids: list[list[int]], scores: Scores) -> Objective:
        return Objective(scores.mean_loss, self.prompt_nll(ids), scores.accuracy, self.weight, self.length_cost(ids))

    def _add_candidate(self, prompt: HardPrompt | SoftPrompt, objective: Objective, i: int, penalty: float = 0.0) -> None:
        total = float(objective.total[i]) + penalty
        if total != total:
            raise RunError(f"the objective of prompt {len(self.candidates) + 1} on dev is not a number")
        [length_cost] = self.length_cost([prompt.ids if isinstance(prompt, HardPrompt) else prompt.embeds]).tolist()
        candidate = Candidate(
            prompt,
            total,
            float(objective.task_loss[i]),
            float(objective.accuracy[i]),
            float(objective.prompt_nll[i]),
            self.spent,
            length_cost,
        )
        self.candidates.append(candidate)
        if self.best is None or total < self.best.dev_objective:
            self.best = candidate


FinalPrompts = Sequence[Sequence[int] | HardPrompt] | SoftPrompt
"""The return value of a search: hard prompts, as token ids or with their text, the final iterate last; or one soft prompt."""


def _accept(problem: Problem, config: Any) -> None:
    """The check of an optimizer that accepts all options."""


@dataclass(frozen=True)
class Optimizer(Generic[C]):
    """A search for prompts with a name and options.

    Attributes:
        name: the name in commands and records.
        search: the search. It returns its final prompts: the last iterates or the last samples of a policy.
        config: the class of its options.
        uses_weight: whether the result depends on the weight of the prompt NLL. Otherwise studies run the optimizer only with
            weight 0.
        uses_seed: whether the result depends on the seed.
        uses_vocabulary: whether all its hard prompts consist of the allowed tokens.
        finds_front: whether one run serves all fluency weights. It then ignores the weight of the problem, and its result holds
            the front of the prompts that it scored on dev (`PromptResult.front`).
        fixed_length: whether its prompts have the maximal length even with a length weight, which then adds a constant.
        check: raises a RequestError if the problem cannot be solved with these options. It is called before any run starts.
    """

    name: str
    search: Callable[[Problem, C], FinalPrompts]
    config: type[C]
    uses_weight: bool = True
    uses_seed: bool = True
    uses_vocabulary: bool = True
    check: Callable[[Problem, C], None] = _accept
    finds_front: bool = False
    fixed_length: bool = False

    @property
    def summary(self) -> str:
        """The first line of the docstring of the search."""
        return (self.search.__doc__ or "").strip().split("\n")[0]

    def configure(self, options: dict[str, Any]) -> C:
        """The configuration with these options.

        Raises:
            UnknownName: there is no option of this name.
            RequestError: a value cannot be used.
        """
        return configured(self.config, self.name, options)


def optimizer(
    name: str,
    config: type[C],
    uses_weight: bool = True,
    check: Callable[[Problem, C], None] = _accept,
    *,
    uses_seed: bool = True,
    uses_vocabulary: bool = True,
    finds_front: bool = False,
    fixed_length: bool = False,
) -> Callable[[Callable[[Problem, C], FinalPrompts]], Optimizer[C]]:
    """Decorator that makes an `Optimizer` of a search.

    Args:
        name, config, uses_weight, check, uses_seed, uses_vocabulary, finds_front, fixed_length: the attributes of the
            `Optimizer`.

    Example:
        >>> @optimizer("first-words", config=Config, uses_weight=False, uses_seed=False)
        ... def first_words(problem, config):
        ...     '''The first allowed tokens.'''
        ...     prompts = [problem.allowed[: problem.prompt_length].tolist()]
        ...     problem.score_on_dev(prompts)
        ...     return prompts
        >>> first_words.summary
        'The first allowed tokens.'
    """
    uses_weight = uses_weight and not finds_front
    return lambda search: Optimizer(
        name, search, config, uses_weight, uses_seed, uses_vocabulary, check, finds_front, fixed_length
    )


@dataclass(frozen=True, eq=False, repr=False)
class PromptResult:
    """The result of one run of an optimizer.

    Attributes:
        optimizer: the name of the optimizer.
        weight: weight of the prompt NLL in the objective.
        seed: seed of the random numbers.
        config: the options of the optimizer.
        best: the candidate with the lowest objective on dev, the earliest on ties.
        final_prompts: the last iterates or the last samples of a policy, the final one last.
        candidates: all prompts that were scored on dev, in order.
        curve: the learning curve.
        lm_tokens_forward, lm_tokens_backward: logical LM tokens of the search.
        seconds: wall-clock time of the search.
        front: the front of an optimizer that serves all weights (`Optimizer.finds_front`); empty for the others.
    """

    optimizer: str
    weight: float
    seed: int
    config: dict[str, Any]
    best: Candidate
    final_prompts: tuple[HardPrompt | SoftPrompt, ...]
    candidates: tuple[Candidate, ...]
    curve: tuple[dict[str, float], ...]
    lm_tokens_forward: int
    lm_tokens_backward: int
    seconds: float
    front: tuple[FrontMember, ...] = ()

    def __repr__(self) -> str:
        return f"PromptResult({', '.join(f'{name}={value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        """Tables for notebooks: the result, and the members of its front."""
        found = html_table(("", ""), self._summary().items())
        if not self.front:
            return found
        rows = (
            (each.weight, repr(each.candidate.prompt.text), each.candidate.dev_accuracy, each.candidate.prompt_nll)
            for each in self.front
            if isinstance(each.candidate.prompt, HardPrompt)
        )
        return found + html_table(("weight", "prompt", "dev_accuracy", "nats/token"), rows, "front")

    def _summary(self) -> dict[str, str]:
        return {
            "optimizer": repr(self.optimizer),
            "prompt": repr(self.best.prompt.text if isinstance(self.best.prompt, HardPrompt) else self.best.prompt),
            "dev_objective": f"{self.best.dev_objective:.4g}",
            "dev_accuracy": f"{self.best.dev_accuracy:.4g}",
            "weight": f"{self.weight:g}",
            "seed": f"{self.seed}",
            "candidates": f"{len(self.candidates)}",
            "lm_tokens": f"{self.lm_tokens_forward + self.lm_tokens_backward}",
            "seconds": f"{self.seconds:.1f}",
        }


def run_optimizer(optimizer: Optimizer[C], problem: Problem, config: C | None = None) -> PromptResult:
    """Run one optimizer on a problem.

    Args:
        optimizer: the optimizer.
        problem: a new problem, which the run changes.
        config: the options, by default the optimizer's defaults.

    Raises:
        RequestError: the problem cannot be solved with these options.
        RunError: the search scored no prompt on dev, or an objective is not a number.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> problem = Problem(load_task("plural"), load_lm("microworld"))
        >>> run_optimizer(load_optimizer("manual"), problem).best.dev_accuracy > 0.9
        True
    """
    config = config or optimizer.configure({})
    started = time.perf_counter()
    optimizer.check(problem, config)
    final = optimizer.search(problem, config)
    seconds = time.perf_counter() - started
    if problem.best is None:
        raise RunError(f"optimizer {optimizer.name} scored no prompt on dev; call problem.score_on_dev at least once")
    prompts = [final] if isinstance(final, SoftPrompt) else [problem.hard_prompt(prompt) for prompt in final]
    return PromptResult(
        optimizer=optimizer.name,
        weight=problem.weight,
        seed=problem.seed,
        config=config.model_dump() | problem.resolved_options,
        best=problem.best,
        final_prompts=tuple(prompts) or (problem.best.prompt,),
        candidates=tuple(problem.candidates),
        curve=tuple(problem.curve),
        lm_tokens_forward=problem.counter.forward,
        lm_tokens_backward=problem.counter.backward,
        seconds=seconds,
        front=tuple(front_of(problem.candidates)) if optimizer.finds_front else (),
    )


def all_optimizers() -> dict[str, Optimizer[Any]]:
    """All installed optimizers by name, those of the core first.

    Raises:
        RequestError: two plug-ins offer the same name.
    """
    return plugins_by_name("hardprompt.optimizers", "OPTIMIZERS", "optimizer")


def load_optimizer(name: str) -> Optimizer[Any]:
    """Load an optimizer by name, or from a Python file by `path.py:attribute`. The file is executed.

    Raises:
        UnknownName: there is no optimizer of this name; the message names similar ones.
        RequestError: the file or the attribute does not exist or is not an optimizer.

    Example:
        >>> load_optimizer("pez").configure({"steps": "30"}).steps
        30
    """
    return load_plugin(name, all_optimizers, Optimizer, "optimizer")


def _as_lists(prompts: Sequence[Sequence[int]] | Tensor) -> list[list[int]]:
    return prompts.tolist() if isinstance(prompts, Tensor) else [[int(i) for i in ids] for ids in prompts]
