"""Foreign text as what a widget may show: plain characters, never markup, never a control.

Apart from `text`, which every command line answer loads, because this loads Textual.
"""

from __future__ import annotations

from textual.content import Content

from tui.text import plain


def shown(text: str, width: int | None = None, style: str = "") -> Content:
    """Return foreign text for a widget, cut to `width` characters.

    >>> shown("\\x1b[31m[bold]Heat[/bold]\\u202e").plain
    '[bold]Heat[/bold]'
    """
    cleaned = plain(text, width)
    return Content.styled(cleaned, style) if style else Content(cleaned)


def filling(text: str, cells: int, *, pad: bool = True) -> Content:
    """Return foreign text for so many cells of a row: cut with '…', and padded if wanted.

    >>> filling("漢字 [b]Heat[/b]", 9).plain, filling("Heat", 6).plain
    ('漢字 [b]…', 'Heat  ')
    """
    # A list of many titles is made between two frames: what a row cannot show is not read.
    return shown(text[: 16 * cells], 2 * cells).truncate(cells, ellipsis=True, pad=pad)
