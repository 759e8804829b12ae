"""The kind of a token near a soft vector: the four categories of Bakalova (2024), each defined by a rule.

The study sorted the tokens by eye into inflections of the initial word, letters of rare alphabets, unreadable byte strings and
odd web tokens. The rules, in this order:

- `inflection`: without blanks and in lower case, the token is the initial word, or one of the two is the other with an ending
  of `ENDINGS`.
- `bytes`: the token is not a text by itself: it decodes to U+FFFD, contains a character that cannot be printed, or is a byte
  piece such as <0xE2> or a special token.
- `rare alphabet`: it contains a letter outside the Latin alphabet.
- `web`: it contains letters together with digits, or with one of `_ / \\ @ # < > = { } |`, or a small letter followed by a
  capital, or `http`, `www`, `.com`; names of files, sites, programs and users look like this.
- `none`: none of these, an ordinary word, a piece of one, a number or punctuation.
"""

import re
import unicodedata

from hardprompt.lm.frozen import FrozenLM

KINDS = ("inflection", "rare alphabet", "bytes", "web", "none")

ENDINGS = tuple("s es ies 's ' d ed ing er ers y ly n en".split())

_WEB = re.compile(r"[a-z][A-Z]|[A-Za-z][0-9]|[0-9][A-Za-z]|https?|www|\.com", re.ASCII)
_WEB_CHARACTERS = re.compile(r"[_/\\@#<>={}|]")
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def token_kind(text: str, piece: str, word: str, special: bool = False) -> str:
    """The kind of a token near a prompt that was initialized with copies of a word.

    Args:
        text: the token decoded, with its blank.
        piece: the token as the vocabulary writes it.
        word: the initial word.
        special: whether it is one of the tokenizer's special tokens.

    Returns:
        One of `KINDS`.

    Example:
        >>> [token_kind(text, text, "book") for text in (" Books", "\\ufffd", "д", "StreamerBot", " pen")]
        ['inflection', 'bytes', 'rare alphabet', 'web', 'none']
    """
    stripped = text.strip()
    if _inflected(stripped.lower(), word.lower()):
        return "inflection"
    unreadable = not text or "\ufffd" in text or not text.replace("\n", "").replace("\t", "").isprintable()
    if special or _BYTE_PIECE.fullmatch(piece) or unreadable:
        return "bytes"
    if any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in stripped):
        return "rare alphabet"
    if _WEB.search(stripped) or (_WEB_CHARACTERS.search(stripped) and any(letter.isalnum() for letter in stripped)):
        return "web"
    return "none"


def vocabulary_kinds(lm: FrozenLM, word: str = "") -> list[str]:
    """The kind of every token of a model, for one initial word; without a word none is an inflection."""
    size = lm.vocab_embeds.shape[0]
    special = set(lm.tokenizer.all_special_ids)
    pieces = [str(piece) for piece in lm.tokenizer.convert_ids_to_tokens(list(range(size)))]
    return [token_kind(lm.decode([i]), pieces[i], word, i in special) for i in range(size)]


def _inflected(one: str, other: str) -> bool:
    if not one or not other:
        return False
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return longer == shorter or (len(shorter) > 2 and any(longer == shorter + ending for ending in ENDINGS))
