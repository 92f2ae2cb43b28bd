"""What the bulk job adds to a server's own time, and what a label costs by which question.

Against a loopback server with a fixed answer time, so that only our own work differs: the bare
loop sends the very bodies that the job sends, with as many threads, and keeps nothing.
"""

from __future__ import annotations

import statistics
import threading
import time
import tracemalloc
from collections import deque
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase

import httpx
import numpy as np
import pytest

from recommender.asking.answering import Texts, address
from recommender.asking.labelling import Labelled, label
from recommender.asking.requests import Question
from recommender.backends import Prompt, example_card
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.scripted import ScriptedBackend
from recommender.chat_prompts import letters_turn
from storage.records import SoftLabel
from storage.store import Store
from tests.ollama.fixed import FixedServer
from tests.tiny import add_shop

pytestmark = pytest.mark.bench

SLOTS, SECONDS, QUESTIONS, ORDERS = 4, 0.05, 100, 4


def questions(titles: int) -> list[Question]:
    rng = np.random.default_rng(0)
    asked = []
    for number in range(QUESTIONS):
        items = [int(i) for i in rng.permutation(titles)[:15]]
        asked.append(Question(number, number, tuple(items[:5]), tuple(items[5:]), 0))
    return asked


def bare_loop(url: str, bodies: list[dict[str, object]]) -> float:
    """Send bodies with SLOTS threads and nothing else; return the seconds it takes."""
    waiting = deque(bodies)
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:

        def work() -> None:
            while True:
                try:
                    body = waiting.popleft()
                except IndexError:
                    return
                client.post("/api/generate", json=body).raise_for_status()

        threads = [threading.Thread(target=work) for _ in range(SLOTS)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started


def test_the_bulk_job_keeps_every_slot_busy(store: Store) -> None:
    shop = add_shop(store, people=4)
    texts = Texts(store.catalogue.item_titles(shop.id), "products", 5)
    with FixedServer(answer_seconds=SECONDS, slots=SLOTS) as server:
        backend = OllamaBackend.open("fixed:latest", host=server.url)
        asked = address(
            questions(len(texts.titles)),
            texts,
            category_id=shop.id,
            purpose="train",
            teacher=backend.describe(),
            method="letters",
            orders=ORDERS,
        )
        bodies = []
        for request in asked:
            turn = letters_turn(texts.prompt(request), ascii_uppercase[:10])
            text = backend.template.around(turn, "Answer:")
            bodies.append({**backend.fields(text, predict=1, top=20), "stream": False})
        bare = min(bare_loop(server.url, bodies) for _ in range(2))
        started = time.perf_counter()
        *_, done = label(backend, asked, texts, store.labels, stage="bench", in_flight=SLOTS)
        seconds = time.perf_counter() - started
        backend.close()
    assert isinstance(done, Labelled)
    assert done.asked == len(asked)
    busy = len(asked) * SECONDS / SLOTS
    print(
        f"\n{len(asked)} answers of {SECONDS * 1000:.0f} ms, {SLOTS} at once: {busy:.2f} s at "
        f"least, bare loop {bare:.2f} s, the job with its Store {seconds:.2f} s "
        f"({seconds / bare - 1:+.1%})"
    )
    assert seconds <= 1.10 * bare


def test_tokens_and_requests_of_a_label(models: Path) -> None:
    """Listwise against pairwise and pointwise, ten candidates, counted by a real tokenizer."""
    from transformers import AutoTokenizer

    from recommender.datasets.sample_shoppers import sample_items

    tokenizer = AutoTokenizer.from_pretrained(models, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    titles = [row.title for row in sample_items()]
    rng = np.random.default_rng(0)

    def tokens(history: tuple[str, ...], offered: tuple[str, ...]) -> int:
        prompt = Prompt(history, offered, "products")
        return len(tokenizer(letters_turn(prompt, ascii_uppercase[: len(offered)]))["input_ids"])

    rows: dict[str, list[tuple[int, int]]] = {"listwise × 4": [], "pairwise": [], "pointwise": []}
    for _ in range(20):
        chosen = [titles[int(i)] for i in rng.permutation(len(titles))[:20]]
        history, offered = tuple(chosen[:10]), tuple(chosen[10:])
        rows["listwise × 4"].append((4, 4 * tokens(history, offered)))
        pairs = [pair for a, b in combinations(offered, 2) for pair in ((a, b), (b, a))]
        rows["pairwise"].append((len(pairs), sum(tokens(history, pair) for pair in pairs)))
        rows["pointwise"].append((10, sum(tokens(history, (one,)) for one in offered)))
    print()
    for name, counts in rows.items():
        requests = counts[0][0]
        print(
            f"{name:14} {requests:3} requests {statistics.mean(c for _, c in counts):8.0f} tokens"
        )
    assert rows["listwise × 4"][0][1] < rows["pairwise"][0][1]


def test_a_job_that_is_done_is_found_done(store: Store) -> None:
    """What resuming costs: 20,000 questions whose answers are all kept."""
    shop = add_shop(store, people=4)
    texts = Texts(store.catalogue.item_titles(shop.id), "products", 5)
    card = replace(example_card("letters"), server="ollama", concurrent=True)
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(len(texts.titles))[:15] for _ in range(5_000)]
    asked = address(
        [
            Question(n, n, tuple(map(int, i[:5])), tuple(map(int, i[5:])), 0)
            for n, i in enumerate(drawn)
        ],
        texts,
        category_id=shop.id,
        purpose="train",
        teacher=card,
        method="letters",
        orders=ORDERS,
    )
    store.labels.add_requests(asked)
    details: dict[str, object] = {"top": [[" A", -1.5]] * 20, "server": "ollama 0.32.15"}
    store.labels.add_many(
        [SoftLabel(r.key, (-2.5,) * 10, (1,) * 10, "ok", 0.4, details) for r in asked]
    )
    backend = ScriptedBackend(lambda prompt, labels: [-3.0] * len(labels))
    tracemalloc.start()
    started = time.perf_counter()
    *_, done = label(backend, asked, texts, store.labels, stage="bench")
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(done, Labelled)
    assert (done.asked, done.known) == (0, len(asked))
    print(
        f"\n{len(asked):,} kept answers found again in {seconds:.1f} s, {peak / 2**20:.0f} MB more"
    )
    assert peak < 300 * 2**20
