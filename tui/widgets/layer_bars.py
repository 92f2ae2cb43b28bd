"""One bar a layer of the student: how much its match with the teacher counts."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from distill.training import LayersWeighed
from tui.text import plain


class LayerBars(Widget):
    """The weights as they are now; nothing before there are any."""

    DEFAULT_CSS = "LayerBars { height: auto; max-height: 100%; }"

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self.weighed: LayersWeighed | None = None

    def show(self, weighed: LayersWeighed | None) -> None:
        """Show these weights."""
        self.display = weighed is not None
        if weighed != self.weighed:
            self.weighed = weighed
            self.refresh(layout=True)

    def render(self) -> Content:
        """Make the lines."""
        if self.weighed is None:
            return Content("")
        lines = bar_lines(self.weighed, self.content_size.width)
        return Content("\n").join(lines)


def bar_lines(weighed: LayersWeighed, width: int) -> list[Content]:
    """Return a head and a line a layer, its bar against the largest.

    >>> [line.plain for line in bar_lines(LayersWeighed(0, (0.5, 1.5), "fisher"), 18)]
    ['layers by fisher', '0 ██▋       0.500', '1 ████████  1.500']
    """
    head = f"layers by {plain(weighed.by)}"
    if weighed.step:
        head += f", step {weighed.step:,}"
    lines = [Content.styled(plain(head, width), "bold")]
    largest = max(weighed.weights, default=0.0)
    digits = len(str(max(0, len(weighed.weights) - 1)))
    length = max(3, width - digits - 9)
    for layer, weight in enumerate(weighed.weights):
        drawn = bar_of(weight / largest if largest > 0 else 0.0, length)
        lines.append(Content.assemble(f"{layer:>{digits}} ", (drawn, "$primary"), f"{weight:7.3f}"))
    return lines


EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar_of(share: float, length: int) -> str:
    """Return a bar in eighths of a character, filled up with blanks.

    >>> bar_of(0.5, 3), bar_of(1.0, 2), bar_of(-1.0, 2)
    ('█▌ ', '██', '  ')
    """
    eighths = round(min(1.0, max(0.0, share)) * length * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(length)
