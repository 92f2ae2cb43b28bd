"""A study of students that read text: every arm with every seed, and the teacher beside them."""

from __future__ import annotations

from collections.abc import Generator

from distill.language.classroom import baselines, judged, open_classroom, ranked, train
from distill.studies.files import Study
from distill.studies.running import Ran, Trial
from recommender.config import Settings
from recommender.embeddings import TextEncoder
from recommender.events import Event, Notice
from storage.store import Store

TEACHER = "teacher"


def on_language(
    store: Store, study: Study, category: str, settings: Settings, encoder: TextEncoder | None
) -> Generator[Event, None, Ran]:
    """Train every arm of a study with every seed; the teacher is beside them."""
    base = study.config(category, study.seeds[0])
    arms = [study.config(category, arm=arm).language for arm in study.arms]
    tokens = max(one.tokens for one in arms if one is not None)
    room = yield from open_classroom(store, base, settings, encoder, tokens=tokens)
    trials: dict[str, list[Trial]] = {}
    every = [(seed, arm) for seed in study.seeds for arm in study.arms]
    for number, (seed, arm) in enumerate(every, start=1):
        yield Notice(f"{arm}, seed {seed}: {number} of {len(every)} on {category}")
        config = study.config(category, seed, arm)
        trained = yield from train(room, config, settings, name=arm)
        evaluation = yield from judged(room, trained, name=arm)
        about = trained.about
        trials.setdefault(arm, []).append(
            Trial(
                seed,
                evaluation,
                float(about.get("validation", float("nan"))),
                float(about.get("seconds", 0.0)),
                about,
            )
        )
    beside = [(yield from ranked(room, room.backend, TEACHER))]
    beside += baselines(room)
    return Ran(
        room.ground.category,
        {arm: tuple(some) for arm, some in trials.items()},
        tuple(beside),
        None,
    )
