"""The synthetic sample as a category of the Store, marked as what it is.

Apart from its rules (`sample_shoppers`), which know no Store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from recommender.datasets.sample_shoppers import sample_interactions, sample_items
from recommender.events import Event, StageDone, StageSkipped, StageStarted
from storage.errors import BadData
from storage.records import NO_PART, Category, ImportData, InteractionChunk, ItemRow
from storage.store import Store

NAME = "Electronics"
NOTE = "synthetic sample: invented products and shoppers, none of its figures is a result"
STAGE = "synthetic sample"


@dataclass(frozen=True, slots=True)
class SampleImported(Event):
    """The sample is in the Store."""

    category: Category


def import_sample(
    store: Store, *, seed: int = 0, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Event]:
    """Write the sample as the category 'Electronics', marked synthetic; `SampleImported` is last.

    A sample that is there already is left as it is; one of another seed is replaced.

    Raises:
        BadData: A real category has that name: invented and real data never mix.
    """
    for known in store.catalogue.categories():
        if known.name == NAME and not known.synthetic:
            raise BadData(
                f"category {NAME!r} holds real data, which the sample never replaces",
                next_step=f"recsys distill --category {NAME}",
            )
    started = clock()
    digest = _digest(sample_items(), chunk := sample_interactions(seed))
    if any(known.name == NAME and known.digest == digest for known in store.catalogue.categories()):
        yield StageSkipped(STAGE, "it is there already")
        yield SampleImported(store.catalogue.category(NAME))
        return
    yield StageStarted(STAGE, len(chunk.users), "interactions")
    category = store.catalogue.write(
        NAME,
        _import_data(sample_items(), chunk),
        source=f"sample, seed {seed}",
        synthetic=True,
        rating_low=1.0,
        rating_high=5.0,
        note=NOTE,
        digest=digest,
        replace=any(known.name == NAME for known in store.catalogue.categories()),
        k_core=0,
    )
    yield StageDone(
        STAGE,
        clock() - started,
        f"{category.people} invented shoppers, {category.items} invented products, "
        f"{category.interactions} purchases in {NAME!r}",
    )
    yield SampleImported(category)


def _import_data(items: list[ItemRow], chunk: InteractionChunk) -> ImportData:
    """Number people and items; the rows are in order already, and no two times are equal."""
    people = list(dict.fromkeys(chunk.users))
    user = {key: number for number, key in enumerate(people)}
    item = {row.id: number for number, row in enumerate(items)}
    return ImportData(
        user_ids=people,
        items=items,
        user=np.array([user[key] for key in chunk.users], dtype=np.int64),
        item=np.array([item[key] for key in chunk.items], dtype=np.int64),
        time=chunk.time,
        rating=chunk.rating,
        part=np.full(len(chunk.users), NO_PART, dtype=np.int8),
        reviews=None,
    )


def _digest(items: list[ItemRow], chunk: InteractionChunk) -> str:
    digest = hashlib.sha256(repr((items, chunk.users, chunk.items)).encode())
    digest.update(chunk.time.tobytes() + chunk.rating.tobytes())
    return digest.hexdigest()
