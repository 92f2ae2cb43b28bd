"""An adaptation from beginning to end, of a small Llama in a shop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.adapting import judging
from distill.adapting.adapt import adapt, run
from distill.adapting.config import AdaptConfig
from distill.adapting.events import Adapted
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.opening import open_backend
from recommender.config import Settings
from recommender.events import Event, Notice, Progress, StageSkipped
from recommender.serving import chosen_scoring
from storage.errors import BadData
from storage.store import Store
from tests.distill.adapting.conftest import adapting
from tests.tiny import Letters, add_shop, finished, stopped


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, device="cpu", precision="float32")


@pytest.fixture
def config(llama: Path) -> AdaptConfig:
    return adapting(teacher=str(llama))


def adapted(shop: Store, config: AdaptConfig, settings: Settings) -> tuple[list[Event], Adapted]:
    said, _ = finished(run(shop, config, settings, encoder=Letters()))
    assert isinstance(said[-1], Adapted)
    return said, said[-1]


def test_a_teacher_is_adapted_judged_kept_and_found_again(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    said, done = adapted(shop, config, settings)
    assert [point.step for point in done.curve] == [0, 3, 6]
    assert done.best_step in (3, 6)
    assert all(0 < point.mrr <= 1 for point in done.curve)

    # It is a teacher at once, by its directory and by the run's id.
    assert done.teacher == done.run.id
    backend = open_backend(done.teacher, settings, artifacts=shop.artifacts)
    assert isinstance(backend, EmbeddedBackend)
    assert backend.describe().key == done.run.config["model"]
    scoring = chosen_scoring(shop, done.category, backend.describe().key)
    assert scoring is not None
    assert (scoring.way, len(scoring.prior)) == ("letters", config.candidates)

    # Every figure is kept, with the rows it is made of.
    scopes = {figure.scope for figure in done.rows}
    assert scopes == {
        "test/candidates",
        *(
            f"test/candidates/{name}"
            for name in (
                "adapted, by short letters",
                "adapted, by likelihood",
                "unadapted, by short letters",
                "unadapted, by letters",
                "unadapted, by likelihood",
                "popularity",
                "item-knn",
            )
        ),
    }
    short = {f.n for f in done.rows if not f.scope.endswith((", by letters", ", by likelihood"))}
    assert short == {config.test_requests, config.whole_requests}, "the run's own is by letters"
    assert {f.n for f in done.rows if f.scope == "test/candidates"} == {config.whole_requests}
    assert all(shop.artifacts.open(figure.artifact) for figure in done.rows)
    assert done.run.config["rank"] == config.rank
    assert "chance" in "\n".join(done.summary)
    assert any("difference" in line for line in done.summary)
    assert set(done.run.config["declined"]) == {"adapted", "unadapted"}
    assert any("declined" in line for line in done.summary)

    # A second run finds all of it.
    again, same = adapted(shop, config, settings)
    assert (same.run.id, same.rows, same.curve) == (done.run.id, done.rows, done.curve)
    assert not any(isinstance(event, Progress) for event in again)
    assert StageSkipped("adapt", "learned before") in again
    assert len(shop.runs.list()) == 1
    assert said[0] == again[0]


def test_an_adapter_alone_is_what_peft_reads_and_has_the_same_figures(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    _, whole = adapted(shop, config, settings)
    _, alone = adapted(shop, replace(config, merged=False), settings)
    assert alone.teacher == ""
    assert Path(alone.folder, "adapter_config.json").is_file()
    base = json.loads(Path(alone.folder, "adapter_config.json").read_text())
    assert base["base_model_name_or_path"] == config.teacher
    assert alone.curve == whole.curve
    assert alone.run.id != whole.run.id
    both = [{(f.scope, f.metric): f.value for f in one.rows} for one in (whole, alone)]
    assert both[0] == pytest.approx(both[1], abs=1e-6)


@pytest.mark.parametrize("at", [2, 5])
def test_stopped_and_gone_on_it_is_the_same_to_the_byte(
    tmp_path: Path, config: AdaptConfig, settings: Settings, at: int
) -> None:
    bytes_ = []
    for name in ("whole", "stopped"):
        with Store.open(tmp_path / f"{name}.sqlite", tmp_path / name) as store:
            add_shop(store)
            if name == "stopped":
                stopped(
                    run(store, config, settings, encoder=Letters()),
                    lambda e: isinstance(e, Progress) and (e.stage, e.done) == ("adapt", at),
                )
            said, done = adapted(store, config, settings)
            if name == "stopped":
                assert any(isinstance(e, Notice) and "going on from step" in e.text for e in said)
            found = store.artifacts.open(done.run.artifact)
            bytes_.append((Path(found.path) / "model.safetensors").read_bytes())
    assert bytes_[0] == bytes_[1]


def test_the_test_part_decides_nothing_of_what_is_learned(
    tmp_path: Path, config: AdaptConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other items in every test row the same adapter comes out, to the byte."""
    from recommender.splits import Split, temporal_split

    def poison(log: object) -> Split:
        split = temporal_split(log)  # type: ignore[arg-type]
        items = split.log.item.copy()
        items[split.part > 1] = (items[split.part > 1] + 1) % split.log.items
        return temporal_split(replace(split.log, item=items))

    found = []
    for name in ("true", "poisoned"):
        if name == "poisoned":
            monkeypatch.setattr("distill.ground.temporal_split", poison)
        with Store.open(tmp_path / f"{name}.sqlite", tmp_path / name) as store:
            add_shop(store)
            _, done = adapted(store, replace(config, merged=False), settings)
            weights = Path(done.folder, "adapter_model.safetensors").read_bytes()
            rows = shop_rows(store, done)
            found.append((weights, done.curve, rows))
    (a, curve_a, rows_a), (b, curve_b, rows_b) = found
    assert a == b
    assert curve_a == curve_b
    assert not np.array_equal(rows_a, rows_b), "the poison is one"


def test_weights_are_final_before_a_test_question_is_drawn(
    tmp_path: Path, config: AdaptConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where drawing one fails, everything that is learned was kept, and is what it would be."""

    def poison(*_: object, **__: object) -> None:
        raise BadData("the test part is poisoned")

    kept = []
    for name in ("whole", "poisoned"):
        with Store.open(tmp_path / f"{name}.sqlite", tmp_path / name) as store:
            add_shop(store)
            if name == "poisoned":
                monkeypatch.setattr("distill.adapting.adapt.test_questions", poison)
                with pytest.raises(BadData, match="poisoned"):
                    adapted(store, config, settings)
            else:
                adapted(store, config, settings)
        found = (tmp_path / name).rglob("*.safetensors")
        learned = {"adapter_model.safetensors", "model.safetensors"}
        kept.append({file.name: file.read_bytes() for file in found if file.name in learned})
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2


def shop_rows(store: Store, done: Adapted) -> np.ndarray:
    [first, *_] = [f for f in done.rows if f.scope == judging.SCOPE]
    arrays = store.artifacts.load_arrays(store.artifacts.open(first.artifact), "rows.safetensors")
    return arrays["ranks"]


def test_another_seed_is_another_adaptation(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    _, one = adapted(shop, config, settings)
    _, other = adapted(shop, replace(config, seed=1), settings)
    assert one.run.id != other.run.id


def test_settings_that_only_judge_learn_nothing_anew_and_judge_anew(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    config = replace(config, minutes=600)  # rates are measured, and a plan is made
    _, first = adapted(shop, config, settings)
    changed = replace(config, test_requests=33, whole_requests=17)
    said, done = adapted(shop, changed, settings)
    assert StageSkipped("adapt", "learned before") in said
    assert Notice("6 steps of 8 questions, as planned before") in said
    assert done.run.id == first.run.id
    assert {f.n for f in first.rows} == {40, 24}
    assert {f.n for f in done.rows} == {33, 17}, "the figures that were asked for are the run's"
    assert shop.runs.get(done.run.id).config["test_requests"] == 33
    assert len(done.rows) == len(first.rows)


def test_candidates_of_another_encoder_are_another_lesson(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    """Regression: where neighbours of titles are offered, who finds them decides the lesson."""

    class Others(Letters):
        name = "other letters@1"

    for mix, again in (("retrieved", False), ("uniform", True)):
        one = replace(config, mix=mix)
        adapted(shop, one, settings)
        said, _ = finished(run(shop, one, settings, encoder=Others()))
        assert (StageSkipped("adapt", "learned before") in said) == again, mix


def test_minutes_are_kept_and_planned_once(
    shop: Store, config: AdaptConfig, settings: Settings
) -> None:
    short = replace(config, minutes=0.01)
    said, _ = adapted(shop, short, settings)
    assert any(isinstance(e, Notice) and "takes longer than 0.01 minutes" in e.text for e in said)
    again, _ = adapted(shop, short, settings)
    assert any(isinstance(e, Notice) and "as planned before" in e.text for e in again)


def test_too_little_data_is_a_sentence(
    store: Store, config: AdaptConfig, settings: Settings
) -> None:
    add_shop(store, people=12)
    with pytest.raises(BadData, match="an adaptation needs at least 32"):
        finished(run(store, config, settings, encoder=Letters()))


def test_an_unknown_category_is_said_before_anything_is_opened(settings: Settings) -> None:
    with pytest.raises(Exception, match="no category 'Bookz'"):
        next(iter(adapt("Bookz", settings=settings, teacher="nobody/nothing")))
