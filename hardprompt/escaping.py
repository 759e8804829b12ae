"""Prompts, names and errors are untrusted text: characters that are not printable are shown as their code points."""


def printable(text: str) -> str:
    r"""The text with the code point of every character that is not printable (line breaks, controls, changes of direction).

    >>> printable("a\x1b[31m")
    'a⟨U+001B⟩[31m'
    """
    return "".join(character if character.isprintable() else f"⟨U+{ord(character):04X}⟩" for character in text)
