"""Curves of a training, drawn with characters: one line a student, told apart without colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from textual.color import Color
from textual.theme import Theme
from textual_plotext import PlotextPlot

from tui.job_story import Point, thinned
from tui.text import plain

MARKERS = ("braille", "•", "x", "+")
COLOURS = ("primary", "warning", "success", "error")
NAMED = 12
"""Characters of a name in the legend."""


class Curve(PlotextPlot):
    """One plot, drawn anew only when there is something new."""

    DEFAULT_CSS = "Curve { min-height: 6; }"

    def __init__(self, title: str, *, id: str | None = None) -> None:
        """`title` says what is drawn."""
        super().__init__(id=id)
        self._title = title
        self._curves: dict[str, tuple[Point, ...]] = {}

    def on_mount(self) -> None:
        """Draw in the colours of the theme, also when it changes."""
        self.app.theme_changed_signal.subscribe(self, self._recoloured)

    def on_resize(self) -> None:
        """Draw as many points as there is room for."""
        self._draw()

    def show(self, curves: Mapping[str, Sequence[Point]], title: str = "") -> None:
        """Show these curves, by the name of what they are of; `title` says what is drawn."""
        found = {name: tuple(points) for name, points in curves.items()}
        title = title or self._title
        if (found, title) != (self._curves, self._title):
            self._curves, self._title = found, title
            self._draw()

    def _recoloured(self, theme: Theme) -> None:
        self._draw()

    def _draw(self) -> None:
        plot = self.plt
        plot.clear_figure()
        most = max(8, 2 * self.size.width)
        latest = self._latest()
        plot.title(f"{self._title} {latest}".rstrip())
        for number, (name, points) in enumerate(self._curves.items()):
            kept = thinned(points, most)
            plot.plot(
                [x for x, _ in kept],
                [y for _, y in kept],
                label=plain(name, NAMED) if len(self._curves) > 1 else None,
                marker=MARKERS[number % len(MARKERS)],
                color=self._colour(COLOURS[number % len(COLOURS)]),
            )
        ticks = whole_ticks([x for points in self._curves.values() for x, _ in points])
        if ticks:
            plot.xticks(ticks)
        self.refresh()

    def _latest(self) -> str:
        last = next(reversed(self._curves.values()), ())
        return f"{last[-1][1]:.3g}" if last else "(nothing yet)"

    def _colour(self, name: str) -> tuple[int, int, int]:
        red, green, blue = Color.parse(self.app.theme_variables[name]).rgb
        return red, green, blue


def whole_ticks(values: Sequence[float], most: int = 4) -> list[float]:
    """Return whole numbers to write below an axis of steps or epochs.

    >>> whole_ticks([1, 2, 3]), whole_ticks([1, 100]), whole_ticks([])
    ([1, 2, 3], [1, 34, 67, 100], [])
    """
    if not values:
        return []
    low, high = math.floor(min(values)), math.ceil(max(values))
    count = min(most, high - low + 1)
    if count == 1:
        return [low]
    return [round(low + place * (high - low) / (count - 1)) for place in range(count)]
