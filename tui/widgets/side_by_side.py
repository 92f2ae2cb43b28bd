"""The columns of a comparison in a row, as many as fit; the others are scrolled to."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import HorizontalScroll

from tui.widgets.column import RankerColumn

LEAST = 24
"""Cells of a column; with more of them than fit, one scrolls."""


class SideBySide(HorizontalScroll, can_focus=False):
    """Ranker columns, from left to right."""

    DEFAULT_CSS = "SideBySide { height: 1fr; width: 1fr; scrollbar-size-horizontal: 1; }"

    @property
    def columns(self) -> list[RankerColumn]:
        """Those that are shown, as they stand."""
        return [one for one in self.query(RankerColumn) if one.display]

    @property
    def current(self) -> RankerColumn | None:
        """The column the keys go to."""
        columns = self.columns
        focused = (one for one in columns if one.has_focus_within)
        return next(focused, columns[0] if columns else None)

    def of(self, by: str) -> RankerColumn | None:
        """Return the column of a ranker."""
        return next((one for one in self.query(RankerColumn) if one.by == by), None)

    async def add(self, by: str) -> RankerColumn:
        """Put a column behind the others."""
        column = RankerColumn(by)
        await self.mount(column)
        self.fit()
        return column

    def put_in_order(self, order: Sequence[str]) -> None:
        """Show these columns in this order, and no others."""
        if [one.by for one in self.columns] == list(order):
            return
        for one in self.query(RankerColumn):
            one.display = one.by in order
        place = {by: at for at, by in enumerate(order)}
        self.sort_children(key=lambda one: place.get(getattr(one, "by", ""), len(place)))
        self.fit()

    def turn_to(self, place: int) -> None:
        """Bring the keys to a column, from 0; beyond the ends is the end."""
        columns = self.columns
        if columns:
            columns[max(0, min(place, len(columns) - 1))].focus_list()

    def turn_by(self, places: int) -> None:
        """Bring the keys to a column further right or left."""
        if self.current is not None:
            self.turn_to(self.columns.index(self.current) + places)

    def on_resize(self) -> None:
        """Share the room out."""
        self.fit()

    def fit(self) -> None:
        """Give every column its share of the width."""
        columns, room = self.columns, self.size.width
        for at, one in enumerate(columns):
            share = room * (at + 1) // len(columns) - room * at // len(columns)
            one.styles.width = max(LEAST, share)
