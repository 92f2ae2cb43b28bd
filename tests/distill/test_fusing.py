"""Two teachers at once: asked apart, weighed on validation, mixed into one lesson."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from distill.config import DistilConfig
from distill.consulting import Consulted, Fusion, consult, fused, how_fused
from distill.lesson import distillation
from distill.register import Entry, register, report
from distill.teaching import Taught
from recommender.asking.requests import OPEN
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import probabilities
from recommender.config import Settings
from recommender.evaluation import evaluate
from recommender.events import Event, Notice, StageStarted
from recommender.fusion import fit_shares, mixture_loss
from recommender.scoring import combine
from recommender.serving import chosen_scoring
from storage.errors import TeacherUnfit
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import LAYERS, Letters, add_shop, finished, open_llama, save_llama, spell


@dataclass(frozen=True)
class Both:
    store: Store
    config: DistilConfig
    settings: Settings
    events: Sequence[Event]
    said: Consulted


def consulted(
    store: Store, config: DistilConfig, settings: Settings
) -> tuple[list[Event], Consulted]:
    return finished(consult(store, config, settings, encoder=Letters()))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another small Llama, of other random weights."""
    return save_llama(tmp_path_factory.mktemp("second") / "other-llama", seed=1)


@pytest.fixture(scope="module")
def both(llama: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Two teachers consulted about one shop."""
    home = tmp_path_factory.mktemp("both")
    settings = Settings(data_dir=home, device="cpu", precision="float32", threads=1)
    config = configured(spec=str(llama), others=(str(second),))
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        yield Both(store, config, settings, *consulted(store, config, settings))


def test_labels_of_two_teachers_are_kept_apart(both: Both, llama: Path, second: Path) -> None:
    keys = [open_llama(path).describe().key for path in (llama, second)]
    assert [one.card.key for one in both.said.teachers] == keys
    for purpose, count in (("choose", 20), ("gate", 25), ("train", 24)):
        asked = both.store.labels.requests(1, purpose=purpose, method="likelihood")
        for key in keys:
            own = [request for request in asked if request.teacher == key]
            assert len(own) == count
            assert len(both.store.labels.get([request.key for request in own])) == count
        questions = [(r.user, r.event, r.candidates) for r in asked if r.teacher == keys[0]]
        others = [(r.user, r.event, r.candidates) for r in asked if r.teacher == keys[1]]
        assert sorted(questions) == sorted(others)


def distributions(both: Both, number: int) -> np.ndarray:
    """What one teacher's own answers to the training requests come to, from the Store."""
    one = both.said.teachers[number]
    rows = []
    questions = both.said.taught.asked.requests
    alone = both.store.labels.unconditional(one.card.key, 1, range(307))
    asked = both.store.labels.requests(1, purpose="train", method="likelihood")
    own = {(r.user, r.event, r.candidates): r.key for r in asked if r.teacher == one.card.key}
    for request, evidence in zip(questions, both.said.taught.asked.evidence, strict=True):
        key = own[request.user, request.event, request.candidates]
        likelihood = np.array(both.store.labels.get([key])[key].scores)
        known = replace(
            evidence,
            likelihood=likelihood,
            unconditional=np.array([alone[item][0] for item in request.candidates]),
        )
        scores = combine(one.chosen.scoring.way, known)
        rows.append(probabilities(scores, one.chosen.scoring.temperature))
    return np.stack(rows)


def test_shares_are_fitted_where_the_scoring_was_chosen(both: Both) -> None:
    fusion = both.said.fusion
    assert fusion is not None
    assert sum(fusion.shares) == pytest.approx(1)
    true, held = [], []
    for one in both.said.teachers:
        for asked, table in ((one.chosen.asked, true), (one.gate.asked, held)):
            table.append(
                [
                    probabilities(scores, one.chosen.scoring.temperature)[request.target]
                    for scores, request in zip(asked.scores, asked.requests, strict=True)
                ]
            )
    np.testing.assert_allclose(fusion.shares, fit_shares(true))
    assert fusion.loss == pytest.approx(mixture_loss(held, fusion.shares))
    assert fusion.alone == pytest.approx([mixture_loss([row], [1.0]) for row in held])


@pytest.mark.parametrize("shares", [None, (0.25, 0.75)])
def test_the_lesson_is_the_mixture(both: Both, shares: tuple[float, float] | None) -> None:
    taught = both.said.taught
    assert both.said.fusion is not None
    if shares is not None:  # random teachers may well leave one of them nothing
        lessons = [lesson(both, number) for number in (0, 1)]
        fusion = replace(both.said.fusion, shares=shares)
        taught = fused(both.said.teachers, lessons, fusion)
    weights = shares or both.said.fusion.shares
    expected = weights[0] * distributions(both, 0) + weights[1] * distributions(both, 1)
    made = distillation(taught, both.config, observed=24)
    assert taught.temperature == 1.0
    np.testing.assert_allclose(made.labels, expected, atol=1e-6)
    np.testing.assert_allclose(made.labels.sum(axis=1), 1, atol=1e-6)


def lesson(both: Both, number: int, *, without: Sequence[int] = ()) -> Taught:
    """One teacher's own lesson, as log-probabilities, less the requests named by place."""
    one, taught = both.said.teachers[number], both.said.taught
    temperature = one.chosen.scoring.temperature
    scores = temperature * np.log(distributions(both, number))
    heard = tuple(n not in without for n in range(len(scores)))
    asked = replace(taught.asked, scores=tuple(scores), heard=heard).only_heard()[0]
    return replace(taught, asked=asked, temperature=temperature)


def test_states_and_layers_are_the_first_teachers(both: Both) -> None:
    first, taught = both.said.teachers[0], both.said.taught
    assert taught.profile is not None
    assert taught.profile.weights == first.card.key == both.said.card.key
    assert taught.states is not None
    assert taught.states.shape == (24, LAYERS + 1, 32)
    assert (both.said.chosen, both.said.gate) == (first.chosen, first.gate)
    assert {request.teacher for request in taught.asked.requests} == {first.card.key}


def test_where_one_has_no_opinion_the_other_speaks_alone(both: Both) -> None:
    lessons = [lesson(both, 0), lesson(both, 1, without=(2, 5))]
    fusion = Fusion((0.25, 0.75), 0.0, (0.0, 0.0))
    taught = fused(both.said.teachers, lessons, fusion)
    found = np.stack([probabilities(scores, 1.0) for scores in taught.asked.scores])
    own, other = distributions(both, 0), distributions(both, 1)
    expected = 0.25 * own + 0.75 * other
    expected[[2, 5]] = own[[2, 5]]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # Even where it has no share: what nobody else speaks of is still said.
    silent = fused(both.said.teachers, lessons, replace(fusion, shares=(0.0, 1.0)))
    np.testing.assert_allclose(probabilities(silent.asked.scores[2], 1.0), own[2], atol=1e-9)
    assert any(request.target == OPEN for request in taught.asked.requests)


def test_it_is_said_and_registered(both: Both) -> None:
    said, ground = both.said, both.said.ground
    assert said.fusion is not None
    line = how_fused(said.teachers, said.fusion)
    assert Notice(line) in both.events
    share = f"tiny-llama {said.fusion.shares[0]:.2f} (alone {said.fusion.alone[0]:.3f})"
    assert share in line
    measured = evaluate(ground.popularity, ground.split, "test", resamples=20)
    entries = [Entry("popularity", "baseline", measured, None)]
    runs = register(both.store, both.config, said.ground, said, entries)
    assert [run.name for run in runs] == [
        "popularity",
        "teacher tiny-llama",
        "teacher other-llama",
    ]
    for one, run in zip(said.teachers, runs[1:], strict=True):
        kept = both.store.runs.get(run.id)
        assert kept.config["model"] == one.card.key
        assert kept.config["fusion"] == dict(
            zip([t.card.key for t in said.teachers], said.fusion.shares, strict=True)
        )
        mrr = {m.scope: m.value for m in both.store.runs.measurements(run.id) if m.metric == "mrr"}
        assert mrr["gate/candidates"] == one.gate.teacher.table["mrr"].value
        scoring = chosen_scoring(both.store, ground.category, one.card.key)
        assert scoring is not None
        assert (scoring.way, scoring.temperature) == (
            one.chosen.scoring.way,
            one.chosen.scoring.temperature,
        )
    lines = list(report(both.config, said.ground, said, entries))
    assert [text[:5] for text in lines[:2]] == ["gate:", "gate:"]
    assert lines[2] == line


def test_consulting_again_asks_nobody(both: Both) -> None:
    events, again = consulted(both.store, both.config, both.settings)
    assert not any(isinstance(event, StageStarted) for event in events)
    assert again.fusion is not None
    assert both.said.fusion is not None
    assert again.fusion.shares == both.said.fusion.shares
    np.testing.assert_array_equal(
        np.stack(again.taught.asked.scores), np.stack(both.said.taught.asked.scores)
    )


@pytest.fixture
def lettered(tmp_path: Path, second: Path) -> str:
    """A small Llama on disk that names letters."""
    backend: EmbeddedBackend = spell(open_llama(second), "ABCDEF")
    backend.model.save_pretrained(tmp_path / "lettered")
    backend.tokenizer.save_pretrained(tmp_path / "lettered")
    return str(tmp_path / "lettered")


def test_of_several_one_that_is_unfit_is_left_out(
    shop: Store, llama: Path, lettered: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", precision="float32", threads=1)
    config = configured(spec=str(llama), others=(lettered,), mode="letters", weights="none")
    events, said = consulted(shop, config, settings)
    left_out = [e.text for e in events if isinstance(e, Notice) and "is left out" in e.text]
    assert left_out == [
        f"{llama} is left out: the teacher has no opinion on most of 20 questions "
        "(by letters: 20 declined)"
    ]
    assert [one.card.name for one in said.teachers] == ["lettered"]
    assert said.fusion is None
    assert said.taught.temperature == said.chosen.scoring.temperature
    nobody = config.with_teacher(others=(str(llama),))
    with pytest.raises(TeacherUnfit, match=r"none of .*tiny-llama.* is fit to teach"):
        consulted(shop, nobody, settings)
