"""`label_category`: what it says of a teacher is what the Store says, and distilling finds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from distill.config import DistilConfig
from distill.consulting import consult
from distill.labels import CategoryLabelled, TeacherRow, crowded, label_category
from distill.pipeline import Distilled, run
from recommender.asking.orders import place_prior
from recommender.config import Settings
from recommender.events import Event, Progress, StageStarted
from storage.errors import BadSetting
from storage.records import LabelRequest, NoiseFloor, SoftLabel
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import Letters, add_shop, finished, open_llama, save_llama, spell, stopped

CHANCE = sum(1 / rank for rank in range(1, 7)) / 6


@dataclass(frozen=True)
class Job:
    store: Store
    config: DistilConfig
    settings: Settings
    events: Sequence[Event]

    @property
    def found(self) -> CategoryLabelled:
        last = self.events[-1]
        assert isinstance(last, CategoryLabelled)
        return last


def labelling(store: Store, config: DistilConfig, settings: Settings) -> list[Event]:
    return list(label_category(store, config, settings, encoder=Letters()))


@pytest.fixture(scope="module")
def job(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """One teacher by letters in four orders, and one by titles, asked in bulk."""
    home = tmp_path_factory.mktemp("labels")
    settings = Settings(data_dir=home, device="cpu", precision="float32", threads=1)
    backend = spell(open_llama(llama), "ABCDEF")
    backend.model.save_pretrained(home / "lettered")
    backend.tokenizer.save_pretrained(home / "lettered")
    config = configured(
        spec=str(home / "lettered"), orders=4, scoring="letters", weights="none", ignore_gate=False
    )
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        yield Job(store, config, settings, labelling(store, config, settings))


def answered(job: Job) -> list[tuple[LabelRequest, SoftLabel]]:
    asked = job.store.labels.requests(1, method="letters")
    kept = job.store.labels.get([request.key for request in asked])
    return [(request, kept[request.key]) for request in asked]


def test_a_row_holds_what_the_store_says(job: Job) -> None:
    (row,) = job.found.teachers
    pairs = answered(job)
    assert len(pairs) == 4 * (20 + 25 + 24)
    assert (row.name, row.way, row.orders) == ("lettered", "letters", 4)
    assert dict(row.statuses) == Counter(label.status for _, label in pairs) == {"ok": 276}
    assert row.declined == 0.0
    assert (row.labels, row.questions) == (24, 24)
    seconds = [label.seconds for _, label in pairs]
    assert row.p50 == pytest.approx(np.median(seconds))
    assert row.p95 == pytest.approx(np.quantile(seconds, 0.95))
    # Nobody in this process counts tokens, lists alternatives or names a server.
    assert (row.coverage, row.tokens_per_second, row.servers) == (None, None, ())


def test_the_places_are_counted_over_all_answers(job: Job) -> None:
    (row,) = job.found.teachers
    pairs = answered(job)
    assert [one.place for one in row.places] == list(range(6))
    for one in row.places:
        shares = [np.exp(label.scores) / np.exp(label.scores).sum() for _, label in pairs]
        assert one.preference == pytest.approx(np.mean([share[one.place] for share in shares]))
        true = [label for request, label in pairs if request.target == one.place]
        assert one.true == len(true)
        assert one.hits == sum(int(np.argmax(label.scores)) == one.place for label in true)
    # The place it likes is where it finds what it seeks.
    prior = place_prior([label.scores for _, label in pairs])
    assert max(row.places, key=lambda one: one.preference).place == int(np.argmax(prior))


def test_the_gate_is_shown_and_turns_nobody_away(job: Job) -> None:
    assert not job.config.teacher.ignore_gate
    (row,) = job.found.teachers
    assert not row.passed
    said = finished(
        consult(
            job.store, job.config.with_teacher(ignore_gate=True), job.settings, encoder=Letters()
        )
    )[1]
    assert row.mrr == said.gate.teacher.table["mrr"]
    assert row.calibration_error == said.gate.calibration_error
    assert job.found.chance == pytest.approx(CHANCE)
    assert [name for name, _ in job.found.beside] == ["popularity", "item-knn", "text"]
    for (_, interval), other in zip(job.found.beside, said.gate.others, strict=True):
        assert interval == other.table["mrr"]
    assert job.found.fusion is None
    assert job.found.category.name == job.config.category


def test_labelling_again_asks_nothing_and_says_the_same(job: Job) -> None:
    again = labelling(job.store, job.config, job.settings)
    assert not any(isinstance(event, StageStarted) for event in again)
    last = again[-1]
    assert isinstance(last, CategoryLabelled)
    assert last.teachers == job.found.teachers


def test_a_distillation_afterwards_asks_the_teacher_nothing(job: Job) -> None:
    config = job.config.with_teacher(ignore_gate=True)
    events = list(run(job.store, config, job.settings, encoder=Letters()))
    assert isinstance(events[-1], Distilled)
    begun = [event.stage for event in events if isinstance(event, StageStarted)]
    assert begun
    assert not any(stage.startswith(("teacher", "titles")) for stage in begun)
    assert len(answered(job)) == 276


def test_with_weights_only_what_labels_do_not_tell_is_computed(job: Job) -> None:
    config = job.config.with_teacher(ignore_gate=True, weights="")
    events, said = finished(consult(job.store, config, job.settings, encoder=Letters()))
    begun = [event.stage for event in events if isinstance(event, StageStarted)]
    assert begun == ["layer Fisher", "teacher: train"]  # gradients and states, in passes of titles
    assert len(answered(job)) == 276
    assert len(said.taught.asked.requests) == 24


def test_a_noise_floor_that_was_measured_is_shown(job: Job) -> None:
    assert job.found.teachers[0].floor is None
    card = open_llama(job.settings.data_dir / "lettered").describe()
    job.store.noise.add(
        NoiseFloor(
            card.key, card.server, card.options, "2026-11-24T10:00:00+00:00", 0.18, 0.05, 1, 32
        )
    )
    last = labelling(job.store, job.config, job.settings)[-1]
    assert isinstance(last, CategoryLabelled)
    assert last.teachers[0].floor == 0.18


def test_stopped_anywhere_it_goes_on(shop: Store, llama: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", precision="float32", threads=1)
    other = save_llama(tmp_path / "other-llama", seed=1)
    config = configured(spec=str(llama), others=(str(other),), scoring="likelihood")

    def reached(stage: str, done: int, time: int) -> None:
        seen = 0

        def there(event: Event) -> bool:
            nonlocal seen
            seen += isinstance(event, Progress) and (event.stage, event.done) == (stage, done)
            return seen == time

        stopped(label_category(shop, config, settings, encoder=Letters()), there)

    for stage, done, time in (
        ("teacher: choose", 7, 1),
        ("teacher: gate", 11, 1),
        ("teacher: choose", 5, 1),  # of the second teacher: the first one's are known
        ("teacher: train", 9, 1),
        ("teacher: train", 15, 1),
        ("teacher: train", 3, 1),
    ):
        reached(stage, done, time)
    last = labelling(shop, config, settings)[-1]
    assert isinstance(last, CategoryLabelled)
    assert [row.name for row in last.teachers] == ["tiny-llama", "other-llama"]
    for row in last.teachers:
        assert dict(row.statuses) == {"ok": 69}
        assert (row.labels, row.places, row.coverage) == (24, (), None)
    assert len(shop.labels.requests(1, method="likelihood")) == 2 * 69
    assert last.fusion is not None
    assert sum(last.fusion.shares) == pytest.approx(1)


def test_declined_is_the_share_of_answers_that_are_none(job: Job) -> None:
    row: TeacherRow = replace(job.found.teachers[0], statuses=(("ok", 6), ("declined", 3)))
    assert row.declined == pytest.approx(1 / 3)
    assert replace(row, statuses=()).declined == 0.0


def test_many_letters_are_warned_of() -> None:
    assert crowded(configured(candidates=12)) == ""
    assert crowded(configured(candidates=13)).startswith("13 lettered candidates are many")


def test_a_bad_setting_is_refused_before_anything_is_asked(shop: Store, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="too many for letters"):
        labelling(shop, configured(mode="letters", candidates=30), Settings(data_dir=tmp_path))
    assert shop.labels.requests(1) == []
