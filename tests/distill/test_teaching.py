from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill import measuring
from distill.asking import Asked, Chosen
from distill.config import DistilConfig
from distill.ground import Ground
from distill.lesson import distillation
from distill.measuring import STAGE, measure_layers
from distill.methods import with_method
from distill.teaching import Taught, teach
from recommender.asking import labelling
from recommender.asking.labelling import label_with_states, states_of
from recommender.asking.requests import OPEN
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event, Notice, StageSkipped, StageStarted
from recommender.scoring import Scoring
from storage.errors import BadData, BadSetting, TeacherUnfit
from storage.records import LabelRequest, LayerProfile
from storage.store import Store
from tests.distill.conftest import configured, listening
from tests.tiny import LAYERS, Counting, add_shop, finished, open_llama, save_llama, stopped_at

CHOSEN = Chosen(Scoring("likelihood", 40.0, 20, {}), 40.0, 0.01, {}, Asked((), (), (), ()), (), ())


def taught_by(
    shop: Store,
    ground: Ground,
    model: EmbeddedBackend,
    config: DistilConfig | None = None,
    *,
    weights: EmbeddedBackend | None = None,
    chosen: Chosen = CHOSEN,
    count: int = 24,
) -> Taught:
    config = config or configured()
    return finished(
        teach(listening(shop, ground, model), ground, config, weights or model, chosen, count)
    )[1]


def stages(events: list[Event]) -> list[str]:
    return [event.stage for event in events if isinstance(event, StageStarted)]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (labelling, measuring):
        monkeypatch.setattr(module, "SHARD", 4)


def test_the_teacher_is_asked_about_training_rows_only(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    taught = taught_by(shop, ground, model)
    assert len(taught.asked.requests) == 24
    train = set(ground.split.events("train").tolist())
    for request in taught.asked.requests:
        assert request.purpose == "train"
        assert len(request.candidates) == 6
        assert request.event in train or (request.event, request.target) == (OPEN, OPEN)
    assert sum(request.event == OPEN for request in taught.asked.requests) == 12


def test_known_answers_come_first_and_are_measured(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    one = listening(shop, ground, model)
    said, taught = finished(teach(one, ground, configured(), model, CHOSEN, 24))
    assert stages(said)[:2] == [STAGE, "teacher: train"]
    assert StageStarted(STAGE, 6, "requests") in said
    assert StageStarted("teacher: train", 18, "requests") in said
    assert taught.profile is not None
    assert (taught.profile.requests, len(taught.profile.layers)) == (6, LAYERS)
    assert min(taught.profile.layers) > 0
    assert all(request.target >= 0 for request in taught.asked.requests[:6])
    assert shop.runs.profile(taught.profile.key).layers == taught.profile.layers
    assert taught.states is not None
    assert taught.states.shape == (24, LAYERS + 1, 32)


def test_a_second_time_nothing_is_asked(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    first = taught_by(shop, ground, model)
    one = listening(shop, ground, model)
    said, again = finished(teach(one, ground, configured(), model, CHOSEN, 24))
    assert stages(said) == []
    assert again.asked.requests == first.asked.requests
    np.testing.assert_array_equal(np.stack(again.asked.scores), np.stack(first.asked.scores))
    np.testing.assert_array_equal(again.states, first.states)
    assert again.profile == first.profile


def test_more_requests_add_to_what_was_answered(
    shop: Store, ground: Ground, model: EmbeddedBackend, small_shards: None
) -> None:
    few = taught_by(shop, ground, model, configured(fisher_requests=4), count=12)
    config, one = configured(fisher_requests=4), listening(shop, ground, model)
    said, more = finished(teach(one, ground, config, model, CHOSEN, 20))
    assert more.asked.requests[:12] == few.asked.requests
    assert StageStarted("teacher: train", 8, "requests") in said
    assert STAGE not in stages(said)


def some_requests(shop: Store, ground: Ground, model: EmbeddedBackend) -> list[LabelRequest]:
    asked = taught_by(shop, ground, model).asked.requests
    return [request for request in asked if request.target >= 0][:6]


def test_fisher_gives_the_answers_and_states_of_a_forward_pass(
    tmp_path: Path, shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    requests = some_requests(shop, ground, model)
    kept = {}
    for name in ("fisher", "forward"):
        with Store.open(tmp_path / f"{name}.sqlite", tmp_path / name) as store:
            if name == "fisher":
                finished(
                    measure_layers(
                        store, model, requests, ground.texts, 40.0, category_id=add_shop(store).id
                    )
                )
            else:
                add_shop(store)
                list(
                    label_with_states(
                        model, requests, ground.texts, store.labels, store.artifacts, stage="x"
                    )
                )
            labels = store.labels.get([request.key for request in requests])
            kept[name] = labels, states_of(store.artifacts, requests)
    for request in requests:
        measured, forward = (kept[name][0][request.key] for name in ("fisher", "forward"))
        np.testing.assert_allclose(measured.scores, forward.scores, atol=1e-4)
        assert (measured.tokens, measured.status) == (forward.tokens, "ok")
    np.testing.assert_allclose(kept["fisher"][1], kept["forward"][1], rtol=2e-3, atol=2e-3)


def test_measuring_that_is_stopped_measures_one_shard_again(
    shop: Store, ground: Ground, model: EmbeddedBackend, small_shards: None
) -> None:
    requests = some_requests(shop, ground, model)

    def job(temperature: float = 7.0) -> Generator[Event, None, LayerProfile]:
        return measure_layers(shop, model, requests, ground.texts, temperature, category_id=1)

    stopped_at(job(), STAGE, 5)
    said, profile = finished(job())
    assert StageStarted(STAGE, 2, "requests") in said
    assert finished(job()) == ([], profile)
    assert stages(list(job(8.0))) == [STAGE]  # another loss
    other = [replace(request, target=0 if request.target else 1) for request in requests]
    moved = measure_layers(shop, model, other, ground.texts, 7.0, category_id=1)
    assert stages(finished(moved)[0]) == [STAGE]  # another choice


def test_states_that_are_gone_are_made_again(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    first = taught_by(shop, ground, model)
    for folder in (shop.artifacts.root / "states").iterdir():
        shop.artifacts.remove(folder.name)
    again = taught_by(shop, ground, model)
    np.testing.assert_array_equal(again.states, first.states)
    assert again.profile is not None
    assert first.profile is not None
    assert again.profile.layers == pytest.approx(first.profile.layers)


def test_without_weights_there_are_labels_and_it_is_said(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    backend = Counting(model)
    one = listening(shop, ground, backend)
    said, taught = finished(teach(one, ground, configured(), None, CHOSEN, 24))
    assert StageSkipped("layer Fisher", "no weights") in said
    assert (taught.states, taught.profile) == (None, None)
    assert len(backend.prompts) == 24
    quiet = teach(one, ground, configured(), None, CHOSEN, 24, quiet=True)
    assert not any(isinstance(event, StageSkipped) for event in finished(quiet)[0])
    lesson = distillation(taught, configured(), observed=10)
    assert (lesson.states, lesson.matches) == (None, ())


def test_other_weights_answer_under_their_own_name(
    tmp_path: Path, shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    other = open_llama(save_llama(tmp_path / "other", seed=1))
    taught = taught_by(shop, ground, model, weights=other)
    assert taught.profile is not None
    assert taught.profile.weights == other.describe().key != model.describe().key
    assert {request.teacher for request in taught.asked.requests} == {model.describe().key}
    for request, scores, states in zip(
        taught.asked.requests, taught.asked.scores, np.asarray(taught.states), strict=True
    ):
        prompt = ground.texts.prompt(request)
        np.testing.assert_allclose(
            scores, model.likelihood(prompt, prompt.candidates).logprobs, atol=1e-4
        )
        np.testing.assert_allclose(
            states, other.states(prompt, range(LAYERS + 1)), rtol=2e-3, atol=2e-3
        )


def test_weights_that_nobody_measured_are_no_uniform_ones(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    config = configured(fisher_requests=0)
    taught = taught_by(shop, ground, model, config)
    assert taught.profile is None
    with pytest.raises(BadSetting, match="'fisher-empirical', which was not measured"):
        distillation(taught, config, observed=10)
    alike = distillation(taught, with_method(config, "uniform"), observed=10)
    assert alike.layer_weights == (1.0, 1.0)
    given = distillation(taught, config, observed=10, importance=(1.0, 1.0, 1.0))
    # Three layers for two blocks: the first answers for two of them.
    np.testing.assert_allclose(given.layer_weights, [4 / 3, 2 / 3])


def test_too_small_a_catalogue_is_an_error(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    with pytest.raises(BadData, match=r"no training request with 308 candidates: its 307 items"):
        taught_by(shop, ground, model, configured(candidates=308), count=3)


def test_letters_teach_where_they_were_chosen_and_declined_ones_do_not(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    chosen = replace(CHOSEN, scoring=Scoring("letters+cosine", 1.0, 20, {}))
    with pytest.raises(TeacherUnfit, match="no opinion on any of 24 training"):
        taught_by(shop, ground, model, chosen=chosen)
    asked = shop.labels.requests(1, purpose="train", method="letters")
    assert len(asked) == 24


def test_letters_that_were_declined_leave_out_their_request(
    shop: Store, ground: Ground, spelling: EmbeddedBackend
) -> None:
    letters = replace(CHOSEN, scoring=Scoring("letters", 1.0, 20, {}))
    whole = taught_by(shop, ground, spelling, chosen=letters)
    asked = shop.labels.requests(1, purpose="train", method="letters")
    answers = shop.labels.get([request.key for request in asked])
    for request, scores in zip(asked, whole.asked.scores, strict=True):
        np.testing.assert_array_equal(scores, answers[request.key].scores)
    with Store.open(shop.artifacts.root.parent / "other.sqlite", shop.artifacts.root) as other:
        add_shop(other)
        for place in (0, 9):  # one that is measured, one that is not
            other.labels.add(replace(answers[asked[place].key], status="declined"))
        one = listening(other, ground, spelling)
        said, taught = finished(teach(one, ground, configured(), spelling, letters, 24))
    assert Notice("2 of 24 questions by letters are no labels: 2 declined") in said
    left = [n for n in range(24) if n not in (0, 9)]
    assert taught.asked.requests == tuple(whole.asked.requests[n] for n in left)
    assert taught.states is not None
    assert whole.states is not None
    np.testing.assert_array_equal(taught.states, np.asarray(whole.states)[left])
