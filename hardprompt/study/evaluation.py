"""Evaluating any prompt, wherever it comes from, by the code that measures what a run found."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.lm import FrozenLM, allowed_vocabulary
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.scoring import Scorer
from hardprompt.scoring.truncation import fit_to_context
from hardprompt.study.measure import finite, measure_prompt


def evaluate(
    prompt: str | Sequence[int] | HardPrompt | SoftPrompt,
    task: Task,
    lm: FrozenLM,
    *,
    readers: Sequence[FrozenLM] = (),
    vocabulary: str | Tensor = "words",
    projection: str = "cosine",
    prompt_length: int | None = None,
) -> dict[str, Any]:
    """Accuracy, loss and every metric of one prompt on a task and model: the metric keys of a line of `points.jsonl`.

    Accuracies are fractions, losses nats per example: -1/N sum_n log p(answer_n | prompt, input_n), over the label words
    only for classification. `hardprompt ls metrics` has the unit of each key; `faithfulness` of a hard prompt is None with its
    reason.

    Args:
        prompt: a text (tokenized as it stands in the task's template; empty is no prompt), token ids, or what an optimizer
            found. Of a soft prompt, text, readability and the deployed scores are those of its projection.
        task: what to score on; inputs too long for the model are cut as the task says.
        lm: the frozen model.
        readers: models that were not optimized against, for `readers`; `reader` and what begins with it are of the first.
        vocabulary: which tokens a soft prompt may project to: a name for `allowed_vocabulary`, or their ids (A,).
        projection: the measure of that projection: cosine, euclidean or dot.
        prompt_length: for how many prompt tokens room is left where inputs are cut; by default for those of this prompt.

    Raises:
        RequestError: ids out of the model's vocabulary, vectors of another width than its embeddings, or readers of one name.
        TaskError: label words that are no single tokens of the model, or a task that a model of its kind cannot solve.
        ContextExceeded: an example with this prompt is longer than the model's context.
        RunError: a value is not finite.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> found = evaluate("what kind of thing is this", load_task("category"), load_lm("microworld"))
        >>> found["deployed_test_accuracy"] > 0.9, found["roundtrip_ok"], found["faithfulness"]["kl"]
        (True, True, None)
    """
    checked = as_prompt(lm, prompt, task.template_for(lm.masked))
    length = len(checked.ids) if isinstance(checked, HardPrompt) else checked.embeds.shape[0]
    task = fit_to_context(task, lm, length if prompt_length is None else prompt_length)
    allowed = None
    if isinstance(checked, SoftPrompt):
        allowed = allowed_vocabulary(lm, vocabulary) if isinstance(vocabulary, str) else vocabulary
    return finite(measure_prompt(checked, Scorer(lm, task, task.test), allowed, projection, readers))
