"""Markdown that says what was meant: names stay names, tables stay tables."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from distill.importance.statistics.ratios import Estimate

_ACTIVE = re.compile(r"[\\`*_|~$]|\](?=[(\[])|^(?=[#>+-])|(?<=!)(?=\[)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def one_line(text: str) -> str:
    r"""Return text without line breaks, control characters and marks that change direction.

    >>> one_line("Books\n# Toys\u202e")
    'Books # Toys'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def escaped(text: str) -> str:
    r"""Return text that Markdown shows as it is, also inside a cell of a table.

    >>> print(escaped("a|b <i> `c` [x](y) _d_ 1 & 2"))
    a\|b &lt;i&gt; \`c\` [x\](y) \_d\_ 1 &amp; 2
    """
    line = _ACTIVE.sub(lambda found: "\\" + found[0], one_line(text))
    return re.sub("[&<>]", lambda found: _ENTITIES[found[0]], line)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already, a heading that begins with '>' is of numbers.

    Raises:
        ValueError: a row has not as many cells as there are headings.

    >>> print(table(["item", ">score"], [["Pen", "0.5"]]))
    | item | score |
    |---|---:|
    | Pen | 0.5 |
    """
    if any(len(row) != len(heads) for row in rows):
        raise ValueError(f"a row has not {len(heads)} cells")
    lines = [
        [head.removeprefix(">") for head in heads],
        *rows,
    ]
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    rule = "|" + "|".join("---:" if head.startswith(">") else "---" for head in heads) + "|"
    return "\n".join([shown[0], rule, *shown[1:]])


def code(text: str, language: str = "") -> str:
    """Return a block of code, whose fence is longer than any run of backticks inside.

    >>> print(code("recsys importance", "bash"))
    ```bash
    recsys importance
    ```
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many decimals, or three digits where it is large.

    >>> number(1.234), number(123456.0), number(-0.001)
    ('1.23', '1.23e+05', '0.00')
    """
    if abs(value) >= 1000:
        return f"{value:.3g}"
    shown = f"{value:.{digits}f}"
    return shown.lstrip("-") if not float(shown) else shown


def figure(one: Estimate | None, digits: int = 2) -> str:
    """Return a figure with its interval, or the reason why there is none.

    >>> figure(Estimate(0.5, 0.4, 0.6)), figure(Estimate(0.5, reason="one profile")), figure(None)
    ('0.50 [0.40, 0.60]', '0.50', 'not measured')
    >>> figure(Estimate.none("a constant profile has no order"))
    'none: a constant profile has no order'
    """
    if one is None:
        return "not measured"
    if not one.defined:
        return f"none: {escaped(one.reason)}"
    if math.isnan(one.low):
        return number(one.value, digits)
    low, high = number(one.low, digits), number(one.high, digits)
    return f"{number(one.value, digits)} [{low}, {high}]"
