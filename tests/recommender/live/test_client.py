"""The asking end: what it hears, in what order, and that nothing is left when it is closed."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recommender.config import Settings
from recommender.live.client import LiveClient
from recommender.live.messages import (
    Answered,
    Opened,
    Opening,
    Refused,
)
from recommender.sequential.student import StudentRanker
from storage.store import Store
from tests.recommender.live.conftest import (
    BARE,
    HISTORY,
    HOSTILE,
    TITLES,
    Talk,
    opened,
    run,
    starting,
)
from tests.recommender.live.test_answering import alive, state
from tests.tiny import SHOP


def test_the_asking_end_loads_nothing_that_ranks() -> None:
    code = (
        "import sys, recommender.live.client, recommender.live.messages\n"
        "heavy = 'torch transformers onnxruntime scipy numpy sqlalchemy httpx'.split()\n"
        "assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- students and baselines


def test_a_student_answers_as_it_would_here(home: Settings) -> None:
    async def talk() -> None:
        started = time.perf_counter()
        async with starting(home, "student") as student:
            number = student.client.ask(HISTORY, n=7)
            ready, answered = await student.until(Answered)
        assert time.perf_counter() - started < 5  # about 0.3 s where nobody else computes
        assert isinstance(ready, Opened)
        assert (ready.by, ready.about) == ("student", "best-1, distilled")
        assert isinstance(answered, Answered)
        assert (answered.number, answered.ranker, answered.notices) == (number, "student", ())
        assert 0 < answered.seconds < 1
        with Store.open(home.db, home.artifacts) as store:
            folder = store.artifacts.open(store.runs.get("best-1").artifact).path
            expected = StudentRanker.open(folder).rank(np.array(HISTORY), n=7)
            shop = store.catalogue.category(SHOP)
            found = store.catalogue.items_by_number(shop.id, expected.items)
        assert [one.item for one in answered.items] == list(expected.items)
        assert [one.score for one in answered.items] == list(expected.scores)
        assert [(one.id, one.title) for one in answered.items] == [(i.id, i.title) for i in found]

    run(talk)


def test_questions_are_answered_in_their_order(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "item-knn") as ranker:
            numbers = [ranker.client.ask([item]) for item in range(200)]
            heard = [await ranker.next() for _ in numbers]
        assert [getattr(one, "number", None) for one in heard] == numbers
        assert len(set(numbers)) == 200
        assert all(isinstance(one, Answered) for one in heard)

    run(talk)


def test_what_a_student_does_not_know_is_said(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "student:older-1") as ranker:
            ranker.client.ask(HISTORY)
            answered = await ranker.next()
            assert isinstance(answered, Answered)
            assert answered.notices == ("17 items are newer than it and were left out",)
            ranker.client.ask([])
            answered = await ranker.next()
            assert isinstance(answered, Answered)
            assert answered.ranker == "student (by popularity: history unknown)"

    run(talk)


def test_ones_own_ranker_may_answer_in_numpys_numbers(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "shelf") as ranker:
            ranker.client.ask(HISTORY, n=2)
            answered = await ranker.next()
        assert isinstance(answered, Answered)
        assert [(one.item, one.score) for one in answered.items] == [(17, -1.0), (14, -2.0)]

    run(talk)


def test_hostile_titles_stay_titles(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "popularity", HOSTILE) as ranker:
            number = ranker.client.ask([], n=20)
            answered = await ranker.next()
        assert isinstance(answered, Answered)
        assert answered.number == number
        said = {one.item: one for one in answered.items}
        assert set(said) == set(range(len(TITLES)))
        for item, title in enumerate(TITLES):
            assert said[item].title == (title or said[item].id)[:2000]
            assert said[item].id == f"i{item}\n[b]"

    run(talk)


# --- what cannot be opened


@pytest.mark.parametrize(
    ("by", "category", "kind", "what", "step"),
    [
        ("nobody", SHOP, "BadSetting", "no ranker 'nobody'", ""),
        ("student", BARE, "UnknownName", "has no student", f"recsys distill --category {BARE}"),
        ("student:none-1", SHOP, "UnknownName", "none-1", ""),
        ("student", "No shop", "UnknownName", "No shop", ""),
        ("teacher:no such", SHOP, "UnknownName", "no such", ""),
    ],
)
def test_what_cannot_be_opened_is_refused_and_its_process_ends(
    home: Settings, by: str, category: str, kind: str, what: str, step: str
) -> None:
    async def talk() -> None:
        async with starting(home, by, category) as ranker:
            ranker.client.ask(HISTORY)
            said = [one for one in await ranker.rest() if not isinstance(one, Opening)]
        (refused,) = said
        assert isinstance(refused, Refused)
        assert (refused.number, refused.kind) == (-1, kind)
        assert what in refused.what
        assert refused.next_step == step or not step

    run(talk)


def test_a_student_gives_no_reasons_and_goes_on(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "student") as ranker:
            number = ranker.client.explain(HISTORY, 3)
            refused = await ranker.next()
            assert isinstance(refused, Refused)
            assert (refused.number, refused.kind) == (number, "BadSetting")
            assert "gives no reasons" in refused.what
            ranker.client.ask(HISTORY)
            assert isinstance(await ranker.next(), Answered)

    run(talk)


# --- how it ends


def ended(client: LiveClient) -> bool:
    return client.pid is not None and not alive(client.pid)


def test_a_process_that_is_killed_says_so(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "student") as ranker:
            assert ranker.client.pid is not None
            os.kill(ranker.client.pid, signal.SIGKILL)
            (died,) = await ranker.rest()
            assert died == Refused(
                -1, "the process of 'student' was ended by signal 9", kind="Died"
            )
            for _ in range(9):  # nobody hears it, and nothing breaks
                ranker.client.cancel(ranker.client.ask(HISTORY))
        assert ended(ranker.client)

    run(talk)


def test_without_a_log_a_death_has_no_last_words(home: Settings) -> None:
    async def talk() -> None:
        client = LiveClient(SHOP, "student", home)
        await client.start()
        talked = Talk(client)
        await talked.until(Opened)
        assert client.pid is not None
        os.kill(client.pid, signal.SIGTERM)
        (died,) = await talked.rest()
        assert died == Refused(-1, "the process of 'student' was ended by signal 15", kind="Died")
        await client.close()

    run(talk)


def test_closed_before_it_is_ready_it_says_no_more(home: Settings) -> None:
    async def talk() -> None:
        for seconds in (0.0, 0.05, 0.15, 0.25):
            client = LiveClient(SHOP, "student", home)
            await client.start()
            await asyncio.sleep(seconds)
            await client.close()
            assert not any(isinstance(one, Refused) for one in await Talk(client).rest())
            assert ended(client)

    run(talk)


def test_a_process_that_stands_still_is_ended_all_the_same(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "student") as ranker:
            assert ranker.client.pid is not None
            os.kill(ranker.client.pid, signal.SIGSTOP)
            while state(ranker.client.pid) != "T":
                await asyncio.sleep(0.01)
            started = time.perf_counter()
            await ranker.client.close()
            assert 1.5 < time.perf_counter() - started < 4
            assert await ranker.rest() == []
            assert ended(ranker.client)

    run(talk)


def test_it_ends_by_itself_when_it_is_closed(home: Settings) -> None:
    async def talk() -> None:
        async with opened(home, "student") as ranker:
            started = time.perf_counter()
            await ranker.client.close()
            assert time.perf_counter() - started < 0.9  # before it would be made to
            assert ended(ranker.client)

    run(talk)


def test_closed_while_it_is_started_nothing_stays(home: Settings) -> None:
    async def talk() -> None:
        client = LiveClient(SHOP, "student", home)
        starting = asyncio.create_task(client.start())
        await asyncio.sleep(0)
        await client.close()
        await starting
        assert await Talk(client).rest() == []
        assert ended(client)

    run(talk)


def test_one_that_was_never_started_can_be_closed_twice(home: Settings) -> None:
    async def talk() -> None:
        client = LiveClient(SHOP, "student", home)
        assert client.pid is None
        client.cancel(client.ask(HISTORY))
        await client.close()
        await client.close()
        assert await Talk(client).rest() == []

    run(talk)


def test_nothing_is_left_open(home: Settings) -> None:
    """What is left of a process warns when it is thrown away, and warnings are errors here."""

    async def talk() -> None:
        clients = [LiveClient(SHOP, by, home) for by in ("student", "popularity", "nobody")]
        await asyncio.gather(*(client.start() for client in clients))
        await asyncio.gather(*(client.close() for client in clients))
        assert all(ended(client) for client in clients)

    before = len(os.listdir("/proc/self/fd"))
    run(talk)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
