"""A language model as a ranker: candidates, prompt, backend, one score a candidate.

Apart from the backend, which knows texts only, and from the bulk job, which only asks: here
answers become evidence, and evidence, by the way of scoring that was chosen, a ranking.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from recommender.asking.answering import IN_ORDERS, Texts, address, answer, soft_label
from recommender.asking.grounding import Grounder
from recommender.asking.orders import judge_orders, merged
from recommender.asking.requests import OPEN, Question
from recommender.asking.tournament import meetings, times_asked
from recommender.backends import Backend, Scores
from recommender.backends.embedding import mean_cosines
from recommender.candidates import retrieve
from recommender.events import Event
from recommender.ranking import CatalogueRanker, Ranking
from recommender.scoring import Evidence, Scoring, combine
from storage.records import FloatArray, IntArray

Array = npt.NDArray[np.float64]
T = TypeVar("T")

GROUP = 10
"""How many candidates are lettered at once."""


def similarity(
    vectors: FloatArray, history: Sequence[int], candidates: Sequence[int], length: int
) -> Array:
    """Cosine between the mean title vector of the last `length` items and each candidate's.

    Formula: v_c · h / (‖v_c‖ ‖h‖), h = mean of v_i over the history shown; 0 without history.

    Args:
        vectors: (items, width), rows of unit length.
        history: items, oldest first.
        candidates: items.
        length: how many of the last items count.

    >>> similarity(np.eye(2, dtype=np.float32), [0], [0, 1], 10).tolist()
    [1.0, 0.0]
    """
    offered = vectors[list(candidates)]
    if not history:
        return np.zeros(len(offered))
    return mean_cosines(vectors[list(history)[-length:]], offered)


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """One more request of a ranking was answered."""

    done: int
    total: int
    """Requests of the whole ranking; fewer are asked where a group is small."""
    tokens: int
    """Read and written so far, by a server's count; in this process those that were scored."""
    seconds: float
    """That the model took so far."""

    def after(self, answered: Scores) -> Asked:
        """Return how far it is when one more is answered.

        >>> Asked(1, 4, 10, 0.5).after(Scores((-1.0,), (3,), 0.25))
        Asked(done=2, total=4, tokens=13, seconds=0.75)
        """
        counts = [answered.details.get(name) for name in ("prompt_tokens", "made_tokens")]
        tokens = sum(count for count in counts if isinstance(count, int)) or sum(answered.tokens)
        return Asked(
            self.done + 1, self.total, self.tokens + tokens, self.seconds + answered.seconds
        )


def _last(steps: Generator[object, None, T]) -> T:
    """Run a generator to its end and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: T = stop.value
            return found


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """What was said of the candidates of one question."""

    scores: Array
    status: str
    spread: float
    """Standard deviation of the model's own numbers, nats for letters."""
    tokens: int
    """Of everything asked so far, this group included."""
    seconds: float


@dataclass(frozen=True, eq=False)
class TeacherRanker:
    """Ranks candidates by asking the model now. Slow and exact: what a student is taught by."""

    backend: Backend
    texts: Texts
    scoring: Scoring
    vectors: FloatArray
    sources: Sequence[CatalogueRanker]
    """Where candidates come from when none are given."""
    offered: int = 20
    """How many candidates are judged when none are given."""
    name: str = "teacher"
    floor: float = 0.0
    """By how much one of the model's log-probabilities moves by itself, in nats; 0 if unknown."""
    grounder: Grounder | None = None
    _alone: dict[int, float] = field(default_factory=dict)

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the best n of the candidates, of what `sources` offer where none are given."""
        return _last(self.steps(history, candidates=candidates, n=n))

    def steps(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Generator[Asked, None, Ranking]:
        """Rank, and say after each request to the model how far it is.

        Closing the generator ends it before the next request. What it returns is the ranking.
        """
        past = {int(i) for i in history}
        pool = retrieve(self.sources, history, self.offered) if candidates is None else candidates
        items = [i for i in dict.fromkeys(int(i) for i in pool) if i not in past]
        if not items:
            return Ranking((), (), self.name)
        before = [int(i) for i in history]
        groups: list[_Group] = []
        scores = yield from self._scores(before, items, groups)
        best = sorted(range(len(items)), key=lambda c: (-scores[c], items[c]))[:n]
        return Ranking(
            tuple(items[c] for c in best),
            tuple(float(scores[c]) for c in best),
            self.name,
            notices=self._notices(len(items), groups),
            resolution=self._resolution(groups),
        )

    def score(self, history: Sequence[int], items: Sequence[int]) -> Array:
        """Return one score an item, by the chosen way of scoring; letters by tournament.

        A model that declines, or only repeats the order it is shown, scores all the same.
        """
        return _last(self._scores(history, items, []))

    def _scores(
        self, history: Sequence[int], items: Sequence[int], groups: list[_Group]
    ) -> Generator[Asked, None, Array]:
        """Score, and put down each group that was asked about."""
        lettered = self.scoring.method in IN_ORDERS
        size = GROUP if lettered else max(len(items), 2)
        turns = min(self.scoring.orders, size) if lettered else 1
        turns += self._takes_off()
        total = times_asked(len(items), size=size) * turns
        meeting = meetings(len(items), size=size)
        group, asked = next(meeting), Asked(0, total, 0, 0.0)
        while True:
            judged = self._score_group(history, [items[entrant] for entrant in group], asked)
            groups.append((yield from judged))
            done = len(groups) * turns
            asked = Asked(done, total, groups[-1].tokens, groups[-1].seconds)
            try:
                group = meeting.send(groups[-1].scores)
            except StopIteration as stop:
                scores: Array = stop.value
                return scores

    def close(self) -> None:
        """Let go of the backend's connections."""
        self.backend.close()

    def _score_group(
        self, history: Sequence[int], items: Sequence[int], before: Asked
    ) -> Generator[Asked, None, _Group]:
        method = self.scoring.method
        requests = address(
            [Question(0, OPEN, tuple(history), tuple(items), OPEN)],
            self.texts,
            category_id=0,
            purpose="serve",
            teacher=self.backend.describe(),
            method=method,
            orders=self.scoring.orders,
        )
        said, now = [], before
        for request in requests:
            one = answer(self.backend, request, self.texts, grounder=self.grounder)
            said.append(soft_label(request, one))
            now = now.after(one)
            yield now
        judged = judge_orders(
            [(r.shift, a.status, a.scores) for r, a in zip(requests, said, strict=True)]
        )
        if judged.status != "ok":
            return _Group(np.zeros(len(items)), judged.status, 0.0, now.tokens, now.seconds)
        prior = self.scoring.prior if len(self.scoring.prior) == len(items) else None
        value = merged(judged.answers, judged.turns, prior if method == "letters" else None)
        alone = None
        if self._takes_off():
            asked = self._ask_alone(items)
            now = now.after(asked) if asked is not None else replace(now, done=now.done + 1)
            yield now
            alone = np.array([self._alone[item] for item in items])
        evidence = Evidence(
            target=OPEN,
            unconditional=alone,
            cosine=similarity(self.vectors, history, items, self.texts.history_length),
        )
        scores = combine(self.scoring.way, evidence.with_(method, value))
        return _Group(scores, "ok", float(np.std(value)), now.tokens, now.seconds)

    def _takes_off(self) -> bool:
        """Say whether what a title is worth without any history is taken off."""
        return self.scoring.way.startswith(("half", "minus"))

    def _ask_alone(self, items: Sequence[int]) -> Scores | None:
        """Ask what titles are worth without any history; None where all were asked before."""
        missing = [item for item in items if item not in self._alone]
        if not missing:
            return None
        titles = [self.texts.titles[item] for item in missing]
        scores = self.backend.unconditional(titles, noun=self.texts.noun)
        self._alone.update(zip(missing, scores.logprobs, strict=True))
        return scores

    def _resolution(self, groups: Sequence[_Group]) -> float:
        """Return the difference below which two scores of one answer are not told apart.

        Between the groups of a tournament places are compared, not scores: nothing to mark.
        """
        if self.scoring.method != "letters" or not self.floor or len(groups) != 1:
            return 0.0
        if self.scoring.way == "letters":
            return self.floor
        # In the sum, the letters are in units of their own spread.
        return self.floor / groups[0].spread if groups[0].spread > 0 else 0.0

    def _notices(self, count: int, groups: Sequence[_Group]) -> tuple[str, ...]:
        silent = [group.status for group in groups if group.status != "ok"]
        said = (
            (
                f"the teacher had no opinion on {len(silent)} of {len(groups)} questions "
                f"({', '.join(sorted(set(silent)))}): the order of those means nothing",
            )
            if silent
            else ()
        )
        if self.scoring.method not in IN_ORDERS:
            return said
        orders = f"in {self.scoring.orders} orders each" if self.scoring.orders > 1 else "once each"
        if count <= GROUP:
            return (f"{count} candidates were asked by {self.scoring.method}, {orders}", *said)
        asked = times_asked(count, size=GROUP)
        noise = "; what is noise is marked among 10 or fewer only" if self.floor else ""
        return (
            f"{count} candidates met in {asked} groups of at most {GROUP}, the better half going "
            f"on, asked by {self.scoring.method}, {orders}; scores are the round and the place "
            f"reached{noise}",
            *said,
        )
