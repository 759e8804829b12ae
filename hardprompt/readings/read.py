"""Reading a prompt: the texts that do what it does, with the evidence for each and a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from hardprompt.data.task import Task
from hardprompt.errors import RequestError
from hardprompt.lm.chat import template_of
from hardprompt.lm.frozen import FrozenLM
from hardprompt.lm.perplexity import log_perplexity
from hardprompt.lm.vocabulary import allowed_vocabulary
from hardprompt.metrics.scored_prompt import read_text
from hardprompt.metrics.token_f1 import token_f1
from hardprompt.notebook import html_table
from hardprompt.optimizers.base import Config, configured
from hardprompt.prompt import HardPrompt, SoftPrompt, as_prompt
from hardprompt.readings.base import Reader, load_reader, reader, run_reader
from hardprompt.readings.evidence import Evidence, Examiner, Verdict
from hardprompt.readings.problem import ReadingProblem
from hardprompt.scoring import Scorer

DEFAULT_READERS = ("nearest", "self-description", "samples", "wide-beam")
"""The readers that are used by default, as far as they fit the prompt and the model."""

MAX_LENGTH, LM_TOKENS = 10, 60_000
"""Default of the largest number of tokens of a text, and of the budget of a reader in LM tokens."""

WEIGHT = 0.002
"""Default share of the reference divergence that each nat of the NLL of a text costs."""

SEARCH_INPUTS, HELD_OUT_INPUTS = 12, 32
"""At most this many inputs for the search and for the evidence."""

GIVEN = "given"
"""The name of the reader that proposes the texts of the caller."""

BEST = 3
"""Number of best texts of which the evidence is measured, beside the best text of each reader."""

SAME_WORDS = 0.5
"""Two faithful texts whose words have at most this F1 are several readings, and otherwise wordings of one."""

Outcome = Literal["reading", "several", "none", "little to read"]


@dataclass(frozen=True)
class TextReading:
    """A text that a prompt is read as.

    Attributes:
        text: the text.
        ids: its token ids in the template.
        readers: the readers that found it, the one with the lowest objective first; "given" for a text of the caller.
        evidence: how close its answers are to those under the prompt, on held-out inputs.
        deployed_accuracy: test accuracy of the text, a fraction.
        accuracy_difference: the same minus the test accuracy of the prompt.
        log_perplexity: nats per token under the model; None where the model assigns the text no probability.
        reader_log_perplexity: nats per token under each held-out model that reads the text, by its name.
    """

    text: str
    ids: tuple[int, ...]
    readers: tuple[str, ...]
    evidence: Evidence
    deployed_accuracy: float
    accuracy_difference: float
    log_perplexity: float | None
    reader_log_perplexity: Mapping[str, float | None]

    @property
    def verdict(self) -> Verdict:
        """Whether the text is faithful to the prompt, partly faithful, misleading, or says nothing."""
        return self.evidence.verdict

    def as_json(self) -> dict[str, Any]:
        """The keys of a reading in `hardprompt read --json`."""
        kl = self.evidence.kl
        return {
            "text": self.text,
            "ids": list(self.ids),
            "reader": self.readers[0],
            "found_by": list(self.readers),
            "kl": kl.value,
            "kl_interval": [kl.low, kl.high],
            "score": self.evidence.score,
            "agreement": self.evidence.agreement,
            "strength": self.evidence.strength,
            "deployed_accuracy": self.deployed_accuracy,
            "accuracy_difference": self.accuracy_difference,
            "log_perplexity": self.log_perplexity,
            "reader_log_perplexity": dict(self.reader_log_perplexity),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, repr=False)
class Readings:
    """What a prompt can be read as.

    Attributes:
        readings: the texts, best first by the objective of the search; the evidence is from other inputs than the search.
        verdict: "reading" if a text is faithful, "several" if faithful texts share less than half of their words, "none" if no
            text is faithful, and "little to read" if the prompt hardly changes the answers.
        reason: why there is little to read; otherwise empty.
        accuracy: test accuracy of the prompt itself, a fraction.
        empty_kl: KL(P || empty text), nats per answer.
        reference_kl: the divergence that scores compare with, nats per answer.
        inputs: number of inputs, for the search and for the evidence together.
        held_out_inputs: number of inputs for the evidence.
        lm_tokens: logical LM tokens that were spent.
        details: what readers found beside texts, by the name of the reader.
        interrupted: whether Ctrl-C ended the search, so that these are the best texts until then.
    """

    readings: tuple[TextReading, ...]
    verdict: Outcome
    reason: str
    accuracy: float
    empty_kl: float
    reference_kl: float
    inputs: int
    held_out_inputs: int
    lm_tokens: int
    details: Mapping[str, Any] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def best(self) -> TextReading | None:
        """The first faithful text; None if there is none."""
        return next((reading for reading in self.readings if reading.verdict == "faithful"), None)

    def as_json(self) -> dict[str, Any]:
        """The object that `hardprompt read --json` prints."""
        names = ("verdict", "reason", "accuracy", "empty_kl", "reference_kl", "inputs", "held_out_inputs", "lm_tokens")
        return {
            "readings": [reading.as_json() for reading in self.readings],
            **{name: getattr(self, name) for name in names},
            "details": dict(self.details),
            "interrupted": self.interrupted,
        }

    def __repr__(self) -> str:
        return f"Readings({self.verdict!r}, {[reading.text for reading in self.readings]})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = (
            (
                *(each.text, each.verdict, each.evidence.score, each.evidence.kl.value),
                *(each.deployed_accuracy, each.log_perplexity, each.readers[0]),
            )
            for each in self.readings
        )
        headings = ("text", "verdict", "score", "KL", "accuracy", "nats/token", "reader")
        return html_table(headings, rows, f"{self.verdict}. {self.reason}".strip())


def read(
    prompt: str | Sequence[int] | HardPrompt | SoftPrompt,
    task: Task,
    lm: FrozenLM,
    *,
    inputs: Sequence[str] | None = None,
    readers: Sequence[str | Reader[Any]] | None = None,
    texts: Sequence[str] = (),
    held_out_lms: Sequence[FrozenLM] = (),
    vocabulary: str | Tensor | None = None,
    max_length: int = MAX_LENGTH,
    weight: float = WEIGHT,
    lm_tokens: int | None = LM_TOKENS,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Readings:
    """Read a prompt as text, by what it makes the model answer.

    The readers search for texts q with the least KL(P || q) + weight x reference x NLL(q), with the answers P under the prompt,
    on some of the inputs. The reference is the divergence of texts that do not know the prompt. The evidence for the best texts
    is measured on the other inputs (`hardprompt.readings.evidence`).

    Args:
        prompt: a soft prompt, or a hard one: a text, token ids, or a prompt that an optimizer found.
        task: the task that the prompt is used in. Its template is used, its test examples for accuracies, and its train inputs.
        lm: the frozen model.
        inputs: inputs without answers, at least two; by default the train inputs of the task. At most 12 of them are for the
            search and 32 for the evidence.
        readers: names of readers, of optimizers of hard prompts, `path.py:name`, or `Reader` objects; by default those of
            `DEFAULT_READERS` that fit the prompt and the model.
        texts: texts of your own, which are measured as well.
        held_out_lms: models that the prompt was not optimized for; they measure the perplexity of the texts.
        vocabulary: the tokens of texts: a name for `allowed_vocabulary`, or their ids (A,); by default all printable ones.
        max_length: maximal number of tokens of a text.
        weight: share of the reference that each nat of the NLL of a text costs.
        lm_tokens: budget of each reader in LM tokens.
        seed: seed of all random numbers.
        options: options of readers, by the name of the reader.
        progress: a function that is called with the finished share, from 0 to 1.

    Raises:
        RequestError: fewer than two different inputs, vectors of another width than the model's embeddings, or a reader that
            does not fit the prompt or the model.
        UnknownName: there is no reader of a name.
        TaskError, ContextExceeded: the model cannot be used with the task.

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm, task = load_lm("microworld"), load_task("plural")
        >>> soft = SoftPrompt(lm.vocab_embeds[lm.encode("give the plural")])
        >>> found = read(soft, task, lm, readers=["nearest"])
        >>> found.verdict, found.best.text
        ('reading', 'give the plural')
    """
    target = as_prompt(lm, prompt, template_of(lm, task))
    allowed = printable_tokens(lm, task) if vocabulary is None else vocabulary
    searched, held_out = split_inputs([example.input for example in task.train] if inputs is None else inputs, seed)

    def problem(on: Sequence[str], weighed: float, progress: Callable[[float], None] | None = None) -> ReadingProblem:
        return ReadingProblem(
            target, task, lm, on,
            weight=weighed, max_length=max_length, vocabulary=allowed, seed=seed, lm_tokens=lm_tokens, progress=progress,
        )  # fmt: skip

    examiner = Examiner(problem(held_out, 0.0))
    methods = _methods(readers, texts, options or {}, examiner.problem)
    reason = examiner.little_to_read
    searches: list[ReadingProblem] = []
    found: dict[str, dict[str, float]] = {}
    interrupted = False
    for number, method in enumerate([] if reason else methods):
        weighed = 0.0 if lm.kind == "encoder-decoder" else weight * examiner.reference  # it assigns a text no probability
        searches.append(problem(searched, weighed, _part(progress, number, len(methods))))
        try:
            run_reader(method, searches[-1], (options or {}).get(method.name, {}))
        except KeyboardInterrupt:
            interrupted = True
        for text, objective in _texts(searches[-1]):
            found.setdefault(text, {}).setdefault(method.name, objective)
        if interrupted:
            break
    fitted = examiner.problem.task  # whose long inputs are cut
    test = Scorer(lm, fitted, fitted.test)
    on_test = test.score_embeds(target.embeds) if isinstance(target, SoftPrompt) else test.score_ids([target.ids])
    readings = [_measured(text, names, examiner, test, float(on_test.accuracy), held_out_lms) for text, names in _chosen(found)]
    return Readings(
        readings=tuple(readings),
        verdict="little to read" if reason else _outcome(readings),
        reason=reason or "",
        accuracy=float(on_test.accuracy),
        empty_kl=examiner.empty,
        reference_kl=examiner.reference,
        inputs=len(searched) + len(held_out),
        held_out_inputs=len(held_out),
        lm_tokens=sum(each.spent for each in (*searches, examiner.problem)) + test.counter.forward,
        details={name: detail for each in searches for name, detail in each.details.items()},
        interrupted=interrupted,
    )


def printable_tokens(lm: FrozenLM, task: Task) -> Tensor:
    """The ids of all tokens whose text is whole and not blank, and has no line break or other control character, (A,).

    Example:
        >>> from hardprompt import load_lm, load_task
        >>> lm = load_lm("microworld")
        >>> len(printable_tokens(lm, load_task("plural"))) < len(lm.vocab_embeds)
        True
    """
    every = allowed_vocabulary(lm, "all", task)
    texts = [lm.decode([token]) for token in every.tolist()]
    return every[[text.isprintable() and not text.isspace() and "\ufffd" not in text and bool(text) for text in texts]]


def split_inputs(inputs: Sequence[str], seed: int = 0) -> tuple[list[str], list[str]]:
    """Different inputs in a random order, in two parts: at most half of them, and at most 12, for the search, and the others.

    Raises:
        RequestError: there are fewer than two different inputs.

    Example:
        >>> [len(part) for part in split_inputs([f"input {n}" for n in range(48)])]
        [12, 32]
    """
    different = list(dict.fromkeys(inputs))
    if len(different) < 2:
        number = f"{len(different)} different " + ("input is" if len(different) == 1 else "inputs are")
        raise RequestError(f"{number} given; give at least two, for the search and the evidence")
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(seed)).tolist()
    count = min(SEARCH_INPUTS, len(different) // 2)
    drawn = [different[i] for i in order]
    return drawn[:count], drawn[count : count + HELD_OUT_INPUTS]


def _methods(
    readers: Sequence[str | Reader[Any]] | None,
    texts: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    problem: ReadingProblem,
) -> list[Reader[Any]]:
    """The readers, all of which can read the problem with their options, and the one that proposes the given texts."""
    named = [load_reader(each) if isinstance(each, str) else each for each in (DEFAULT_READERS if readers is None else readers)]
    found: list[Reader[Any]] = []
    for method in named:
        config = configured(method.config, method.name, options.get(method.name, {}))
        try:
            method.check(problem, config)
        except RequestError:
            if readers is not None:
                raise
        else:
            found.append(method)
    found = [_given(texts)] * bool(texts) + found  # first, so that a text that does not fit costs no search
    if not found and readers is None:
        raise RequestError(
            "none of the default readers fits this prompt and this model; name readers that do, such as known-instructions or "
            "front, or give a text"
        )
    if not found:
        raise RequestError("no reader and no text is given; give at least one")
    for name in options:
        if name not in (names := [method.name for method in found]):
            raise RequestError(f"options are given for {name!r}, but the readers are {', '.join(names)}")
    return found


def _given(texts: Sequence[str]) -> Reader[Config]:
    """The reader that proposes the texts of the caller."""

    def given(problem: ReadingProblem, config: Config) -> list[tuple[int, ...]]:
        """Texts of the caller."""
        return [HardPrompt.in_place(problem.lm, problem.template, text).ids for text in texts]

    return reader(GIVEN, Config)(given)


def _chosen(found: Mapping[str, Mapping[str, float]]) -> list[tuple[str, tuple[str, ...]]]:
    """The best texts, the best text of each reader and all given texts, best first, with the names of their readers.

    Args:
        found: the objective of each text, by the name of the reader that found it.
    """
    ranked = sorted(found, key=lambda text: min(found[text].values()))
    best = {name: next(text for text in ranked if name in found[text]) for text in ranked for name in found[text]}
    kept = [text for n, text in enumerate(ranked) if n < BEST or text in best.values() or GIVEN in found[text]]
    return [(text, tuple(sorted(found[text], key=lambda name: (found[text][name], name == GIVEN)))) for text in kept]


def _outcome(readings: Sequence[TextReading]) -> Outcome:
    faithful = [reading.text for reading in readings if reading.verdict == "faithful"]
    if not faithful:
        return "none"
    return "several" if any(token_f1(faithful[0], other) <= SAME_WORDS for other in faithful[1:]) else "reading"


def _part(progress: Callable[[float], None] | None, number: int, of: int) -> Callable[[float], None] | None:
    """The progress of one of several searches."""
    return None if progress is None else lambda share: progress((number + share) / of)


def _texts(problem: ReadingProblem) -> list[tuple[str, float]]:
    """The texts that a search found, with their objectives, best first.

    A text has no blanks around it, unless it would then be tokenized into other tokens than those that were scored.
    """
    found: list[tuple[str, float]] = []
    for each in problem.candidates:
        if isinstance(each.prompt, HardPrompt) and (stripped := each.prompt.text.strip()):
            same = HardPrompt.in_place(problem.lm, problem.template, stripped).ids == each.prompt.ids
            found.append((stripped if same else each.prompt.text, each.dev_objective))
    return sorted(found, key=lambda pair: pair[1])


def _measured(
    text: str,
    readers: tuple[str, ...],
    examiner: Examiner,
    test: Scorer,
    accuracy: float,
    held_out_lms: Sequence[FrozenLM],
) -> TextReading:
    """A text with its evidence; `accuracy` is that of the prompt."""
    hard = HardPrompt.in_place(test.lm, test.template, text)
    deployed = float(test.score_text(text).accuracy)
    return TextReading(
        text=text,
        ids=hard.ids,
        readers=readers,
        evidence=examiner.examine(hard),
        deployed_accuracy=deployed,
        accuracy_difference=deployed - accuracy,
        log_perplexity=_number(log_perplexity(test.lm, hard.ids)),
        reader_log_perplexity={other.name: _mean(read_text(other, text).surprisal) for other in held_out_lms},
    )


def _mean(surprisal: Tensor | None) -> float | None:
    return None if surprisal is None else _number(float(surprisal.nanmean()))


def _number(value: float) -> float | None:
    return value if value == value else None
