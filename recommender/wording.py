"""What a category looks like to a language model: its titles, and what the things are."""

from __future__ import annotations

from collections.abc import Sequence

from recommender.labelling import Texts
from storage.records import Category

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


def texts_of(category: Category, titles: Sequence[str], history_length: int) -> Texts:
    """Return what prompts are written from. An item without a title is shown by its place.

    >>> texts_of(example_category("Toys", "csv"), ["Kite"], 10).noun
    'toys'
    """
    return Texts(titles, noun_of(category), history_length)


def example_category(name: str, source: str) -> Category:
    """Return an empty category for examples."""
    return Category(1, name, source, False, None, None, 0, 0, 0, "", "")
