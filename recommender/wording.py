"""What a category looks like to a language model: its titles, and what the things are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from recommender.asking.answering import Texts
from recommender.prompts import TITLE_CHARACTERS, clean_title
from storage.records import Category, Item
from storage.store import Store

FIELD_CHARACTERS = 40
"""A longer brand, price or category is cut."""

UNTITLED = clean_title("")

FILMS = ("movielens", "movietweetings")


def noun_of(category: Category) -> str:
    """Return what the things of a category are called in a prompt, in the plural.

    >>> from recommender.wording import example_category
    >>> noun_of(example_category("Office_Products", "amazon-2018"))
    'office products'
    >>> noun_of(example_category("ml", "movielens-100k")), noun_of(example_category("Toys", "csv"))
    ('movies', 'toys')
    """
    if category.source.startswith(FILMS):
        return "movies"
    return category.name.replace("_", " ").replace("-", " ").lower()


def texts_of(
    category: Category,
    titles: Sequence[str],
    history_length: int,
    fields: Sequence[str] = (),
) -> Texts:
    """Return what prompts are written from. An item without a title is shown by its place.

    With `fields` beside the titles the texts are a variant: what is known of the plain titles
    by themselves does not hold for them.

    >>> texts_of(example_category("Toys", "csv"), ["Kite"], 10).noun
    'toys'
    """
    variant = ""
    if fields:
        whole = "\x00".join(titles).encode("utf-8", "surrogatepass")
        variant = hashlib.sha256(whole).hexdigest()[:12]
    return Texts(titles, noun_of(category), history_length, variant)


def shown_texts(store: Store, category: Category, fields: Sequence[str]) -> list[str]:
    """Return what prompts show of each item: its title, and the fields that were asked for.

    Args:
        store: with the category.
        category: whose items.
        fields: of 'brand', 'price', 'category'.
    """
    if not fields:
        return store.catalogue.item_titles(category.id)
    return [shown_text(item, fields) for item in store.catalogue.items(category.id)]


def shown_text(item: Item, fields: Sequence[str]) -> str:
    """Return an item's title with the fields it has, in the order asked for.

    The title is cleaned and cut first, so that a long one does not push the fields out.

    >>> shown_text(Item(0, "a", "Pocket radio", brand="Norvik", price="12.5"), ("price", "brand"))
    'Pocket radio (price: 12.5, brand: Norvik)'
    >>> shown_text(Item(0, "a", "Pocket radio"), ("brand",))
    'Pocket radio'
    """
    values = {"brand": item.brand, "price": item.price, "category": item.categories}
    cleaned = {field: clean_title(values[field]) for field in fields}
    known = [
        f"{field}: {value[:FIELD_CHARACTERS].rstrip()}"
        for field, value in cleaned.items()
        if value != UNTITLED
    ]
    title = clean_title(item.title)
    if not known:
        return title
    beside = f" ({', '.join(known)})"
    return title[: TITLE_CHARACTERS - len(beside)].rstrip() + beside


def example_category(name: str, source: str) -> Category:
    """Return an empty category for examples."""
    return Category(1, name, source, False, None, None, 0, 0, 0, "", "")
