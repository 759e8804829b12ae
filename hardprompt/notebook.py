"""Tables in HTML for notebooks, where a class shows what its method `_repr_html_` returns.

Prompts are untrusted text. Every text is escaped, and characters that are not printable are written as their code points.
"""

import html
from collections.abc import Iterable, Sequence

from hardprompt.escaping import printable

LEFT = ' style="text-align:left"'
"""Notebooks align the cells of a table to the right by default."""

NONE = "\N{EN DASH}"
"""The text of a cell without a value."""


def html_text(text: str) -> str:
    r"""A text in HTML, with its line breaks.

    >>> html_text("<b>\n'a'\x00")
    '&lt;b&gt;<br>&#x27;a&#x27;⟨U+0000⟩'
    """
    return "<br>".join(html.escape(printable(line)) for line in text.split("\n"))


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str | float | None]], title: str = "", below: str = "") -> str:
    """A table in HTML; numbers have three digits after the point.

    Args:
        headings: the headings of the columns.
        rows: the values by row; None is a cell without a value.
        title: the text above.
        below: the text below.

    Example:
        >>> html_table(["token", "nats"], [["<b>", 1.5]])
        '<table><tr><th style="text-align:left">token</th>...>&lt;b&gt;</td><td style="text-align:left">1.500</td></tr></table>'
    """
    lines = [f"<th{LEFT}>{html_text(heading)}</th>" for heading in headings], *([_cell(value) for value in row] for row in rows)
    body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    above = f"<p><b>{html_text(title)}</b></p>" if title else ""
    return f"{above}<table>{body}</table>{f'<p>{html_text(below)}</p>' if below else ''}"


def _cell(value: str | float | None) -> str:
    shown = NONE if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"<td{LEFT}>{html_text(shown)}</td>"
