"""Questions and answers: nothing is asked twice, nothing that was paid for is lost."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.records import (
    Category,
    ImportData,
    ItemRow,
    LabelFailure,
    LabelRequest,
    LabelStatistics,
    SoftLabel,
)
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


def test_the_order_drawn_is_found_again(store: Store, category: Category) -> None:
    drawn = (7, 8, 9, 5)
    for shift in range(4):
        offered = tuple(drawn[(place + shift) % 4] for place in range(4))
        turned = request(shift, category, candidates=offered, shift=shift, template="7/books")
        assert turned.drawn == drawn
        store.labels.add_requests([turned])
        assert store.labels.requests(category.id)[shift] == turned
    assert request(0, category, candidates=()).drawn == ()


def test_adding_says_what_was_new(store: Store, category: Category) -> None:
    first, second = request(0, category), request(1, category)
    assert store.labels.add_requests([first, first]) == [first]
    assert store.labels.add_requests([second, first]) == [second]
    assert store.labels.add_requests([]) == []
    kept = SoftLabel("k0", (1.0,), (1,), "ok", 0.1)
    assert store.labels.add_many([kept, replace(kept, scores=(2.0,))]) == {"k0"}
    assert store.labels.add_many([replace(kept, key="k1"), kept]) == {"k1"}
    assert store.labels.get(["k0"]) == {"k0": kept}


def test_answered_are_those_with_an_answer_in_order(store: Store, category: Category) -> None:
    asked = [request(n, category) for n in (3, 1, 2, 0)]
    asked.append(request(1, category, purpose="gate", event=77))
    store.labels.add_requests(asked)
    given = {n: SoftLabel(f"k{n}", (float(n),) * 3, (1,) * 3, "ok", 0.5) for n in (0, 1, 3)}
    store.labels.add_many(list(given.values()))
    wanted = [(asked[0], given[3]), (asked[1], given[1]), (asked[3], given[0])]
    assert list(store.labels.answered(category.id, purpose="train")) == wanted
    assert list(store.labels.answered(category.id)) == [*wanted, (asked[4], given[1])]
    assert list(store.labels.answered(category.id + 1)) == []


def test_failures_are_kept_beside_one_another(store: Store, category: Category) -> None:
    asked = [request(n, category) for n in range(2)]
    store.labels.add_requests(asked)
    first = LabelFailure("k0", "2026-11-23T10:00:00+00:00", "timeout", "no answer", "gpu-1", 30.5)
    again = replace(first, status="error", message="out of memory", host="gpu-2")
    for failure in (first, first, replace(first, key="k9"), again):
        store.labels.add_failure(failure)
    assert store.labels.failures(["k0", "k1", "k0"]) == {"k0": [first, first, again]}
    assert store.labels.failures([]) == {}
    assert store.labels.pending(category.id) == asked  # the next run asks again
    store.labels.add(SoftLabel("k0", (0.1, 0.2, 0.3), (1, 1, 1), "ok", 0.5))
    assert store.labels.pending(category.id) == asked[1:]
    assert len(store.labels.failures(["k0"])["k0"]) == 3


def test_no_text_of_a_model_or_a_server_is_refused(store: Store) -> None:
    half = "half of a pair: \ud83d, and a \0"
    store.labels.add(SoftLabel("k", (1.0,), (1,), "wrong_format", 0.1, {"text": half}))
    assert store.labels.get(["k"])["k"].details == {"text": half}
    store.labels.add_failure(LabelFailure("k", "2026", "error", half, "gpu", 1.0))
    (kept,) = store.labels.failures(["k"])["k"]
    assert kept.message == "half of a pair: ?, and a ?"


def test_statistics_of_each_status(store: Store, category: Category) -> None:
    asked = [request(n, category) for n in range(22)]
    # The answer to k0 is used twice, and was paid for once.
    asked += [request(0, category, event=99), request(30, category, method="letters")]
    store.labels.add_requests(asked)
    store.labels.add_many(
        [SoftLabel(f"k{n}", (1.0,), (1,), "ok", float(n)) for n in range(20)]
        + [SoftLabel("k20", (1.0,), (1,), "declined", 7.0)]
        + [SoftLabel("of another category", (1.0,), (1,), "ok", 1e6)]
    )
    for key in ("k0", "k21", "k21", "k30", "of another category"):
        store.labels.add_failure(LabelFailure(key, "2026", "timeout", "", "gpu", 30.0))
    nan, train = math.nan, ("smol", "likelihood", "train")
    found = store.labels.statistics(category.id)
    assert found == [
        LabelStatistics(*train, "ok", 21, 20, 9.5, pytest.approx(18.05), 1),  # type: ignore[arg-type]
        LabelStatistics("smol", "letters", "train", "", 1, 0, nan, nan, 1),
        LabelStatistics(*train, "", 1, 0, nan, nan, 2),
        LabelStatistics(*train, "declined", 1, 1, 7.0, 7.0, 0),
    ]
    assert store.labels.statistics(category.id + 1) == []


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


ADD = """
import pathlib, sys, time
from storage.records import SoftLabel
from storage.store import Store
store = Store.open(sys.argv[1], pathlib.Path('.'))
while time.time() < float(sys.argv[2]):
    pass
"""
"""Begins a program that adds answers to the Store it is told of, at the moment it is told."""


def test_two_processes_add_the_same_answers(tmp_path: Path) -> None:
    """One by one and many at once, in opposite orders: each is there once, and nobody fails."""
    file = tmp_path / "recsys.sqlite"
    Store.open(file, tmp_path).close()
    program = (
        f"{ADD}\n"
        "keys = range(200)[:: int(sys.argv[3])]\n"
        "added = 0\n"
        "for n in keys:\n"
        "    both = [SoftLabel(f'k{m}', (float(m),), (1,), 'ok', 0.1) for m in (n, 199 - n)]\n"
        "    added += len(store.labels.add_many(both))\n"
        "print(added)"
    )
    start = str(time.time() + 2)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(file), start, way],
            stdout=subprocess.PIPE,
            text=True,
        )
        for way in ("1", "-1")
    ]
    added = [int(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(added) == 200
    with Store.open(file, tmp_path) as store:
        found = store.labels.get([f"k{n}" for n in range(200)])
        assert [found[f"k{n}"].scores for n in range(200)] == [(float(n),) for n in range(200)]
        with store.database.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM soft_labels").scalar() == 200


def test_two_processes_add_requests(store: Store, category: Category, tmp_path: Path) -> None:
    program = (
        f"{ADD}\n"
        "from storage.records import LabelRequest\n"
        "for n in range(100):\n"
        "    asked = [LabelRequest(f'k{m}', 1, 'train', m, m, (), (0,), 0, 't', 'letters')\n"
        "             for m in (n, n + int(sys.argv[3]))]\n"
        "    store.labels.add_requests(asked)"
    )
    start = str(time.time() + 2)
    command = [sys.executable, "-c", program, str(tmp_path / "recsys.sqlite"), start]
    both = [subprocess.Popen([*command, shift]) for shift in ("100", "200")]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    found = store.labels.requests(category.id)
    assert sorted(one.key for one in found) == sorted(f"k{n}" for n in range(300))


@pytest.mark.parametrize("seed", range(3))
def test_answers_survive_a_kill_at_any_moment(tmp_path: Path, seed: int) -> None:
    """An answer is kept when `add` returns: whatever was said to be kept is there, once."""
    program = (
        f"{ADD}\n"
        "for n in range(1_000_000):\n"
        "    store.labels.add(SoftLabel(f'k{n}', (float(n),) * 20, (1,) * 20, 'ok', 0.1))\n"
        "    print(f'k{n}', flush=True)"
    )
    file = tmp_path / "recsys.sqlite"
    command = [sys.executable, "-c", program, str(file), "0"]
    draw = random.Random(seed)
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
        time.sleep(draw.uniform(0.0, 0.3))
        process.kill()
        # A line that was cut by the kill has no end, and acknowledged nothing.
        said += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -9
    with Store.open(file, tmp_path) as store:
        with store.database.reading() as connection:
            keys = connection.exec_driver_sql("SELECT key FROM soft_labels").scalars().all()
        assert said[0] == "k0"
        assert set(said) <= set(keys)
        assert len(keys) <= len(said) + 1  # at most one was kept and not said any more
        # The next run goes on where this one died.
        again = [SoftLabel(f"k{n}", (float(n),) * 20, (1,) * 20, "ok", 0.1) for n in range(50)]
        store.labels.add_many(again)
        assert store.labels.get([one.key for one in again]) == {one.key: one for one in again}
        with store.database.reading() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM soft_labels").scalar()
        assert count == max(len(keys), 50)


def test_adding_one_answer_takes_under_two_milliseconds(store: Store) -> None:
    """Processor time, since others may be running; there is no waiting for the disk in it."""
    store.labels.add(SoftLabel("first", (1.0,) * 20, (1,) * 20, "ok", 1.0))
    started = time.process_time()
    for n in range(300):
        store.labels.add(
            SoftLabel(f"k{n}", (-1.2345,) * 20, (1,) * 20, "ok", 1.0, {"a": "b" * 200})
        )
    assert (time.process_time() - started) / 300 < 0.002
