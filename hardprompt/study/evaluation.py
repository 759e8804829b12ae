"""Evaluating any prompt, wherever it comes from, with the code that measures the prompts of runs."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.lm.chat import template_of
from hardprompt.metrics import Metric, ScoredPrompt
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.report.prompt_tables import evaluation_table
from hardprompt.report.tables import rich_as_html
from hardprompt.scoring import Scorer
from hardprompt.scoring.truncation import fit_to_context
from hardprompt.study.measure import finite, measure_prompt


class Evaluation(dict[str, Any]):
    """What `evaluate` returns: a dictionary, which notebooks show as a table with a row per metric."""

    def _repr_html_(self) -> str:
        return rich_as_html(evaluation_table(self))


def evaluate(
    prompt: str | Sequence[int] | HardPrompt | SoftPrompt,
    task: Task,
    lm: FrozenLM,
    *,
    readers: Sequence[FrozenLM] = (),
    vocabulary: str | Tensor = "words",
    projection: str = "cosine",
    prompt_length: int | None = None,
    metrics: Sequence[Metric] = (),
) -> Evaluation:
    """Accuracy, loss and every metric of one prompt on a task and a model: the metric keys of a line of `points.jsonl`.

    Accuracies are fractions and losses nats per example: -1/N sum_n log p(answer_n | prompt, input_n), for classification over
    the label words only. `hardprompt ls metrics` lists the unit of each key. The `faithfulness` of a hard prompt is None, with
    the reason.

    Args:
        prompt: a text (tokenized as in the task's template; an empty text is the empty prompt), token ids, or a prompt that an
            optimizer found. The text, readability and deployed scores of a soft prompt are those of its projection.
        task: the task to score on; inputs that are too long for the model are cut as the task defines.
        lm: the frozen model.
        readers: models that the prompt was not optimized for; `reader` and the keys that begin with it are of the first one.
        vocabulary: the tokens that a soft prompt may project to: a name for `allowed_vocabulary`, or their ids (A,).
        projection: similarity measure of that projection: cosine, euclidean or dot.
        prompt_length: number of prompt tokens for which inputs leave room when they are cut; by default that of this prompt.
        metrics: metrics to compute in addition to the built-in ones (`hardprompt.metrics.load_metric`).

    Raises:
        RequestError: ids out of the model's vocabulary, vectors of another width than its embeddings, or two readers with the
            same name.
        TaskError: label words that are not single tokens of the model, or a task that a model of this kind cannot solve.
        ContextExceeded: an example with this prompt is longer than the model's context.
        RunError: a value is not finite.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> found = evaluate("what kind of thing is this", load_task("category"), load_lm("microworld"))
        >>> found["deployed_test_accuracy"] > 0.9, found["roundtrip_ok"], found["faithfulness"]["kl"]
        (True, True, None)
    """
    checked = as_prompt(lm, prompt, template_of(lm, task))
    length = len(checked.ids) if isinstance(checked, HardPrompt) else checked.embeds.shape[0]
    task = fit_to_context(task, lm, length if prompt_length is None else prompt_length)
    allowed = None
    if isinstance(checked, SoftPrompt):
        allowed = allowed_vocabulary(lm, vocabulary, task) if isinstance(vocabulary, str) else vocabulary
    test = Scorer(lm, task, task.test)
    scored = ScoredPrompt(checked, test, allowed=allowed, projection=projection, readers=readers)
    return Evaluation(finite(measure_prompt(scored, metrics)))
