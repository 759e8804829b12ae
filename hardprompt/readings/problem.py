"""The problem of reading a prompt: to find a text that makes a model do what the prompt makes it do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.errors import RequestError
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import scored_tokens
from hardprompt.optimizers.base import Problem
from hardprompt.prompt import HardPrompt, SoftPrompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.imitation import ImitationScorer

GENERATED_TOKENS = 4
"""Number of tokens of a generated answer that are compared."""


class ReadingProblem(Problem):
    """The search for texts whose answers are closest to those under a target prompt, on inputs without labels.

    It is a problem for any optimizer of hard prompts, with the loss of an `ImitationScorer`: the objective of a text q is

        KL(P || q) + weight x NLL(q)

    with the KL divergence in nats per answer and the NLL of the whole text in nats. A mean per token would reward padding. In
    this problem, `prompt_nll` is therefore that of whole texts. Candidates are scored on all inputs ("dev"), and a
    search can score them on some of the inputs before ("train").

    Args:
        target: the prompt that is read.
        task: the task that the prompt is used in. Its template is used, and its answers are not.
        lm: the frozen model.
        inputs: the inputs.
        weight: the weight of the NLL.
        max_length: the maximal number of tokens of a text.
        vocabulary: the tokens of texts, as for `Problem`.
        seed: seed of all random numbers.
        lm_tokens: budget in LM tokens.
        samples: number of sampled answers for each input. Answers of one token, those of classification, are not sampled.
        progress: a function that is called with the finished share of the search.

    Attributes:
        target: the prompt that is read.
        inputs: the inputs.
        longest: the largest number of tokens for which inputs leave room: that of the target, or the maximal length of texts.
        details: what readers found beside texts, by the name of the reader.

    Raises:
        RequestError: there are no inputs.
        TaskError, ContextExceeded: as for `Problem`.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> problem = ReadingProblem(HardPrompt.from_text(lm, "give the plural"), task, lm, [e.input for e in task.dev[:4]])
        >>> kl = problem.score_on_dev([lm.encode("write the plural"), lm.encode("the category")]).task_loss
        >>> bool(kl[0] < 0.1 * kl[1])
        True
    """

    def __init__(
        self,
        target: HardPrompt | SoftPrompt,
        task: Task,
        lm: FrozenLM,
        inputs: Sequence[str],
        *,
        weight: float = 0.0,
        max_length: int = 10,
        vocabulary: str | Tensor = "all",
        seed: int = 0,
        lm_tokens: int | None = None,
        samples: int = 2,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if not inputs:
            raise RequestError("there are no inputs on which the prompt could be read; give at least one")
        self.target = target
        self.inputs = tuple(inputs)
        self._samples = 1 if task.label_words else samples
        some_answer = task.train[0].answer
        examples = [Example(text, some_answer) for text in self.inputs for _ in range(self._samples)]
        self.details: dict[str, Any] = {}
        self._imitation: ImitationScorer | None = None
        length = max(max_length, len(self.target_tokens))
        super().__init__(
            replace(task, train=examples, dev=examples),
            lm,
            weight=weight,
            prompt_length=length,
            vocabulary=vocabulary,
            seed=seed,
            lm_tokens=lm_tokens,
            progress=progress,
        )
        self.longest = self.prompt_length
        self.prompt_length = max_length

    @property
    def target_tokens(self) -> Sequence[int] | Tensor:
        """The token ids of the target, or its vectors (L, d)."""
        return self.target.embeds if isinstance(self.target, SoftPrompt) else self.target.ids

    def prompt_nll(self, prompts: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """The NLL of whole texts in nats, (P,)."""
        scored = torch.tensor([scored_tokens(self.lm, len(ids)) for ids in prompts], device=self.lm.device)
        return super().prompt_nll(prompts) * scored

    def nll_weight(self, length: int, weight: float | None = None) -> float:
        """The weight of the mean NLL per token: the weight of the whole text's NLL times the number of tokens that it sums."""
        return super().nll_weight(length, weight) * scored_tokens(self.lm, length)

    @property
    def imitation(self) -> ImitationScorer:
        """The scorer of the inputs; `train` and `dev` are the same one."""
        assert self._imitation is not None
        return self._imitation

    def _scorer(self, examples: Sequence[Example]) -> Scorer:
        if self._imitation is None:
            self._imitation = ImitationScorer(
                self.lm,
                self.task,
                [example.input for example in examples],
                self.target_tokens,
                1 if self.task.label_words else GENERATED_TOKENS,
                torch.Generator().manual_seed(self.seed),
                self.counter,
                self._prompt_nll,
            )
        return self._imitation
