"""Words and letters of any language: what a word is, which scripts put no blanks between words, and which texts are the same.

Two texts can look the same and differ in their code points: "é" is one character in composed form (NFC) and two in decomposed
form (NFD). Upper and lower case follow rules of the language: "ß" and "SS" in German, "ς" and "Σ" in Greek, "ı" and "I" in
Turkish.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable

_JOINERS = "\u200c\u200d"  # within words of Persian and of Indian languages
_WITHOUT_BLANKS = (
    *("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "BOPOMOFO", "YI"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE", "TAI", "NEW TAI LUE"),
)
"""First words of the Unicode names of letters in scripts that put no blank between words."""


def is_word(text: str) -> bool:
    """Whether a text is one word: letters with their combining marks, beginning with a letter.

    Vowel signs of Hindi and Thai and the points of Hebrew are combining marks, for which `str.isalpha` is false.

    Example:
        >>> is_word("हिन्दी"), is_word("好看"), is_word("it's"), is_word("\u0301a")
        (True, True, False, False)
    """
    return text[:1].isalpha() and all(unicodedata.category(sign)[0] in "LM" or sign in _JOINERS for sign in text)


def has_no_blanks(text: str) -> bool:
    """Whether a text is a word in a script that puts no blank between words, such as Chinese, Japanese or Thai.

    Example:
        >>> has_no_blanks("好看"), has_no_blanks("ดี"), has_no_blanks("good"), has_no_blanks("좋아")
        (True, True, False, False)
    """
    letters = [sign for sign in text if sign.isalpha()]
    return is_word(text) and all(unicodedata.name(sign, "").startswith(_WITHOUT_BLANKS) for sign in letters)


def share_without_blanks(texts: Iterable[str]) -> float:
    """The share of letters in scripts that put no blank between words; 0 if there are no letters.

    Example:
        >>> share_without_blanks(["好 ok"])
        0.3333333333333333
    """
    found = [has_no_blanks(sign) for text in texts for sign in text if sign.isalpha()]
    return sum(found) / len(found) if found else 0.0


def composed(text: str) -> str:
    """The text in composed form (NFC).

    Example:
        >>> len("e\u0301"), len(composed("e\u0301"))
        (2, 1)
    """
    return unicodedata.normalize("NFC", text)


def caseless(text: str) -> str:
    """A form that is the same for texts which differ in upper and lower case only, or in composed and decomposed form.

    Example:
        >>> caseless("STRASSE") == caseless("Straße"), caseless("ΣΟΦΟΣ") == caseless("σοφος")
        (True, True)
    """
    return composed(unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold()))


def _dotless(text: str) -> str:
    return composed(caseless(text).replace("i\u0307", "i").replace("\u0131", "i"))


def _number(text: str) -> str:
    whole = re.fullmatch(r"([+-]?[0-9]+)(?:\.0*)?", text)
    return str(int(whole[1])) if whole and len(text) < 100 else text


_FORMS = (str, composed, caseless, _dotless, _number)
"""From the same code points to the same whole number ("1.0" and "1"); "dotless" is the case rule of Turkish."""


def same_text(text: str, known: Iterable[str]) -> str | None:
    """The known text that a text means; None if there is none, or if several are equally close.

    The texts are compared as they are, then in composed form, without regard to upper and lower case, and as whole numbers.

    Example:
        >>> same_text("HAYIR", ["evet", "hayır"]), same_text("1.0", ["0", "1"]), same_text("2", ["0", "1"])
        ('hayır', '1', None)
    """
    known = tuple(known)
    for form in _FORMS:
        same = [each for each in known if form(each) == form(text)]
        if len(same) == 1:
            return same[0]
    return None


def difference(text: str, known: Iterable[str]) -> str:
    """The code points in which a text differs from the most similar known text; "" if none is similar, or both are ASCII.

    Example:
        >>> difference("p\u043esitive", ["negative", "positive"])
        "it differs from 'positive' in U+043E CYRILLIC SMALL LETTER O, expected U+006F LATIN SMALL LETTER O"
    """
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.6)
    if not close or (text.isascii() and close[0].isascii()):
        return ""
    parts = difflib.SequenceMatcher(None, text, close[0], autojunk=False).get_opcodes()
    changed = [(text[a:b], close[0][c:d]) for kind, a, b, c, d in parts if kind != "equal"][:3]
    described = "; ".join(f"{_code_points(got)}, expected {_code_points(wanted)}" for got, wanted in changed)
    return f"it differs from {close[0]!r} in {described}"


def _code_points(text: str) -> str:
    return " ".join(f"U+{ord(sign):04X} {unicodedata.name(sign, 'without a name')}" for sign in text[:4]) or "nothing"
