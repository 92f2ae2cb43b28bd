"""One person as a ranker may know them: what they had, and what is held out from it.

Apart from splits, which cut a whole log, because one person is looked at without reading
everybody: the cut is one moment, and the Store remembers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.protocol import Protocol
from storage.browsing import PastEvent
from storage.errors import BadData
from storage.records import NO_PART, NO_TIME, PARTS, Category
from storage.store import Store

TEST_SHARE = 0.1
"""Of the rows, as `recommender.splits.temporal_split` cuts by default."""
LEAVES_OUT = 3
"""Rows a person needs before leave-last-out takes one away."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of a category."""

    id: str
    number: int
    events: tuple[PastEvent, ...]
    """All of them, oldest first, the held-out one too."""
    held_out: PastEvent | None
    """The last event, where the rankers under comparison have not seen it."""
    why: str = ""
    """Why nothing is held out."""

    @property
    def history(self) -> tuple[PastEvent, ...]:
        """What a ranker is told: everything but the held-out event."""
        return self.events[:-1] if self.held_out is not None else self.events


def protocol_of(store: Store, category: Category) -> Protocol:
    """Return how the category's students are trained and measured.

    It is that of the best measured student; where there is none, the temporal split if the
    data has times or parts, else everybody's last row.
    """
    best = store.runs.best(category.id, final=False)
    if best is not None:
        low = best.config.get("min_rating")
        return Protocol(
            split="leave-last-out" if best.config.get("split") == "leave-last-out" else "temporal",
            min_rating=None if low is None else float(str(low)),
        )
    some = store.browsing.timeline(category.id, 0)
    if some and some[0].part != NO_PART:
        return Protocol()
    timed = store.browsing.moment(category, 1 - TEST_SHARE) is not None
    return Protocol(split="temporal" if timed else "leave-last-out")


def person(store: Store, category: Category, user: str, protocol: Protocol) -> Person:
    """Return a person by id, with their last event held out where nobody was trained on it.

    It is held out if it is a request of the test part: in that part of the split, with an
    earlier event, and of an item the person did not have, not even one they rated low, since
    what somebody had is never ranked for them.

    Raises:
        UnknownName: nobody has that id.
        BadData: the protocol splits in time, and there are rows without one.
        StoreUnavailable: somebody else writes.
    """
    number = store.catalogue.user_number(category.id, user)
    events = tuple(store.browsing.timeline(category.id, number))
    why = _why_not(store, category, events, protocol)
    return Person(user, number, events, None if why else events[-1], why)


def _why_not(
    store: Store, category: Category, events: Sequence[PastEvent], protocol: Protocol
) -> str:
    """Return why the last event is not held out, nothing if it is."""
    if not events:
        return "there is no event"
    last, low = events[-1], protocol.min_rating
    liked = [event for event in events if _counts(event, low)]
    if low is not None and not _counts(last, low):
        return f"the last event is rated below {low:g}"
    if len(events) < 2:
        return "it is the only event"
    if len(liked) < 2:
        return f"no other event is rated {low:g} or more"
    if any(event.item.number == last.item.number for event in events[:-1]):
        return "the person had the last item before"
    if protocol.split == "leave-last-out":
        return "" if len(liked) >= LEAVES_OUT else "fewer than three events"
    if last.part != NO_PART:
        return "" if PARTS[last.part] == "test" else "the last event is not in the test part"
    cut = store.browsing.moment(category, 1 - TEST_SHARE, low)
    if cut is None or last.time == NO_TIME:
        raise BadData(f"{category.name!r} has rows without a time: it has no temporal split")
    return "" if last.time >= cut else "the last event is in the training part"


def _counts(event: PastEvent, low: float | None) -> bool:
    """Say whether `recommender.splits.positives` keeps an event."""
    if low is None:
        return True
    # Ratings are kept in single precision: 4.1 is not what it is as a double.
    return event.rating is not None and event.rating >= float(np.float32(low))
