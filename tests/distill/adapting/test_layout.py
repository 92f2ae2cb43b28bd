"""A question as tokens: what the backend itself would ask, cut by whole titles, answered once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.adapting.layout import Lettered, example, lettered, water_level
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import pack
from recommender.backends.passes import pack_hidden, rows_hidden

HISTORY = ("Steel kettle, 1.7 l", "Oak desk", "A very long title " * 9, "Blue ink")
CANDIDATES = ("Desk lamp", "Paper, 500 sheets of it, white", "Pen", "Another long title " * 9)


def prompt(history: tuple[str, ...] = HISTORY, offered: tuple[str, ...] = CANDIDATES) -> Prompt:
    return Prompt(history, offered, "things")


def text(backend: EmbeddedBackend, laid: Lettered) -> str:
    return str(backend.tokenizer.decode([*laid.history, *laid.question]))


def test_uncut_it_is_what_the_backend_asks(model: EmbeddedBackend) -> None:
    whole, variants = model.letters_tokens(prompt())
    laid = lettered(model, prompt())
    assert [*laid.history, *laid.question] == whole
    assert laid.variants == variants


@pytest.mark.parametrize("most", [100, 120, 160, 200])
def test_it_keeps_to_its_tokens_and_cuts_whole_titles_of_the_history(
    model: EmbeddedBackend, most: int
) -> None:
    short = ("Steel kettle, 1.7 l", "Oak desk", "A longer title of a thing", "Blue ink")
    laid = lettered(model, prompt(short), most=most)
    assert len(laid) <= most
    said = text(model, laid)
    assert f"- {short[-1]}\n" in said, "the latest title is always shown, and whole"
    shown = [f"- {title}\n" in said for title in short]
    assert shown == sorted(shown), "the oldest go first"
    assert said.count("\n- ") == sum(shown), "and no piece of one is left"
    assert said.endswith("Answer:")
    for letter in "ABCD":
        assert f"\n{letter}. " in said


def test_short_candidates_stay_whole_where_long_ones_are_cut(model: EmbeddedBackend) -> None:
    said = text(model, lettered(model, prompt(), most=120))
    assert "C. Pen\n" in said
    assert CANDIDATES[3].strip() not in said


def test_titles_stand_where_it_says(model: EmbeddedBackend) -> None:
    laid = lettered(model, prompt())
    found = [model.tokenizer.decode(laid.history[place]) for place in laid.titles]
    assert found[0] == f" {HISTORY[0]}\n"
    assert found[-1] == f" {HISTORY[-1]}\n"
    assert len(found) == len(HISTORY)


def test_an_example_answers_the_letter_and_tells_the_next_title(model: EmbeddedBackend) -> None:
    one = example(model, prompt(), 1, most=300)
    told = model.tokenizer.decode(one.tokens.tolist())
    assert told.startswith(f" {HISTORY[1]}\n"), "the first title follows from nothing"
    assert told.endswith(f" {CANDIDATES[1]}\n")
    assert HISTORY[0] not in told
    asked, _ = model.letters_tokens(prompt())
    assert one.pack.ids[one.answer] == asked[-1]
    assert one.answer == len(asked) - 1
    assert one.target == 1


def test_one_pass_computes_what_two_would(model: EmbeddedBackend) -> None:
    """The lettered question does not see the next title, nor the title the question."""
    one = example(model, prompt(), 0, most=300)
    asked, _ = model.letters_tokens(prompt())
    prefix, _ = model.prefix_tokens(prompt())
    title = model.title_tokens(CANDIDATES[0])
    with torch.inference_mode():
        together = pack_hidden(model.model, one.pack)
        letters = pack_hidden(model.model, pack(asked, [[0]]))[-1]
        told = pack_hidden(model.model, pack(prefix, [title]))
    torch.testing.assert_close(together[one.answer], letters, rtol=1e-4, atol=1e-5)
    own = together[torch.from_numpy(one.rows[-len(title) :])]
    torch.testing.assert_close(own, told[len(prefix) - 1 :], rtol=1e-4, atol=1e-5)
    assert one.tokens[-len(title) :].tolist() == title


def test_without_titles_there_is_only_the_question(model: EmbeddedBackend) -> None:
    one = example(model, prompt(), 0, most=300, with_titles=False)
    asked, _ = model.letters_tokens(prompt())
    assert one.pack.ids.tolist() == asked


def test_side_by_side_an_example_is_what_it_is_alone(model: EmbeddedBackend) -> None:
    some = [example(model, prompt(HISTORY[:n]), 2, most=150) for n in (1, 3)]
    with torch.inference_mode():
        both = rows_hidden(model.model, [one.pack for one in some])
        for row, one in zip(both, some, strict=True):
            alone = pack_hidden(model.model, one.pack)
            torch.testing.assert_close(row[: len(one.pack)], alone, rtol=1e-4, atol=1e-5)


def test_a_history_of_one_has_a_title_to_tell_all_the_same(model: EmbeddedBackend) -> None:
    one = example(model, prompt(HISTORY[:1]), 3, most=300)
    assert one.tokens.tolist() == model.title_tokens(CANDIDATES[3])


def test_the_water_level_fits_and_no_higher_one_would() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = rng.integers(6, 50, size=8).tolist()
        room = int(rng.integers(60, 300))
        level = water_level(lengths, room)
        assert sum(min(n, level) for n in lengths) <= room
        if level < max(lengths):
            assert sum(min(n, level + 1) for n in lengths) > room
