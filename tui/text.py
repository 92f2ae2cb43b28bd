"""Foreign text made safe to show, at the edge and whatever was cleaned before.

Titles, ids, names of files and answers of models come from outside. Nothing in them may move
the cursor, change a colour, reverse the reading direction or count as markup.
"""

from __future__ import annotations

import re
import unicodedata

# Escape sequences whole, so that '\\x1b[31mred' leaves 'red' and not '[31mred'. A string sequence
# without its end loses only its introducer: what follows is text once that is gone.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
_SPACE = re.compile(r"\s+")
_JOINER = "\u200d"  # holds a family emoji together; harmless
_UNSHOWN = {"Cc", "Cf", "Cs"}


def plain(text: str, width: int | None = None) -> str:
    """Return one line without control characters, cut to `width` characters with '…'.

    >>> plain("\\x1b[31mRed\\x1b[0m [bold]pen[/bold]\\n\\u202eset")
    'Red [bold]pen[/bold] set'
    >>> plain("a very long title", width=8)
    'a very…'
    """
    if width is not None and len(text) > 64 * width:
        text = text[: 64 * width]  # nothing beyond can be seen; scanning it costs time
    kept = (c for c in _ESCAPE.sub("", text) if c == _JOINER or c.isspace() or _shown(c))
    line = _SPACE.sub(" ", "".join(kept)).strip()
    if width is None or len(line) <= width:
        return line
    return line[: width - 1].rstrip() + "…"


def _shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN


def duration(seconds: float) -> str:
    """Return a time span at the precision a person can use.

    >>> [duration(s) for s in (0.0042, 3.27, 75, 4020)]
    ['4.2 ms', '3.3 s', '1 min 15 s', '1 h 07 min']
    """
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
