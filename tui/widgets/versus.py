"""Two marked rows against each other: the paired differences, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from storage.errors import RecsysError
from tui.shown import shown
from tui.standings import Standing, meaning
from tui.text import plain

if TYPE_CHECKING:
    from recommender.comparison import Difference

LONGEST = 32


class Versus(VerticalScroll, can_focus=False):
    """Shown once two rows are marked."""

    DEFAULT_CSS = """
    Versus { height: auto; max-height: 9; padding: 0 1; border-top: solid $panel; display: none; }
    Versus.-open { display: block; }
    """

    def __init__(self) -> None:
        """Say nothing yet."""
        super().__init__()
        self.said: tuple[str, ...] = ()
        """The lines that are shown."""

    def compose(self) -> ComposeResult:
        """Make the text."""
        yield Static("", markup=False)

    def say(self, lines: Sequence[Content | str]) -> None:
        """Show these lines; none closes it."""
        contents = [Content(line) if isinstance(line, str) else line for line in lines]
        self.said = tuple(one.plain for one in contents)
        self.set_class(bool(contents), "-open")
        self.query_one(Static).update(Content("\n").join(contents))

    def show(self, a: Standing, b: Standing, found: Sequence[Difference]) -> None:
        """Show what differs between two rows."""
        self.say(compared(a, b, found))

    def refuse(self, error: RecsysError) -> None:
        """Say why they cannot be compared."""
        lines: list[Content | str] = [Content.styled(plain(error.what), "$text-warning")]
        if error.next_step:
            lines.append(shown(f"next: {error.next_step}"))
        self.say(lines)


def compared(a: Standing, b: Standing, found: Sequence[Difference]) -> list[Content | str]:
    """Return the comparison of two rows as lines, the meaning of the first metric last.

    >>> from recommender.comparison import Difference
    >>> from recommender.significance import Interval
    >>> from storage.records import Run
    >>> a, b = (Standing(Run(i, 1, "student", i, 0, {}, "done", ""), "test/full") for i in "xy")
    >>> one = Difference("hr@10", 0.3, 0.2, Interval(0.1, 0.05, 0.15, 40, 20))
    >>> for line in compared(a, b, [one]):
    ...     print(line if isinstance(line, str) else line.plain)
    A x against B y, on 40 shared requests of 20 people
    hr@10      0.3000 −   0.2000 =  +0.1000 [+0.0500, +0.1500]  A is better
    x is better than y by hr@10: the whole interval lies above zero
    """
    first = found[0].difference
    names = plain(a.name, LONGEST), plain(b.name, LONGEST)
    if names[0] == names[1]:
        names = plain(a.run.id, LONGEST), plain(b.run.id, LONGEST)
    on = f"on {first.n:,} shared requests of {first.people:,} people"
    head = Content.styled(f"A {names[0]} against B {names[1]}, {on}", "bold")
    return [head, *map(_line, found), meaning(*names, found[0])]


def _line(one: Difference) -> Content:
    between = one.difference
    word, style = "not told apart", "$text-muted"
    if between.excludes_zero:
        word, style = (
            ("A is better", "$text-success")
            if between.low > 0
            else (
                "B is better",
                "$text-warning",
            )
        )
    figures = (
        f"{one.metric:<8} {one.a:>8.4f} − {one.b:>8.4f} = {between.value:>+8.4f} "
        f"[{between.low:+.4f}, {between.high:+.4f}]  "
    )
    return Content.assemble(figures, (word, style))
