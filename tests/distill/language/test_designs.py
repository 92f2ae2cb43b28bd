"""What a student that reads text is made of, and that its settings reach what they set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill.config import LossConfig
from distill.language import presets
from distill.language.classroom import open_classroom, train
from distill.language.lessons import Lesson
from distill.language.making import design
from distill.language.settings import LanguageConfig
from distill.language.training import Reading, loop_of
from distill.methods import TOKEN_METHODS, Setting, method
from recommender.config import Settings
from storage.records import LayerProfile
from storage.store import Store
from tests.distill.language.test_pipeline import small
from tests.tiny import Letters, add_shop, finished

WEIGHTS = "some@sha256:1/float32"
WORTH = (0.1, 5.0, 0.2, 4.0, 0.3, 3.0)


@pytest.fixture
def measured(store: Store) -> Store:
    """A Store in which a criterion was measured on six layers, of these weights and of others."""
    for weights, worth in ((WEIGHTS, WORTH), ("other@sha256:2/float32", WORTH[::-1])):
        bounds = worth, worth, worth
        category = store.catalogue.categories() or [add_shop(store)]
        store.runs.add_profile(
            LayerProfile(weights, category[0].id, weights, "taylor-listwise", 9, *bounds, "")
        )
    return store


def designed(store: Store, config: LanguageConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    made = design(store, store.catalogue.categories()[0].id, WEIGHTS, 6, config, seed=0)
    return made.kept, made.ends


def test_a_cut_keeps_what_was_measured_and_stands_for_what_is_gone(measured: Store) -> None:
    """Layer m of it gives what the next kept one reads: its own work and that of the gone."""
    cut = LanguageConfig(making="cut", cut=0.5, keep="taylor")
    assert designed(measured, cut) == ((1, 3, 5), (3, 5, 6))
    assert designed(measured, replace(cut, keep="first")) == ((0, 1, 2), (1, 2, 6))
    assert designed(measured, replace(cut, keep="0,4")) == ((0, 4), (4, 6))


def test_a_student_from_scratch_is_supervised_by_what_was_measured(measured: Store) -> None:
    fresh = LanguageConfig(layers=3)
    assert designed(measured, fresh) == ((), (2, 4, 6))
    assert designed(measured, replace(fresh, layers=2, supervised_by="taylor")) == ((), (2, 4))


@pytest.mark.parametrize("student_layers", [1, 2, 4, 7])
@pytest.mark.parametrize("name", [name for name, one in TOKEN_METHODS.items() if one.hears])
def test_every_preset_spends_the_same_budget(name: str, student_layers: int) -> None:
    matches = method(name).matches(Setting.of(30, student_layers, LossConfig()))
    assert sum(one.weight for one in matches) == pytest.approx(student_layers)
    assert all(1 <= one.student <= student_layers or one.teacher == 0 for one in matches)


def test_the_layer_of_minilmv2_is_an_upper_one_of_deep_teachers() -> None:
    for deep, upper in ((12, 12), (23, 23), (24, 18), (30, 22), (32, 24)):
        found = {(one.teacher, one.student) for one in presets.minilmv2(deep, (3, 6))}
        assert found == {(upper, 2)}


def test_the_hint_is_one_and_ends_with_its_stage() -> None:
    [hint] = presets.fitnets(30, (8, 15, 23, 30), 0.5)
    assert (hint.teacher, hint.student, hint.weight, hint.ends) == (15, 2, 4.0, 0.5)
    [alone] = presets.fitnets(30, (30,), 0.5)
    assert (alone.teacher, alone.student) == (30, 1)


def test_the_loop_is_as_configured() -> None:
    lesson = Lesson(np.zeros(50, dtype=np.int64), np.ones(50, dtype=bool), 1)
    given = LanguageConfig(
        tokens=6000,
        batch=6,
        accumulate=3,
        learning_rate=0.01,
        warmup=0.3,
        weight_decay=0.2,
        clip=0.7,
        precision="float32",
        evaluate_every=4,
        patience=9,
    )
    loop = loop_of(given, Reading((lesson,) * 30, ()), seed=5)
    assert loop.steps == 20  # 6 lessons of 50 tokens a step
    assert loop.seed == 5
    for name in (
        *("batch", "accumulate", "learning_rate", "warmup", "weight_decay", "clip"),
        *("precision", "evaluate_every", "patience"),
    ):
        assert getattr(loop, name) == getattr(given, name), name


def test_validations_of_a_hint_stop_nothing(tmp_path: Path, llama: Path) -> None:
    """While nothing but a hint is learned, what is validated does not get better.

    Regression: where the rest began later than usual, the hint ended before, and no loss was left.
    """
    settings = Settings(data_dir=tmp_path)
    config = small(llama, "fitnets").with_language(tokens=1600, evaluate_every=1, patience=1)
    config = config.with_loss(begins=0.9)
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        _, room = finished(open_classroom(store, config, settings, Letters()))
        _, made = finished(train(room, config, settings, name="one"))
    assert config.language is not None
    planned = loop_of(config.language, room.reading, seed=0).steps
    assert made.about["steps"] > 0.9 * planned > 2


def test_lora_changes_layers_by_matrices_of_its_rank_and_nothing_else(
    tmp_path: Path, llama: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    cut = {"making": "cut", "keep": "first", "cut": 0.34, "learning_rate": 0.01}
    found = []
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        for more in ({"tokens": 0}, {"lora_rank": 2}):
            config = small(llama, "none").with_language(**cut, **more)
            _, room = finished(open_classroom(store, config, settings, Letters()))
            _, made = finished(train(room, config, settings, name="one"))
            found.append(load_file(Path(made.artifact.path, "model.safetensors")))
    before, after = found
    assert before.keys() == after.keys()
    moved = 0
    for name, weight in after.items():
        change = (weight - before[name]).double()
        if "_proj" in name:
            sizes = torch.linalg.svdvals(change)
            assert sizes[2:].max() < 1e-3 * sizes[0], f"{name} changed by more than rank 2"
            moved += int(sizes[0] > 1e-4)
        else:
            assert not change.any(), name
    assert moved == 2 * 7, "every linear map of both layers"
