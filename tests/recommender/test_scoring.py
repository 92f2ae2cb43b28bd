from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recommender.calibration import fit_temperature, negative_log_likelihood
from recommender.scoring import (
    SOURCES,
    WAYS,
    Evidence,
    available,
    choose_scoring,
    combine,
    reciprocal_rank,
    standardise,
)

FULL = Evidence(
    target=1,
    likelihood=np.array([-10.0, -12.0, -14.0]),
    unconditional=np.array([-2.0, -8.0, -14.0]),
    letters=np.array([-1.0, -3.0, -2.0]),
    ranking=np.array([0.0, 2.0, 1.0]),
    generate=np.array([0.1, 0.9, 0.5]),
    similarity=np.array([0.7, 0.2, 0.4]),
    cosine=np.array([0.0, 1.0, 0.5]),
)
STEP = np.sqrt(1.5)
"""What 1, 2, 3 standardise to: −STEP, 0, STEP."""


BY_HAND: dict[str, list[float]] = {
    "likelihood": [-10, -12, -14],
    "half": [-9, -8, -7],
    "minus": [-8, -4, 0],
    "letters": [-1, -3, -2],
    "ranking": [0, 2, 1],
    "generate": [0.1, 0.9, 0.5],
    "similarity": [0.7, 0.2, 0.4],
    "likelihood+cosine": [STEP - STEP, 0 + STEP, -STEP + 0],
    "half+cosine": [-STEP - STEP, 0 + STEP, STEP + 0],
    "minus+cosine": [-STEP - STEP, 0 + STEP, STEP + 0],
    "letters+cosine": [STEP - STEP, -STEP + STEP, 0 + 0],
    "ranking+cosine": [-STEP - STEP, STEP + STEP, 0 + 0],
    "generate+cosine": [-STEP - STEP, STEP + STEP, 0 + 0],
}


@pytest.mark.parametrize("way", BY_HAND)
def test_each_way_by_hand(way: str) -> None:
    np.testing.assert_allclose(combine(way, FULL), BY_HAND[way], atol=1e-12)


def test_every_way_has_a_case_and_full_evidence_allows_all() -> None:
    assert available(FULL) == WAYS == tuple(BY_HAND)


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        (("likelihood",), {"likelihood", "half", "minus"}),
        (("unconditional", "letters"), {"half", "minus", "letters"}),
        (("ranking", "generate"), {"ranking", "generate"}),
        (("similarity",), {"similarity"}),
    ],
)
def test_what_lacks_its_evidence_is_no_way(missing: tuple[str, ...], gone: set[str]) -> None:
    poorer = replace(FULL, **dict.fromkeys(missing))
    left = tuple(way for way in WAYS if way.partition("+")[0] not in gone)
    assert available(poorer) == left
    for way in set(WAYS) - set(left):
        with pytest.raises(ValueError, match="lacks"):
            combine(way, poorer)


def test_without_title_vectors_there_are_the_single_sources() -> None:
    blind = replace(FULL, cosine=None)
    assert available(blind) == SOURCES
    with pytest.raises(ValueError, match="lacks"):
        combine("minus+cosine", blind)


def test_an_unknown_way_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'guess'"):
        combine("guess", FULL)


def test_a_sum_has_equal_parts_whatever_their_units() -> None:
    louder = replace(FULL, likelihood=1000 * FULL.likelihood + 5)
    np.testing.assert_allclose(
        combine("likelihood+cosine", louder), combine("likelihood+cosine", FULL), atol=1e-12
    )


def test_candidates_that_all_score_the_same_say_nothing() -> None:
    silent = replace(FULL, likelihood=np.full(3, -7.0))
    np.testing.assert_allclose(combine("likelihood+cosine", silent), standardise(FULL.cosine))


def test_a_tie_takes_the_worse_rank() -> None:
    assert reciprocal_rank([1.0, 1.0, 1.0, 0.0], 0) == pytest.approx(1 / 3)


def many(count: int = 60) -> list[Evidence]:
    """Requests where cosine knows most, likelihood something, and nobody else anything."""
    rng, others = np.random.default_rng(0), np.random.default_rng(1)
    requests = []
    for _ in range(count):
        target = int(rng.integers(5))
        truth = np.eye(5)[target]
        requests.append(
            Evidence(
                target,
                likelihood=30 * (0.6 * truth + rng.normal(size=5)),
                unconditional=30 * rng.normal(size=5),
                letters=rng.normal(size=5),
                ranking=others.permutation(5).astype(float),
                generate=others.normal(size=5),
                similarity=others.normal(size=5),
                cosine=2 * truth + rng.normal(size=5),
            )
        )
    return requests


def test_the_way_with_the_highest_mrr_is_chosen_with_its_own_temperature() -> None:
    requests = many()
    chosen = choose_scoring(requests)
    assert set(chosen.table) == set(WAYS)
    assert chosen.requests == 60
    assert chosen.table[chosen.way][0] == max(mrr for mrr, _ in chosen.table.values())
    assert chosen.way == "likelihood+cosine"
    targets = [r.target for r in requests]
    for way, (mrr, nll) in chosen.table.items():
        scores = [combine(way, r) for r in requests]
        ranks = [
            1 + sum(own[other] >= own[target] for other in range(5) if other != target)
            for own, target in zip(scores, targets, strict=True)
        ]
        assert mrr == pytest.approx(np.mean([1 / rank for rank in ranks]))
        assert nll == negative_log_likelihood(scores, targets, fit_temperature(scores, targets))
    own = [combine(chosen.way, r) for r in requests]
    assert chosen.temperature == fit_temperature(own, targets)


def test_of_equal_ranks_the_likelier_is_chosen() -> None:
    # The same order in both, so the same MRR; only 'minus' says how sure it is.
    rng = np.random.default_rng(1)
    requests = []
    for request in many(40):
        sure = rng.exponential() * 20
        order = np.argsort(np.argsort(request.cosine)).astype(float)
        wanted = order * (sure if order[request.target] == 4 else 0.1)
        requests.append(Evidence(request.target, likelihood=order, unconditional=order - wanted))
    chosen = choose_scoring(requests, ("likelihood", "minus"))
    assert chosen.table["likelihood"][0] == chosen.table["minus"][0]
    assert chosen.table["minus"][1] < chosen.table["likelihood"][1]
    assert chosen.way == "minus"


def letterless(requests: list[Evidence], places: range) -> list[Evidence]:
    return [replace(r, letters=None) if n in places else r for n, r in enumerate(requests)]


def test_a_way_that_half_of_the_requests_allow_is_compared_the_rest_ranked_last() -> None:
    requests = many(6)
    half = choose_scoring(letterless(requests, range(3)))
    whole = choose_scoring(requests)
    for way in ("letters", "letters+cosine"):
        own = [combine(way, r) for r in requests[3:]]
        targets = [r.target for r in requests[3:]]
        found = [reciprocal_rank(s, t) for s, t in zip(own, targets, strict=True)]
        assert half.table[way][0] == pytest.approx((sum(found) + 3 / 5) / 6)
        assert half.table[way][1] == negative_log_likelihood(
            own, targets, fit_temperature(own, targets)
        )
    for way in set(WAYS) - {"letters", "letters+cosine"}:
        assert half.table[way] == whole.table[way]


def test_a_way_that_fewer_than_half_allow_is_not_compared() -> None:
    requests = letterless(many(6), range(4))
    assert not any(way.startswith("letters") for way in choose_scoring(requests).table)
    assert set(choose_scoring(requests, ("half", "minus")).table) == {"half", "minus"}
    with pytest.raises(ValueError, match="letters"):
        choose_scoring(requests, ("letters",))
    with pytest.raises(ValueError, match="no requests"):
        choose_scoring([])
