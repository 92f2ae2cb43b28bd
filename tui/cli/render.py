"""Results on stdout: tables on a terminal, aligned text in a pipe, JSON when asked for.

Everything shown passes `tui.text.plain`; nothing is read as markup.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tui.text import plain

Cell = str | int | float | None
"""None shows as an empty cell, a float with three decimals, an int with thousands separated."""

_WIDEST = 160  # a cell in a pipe: a title of 5,000 characters must not make every row as long

# What JSON allows raw inside a string and a terminal acts on: C1 controls, marks that change
# the direction of reading, characters of no width, separators of lines.
_ACTIVE = re.compile(
    r"[\x7f-\x9f\xad\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Column:
    """The heading of a column, and whether its cells are numbers."""

    heading: str
    right: bool = False


def columns(*headings: str) -> list[Column]:
    """Return columns; a heading that begins with '>' is aligned to the right.

    >>> columns("title", ">score")[1]
    Column(heading='score', right=True)
    """
    return [Column(text.removeprefix(">"), text.startswith(">")) for text in headings]


def show_table(heads: Sequence[Column], rows: Sequence[Sequence[Cell]], *, title: str = "") -> None:
    """Print a table to stdout, in the form that suits who reads it."""
    cells = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_rich(heads, cells, plain(title))
    else:
        if title:
            print(plain(title))
        print(aligned(heads, cells))


def aligned(heads: Sequence[Column], cells: Sequence[Sequence[str]]) -> str:
    """Return a table as plain lines, columns two spaces apart.

    >>> print(aligned(columns("item", ">score"), [["Pen", "0.5"], ["Paper", "0.25"]]))
    item   score
    Pen      0.5
    Paper   0.25
    """
    # Imported here: only a table needs to know how wide a character is.
    from rich.cells import cell_len

    lines = [[head.heading for head in heads], *[[plain(c, _WIDEST) for c in row] for row in cells]]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(heads))]
    shown = []
    for line in lines:
        padded = []
        for head, text, width in zip(heads, line, widths, strict=True):
            gap = " " * (width - cell_len(text))
            padded.append(gap + text if head.right else text + gap)
        shown.append("  ".join(padded).rstrip())
    return "\n".join(shown)


def show_json(value: object) -> None:
    """Print one JSON document to stdout; control characters stay escaped."""
    # Imported here: most commands print no JSON.
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    text = orjson.dumps(value, option=options, default=str).decode()
    print(_ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def say(text: str = "") -> None:
    """Print one line of a result to stdout."""
    print(plain(text))


def note(text: str) -> None:
    """Print one line about the work, not of it, to stderr."""
    print(plain(text), file=sys.stderr)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3f}" if isinstance(cell, float) else plain(cell)


def _show_rich(heads: Sequence[Column], cells: Sequence[Sequence[str]], title: str) -> None:
    # Imported here: in a pipe Rich draws nothing, and `recsys --help` must not pay for it.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, box=SIMPLE_HEAD, title_justify="left")
    for head in heads:
        table.add_column(Text(head.heading), justify="right" if head.right else "left")
    for row in cells:
        table.add_row(*[Text(text) for text in row])
    Console(markup=False, emoji=False, highlight=False).print(table)
