"""The noise floor is found exactly where it is known, and as it was recorded on real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends import Ability, ModelCard, Prompt, Refusing, Scores, example_card
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.errors import CannotTeach, Died
from recommender.backends.hosts import Hosts
from recommender.backends.ollama.backend import OllamaBackend
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.noise.measuring import NoiseMeasured, measure_noise
from recommender.noise.moves import (
    HOT,
    Reading,
    largest_move,
    moves_at_all,
    moves_in,
)
from recommender.noise.questions import sample_prompts
from recommender.noise.steps import in_company
from storage.store import Store
from tests.ollama.fixed import PROBABILITIES, FixedServer, _rendered
from tests.ollama.loopback import Reply, Seen
from tests.ollama.serving import Serving
from tests.tiny import open_llama

MOMENT = datetime(2026, 11, 24, 12, tzinfo=UTC)
LETTERS = "ABCDEFGHIJ"
PROMPTS, WIDE = sample_prompts(6, seed=0)


class Known(Refusing):
    """Letters by a rule, with moves that are known: cold by one, in company by another.

    The third letter of what is offered is always missing, and its bound is anything.
    """

    def __init__(
        self,
        *,
        cold: float = 0.0,
        company: float = 0.0,
        away: float = 0.0,
        concurrent: bool = True,
        abilities: tuple[Ability, ...] = ("letters",),
    ) -> None:
        self.cold, self.company, self.away = cold, company, away
        self.card = replace(example_card(*abilities), concurrent=concurrent, server="known 1")
        self.asked: list[Prompt] = []
        self.under_way = 0
        self._lock = threading.Lock()

    def describe(self) -> ModelCard:
        return self.card

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        with self._lock:
            warm = bool(self.asked) and self.asked[-1].history == prompt.history
            self.asked.append(prompt)
            self.under_way += 1
            together = self.under_way > 1
        for _ in range(5):
            time.sleep(0.001)
            together = together or self.under_way > 1
        with self._lock:
            self.under_way -= 1
        found = np.array([-1.0 - 0.1 * place for place in range(len(labels))]) + self.away
        if together:
            found[0] -= self.company
        elif not warm:
            found[0] += self.cold
        found[2] = -len(self.asked)  # a bound, not a measurement
        return Scores(
            tuple(found.tolist()), (1,) * len(labels), outside=0.25, details={"missing": [2]}
        )


def measured(events: Iterator[Event]) -> tuple[list[Event], NoiseMeasured]:
    said = list(events)
    last = said[-1]
    assert isinstance(last, NoiseMeasured)
    return said, last


def by_condition(found: NoiseMeasured) -> dict[str, Any]:
    return {moves.condition: moves for moves in found.report.conditions}


def test_the_floor_of_known_moves_is_found_exactly() -> None:
    backend = Known(cold=0.07, company=0.11)
    said, found = measured(measure_noise(backend, PROMPTS, now=lambda: MOMENT))
    moves = by_condition(found)
    assert list(moves) == ["cold", "repeated", "in company", "any two"]
    assert moves["cold"].largest == pytest.approx(0.07)
    assert moves["repeated"].largest == 0.0
    assert moves["in company"].largest == pytest.approx(0.11)
    # Nobody compares cold with company but the floor.
    assert found.floor.floor == moves["any two"].largest == pytest.approx(0.18)
    # 8 questions of 1 cold, 3 repeated and 2 answers in company.
    assert [m.comparisons for m in found.report.conditions] == [8 * 3, 8 * 3, 8 * 6, 8 * 15]
    assert found.floor.comparisons == 120
    # 11 of 15 pairs differ in one letter of the 9 named: the median letter does not move.
    assert found.floor.median == 0.0
    assert (found.floor.teacher, found.floor.server) == (backend.card.key, "known 1")
    assert found.floor.measured_at == "2026-11-24T12:00:00+00:00"
    assert isinstance(said[0], StageStarted)
    steps = [event for event in said if isinstance(event, Progress)]
    assert [event.done for event in steps] == list(range(1, said[0].total + 1))
    assert isinstance(said[-2], StageDone)


def test_flips_are_questions_whose_best_letter_changed() -> None:
    # The first letter leads by 0.1.
    _, still = measured(measure_noise(Known(cold=-0.09), PROMPTS))
    _, moved = measured(measure_noise(Known(cold=-0.11), PROMPTS))
    assert (still.floor.flips, moved.floor.flips) == (0, 8)
    assert by_condition(moved)["cold"].flips == 8
    assert by_condition(moved)["repeated"].flips == by_condition(moved)["in company"].flips == 0


def test_a_backend_that_takes_one_at_a_time_is_not_asked_in_company() -> None:
    backend = Known(cold=0.5, company=9.0, concurrent=False)
    _, found = measured(measure_noise(backend, PROMPTS))
    assert list(by_condition(found)) == ["cold", "repeated", "any two"]
    assert found.floor.floor == pytest.approx(0.5)


def test_other_hosts_are_asked_the_same() -> None:
    _, found = measured(measure_noise(Hosts([Known(), Known(away=0.02)]), PROMPTS[:2]))
    moves = by_condition(found)
    assert moves["elsewhere"].largest == pytest.approx(0.02)
    assert moves["elsewhere"].comparisons == 2 * 3
    assert found.floor.floor == pytest.approx(0.02)


def test_what_order_changes_is_a_liking_for_places_and_no_noise() -> None:
    _, found = measured(measure_noise(Known(), PROMPTS, wide=WIDE))
    assert found.floor.floor == 0.0
    places = [audit.preference for audit in found.report.places]
    assert len(places) == 10
    assert sum(places) == pytest.approx(1)
    # By the rule a place has e^-0.1 of the one before it, whoever stands there.
    assert places[1] / places[0] == pytest.approx(np.exp(-0.1))
    assert places[9] / places[3] == pytest.approx(np.exp(-0.6))
    assert found.report.coverage == pytest.approx({10: 0.9, 20: 0.95})
    assert found.report.outside == pytest.approx(0.25)


def test_each_order_is_asked_and_nothing_of_one_question_is_left_for_the_next() -> None:
    backend = Known(concurrent=False)
    measured(measure_noise(backend, PROMPTS, wide=WIDE))
    own = [prompt for prompt in backend.asked if prompt.history == PROMPTS[3].history]
    assert [prompt.candidates[0] for prompt in own] == [
        PROMPTS[3].candidates[place] for place in (0, 0, 0, 0, 2, 5, 7)
    ] + [WIDE[3].candidates[0]]
    assert {prompt.history[0] for prompt in backend.asked} >= {p.candidates[-1] for p in PROMPTS}
    before = [backend.asked[backend.asked.index(prompt) - 1] for prompt in PROMPTS]
    assert all(a.history[0] != b.history[0] for a, b in zip(before, PROMPTS, strict=True))
    assert all(a.history[-1] == b.history[0] for a, b in zip(before, PROMPTS, strict=True))


def test_details_are_plain_json(store: Store) -> None:
    _, found = measured(measure_noise(Known(cold=0.07), PROMPTS, wide=WIDE, about="a shop"))
    store.noise.add(found.floor)
    kept = store.noise.latest(found.floor.teacher, found.floor.options)
    assert kept == found.floor
    conditions: Any = kept.details["conditions"]
    assert conditions["cold"]["largest"] == pytest.approx(0.07)
    assert set(conditions) == {"cold", "repeated", "in company", "any two"}
    assert kept.details["coverage"] == pytest.approx({"10": 0.9, "20": 0.95})
    assert (kept.details["about"], kept.details["candidates"]) == ("a shop", 10)


def test_a_model_without_letters_has_no_noise_to_measure() -> None:
    with pytest.raises(CannotTeach, match="asked by ranking or generate; next: recsys label"):
        list(measure_noise(Known(abilities=("text", "json")), PROMPTS))


def test_a_model_that_never_names_a_letter_has_no_floor() -> None:
    class Silent(Known):
        def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
            found = super().score(prompt, labels)
            return replace(found, details={"missing": list(range(len(labels)))})

    with pytest.raises(CannotTeach, match="never named a letter"):
        list(measure_noise(Silent(), PROMPTS))


def test_who_fails_beside_a_question_is_heard_and_no_thread_is_left() -> None:
    before = threading.active_count()

    def fail() -> Scores:
        raise Died("the process ended")

    one = Scores((-1.0,), (1,))
    with pytest.raises(Died, match="ended"):
        in_company(lambda: one, [lambda: one, fail])
    with pytest.raises(Died, match="ended"):
        in_company(fail, [lambda: one, lambda: time.sleep(0.001)])
    assert threading.active_count() == before


def test_company_is_under_way_while_the_question_is_asked() -> None:
    under_way, most = [0], []
    lock = threading.Lock()

    def beside() -> None:
        with lock:
            under_way[0] += 1
        time.sleep(0.002)
        with lock:
            under_way[0] -= 1

    def ask() -> Scores:
        seen = []
        for _ in range(40):
            seen.append(under_way[0])
            time.sleep(0.001)
        most.append((max(seen), seen[-5:]))
        return Scores((-1.0,), (1,))

    in_company(ask, [beside])
    in_company(ask, [beside] * 3)
    assert [highest for highest, _ in most] == [1, 3]
    assert all(max(late) >= 1 for _, late in most)  # they do not stop asking


# The pure part, against loops written from the definitions.

readings = st.lists(
    st.lists(st.none() | st.floats(-30, 0), min_size=3, max_size=3).map(
        lambda row: Reading(tuple(row))
    ),
    min_size=1,
    max_size=5,
)


def naive_moves(pairs: Sequence[tuple[Reading, Reading]]) -> list[float]:
    return [
        abs(a.logprobs[place] - b.logprobs[place])  # type: ignore[operator]
        for a, b in pairs
        for place in range(3)
        if a.logprobs[place] is not None and b.logprobs[place] is not None
    ]


def naive_best(one: Reading) -> int:
    best = -1
    for place, p in enumerate(one.logprobs):
        if p is not None and (best < 0 or p > one.logprobs[best]):  # type: ignore[operator]
            best = place
    return best


@given(readings)
def test_the_largest_move_is_the_largest_of_all_pairs(answers: list[Reading]) -> None:
    pairs = list(combinations(answers, 2))
    assert largest_move(answers) == pytest.approx(max(naive_moves(pairs), default=0.0))


@given(st.lists(st.dictionaries(st.sampled_from(["cold", "repeated"]), readings), max_size=4))
def test_moves_are_what_the_definition_says(heard: list[dict[str, list[Reading]]]) -> None:
    beside = [list(product(h.get("cold", []), h.get("repeated", []))) for h in heard]
    within = [list(combinations(h.get("repeated", []), 2)) for h in heard]
    everything = [
        list(combinations([*h.get("cold", []), *h.get("repeated", [])], 2)) for h in heard
    ]
    for pairs, found in (
        (beside, moves_in("cold", heard)),
        (within, moves_in("repeated", heard)),
        (everything, moves_at_all(heard)),
    ):
        comparable = [[pair for pair in one if naive_moves([pair])] for one in pairs]
        moves = [move for one in pairs for move in naive_moves(one)]
        assert found.largest == max(moves, default=0.0)
        assert found.median == pytest.approx(median(moves) if moves else 0.0)
        assert found.comparisons == sum(map(len, comparable))
        flipped = [any(naive_best(a) != naive_best(b) for a, b in one) for one in comparable]
        assert found.flips == sum(flipped)
    assert moves_at_all(heard).largest == max(
        (
            largest_move([*h.get("cold", []), *h.get("repeated", [])])
            for h in heard
            if any(h.values())
        ),
        default=0.0,
    )


# A real small model, in this process and behind a server.


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


def test_a_model_in_this_process_repeats_itself(model: EmbeddedBackend) -> None:
    _, found = measured(measure_noise(model, PROMPTS[:3], wide=WIDE[:1]))
    assert list(by_condition(found)) == ["cold", "repeated", "any two"]
    assert found.floor.floor == 0.0
    assert found.report.coverage == {10: 1.0, 20: 1.0}


def test_a_served_model_is_unloaded_once_and_asked_by_four_at_once(model: EmbeddedBackend) -> None:
    with Serving(model, slots=4, answer_seconds=0.01) as server:
        backend = OllamaBackend.open("tiny", host=server.url, num_ctx=2048)
        loads = server.loads
        _, found = measured(measure_noise(backend, PROMPTS[:2], wide=WIDE[:1]))
        backend.close()
        assert server.loads == loads + 1
        assert server.slots.asked_most == 4
        asked = server.asked("/api/generate")
    unloads = [one for one in asked if one.get("keep_alive") == 0]
    assert unloads == [{"model": "tiny:latest", "keep_alive": 0, "stream": False}]
    # Loaded again with the options of every other request, so that nobody reloads it.
    reloaded = asked[asked.index(unloads[0]) + 1]
    assert reloaded["prompt"] == ""
    assert {**reloaded["options"], "temperature": 0} == reloaded["options"]
    assert (
        len({str({**one["options"], "temperature": 0}) for one in asked if one.get("prompt")}) == 1
    )
    temperatures = [one["options"]["temperature"] for one in asked if one.get("prompt")]
    assert (temperatures.count(HOT), set(temperatures)) == (1, {0, HOT})
    assert list(by_condition(found)) == ["cold", "repeated", "in company", "any two"]
    assert found.floor.floor == 0.0
    assert found.floor.options == backend.describe().options
    assert 0 < found.report.coverage[20] <= 1


class Heated(FixedServer):
    """A server whose log-probabilities are divided by the temperature."""

    def answer(self, asked: Seen, reply: Reply) -> None:
        fields = asked.json if isinstance(asked.json, dict) else {}
        if asked.path == "/api/chat":
            return reply.json(200, _rendered(fields))
        if asked.path != "/api/generate" or not fields.get("prompt"):
            return super().answer(asked, reply)
        heat = fields["options"]["temperature"] or 1.0
        weights = np.array([p for _, p in PROBABILITIES]) ** (1 / heat)
        values = np.log(weights / weights.sum())
        top = [
            {"token": token, "logprob": float(value)}
            for (token, _), value in zip(PROBABILITIES, values, strict=True)
        ]
        said = {"response": " D", "done": True, "logprobs": [{**top[0], "top_logprobs": top}]}
        return reply.json(200, said)


def test_a_server_whose_numbers_follow_the_temperature_is_refused() -> None:
    with Heated() as server:
        backend = OllamaBackend.open("fixed", host=server.url)
        with pytest.raises(CannotTeach, match=r"ollama 0\.32\.15 gives other log-probabilities at"):
            next(measure_noise(backend, PROMPTS))
        backend.close()
