"""Figures with their intervals as a table: what `distill`, `evaluate`, `runs` and `demo` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.cli.render import Cell, columns, show_table

if TYPE_CHECKING:
    from storage.records import Measurement

METRICS = ("ndcg@10", "hr@10", "mrr@10")
"""What is shown side by side; `recsys runs show` shows all of them."""


def show_measurements(
    named: Sequence[tuple[str, Sequence[Measurement]]], *, scope: str, title: str = ""
) -> None:
    """Print one row per ranker; what was not measured in that scope stays empty."""
    rows: list[list[Cell]] = []
    for name, measured in named:
        here = {m.metric: m for m in measured if m.scope == scope}
        if not here:
            continue
        first = next(iter(here.values()))
        cells: list[Cell] = [with_interval(here.get(metric)) for metric in METRICS]
        rows.append([name, *cells, first.n, first.people])
    heads = columns("ranker", *(f">{metric} [95 %]" for metric in METRICS), ">requests", ">people")
    show_table(heads, rows, title=title)


def with_interval(measured: Measurement | None) -> str:
    """Return a figure with its interval, empty where nothing was measured.

    >>> from storage.records import Measurement
    >>> with_interval(Measurement("r", "test/full", "hr@10", 0.0871, 0.0802, 0.0939, 100, 40))
    '0.0871 [0.0802, 0.0939]'
    """
    if measured is None:
        return ""
    if measured.low == measured.high == measured.value:
        return f"{measured.value:.4f}"
    return f"{measured.value:.4f} [{measured.low:.4f}, {measured.high:.4f}]"
