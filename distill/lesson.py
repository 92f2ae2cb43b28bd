"""What a student hears of its teacher's answers, as its method has it: one `Distillation`.

Apart from the asking because here answers become training material: a distribution a request,
the teacher's states at the matched layers, one weight a layer, and how much each counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.config import DistilConfig
from distill.data import Distillation, MovingWeights
from distill.ground import Ground
from distill.language.profiles import largest
from distill.matches import Match
from distill.methods import FISHER, Setting, method
from distill.ranked.lesson import ranked_of
from distill.teaching import Taught
from recommender.calibration import probabilities
from storage.errors import BadSetting
from storage.records import FloatArray, LabelRequest
from storage.store import Store


def distillation(
    taught: Taught,
    config: DistilConfig,
    *,
    observed: int,
    importance: Sequence[float] | None = None,
    vectors: FloatArray | None = None,
    folder: Path | None = None,
) -> Distillation:
    """Make training material of the answers; `permute_labels` deals them to wrong requests.

    A permuted request keeps its own history, and gets the candidates, the distribution and
    the states of another: all that the teacher said, about somebody else.

    Args:
        taught: the answers.
        config: the method, and how much each loss counts.
        observed: how many events people left to learn from: see `taught_share`.
        importance: of the teacher's layers by the criterion of the configuration; None is the
            profile that was measured on the way.
        vectors: one an item, where items are projected from vectors.
        folder: of `recsys.toml`, for a method of the user's own.
    """
    requests = taught.asked.requests
    loss, share = config.loss, taught_share(len(requests), observed)
    dealt = np.arange(len(requests))
    if loss.permute_labels:
        # One cycle through all of them in random order: nobody keeps their own.
        order = np.random.default_rng([config.seed, 7]).permutation(len(requests))
        dealt[order] = np.roll(order, 1)
    labels = np.stack([probabilities(s, taught.temperature) for s in taught.asked.scores])
    matches, moving = _matches(taught, config, importance, folder)
    looked_at = tuple(sorted({layer for one in matches for layer in one.teacher_layers}))
    return Distillation(
        histories=[np.array(r.history, dtype=np.int64) for r in requests],
        candidates=_offered(requests)[dealt],
        labels=_softened(taught, labels, config)[dealt].astype(np.float32),
        states=None if taught.states is None else taught.states.at(looked_at)[dealt],
        state_layers=looked_at,
        matches=matches,
        moving=moving,
        task=loss.task,
        output=loss.output * share,
        layers=loss.layer * share,
        supervision=loss.layer,
        temperature=loss.temperature,
        divergence=loss.divergence,
        begins=loss.begins,
        fade=loss.layer_fade,
        balance=loss.balance,
        l2=loss.l2,
        ranked=ranked_of(loss.ranked, taught.asked, labels, dealt, vectors, counts=share),
    )


def _softened(taught: Taught, labels: np.ndarray, config: DistilConfig) -> np.ndarray:
    """Return the labels as the divergence needs them: a softmax at its own temperature.

    Two classes an item are softened by the loss itself, from the calibrated label.
    """
    loss = config.loss
    if loss.divergence != "listwise" or loss.temperature == 1:
        return labels
    soft = [probabilities(s, taught.temperature * loss.temperature) for s in taught.asked.scores]
    return np.stack(soft)


def lesson_of(
    store: Store,
    taught: Taught,
    config: DistilConfig,
    *,
    observed: int,
    vectors: FloatArray | None = None,
    folder: Path | None = None,
) -> Distillation | None:
    """Return what a configuration's method makes of the answers; None where it hears nobody.

    Raises:
        BadSetting: the method weighs by what was not measured, or does not fit the student.
    """
    loss = config.loss
    if loss.output == 0 and loss.layer == 0 and not loss.ranked.is_on:
        return None
    lesson = distillation(
        taught,
        config,
        observed=observed,
        importance=importance_of(store, taught, config, folder=folder),
        vectors=vectors,
        folder=folder,
    )
    if not (lesson.output or lesson.matches or loss.ranked.is_on):
        raise BadSetting(
            f"{config.method!r} hears nothing but layers, and this teacher has no weights here",
            next_step="--weights, a directory, a GGUF file or a hub id, or --method logits-only",
        )
    return lesson


def _matches(
    taught: Taught,
    config: DistilConfig,
    importance: Sequence[float] | None,
    folder: Path | None,
) -> tuple[tuple[Match, ...], MovingWeights | None]:
    """Return what the method compares of these states, and what moves its weights."""
    chosen, loss = method(config.method, folder=folder), config.loss
    if taught.states is None or loss.layer == 0:
        return (), None
    if importance is None and taught.profile is not None and loss.criterion == FISHER:
        importance = taught.profile.layers
    depth = taught.states.shape[1] - 1
    setting = Setting.of(depth, config.student.network.blocks, loss, importance)
    matches = chosen.matches(setting)
    if loss.dynamic == "none":
        return matches, None
    return matches, MovingWeights(
        loss.dynamic, loss.eta, setting.ends, taught.squares, setting.emphasis
    )


def importance_of(
    store: Store, taught: Taught, config: DistilConfig, *, folder: Path | None = None
) -> tuple[float, ...] | None:
    """Return how much the teacher's layers matter by the criterion of a configuration.

    Of several profiles of these weights the one of most requests; for the empirical Fisher
    information that may be the one measured on the way. None where the method does not ask.

    Raises:
        BadSetting: nobody measured it on this category and these weights.
    """
    measured, criterion = taught.profile, config.loss.criterion
    chosen = method(config.method, folder=folder)
    if measured is None or not (chosen.weighs or chosen.own):
        return None
    profiles = store.runs.profiles(measured.category_id)
    found = largest(profiles, criterion, measured.weights.__eq__, rather=measured.key)
    if found is None and chosen.own:
        return None  # it may never look at it; where it does, it is told what to do
    if found is None:
        raise BadSetting(
            f"{criterion!r} was not measured on {config.category!r} with these weights",
            next_step=f"recsys importance --category {config.category} --criterion {criterion}",
        )
    return found.layers


def taught_share(requests: int, observed: int) -> float:
    """Return how much the teacher's mean loss counts beside the mean loss of observed events.

    Formula: min(1, R / N): R answers against N observed events. Both losses are means; with
    this factor one answer weighs as much as one event (times the loss weights), however few
    answers there are. Without it, a teacher of 32 answers is heard as loudly as 80,000
    events, 600 times over, and the student learns those answers by heart (measured on
    MovieLens-100K: −4 % NDCG@10).

    >>> taught_share(50, 200), taught_share(300, 200)
    (0.25, 1.0)
    """
    return min(1.0, requests / max(1, observed))


def observed_events(ground: Ground) -> int:
    """Return how many training rows have a history: what cross-entropy learns from."""
    return len(ground.split.events("train"))


def _offered(requests: Sequence[LabelRequest]) -> np.ndarray:
    return np.array([request.candidates for request in requests], dtype=np.int64)
