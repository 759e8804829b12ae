"""Text from elsewhere, made fit to be shown: prompts, names and errors are hostile until then."""

from typing import Any


def printable(value: Any) -> Any:
    """Text with every sign that cannot be printed (line breaks, controls, changes of direction) as its number.

    >>> printable("a\\x1b[31m\\u202e")
    'a⟨U+001B⟩[31m⟨U+202E⟩'
    """
    if type(value) is not str:  # numbers, and what a macro has made safe already
        return value
    return "".join(sign if sign.isprintable() else f"⟨U+{ord(sign):04X}⟩" for sign in value)
