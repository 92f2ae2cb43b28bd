"""Two runs on the requests they share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommender.comparison import ROWS_FILE, Rows, compare_rows, compare_runs
from recommender.significance import _alike
from storage.errors import BadData
from storage.records import Measurement, Run
from storage.store import Store
from tests.cli.shop import NAME, _data


def rows(of: list[int], ranks: list[int]) -> Rows:
    return Rows(np.array(of), np.arange(len(of)), np.array(ranks))


def test_only_shared_requests_count() -> None:
    (found,) = compare_rows(rows([3, 1, 9], [1, 1, 1]), rows([1, 3, 7], [1, 11, 99]), ["hr@10"])
    assert (found.a, found.b, found.difference.n) == (1.0, 0.5, 2)


@pytest.mark.parametrize("other", [[4, 5], [-1, -1]])
def test_no_shared_request_is_said(other: list[int]) -> None:
    with pytest.raises(BadData, match="share no request"):
        compare_rows(rows([1, 2], [1, 1]), rows(other, [1, 1]))
    # Requests without a row in the log are not told apart.
    with pytest.raises(BadData, match="share no request"):
        compare_rows(rows([-1, -1], [1, 1]), rows([-1, -1], [1, 1]))


def test_what_was_measured_beside_a_run(store: Store) -> None:
    run = Run("t", 1, "teacher", "teacher", 0, {}, "done", "2026-11-23")
    for scope, ranks in (("gate/candidates", [1, 2]), ("gate/candidates/popularity", [2, 4])):
        with store.artifacts.writing("evaluation", {"scope": scope}) as path:
            kept = rows([5, 6], ranks)
            found = {"rows": kept.rows, "users": kept.users, "ranks": kept.ranks}
            store.artifacts.save_arrays(path / ROWS_FILE, found)
        key = store.artifacts.key("evaluation", {"scope": scope})
        _category(store)
        store.runs.add(run)
        store.runs.add_measurements([Measurement("t", scope, "mrr", 0, 0, 0, 2, 2, key)])
    (found_,) = compare_runs(
        store,
        run,
        run,
        scope="gate/candidates",
        scope_b="gate/candidates/popularity",
        metrics=["mrr"],
    )
    assert (found_.a, found_.b) == (0.75, 0.375)


def _category(store: Store) -> None:
    if not store.catalogue.categories():
        store.catalogue.write(
            NAME, _data(), source="table", synthetic=True, rating_low=None, rating_high=None,
            note="", digest="one",
        )  # fmt: skip


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.integers(-2, 2)
    )
)
def test_rows_that_are_alike(table: np.ndarray) -> None:
    found, wanted = _alike(table), np.unique(table, axis=0, return_counts=True)
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])
