"""The two things an optimizer can find: a hard prompt (token ids and their text) and a soft prompt (free embeddings)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hardprompt.data.task import Template
from hardprompt.errors import RequestError
from hardprompt.lm.frozen import FrozenLM


@dataclass(frozen=True)
class HardPrompt:
    """Token ids, and the exact text that people deploy (a leading blank included where the first token carries one)."""

    ids: tuple[int, ...]
    text: str

    @classmethod
    def from_ids(cls, lm: FrozenLM, ids: Sequence[int]) -> "HardPrompt":
        """The prompt of these ids.

        Example:
            >>> from hardprompt.lm import load_lm
            >>> lm = load_lm("microworld")
            >>> HardPrompt.from_ids(lm, lm.encode("give the plural")).text
            'give the plural'
        """
        return cls(tuple(int(i) for i in ids), lm.decode(ids))

    @classmethod
    def from_text(cls, lm: FrozenLM, text: str) -> "HardPrompt":
        """The prompt of this text, tokenized as it stands inside a template: after a blank."""
        return cls(tuple(lm.encode_after([" " + text.strip()])[0]) if text.strip() else (), text)

    @classmethod
    def in_place(cls, lm: FrozenLM, template: Template, text: str) -> "HardPrompt":
        """The prompt of this text, tokenized as it stands in this template, blanks and all; no text is the empty prompt.

        Example:
            >>> from hardprompt import Template, load_lm
            >>> HardPrompt.in_place(load_lm("microworld"), Template("{input} {prompt}"), "").ids
            ()
        """
        if not text:
            return cls((), text)
        begins = not template.around("x")[0]
        after = text if text[0].isspace() else " " + text
        return cls(tuple(lm.encode(text) if begins else lm.encode_after([after])[0]), text)


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """L free vectors in the embedding space of one model, shape (L, d). No text: its projection is another prompt."""

    embeds: Tensor


AFTER_INPUT = Template("{input} {prompt}")
"""Where a text stands that is given without a task."""


def as_prompt(
    lm: FrozenLM, prompt: "str | Sequence[int] | HardPrompt | SoftPrompt", template: Template = AFTER_INPUT
) -> HardPrompt | SoftPrompt:
    """A prompt given as a text, as token ids or as what an optimizer found, checked against the model.

    Args:
        lm: the model that is to read it.
        prompt: a text is tokenized as it stands in the template; ids are taken as they are.
        template: where a text stands.

    Raises:
        RequestError: ids out of the model's vocabulary, or vectors that are not finite or of another width than its embeddings.

    Example:
        >>> from hardprompt.lm import load_lm
        >>> as_prompt(load_lm("microworld"), "give the plural") == as_prompt(load_lm("microworld"), "give the plural")
        True
    """
    size, width = lm.vocab_embeds.shape
    if isinstance(prompt, SoftPrompt):
        shape = tuple(prompt.embeds.shape)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != width:
            raise RequestError(f"a soft prompt of shape {shape} does not fit {lm.name}, whose embeddings are {width} wide")
        if not prompt.embeds.isfinite().all():
            raise RequestError("a soft prompt holds a number that is not finite")
        return SoftPrompt(prompt.embeds.to(lm.device))
    if isinstance(prompt, str):
        return HardPrompt.in_place(lm, template, prompt)
    for token in prompt.ids if isinstance(prompt, HardPrompt) else prompt:
        if not 0 <= token < size:
            raise RequestError(f"token id {token} is not in the vocabulary of {lm.name}; use 0 to {size - 1}")
    return prompt if isinstance(prompt, HardPrompt) else HardPrompt.from_ids(lm, prompt)
