"""How many steps fit into the minutes: measured once, and kept to.

Kept, because the learning rate falls to nothing at the last step: a second run at another
speed must be the same run, and find the first one's work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from distill.adapting.config import AdaptConfig
from distill.adapting.questions import FEWEST
from recommender.events import Event, Notice
from storage.artifacts import Artifacts

FEWEST_STEPS = 10
"""Fewer steps than this are not worth a measurement."""

LEARNING_SHARE = 0.5
"""Where judging would take more than half of the minutes, learning gets half all the same."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that things take here."""

    step: float
    """One optimiser step."""
    short: float
    """One short question by letters."""
    letters: float
    """One whole question by letters, as a teacher is asked."""
    likelihood: float
    """The same by likelihood."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a training."""

    steps: int
    evaluate_every: int
    """Steps between two measurements on validation."""


def judging_seconds(config: AdaptConfig, rates: Rates) -> float:
    """Return what everything but the steps takes: choosing, and judging two models.

    >>> config = AdaptConfig("Books", test_requests=100, valid_requests=10, evaluations=2)
    >>> judging_seconds(config, Rates(1.0, 0.5, 1.0, 2.0))
    743.0
    """
    whole = min(config.whole_requests, config.test_requests) * (rates.letters + rates.likelihood)
    test = 2 * (config.test_requests * rates.short + whole)
    # Each model's letters are calibrated on validation, short and whole.
    choosing = (config.evaluations + 2) * config.valid_requests * rates.short
    known = min(max(config.whole_requests, FEWEST), config.valid_requests)
    calibrating = 2 * known * rates.letters
    return test + choosing + calibrating + 3 * rates.step


def planned(config: AdaptConfig, rates: Rates, questions: int) -> Plan:
    """Fit the steps into the minutes; never more than the passes that were asked for.

    >>> planned(AdaptConfig("Books", minutes=60), Rates(4.0, 0.2, 0.3, 0.4), 8625).steps
    717
    """
    steps = config.epochs * math.ceil(questions / config.batch)
    if config.minutes:
        whole = config.minutes * 60
        left = max(whole - judging_seconds(config, rates), LEARNING_SHARE * whole)
        steps = min(steps, max(FEWEST_STEPS, int(left / rates.step)))
    return Plan(steps, max(1, math.ceil(steps / config.evaluations)))


def plan_steps(
    artifacts: Artifacts,
    config: AdaptConfig,
    inputs: Mapping[str, object],
    questions: int,
    measure: Callable[[], Rates],
) -> Generator[Event, None, Plan]:
    """Decide the length of the training; a plan once made is kept to.

    Args:
        artifacts: where it is kept.
        config: the minutes and all that takes time.
        inputs: all that decides what is learned: data, weights, settings.
        questions: in one pass.
        measure: gives the rates; called only where there is no plan yet.
    """
    found = artifacts.find("plan", inputs)
    if found is not None:
        plan = Plan(**artifacts.read_json(found, "plan.json"))
        yield Notice(f"{plan.steps} steps of {config.batch} questions, as planned before")
        return plan
    rates = measure()
    plan = planned(config, rates, questions)
    with artifacts.writing("plan", inputs) as path:
        written = {"steps": plan.steps, "evaluate_every": plan.evaluate_every}
        artifacts.write_json(path / "plan.json", written)
    yield Notice(_in_words(config, rates, plan, questions))
    return plan


def _in_words(config: AdaptConfig, rates: Rates, plan: Plan, questions: int) -> str:
    passes = plan.steps * config.batch / questions
    read = "one pass" if passes == 1 else f"{passes:.2g} passes"
    learned = f"{plan.steps} steps of {config.batch} questions ({read} over {questions:,})"
    if not config.minutes:
        return f"a step takes {rates.step:.1f} s here; {learned}"
    judging = judging_seconds(config, rates) / 60
    fit = f"a step takes {rates.step:.1f} s here, judging {judging:.1f} min: {learned}"
    if judging * 60 + plan.steps * rates.step > 1.05 * config.minutes * 60:
        return f"{fit}, which takes longer than {config.minutes:g} minutes"
    return f"{fit} fit into {config.minutes:g} minutes"
