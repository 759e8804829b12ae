"""Prompts, names and errors are hostile text: what cannot be printed is shown as its number, wherever it is shown."""


def printable(text: str) -> str:
    r"""The text with every sign that cannot be printed (line breaks, controls, changes of direction) as its number.

    >>> printable("a\x1b[31m")
    'a⟨U+001B⟩[31m'
    """
    return "".join(sign if sign.isprintable() else f"⟨U+{ord(sign):04X}⟩" for sign in text)
