from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from recommender.asking import labelling
from recommender.asking.answering import Texts, address, soft_label
from recommender.asking.labelling import (
    Labelled,
    label,
    label_unconditional,
    label_with_states,
    question_groups,
    states_of,
)
from recommender.asking.requests import Question
from recommender.backends import Scores, example_card
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event, Progress, StageDone, StageStarted
from storage.errors import ArtifactDamaged
from storage.records import LabelRequest
from storage.store import Store
from tests.tiny import LAYERS, Counting, add_shop, open_llama

Job = Callable[[Counting, list[LabelRequest]], Iterator[Event]]


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture
def texts(store: Store) -> Texts:
    shop = add_shop(store, people=4)
    return Texts(store.catalogue.item_titles(shop.id), "products", 3)


def questions(texts: Texts, count: int, **changes: object) -> list[LabelRequest]:
    rng = np.random.default_rng(0)
    asked = []
    for number in range(count):
        items = tuple(int(i) for i in rng.permutation(len(texts.titles))[:9])
        asked.append(Question(number % 4, number, items[:5], items[5:], 0))
    about: dict[str, object] = {"category_id": 1, "purpose": "train", "teacher": example_card()}
    return address(asked, texts, **{**about, **changes})  # type: ignore[arg-type]


def stop_after(events: Iterator[Event], done: int) -> None:
    """Close a job when it has reported so much."""
    for event in events:
        if isinstance(event, Progress) and event.done == done:
            events.close()  # type: ignore[attr-defined]
            return
    raise AssertionError("the job ended before it was stopped")


@pytest.fixture
def with_labels(store: Store, texts: Texts) -> Job:
    return lambda backend, asked: label(backend, asked, texts, store.labels, stage="teacher")


@pytest.fixture
def with_states(store: Store, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(labelling, "SHARD", 4)
    return lambda backend, asked: label_with_states(
        backend, asked, texts, store.labels, store.artifacts, stage="teacher"
    )


def test_every_request_is_asked_once_whatever_was_stopped(
    store: Store, texts: Texts, model: EmbeddedBackend, with_labels: Job
) -> None:
    asked, backend = questions(texts, 10), Counting(model)
    stop_after(with_labels(backend, asked), 3)
    assert store.labels.pending(1) == asked[3:]
    stop_after(with_labels(backend, asked), 4)
    *between, last = with_labels(backend, asked)
    assert isinstance(last, Labelled)
    assert (last.asked, last.known) == (3, 7)
    assert backend.prompts == [texts.prompt(request) for request in asked]
    assert [type(event) for event in between] == [StageStarted, *[Progress] * 3, StageDone]
    (only,) = with_labels(backend, asked)
    assert isinstance(only, Labelled)
    assert (only.asked, only.known) == (0, 10)
    assert len(backend.prompts) == 10


def test_answers_are_kept_as_they_came(
    store: Store, texts: Texts, model: EmbeddedBackend, with_labels: Job
) -> None:
    asked = questions(texts, 3)
    list(with_labels(Counting(model), asked))
    kept = store.labels.get([request.key for request in asked])
    for request in asked:
        prompt = texts.prompt(request)
        direct = model.likelihood(prompt, prompt.candidates)
        np.testing.assert_allclose(kept[request.key].scores, direct.logprobs, rtol=1e-6)
        assert kept[request.key].tokens == direct.tokens
        assert kept[request.key].status == "ok"
        assert kept[request.key].details["history_shown"] == 3


def test_two_people_with_one_question_are_one_question(
    texts: Texts, model: EmbeddedBackend, with_labels: Job
) -> None:
    first, second = questions(texts, 2)
    twin = replace(first, user=3, event=77, purpose="gate")
    backend = Counting(model)
    *_, last = with_labels(backend, [first, twin, second])
    assert len(backend.prompts) == 2
    assert isinstance(last, Labelled)
    assert (last.asked, last.known) == (2, 1)


def test_letters_are_asked_for_one_letter_a_candidate(
    store: Store, texts: Texts, model: EmbeddedBackend, with_labels: Job
) -> None:
    asked = questions(texts, 2, method="letters")
    list(with_labels(Counting(model), asked))
    for request in asked:
        kept = store.labels.get([request.key])[request.key]
        direct = model.score(texts.prompt(request), "ABCD")
        np.testing.assert_allclose(kept.scores, direct.logprobs, rtol=1e-6)
        assert kept.tokens == (1, 1, 1, 1)


def test_each_order_is_a_question_of_its_own_with_its_own_key(
    store: Store, texts: Texts, model: EmbeddedBackend, with_labels: Job
) -> None:
    asked, backend = questions(texts, 3, method="letters", orders=4), Counting(model)
    assert [request.shift for request in asked] == [0, 1, 2, 3] * 3
    assert len({request.key for request in asked}) == 12
    stop_after(with_labels(backend, asked), 5)
    list(with_labels(backend, asked))
    assert backend.prompts == [texts.prompt(request) for request in asked]
    for first, *others in (asked[at : at + 4] for at in (0, 4, 8)):
        for turn, request in enumerate(others, start=1):
            assert request.candidates == first.candidates[turn:] + first.candidates[:turn]
            assert request.candidates[request.target] == first.candidates[first.target]
            assert request.drawn == first.candidates
            kept = store.labels.get([request.key])[request.key]
            direct = model.score(texts.prompt(request), "ABCD")
            np.testing.assert_allclose(kept.scores, direct.logprobs, rtol=1e-6)


def test_titles_are_asked_about_in_one_order(texts: Texts) -> None:
    assert len(questions(texts, 3, orders=4)) == 3


def test_orders_stay_together_and_one_history_side_by_side(texts: Texts) -> None:
    asked = questions(texts, 3, method="letters", orders=2)
    first, second, third = asked[:2], asked[2:4], asked[4:]
    # Of somebody whose past is longer, but whose last three items are the same.
    near = [replace(r, history=(9, *first[0].history[-3:])) for r in third]
    groups = question_groups([*first, *second, *third, *near], texts)
    assert [list(group) for group in groups] == [first, near, second, third]


def test_an_answer_that_is_mostly_something_else_is_declined(texts: Texts) -> None:
    by_letter = questions(texts, 1, method="letters")[0]
    by_title = questions(texts, 1)[0]
    for request, outside, status in [
        (by_letter, 0.6, "declined"),
        (by_letter, 0.4, "ok"),
        (by_title, 0.6, "ok"),
    ]:
        assert soft_label(request, Scores((0.0,), (1,), outside=outside)).status == status


def test_states_are_those_of_each_request_in_the_order_asked_for(
    store: Store, texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    asked = questions(texts, 10)
    *_, last = with_states(Counting(model), asked)
    assert isinstance(last, Labelled)
    assert (last.asked, last.known) == (10, 0)
    found = states_of(store.artifacts, asked)
    assert found.shape == (10, LAYERS + 1, 32)
    assert found.at((0,)).dtype == np.float32
    for state, request in zip(np.asarray(found), asked, strict=True):
        direct = model.states(texts.prompt(request), range(LAYERS + 1))
        np.testing.assert_allclose(state, direct, rtol=2e-3, atol=1e-3)
    assert len(list((store.artifacts.root / "states").iterdir())) == 3


def test_states_are_read_by_layer_and_by_request(
    store: Store, texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    asked = questions(texts, 5)
    list(with_states(Counting(model), asked[:4]))
    list(with_states(Counting(model), asked[4:]))
    found = states_of(store.artifacts, asked[:4], asked[4:])
    whole = np.asarray(found)
    assert found.shape == whole.shape == (5, LAYERS + 1, 32)
    np.testing.assert_array_equal(found.at((2, 0)), whole[:, [2, 0]])
    some = found.taken([4, 1, 1])
    np.testing.assert_array_equal(some.taken([2, 0]).at((1,)), whole[[1, 4]][:, [1]])
    kept = next((store.artifacts.root / "states").glob("*/states.safetensors"))
    kept.write_bytes(b"harmed")
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        found.at((0,))


def test_a_stop_costs_one_shard_of_states_and_no_label(
    store: Store, texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    asked, backend = questions(texts, 10), Counting(model)
    stop_after(with_states(backend, asked), 6)  # in the middle of the second shard
    assert len(store.labels.get([request.key for request in asked])) == 6
    with pytest.raises(KeyError, match="from 4"):
        states_of(store.artifacts, asked)
    *_, last = with_states(backend, asked)
    assert isinstance(last, Labelled)
    assert (last.asked, last.known) == (6, 4)
    assert len(backend.prompts) == 6 + 6
    list(with_states(backend, asked))
    assert len(backend.prompts) == 12
    stopped = states_of(store.artifacts, asked)
    for shard in (asked[:4], asked[4:8], asked[8:]):  # made anew, and the same
        store.artifacts.remove(store.artifacts.key("states", {"requests": [r.key for r in shard]}))
    list(with_states(backend, asked))
    np.testing.assert_array_equal(states_of(store.artifacts, asked), stopped)


def test_labels_that_are_gone_are_asked_for_again_though_their_states_are_there(
    tmp_path: Path, store: Store, texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    asked = questions(texts, 5)
    list(with_states(Counting(model), asked))
    backend = Counting(model)
    with Store.open(tmp_path / "fresh.sqlite", store.artifacts.root) as fresh:
        add_shop(fresh, people=4)
        list(
            label_with_states(backend, asked, texts, fresh.labels, fresh.artifacts, stage="teacher")
        )
        assert len(fresh.labels.get([request.key for request in asked])) == 5
    assert len(backend.prompts) == 5


def test_asking_for_more_keeps_whole_shards(
    texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    asked, backend = questions(texts, 11), Counting(model)
    list(with_states(backend, asked[:8]))
    list(with_states(backend, asked))
    assert len(backend.prompts) == 11


def test_titles_by_themselves_are_asked_once_an_item(
    store: Store, texts: Texts, model: EmbeddedBackend
) -> None:
    backend = Counting(model)

    def job(items: list[int]) -> Iterator[Event]:
        return label_unconditional(
            backend, items, texts, store.labels, category_id=1, batch=3, stage="titles"
        )

    stop_after(job([8, 3, 3, 5, 1, 7]), 3)
    list(job([8, 3, 5, 1, 7, 2]))
    assert list(job([1, 2, 3])) == []
    assert backend.titles == [texts.titles[item] for item in (1, 3, 5, 2, 7, 8)]
    kept = store.labels.unconditional(model.describe().key, 1, [1, 2, 3, 5, 7, 8])
    direct = model.unconditional([texts.titles[item] for item in sorted(kept)], noun="products")
    np.testing.assert_allclose([kept[i][0] for i in sorted(kept)], direct.logprobs, atol=1e-4)
    assert [kept[i][1] for i in sorted(kept)] == list(direct.tokens)


def test_progress_counts_up_to_what_was_announced(
    texts: Texts, model: EmbeddedBackend, with_states: Job
) -> None:
    events = list(with_states(Counting(model), questions(texts, 6)))
    assert events[0] == StageStarted("teacher", 6, "requests")
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == [1, 2, 3, 4, 5, 6]
    assert all(a.total == b.total == 6 for a, b in pairwise(progress))


def test_a_prompt_shows_the_end_of_the_history(texts: Texts) -> None:
    request = questions(texts, 1)[0]
    assert texts.prompt(request).history == tuple(texts.titles[i] for i in request.history[-3:])
    longer = replace(texts, history_length=5)
    assert len(longer.prompt(request).history) == 5
    assert questions(longer, 1)[0].key != request.key
