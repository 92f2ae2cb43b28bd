"""A comparison written down: as Markdown for people, as JSON for programs.

Foreign text stays text: nothing in a title can become a table, a link or a tag.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.records import NO_TIME, Item
from tui.comparing import ColumnNow, Comparison
from tui.text import day, duration, plain

if TYPE_CHECKING:
    from recommender.live.messages import LiveItem
    from storage.browsing import PastEvent

Opinions = Sequence[tuple[Item, int]]
"""What somebody said of items: 1 for liked, -1 for disliked."""
LONGEST, LONGEST_NOTICE = 200, 1000
"""Characters of a title and of a sentence in Markdown."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&$^=:])")


def escaped(text: str, longest: int = LONGEST) -> str:
    """Return foreign text as Markdown that shows just that text, on one line.

    >>> escaped("Heat | [1995](x)\\n# two")
    'Heat \\\\| \\\\[1995\\\\]\\\\(x\\\\) \\\\# two'
    """
    return _SPECIAL.sub(r"\\\1", plain(text, longest))


def as_markdown(
    comparison: Comparison, category: str, at: datetime, opinions: Opinions = ()
) -> str:
    """Return everything the screen shows as a page of Markdown."""
    who = "nobody" if comparison.person is None else comparison.person.id
    kind = "what they had" if comparison.edited is None else "made by hand"
    true = comparison.held_out
    lines = [f"# {escaped(who)} of {escaped(category)}", "", f"Compared {at:%Y-%m-%d %H:%M}.", ""]
    lines += [f"History, oldest first ({kind}):", "", *_history(comparison), ""]
    lines += [
        f"Held out: {_named(true)}"
        if true
        else f"Nothing is held out: {escaped(_why_not(comparison), LONGEST_NOTICE)}"
    ]
    lines += ["", *_table(comparison), "", *_figures(comparison), ""]
    lines += [line for column in comparison.columns for line in _says(column)]
    if opinions:
        lines += ["", "What was liked (\\+) and disliked (−); no ranker learns from it yet:", ""]
        signs = {1: "\\+", -1: "−"}
        lines += [f"- {signs[value]} {_named(item)}" for item, value in opinions]
    return "\n".join(lines).rstrip() + "\n"


def as_json(comparison: Comparison, category: str, at: datetime, opinions: Opinions = ()) -> str:
    """Return everything the screen shows as JSON; text is kept as it came.

    A score that is no number is null.
    """
    true = comparison.held_out
    said = {
        "category": category,
        "at": at.isoformat(timespec="seconds"),
        "person": None if comparison.person is None else comparison.person.id,
        "edited": comparison.edited is not None,
        "history": _events(comparison),
        "held_out": None if true is None else {"id": true.id, "title": true.title},
        "not_held_out_because": "" if true else _why_not(comparison),
        "columns": [_column(comparison, one) for one in comparison.columns],
        "figures": [asdict(one) for one in comparison.figures()],
        "opinions": [
            {"id": item.id, "title": item.title, "value": value} for item, value in opinions
        ],
    }
    return json.dumps(_finite(said), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _why_not(comparison: Comparison) -> str:
    """Return why nothing is held out."""
    if comparison.edited is not None:
        return "the history was made by hand"
    return "nobody is shown" if comparison.person is None else comparison.person.why


def _own(comparison: Comparison) -> Sequence[PastEvent]:
    """Return the events behind the history; none where it was made by hand."""
    if comparison.person is None or comparison.edited is not None:
        return ()
    return comparison.person.history


def _named(item: Item | LiveItem) -> str:
    """Return a title, or the id in place of one that shows nothing."""
    return escaped(item.title) or escaped(item.id)


def _history(comparison: Comparison) -> list[str]:
    lines = [f"1. {_named(item)}" for item in comparison.history]
    for place, event in enumerate(_own(comparison)):
        when = "" if event.time == NO_TIME else day(event.time)
        rated = "" if event.rating is None else f"rated {event.rating:g}"
        known = ", ".join(word for word in (event.item.brand, when, rated) if word)
        lines[place] += f" ({escaped(known)})" if known else ""
    return lines or ["(empty)"]


def _events(comparison: Comparison) -> list[dict[str, object]]:
    items: list[dict[str, object]] = [
        {"id": item.id, "title": item.title, "brand": item.brand} for item in comparison.history
    ]
    for item, event in zip(items, _own(comparison), strict=False):  # there are none, or all
        item["milliseconds"] = None if event.time == NO_TIME else event.time
        item["rating"] = event.rating
    return items


def _column(comparison: Comparison, column: ColumnNow) -> dict[str, object]:
    return {
        "by": column.by,
        "state": column.state,
        "about": "" if column.opened is None else column.opened.about,
        "sees_all": column.opened is not None and column.opened.sees_all,
        "notices": list(_notices(column)),
        "answer": None if column.answer is None else asdict(column.answer),
        "refused": None if column.refused is None else column.refused.what,
        "movement": comparison.movement(column.by),
        "hit": comparison.hit(column.by),
    }


def _notices(column: ColumnNow) -> tuple[str, ...]:
    """Return what a ranker says besides, on opening and with its answer."""
    opening = () if column.opened is None else column.opened.notices
    return opening + (() if column.answer is None else column.answer.notices)


def _says(column: ColumnNow) -> list[str]:
    """Return what a ranker is, how it stands, and what it says besides."""
    about = [] if column.opened is None else [column.opened.about]
    why = [] if column.refused is None else [column.refused.what]
    words = escaped("; ".join([column.state, *about, *why]), LONGEST_NOTICE)
    notices = [escaped(one, LONGEST_NOTICE) for one in _notices(column)]
    return [f"- {escaped(column.by)}: {words}", *(f"  - {one}" for one in notices if one)]


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
    return f"{_named(item)}{mark}"


def _figures(comparison: Comparison) -> list[str]:
    lines = [
        f"| ranker | last | p50 | slower | overlap@{comparison.n} | tau | hits |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in comparison.figures():
        cells = [
            escaped(one.by),
            "" if one.last is None else duration(one.last),
            "" if one.p50 is None else duration(one.p50),
            "" if one.ratio is None else f"{one.ratio:,.1f} ×",
            "" if one.overlap is None else f"{one.overlap:.2f}",
            "" if one.tau is None else f"{one.tau:.2f}",
            f"{one.hits} of {one.visited}" if one.visited else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _finite(value: Any) -> Any:
    """Return the same with null for what JSON has no number for: a ranker may score so."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
