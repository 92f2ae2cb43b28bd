"""What a teacher is asked when its noise is measured, and the measurement kept.

Apart from `noise`, which knows neither people nor the Store. The questions are real ones, of a
category's people and items, because noise depends on how long and how near to a tie a question
is; where there is no data yet they are of the built-in sample's titles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from recommender.asking.answering import Texts
from recommender.asking.requests import OPEN, Question
from recommender.backends import Prompt
from recommender.backends.opening import open_backend
from recommender.candidates import sample_candidates
from recommender.config import Settings
from recommender.datasets.sample_shoppers import sample_items
from recommender.events import Event
from recommender.noise.measuring import NoiseMeasured, measure_noise
from recommender.wording import shown_texts, texts_of
from storage.errors import BadData
from storage.records import Category, IntArray
from storage.store import Store

QUESTIONS = 8
CANDIDATES = 10
WIDE_QUESTIONS, WIDE_CANDIDATES = 4, 20
BUILT_IN = "built-in titles"


def measure_teacher(
    store: Store, settings: Settings, *, category: str | None = None
) -> Iterator[Event]:
    """Measure the noise of the settings' teacher and keep it; ends with `NoiseMeasured`.

    Args:
        store: where the floor is kept, and the data is.
        settings: teacher, hosts, seed.
        category: whose items are asked about; None is the first there is, else built-in titles.

    Raises:
        UnknownName: no such category or model.
        Offline: the model would have to be fetched, or no server answers.
        CannotTeach: there is nothing to measure, see `measure_noise`.
        BadData: the category has too few items for a question.
    """
    known = [store.catalogue.category(category)] if category else store.catalogue.categories()
    if known:
        about = known[0].name
        prompts, wide = category_prompts(store, known[0], settings)
    else:
        about = BUILT_IN
        prompts, wide = sample_prompts(settings.history_length, seed=settings.seed)
    with closing(open_backend(settings.teacher, settings, artifacts=store.artifacts)) as backend:
        for event in measure_noise(backend, prompts, wide=wide, about=about):
            if isinstance(event, NoiseMeasured):
                store.noise.add(event.floor)
            yield event


def category_prompts(
    store: Store, category: Category, settings: Settings
) -> tuple[list[Prompt], list[Prompt]]:
    """Return questions of people drawn by the seed, and some with twice as many candidates.

    Raises:
        BadData: nobody's question would have two candidates.
    """
    log = store.catalogue.log(category.id)
    titles = shown_texts(store, category, settings.item_fields)
    texts = texts_of(category, titles, settings.history_length)
    bounds = np.searchsorted(log.user, np.arange(log.people + 1))
    drawn = np.random.default_rng([settings.seed, 11]).permutation(log.people)[:QUESTIONS]
    histories = [log.item[bounds[person] : bounds[person + 1]] for person in drawn]
    prompts, wide = questions(texts, histories, seed=settings.seed)
    if not prompts:
        raise BadData(
            f"{category.name!r} has {category.items} items, too few to choose from",
            next_step="recsys doctor --teacher MODEL --category ANOTHER",
        )
    return prompts, wide


def sample_prompts(history_length: int, *, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Return questions about the built-in sample's titles.

    >>> prompts, wide = sample_prompts(5, seed=0)
    >>> len(prompts), len(prompts[0].history), len(prompts[0].candidates), len(wide[0].candidates)
    (8, 5, 10, 20)
    >>> prompts == sample_prompts(5, seed=0)[0], prompts == sample_prompts(5, seed=1)[0]
    (True, False)
    """
    titles = [row.title for row in sample_items()]
    rng = np.random.default_rng([seed, 12])
    histories = [
        rng.choice(len(titles), size=history_length, replace=False) for _ in range(QUESTIONS)
    ]
    return questions(Texts(titles, "electronics", history_length), histories, seed=seed)


def questions(
    texts: Texts, histories: list[IntArray], *, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Put a question to each history, with candidates drawn uniformly from the catalogue.

    All of one kind offer as many; a person who leaves fewer items than that is not asked about.

    >>> texts = Texts([f"Item {n}" for n in range(12)], "things", 3)
    >>> prompts, wide = questions(texts, [np.arange(4), np.arange(11)], seed=0)
    >>> [len(prompt.candidates) for prompt in prompts], wide
    ([8], [])
    """
    items = len(texts.titles)
    left = [items - len(np.unique(history)) for history in histories]
    offered = min(CANDIDATES, max(left, default=0))
    if offered < 2:
        return [], []

    def several(count: int, most: int, stream: int) -> list[Prompt]:
        able = [h for h, free in zip(histories, left, strict=True) if free >= count][:most]
        return [_question(texts, h, count, [seed, stream, n]) for n, h in enumerate(able)]

    return several(offered, QUESTIONS, 13), several(WIDE_CANDIDATES, WIDE_QUESTIONS, 14)


def _question(texts: Texts, history: IntArray, offered: int, seed: list[int]) -> Prompt:
    candidates = sample_candidates(
        None,
        history,
        offered,
        items=len(texts.titles),
        retrieved=np.empty(0, dtype=np.int64),
        rng=np.random.default_rng(seed),
        mix="uniform",
    )
    past, pool = (tuple(int(i) for i in several) for several in (history, candidates))
    return texts.prompt(Question(OPEN, OPEN, past, pool, OPEN))
