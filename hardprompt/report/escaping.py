"""The function of `hardprompt.escaping` for the modules of this folder."""

from hardprompt.escaping import printable as printable
