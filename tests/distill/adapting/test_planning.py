"""How long is learned: what fits into the minutes, decided once."""

from __future__ import annotations

import pytest

from distill.adapting.config import AdaptConfig
from distill.adapting.planning import (
    FEWEST_STEPS,
    Plan,
    Rates,
    judging_seconds,
    plan_steps,
    planned,
)
from recommender.events import Notice
from storage.store import Store
from tests.tiny import finished

RATES = Rates(step=4.0, short=0.2, letters=0.3, likelihood=0.4)


def test_everything_fits_into_the_minutes() -> None:
    config = AdaptConfig("Books", minutes=60)
    plan = planned(config, RATES, 100_000)
    assert plan.steps * RATES.step + judging_seconds(config, RATES) <= 3600
    assert (plan.steps + 1) * RATES.step + judging_seconds(config, RATES) > 3600
    assert plan.evaluate_every * config.evaluations >= plan.steps


def test_learning_ends_with_its_passes() -> None:
    assert planned(AdaptConfig("Books", minutes=60, epochs=2), RATES, 80).steps == 20
    assert planned(AdaptConfig("Books", minutes=0, epochs=3), RATES, 8000).steps == 3000


def test_too_few_minutes_still_learn_and_say_so(store: Store) -> None:
    config = AdaptConfig("Books", minutes=1)
    said, plan = finished(plan_steps(store.artifacts, config, {"a": 1}, 8000, lambda: RATES))
    assert plan.steps == FEWEST_STEPS
    assert isinstance(said[0], Notice)
    assert "takes longer than 1 minutes" in said[0].text


def test_a_plan_is_kept_to_at_another_speed(store: Store) -> None:
    config = AdaptConfig("Books", minutes=60)
    _, first = finished(plan_steps(store.artifacts, config, {"a": 1}, 8000, lambda: RATES))

    def never() -> Rates:
        raise AssertionError("measured again")

    said, second = finished(plan_steps(store.artifacts, config, {"a": 1}, 8000, never))
    assert first == second == Plan(first.steps, first.evaluate_every)
    assert said == [Notice(f"{first.steps} steps of 8 questions, as planned before")]
    slow = Rates(40.0, 0.2, 0.3, 0.4)
    _, other = finished(plan_steps(store.artifacts, config, {"a": 2}, 8000, lambda: slow))
    assert other.steps < first.steps


@pytest.mark.parametrize("minutes", [5.0, 20.0, 45.0])
def test_judging_leaves_learning_its_half(minutes: float) -> None:
    plan = planned(AdaptConfig("Books", minutes=minutes), RATES, 100_000)
    assert plan.steps * RATES.step >= 0.5 * minutes * 60 - RATES.step


def test_whole_prompts_are_counted_as_often_as_they_are_asked() -> None:
    few, all_of_them = (
        judging_seconds(AdaptConfig("Books", whole_requests=n), RATES) for n in (100, 5000)
    )
    # Two models; 400 more of 500 test requests both ways, 60 more of 160 to calibrate letters.
    assert all_of_them - few == pytest.approx(2 * (400 * 0.7 + 60 * 0.3))
