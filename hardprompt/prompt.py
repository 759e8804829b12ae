"""The two things an optimizer can find: a hard prompt (token ids and their text) and a soft prompt (free embeddings)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

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


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """L free vectors in the embedding space of one model, shape (L, d). No text: its projection is another prompt."""

    embeds: Tensor
