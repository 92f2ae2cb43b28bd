"""Runs, figures and layer profiles: what is looked for is found, and which one is best."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from storage.errors import UnknownName
from storage.records import ImportData, LayerProfile, Measurement, Run
from storage.runs import Runs
from storage.store import Store


@pytest.fixture
def run(store: Store) -> Run:
    none = np.empty(0, dtype=np.int64)
    category = store.catalogue.write(
        "Pens",
        ImportData([], [], none, none, none, none.astype(np.float32), none.astype(np.int8)),
        source="",
        synthetic=False,
        rating_low=None,
        rating_high=None,
        note="",
        digest="d",
    )
    config = {"lr": 1e-3, "teacher": {"spec": "embedded"}, "ks": [1, 5]}
    return Run(
        "distilled-1", category.id, "student", "distilled", 7, config, "done", "2026-11-23",
        "artifact", 0.25,
    )  # fmt: skip


def test_a_run_comes_back_and_is_kept_once(store: Store, run: Run) -> None:
    store.runs.add(run)
    store.runs.add(replace(run, name="again"))
    assert store.runs.list() == store.runs.list(run.category_id) == [run]
    assert store.runs.list(99) == []


def test_a_run_is_found_by_the_beginning_of_its_id(store: Store, run: Run) -> None:
    store.runs.add(run)
    assert store.runs.get("distilled-1") == store.runs.get("dist") == run
    store.runs.add(replace(run, id="distilled-2"))
    for name in ("distilled-", "distiled-1", "x", ""):
        with pytest.raises(UnknownName, match=r"no run .*next: recsys runs list"):
            store.runs.get(name)


def test_fields_are_updated(store: Store, run: Run) -> None:
    store.runs.add(replace(run, status="running", selection=None))
    store.runs.update(run.id, status="done", selection=0.25)
    assert store.runs.get(run.id) == run
    with pytest.raises(UnknownName):
        store.runs.update("nobody", status="done")


def test_the_best_is_chosen_on_validation(store: Store, run: Run) -> None:
    assert store.runs.best(run.category_id) is None
    others = {
        "better": {"selection": 0.5},
        "better-final": {"selection": 0.5, "final": True},
        "unfinished": {"selection": 0.9, "status": "running"},
        "baseline": {"selection": 0.9, "kind": "baseline"},
        "nothing-to-open": {"selection": 0.9, "artifact": ""},
        "unmeasured": {"selection": None},
    }
    store.runs.add(run)
    for name, changes in others.items():
        store.runs.add(replace(run, id=name, **changes))
    best = store.runs.best(run.category_id)
    assert best is not None
    assert best.id == "better-final"
    measured = store.runs.best(run.category_id, final=False)
    assert measured is not None
    assert measured.id == "better"


def test_figures_are_replaced_by_name(store: Store, run: Run) -> None:
    store.runs.add(run)
    figure = Measurement(run.id, "test/full", "ndcg@10", 0.5, 0.4, 0.6, 9, 3, "rows")
    other = replace(figure, metric="hr@10", value=np.float32(0.25), n=np.int64(9))
    store.runs.add_measurements([figure, other])
    store.runs.add_measurements([replace(figure, value=0.75)])
    store.runs.add_measurements([])
    found = store.runs.measurements(run.id)
    assert [(one.metric, one.value) for one in found] == [("hr@10", 0.25), ("ndcg@10", 0.75)]
    assert found[1].artifact == "rows"
    assert store.runs.measurements("nobody") == []


def test_a_figure_that_is_no_number_stays_one(store: Store, run: Run) -> None:
    store.runs.add(run)
    store.runs.add_measurements(
        [Measurement(run.id, "test/full", "ndcg@10", math.inf, math.nan, math.nan, 1, 1)]
    )
    (found,) = store.runs.measurements(run.id)
    assert found.value == math.inf
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_profiles(store: Store, run: Run) -> None:
    profile = LayerProfile(
        "p1", run.category_id, "smol", "fisher", 40, (0.1, 0.2), (0.0, 0.1), (0.2, 0.3), "a,b",
        {"temperature": 2.5},
    )  # fmt: skip
    store.runs.add_profile(profile)
    store.runs.add_profile(replace(profile, requests=1))
    assert store.runs.profiles(run.category_id) == [profile]
    assert store.runs.profile("p1") == profile
    with pytest.raises(UnknownName, match="no layer profile 'p2'"):
        store.runs.profile("p2")


def test_the_latest_profile_is_the_one_made_last(store: Store, run: Run) -> None:
    """Added against the order of keys, some within one second; each is found by what it is."""
    moments = (datetime(2026, 11, 23, tzinfo=UTC) + timedelta(microseconds=n) for n in range(99))
    runs = Runs(store.database, now=lambda: next(moments))
    first = LayerProfile(
        "p5", run.category_id, "smol", "fisher", 40, (0.1,), (0.0,), (0.2,), "a", {"a": 1}
    )
    assert runs.latest_profile(run.category_id, "fisher") is None
    runs.add_profile(first)
    assert runs.latest_profile(run.category_id, "fisher") == first
    second, big, ghost = (
        replace(first, key="p4"),
        replace(first, key="p3", weights="big"),
        replace(first, key="p2", criterion="ghost"),
    )
    for profile in (second, big, ghost):
        runs.add_profile(profile)
    runs.add_profile(first)  # is left as it is, and so is its time
    assert runs.profiles(run.category_id) == [first, second, big, ghost], "the first in front"
    latest = runs.latest_profile
    assert latest(run.category_id, "fisher") == big
    assert latest(run.category_id, "fisher", "smol") == second
    assert latest(run.category_id, "ghost") == latest(run.category_id, "ghost", "smol") == ghost
    assert latest(run.category_id, "ghost", "big") is None
    assert latest(run.category_id, "fisher", "") is None
    assert latest(run.category_id + 1, "fisher") is None


def test_figures_go_with_their_category(store: Store, run: Run) -> None:
    store.runs.add(run)
    store.runs.add_measurements([Measurement(run.id, "s", "m", 1.0, 1.0, 1.0, 1, 1)])
    store.catalogue.drop(run.category_id)
    assert store.runs.measurements(run.id) == []
