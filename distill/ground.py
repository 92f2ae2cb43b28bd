"""What every stage of a distillation stands on: data, split, texts, baselines, candidates.

Made once, first. Nothing here needs torch but the encoder of titles, and that only where
the vectors are not in the artifacts yet.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from distill.config import DistilConfig
from recommender.asking.answering import Texts
from recommender.baselines import ItemKNN, Popularity
from recommender.candidates import CandidateSampler, TextNeighbours
from recommender.embeddings import TextEncoder, title_vectors
from recommender.events import Event, Notice
from recommender.ranking import CatalogueRanker
from recommender.splits import Split, leave_last_out, positives, temporal_split
from recommender.wording import shown_texts, texts_of
from storage.errors import BadData
from storage.records import Category, FloatArray
from storage.store import Store


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """The data of one distillation, ready to be asked about."""

    category: Category
    split: Split
    texts: Texts
    vectors: FloatArray
    """(items, width), unit length: title vectors."""
    encoder: TextEncoder
    """What made the vectors."""
    titles: Sequence[str]
    """One an item, and nothing beside: what the vectors are of."""
    popularity: Popularity
    knn: ItemKNN

    @property
    def sources(self) -> tuple[CatalogueRanker, ...]:
        """Where candidates come from: what is popular, bought together, or alike in text."""
        return (self.popularity, self.knn, TextNeighbours(self.vectors))


def prepare(
    store: Store, config: DistilConfig, encoder: TextEncoder
) -> Generator[Event, None, Ground]:
    """Read the category, split it, encode its titles and fit the baselines on its train rows.

    Raises:
        UnknownName: no such category, with how to get data.
        BadData: too little data to split, or nothing to learn from.
    """
    category = store.catalogue.category(config.category)
    if category.synthetic:
        yield Notice(f"{category.name} is the synthetic sample: its figures are no results")
    if category.note:
        yield Notice(category.note)
    log = positives(store.catalogue.log(category.id), config.min_rating)
    split = temporal_split(log) if config.split == "temporal" else leave_last_out(log)
    sizes = split.sizes()
    if min(sizes["train"].requests, sizes["valid"].requests, sizes["test"].requests) < 1:
        raise BadData(
            f"{category.name!r} is too small to be split into train, validation and test: "
            + ", ".join(f"{part} has {size.requests} requests" for part, size in sizes.items()),
            next_step="recsys data import a longer log, or recsys data sample",
        )
    titles = store.catalogue.item_titles(category.id)
    shown = shown_texts(store, category, config.teacher.item_fields)
    vectors = yield from title_vectors(titles, encoder, store.artifacts)
    train_items, offsets = split.train_sequences()
    return Ground(
        category=category,
        split=split,
        texts=texts_of(category, shown, config.teacher.history_length, config.teacher.item_fields),
        vectors=vectors,
        encoder=encoder,
        titles=titles,
        popularity=Popularity.fit(train_items, log.items),
        knn=ItemKNN.fit(train_items, offsets, log.items),
    )


def sampler(ground: Ground, config: DistilConfig) -> CandidateSampler:
    """Return what draws the candidates of label requests."""
    return CandidateSampler(
        ground.sources,
        items=ground.split.log.items,
        n=config.teacher.candidates,
        mix=config.teacher.mix,
    )
