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
