r"""Semantic depth: what a linear probe can read off each layer about the choice to come.

The papers call σ(l) the mutual information of state h_l and choice y and claim that it rises
with l. By the data-processing inequality the information in all states of a sequence cannot
rise. What can is *usable* information: how much better than chance a probe of limited power
predicts the choice from h_l, on requests that it has not seen,

    σ_x(l) = log C_x − CE_x(l)        CE_x(l) = −log softmax_c(z_c)[y]
    z_c = (P h_l)ᵀ A (Q e_c)

for request x with C_x candidates of features e_c. P and Q go to the first k principal
components and to unit variance; A (k×k) minimises the mean of CE + ½ ridge ‖A‖², a convex
conditional logit. P, Q, A and the ridge are fitted on the other folds only; the ridge is the
best of a grid on an inner split of those. There is no term of e_c alone: what can be said
without the state is no information of the state. σ_x may be negative; its mean over requests
underestimates what a better probe would read.

State 0 is the input embedding of the history's last token. Where that token is the same in
every request, it has no principal component and its information is exactly 0.

Source: usable information, Xu et al., arXiv:2002.10689; conditional logit, McFadden 1974.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh

from distill.importance.forward.conditional_logit import (
    Array,
    Choices,
    Ints,
    fit,
    padded,
    probe_losses,
)
from distill.importance.requests import PackedRequest
from storage.errors import BadData, BadSetting

CRITERION = "probe-information"
FOLDS = 5
COMPONENTS = 24
RIDGES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""The strongest all but silences the probe: where nothing is to be read, it says nothing."""
INNER = 4
"""One in so many training requests decides the ridge."""
FLAT = 1e-6
"""What differs by less of its size is the rounding of float32 and no signal."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeLayer:
    """What the probes of one layer gave."""

    layer: int
    """The state: 0 is the embedding, l what the l-th layer gives."""
    losses: Array
    """(requests,) held-out cross-entropy, in nats."""
    chance: Array
    """(requests,) log C: that of a probe which knows nothing, in nats."""
    ridges: tuple[float, ...]
    """The ridge that each fold chose."""
    seconds: float

    @property
    def information(self) -> Array:
        """Give σ(l) of every request, (requests,), in nats."""
        return self.chance - self.losses


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The probes of all layers."""

    losses: Array
    """(requests, layers + 1) held-out cross-entropy, in nats."""
    chance: Array
    """(requests,) log C, in nats."""
    ridges: Array
    """(layers + 1, folds)."""

    @property
    def information(self) -> Array:
        """Give σ of every request and state, (requests, layers + 1), in nats."""
        return self.chance[:, None] - self.losses


def candidate_features(model: Any, request: PackedRequest) -> Array:
    """Give each choice's features: the mean of the input embeddings of its tokens.

    The model's own table, so that no other encoder has a say; and the same for all layers, so
    that layers differ by their states alone. Where several continuations spell one choice,
    the mean is over the tokens of all of them.

    Args:
        model: A causal language model in the Llama layout.
        request: In tokens.

    Returns:
        (choices, width) float64.

    >>> from types import SimpleNamespace
    >>> from recommender.backends.packed import pack
    >>> table = torch.nn.Embedding.from_pretrained(torch.tensor([[0.0], [1.0], [2.0], [6.0]]))
    >>> model = SimpleNamespace(model=SimpleNamespace(embed_tokens=table))
    >>> candidate_features(model, PackedRequest((pack([0], [[1, 2, 3], [2]]),), 0)).tolist()
    [[3.0], [2.0]]
    """
    tokens = np.concatenate([one.targets for one in request.packs])
    owners = np.concatenate([one.owners + one.first for one in request.packs])
    if request.owners:
        owners = np.asarray(request.owners)[owners]
    table = model.model.embed_tokens.weight
    with torch.no_grad():
        rows = table[torch.from_numpy(tokens).to(table.device)].double().cpu().numpy()
    return np.stack([rows[owners == choice].mean(axis=0) for choice in range(request.choices)])


def principal(rows: Array, k: int) -> Callable[[Array], Array]:
    """Fit a map to the first k principal components, each of mean 0 and variance 1 on `rows`.

    Columns are scaled to variance 1 first: states have a few entries a thousand times larger
    than the rest, and components of the raw entries would be those few. Directions in which
    `rows` do not differ are left out, so that there may be fewer than k, or none.

    Args:
        rows: (n, width).
        k: At most so many.

    Returns:
        From (…, width) to (…, at most k).

    >>> line = np.array([[0.0, 0.0, 5.0], [2.0, 4.0, 5.0]])
    >>> np.abs(principal(line, 2)(line)).round(6).tolist()
    [[1.0], [1.0]]
    """
    n, width = rows.shape
    mean = rows.mean(axis=0)
    scaled = rows - mean
    spread = np.sqrt(np.einsum("nw,nw->w", scaled, scaled) / n)
    size = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    differs = spread > FLAT * size
    scale = np.divide(1.0, spread, out=np.zeros(width), where=differs)
    scaled *= scale
    gram = (scaled.T @ scaled if n > width else scaled @ scaled.T) / n
    top = min(k, len(gram))
    values, vectors = eigh(gram, subset_by_index=(len(gram) - top, len(gram) - 1))
    kept = values > 1e-10 * max(np.trace(gram), 1.0)
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    axes = vectors if n > width else scaled.T @ vectors / np.sqrt(n * values)
    axes = scale[:, None] * axes / np.sqrt(values)
    return lambda more: (more - mean) @ axes


def probe_layers(
    states: npt.NDArray[np.floating[Any]],
    features: Sequence[Array],
    targets: Sequence[int],
    *,
    folds: int = FOLDS,
    components: int = COMPONENTS,
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> Iterator[ProbeLayer]:
    """Probe one layer after another; the first is state 0.

    All layers share the folds, the inner splits and Q.

    Args:
        states: (requests, layers + 1, width) at the end of the history. Folds are of requests:
            of two requests of one person the one would be learnt from the other.
        features: (C_i, width_e) of each request, see `candidate_features`.
        targets: (requests,) the chosen one of each.
        folds: Of the cross-validation.
        components: k, of states and of features.
        ridges: The grid.
        seed: Of folds and inner splits.

    Raises:
        BadSetting: Too few requests for the folds, fewer than two folds or candidates, no
            component, or a ridge that is not above 0.
        BadData: A state or feature is not finite.
        ValueError: The inputs do not belong together.

    >>> rng = np.random.default_rng(0)
    >>> e = [rng.normal(size=(4, 3)) for _ in range(60)]
    >>> y = rng.integers(4, size=60)
    >>> chosen = np.stack([rows[t] for rows, t in zip(e, y)])
    >>> states = np.stack([np.ones((60, 3)), chosen], axis=1)
    >>> [round(float(found.information.mean()), 1) for found in probe_layers(states, e, y)]
    [0.0, 0.8]
    """
    _require_sound(states, features, targets)
    _require_possible(features, folds, components, ridges)
    splits = list(_splits(features, targets, folds, components, seed))
    path = sorted(ridges, reverse=True)
    return (
        _probe_layer(layer, states[:, layer].astype(np.float64), splits, components, path)
        for layer in range(states.shape[1])
    )


def collect(layers: Iterable[ProbeLayer]) -> Probe:
    """Put the layers of `probe_layers` together.

    >>> one = ProbeLayer(0, np.array([0.5]), np.log([2.0]), (1.0, 3.0), 0.0)
    >>> collect([one]).information.round(3).tolist(), collect([one]).ridges.shape
    ([[0.193]], (1, 2))
    """
    found = list(layers)
    return Probe(
        np.stack([one.losses for one in found], axis=1),
        found[0].chance,
        np.array([one.ridges for one in found]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """One fold: who is held out, who trains, and which of those decide the ridge."""

    held: Ints
    train: Ints
    deciding: int
    """The last so many of `train`."""
    choices: Choices
    """Of all requests, by the components of the training requests' candidates."""


def _splits(
    features: Sequence[Array], targets: Sequence[int], folds: int, k: int, seed: int
) -> Iterator[_Split]:
    rng = np.random.default_rng(seed)
    for held in np.array_split(rng.permutation(len(targets)), folds):
        train = rng.permutation(np.setdiff1d(np.arange(len(targets)), held))
        reduced = principal(np.concatenate([features[i] for i in train]), k)
        choices = padded([reduced(rows) for rows in features], targets)
        yield _Split(held, train, max(1, len(train) // INNER), choices)


def _probe_layer(
    layer: int, states: Array, splits: Sequence[_Split], k: int, path: Sequence[float]
) -> ProbeLayer:
    started = time.perf_counter()
    losses = np.empty(len(states))
    chosen = []
    for split in splits:
        h = principal(states[split.train], k)(states)
        ridge = _best_ridge(h, split, path)
        weights = fit(h[split.train], split.choices.of(split.train), ridge)
        losses[split.held] = probe_losses(weights, h[split.held], split.choices.of(split.held))
        chosen.append(ridge)
    chance = np.log(splits[0].choices.real.sum(axis=1))
    return ProbeLayer(layer, losses, chance, tuple(chosen), time.perf_counter() - started)


def _best_ridge(h: Array, split: _Split, path: Sequence[float]) -> float:
    """Fit on part of the training requests, and take the ridge that serves the rest best."""
    part, rest = split.train[: -split.deciding], split.train[-split.deciding :]
    mine, others = split.choices.of(part), split.choices.of(rest)
    weights: Array | None = None
    best, least = path[0], np.inf
    for ridge in path:  # strong to weak: each is near the next
        weights = fit(h[part], mine, ridge, weights)
        loss = probe_losses(weights, h[rest], others).mean()
        if loss < least:
            best, least = ridge, loss
    return best


def _require_sound(
    states: npt.NDArray[np.floating[Any]], features: Sequence[Array], targets: Sequence[int]
) -> None:
    counts = (len(states), len(features), len(targets))
    if states.ndim != 3 or len(set(counts)) > 1:
        raise ValueError(f"states {states.shape} and (states, features, targets) of {counts}")
    for number, (rows, target) in enumerate(zip(features, targets, strict=True)):
        if rows.ndim != 2 or rows.shape[1] != features[0].shape[1]:
            raise ValueError(f"request {number} has features {rows.shape}")
        if not 0 <= target < len(rows):
            raise ValueError(f"request {number}: target {target} of {len(rows)}")
    if not np.isfinite(states).all() or not all(np.isfinite(rows).all() for rows in features):
        raise BadData("a state or an embedding of the model is not a finite number")


def _require_possible(
    features: Sequence[Array], folds: int, components: int, ridges: Sequence[float]
) -> None:
    if folds < 2 or len(features) < 2 * folds:
        raise BadSetting(f"{len(features)} requests in {folds} folds: at least 2 folds of 2 each")
    if min(len(rows) for rows in features) < 2:
        raise BadSetting("a request with one candidate leaves a probe nothing to predict")
    if components < 1:
        raise BadSetting(f"{components} components: a probe needs at least one")
    if not ridges or not all(0 < ridge < np.inf for ridge in ridges):
        raise BadSetting(f"ridges {tuple(ridges)}: all must be above 0, and at least one given")
