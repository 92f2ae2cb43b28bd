"""A bulk job as a process of its own, to be killed: `python -m tests.ollama.label_job DB URL`.

It says each key once its answer is kept, so that whoever kills it knows what must not be lost.
"""

from __future__ import annotations

import sys

from recommender.asking.answering import Texts, address
from recommender.asking.labelling import label
from recommender.asking.requests import Question
from recommender.backends.ollama.backend import OllamaBackend
from storage.labels import Labels
from storage.records import LabelRequest
from storage.store import Store

QUESTIONS, ORDERS, ITEMS = 100, 4, 120


def requests(backend: OllamaBackend) -> tuple[list[LabelRequest], Texts]:
    """The questions of every run: the same, in the same order."""
    texts = Texts([f"Thing number {n}" for n in range(ITEMS)], "products", 3)
    questions = [
        Question(
            n, n, (n % ITEMS, (n + 1) % ITEMS), tuple((n + k) % ITEMS for k in range(5, 11)), 0
        )
        for n in range(QUESTIONS)
    ]
    asked = address(
        questions,
        texts,
        category_id=1,
        purpose="train",
        teacher=backend.describe(),
        method="letters",
        orders=ORDERS,
    )
    return asked, texts


class Telling(Labels):
    """Says what is kept, after it is kept."""

    def add_many(self, labels):  # type: ignore[no-untyped-def]
        added = super().add_many(labels)
        for one in labels:
            print(one.key, flush=True)
        return added


def main(database: str, url: str) -> None:
    """Ask everything that has no answer yet."""
    backend = OllamaBackend.open("fixed:latest", host=url)
    asked, texts = requests(backend)
    with Store.open(database, f"{database}.artifacts") as store:
        telling = Telling(store.database)
        for _ in label(backend, asked, texts, telling, stage="job", in_flight=4):
            pass
    backend.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
