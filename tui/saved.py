"""A comparison written down: as Markdown for people, as JSON for programs.

Foreign text stays text: nothing in a title can become a table, a link or a tag.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime

from tui.comparing import ColumnNow, Comparison
from tui.text import duration, plain

LONGEST = 200
"""Characters of a title in Markdown."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&$^=:])")


def escaped(text: str) -> str:
    """Return foreign text as Markdown that shows just that text, on one line.

    >>> escaped("Heat | [1995](x)\\n# two")
    'Heat \\\\| \\\\[1995\\\\]\\\\(x\\\\) \\\\# two'
    """
    return _SPECIAL.sub(r"\\\1", plain(text, LONGEST))


def as_markdown(comparison: Comparison, category: str, at: datetime) -> str:
    """Return everything the screen shows as a page of Markdown."""
    who = "nobody" if comparison.person is None else comparison.person.id
    lines = [f"# {escaped(who)} of {escaped(category)}", "", f"Compared {at:%Y-%m-%d %H:%M}.", ""]
    kind = "made by hand" if comparison.edited is not None else "what they had"
    lines += [f"History, oldest first ({kind}):", ""]
    lines += [f"1. {escaped(item.title or item.id)}" for item in comparison.history] or ["(empty)"]
    true = comparison.held_out
    lines += ["", f"Held out: {escaped(true.title or true.id)}" if true else _not_held(comparison)]
    lines += ["", *_table(comparison), "", *_figures(comparison)]
    for column in comparison.columns:
        notices = () if column.answer is None else column.answer.notices
        lines += [f"- {escaped(column.by)}: {escaped(notice)}" for notice in notices]
    return "\n".join(lines).rstrip() + "\n"


def as_json(comparison: Comparison, category: str, at: datetime) -> str:
    """Return everything the screen shows as JSON; text is kept as it came."""
    person, true = comparison.person, comparison.held_out
    said = {
        "category": category,
        "at": at.isoformat(timespec="seconds"),
        "person": None if person is None else person.id,
        "edited": comparison.edited is not None,
        "history": [{"id": item.id, "title": item.title} for item in comparison.history],
        "held_out": None if true is None else {"id": true.id, "title": true.title},
        "not_held_out_because": "" if person is None or true else person.why,
        "columns": [_column(comparison, one) for one in comparison.columns],
        "figures": [asdict(one) for one in comparison.figures()],
    }
    return json.dumps(said, indent=2, ensure_ascii=True) + "\n"


def _column(comparison: Comparison, column: ColumnNow) -> dict[str, object]:
    return {
        "by": column.by,
        "state": column.state,
        "about": "" if column.opened is None else column.opened.about,
        "answer": None if column.answer is None else asdict(column.answer),
        "refused": None if column.refused is None else column.refused.what,
        "movement": comparison.movement(column.by),
        "hit": comparison.hit(column.by),
    }


def _not_held(comparison: Comparison) -> str:
    why = "" if comparison.person is None else comparison.person.why
    return f"Nothing is held out: {escaped(why or 'the history was made by hand')}"


def _table(comparison: Comparison) -> list[str]:
    columns = comparison.columns
    heads = [escaped(one.by) for one in columns]
    rows = [f"| rank | {' | '.join(heads)} |", f"|---:|{'---|' * len(columns)}"]
    most = max((len(one.items) for one in columns), default=0)
    for place in range(most):
        cells = [_cell(comparison, one, place) for one in columns]
        rows.append(f"| {place + 1} | {' | '.join(cells)} |")
    return rows


def _cell(comparison: Comparison, column: ColumnNow, place: int) -> str:
    if column.answer is None or place >= len(column.answer.items):
        return " "
    item = column.answer.items[place]
    mark = " ✓" if comparison.hit(column.by) == place + 1 else ""
    return f"{escaped(item.title or item.id)}{mark}"


def _figures(comparison: Comparison) -> list[str]:
    lines = [
        "| ranker | last | p50 | slower | overlap | tau | hits |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in comparison.figures():
        cells = [
            escaped(one.by),
            "" if one.last is None else duration(one.last),
            "" if one.p50 is None else duration(one.p50),
            "" if one.ratio is None else f"{one.ratio:,.0f} ×",
            "" if one.overlap is None else f"{one.overlap:.2f}",
            "" if one.tau is None else f"{one.tau:.2f}",
            f"{one.hits} of {one.visited}" if one.visited else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
