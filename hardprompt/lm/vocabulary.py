"""The tokens that a hard prompt may use.

The default, `words`, contains whole words of Unicode letters, with a leading blank if the tokenizer marks blanks. Such tokens
survive decoding and encoding in every context, so that a prompt of them is the same as token ids and as text.
"""

from pathlib import Path

import torch
from torch import Tensor

from hardprompt.data.rows import read_lines
from hardprompt.errors import RequestError, UnknownName
from hardprompt.lm.frozen import FrozenLM

VOCABULARIES = ("words", "ascii", "all")
_BLANK_MARKS = ("Ġ", "▁")  # byte-level BPE and sentencepiece


def allowed_vocabulary(lm: FrozenLM, which: str = "words") -> Tensor:
    """Token ids that a hard prompt may use, ascending, shape (A,).

    Args:
        lm: the model.
        which: "words" (letters only, with a leading blank, unchanged by decoding and encoding), "ascii" (printable ASCII),
            "all" (all but special tokens), or the path of a UTF-8 file with one word per line, each a single token.

    Raises:
        UnknownName: `which` is neither a name nor a file.
        RequestError: a line of the file is not UTF-8 or not a single token, or no token is left.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> lm.decode(allowed_vocabulary(lm)[:1].tolist()).isalpha()
        True
    """
    special = set(lm.tokenizer.all_special_ids)
    ids = [i for i in range(lm.vocab_embeds.shape[0]) if i not in special]
    if which == "words":
        ids = _words(lm, ids)
    elif which == "ascii":
        texts = (lm.decode([i]) for i in ids)
        ids = [i for i, text in zip(ids, texts, strict=True) if text and text.isascii() and text.isprintable()]
    elif which != "all":
        ids = _from_file(lm, which)
    if not ids:
        raise RequestError(f"no token of {lm.name} is in the vocabulary {which!r}; use one of {', '.join(VOCABULARIES)}")
    return torch.tensor(ids, device=lm.device)


def _words(lm: FrozenLM, ids: list[int]) -> list[int]:
    pieces = lm.tokenizer.convert_ids_to_tokens(ids)
    if any(piece.startswith(_BLANK_MARKS) for piece in pieces):
        ids = [i for i, piece in zip(ids, pieces, strict=True) if piece.startswith(_BLANK_MARKS)]
    texts = [lm.decode([i]).strip() for i in ids]
    again = lm.encode_after([" " + text for text in texts])
    return [i for i, text, back in zip(ids, texts, again, strict=True) if text.isalpha() and back == [i]]


def _from_file(lm: FrozenLM, path: str) -> list[int]:
    if not Path(path).is_file():
        raise UnknownName("vocabulary", path, VOCABULARIES, " (or the path of a file with one word per line)")
    numbered = [(number, line.strip()) for number, line in read_lines(Path(path)) if line.strip()]
    encoded = lm.encode_after([" " + word for _, word in numbered])
    for (number, word), ids in zip(numbered, encoded, strict=True):
        if len(ids) != 1:
            raise RequestError(f"{path}:{number}: {word!r} is {len(ids)} tokens of {lm.name}, expected one")
    return sorted({ids[0] for ids in encoded})
