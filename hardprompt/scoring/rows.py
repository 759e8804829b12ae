"""The token sequences that are scored, called rows: one for each pair of a prompt and an example.

A row of a causal model is bos + before + prompt + after (+ target), where "before" and "after" are the parts of the filled
template around the prompt. A row of a chat is the same without bos, since the rendered template has its own special tokens. A
row of a masked model is [CLS] + before + prompt + after + [SEP], with the mask token in either part. A row of an
encoder-decoder model is before + prompt + after + </s> for the encoder, and the target for the decoder. Hard prompts are
inserted as token ids, soft prompts as embeddings. A text is filled into the template and tokenized as a whole, as it would be
deployed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

from hardprompt.data.task import Example, Task
from hardprompt.errors import ContextExceeded, TaskError
from hardprompt.lm.chat import marker_in, start_ids, template_of
from hardprompt.lm.encoder_decoder import EncoderDecoderLM
from hardprompt.lm.frozen import FrozenLM
from hardprompt.scoring.answers import answer_tokens


@dataclass(frozen=True)
class Row:
    """One sequence.

    Attributes:
        ids: known token ids; 0 in the place of soft vectors.
        soft_start: position of the first soft vector.
        answer: token ids of the answer that are fed after `ids`, or to the decoder of an encoder-decoder model.
        prompt: index of the prompt among those that are scored.
        example: index of the example.
        predict_from: position whose state predicts the first token of the answer: the last one of `ids`, that of the mask, or
            the last start token of the decoder.
        predictions: number of positions whose states predict the answer, from `predict_from` on.
        prefix_length: number of tokens at the beginning that other rows may share.
        decoded: whether a decoder reads the answer, apart from `ids`.
    """

    ids: list[int]
    soft_start: int
    answer: list[int]
    prompt: int
    example: int
    predict_from: int
    predictions: int
    prefix_length: int = 0
    decoded: bool = False

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.ids) + len(self.answer)

    @property
    def embedded(self) -> int:
        """Number of tokens that are read as embeddings: all, or those of the encoder."""
        return len(self.ids) if self.decoded else self.length


class RowBuilder:
    """Builds the rows of a task's examples.

    Args:
        lm: the model that reads the rows.
        task: the task, whose template, label words and match are used.
        examples: the examples to score on.

    Attributes:
        template: the template of this kind of model.
        prompt_first: whether the rows of one prompt share the tokens up to the end of the prompt. Otherwise, the rows of one
            example share the tokens before the prompt.
        prefixes: for each example, the token ids before the prompt.
        starts_with_prompt: whether the prompt is the first text of every row.
        answers: for each example, the token ids of the answer that a row feeds: none for classification.
        predictions: for each example, the number of positions that predict the answer. If the answer must end there, the last
            one predicts its end.
        decoded_tokens: the number of LM tokens that count for decoding an answer: its maximal length with `match="number"`.

    Raises:
        TaskError: an input contains one of the model's special tokens, or the template is for the other kind of model.
    """

    def __init__(self, lm: FrozenLM, task: Task, examples: Sequence[Example]) -> None:
        self._lm = lm
        self._task = task
        self._examples = examples
        self.template = template_of(lm, task)
        self._start = start_ids(lm, self.template)
        self._mask_first = self.template.text.find("{mask}") < self.template.text.find("{prompt}")
        self._refuse_special_tokens()
        around = [self.template.around(example.input) for example in examples]
        self._before = lm.encode_many([before for before, _ in around])
        self._after = lm.encode_after([after for _, after in around])
        self._after_nothing = lm.encode_many([after for _, after in around])
        self.prompt_first = all(ids == self._before[0] for ids in self._before)
        self.prefixes = tuple((*self._start, *ids) for ids in self._before)
        self.starts_with_prompt = not any(self._before) and all(self._after) and not self.template.chat
        self._decoded = isinstance(lm, EncoderDecoderLM)
        answers = [example.answer for example in examples]
        self.answers: Sequence[Sequence[int]] = [()] * len(answers) if task.label_words else answer_tokens(lm, task, answers)
        self.predictions = [1 if task.label_words else len(answer) + task.answer_ends for answer in self.answers]
        self.decoded_tokens = task.max_answer_tokens if task.match == "number" else 0

    def build(self, prompt: int, example: int, prompt_ids: list[int]) -> Row:
        """The row of a hard prompt, or of a soft one with zeros for its ids.

        Raises:
            ContextExceeded: the row is longer than the model's context.
        """
        if self.template.chat and not prompt_ids:
            return replace(self._without_prompt[example], prompt=prompt)
        before = self._start + self._before[example]
        after = self._after if prompt_ids or self._before[example] else self._after_nothing
        ids = before + prompt_ids + after[example] + self._lm.suffix_ids
        predict_from = self._answer_position(ids)  # never part of the shared prefix
        shared = 0 if self._decoded else min(len(before) + len(prompt_ids) * self.prompt_first, predict_from)
        answer, predictions = list(self.answers[example]), self.predictions[example]
        return self.checked(Row(ids, len(before), answer, prompt, example, predict_from, predictions, shared, self._decoded))

    def build_text(self, text: str, prompt: int = 0, examples: Sequence[int] | None = None) -> list[Row]:
        """The rows of a prompt as text, one for each example, or for each of `examples`.

        Where the prompt comes first, they share the tokens at their beginning that are the same on every example.
        """
        chosen = range(len(self._examples)) if examples is None else examples
        filled = [self.template.fill(self._examples[n].input, text) for n in chosen]
        whole = [self._start + ids + self._lm.suffix_ids for ids in self._lm.encode_many(filled)]
        places = [self._answer_position(ids) for ids in whole]
        first = reduce(lambda shared, ids: shared[: _common(ids, shared)], whole) if self.prompt_first else []
        rows = []
        for n, ids, at in zip(chosen, whole, places, strict=True):
            before = first if self.prompt_first else self.prefixes[n]
            shared = 0 if self._decoded else min(_common(ids, before), *(places if self.prompt_first else [at]))
            answer, count = list(self.answers[n]), self.predictions[n]
            rows.append(self.checked(Row(ids, 0, answer, prompt, n, at, count, shared, self._decoded)))
        return rows

    def prefix_rows(self) -> list[Row]:
        """The tokens before the prompt in every example, as rows; the same rows for every subset of the examples."""
        return [Row(list(ids), len(ids), [], 0, n, len(ids) - 1, 0, len(ids)) for n, ids in enumerate(self.prefixes) if ids]

    def prefix_owner(self, row: Row) -> int:
        """The prompt or the example whose rows share their prefix with this one."""
        return row.prompt if self.prompt_first else row.example

    def count_tokens(self, rows: list[Row], decode: bool = True) -> int:
        """Logical LM tokens of rows: all but the special tokens around each, and the maximal length of decoded answers.

        Args:
            rows: the rows.
            decode: whether answers of `match="number"` are decoded.
        """
        around = len(self._start) + len(self._lm.suffix_ids)
        return sum(row.length - around + self.decoded_tokens * decode for row in rows)

    def checked(self, row: Row) -> Row:
        """The row itself, if the model can read it."""
        longest = max(row.embedded, row.predict_from + 1 + len(row.answer) if row.decoded else 0)
        if longest > self._lm.max_length:
            start = self._examples[row.example].input[:40]
            raise ContextExceeded(
                f"task {self._task.name}, example {row.example + 1} ({start!r}...): {longest} tokens with its prompt, "
                f"but the context of {self._lm.name} is {self._lm.max_length}; shorten the input or the prompt"
            )
        if not row.ids:
            raise TaskError(
                f"task {self._task.name}, example {row.example + 1}: no text precedes the answer, "
                f"and {self._lm.name} has no beginning-of-sequence token; put text into the template"
            )
        return row

    @cached_property
    def _without_prompt(self) -> list[Row]:
        """In a chat, the rows of the empty prompt, whose turn is rendered in another way."""
        return self.build_text("")

    def _answer_position(self, ids: list[int]) -> int:
        if isinstance(self._lm, EncoderDecoderLM):
            return len(self._lm.start_ids) - 1
        if not self._lm.masked:
            return len(ids) - 1
        masks = [position for position, token in enumerate(ids) if token == self._lm.mask_id]
        return masks[0 if self._mask_first else -1]  # other mask tokens belong to the prompt

    def _refuse_special_tokens(self) -> None:
        for number, example in enumerate(self._examples, 1):
            if token := marker_in(self._lm, self.template, example.input):
                raise TaskError(
                    f"task {self._task.name}, example {number} ({example.input[:40]!r}...): its input contains {token!r}, "
                    f"which {self._lm.name} reads as a special token and not as text; write it in another way"
                )
        if self._lm.masked and self._lm.tokenizer.mask_token in self.template.text:
            token = self._lm.tokenizer.mask_token
            raise TaskError(f"task {self._task.name}: write {{mask}} for {token} in the template {self.template.text!r}")


def _common(ids: Sequence[int], others: Sequence[int]) -> int:
    """The number of tokens at the beginning that are the same."""
    different = (n for n, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other)
    return next(different, min(len(ids), len(others)))
