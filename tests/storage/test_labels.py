"""Questions and answers: nothing is asked twice, nothing that was paid for is lost."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.records import Category, ImportData, ItemRow, LabelRequest, SoftLabel
from storage.store import Store


@pytest.fixture
def category(store: Store) -> Category:
    none = np.empty(0, dtype=np.int64)
    columns = (none, none, none, none.astype(np.float32), none.astype(np.int8))
    return store.catalogue.write(
        "Pens",
        ImportData(["u0"], [ItemRow("i0", "Pen")], *columns),
        source="",
        synthetic=False,
        rating_low=None,
        rating_high=None,
        note="",
        digest="d",
    )


def request(number: int, category: Category, **changes: object) -> LabelRequest:
    plain = LabelRequest(
        f"k{number}",
        category.id,
        "train",
        number,
        10 + number,
        (1, 2),
        (3, 4, 5),
        2,
        "smol",
        "likelihood",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_requests_come_back_in_order_and_are_kept_once(store: Store, category: Category) -> None:
    first, second, third = (request(n, category) for n in (2, 0, 1))
    store.labels.add_requests([first, second, first])
    store.labels.add_requests([second, third])
    assert store.labels.requests(category.id) == [first, second, third]
    # The same question about another event is another request, with the same answer.
    elsewhere = replace(first, event=99, purpose="gate")
    store.labels.add_requests([elsewhere])
    assert store.labels.requests(category.id, purpose="gate") == [elsewhere]
    assert store.labels.requests(category.id, teacher="nobody") == []


def test_pending_are_those_without_an_answer(store: Store, category: Category) -> None:
    requests = [request(n, category) for n in range(3)]
    store.labels.add_requests(requests)
    store.labels.add(SoftLabel("k1", (0.1, 0.2, 0.3), (1, 1, 1), "declined", 0.5))
    assert store.labels.pending(category.id) == [requests[0], requests[2]]
    assert store.labels.pending(category.id, method="letters") == []
    assert store.labels.statistics(category.id) == [("smol", "likelihood", "declined", 1)]


def test_answers_are_exact_and_the_first_one_stays(store: Store) -> None:
    scores = (0.1 + 0.2, -1e-300, float("-inf"), np.float64(1 / 3))
    label = SoftLabel("k", scores, (1, 2, 3, 4), "ok", 0.25, {"outside": 0.125, "of": ["a"]})
    store.labels.add(label)
    store.labels.add(SoftLabel("k", (9.0,), (9,), "ok", 9.0))
    assert store.labels.get(["k", "absent", "k"]) == {"k": label}
    assert type(store.labels.get(["k"])["k"].scores[3]) is float


def test_a_score_that_is_no_number_stays_one(store: Store) -> None:
    store.labels.add(SoftLabel("k", (float("nan"),), (1,), "no_opinion", 0.0))
    assert math.isnan(store.labels.get(["k"])["k"].scores[0])


def test_more_keys_than_one_statement_takes(store: Store, category: Category) -> None:
    labels = [SoftLabel(f"k{n}", (float(n),), (1,), "ok", 0.0) for n in range(1201)]
    store.labels.add_many([*labels, labels[0]])
    store.labels.add_requests([request(n, category) for n in range(1201)])
    assert len(store.labels.get([label.key for label in labels])) == 1201
    assert store.labels.pending(category.id) == []
    store.labels.add_many([])
    assert store.labels.get([]) == {}


def test_titles_by_themselves(store: Store, category: Category) -> None:
    store.labels.add_unconditional("smol", category.id, {0: (-1.5, 3), np.int64(7): (-2.0, 4)})
    store.labels.add_unconditional("smol", category.id, {0: (-9.0, 9), 8: (-3.0, 5)})
    found = store.labels.unconditional("smol", category.id, [8, 0, 7, 6])
    assert found == {0: (-1.5, 3), 7: (-2.0, 4), 8: (-3.0, 5)}
    assert store.labels.unconditional("other", category.id, [0]) == {}


def test_answers_survive_a_kill(tmp_path: Path) -> None:
    """Each answer is on its own: a process that dies has lost none that it gave."""
    program = (
        "import os, pathlib, sys; from storage.store import Store\n"
        "from storage.records import SoftLabel\n"
        "store = Store.open(sys.argv[1], pathlib.Path('.'))\n"
        "for n in range(20): store.labels.add(SoftLabel(f'k{n}', (1.0,), (1,), 'ok', 0.1))\n"
        "os.kill(os.getpid(), 9)"
    )
    file = tmp_path / "recsys.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(file)], check=False)
    assert done.returncode == -9
    with Store.open(file, tmp_path) as store:
        assert len(store.labels.get([f"k{n}" for n in range(20)])) == 20
