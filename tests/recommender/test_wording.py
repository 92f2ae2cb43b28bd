"""What a catalogue looks like to a teacher: titles, and the fields that were asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import Texts, address
from recommender.asking.requests import Question
from recommender.backends import Prompt, example_card
from recommender.chat_prompts import letters_turn
from recommender.config import ITEM_FIELDS
from recommender.prompts import TITLE_CHARACTERS, clean_title, likelihood_text
from recommender.wording import (
    FIELD_CHARACTERS,
    example_category,
    noun_of,
    shown_text,
    shown_texts,
    texts_of,
)
from storage.records import Item
from storage.store import Store
from tests.tiny import add_shop

RADIO = Item(3, "r3", "Pocket radio", brand="Norvik", categories="Audio | Radios", price="12.50")
ANY = st.text(st.characters(), max_size=300)
FIELDS = st.lists(st.sampled_from(ITEM_FIELDS), unique=True).map(tuple)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ((), "Pocket radio"),
        (("brand",), "Pocket radio (brand: Norvik)"),
        (("category",), "Pocket radio (category: Audio | Radios)"),
        (("price", "brand"), "Pocket radio (price: 12.50, brand: Norvik)"),
        (ITEM_FIELDS, "Pocket radio (brand: Norvik, price: 12.50, category: Audio | Radios)"),
    ],
)
def test_fields_stand_behind_the_title_in_the_order_asked_for(
    fields: tuple[str, ...], shown: str
) -> None:
    assert shown_text(RADIO, fields) == shown


@pytest.mark.parametrize("nothing", ["", "  ", "\n", "\u200b", "\x1b[0m", "\ud800"])
def test_what_the_source_does_not_say_is_not_shown(nothing: str) -> None:
    bare = replace(RADIO, brand=nothing)
    assert shown_text(bare, ("brand",)) == "Pocket radio"
    assert shown_text(bare, ("brand", "price")) == "Pocket radio (price: 12.50)"


def test_a_long_title_does_not_push_the_fields_out() -> None:
    shown = shown_text(replace(RADIO, title="long " * 100, brand="B" * 100), ("brand", "price"))
    assert len(shown) == TITLE_CHARACTERS
    assert shown.startswith("long long ")
    assert shown.endswith(f" (brand: {'B' * FIELD_CHARACTERS}, price: 12.50)")


@given(st.tuples(ANY, ANY, ANY, ANY), FIELDS)
def test_whatever_an_item_holds_it_is_one_clean_line(
    values: tuple[str, str, str, str], fields: tuple[str, ...]
) -> None:
    title, brand, price, categories = values
    item = Item(0, "a", title, brand=brand, price=price, categories=categories)
    shown = shown_text(item, fields)
    assert clean_title(shown) == shown
    assert len(shown) <= TITLE_CHARACTERS
    assert shown.startswith(clean_title(title)[:20].rstrip())
    known = [f for f, v in zip(ITEM_FIELDS, (brand, price, categories), strict=True) if f in fields
             and clean_title(v) != clean_title("")]  # fmt: skip
    assert shown.endswith(")") or not known
    for field in known:
        assert f"{field}: " in shown
    prompt = Prompt((shown,), (shown,), "things")
    assert len(likelihood_text(prompt).splitlines()) == 3
    assert len(letters_turn(prompt, "A").splitlines()) == 2 + 2 + 1 + 2


def test_a_shop_is_shown_item_by_item(store: Store) -> None:
    category = add_shop(store, people=2)
    items = list(store.catalogue.items(category.id))
    assert shown_texts(store, category, ()) == store.catalogue.item_titles(category.id)
    shown = shown_texts(store, category, ("brand", "price"))
    assert shown == [shown_text(item, ("brand", "price")) for item in items]
    assert [item.number for item in items] == list(range(category.items))
    assert any("brand: " in text and "price: " in text for text in shown)


def test_a_question_with_other_fields_is_another_question(store: Store) -> None:
    category = add_shop(store, people=2)
    keys = set()
    for fields in ((), ("brand",), ("brand", "price"), ("price", "brand")):
        texts = texts_of(category, shown_texts(store, category, fields), 5)
        (asked,) = address(
            [Question(0, 0, (0, 1), (2, 3), 0)], texts,
            category_id=category.id, purpose="gate", teacher=example_card(),
        )  # fmt: skip
        keys.add(asked.key)
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("name", "source", "noun"),
    [
        ("Office_Products", "amazon-2018", "office products"),
        ("Toys-and-Games", "csv", "toys and games"),
        ("my films", "movielens-1m", "movies"),
        ("tweets", "movietweetings", "movies"),
        ("movielens", "csv", "movielens"),
    ],
)
def test_what_the_things_are_called(name: str, source: str, noun: str) -> None:
    assert noun_of(example_category(name, source)) == noun


def test_texts_show_the_end_of_a_history() -> None:
    texts = texts_of(example_category("Toys", "csv"), ["Kite", "Ball", "Top"], 2)
    assert texts == Texts(["Kite", "Ball", "Top"], "toys", 2)
    question = Question(0, 0, (0, 1, 2), (1, 0), 0)
    assert texts.prompt(question) == Prompt(("Ball", "Top"), ("Ball", "Kite"), "toys")
