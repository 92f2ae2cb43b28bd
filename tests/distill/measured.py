"""What a run over layers ends with, of numbers that a test knows: no model is run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.importance.criteria import CRITERIA
from distill.importance.layers import Importance, importance
from distill.importance.measures import Arrays, removal_sets
from distill.importance.profile import layer_profile
from distill.importance.requests import Loss
from distill.profiling import LayersMeasured
from recommender.backends import ModelCard
from storage.records import Category

LAYERS = 8
RESAMPLES = 60
CARD = ModelCard("tiny", "llama", LAYERS, 32, 12_345, "sha256:abc", "float32", "tiny/")


def one_pass(rng: np.random.Generator, *, kinds: int = 9, tied: bool = True) -> Arrays:
    """Make what a pass keeps of one request; values fall with depth."""
    matrices = rng.uniform(0.5, 1.5, (LAYERS, kinds)) * np.linspace(2.0, 1.0, LAYERS)[:, None]
    angles = rng.uniform(0.1, 0.9, (LAYERS + 1, LAYERS + 1))
    return {
        "layers": matrices.sum(axis=1),
        "positions": rng.uniform(1, 2, LAYERS),
        "matrices": matrices,
        "outside": np.array([3.0, 5.0, 0.5, 9.0 if tied else np.nan]),
        "gates": rng.normal(size=LAYERS),
        "directions": rng.normal(size=LAYERS),
        "influence": rng.uniform(0.1, 0.5, LAYERS),
        "angles": angles,
        "loss": np.array(1.5),
        "scores": rng.normal(size=4),
    }


def removal(rng: np.random.Generator, *, rising: bool = False) -> Arrays:
    """Make what leaving layers out keeps of one request; the harm falls, or rises, with depth."""
    single, others = removal_sets(LAYERS)
    harm = np.arange(1.0, LAYERS + 1) if rising else np.arange(LAYERS, 0.0, -1)
    harm = harm * 0.01 * rng.uniform(0.9, 1.1, LAYERS)
    sets = np.array([harm[sorted(layers)].sum() for layers in others.values()])
    assert len(single) == LAYERS
    return {
        "base_loss": np.array(1.5),
        "base_ndcg": np.array(0.6),
        "loo_loss": 1.5 + harm,
        "loo_ndcg": 0.6 - harm,
        "set_loss": 1.5 + sets,
        "set_ndcg": 0.6 - sets,
    }


def kept(measure: str, count: int, seed: int, **how: bool) -> list[Arrays]:
    """Make what a measure keeps of so many requests."""
    rng = np.random.default_rng([seed, len(measure)])
    if measure == "one-pass":
        return [one_pass(rng, tied=how.get("tied", True)) for _ in range(count)]
    if measure == "removal":
        return [removal(rng, rising=how.get("rising", False)) for _ in range(count)]
    if measure == "greedy":
        order = rng.permutation(LAYERS)[: LAYERS - 1]
        steps = np.argsort([*order, *(set(range(LAYERS)) - set(order.tolist()))])
        losses = np.linspace(1.6, 2.4, LAYERS - 1)
        return [{"importance": steps.astype(np.float64), "order": order, "losses": losses}]
    states = 2.0 - rng.uniform(0.0, 0.2, (count, LAYERS + 1)).cumsum(axis=1)
    return [{"states": row, "information": 2.3 - row[1:]} for row in states]


def found(names: Sequence[str], count: int, seed: int, **how: bool) -> dict[str, Importance]:
    """Make criteria by name, each of the requests its measure has."""
    made = {}
    for name in names:
        criterion = CRITERIA[name]
        few = count // 2 if criterion.measure == "removal" else count
        arrays = kept(criterion.measure, few, seed, **how)
        made[name] = importance(criterion, arrays, resamples=RESAMPLES)
    return made


SOME = (
    *("fisher-empirical", "gate-fisher", "block-influence"),
    *("loo-loss", "loo-ndcg", "greedy", "probe-information"),
)


def measured(
    name: str = "Books",
    *,
    names: Sequence[str] = SOME,
    loss: Loss = "listwise",
    count: int = 24,
    seed: int = 0,
    null: bool = True,
    synthetic: bool = False,
    card: ModelCard = CARD,
    **how: bool,
) -> LayersMeasured:
    """Make the last event of a run."""
    criteria = found(names, count, seed, **how)
    passed = [n for n in names if CRITERIA[n].measure == "one-pass"]
    thirds = ("short", "middle", "long")
    return LayersMeasured(
        category=Category(
            1, name, "table", synthetic, 1.0, 5.0, 40, 16, 240, "2026-11-24", "0123456789abcdef"
        ),
        card=card,
        loss=loss,
        temperature=4.25,
        pass_seconds=0.5,
        tokens=77.0,
        found=criteria,
        null=found(passed, count, seed + 100) if null else {},
        groups={
            "history": tuple(thirds[n % 3] for n in range(count)),
            "people": tuple(("light", "middle", "heavy")[n % 3] for n in range(count)),
        },
        profiles=tuple(
            layer_profile(
                one.values,
                category_id=1,
                weights=card.key,
                criterion=f"{criterion}-{loss}",
                artifact=criterion,
                details={"seed": 7},
            )
            for criterion, one in criteria.items()
        ),
    )
