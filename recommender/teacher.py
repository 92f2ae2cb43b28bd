"""A language model as a ranker: candidates, prompt, backend, one score a candidate.

Apart from the backend, which knows texts only, and from the bulk job, which only asks: here
answers become evidence, and evidence, by the way of scoring that was chosen, a ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recommender.backends import Backend
from recommender.candidates import retrieve
from recommender.labelling import Texts, answer
from recommender.ranking import CatalogueRanker, Ranking
from recommender.requests import OPEN, Question, addressed
from recommender.scoring import Evidence, Scoring, combine
from storage.records import FloatArray, IntArray, LabelRequest, SoftLabel

Array = npt.NDArray[np.float64]


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
    offered = vectors[list(candidates)].astype(np.float64)
    if not history:
        return np.zeros(len(offered))
    mean = vectors[list(history)[-length:]].astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    result: Array = offered @ mean / norm if norm > 0 else np.zeros(len(offered))
    return result


def gather_evidence(
    requests: Sequence[LabelRequest],
    labels: Mapping[str, SoftLabel],
    unconditional: Mapping[int, tuple[float, int]],
    vectors: FloatArray,
    history_length: int,
) -> list[Evidence]:
    """Return what is known of the candidates of each request, in the requests' order.

    Args:
        requests: asked by likelihood.
        labels: answers by the request's key.
        unconditional: (log-probability, tokens) by item; items that are missing leave
            `Evidence.unconditional` empty.
        vectors: title vectors, (items, width), unit length.
        history_length: how many items the prompts showed.
    """
    result = []
    for request in requests:
        alone = [unconditional.get(item) for item in request.candidates]
        result.append(
            Evidence(
                target=request.target,
                likelihood=np.array(labels[request.key].scores),
                unconditional=np.array([a[0] for a in alone if a]) if all(alone) else None,
                cosine=similarity(vectors, request.history, request.candidates, history_length),
            )
        )
    return result


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
    _alone: dict[int, float] = field(default_factory=dict)

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the best n of the candidates, of what `sources` offer where none are given."""
        past = {int(i) for i in history}
        pool = retrieve(self.sources, history, self.offered) if candidates is None else candidates
        items = [i for i in dict.fromkeys(int(i) for i in pool) if i not in past]
        if not items:
            return Ranking((), (), self.name)
        scores = self.score([int(i) for i in history], items)
        best = sorted(range(len(items)), key=lambda c: (-scores[c], items[c]))[:n]
        return Ranking(
            tuple(items[c] for c in best), tuple(float(scores[c]) for c in best), self.name
        )

    def score(self, history: Sequence[int], items: Sequence[int]) -> Array:
        """Return one score an item, by the chosen way of scoring."""
        question = Question(0, OPEN, tuple(history), tuple(items), OPEN)
        way = self.scoring.way
        method = "letters" if way.startswith("letters") else "likelihood"
        prompt = self.texts.prompt(question)
        request = addressed(
            question,
            category_id=0,
            purpose="serve",
            teacher=self.name,
            method=method,
            template="",
            shown=prompt.history,
            offered=prompt.candidates,
        )
        answered = np.array(answer(self.backend, request, self.texts).logprobs)
        evidence = Evidence(
            target=OPEN,
            likelihood=answered if method == "likelihood" else None,
            letters=answered if method == "letters" else None,
            unconditional=self._unconditional(items) if way.startswith(("half", "minus")) else None,
            cosine=similarity(self.vectors, history, items, self.texts.history_length),
        )
        return combine(way, evidence)

    def _unconditional(self, items: Sequence[int]) -> Array:
        missing = [item for item in items if item not in self._alone]
        if missing:
            titles = [self.texts.titles[item] for item in missing]
            scores = self.backend.unconditional(titles, noun=self.texts.noun)
            self._alone.update(zip(missing, scores.logprobs, strict=True))
        return np.array([self._alone[item] for item in items])
