"""DLLM2Rec on the whole road: presets, files, studies, and vectors of a language model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.arms import Arm, train_arm
from distill.config import DistilConfig, check
from distill.config_files import configured_by, overridden
from distill.ground import Ground
from distill.lesson import lesson_of
from distill.methods import METHODS, RANKED_METHODS, check_method, method, with_method
from distill.pipeline import Distilled, distil
from distill.ranked.lesson import Ranked
from distill.ranked.settings import RankedConfig
from distill.ranked.vectors import StateEncoder, item_vectors
from distill.studies.files import read_study
from distill.training import StepDone
from recommender.backends import Prompt
from recommender.config import Settings
from recommender.events import StageStarted
from storage.errors import BadSetting
from storage.store import Store
from tests.distill.conftest import configured
from tests.distill.test_teaching import taught_by
from tests.tiny import Letters, add_shop, finished, open_llama

PLAIN = DistilConfig("Books")


def settings_of(home: Path) -> Settings:
    return Settings(data_dir=home, device="cpu", precision="float32", threads=1)


# --- by name


@pytest.mark.parametrize("name", RANKED_METHODS)
def test_a_method_can_be_carried_and_run(name: str) -> None:
    made = with_method(PLAIN, name)
    check(made)
    check_method(made)
    assert DistilConfig.from_dict(made.as_dict()) == made
    assert with_method(made, name) == made
    assert (made.loss.layer, made.teacher.weights) == (0.0, "none")
    assert 10 < len(method(name).about) < 80
    assert method(name).learned_by == "items"


def test_names_are_told_apart() -> None:
    assert not set(RANKED_METHODS) & set(METHODS)
    made = {name: with_method(PLAIN, name).loss for name in RANKED_METHODS}
    assert len(set(made.values())) == len(RANKED_METHODS)
    with pytest.raises(BadSetting, match="did you mean 'dllm2rec'"):
        method("dllmrec")


def test_what_each_decides() -> None:
    made = {name: with_method(PLAIN, name).loss for name in RANKED_METHODS}
    full = made["dllm2rec"].ranked
    assert (full.share, full.position, full.confidence, full.consistency) == (0.8, 0.3, 0.5, 0.1)
    assert (full.embeddings, full.offset, made["dllm2rec"].output) == (True, True, 0.0)
    assert replace(full, offset=False) == made["dllm2rec-no-offset"].ranked
    for name in ("position", "confidence", "consistency"):
        only = made[f"rd-{name}"].ranked
        assert only == replace(made["rd-only"].ranked, **{name: 1.0})  # type: ignore[arg-type]
    assert made["rd-only"].ranked == RankedConfig(share=0.8)
    assert made["embeddings-only"].ranked == RankedConfig(embeddings=True)
    assert (made["soft-kl"].output, made["soft-kl"].ranked) == (0.8, RankedConfig())


def test_a_method_keeps_what_is_said_about_lists() -> None:
    said = overridden(PLAIN, {"loss": {"ranked": {"top": 7, "confidence_by": "distance"}}})
    made = with_method(said, "dllm2rec").loss.ranked
    assert (made.top, made.confidence_by, made.share) == (7, "distance", 0.8)


@pytest.mark.parametrize("name", RANKED_METHODS)
def test_a_llama_student_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(BadSetting, match="learns token by token"):
        check_method(with_method(PLAIN, name).with_language(layers=2))


def test_a_llama_student_is_refused_where_a_file_asks_for_it_too() -> None:
    by_hand = PLAIN.with_loss(ranked=RankedConfig(share=0.5)).with_language(layers=2)
    with pytest.raises(BadSetting, match="learns token by token"):
        check_method(by_hand)


def test_published_numbers() -> None:
    made = configured_by(PLAIN, "dllm2rec")
    check(made)
    ranked, student = made.loss.ranked, made.student
    assert (ranked.top, ranked.share, ranked.position_beta) == (10, 0.8, 1.0)
    assert (ranked.position, ranked.confidence, ranked.consistency) == (0.3, 0.5, 0.1)
    assert (student.objective, student.dros_alpha, student.start) == ("dros", 0.5, "free")
    assert (student.network.blocks, student.network.heads, student.network.max_len) == (1, 1, 10)


@pytest.mark.parametrize("quick", [True, False])
def test_the_study_can_be_read_and_has_its_arms(quick: bool) -> None:
    study = read_study("dllm2rec", quick=quick, every=True)
    assert study.data == ("movielens-100k",)
    methods = {study.config("movielens-100k", arm=arm).method for arm in study.arms}
    assert methods == {"none", *RANKED_METHODS}
    for arm in study.arms:
        made = study.config("movielens-100k", arm=arm)
        if made.loss.ranked.share:
            assert made.loss.ranked.top < made.teacher.candidates
    gru = study.config("movielens-100k", arm="gru4rec, dllm2rec")
    assert gru.student.network.architecture == "gru4rec"
    assert study.config("movielens-100k", arm="dros, dllm2rec").student.objective == "dros"


# --- on the road


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Store.open(settings_of(tmp_path).db, settings_of(tmp_path).artifacts) as store:
        add_shop(store)
    return tmp_path


def test_dllm2rec_from_the_teacher_to_the_table(home: Path, llama: Path) -> None:
    config = with_method(configured(spec=str(llama)), "dllm2rec")
    config = overridden(config, {"loss": {"ranked": {"top": 3, "vectors_by": "teacher"}}})
    events = list(distil(config, settings=settings_of(home), encoder=Letters()))
    last = events[-1]
    assert isinstance(last, Distilled)
    names = [name for name, _ in last.rows]
    assert "distilled (dllm2rec)" in names
    assert last.layer_weights == ()
    parts = [set(event.parts) for event in events if isinstance(event, StepDone)]
    assert {"task", "ranked"} in parts
    assert {"task"} in parts  # the one that is not distilled
    again = list(distil(config, settings=settings_of(home), encoder=Letters()))
    assert not [event for event in again if isinstance(event, StepDone)]
    begun = {event.stage.split()[0] for event in again if isinstance(event, StageStarted)}
    assert begun == {"evaluate"}


def test_confidence_by_the_distance_of_what_a_teacher_names(home: Path, llama: Path) -> None:
    said = {"ranked": {"top": 3, "confidence_by": "distance"}}
    config = with_method(configured(spec=str(llama), mode="generate"), "rd-confidence")
    config = overridden(config, {"loss": said, "student": {"epochs": 1}})
    events = list(distil(config, settings=settings_of(home), encoder=Letters()))
    assert isinstance(events[-1], Distilled)
    assert {"task", "ranked"} in [set(e.parts) for e in events if isinstance(e, StepDone)]
    # One that scores and names nothing has no distance.
    scoring = overridden(config, {"teacher": {"mode": "auto", "scoring": "likelihood"}})
    with pytest.raises(BadSetting, match="names a title"):
        list(distil(scoring, settings=settings_of(home), encoder=Letters()))


def test_a_list_of_all_candidates_is_refused_on_the_road(home: Path, llama: Path) -> None:
    config = with_method(configured(spec=str(llama), candidates=5), "rd-only")
    with pytest.raises(BadSetting, match="nothing is behind it"):
        list(distil(config, settings=settings_of(home), encoder=Letters()))


@pytest.fixture
def stored(shop: Store, ground: Ground) -> tuple[Store, Ground]:
    return shop, ground


def test_lessons_of_each_method(stored: tuple[Store, Ground], llama: Path) -> None:
    shop, ground = stored
    taught = taught_by(shop, ground, open_llama(llama))
    for name in RANKED_METHODS:
        config = overridden(configured(), {"method": name, "loss": {"ranked": {"top": 3}}})
        lesson = lesson_of(shop, taught, config, observed=10, vectors=ground.vectors)
        assert lesson is not None
        found: Ranked = lesson.ranked
        assert (found.lists is not None) == (name.startswith(("rd-", "dllm2rec")))
        assert (found.items is not None) == (name.startswith(("dllm2rec", "embeddings")))
        assert lesson.output == (0.8 if name == "soft-kl" else 0.0)
        if found.lists is None:
            continue
        # The best of the labels, and never the true item behind.
        best = lesson.labels.argmax(1)
        assert (found.lists.lists[:, 0] == best).all()
        for row, request in enumerate(taught.asked.requests):
            if request.target >= 0:
                assert not found.lists.behind[row, request.target]


def test_few_lists_count_little_beside_a_log(stored: tuple[Store, Ground], llama: Path) -> None:
    shop, ground = stored
    taught = taught_by(shop, ground, open_llama(llama))
    config = overridden(configured(), {"method": "rd-only", "loss": {"ranked": {"top": 3}}})
    lesson = lesson_of(shop, taught, config, observed=240)
    assert lesson is not None
    assert lesson.ranked.lists is not None
    assert lesson.ranked.lists.share == pytest.approx(0.8 * len(taught.asked.requests) / 240)


# --- vectors


def test_vectors_by_name(stored: tuple[Store, Ground], llama: Path, tmp_path: Path) -> None:
    shop, ground = stored
    settings, config = settings_of(tmp_path), with_method(configured(spec=str(llama)), "dllm2rec")
    assert finished(item_vectors(shop, ground, configured(), settings))[1] is None
    assert finished(item_vectors(shop, ground, config, settings))[1] is ground.vectors
    by_teacher = overridden(config, {"loss": {"ranked": {"vectors_by": "teacher"}}})
    events, found = finished(item_vectors(shop, ground, by_teacher, settings))
    assert found is not None
    assert found.shape == (len(ground.titles), 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert [event.stage for event in events if isinstance(event, StageStarted)] == ["title vectors"]
    named = overridden(config, {"loss": {"ranked": {"vectors_by": str(llama)}}})
    again, same = finished(item_vectors(shop, ground, named, settings))
    assert again == []
    np.testing.assert_array_equal(found, same)


def test_a_state_is_that_of_a_history_of_one_title_after_the_norm(llama: Path) -> None:
    encoder, model = StateEncoder(str(llama), device="cpu", precision="float32"), open_llama(llama)
    scale = np.linspace(0.5, 2.0, 32)  # a new Llama's is 1 throughout, and would not be seen
    with torch.no_grad():
        encoder._model.model.model.norm.weight.copy_(torch.from_numpy(scale))
    found = encoder.encode(["Walnut Desk", "Pocket Radio"])
    for row, title in zip(found, ("Walnut Desk", "Pocket Radio"), strict=True):
        raw = model.states(Prompt((title,)), [model.describe().layers])[0].astype(np.float64)
        normed = scale * raw / np.sqrt((raw**2).mean() + 1e-6)
        np.testing.assert_allclose(row, normed / np.linalg.norm(normed), atol=1e-5)
    assert encoder.name != StateEncoder(str(llama), noun="films").name


def test_a_backend_of_ones_own_gives_no_vectors(
    stored: tuple[Store, Ground], tmp_path: Path
) -> None:
    shop, ground = stored
    settings = settings_of(tmp_path).model_copy(update={"backends": {"mine": "my_module:Mine"}})
    config = overridden(
        with_method(configured(spec="mine"), "dllm2rec"),
        {"loss": {"ranked": {"vectors_by": "teacher"}}},
    )
    with pytest.raises(BadSetting, match="gives no vectors"):
        finished(item_vectors(shop, ground, config, settings))


def test_an_arm_without_a_teachers_states_is_trained_and_found_again(
    stored: tuple[Store, Ground], llama: Path
) -> None:
    shop, ground = stored
    taught = taught_by(shop, ground, open_llama(llama))
    config = with_method(configured(), "embeddings-only")
    lesson = lesson_of(shop, taught, config, observed=10, vectors=ground.vectors)
    arm = Arm("projected", config, lesson)
    first = finished(train_arm(shop, ground, arm))[1]
    events, second = finished(train_arm(shop, ground, arm))
    assert second.artifact.key == first.artifact.key
    assert not [event for event in events if isinstance(event, StepDone)]
