"""Questions whose answers, in all orders, only repeat the order offered.

Apart from the Store, which counts answers one by one: that there is no opinion shows only in
all the orders of a question together.
"""

from __future__ import annotations

from collections import Counter

from recommender.asking.answering import IN_ORDERS
from recommender.asking.orders import repeats_the_order
from storage.store import Store


def without_opinion(store: Store, category_id: int) -> dict[str, int]:
    """Return for each teacher how many of its questions have no opinion behind them.

    Args:
        store: with the category.
        category_id: whose questions.
    """
    found: Counter[str] = Counter()
    for method in IN_ORDERS:
        requests = store.labels.requests(category_id, method=method)
        answers = store.labels.get([request.key for request in requests])
        questions: dict[tuple[object, ...], list[tuple[float, ...]]] = {}
        for request in requests:
            answer = answers.get(request.key)
            if answer is not None and answer.status == "ok":
                question = (request.teacher, request.purpose, request.user, request.event)
                key = (*question, request.drawn)
                questions.setdefault(key, []).append(answer.scores)
        found.update(str(key[0]) for key, rows in questions.items() if repeats_the_order(rows))
    return dict(found.most_common())
