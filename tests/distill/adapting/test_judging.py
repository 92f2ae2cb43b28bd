"""Two models before the same test questions: who is asked what, and what counts as merit."""

from __future__ import annotations

from pathlib import Path
from string import ascii_uppercase

import numpy as np
import pytest

from distill.adapting.judging import declined_share, in_words, judge
from distill.adapting.measuring import WAYS, Measured
from distill.adapting.questions import choosing_questions
from distill.adapting.questions import test_questions as questions_of_test
from distill.ground import Ground, sampler
from recommender.asking.requests import Question
from recommender.events import StageStarted
from storage.store import Store
from tests.distill.adapting.conftest import adapting
from tests.tiny import finished, open_llama

WHOLE = 24
KNOWN = 32
"""Fewer than these calibrate nothing."""


def ranks_by_hand(
    model: Measured, way: str, known: list[Question], asked: list[Question], *, fair: bool
) -> list[int]:
    def rows(questions: list[Question]) -> list[np.ndarray]:
        return [model.score(model.texts.prompt(q), way) for q in questions]  # type: ignore[arg-type]

    prior = np.mean([row - row.mean() for row in rows(known)], axis=0) if fair else 0.0
    scores = [row - prior for row in rows(asked)]
    return [
        1 + sum(s >= row[q.target] for place, s in enumerate(row) if place != q.target)
        for row, q in zip(scores, asked, strict=True)
    ]


def test_letters_lose_what_their_place_gets_and_whole_prompts_are_asked_of_the_first(
    store: Store, ground: Ground, llama: Path
) -> None:
    config = adapting(valid_requests=40)
    draw = sampler(ground, config.asking())
    choosing = choosing_questions(ground.split, draw, seed=0, most=config.valid_requests)
    test = questions_of_test(ground.split, draw, seed=0, most=config.test_requests)
    model, same = (
        Measured(open_llama(llama), key, ground.texts, config.prompt_tokens) for key in "ab"
    )
    said, judged = finished(
        judge(store.artifacts, ground, model, same, choosing, test, whole=WHOLE, seed=0)
    )

    totals = {e.stage: e.total for e in said if isinstance(e, StageStarted)}
    for name in ("adapted", "unadapted"):
        assert totals[f"{name} teacher, by short letters: validation"] == len(choosing)
        assert totals[f"{name} teacher, by short letters: test"] == len(test)
        assert totals[f"{name} teacher, by letters: validation"] == KNOWN
        for way in ("letters", "likelihood"):
            assert totals[f"{name} teacher, by {way}: test"] == WHOLE

    for way in WAYS:
        some = (choosing, test) if way == "short letters" else (choosing[:KNOWN], test[:WHOLE])
        found = judged.adapted[way].ranks.tolist()
        assert found == ranks_by_hand(model, way, *some, fair=way != "likelihood")
        if way != "likelihood":
            assert found != ranks_by_hand(model, way, *some, fair=False), "the prior says something"
        # A model beside itself.
        assert judged.differences[way]["mrr"].value == pytest.approx(0, abs=1e-12)

    asked = [model.texts.prompt(q) for q in test[:WHOLE]]
    outside = [model.backend.score(p, ascii_uppercase[: len(p.candidates)]).outside for p in asked]
    share = sum(one > 0.5 for one in outside) / WHOLE
    assert judged.declined == {"adapted": share, "unadapted": share}
    assert share > 0.9, "a model that was taught nothing says anything but letters"
    line = next(one for one in in_words(judged, config.prompt_tokens) if "declined" in one)
    assert line.count(f"{share:.0%} of the ") == 2


def test_an_answer_is_declined_where_most_of_it_is_no_letter() -> None:
    """By the sum over the letters, whatever their order and however sure the best is."""
    said = [np.log([0.49, 0.02]), np.log([0.3, 0.3, 0.3])]
    silent = [np.log([0.49, 0.0099]), np.log([1e-9, 1e-3])]
    assert declined_share(said) == 0
    assert declined_share(silent) == 1
    assert declined_share([*said, silent[0]]) == pytest.approx(1 / 3)
