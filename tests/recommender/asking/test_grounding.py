"""Generate and ground: what models write, hostile or not, found in catalogues small and large."""

from __future__ import annotations

import json
import time
import tracemalloc
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking import grounding
from recommender.asking.grounding import Grounder, clean_guess, generate, squared_distances
from recommender.backends import LEAST, Completion, ModelCard, Prompt, Refusing, example_card
from recommender.chat_prompts import GUESS_TOKENS, guess_turn
from recommender.datasets.sample_shoppers import sample_items
from recommender.embeddings import SentenceEncoder
from recommender.models import EMBEDDED_ENCODER, resolve_model
from storage.errors import BadData, BadSetting
from storage.records import FloatArray
from tests.tiny import Letters, open_llama

TITLES = [row.title for row in sample_items()][:40]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return Grounder(TITLES, Letters().encode(TITLES), Letters())


class Saying(Refusing):
    """Says one thing, whatever it is asked."""

    def __init__(self, text: str, details: Mapping[str, object] | None = None) -> None:
        self.text = text
        self.details = details or {}
        self.turns: list[tuple[str, int]] = []

    def describe(self) -> ModelCard:
        return example_card("text")

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        self.turns.append((turn, limit))
        return Completion(self.text, 1.5, 7, prompt_tokens=90, details=self.details)


def rows(count: int, width: int, seed: int) -> FloatArray:
    values = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    lengths: FloatArray = np.linalg.norm(values, axis=1, keepdims=True)
    return values / lengths


# What a model wrote


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Alien (1979)", "Alien (1979)"),
        ("\n\n  Alien (1979)  \nIt is dark.", "Alien (1979)"),
        ('- "Alien (1979)"', "Alien (1979)"),
        ("1. Alien", "Alien"),
        ("* **Alien**", "Alien"),
        ("## Alien", "Alien"),
        ("> `Alien`", "Alien"),
        ("Title: Alien", "Alien"),
        ("**Movie Title:** “Alien”", "Alien"),
        ("The next title is: «Alien»", "Alien"),
        ("Answer: Title: 'Alien'", "Alien"),
        ("Title:\nAlien", "Alien"),
        ("- \n- Alien", "Alien"),
        ("```\nAlien\n```", "Alien"),
        ("<think>\n\n</think>\n\nAlien", "Alien"),
        ("thinking aloud</think>Alien", "Alien"),
        ("Alien<think>hm", "Alien"),
        ("\x1b[31mAlien\x1b[0m\x00\u202e", "Alien"),
        # Signs that belong to a title stay.
        ("'Til There Was You (1997)", "'Til There Was You (1997)"),
        ('"Crocodile" Dundee', '"Crocodile" Dundee'),
        ('"A" and "B"', '"A" and "B"'),
        ("*batteries not included (1987)", "*batteries not included (1987)"),
        ("12 Angry Men", "12 Angry Men"),
        ("8½", "8½"),
        ("101 Dalmatians: The Title", "101 Dalmatians: The Title"),
        ("Untitled: A Film", "Untitled: A Film"),
        ("-30-", "-30-"),
        # Nothing is named.
        ("", ""),
        (" \n\t\n", ""),
        ("...", ""),
        ('""', ""),
        ("Title:", ""),
        ("<think>Alien, surely, or perhaps", ""),
        ("\u200b\u200d", ""),
        ("(untitled)", ""),
        ("\n" * 5000 + "Alien", ""),
    ],
)
def test_the_title_is_found_in_what_was_written(written: str, expected: str) -> None:
    assert clean_guess(written) == expected


def test_a_flood_is_cut_and_takes_no_time() -> None:
    started = time.perf_counter()
    for flood in ("x" * 10**6, "- " * 10**6, '"' * 10**6, "a " * 10**6, "<think>" * 10**6):
        assert len(clean_guess(flood)) <= 200
    assert clean_guess("x" * 10**6) == "x" * 199 + "…"
    assert time.perf_counter() - started < 1


@given(st.text() | st.text(alphabet="-*_\"'`#>1.) \nTitle:<think>/Ω\x1b[m\u202e\ud83d"))
def test_a_guess_is_one_printable_line_or_nothing(text: str) -> None:
    guess = clean_guess(text)
    assert len(guess) <= 200
    assert guess == guess.strip()
    assert not any(unicodedata.category(c)[0] == "C" and c != "\u200d" for c in guess)
    assert not guess or any(c.isalnum() for c in guess)
    guess.encode()  # no half characters


# Found in a catalogue


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 7), st.integers(0, 10**6))
def test_distances_are_their_definition(count: int, width: int, block: int, seed: int) -> None:
    vectors, vector = rows(count, width, seed), rows(1, width, seed + 1)[0]
    expected = [
        sum((float(a) - float(b)) ** 2 for a, b in zip(vector, row, strict=True)) for row in vectors
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grounding, "BLOCK", block)
        found = squared_distances(vector, vectors)
    assert found.dtype == np.float32
    assert found.min() >= 0
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("text", ["Pocket Radio", "a walkie-talkie", "zzz", TITLES[17]])
def test_the_nearest_item_is_that_of_a_plain_loop(grounder: Grounder, text: str) -> None:
    vector = Letters().encode([text])[0].astype(np.float64)
    best, distance = -1, 9.0
    for item, row in enumerate(Letters().encode(TITLES).astype(np.float64)):
        d = float(((vector - row) ** 2).sum())
        if d < distance - 1e-9:
            best, distance = item, d
    found = grounder.ground(f"- {text}")
    assert found is not None
    assert (found.item, found.title, found.text) == (best, TITLES[best], text)
    assert found.distance == pytest.approx(distance, abs=2e-6)
    candidates = [3, best, 30]
    scores = grounder.scores(text, candidates)
    assert scores[1] == pytest.approx(-distance, abs=2e-6)
    assert scores.argmax() == 1
    assert scores.dtype == np.float32


def test_every_title_is_found_under_its_own_name(grounder: Grounder) -> None:
    for item, title in enumerate(TITLES):
        found = grounder.ground(title)
        assert found is not None
        assert found.distance < 1e-6
        assert found.item <= item  # an earlier one only where its letters are the same


def test_of_equally_near_items_it_is_the_first() -> None:
    titles = ["Jaws", "Heat", "heat", "HEAT", "teah"] * 50
    one = Grounder(titles, Letters().encode(titles), Letters())
    found = one.ground("hate")
    assert found is not None
    assert found.item == 1


def test_nothing_named_is_no_item(grounder: Grounder) -> None:
    for nothing in ("", "\n", "...", "<think>"):
        assert grounder.ground(nothing) is None
        assert grounder.scores(nothing, [1, 2]).tolist() == [LEAST, LEAST]
    assert grounder.scores("Heat", []).shape == (0,)


def test_what_does_not_belong_together_is_refused() -> None:
    vectors = Letters().encode(TITLES)
    for titles, wrong in (
        (TITLES[1:], vectors),
        ([], vectors[:0]),
        (TITLES, 2 * vectors),
        (TITLES, 0 * vectors),
        (TITLES, np.nan * vectors),
    ):
        with pytest.raises(ValueError):
            Grounder(titles, wrong, Letters())
    other = Grounder(TITLES, rows(len(TITLES), 7, 0), Letters())
    with pytest.raises(BadData, match="of two encoders"):
        other.ground("Heat")


class Broken:
    name = "broken"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.full((len(texts), 36), np.nan, dtype=np.float32)


def test_an_encoder_that_fails_at_a_guess_is_an_error() -> None:
    with pytest.raises(BadData, match="'Heat'"):
        Grounder(TITLES, Letters().encode(TITLES), Broken()).ground("Heat")


class Planted:
    """Encodes a text by the number it holds, into one of many made-up directions."""

    name = "planted"

    def __init__(self, vectors: FloatArray) -> None:
        self.vectors = vectors

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return self.vectors[[int(text.split()[-1]) for text in texts]]


def test_a_catalogue_of_200_000_costs_little_beside_its_vectors() -> None:
    count = 200_000
    vectors = rows(count, 96, 0)
    started = time.perf_counter()
    tracemalloc.start()
    try:
        one = Grounder(range(count), vectors, Planted(vectors))  # type: ignore[arg-type]
        for item in range(0, count, 10_007):
            found = one.ground(f"Title: item {item}")
            assert found is not None
            assert (found.item, found.distance < 1e-5) == (item, True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.nbytes > 70e6
    assert peak < 16e6
    assert (time.perf_counter() - started) / 20 < 0.5


def test_half_precision_vectors_are_widened_block_by_block() -> None:
    vectors = rows(1000, 8, 0)
    half = vectors.astype(np.float16)
    found = squared_distances(vectors[3], half)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, squared_distances(vectors[3], vectors), atol=3e-3)


def test_many_threads_may_ground(grounder: Grounder) -> None:
    texts = [title[:n] for n in (5, 9, 20) for title in TITLES]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(grounder.ground, texts)) == [grounder.ground(t) for t in texts]


# Asked and grounded


def test_an_answer_keeps_what_was_named_and_how_near_it_was(grounder: Grounder) -> None:
    prompt = Prompt((TITLES[0], TITLES[1]), ("not", "used"), "gadgets")
    backend = Saying(f'1. "{TITLES[9]}"\nbecause', {"server": "ollama 1", "item": "not mine"})
    scores = generate(backend, prompt, [4, 9, 2], grounder)
    assert backend.turns == [(guess_turn(prompt), GUESS_TOKENS)]
    np.testing.assert_allclose(scores.logprobs, grounder.scores(TITLES[9], [4, 9, 2]))
    assert scores.logprobs[1] == max(scores.logprobs) == pytest.approx(0, abs=1e-6)
    assert scores.tokens == (1, 1, 1)
    assert scores.status == ""
    assert scores.history_shown == 2
    assert scores.seconds >= 1.5
    assert scores.details == {
        "text": TITLES[9],
        "item": 9,
        "distance": pytest.approx(0, abs=1e-6),
        "tokens": 7,
        "prompt_tokens": 90,
        "repeats_history": False,
        "server": "ollama 1",
    }
    json.dumps(scores.details)


def test_a_title_of_the_history_is_kept_and_marked(grounder: Grounder) -> None:
    prompt = Prompt((f"  {TITLES[3]}\x1b[0m",), noun="gadgets")
    scores = generate(Saying(TITLES[3].upper()), prompt, [3, 5], grounder)
    assert scores.details["repeats_history"] is True
    assert scores.details["item"] == 3
    assert scores.logprobs[0] > scores.logprobs[1]


@pytest.mark.parametrize("nothing", ["", " \n", "...", "<think>it is"])
def test_nothing_named_is_a_wrong_format(grounder: Grounder, nothing: str) -> None:
    scores = generate(Saying(nothing), Prompt((TITLES[0],)), [1, 2], grounder)
    assert scores.status == "wrong_format"
    assert scores.logprobs == (LEAST, LEAST)
    assert scores.details == {"text": "", "tokens": 7, "prompt_tokens": 90}


def test_a_backend_that_writes_nothing_is_refused_by_name(grounder: Grounder) -> None:
    with pytest.raises(BadSetting, match="write text"):
        generate(Refusing(), Prompt(()), [1], grounder)  # type: ignore[arg-type]


def test_a_real_network_is_grounded_whatever_it_says(grounder: Grounder, llama: Path) -> None:
    backend = open_llama(llama)
    scores = generate(backend, Prompt(tuple(TITLES[:3]), noun="gadgets"), [7, 8], grounder)
    assert len(scores.logprobs) == 2
    assert scores.status in ("", "wrong_format")
    again = generate(backend, Prompt(tuple(TITLES[:3]), noun="gadgets"), [7, 8], grounder)
    assert (again.logprobs, again.details) == (scores.logprobs, scores.details)


@pytest.mark.models
def test_the_real_encoder_finds_what_was_meant(models: Path) -> None:
    encoder = SentenceEncoder(resolve_model(models, EMBEDDED_ENCODER, kind="encoder"), device="cpu")
    titles = ["Alien (1979)", "Toy Story (1995)", "Blade Runner (1982)", "Pretty Woman (1990)"]
    one = Grounder(titles, encoder.encode(titles), encoder)
    exact, loose, none = (
        one.ground(text) for text in ("Blade Runner (1982)", '"Bladerunner"', "garden hose")
    )
    assert exact is not None
    assert loose is not None
    assert none is not None
    assert (exact.item, loose.item) == (2, 2)
    assert exact.distance < 1e-5 < loose.distance < none.distance
