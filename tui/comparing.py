"""What the Compare screen shows, without a screen: columns, answers, and how they agree.

Apart from the widgets, which draw it, and from the live rankers, which answer: here replies
are put to the question they belong to, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from recommender.agreement import kendall_tau, movement, overlap
from recommender.live.messages import (
    Answered,
    Ended,
    Message,
    Opened,
    Opening,
    Refused,
    Thinking,
)

if TYPE_CHECKING:
    from recommender.people import Person
    from storage.records import Item

State = Literal["opening", "ready", "thinking", "answered", "cancelled", "refused"]
KEPT = 200
"""Latencies that are remembered a column."""


@dataclass
class ColumnNow:
    """One ranker as it stands."""

    by: str
    state: State = "opening"
    note: str = ""
    """What is done just now."""
    number: int = 0
    """Of the question it is at, or answered last; replies to others are too late."""
    asked_at: float = 0.0
    opened: Opened | None = None
    answer: Answered | None = None
    thinking: Thinking | None = None
    refused: Refused | None = None
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer, oldest first."""
    hits: dict[str, bool] = field(default_factory=dict)
    """Person -> whether the held-out item was in their list; the last visit counts."""
    restarted: bool = False
    """Its process was killed, and started again without being told to."""

    @property
    def items(self) -> list[int]:
        """Numbers of the items of its answer, best first."""
        return [] if self.answer is None else [one.item for one in self.answer.items]

    @property
    def dead(self) -> bool:
        """Whether its process has ended."""
        return self.refused is not None and self.refused.number < 0

    @property
    def killed(self) -> bool:
        """Whether its process has ended without saying why."""
        return self.dead and self.refused is not None and self.refused.kind == "Died"


@dataclass(frozen=True, slots=True)
class Figures:
    """How one column does beside the first."""

    by: str
    last: float | None
    """Seconds of the last answer."""
    p50: float | None
    ratio: float | None
    """Its p50 over that of the fastest column."""
    overlap: float | None
    """With the first column, in the first n places; None for the first, or without an answer."""
    tau: float | None
    hits: int
    visited: int
    """People with a held-out event whom it answered."""
    latencies: tuple[float, ...]


class Comparison:
    """Columns beside one another for one person after another.

    >>> both = Comparison(["student", "popularity"], clock=lambda: 0.0)
    >>> [column.by for column in both.columns]
    ['student', 'popularity']
    """

    def __init__(
        self, by: Sequence[str], *, n: int = 10, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Compare rankers by their names; `clock` gives the seconds that elapse."""
        self.n = n
        self.clock = clock
        self.columns = [ColumnNow(one) for one in dict.fromkeys(by)]
        self.person: Person | None = None
        self.edited: tuple[Item, ...] | None = None
        """A history that was made by hand; None while it is the person's own."""

    @property
    def history(self) -> tuple[Item, ...]:
        """What rankers are asked about, oldest first."""
        if self.edited is not None:
            return self.edited
        return () if self.person is None else tuple(e.item for e in self.person.history)

    @property
    def held_out(self) -> Item | None:
        """The item that really came next, unless the history was made by hand."""
        if self.person is None or self.person.held_out is None or self.edited is not None:
            return None
        return self.person.held_out.item

    def column(self, by: str) -> ColumnNow:
        """Return a column by its ranker's name.

        Raises:
            KeyError: there is none.
        """
        for one in self.columns:
            if one.by == by:
                return one
        raise KeyError(by)

    def add(self, by: str) -> ColumnNow:
        """Add a column, or return the one there is."""
        if all(one.by != by for one in self.columns):
            self.columns.append(ColumnNow(by))
        return self.column(by)

    def remove(self, by: str) -> None:
        """Take a column away."""
        self.columns = [one for one in self.columns if one.by != by]

    def replace(self, old: str, new: str) -> None:
        """Put a new column, of another ranker or the same, in the place of one.

        >>> both = Comparison(["student", "teacher", "popularity"])
        >>> both.replace("teacher", "teacher:embedded")
        >>> [column.by for column in both.columns]
        ['student', 'teacher:embedded', 'popularity']
        """
        self.columns = [ColumnNow(new) if one.by == old else one for one in self.columns]

    def restart(self, by: str) -> None:
        """Let a column begin anew and keep what is counted of it.

        >>> one = Comparison(["student"])
        >>> one.hear("student", Refused(-1, "it was killed", kind="Died"))
        True
        >>> one.restart("student")
        >>> one.column("student").state, one.column("student").restarted
        ('opening', True)
        """
        old = self.column(by)
        new = ColumnNow(by, latencies=old.latencies, hits=old.hits, restarted=True)
        self.columns = [new if one is old else one for one in self.columns]

    def show(self, person: Person) -> None:
        """Turn to a person, and to their own history."""
        self.person, self.edited = person, None
        self._forget()

    def edit(self, items: Sequence[Item] | None) -> None:
        """Turn to a history made by hand; None is the person's own again."""
        self.edited = None if items is None else tuple(items)
        self._forget()

    def asked(self, by: str, number: int) -> None:
        """Take note that a column was asked the history under a number."""
        column = self.column(by)
        column.number, column.asked_at = number, self.clock()
        column.answer = column.thinking = None
        if not column.dead:
            column.refused = None
            column.state = "opening" if column.opened is None else "thinking"

    def cancelled(self, by: str) -> None:
        """Take note that an answer is not wanted any more."""
        column = self.column(by)
        if column.state == "thinking" or (column.state == "opening" and column.number):
            column.state, column.number = "cancelled", 0

    def hear(self, by: str, message: Message) -> bool:
        """Take in what a ranker says; return whether anything shown has changed."""
        if all(one.by != by for one in self.columns):
            return False
        column = self.column(by)
        match message:
            case Opening(note):
                column.note = note
            case Opened():
                column.opened, column.note = message, ""
                if column.state == "opening":
                    column.state = "thinking" if column.number else "ready"
                    column.asked_at = self.clock()
            case Refused(number) if number < 0 or number == column.number:
                column.refused, column.state, column.answer = message, "refused", None
            case Thinking(number) if number == column.number:
                column.thinking = message
            case Answered(number) if number == column.number:
                self._answered(column, message)
            case Ended(number, cancelled) if number == column.number and cancelled:
                column.state = "cancelled"
            case _:
                return False
        return True

    def movement(self, by: str) -> list[int | None]:
        """Return for each item of a column how many places higher it stands than in the first."""
        return movement(self.columns[0].items, self.column(by).items)

    def hit(self, by: str) -> int | None:
        """Return the place of the held-out item in a column, from 1; None without one.

        A ranker that was trained on everything has seen it, and never hits.
        """
        column, true = self.column(by), self.held_out
        if true is None or (column.opened is not None and column.opened.sees_all):
            return None
        return column.items.index(true.number) + 1 if true.number in column.items else None

    def figures(self) -> tuple[Figures, ...]:
        """Return how the columns do, in their order."""
        usual = {one.by: median(one.latencies) for one in self.columns if one.latencies}
        # Who does not answer any more is not compared with who does.
        usual = {by: p50 for by, p50 in usual.items() if not self.column(by).dead}
        fastest = min(usual.values(), default=None)
        return tuple(self._figures(one, usual.get(one.by), fastest) for one in self.columns)

    def _figures(self, column: ColumnNow, p50: float | None, fastest: float | None) -> Figures:
        first = self.columns[0]
        both = column is not first and column.answer is not None and first.answer is not None
        alike = (first.items, column.items, self.n)
        return Figures(
            by=column.by,
            last=column.latencies[-1] if p50 is not None else None,
            p50=p50,
            ratio=p50 / fastest if p50 is not None and fastest else None,
            overlap=overlap(*alike) if both else None,
            tau=kendall_tau(*alike) if both else None,
            hits=sum(column.hits.values()),
            visited=len(column.hits),
            latencies=() if p50 is None else tuple(column.latencies),
        )

    def _answered(self, column: ColumnNow, answer: Answered) -> None:
        column.answer, column.state, column.thinking = answer, "answered", None
        column.latencies = [*column.latencies, answer.seconds][-KEPT:]
        seen = column.opened is not None and column.opened.sees_all
        if self.person is not None and self.held_out is not None and not seen:
            column.hits[self.person.id] = self.hit(column.by) is not None

    def _forget(self) -> None:
        """Drop answers to another history."""
        for column in self.columns:
            column.answer = column.thinking = None
            column.number = 0
            if not column.dead:
                column.refused = None
                column.state = "opening" if column.opened is None else "ready"
