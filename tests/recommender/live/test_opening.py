"""Which ranker a name stands for, and that it has seen nothing that is held out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recommender.baselines import ItemKNN, Popularity
from recommender.config import Settings
from recommender.live.opening import Live, open_live
from recommender.sequential.student import StudentRanker
from recommender.splits import Split, leave_last_out, temporal_split
from recommender.teacher import TeacherRanker
from storage.errors import ArtifactDamaged, BadSetting, Offline, UnknownName
from storage.records import Log
from storage.store import Store
from tests.recommender.live.conftest import BARE, HISTORY, add_student
from tests.tiny import SHOP, add_shop

PAST = np.array(HISTORY)


@pytest.fixture
def shop(home: Settings) -> Iterator[Store]:
    with Store.open(home.db, home.artifacts) as store:
        yield store


def opened(store: Store, by: str, settings: Settings, category: str = SHOP) -> Live:
    return open_live(store, store.catalogue.category(category), by, settings, say=lambda note: None)


def split_of(store: Store, category: str = SHOP) -> Split:
    return temporal_split(store.catalogue.log(store.catalogue.category(category).id))


# --- students


@pytest.mark.parametrize(
    ("by", "run", "sees_all"),
    [
        ("student", "best-1", False),
        ("student:older-1", "older-1", False),
        ("student:best-1", "best-1", False),
        ("student:all-1", "all-1", True),
        ("student:last-1", "last-1", True),
    ],
)
def test_a_student_is_the_best_measured_one_or_the_one_named(
    shop: Store, home: Settings, by: str, run: str, sees_all: bool
) -> None:
    live = opened(shop, by, home)
    folder = shop.artifacts.open(shop.runs.get(run).artifact).path
    items = shop.catalogue.category(SHOP).items
    expected = StudentRanker.open(folder, catalogue=items).rank(PAST, n=7)
    assert live.ranker.rank(PAST, n=7) == expected
    assert live.about == f"{run}, {shop.runs.get(run).name}"
    assert (live.sees_all, live.explains, bool(live.notices)) == (sees_all, False, sees_all)


def test_a_student_of_other_positives_may_have_seen_what_is_held_out(
    tmp_path: Path, home: Settings
) -> None:
    with Store.open(tmp_path / "db", tmp_path / "artifacts") as store:
        category = add_shop(store, people=20)
        liked = {"split": "temporal", "min_rating": 4.0}
        add_student(store, category, "liked-1", selection=0.9, config=liked)
        add_student(store, category, "every-1")
        assert not opened(store, "student", home).sees_all
        assert opened(store, "student:every-1", home).sees_all
        add_student(store, category, "every-2", selection=1.0)
        assert opened(store, "student:liked-1", home).sees_all
        assert not opened(store, "student:every-1", home).sees_all


def test_without_a_student_the_next_step_is_to_make_one(shop: Store, home: Settings) -> None:
    for by in ("student", "student:best-1"):
        with pytest.raises(UnknownName) as failed:
            opened(shop, by, home, BARE)
        assert failed.value.next_step == f"recsys distill --category {BARE}"
    with pytest.raises(UnknownName):
        opened(shop, "student:none-1", home)


def test_a_run_of_a_teacher_is_no_student(tmp_path: Path, home: Settings) -> None:
    with Store.open(tmp_path / "db", tmp_path / "artifacts") as store:
        category = add_shop(store, people=20)
        run = add_student(store, category, "best-1")
        store.runs.add(replace(run, id="taught-1", kind="teacher"))
        with pytest.raises(UnknownName, match="'taught-1' is no student"):
            opened(store, "student:taught-1", home)


def test_a_damaged_student_is_refused(tmp_path: Path, home: Settings) -> None:
    with Store.open(tmp_path / "db", tmp_path / "artifacts") as store:
        run = add_student(store, add_shop(store, people=20), "best-1")
        counts = Path(store.artifacts.open(run.artifact).path) / "popularity.safetensors"
        counts.chmod(0o644)
        whole = counts.read_bytes()
        counts.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # another count, well formed
        with pytest.raises(ArtifactDamaged):
            opened(store, "student", home)


LEAN = """
import json, sys
import numpy as np
from sqlalchemy import Engine, event
from recommender.config import Settings
from recommender.live.answering import open_live
from storage.store import Store

said = []
event.listen(Engine, "before_cursor_execute", lambda *told: said.append(told[2]))
settings = Settings.received(json.loads(sys.argv[1]))
with Store.open(settings.db, settings.artifacts) as store:
    category = store.catalogue.category(sys.argv[2])
    live = open_live(store, category, "student", settings, say=print)
    assert live.ranker.rank(np.array([1, 2]), n=3).items
assert said, "no statement was heard"
heavy = {"torch", "transformers", "scipy", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
reads = [one for one in said if "FROM interactions" in one]
assert not reads, reads
"""


def test_a_student_neither_loads_torch_nor_reads_the_log(home: Settings) -> None:
    arguments = [sys.executable, "-c", LEAN, json.dumps(home.carried()), SHOP]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


# --- rankers that are fitted


def expected_of(by: str, split: Split) -> Popularity | ItemKNN:
    items, offsets = split.train_sequences()
    if by == "popularity":
        return Popularity.fit(items, split.log.items)
    return ItemKNN.fit(items, offsets, split.log.items)


@pytest.mark.parametrize("by", ["popularity", "item-knn"])
def test_what_is_counted_is_counted_in_train_rows(shop: Store, home: Settings, by: str) -> None:
    live = opened(shop, by, home)
    split = split_of(shop)
    assert live.ranker.rank(PAST, n=50) == expected_of(by, split).rank(PAST, n=50)
    everything = replace(split, part=np.zeros_like(split.part))
    assert live.ranker.rank(PAST, n=50) != expected_of(by, everything).rank(PAST, n=50)
    assert live.about == f"{split.train_log().item.size:,} training rows"
    assert (live.sees_all, live.explains, live.notices) == (False, False, ())


def test_it_is_counted_by_the_protocol_of_the_best_student(tmp_path: Path, home: Settings) -> None:
    with Store.open(tmp_path / "db", tmp_path / "artifacts") as store:
        category = add_shop(store, people=60)
        add_student(
            store, category, "last-1", config={"split": "leave-last-out", "min_rating": 4.0}
        )
        live = opened(store, "popularity", home)
        log = store.catalogue.log(category.id)
        liked = log.rating >= 4
        kept = {name: getattr(log, name)[liked] for name in ("user", "item", "time", "rating")}
        split = leave_last_out(
            Log(**kept, part=log.part[liked], people=log.people, items=log.items)
        )
        assert live.ranker.rank(PAST, n=99) == expected_of("popularity", split).rank(PAST, n=99)
        assert live.about == f"{split.train_log().item.size:,} training rows"


def test_a_ranker_of_ones_own_is_shown_the_train_rows(shop: Store, home: Settings) -> None:
    live = opened(shop, "shelf", home)
    assert live.ranker.name == f"shelf of {split_of(shop).train_log().item.size}"
    assert live.about == "live_own_classes:Shelf"
    assert live.ranker.rank(PAST, n=2).items == (17, 14)


@pytest.mark.parametrize("by", ["", "nobody", "Student", "popularity:1", "shelf:2", ":", "x" * 999])
def test_any_other_name_is_refused_with_those_there_are(
    shop: Store, home: Settings, by: str
) -> None:
    with pytest.raises(BadSetting, match=r"one of student, .*, item-knn, shelf"):
        opened(shop, by, home)


# --- teachers


def test_a_teacher_without_its_encoder_is_refused(tmp_path: Path, shop: Store) -> None:
    settings = Settings(data_dir=tmp_path, backends={"mine": "recommender.backends:Refusing"})
    with pytest.raises((Offline, BadSetting)):
        opened(shop, "teacher:mine", settings)


@pytest.mark.models
def test_a_teacher_is_offered_what_the_train_rows_say(shop: Store, teachers: Settings) -> None:
    live = opened(shop, "teacher:quick", teachers)
    assert isinstance(live.teacher, TeacherRanker)
    assert live.ranker is live.teacher
    assert (live.about, live.explains, live.sees_all) == ("slow", True, False)
    for by, source in zip(("popularity", "item-knn"), live.teacher.sources, strict=False):
        assert source.rank(PAST, n=50) == expected_of(by, split_of(shop)).rank(PAST, n=50)
    live.teacher.close()


@pytest.mark.models
def test_the_teacher_is_the_one_of_the_settings(shop: Store, teachers: Settings) -> None:
    named = teachers.model_copy(update={"teacher": "quick"})
    assert opened(shop, "teacher", named).about == "slow"
    with pytest.raises(UnknownName):
        opened(shop, "teacher:no such model", teachers)


@pytest.mark.models
def test_what_takes_long_is_said_meanwhile(tmp_path: Path, teachers: Settings) -> None:
    said: list[str] = []
    with Store.open(tmp_path / "db", tmp_path / "artifacts") as store:
        category = add_shop(store, people=20)
        open_live(store, category, "teacher:quick", teachers, say=said.append)
    assert said[:2] == ["reading the log", "loading quick"]
    assert said[-1] == f"title vectors: {category.items} of {category.items}"
