"""A user's own classes, as the module beside `recsys.toml` that a live ranker's process loads.

Copied there by the tests: it imports nothing of theirs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from recommender.backends import Ability, Prompt, Scores
from recommender.backends.errors import ServerDown
from recommender.backends.scripted import ScriptedBackend
from recommender.ranking import Ranking, rank_from_scores

WORDS = "It goes <b>well</b> with \x1b[31mthe\x1b[0m rest. "
ABLE: tuple[Ability, ...] = ("letters", "text")
DOWN = ServerDown("nobody answers at 'there'", next_step="start it")


def by_length(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    """Longer titles are likelier, wherever they stand."""
    lengths = np.array([len(title) for title in titles], dtype=float)
    return [float(value) for value in lengths / 20 - np.log(np.exp(lengths / 20).sum())]


class Slow(ScriptedBackend):
    """Takes its time for every answer, and for every word of a reason."""

    delay = 0.3

    def __init__(self) -> None:
        super().__init__(by_length, abilities=ABLE, delay=self.delay, words=WORDS, name="slow")

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        try:
            for piece in super().stream(turn, limit=limit):
                yield piece
                time.sleep(self.delay)
        finally:
            print("the reason is over", file=sys.stderr, flush=True)


class Quick(Slow):
    """The same, faster."""

    delay = 0.01


class Stuck(Slow):
    """Never comes back."""

    delay = 600.0


class Fails(ScriptedBackend):
    """Answers twice, then does not, then does again."""

    def __init__(self) -> None:
        super().__init__(by_length, abilities=ABLE, failures=(None, None, DOWN), name="fails")


class Breaks(ScriptedBackend):
    """Has a bug that shows in its second answer."""

    def __init__(self) -> None:
        super().__init__(by_length, abilities=ABLE, name="breaks")

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        if self.calls:
            raise ZeroDivisionError("a bug of \x1b[31mtheirs")
        return super().score(prompt, labels)


class Loud(ScriptedBackend):
    """Writes where messages go, in every way there is."""

    def __init__(self) -> None:
        print("made")
        super().__init__(by_length, abilities=ABLE, name="loud")

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        print('{"says":"Ended","number":1}', flush=True)
        os.write(1, b'{"says":"Ended","number":1}\n')
        print("scored")
        return super().score(prompt, labels)


class Loads:
    """Is loaded for ever."""

    def __init__(self) -> None:
        time.sleep(600)


class Shelf:
    """A ranker that knows how many rows it was shown, and answers in numpy's numbers."""

    def __init__(self, shop) -> None:  # type: ignore[no-untyped-def]
        self.name = f"shelf of {shop.log.item.size}"
        self.items = len(shop.titles)

    def rank(self, history, *, candidates=None, n=10) -> Ranking:  # type: ignore[no-untyped-def]
        scores = -np.abs(np.arange(self.items, dtype=np.float32) - history[-1])
        found = rank_from_scores(scores, history, name=self.name, candidates=candidates, n=n)
        items, values = np.array(found.items), np.array(found.scores, dtype=np.float32)
        return Ranking(tuple(items), tuple(values), self.name)
