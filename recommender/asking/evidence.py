"""Everything a teacher is asked about some questions, gathered as evidence a question.

Which methods a teacher can be asked by is a matter of its abilities; which of them counts in
the end is chosen elsewhere, on validation. Here they are asked, found again in the Store, and
put side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recommender.asking.answering import METHOD_NEEDS, Texts, address
from recommender.asking.grounding import Grounder
from recommender.asking.labelling import label, label_unconditional
from recommender.asking.orders import by_length, judge_orders, merged, place_prior
from recommender.asking.requests import Question
from recommender.backends import Backend, ModelCard
from recommender.events import Event, Notice
from recommender.scoring import Evidence
from recommender.teacher import similarity
from storage.errors import BadSetting
from storage.records import FloatArray, LabelRequest, SoftLabel
from storage.store import Store

Priors = Mapping[int, tuple[float, ...]]
"""Number of candidates -> what each place gets whoever stands there."""


@dataclass(frozen=True, eq=False, slots=True)
class Listener:
    """Who is asked, and with what at hand: the same for all slices of one distillation."""

    store: Store
    backend: Backend
    texts: Texts
    vectors: FloatArray
    """(items, width), unit length: title vectors."""
    category_id: int
    orders: int = 1
    """In how many rotations letters and rankings are asked."""
    in_flight: int = 0
    grounder: Grounder | None = None

    def requests(
        self, questions: Sequence[Question], purpose: str, method: str
    ) -> list[LabelRequest]:
        """Return the questions as they are put to this teacher, in all orders."""
        return address(
            questions,
            self.texts,
            category_id=self.category_id,
            purpose=purpose,
            teacher=self.backend.describe(),
            method=method,
            orders=self.orders,
            grounded_by=self.grounder.encoder_name if self.grounder else "",
        )


@dataclass(frozen=True, eq=False, slots=True)
class Heard:
    """The answers to some questions."""

    requests: tuple[LabelRequest, ...]
    """One a question, candidates in the order drawn."""
    evidence: tuple[Evidence, ...]
    priors: Priors
    """Empty where nothing was asked by letters."""
    lost: Mapping[str, Counter[str]]
    """Method -> why how many questions have no evidence by it."""


def askable(card: ModelCard) -> tuple[str, ...]:
    """Return the methods a model can be asked by, the cheapest way to the most first.

    A ranking is the road for a model whose letters cannot be read.

    >>> from recommender.backends import example_card
    >>> askable(example_card("letters", "text", "json"))
    ('letters', 'generate')
    >>> askable(example_card("text", "json"))
    ('ranking', 'generate')
    """
    able = [method for method, ability in METHOD_NEEDS.items() if ability in card.abilities]
    return tuple(m for m in able if m != "ranking" or "letters" not in able)


def hear(
    listener: Listener,
    questions: Sequence[Question],
    purpose: str,
    methods: Sequence[str],
    *,
    priors: Priors | None = None,
) -> Generator[Event, None, Heard]:
    """Ask questions by each of the methods, and return what is known of each question.

    Args:
        listener: who is asked.
        questions: what.
        purpose: 'choose', 'gate' or 'train'.
        methods: of `askable`.
        priors: from another slice; None measures them on these very answers, which needs no
            knowledge of what is true.

    Raises:
        BadSetting: the backend cannot be asked by a method.
        BackendError: it does not answer any more; what it said is kept.
    """
    card = listener.backend.describe()
    for method in methods:
        if METHOD_NEEDS[method] not in card.abilities:
            raise BadSetting(
                f"{card.name!r} cannot be asked by {method!r}; it can by "
                f"{', '.join(askable(card)) or 'nothing'}",
                next_step="recsys models list",
            )
    evidence = [
        Evidence(
            q.target,
            cosine=similarity(
                listener.vectors, q.history, q.candidates, listener.texts.history_length
            ),
        )
        for q in questions
    ]
    lost: dict[str, Counter[str]] = {}
    found: Priors = priors or {}
    for method in methods:
        asked = listener.requests(questions, purpose, method)
        yield from _asked(listener, asked, purpose, method)
        answers = listener.store.labels.get([request.key for request in asked])
        if method == "letters" and priors is None:
            found = priors_of(asked, answers)
        values, lost[method] = _by_question(questions, asked, answers, method, found)
        evidence = [e.with_(method, value) for e, value in zip(evidence, values, strict=True)]
    plain = [r for r in listener.requests(questions, purpose, methods[0]) if not r.shift]
    if "likelihood" in methods:
        evidence = yield from _with_unconditional(listener, plain, evidence)
    return Heard(tuple(plain), tuple(evidence), found, lost)


def priors_of(requests: Sequence[LabelRequest], answers: Mapping[str, SoftLabel]) -> Priors:
    """Measure what each place gets, from every answer by letters; one prior a list length."""
    rows = [
        answers[request.key].scores
        for request in requests
        if request.key in answers and answers[request.key].status == "ok"
    ]
    return {
        count: tuple(float(b) for b in place_prior(some)) for count, some in by_length(rows).items()
    }


def _asked(
    listener: Listener, requests: Sequence[LabelRequest], purpose: str, method: str
) -> Generator[Event, None, None]:
    stage = f"teacher: {purpose}" if method == "likelihood" else f"teacher: {purpose}, by {method}"
    yield from label(
        listener.backend,
        requests,
        listener.texts,
        listener.store.labels,
        stage=stage,
        grounder=listener.grounder,
        in_flight=listener.in_flight,
    )


def _by_question(
    questions: Sequence[Question],
    requests: Sequence[LabelRequest],
    answers: Mapping[str, SoftLabel],
    method: str,
    priors: Priors,
) -> tuple[list[np.ndarray | None], Counter[str]]:
    """Return one row of scores a question, None where the answers come to no label."""
    values: list[np.ndarray | None] = []
    lost: Counter[str] = Counter()
    at = 0
    for question in questions:
        turns = [requests[at]]
        at += 1
        while at < len(requests) and requests[at].shift:
            turns.append(requests[at])
            at += 1
        said: list[tuple[int, str, Sequence[float]]] = [
            (turn.shift, answers[turn.key].status, answers[turn.key].scores)
            if turn.key in answers
            else (turn.shift, "failed", ())
            for turn in turns
        ]
        judged = judge_orders(said)
        if judged.status == "ok":
            prior = priors.get(len(question.candidates)) if method == "letters" else None
            values.append(merged(judged.answers, judged.turns, prior))
        else:
            values.append(None)
            lost[judged.status] += 1
    return values, lost


def _with_unconditional(
    listener: Listener, requests: Sequence[LabelRequest], evidence: Sequence[Evidence]
) -> Generator[Event, None, list[Evidence]]:
    """Add what each title scores by itself, asking for it once an item."""
    items = sorted({item for request in requests for item in request.candidates})
    yield from label_unconditional(
        listener.backend,
        items,
        listener.texts,
        listener.store.labels,
        category_id=listener.category_id,
    )
    teacher = listener.texts.scored_by(listener.backend.describe())
    alone = listener.store.labels.unconditional(teacher, listener.category_id, items)
    result = []
    for request, one in zip(requests, evidence, strict=True):
        known = [alone.get(item) for item in request.candidates]
        row = np.array([k[0] for k in known if k]) if all(known) else None
        result.append(replace(one, unconditional=row))
    return result


def say_lost(heard: Heard) -> Generator[Event, None, None]:
    """Say how many questions have no evidence, by which method, and why."""
    for method, reasons in heard.lost.items():
        if reasons:
            said = ", ".join(f"{n} {why}" for why, n in reasons.most_common())
            yield Notice(
                f"{reasons.total()} of {len(heard.requests)} questions by {method} are no "
                f"labels: {said}"
            )
