"""Texts to learn from: what is learned is what is asked, and nothing of test is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.ground import Ground
from distill.language.lessons import Lesson, batch_of, digest_of, lesson_of, lessons
from recommender.asking.answering import Texts
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.splits import TEST, TRAIN, VALID, Split
from storage.errors import BadData, BadSetting
from storage.records import Part
from tests.recommender.tiny_bytes import open_tiny

TITLES = ("Steel kettle, 1.7 l", "Oak desk", "Blue ink", "<|end|>", "A very long title " * 9)
LONG = 4000


def text(backend: EmbeddedBackend, lesson: Lesson) -> str:
    return str(backend.tokenizer.decode(lesson.ids.tolist()))


def same(ones: list[Lesson], others: list[Lesson]) -> bool:
    return digest_of(ones) == digest_of(others)


@pytest.fixture(params=["without a begin", "with a begin"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddedBackend:
    """One token a byte; some models begin every text with a token of its own."""
    return open_tiny(tmp_path, begins=request.param == "with a begin")


# --- one lesson --------------------------------------------------------------------------


@pytest.mark.parametrize("titles", [TITLES, TITLES[:1], TITLES[2:4]])
def test_a_lesson_is_laid_out_as_a_request(
    backend: EmbeddedBackend, titles: tuple[str, ...]
) -> None:
    lesson = lesson_of(backend, titles, noun="things", max_tokens=LONG)
    prefix, shown = backend.prefix_tokens(Prompt(titles[:-1], noun="things"))
    assert shown == len(titles) - 1
    assert lesson.ids.tolist() == [*prefix, *backend.title_tokens(titles[-1])]
    assert lesson.begins == 1
    assert lesson.told.shape == lesson.ids.shape


def test_what_is_predicted_are_titles_and_nothing_else(backend: EmbeddedBackend) -> None:
    lesson = lesson_of(backend, TITLES[:3], noun="things", max_tokens=LONG)
    told = backend.tokenizer.decode(lesson.ids[lesson.told].tolist())
    assert told == "".join(f" {title}\n" for title in TITLES[:3])
    rest = backend.tokenizer.decode(lesson.ids[~lesson.told].tolist(), skip_special_tokens=True)
    assert rest.endswith("---"), "a mark a title"
    assert rest[:-3].endswith("\n"), "and the heading"


def test_it_is_as_likely_in_a_lesson_as_when_it_is_asked(backend: EmbeddedBackend) -> None:
    """Side by side, padded: the last title's log-probability is the backend's likelihood."""
    some = [TITLES[:2], TITLES[1:4], TITLES]
    batch = batch_of([lesson_of(backend, one, noun="things", max_tokens=LONG) for one in some])
    with torch.no_grad():
        logits = backend.model(
            input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False
        ).logits
    logp = logits[:, :-1].log_softmax(-1).gather(2, batch.ids[:, 1:, None])[..., 0]
    for row, titles in enumerate(some):
        length = int(batch.mask[row].sum())
        title = len(backend.title_tokens(titles[-1]))
        found = logp[row, length - 1 - title : length - 1].sum().item()
        asked = backend.likelihood(Prompt(titles[:-1], noun="things"), [titles[-1]])
        assert found == pytest.approx(asked.logprobs[0], abs=1e-3)


@pytest.mark.parametrize("most", [90, 105, 120, 150])
def test_it_keeps_to_its_tokens_and_the_oldest_titles_go_first(
    backend: EmbeddedBackend, most: int
) -> None:
    titles = TITLES[:4]
    whole = [lesson_of(backend, titles[n:], noun="things", max_tokens=LONG) for n in range(4)]
    fits = next((one for one in whole if len(one.ids) <= most), whole[-1])
    lesson = lesson_of(backend, titles, noun="things", max_tokens=most)
    assert len(lesson.ids) <= most
    assert lesson.ids.tolist() == fits.ids.tolist()


def test_a_title_too_long_by_itself_is_cut(backend: EmbeddedBackend) -> None:
    whole = lesson_of(backend, TITLES[-1:], noun="things", max_tokens=LONG)
    most = len(whole.ids) - 20
    lesson = lesson_of(backend, TITLES, noun="things", max_tokens=most)
    assert lesson.ids.tolist() == whole.ids[:most].tolist()
    assert lesson.told.any()


def test_no_room_for_a_title_is_refused(backend: EmbeddedBackend) -> None:
    """Regression: such lessons had nothing to predict, and every validation of them was 0."""
    heading, _ = backend.prefix_tokens(Prompt((), noun="things"))
    least = lesson_of(backend, TITLES, noun="things", max_tokens=len(heading) + 1)
    assert int(least.told.sum()) == 1
    with pytest.raises(BadSetting, match=f"a lesson of {len(heading)} tokens has no room"):
        lesson_of(backend, TITLES, noun="things", max_tokens=len(heading))


# --- the lessons of a shop ---------------------------------------------------------------


def laid(ground: Ground, model: EmbeddedBackend, part: Part = "train", **more: int) -> list[Lesson]:
    settings = {"max_tokens": 100, "seed": 0, **more}
    return lessons(ground.split, ground.texts, model, part=part, **settings)  # type: ignore[arg-type]


def poisoned(split: Split, *parts: int) -> Split:
    """Other items in the rows of some parts; which rows are whose stays."""
    rows = np.isin(split.part, parts)
    item = split.log.item.copy()
    item[rows] = (item[rows] + 7) % split.log.items
    return replace(split, log=replace(split.log, item=item))


def test_lessons_know_nothing_of_what_comes_later(ground: Ground, model: EmbeddedBackend) -> None:
    spoilt = replace(ground, split=poisoned(ground.split, TEST))
    for part in ("train", "valid"):
        assert same(laid(ground, model, part), laid(spoilt, model, part))
    spoilt = replace(ground, split=poisoned(ground.split, VALID, TEST))
    assert same(laid(ground, model), laid(spoilt, model))
    assert not same(laid(ground, model, "valid"), laid(spoilt, model, "valid"))
    spoilt = replace(ground, split=poisoned(ground.split, TRAIN))
    assert not same(laid(ground, model), laid(spoilt, model)), "the poison is one"


def test_a_lesson_is_a_history_and_what_came_next(ground: Ground, model: EmbeddedBackend) -> None:
    """Every request of train once, in words; histories as long as a prompt shows."""
    split, texts = ground.split, ground.texts
    expected = []
    for row in split.events("train"):
        shown = [*split.history(int(row))[-texts.history_length :], split.log.item[row]]
        titles = [texts.titles[int(item)] for item in shown]
        expected.append(text(model, lesson_of(model, titles, noun=texts.noun, max_tokens=100)))
    assert sorted(text(model, one) for one in laid(ground, model)) == sorted(expected)
    assert len(laid(ground, model, "valid")) == len(split.events("valid"))


def test_the_order_is_the_seeds(ground: Ground, model: EmbeddedBackend) -> None:
    first = laid(ground, model)
    np.random.default_rng().random()  # whatever else is drawn
    assert same(first, laid(ground, model))
    other = laid(ground, model, seed=1)
    assert not same(first, other)
    ids = (sorted(lesson.ids.tolist() for lesson in some) for some in (first, other))
    assert next(ids) == next(ids)


def test_fewer_lessons_are_the_first_of_all(ground: Ground, model: EmbeddedBackend) -> None:
    whole = laid(ground, model)
    assert same(laid(ground, model, most=5), whole[:5])
    some = laid(ground, model, most_tokens=300)
    assert same(some, whole[: len(some)])
    counts = np.cumsum([len(one.ids) for one in some])
    assert counts[-2] < 300 <= counts[-1]
    assert same(laid(ground, model, most=4, most_tokens=10**9), whole[:4])


def test_without_anybody_there_is_nothing_to_read(ground: Ground, model: EmbeddedBackend) -> None:
    nobody = replace(ground.split, part=np.full_like(ground.split.part, TEST))
    texts = Texts(ground.titles, "things", 5)
    with pytest.raises(BadData, match="nobody has a history to read in the train part"):
        lessons(nobody, texts, model, max_tokens=100)


# --- side by side ------------------------------------------------------------------------


def test_side_by_side_they_are_what_they_are_alone(backend: EmbeddedBackend) -> None:
    some = [lesson_of(backend, TITLES[:n], noun="things", max_tokens=LONG) for n in (2, 4, 1)]
    batch = batch_of(some)
    assert batch.ids.shape == (3, max(len(one.ids) for one in some))
    for row, one in enumerate(some):
        length = len(one.ids)
        assert batch.ids[row, :length].tolist() == one.ids.tolist()
        assert batch.told[row, :length].tolist() == one.told.tolist()
        assert batch.mask[row].tolist() == [n < length for n in range(batch.ids.shape[1])]
        assert batch.real[row].tolist() == [1 <= n < length for n in range(batch.ids.shape[1])]
        assert not batch.told[row, length:].any()


def test_the_digest_tells_any_two_apart() -> None:
    ids, told = np.array([5, 6, 7]), np.array([False, True, True])
    one = Lesson(ids, told, 1)
    others = [
        Lesson(np.array([5, 6, 8]), told, 1),
        Lesson(ids, np.array([False, False, True]), 1),
        Lesson(ids, told, 2),
    ]
    assert len({digest_of([one]), digest_of([one, one]), *(digest_of([o]) for o in others)}) == 5
    assert digest_of([one]) == digest_of([Lesson(ids.copy(), told.copy(), 1)])
