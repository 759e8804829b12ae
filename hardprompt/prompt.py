"""The two kinds of prompts: hard prompts (token ids and their text) and soft prompts (free vectors)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hardprompt.data.languages import has_no_blanks
from hardprompt.data.task import Template
from hardprompt.errors import RequestError
from hardprompt.lm.chat import marker_in
from hardprompt.lm.frozen import FrozenLM

AFTER_INPUT = Template("{input} {prompt}")
"""The default template of a prompt that is given without a task."""


@dataclass(frozen=True)
class HardPrompt:
    """Token ids and their text.

    Attributes:
        ids: the token ids.
        text: the text that is deployed, with a leading blank if the first token has one.
    """

    ids: tuple[int, ...]
    text: str

    @classmethod
    def from_ids(cls, lm: FrozenLM, ids: Sequence[int], template: Template = AFTER_INPUT) -> "HardPrompt":
        """The prompt of these ids, with the text that stands in a template.

        Example:
            >>> from hardprompt.lm import load_lm
            >>> lm = load_lm("microworld")
            >>> HardPrompt.from_ids(lm, lm.encode("give the plural")).text
            'give the plural'
        """
        text = lm.decode(ids)
        if text and not (template.prompt_first or template.blank_before(text)):
            [piece] = lm.tokenizer.convert_ids_to_tokens([int(ids[0])])
            if piece.startswith("▁") and not text.startswith(" "):  # sentencepiece drops the first blank of a text
                text = " " + text
        return cls(tuple(int(i) for i in ids), text)

    @classmethod
    def from_text(cls, lm: FrozenLM, text: str, template: Template = AFTER_INPUT) -> "HardPrompt":
        """The prompt of this text, tokenized as the continuation of another text, after a blank if the template has one.

        A prompt that comes first is also tokenized with a blank, except in a script without blanks. In a chat, it is tokenized
        as it stands in its turn (`in_place`).

        Example:
            >>> from hardprompt.lm import load_lm
            >>> len(HardPrompt.from_text(load_lm("microworld"), "give the plural").ids)
            3
        """
        word = text.strip()
        if not word:
            return cls((), text)
        if template.chat:
            return cls.in_place(lm, template, text)
        led = not has_no_blanks(word[0]) if template.prompt_first else template.blank_before(word)
        return cls(tuple(lm.encode_after([" " + word])[0]), text) if led else cls.in_place(lm, template, text)

    @classmethod
    def in_place(cls, lm: FrozenLM, template: Template, text: str) -> "HardPrompt":
        """The prompt of this text, tokenized as in a template, including its blanks. An empty text gives the empty prompt.

        Raises:
            RequestError: in a chat, the text contains a special token of the model or a marker of turns.

        Example:
            >>> from hardprompt import Template, load_lm
            >>> HardPrompt.in_place(load_lm("microworld"), Template("{input} {prompt}"), "").ids
            ()
        """
        if not text:
            return cls((), text)
        if template.prompt_first:
            return cls(tuple(lm.encode(text)), text)
        if marker := turn_marker_in(lm, template, text):
            raise RequestError(
                f"the prompt {text!r:.60} contains {marker!r}, which marks the turns of a chat with {lm.name}; leave it out"
            )
        if not template.chat and (template.prompt_blank or template.blank_before(text)):
            return cls(tuple(lm.encode_after([template.blank_before(text) + text])[0]), text)
        context = template.around("x")[0]
        before, whole = lm.encode_many([context, context + template.blank_before(text) + text])
        follows = whole[: len(before)] == before
        return cls(tuple(whole[len(before) :] if follows else lm.encode_after([template.blank_before(text) + text])[0]), text)


def turn_marker_in(lm: FrozenLM, template: Template, text: str) -> str | None:
    """What keeps a text from standing in a chat: the first special token or marker of turns in it. None outside of a chat."""
    return marker_in(lm, template, text) if template.chat else None


@dataclass(frozen=True, eq=False, repr=False)
class SoftPrompt:
    """Free vectors in the embedding space of one model. They have no text; their projection is another prompt.

    Attributes:
        embeds: the vectors, (L, d).
    """

    embeds: Tensor

    def __repr__(self) -> str:
        return f"SoftPrompt(shape={tuple(self.embeds.shape)})"


def as_prompt(
    lm: FrozenLM, prompt: "str | Sequence[int] | HardPrompt | SoftPrompt", template: Template = AFTER_INPUT
) -> HardPrompt | SoftPrompt:
    """Convert a text or token ids to a prompt, and check that a prompt fits the model.

    Args:
        lm: the model that reads the prompt.
        prompt: a text, which is tokenized as in the template; token ids; or a prompt.
        template: the template.

    Raises:
        RequestError: a token id is not in the vocabulary of the model, or vectors are not finite or do not have the width of
            its embeddings.

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
            raise RequestError("a soft prompt has a value that is not finite")
        return SoftPrompt(prompt.embeds.to(lm.device))
    if isinstance(prompt, str):
        return HardPrompt.in_place(lm, template, prompt)
    for token in prompt.ids if isinstance(prompt, HardPrompt) else prompt:
        if not 0 <= token < size or lm.tokenizer.convert_ids_to_tokens(int(token)) is None:
            raise RequestError(f"token id {token} is not in the vocabulary of {lm.name}; use 0 to {size - 1}")
    return prompt if isinstance(prompt, HardPrompt) else HardPrompt.from_ids(lm, prompt, template)
