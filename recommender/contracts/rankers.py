"""The contract of a ranker: who is recommended what, whatever the scores are made of."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np

from recommender.ranking import Ranker, Ranking
from storage.records import IntArray


class RankerContract:
    """Tests of one ranker. Override `ranker`, and say how many `items` it may name."""

    items: ClassVar[int] = 0
    """The size of the catalogue: item numbers are below it. At least 4."""

    def ranker(self) -> Ranker:
        """Return the ranker that is tested."""
        raise NotImplementedError("a contract is tested by a class that overrides ranker()")

    def test_it_has_a_name(self) -> None:
        """A name is what tables show, and every ranking has one."""
        one = self.ranker()
        assert one.name.strip(), "a ranker needs a name"
        assert one.rank(self._history(2)).name.strip(), "a ranking needs a name"

    def test_it_never_recommends_the_history(self) -> None:
        """What a person has is not recommended, however much is asked for."""
        one = self.ranker()
        for length in range(5):
            history = self._history(length)
            ranking = one.rank(history, n=self.items)
            self._check(ranking, self.items)
            had = set(ranking.items) & set(history.tolist())
            assert not had, f"recommended from the history: {had}"

    def test_it_keeps_to_the_candidates(self) -> None:
        """Only candidates are answered, none twice, and none that the person has."""
        one, history = self.ranker(), self._history(2)
        others = [i for i in range(self.items) if i not in history][:4]
        for offered in (others, others[::-1], [*others, *others], [*history, *others[:2]]):
            ranking = one.rank(history, candidates=np.array(offered, dtype=np.int64))
            self._check(ranking, 10)
            wrong = set(ranking.items) - (set(offered) - set(history.tolist()))
            assert not wrong, f"{wrong} answered, {offered} offered after {history}"

    def test_nothing_to_choose_from_is_an_empty_answer(self) -> None:
        """Without candidates outside the history there is nothing to recommend."""
        one, history = self.ranker(), self._history(2)
        for offered in (history, history[:0]):
            ranking = one.rank(history, candidates=offered)
            assert not ranking.items, f"{ranking.items} answered, {offered} offered"
            self._check(ranking, 10)

    def test_it_answers_no_more_than_n(self) -> None:
        """A list is as long as it is asked for, or shorter."""
        one = self.ranker()
        for n in (1, 2, self.items, 10 * self.items):
            self._check(one.rank(self._history(1), n=n), n)

    def test_an_empty_history_is_answered(self) -> None:
        """Of a person of whom nothing is known something can still be said."""
        ranking = self.ranker().rank(self._history(0), n=3)
        assert ranking.items, "no answer to an empty history"
        self._check(ranking, 3)

    def test_the_same_person_gets_the_same_answer(self) -> None:
        """Two answers to one history are equal, and the history is left as it is."""
        one, history, candidates = self.ranker(), self._history(3), np.arange(self.items)
        first = [one.rank(history, n=5), one.rank(history, candidates=candidates, n=5)]
        then = [one.rank(history, n=5), one.rank(history, candidates=candidates, n=5)]
        for before, after in zip(first, then, strict=True):
            assert before.items == after.items, f"{before.items}, and then {after.items}"
            assert before.scores == after.scores, f"{before.scores}, and then {after.scores}"
        assert history.tolist() == self._history(3).tolist(), "the history was written into"
        assert candidates.tolist() == list(range(self.items)), "the candidates were written into"

    def _history(self, length: int) -> IntArray:
        """Return items from all over the catalogue; of more than two, the last came before."""
        spread = [(1 + 3 * step) % self.items for step in range(length)]
        return np.array([*spread[:-1], spread[0]] if length > 2 else spread, dtype=np.int64)

    def _check(self, ranking: Ranking, n: int) -> None:
        items, scores = ranking.items, ranking.scores
        assert len(items) == len(scores), f"{len(items)} items, {len(scores)} scores"
        assert len(items) <= n, f"{len(items)} items, {n} asked for"
        assert len(set(items)) == len(items), f"an item came twice: {items}"
        wrong = [item for item in items if not 0 <= item < self.items]
        assert not wrong, f"no items of {self.items}: {wrong}"
        assert all(math.isfinite(score) for score in scores), f"no numbers: {scores}"
        falling = all(a >= b for a, b in pairwise(scores))
        assert falling, f"not best first: {scores}"
