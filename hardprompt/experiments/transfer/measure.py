"""Scoring prompts on a model: all texts of a task go through the model together, a few thousand rows at a time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hardprompt.data.task import Task
from hardprompt.errors import HardpromptError, RequestError
from hardprompt.experiments.transfer.prompts import Prompt
from hardprompt.lm import FrozenLM
from hardprompt.lm.perplexity import surprisals
from hardprompt.metrics.scrutability import readability
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.records.store import Store
from hardprompt.scoring import Scorer, Scores
from hardprompt.scoring.truncation import fit_to_context
from hardprompt.study.measure import finite

ROWS_AT_ONCE = 2048
"""Rows that are scored, and then recorded, together: enough for full forward passes, few enough to lose little."""

Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Wanted:
    """A cell that is measured: a prompt, the record of its study, and the part of its line that is known before."""

    prompt: Prompt
    store: Store
    line: Line

    def failed(self, reason: str) -> Line:
        """The line of the cell with the reason why it cannot be measured."""
        return {**self.line, "status": "failed", "reason": " ".join(reason.split())}


def embeddings_of(lm: FrozenLM) -> str:
    """The width of a model's embeddings and a digest of its vocabulary; vectors fit models for which this is the same.

    Example:
        >>> from hardprompt import load_lm
        >>> embeddings_of(load_lm("microworld"))[:8]
        '160 wide'
    """
    vocabulary = json.dumps(sorted(lm.tokenizer.get_vocab().items()))
    return f"{lm.vocab_embeds.shape[1]} wide, vocabulary {sha256(vocabulary.encode()).hexdigest()[:12]}"


def measure(
    lm: FrozenLM, task: Task, prompt_length: int, wanted: Sequence[Wanted], of_sources: dict[str, str]
) -> Iterator[list[Line]]:
    """Measure prompts on a task and a model, and yield their finished lines in batches.

    A text is filled into the template and tokenized as a whole, so that every model reads it in its own tokens.

    Args:
        lm: the model.
        task: the task; its test examples are scored.
        prompt_length: the number of prompt tokens for which inputs leave room when they are cut.
        wanted: the cells.
        of_sources: by name of a study's model, its `embeddings_of`.
    """
    own = embeddings_of(lm)
    try:
        task = fit_to_context(task, lm, prompt_length)
        scorer = Scorer(lm, task, task.test)
    except HardpromptError as error:
        yield [each.failed(str(error)) for each in wanted]
        return
    by_text: dict[str, list[Wanted]] = {}
    for each in wanted:
        if not each.prompt.file:
            by_text.setdefault(each.line["prompt_text"], []).append(each)
    texts, at_once = list(by_text), max(1, ROWS_AT_ONCE // len(task.test))
    for first in range(0, len(texts), at_once):
        some = texts[first : first + at_once]
        found = dict(zip(some, _measured_texts(scorer, some), strict=True))
        yield [_line(each, found[text], own) for text in some for each in by_text[text]]
    for each in wanted:
        if each.prompt.file:
            yield [_vectors_line(each, scorer, own, of_sources.get(each.line["source_lm"]))]


def _line(wanted: Wanted, found: Line | str, embeddings: str) -> Line:
    if isinstance(found, str):
        return wanted.failed(found)
    return {**wanted.line, "status": "ok", **found, "optimized_correct": wanted.prompt.right, "embeddings": embeddings}


def _measured_texts(scorer: Scorer, texts: Sequence[str]) -> list[Line | str]:
    """The measurements of each text, or the reason why there are none; a text that fails does not affect the others."""
    try:
        prompts = [HardPrompt.in_place(scorer.lm, scorer.template, text) for text in texts]
        scores = scorer.score_texts(texts)
        nats = surprisals(scorer.lm, [prompt.ids for prompt in prompts])
        return [
            _measures(scores.of(i)) | {"log_perplexity": readability(nats[i], text)["log_perplexity"], "tokens": len(nats[i])}
            for i, text in enumerate(texts)
        ]
    except HardpromptError as error:
        if len(texts) == 1:
            return [str(error)]
        return [found for text in texts for found in _measured_texts(scorer, [text])]


def _vectors_line(wanted: Wanted, scorer: Scorer, own: str, of_source: str | None) -> Line:
    """The line of a soft prompt by its vectors, which is skipped where they do not fit the model."""
    source = wanted.line["source_lm"]
    try:
        if of_source is None:
            raise RequestError(f"the vectors are those of {source}, which cannot be loaded to see whether they fit")
        if own != of_source:
            reason = f"the vectors are those of {source} ({of_source}) and do not fit {scorer.lm.name} ({own})"
            return {**wanted.line, "status": "skipped", "reason": reason}
        prompt = as_prompt(scorer.lm, SoftPrompt(wanted.store.load_vectors(wanted.prompt.file)))
        assert isinstance(prompt, SoftPrompt)
        found = _measures(scorer.score_embeds(prompt.embeds)) | {"log_perplexity": None, "tokens": len(prompt.embeds)}
    except HardpromptError as error:
        return wanted.failed(str(error))
    return _line(wanted, found, own)


def _measures(scores: Scores) -> Line:
    """Accuracy, loss and correctness of one prompt."""
    correct = scores.correct[0].tolist()
    measured = {"accuracy": sum(correct) / len(correct), "n": len(correct), "loss": float(scores.mean_loss)}
    return finite(measured | {"correct": "".join("01"[right] for right in correct)})
