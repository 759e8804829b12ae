"""Rewards of finished prompts, with their parts.

The perplexity term is subtracted before any normalization, since its weight would have no meaning after a z-score.

The volume rewards, after MORL-Prompt (Jafari et al. 2024), have no weight: they multiply a task score and a fluency score, both
in [0, 1], so that a prompt needs both (`product_reward`, `hypervolume_reward`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardprompt.data.task import Example
from hardprompt.errors import RequestError
from hardprompt.objective import combine, gap_reward, zscore
from hardprompt.optimizers.base import Problem
from hardprompt.plugins import is_file_reference, load_attribute

GAPS = ("gap", "linear-gap")
VOLUMES = ("product", "hypervolume")
NAMES = ("objective", *GAPS, *VOLUMES)
LINEAR_GAP_COEFF = 200.0
"""Points per unit of gap of the reward "linear-gap", for right and wrong answers."""

HYPERVOLUME_ANSWERS = 2
"""Number of answers K of the reward "hypervolume"; with one answer it would be the reward "product"."""

UserReward = Callable[[list[str], list[Example]], Any]
"""A user's reward: a function of the texts of P prompts and of N examples to a value per prompt, (P,), or per prompt and
example, (P, N)."""


@dataclass(frozen=True)
class Reward:
    """The rewards of P prompts.

    Attributes:
        value: the rewards, (P,).
        parts: parts of the rewards and further measurements by name, (P,) each.
    """

    value: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def nll_share(self) -> float:
        """The share of the variance of the reward over the prompts that its perplexity term explains.

        With r = task + fluency + length it is Cov(fluency, r) / Var(r). The shares of all terms sum to 1; some may be negative.
        """
        fluency = self.value - self.parts.get("task_reward", self.value) + self.parts.get("length_cost", 0.0)
        spread = self.value.var()
        return float(np.mean((fluency - fluency.mean()) * (self.value - self.value.mean())) / spread) if spread > 0 else 0.0


def check_reward(problem: Problem, reward: str | UserReward) -> None:
    """Raise a RequestError for an unknown reward, or one that does not suit the task, the model or the length weight."""
    if isinstance(reward, str) and reward not in NAMES and not is_file_reference(reward):
        raise RequestError(f"no reward {reward!r}; use {', '.join(NAMES)}, or path.py:name of a Python function")
    if reward in GAPS and problem.task.kind != "classification":
        raise RequestError(f"the reward {reward!r} needs label words, and task {problem.task.name} has none; use 'objective'")
    if reward in VOLUMES and problem.length_weight:
        raise RequestError(
            f"the length weight is {problem.length_weight:g}, but the reward {reward!r} has no weights; use 'objective' or the "
            "length weight 0"
        )
    if reward in (*GAPS, *VOLUMES) and len(problem.lms) > 1:
        raise RequestError(f"the reward {reward!r} is defined for one model, and there are {len(problem.lms)}; use 'objective'")
    if reward in VOLUMES and problem.lm.kind == "encoder-decoder":
        raise RequestError(
            f"the reward {reward!r} needs the prompt NLL, and {problem.lm.name} is an encoder-decoder model, which assigns no "
            "probability to a prompt; use 'objective'"
        )


def fluency_score(nll: Tensor, vocabulary_size: int) -> Tensor:
    """The fluency of prompts: 1 / (1 + nll / ln V), (P,).

    It is 1 for a prompt that the model predicts with certainty, 1/2 for one that is as likely as under a uniform distribution
    over the V tokens of the model, and above 0 for all. (A score 1 - nll / ln V that is clipped at 0 would be 0 for almost all
    prompts of random words, so that a policy could not learn from it.) It is 1 if no token of the prompt is scored (an NLL of
    NaN).

    Args:
        nll: prompt NLL in nats per token, (P,).
        vocabulary_size: number V of tokens of the model.

    Example:
        >>> fluency_score(torch.tensor([0.0, math.log(100), 3 * math.log(100), torch.nan]), 100).tolist()
        [1.0, 0.5, 0.25, 1.0]
    """
    return 1 / (1 + nll.nan_to_num(0.0) / math.log(vocabulary_size))


def product_reward(right: Tensor, fluency: Tensor) -> Tensor:
    """Expected product of the two scores (Jafari et al. 2024), mean over the examples, (P,).

    An answer y that the model draws for example n has the task score s = 1 if it is right and 0 if not, and the fluency score f
    of the prompt. With the probability p_n of the right answer,

        reward = 1/N sum_n E_y[s f] = f / N sum_n p_n.

    Args:
        right: probability of the right answer to each example, (P, N).
        fluency: fluency score f of each prompt, (P,).

    Example:
        >>> product_reward(torch.tensor([[0.5, 1.0]]), torch.tensor([0.5])).tolist()
        [0.375]
    """
    return fluency * right.mean(-1)


def hypervolume_reward(right: Tensor, fluency: Tensor, answers: int = HYPERVOLUME_ANSWERS) -> Tensor:
    """Expected volume that the scores of K answers dominate (after Jafari et al. 2024), mean over the examples, (P,).

    The answers y_1, ..., y_K that the model draws for example n are points (s_k, f), with s_k = 1 for a right answer, 0 for
    another one, and the fluency score f of the prompt. Their volume is the area of the union of the rectangles from (0, 0) to
    the points, f max_k s_k. The expectation is computed exactly instead of drawing answers:

        reward = 1/N sum_n E[f max_k s_k] = f / N sum_n (1 - (1 - p_n)^K).

    All points of a prompt have the same f. The volume of the points (p_n, f) of all examples together would therefore be that
    of the easiest example alone, f max_n p_n; it is not used.

    Args:
        right: probability p_n of the right answer to each example, (P, N).
        fluency: fluency score f of each prompt, (P,).
        answers: number of answers K.

    Example:
        >>> hypervolume_reward(torch.tensor([[0.5, 1.0]]), torch.tensor([0.5])).tolist()
        [0.4375]
    """
    wrong = torch.log1p(-right.clamp(max=1.0))  # exact for small p_n, and a p_n above 1 is a rounding error
    return fluency * -torch.expm1(answers * wrong).mean(-1)


def loaded_reward(reward: str | UserReward) -> str | UserReward:
    """The function that `path.py:name` names, or the reward itself; a search loads it once."""
    return load_attribute(reward) if isinstance(reward, str) and is_file_reference(reward) else reward


def prompt_reward(
    problem: Problem,
    prompts: Sequence[Sequence[int]] | Tensor,
    reward: str | UserReward = "objective",
    indices: Sequence[int] | None = None,
) -> Reward:
    """The reward of prompts on train examples: a task reward minus the weighted prompt NLL and length, or a volume reward.

    Args:
        problem: the problem.
        prompts: token ids of P prompts.
        reward: the task reward. "objective" is minus the task loss, in nats. "gap" is RLPrompt's piecewise gap reward, in
            points (`hardprompt.objective.gap_reward`), and "linear-gap" the same with one factor for right and wrong answers.
            "product" (`product_reward`) and "hypervolume" (`hypervolume_reward`) multiply a task score by the fluency score of
            the prompt (`fluency_score`) and ignore the weight. A function, or `path.py:name`, is called with the texts of the
            prompts and the examples, and has its own unit.
        indices: indices of the train examples; None for all.

    Returns:
        The rewards, (P,), with the parts `task_reward`, without the NLL, the length or the fluency score; `prompt_nll`, in nats
        per token; `length_cost` with a length weight; `fluency`, a fraction, for a volume reward; and, unless the reward is a
        function, `accuracy`, a fraction.

    Raises:
        RequestError: the reward is unknown, needs label words, or needs a prompt NLL that the model does not have; or a value
            is not finite or its shape is wrong.

    Example:
        >>> from hardprompt import Problem, load_lm, load_task
        >>> lm = load_lm("microworld")
        >>> problem = Problem(load_task("plural"), lm)
        >>> prompt_reward(problem, [lm.encode("give the plural")], lambda texts, examples: [len(text) for text in texts]).value
        array([15.], dtype=float32)
    """
    check_reward(problem, reward)
    ids = prompts.tolist() if isinstance(prompts, Tensor) else [list(prompt) for prompt in prompts]
    parts: dict[str, Tensor] = {}
    if reward == "objective":
        found = problem.objective(ids, indices)
        task, nll = -found.task_loss, found.prompt_nll
        parts["accuracy"] = found.accuracy
    elif reward in GAPS:
        scores = problem.train.score_ids(ids, indices)
        assert scores.label_logits is not None
        labels = problem.train.labels if indices is None else problem.train.labels[list(indices)]
        factors = (LINEAR_GAP_COEFF, LINEAR_GAP_COEFF) if reward == "linear-gap" else ()
        task, nll = gap_reward(scores.label_logits, labels, *factors), problem.prompt_nll(ids)
        parts["accuracy"] = scores.accuracy
    elif reward in VOLUMES:
        scores, nll = problem.train.score_ids(ids, indices), problem.prompt_nll(ids)
        volume = product_reward if reward == "product" else hypervolume_reward
        task = volume((-scores.loss).exp(), torch.ones_like(nll))
        parts |= {"accuracy": scores.accuracy, "fluency": fluency_score(nll, len(problem.lm.vocab_embeds))}
    else:
        task, nll = _of_user(problem, ids, reward, indices), problem.prompt_nll(ids)
    parts |= {"task_reward": task, "prompt_nll": nll}
    if problem.length_weight:
        parts["length_cost"] = problem.length_cost(ids)
    loss = combine(-task, nll, problem.weight) + parts.get("length_cost", 0.0)
    value = _numpy(task * parts["fluency"] if reward in VOLUMES else -loss)
    _refuse_nan(value, [problem.lm.decode(prompt) for prompt in ids], str(reward))
    return Reward(value, {name: _numpy(values) for name, values in parts.items()})


def shaped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """RLPrompt's reward shaping: the linear map of [0, 1] to [low, high], also for values outside of [0, 1].

    Example:
        >>> shaped(np.array([0.0, 1.0, 2.0]), -20, 80).tolist()
        [-20.0, 80.0, 180.0]
    """
    return low + (high - low) * values


def normalized(values: np.ndarray) -> np.ndarray:
    """The z-score of rewards (P,) over the prompts of one batch."""
    return zscore(torch.from_numpy(values)).numpy()


def _of_user(problem: Problem, ids: list[list[int]], reward: str | UserReward, indices: Sequence[int] | None) -> Tensor:
    call: Any = loaded_reward(reward)
    name = reward if isinstance(reward, str) else getattr(reward, "__name__", type(reward).__name__)
    if not callable(call):
        raise RequestError(f"reward {name} is not a function; expected a function of (prompts, examples)")
    texts = [problem.lm.decode(prompt).strip() for prompt in ids]
    examples = [problem.task.train[i] for i in (range(len(problem.task.train)) if indices is None else indices)]
    try:
        found = np.asarray(call(texts, examples), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RequestError(f"reward {name} on prompt {texts[0]!r}: {type(error).__name__}: {error}") from error
    if found.shape not in ((len(texts),), (len(texts), len(examples))):
        raise RequestError(
            f"reward {name} on prompt {texts[0]!r} and {len(texts) - 1} more, example {examples[0].input[:40]!r} and "
            f"{len(examples) - 1} more: expected shape ({len(texts)},) or ({len(texts)}, {len(examples)}), got {found.shape}"
        )
    _refuse_nan(found, texts, name, examples)
    return torch.from_numpy(found if found.ndim == 1 else found.mean(1))


def _refuse_nan(values: np.ndarray, texts: Sequence[str], name: str, examples: Sequence[Example] = ()) -> None:
    if not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0]
        where = f" on example {place[1] + 1} ({examples[place[1]].input[:40]!r})" if len(place) == 2 else ""
        raise RequestError(f"reward {name} of prompt {place[0] + 1} ({texts[place[0]]!r}){where} is {values[tuple(place)]}")


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
