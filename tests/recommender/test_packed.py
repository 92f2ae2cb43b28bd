from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends.packed import pack, packs, sees

TOKENS = st.lists(st.integers(0, 99), min_size=1, max_size=6)
REQUESTS = st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=6))


@given(REQUESTS)
def test_every_scored_token_sees_exactly_its_own_text(request_: tuple) -> None:
    prefix, candidates = request_
    one = pack(prefix, candidates)
    visible = sees(one)
    for number, tokens in enumerate(candidates):
        whole = prefix + tokens
        mine = np.flatnonzero(one.owners == number)
        assert one.targets[mine].tolist() == tokens
        for step, scored in enumerate(mine):
            row = one.rows[scored]
            seen = np.flatnonzero(visible[row])
            # What the row looks at is the naive text up to the scored token, in its order.
            assert one.ids[seen].tolist() == whole[: len(prefix) + step]
            assert one.positions[seen].tolist() == list(range(len(prefix) + step))


@given(REQUESTS)
def test_a_pack_is_as_short_as_it_can_be(request_: tuple) -> None:
    prefix, candidates = request_
    one = pack(prefix, candidates)
    assert len(one) == len(prefix) + sum(len(c) - 1 for c in candidates)
    assert len(one.rows) == sum(map(len, candidates))
    assert one.candidates == len(candidates)


@given(REQUESTS, st.integers(1, 30))
def test_packs_cover_all_candidates_once_and_in_order(request_: tuple, limit: int) -> None:
    prefix, candidates = request_
    made = packs(prefix, candidates, limit=limit)
    scored = [
        one.targets[one.owners == number].tolist()
        for one in made
        for number in range(one.candidates)
    ]
    assert scored == candidates
    assert [one.first for one in made] == np.cumsum([0, *(o.candidates for o in made)])[
        :-1
    ].tolist()
    assert all(len(one) <= limit or one.candidates == 1 for one in made)


@pytest.mark.parametrize(
    ("prefix", "candidates"), [([], [[1]]), ([1], []), ([1], [[2], []])], ids=str
)
def test_nothing_to_predict_is_refused(prefix: list[int], candidates: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        pack(prefix, candidates)
