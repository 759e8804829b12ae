"""The tokens that a hard prompt may use.

The default, `words`, contains whole words, with a leading blank if the tokenizer marks blanks. Such tokens survive decoding and
encoding in every context, so that a prompt of them is the same as token ids and as text.

In a script without blanks between words (Chinese, Japanese, Thai, ...), a word is a token of letters without a blank. `words`
contains them if the task is written in such a script and its template has no blank before `{prompt}`. Where two words in a row
would be read as other tokens, the one with the lower id is kept.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hardprompt.data.languages import has_no_blanks, is_word, share_without_blanks
from hardprompt.data.rows import read_lines
from hardprompt.data.task import Task
from hardprompt.errors import RequestError, UnknownName
from hardprompt.lm.chat import template_of
from hardprompt.lm.frozen import FrozenLM

VOCABULARIES = ("words", "ascii", "all")
BLANK_MARKS = ("Ġ", "▁")  # byte-level BPE and sentencepiece

_MAX_PAIRS, _MIN_FOLLOWERS = 200_000, 8
"""How many pairs of words without blanks are tested for whether they merge into other tokens. If there are more pairs than the
first number, a sample of this size is tested. Each word is in at least as many tested pairs as the second number says."""


def allowed_vocabulary(lm: FrozenLM, which: str = "words", task: Task | None = None) -> Tensor:
    """Token ids that a hard prompt may use, ascending, shape (A,).

    Args:
        lm: the model.
        which: "words" (whole words, unchanged by decoding and encoding), "ascii" (printable ASCII), "all" (all but special
            tokens), or the path of a UTF-8 file with one word per line, each a single token. A word may be written with its
            leading blank, or as the tokenizer prints it ("Ġgood").
        task: the task, whose template decides whether a blank stands before a word; by default it does.

    Raises:
        UnknownName: `which` is neither a name nor a file.
        RequestError: a line of the file is not UTF-8 or not a single token, or no token is left.

    Example:
        >>> from hardprompt import load_lm
        >>> lm = load_lm("microworld")
        >>> lm.decode(allowed_vocabulary(lm)[:1].tolist()).isalpha()
        True
    """
    template = None if task is None else template_of(lm, task)
    markers = lm.tokenizer.convert_tokens_to_ids(list(template.markers)) if template else []
    special = {*lm.tokenizer.all_special_ids, *markers}
    ids = [i for i in lm.token_ids if i not in special]
    glued = template is not None and not template.prompt_blank
    if which == "words":
        led = _words_after_blanks(lm, ids)
        without = task and template and glued and _has_no_blanks(task)
        ids = _with_words_without_blanks(lm, ids, led, template.prompt_first) if template and without else led
    elif which == "ascii":
        texts = (lm.decode([i]) for i in ids)
        ids = [i for i, text in zip(ids, texts, strict=True) if text and text.isascii() and text.isprintable()]
    elif which != "all":
        ids = _from_file(lm, which, glued)
    if not ids:
        hint = "" if glued or which != "words" else "; in a language without blanks, leave out the blank before {prompt}"
        raise RequestError(f"no token of {lm.name} is in the vocabulary {which!r}; use one of {', '.join(VOCABULARIES)}{hint}")
    return torch.tensor(ids, device=lm.device)


def as_printed(lm: FrozenLM, word: str) -> str | None:
    """The text of a token that is written as its tokenizer prints it, such as " good" for "Ġgood"; None for other texts.

    Example:
        >>> from hardprompt import load_lm
        >>> as_printed(load_lm("microworld"), "▁good"), as_printed(load_lm("microworld"), "good")
        (' good', None)
    """
    if word.startswith(BLANK_MARKS):
        return " " + word[1:]
    token = lm.tokenizer.get_vocab().get(word)
    text = "" if token is None else lm.decode([token])
    return text if text.strip() and text != word and "\ufffd" not in text else None


def _words_after_blanks(lm: FrozenLM, ids: list[int]) -> list[int]:
    pieces = lm.tokenizer.convert_ids_to_tokens(ids)
    if any(piece.startswith(BLANK_MARKS) for piece in pieces):
        ids = [i for i, piece in zip(ids, pieces, strict=True) if piece.startswith(BLANK_MARKS)]
    texts = [lm.decode([i]).strip() for i in ids]
    again = lm.encode_after([" " + text for text in texts])
    return [i for i, text, back in zip(ids, texts, again, strict=True) if is_word(text) and back == [i]]


def same_vocabulary(one: FrozenLM, other: FrozenLM) -> bool:
    """Whether two models have the same vocabulary, so that the ids of a prompt need no conversion."""
    return one is other or one.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def _has_no_blanks(task: Task) -> bool:
    """Whether a task is written, in part at least, in a script without blanks."""
    written = [*task.reference_prompts, *task.label_words.values(), *(each.answer for each in task.train[:100])]
    return share_without_blanks(written) > 0 or share_without_blanks(each.input for each in task.train[:100]) > 0.5


def _with_words_without_blanks(lm: FrozenLM, ids: list[int], led: list[int], first: bool) -> list[int]:
    """The words of scripts without blanks, and those of other scripts from `led`, the words after a blank.

    If the prompt comes first and the tokenizer puts a blank before every text, as sentencepiece does, they are `led`.
    """
    texts = {i: lm.decode([i]) for i in ids}
    pieces = [text for text in texts.values() if len(text) > 1 and any(map(has_no_blanks, text))]
    words = [i for i in ids if has_no_blanks(texts[i])]
    for read in (lm.encode_after, lm.encode_many) if first else (lm.encode_after,):
        words = [i for i, back in zip(words, read([texts[i] for i in words]), strict=True) if back == [i]]
    if not words:
        return led
    led = [i for i in led if not has_no_blanks(texts[i].strip())]
    words = sorted({*words} - {*led})
    kept = _separable([texts[i] for i in (*led, *words)], pieces)
    words = [words[n - len(led)] for n in kept if n >= len(led)]
    return sorted((*led, *_read_as_written(lm, words, texts)))


def _read_as_written(lm: FrozenLM, words: list[int], texts: Mapping[int, str]) -> list[int]:
    """The words of which no tested pair in a row is read as other tokens, such as tokens of bytes of two letters."""
    conflicts: dict[int, set[int]] = defaultdict(set)
    for distance in range(min(len(words), max(_MIN_FOLLOWERS, _MAX_PAIRS // max(1, len(words))))):
        pairs = list(zip(words, words[distance:] + words[:distance], strict=True))
        for (a, b), back in zip(pairs, lm.encode_after([texts[a] + texts[b] for a, b in pairs]), strict=True):
            if back != [a, b]:
                conflicts[a].add(b)
                conflicts[b].add(a)
    kept: set[int] = set()
    for word in words:
        if word not in conflicts[word] and not conflicts[word] & kept:
            kept.add(word)
    return sorted(kept)


def _separable(words: Sequence[str], pieces: Sequence[str]) -> list[int]:
    """The positions of words of which no two in a row contain a piece that begins in one and ends in the other.

    A word is left out if it makes such a piece with itself or with a word before it in the list.
    """
    ends_after: dict[str, set[str]] = defaultdict(set)
    begins_before: dict[str, set[str]] = defaultdict(set)
    for piece in pieces:
        for cut in range(1, len(piece)):
            ends_after[piece[:cut]].add(piece[cut:])
            begins_before[piece[cut:]].add(piece[:cut])
    starts: set[str] = set()
    ends: set[str] = set()
    kept = []
    for number, word in enumerate(words):
        own_starts = {word[:cut] for cut in range(1, len(word) + 1)}
        own_ends = {word[-cut:] for cut in range(1, len(word) + 1)}
        crosses = any(ends_after[end] & (starts | own_starts) for end in own_ends if end in ends_after) or any(
            begins_before[start] & ends for start in own_starts if start in begins_before
        )
        if not crosses:
            starts |= own_starts
            ends |= own_ends
            kept.append(number)
    return kept


def _from_file(lm: FrozenLM, path: str, glued: bool) -> list[int]:
    if not Path(path).is_file():
        raise UnknownName("vocabulary", path, VOCABULARIES, " (or the path of a file with one word per line)")
    found: set[int] = set()
    for number, line in read_lines(Path(path)):
        if not line.strip():
            continue
        forms = _forms(lm, line.rstrip("\r\n"), glued)
        encoded = lm.encode_after(forms)
        single = next((ids[0] for ids in encoded if len(ids) == 1), None)
        if single is None:
            word = line.strip()
            alone = lm.encode_after([word])[0]
            hint = "; without a blank it is one: leave out the blank before {prompt} in the template" if len(alone) == 1 else ""
            raise RequestError(f"{path}:{number}: {word!r} is {len(encoded[0])} tokens of {lm.name}, expected one{hint}")
        found.add(single)
    return sorted(found)


def _forms(lm: FrozenLM, line: str, glued: bool) -> list[str]:
    """The texts that a line may mean, the most likely one first."""
    word = line.strip()
    led = " " + word
    plain = [led] if not glued or line.startswith(" ") else [word, led] if has_no_blanks(word) else [led, word]
    printed = as_printed(lm, word)
    return [*plain, *([] if printed is None else [printed if glued else " " + printed.strip()])]
