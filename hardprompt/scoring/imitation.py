"""Imitation: how far the answers under a prompt are from those under another prompt, the target, on inputs without labels.

With the target P, a prompt q and inputs x,

    KL(P || q) = E_x E_{y ~ P(. | P, x)} sum_t KL(P(. | P, x, y_<t) || P(. | q, x, y_<t))    nats per answer,

the distance of Melamed et al. (2024). For classification, the answers are the label words: P and q are distributions over them,
as in the task loss, and t has one value. Prompt tuning does not determine the probabilities of other tokens there.

An imitation scorer has this as its loss, for hard and for soft prompts, so that every
search that minimizes a task loss can search for a text that does what the target does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hardprompt.data.task import Example, Task
from hardprompt.lm.frozen import FrozenLM
from hardprompt.scoring.passes import Pass
from hardprompt.scoring.rows import Row
from hardprompt.scoring.scorer import Scorer, TokenCount
from hardprompt.scoring.targets import predictions_of


@torch.no_grad()
def sample_answers(scorer: Scorer, prompt: Sequence[int] | Tensor, tokens: int, generator: torch.Generator) -> list[list[int]]:
    """A continuation of every input, sampled token by token up to an end token, which is left out, or to `tokens` tokens.

    Args:
        scorer: the scorer with the inputs.
        prompt: a hard prompt (ids) or a soft one (embeddings (L, d)).
        tokens: maximum length of a continuation.
        generator: the random number generator.
    """
    answers: list[list[int]] = [[] for _ in scorer.examples]
    ends = set(scorer.end_ids.tolist()) if tokens else set()
    going = set(range(len(answers)))
    for _ in range(tokens):
        last = torch.stack([logits[-1] for logits in scorer.answer_logits(prompt, answers)])
        drawn = torch.multinomial(last.float().softmax(-1).cpu(), 1, generator=generator).flatten().tolist()
        going -= {n for n in going if drawn[n] in ends}
        for n in going:
            answers[n].append(drawn[n])
        if not going:
            break
    return answers


class ImitationScorer(Scorer):
    """Scores prompts by how far their answers are from those of a target prompt.

    The loss of an example is the KL divergence of this module's formula, in nats per answer. An answer counts as correct if the
    most probable token is the same under both prompts at every token of the answer.

    Args:
        lm: the frozen model.
        task: the task, whose template is used. Its answers and label words are not.
        inputs: the inputs; repeated inputs have further samples of answers.
        target: the target prompt: token ids, or the vectors of a soft prompt (L, d).
        tokens: maximum number of tokens of a generated answer that are compared. With 1, no answer is sampled.
        generator: samples the answers.
        counter: counts the LM tokens, also those of sampling.

    Attributes:
        targets: log-probabilities under the target at each compared token of each answer, one tensor (T, V) per example; for
            classification those of the C label words, (1, C).

    Raises:
        TaskError, ContextExceeded: as for `Scorer`.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> target = lm.encode("give the plural")
        >>> inputs = [example.input for example in task.dev[:8]]
        >>> scorer = ImitationScorer(lm, task, inputs, target, 4, torch.Generator().manual_seed(0))
        >>> same, near, far = scorer.score_ids([target, lm.encode("write the plural"), lm.encode("the category")]).mean_loss
        >>> bool(abs(same) < 1e-3) and bool(near < 0.1 * far)
        True
    """

    def __init__(
        self,
        lm: FrozenLM,
        task: Task,
        inputs: Sequence[str],
        target: Sequence[int] | Tensor,
        tokens: int,
        generator: torch.Generator,
        counter: TokenCount | None = None,
        prompt_nll: dict[tuple[int, ...], Tensor] | None = None,
    ) -> None:
        some_answer = task.train[0].answer
        super().__init__(lm, task, [Example(text, some_answer) for text in inputs], counter, prompt_nll)
        self._rows.decoded_tokens = 0
        tokens = 1 if task.label_words else min(tokens, 1 + self.tokens_left(len(target)))
        answers = sample_answers(self, target, tokens - 1, generator)
        self._rows.answers = answers
        self._rows.predictions = [len(answer) + 1 for answer in answers]
        self.targets = self.log_probs(target)
        self._judge = _ImitationJudge(lm, self.targets, self.label_ids if task.label_words else None)

    def log_probs(self, prompt: Sequence[int] | Tensor) -> list[Tensor]:
        """Log-probabilities under any prompt at each compared token of each answer, as in `targets`."""
        self.counter.forward += self.tokens(len(prompt))
        logits = self.answer_logits(prompt, [list(answer) for answer in self._rows.answers])
        compared = [each[:, self.label_ids] for each in logits] if self.task.label_words else logits
        return [each.float().log_softmax(-1) for each in compared]


class _ImitationJudge:
    """KL divergence and agreement of the answers of rows with those of the target."""

    def __init__(self, lm: FrozenLM, targets: Sequence[Tensor], ids: Tensor | None) -> None:
        self._lm = lm
        self._targets = targets
        self._ids = ids

    def loss_and_correct(
        self, done: Pass, rows: Sequence[Row], soft: Tensor | None, decode: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Loss (B,) in nats per answer and agreement (B,)."""
        log_q, row_of = predictions_of(self._lm, done, rows, self._ids)
        log_p = torch.cat([self._targets[row.example] for row in rows])
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        differs = (log_p.argmax(-1) != log_q.argmax(-1)).float()
        zeros = torch.zeros(len(rows), device=log_q.device)
        return zeros.index_add(0, row_of, kl), zeros.index_add(0, row_of, differs) == 0
