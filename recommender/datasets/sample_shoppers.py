"""A small synthetic Electronics shop, so that everything can be tried before any download.

Products and shoppers are invented here, by rules, from one seed. Nothing measured on them is
a result. The rules, so that a figure can be understood:

- *Catalogue*: 307 products in 51 kinds (`sample_kinds`). A title names brand, model, kind
  and what it fits, so it carries what a reader needs to guess the rest.
- *Interests*: a shopper has one or two departments and buys mostly there.
- *Complements*: after a camera a memory card, a bag, a lens; after a console a controller.
  More than half of all purchases follow from one of the last three in this way.
- *Systems*: lenses fit one camera brand, games and controllers one console brand.
- *Brand loyalty*: a shopper has two favourite brands in each department of theirs and
  prefers them four to one.
- *Price level*: a shopper buys near their own level, of three.
- *Popularity*: within a kind the r-th product is wanted as 1 / √r: moderately skewed.
- *Noise*: one purchase in eight is anything at all. Batteries and cables are bought again.
- *Time*: two years. A complement follows within weeks, anything else within months.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from recommender.datasets.sample_kinds import BRANDS, KINDS, Kind
from storage.records import InteractionChunk, ItemRow

SHOPPERS = 600
START = 1_672_531_200_000
"""2023-01-01 UTC, in milliseconds."""
DAY = 86_400_000
DAYS = 730
NOISE = 0.125
COMPLEMENT = 0.6
LOYALTY = 4.0
FAR_FROM_LEVEL = 0.3
"""Weight of a product one price level away from the shopper's own; two away, its square."""

_MODELS = ("One", "Go", "Plus", "Air", "Max", "Neo", "Ultra", "Core", "Edge", "Prime", "Flex", "X")
_FACTOR = (0.55, 1.0, 1.9)


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the shop, with what shoppers go by."""

    row: ItemRow
    kind: str
    level: int
    """Price level, 0 to 2."""
    system: str
    """What must be owned for it to be of use, as 'kind/brand'; empty where nothing is."""
    wanted: float
    """Popularity within its kind."""


@dataclass(frozen=True, eq=False, slots=True)
class Shopper:
    """What decides what somebody buys."""

    departments: tuple[str, ...]
    brands: frozenset[str]
    level: int


@cache
def products() -> tuple[Product, ...]:
    """Return the catalogue, the same every time.

    >>> [product.row.title for product in products()[:2]]
    ['Norvik One 16MP Mirrorless Camera', 'Halcyon Go 24MP Mirrorless Camera']
    """
    made: list[Product] = []
    for kind in KINDS:
        for number in range(kind.products):
            made.append(_product(kind, number, f"E{len(made):04d}"))
    return tuple(made)


def sample_items() -> list[ItemRow]:
    """Return the catalogue as a loader gives it.

    >>> sample_items()[0].brand
    'Norvik'
    """
    return [product.row for product in products()]


def sample_interactions(seed: int = 0) -> InteractionChunk:
    """Let every shopper shop for two years; the same seed gives the same log.

    >>> chunk = sample_interactions()
    >>> len(set(chunk.users)), len(chunk.users) == len(chunk.items) == len(chunk.time)
    (600, True)
    """
    shop = _Shop()
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    ratings: list[float] = []
    for number in range(SHOPPERS):
        rng = np.random.default_rng([seed, number])
        shopper = _shopper(rng)
        for product, moment in shop.visit(shopper, rng):
            users.append(f"S{number:03d}")
            items.append(products()[product].row.id)
            times.append(moment)
            ratings.append(_rating(shopper, products()[product], rng))
    return InteractionChunk(
        users=users,
        items=items,
        time=np.array(times, dtype=np.int64),
        rating=np.array(ratings, dtype=np.float32),
    )


class _Shop:
    """The catalogue as columns, to weigh all products at once."""

    def __init__(self) -> None:
        names = [kind.name for kind in KINDS]
        self.kind = np.array([names.index(product.kind) for product in products()])
        self.level = np.array([product.level for product in products()])
        self.wanted = np.array([product.wanted for product in products()])
        self.brand = np.array([product.row.brand for product in products()])
        self.system = np.array([product.system for product in products()])
        self.department = np.array([KINDS[kind].department for kind in self.kind])
        self.again = np.array([KINDS[kind].again for kind in self.kind])
        self.numbers = {name: number for number, name in enumerate(names)}

    def visit(self, shopper: Shopper, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return (product, time) in order of time."""
        taste = self._taste(shopper)
        owned: list[int] = []
        bought: list[tuple[int, int]] = []
        day = float(rng.uniform(0, 0.75 * DAYS))
        for _ in range(min(4 + int(rng.geometric(0.14)), 30)):
            product, follows = self._choose(shopper, taste, owned, rng)
            bought.append((product, START + int(day * DAY)))
            owned.append(product)
            day += float(rng.exponential(14 if follows else 40)) + 0.01
            if day >= DAYS:
                break
        return bought

    def _taste(self, shopper: Shopper) -> npt.NDArray[np.float64]:
        loyal = np.where(np.isin(self.brand, list(shopper.brands)), LOYALTY, 1.0)
        near = FAR_FROM_LEVEL ** np.abs(self.level - shopper.level)
        return np.asarray(self.wanted * loyal * near, dtype=np.float64)

    def _choose(
        self,
        shopper: Shopper,
        taste: npt.NDArray[np.float64],
        owned: list[int],
        rng: np.random.Generator,
    ) -> tuple[int, bool]:
        """Return a product and whether it follows from one that is owned.

        Where a shopper has everything they might want next, they look further afield.
        """
        free = np.ones(len(taste))
        free[owned] = self.again[owned]
        systems = {f"{KINDS[self.kind[own]].name}/{self.brand[own]}" for own in owned}
        liked = taste * free * np.isin(self.system, ["", *systems])
        mood = rng.random()
        follows = NOISE <= mood < NOISE + COMPLEMENT and bool(owned)
        if follows:
            following = liked * self._complements(owned, rng)
            if following.any():
                return _pick(following, rng), True
        interesting = liked * np.isin(self.department, list(shopper.departments))
        if mood >= NOISE and interesting.any():
            return _pick(interesting, rng), False
        return _pick(self.wanted * free, rng), False

    def _complements(self, owned: list[int], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """True for one kind that complements one of the last three products."""
        last = owned[-3:][::-1]
        chances = np.array([3, 2, 1][: len(last)], dtype=np.float64)
        base = last[int(rng.choice(len(last), p=chances / chances.sum()))]
        following = KINDS[self.kind[base]].complements
        wanted = self.numbers[following[int(rng.integers(len(following)))]]
        return np.asarray(self.kind == wanted, dtype=np.bool_)


def _product(kind: Kind, number: int, key: str) -> Product:
    brands = BRANDS[kind.department]
    level = number % 3
    fits = ""
    if kind.system:
        system = next(other for other in KINDS if other.name == kind.system)
        makers = BRANDS[system.department]
        fits = makers[(number // 3) % len(makers)]
    turn = number + number // len(brands)  # so that no brand is tied to a price level
    brand = fits if fits in brands and not kind.models else brands[turn % len(brands)]
    series = kind.models or _MODELS
    words = [brand, series[number % len(series)], kind.specs[level], kind.noun]
    title = " ".join(words) + (f" for {fits} {_system_noun(kind)}" if fits else "")
    price = kind.price * _FACTOR[level] * (1 + 0.03 * (number % 5))
    return Product(
        row=ItemRow(
            id=key,
            title=title,
            brand=brand,
            description=f"{kind.noun} by {brand}. {kind.specs[level]}.",
            categories=f"Electronics | {kind.department} | {kind.noun}",
            price=f"{price:.2f}",
        ),
        kind=kind.name,
        level=level,
        system=f"{kind.system}/{fits}" if fits else "",
        wanted=1 / np.sqrt(1 + (7 * number) % kind.products),
    )


def _system_noun(kind: Kind) -> str:
    return next(other.noun for other in KINDS if other.name == kind.system)


def _shopper(rng: np.random.Generator) -> Shopper:
    names = [name for name in BRANDS if name != "Accessories"]
    chosen = rng.choice(len(names), size=int(rng.integers(1, 3)), replace=False)
    departments = tuple(names[number] for number in chosen)
    favourites = [
        brand
        for department in departments
        for brand in rng.choice(BRANDS[department], size=2, replace=False)
    ]
    return Shopper(departments, frozenset(map(str, favourites)), int(rng.integers(3)))


def _rating(shopper: Shopper, product: Product, rng: np.random.Generator) -> float:
    pleased = 0.5 * (product.row.brand in shopper.brands)
    pleased -= 0.4 * abs(product.level - shopper.level)
    return float(np.clip(np.rint(4.1 + pleased + 0.9 * rng.normal()), 1, 5))


def _pick(weights: npt.NDArray[np.float64], rng: np.random.Generator) -> int:
    return int(rng.choice(len(weights), p=weights / weights.sum()))
